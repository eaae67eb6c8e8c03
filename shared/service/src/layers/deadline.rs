//! How long a call may take: as long as the client waits, and no longer than the method allows.

use super::{Route, refusal};
use clientele_api::error::{Error, ErrorReason};
use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Sleep, sleep};
use tower::Service;

/// Ends calls that take too long with DEADLINE_EXCEEDED. Of a stream, only the time to its first answer is bounded, and only
/// by the client.
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R, B> Service<Request<R>> for Deadline<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let client = client_timeout(request.headers());
        let method = Route::of_request(&request).deadline();
        let limit = client.into_iter().chain(method).min();
        DeadlineFuture {
            future: self.inner.call(request),
            // Made here and not at the first poll: tonic's own timer for the client's timeout is made after this returned, so
            // ours is never the later one, and tonic's CANCELLED never the answer.
            sleep: limit.map(sleep),
            limit: limit.unwrap_or_default(),
        }
    }
}

pin_project! {
    /// The future of [`Deadline`].
    #[derive(Debug)]
    pub struct DeadlineFuture<F> {
        #[pin]
        future: F,
        #[pin]
        sleep: Option<Sleep>,
        limit: Duration,
    }
}

impl<F, B, E> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.future.poll(cx) {
            return Poll::Ready(result);
        }
        match this.sleep.as_pin_mut().map(|sleep| sleep.poll(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Ok(refusal(overrun(*this.limit)))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

fn overrun(limit: Duration) -> Error {
    Error::new(
        ErrorReason::DeadlineExceeded,
        "the call took longer than its deadline; what it writes may have been written",
    )
    .with("deadline_ms", limit.as_millis())
}

/// The header `grpc-timeout`: up to eight digits and a unit. One that is malformed counts as none, as it does for tonic.
fn client_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_shorter_of_the_clients_and_the_methods_deadline_counts() {
        let hang = tower::service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<()>, std::convert::Infallible>>()
        });
        let path = "/clientele.journal.v1.JournalService/ListEntries";
        let method = clientele_api::method(path).unwrap().deadline.unwrap();
        for (timeout, expected) in [
            (None, method),
            (Some("1H"), method),
            (Some("20m"), Duration::from_millis(20)),
        ] {
            let mut request = Request::post(path).body(()).unwrap();
            if let Some(timeout) = timeout {
                request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
            }
            let began = tokio::time::Instant::now();
            let response = Deadline::new(hang).call(request).await.unwrap();
            let status = tonic::Status::from_header_map(response.headers()).unwrap();
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
            assert!(began.elapsed() >= expected && began.elapsed() < expected + Duration::from_millis(5));
        }
    }

    #[test]
    fn timeouts_are_read_in_every_unit() {
        let read = |text: &str| {
            client_timeout(&HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                text.parse().unwrap(),
            )]))
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(read("1n"), Some(Duration::from_nanos(1)));
        for bad in ["", "S", "1", "1x", "-1S", "+1S", "999999999S", "1.5S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
