//! Calls on a machine that is busy.

use tonic::{Code, Status};

/// How often a call is repeated that finds no place.
const REPETITIONS: usize = 100;

/// Makes a call, and repeats it, as clients do, as long as it is refused only because too much goes on at the same time. One that
/// changes something must have a request id.
pub async fn patiently<T, Fut>(call: impl Fn() -> Fut) -> Result<T, Status>
where
    Fut: Future<Output = Result<T, Status>>,
{
    for _ in 0..REPETITIONS {
        match call().await {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => {}
            done => return done,
        }
    }
    call().await
}
