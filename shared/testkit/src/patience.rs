//! Calls on a machine that is busy.

use crate::reason;
use tonic::Status;

/// How often a call is repeated that finds no place.
const REPETITIONS: usize = 100;

/// Makes a call, and repeats it, as clients do, as long as the database is too busy for it, which then has changed nothing.
pub async fn patiently<T, Fut>(call: impl Fn() -> Fut) -> Result<T, Status>
where
    Fut: Future<Output = Result<T, Status>>,
{
    for _ in 0..REPETITIONS {
        match call().await {
            Err(status) if reason(&status) == "DATABASE_UNAVAILABLE" => {}
            done => return done,
        }
    }
    call().await
}
