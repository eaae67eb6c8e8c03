//! A panic costs its call an INTERNAL and nobody else anything.

use super::{refusal, trailers};
use bytes::Bytes;
use clientele_api::Error;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tower::Service;

/// Catches panics of the service below, in its future and in its response body.
#[derive(Debug, Clone)]
pub struct CatchPanic<S> {
    inner: S,
}

impl<S> CatchPanic<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R, B> Service<Request<R>> for CatchPanic<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<CatchPanicBody<B>>;
    type Error = S::Error;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
            Ok(future) => CatchPanicFuture::Running { future },
            Err(panic) => CatchPanicFuture::Panicked {
                error: Some(fault(panic.as_ref())),
            },
        }
    }
}

pin_project! {
    /// The future of [`CatchPanic`].
    #[project = CatchPanicFutureProjection]
    #[derive(Debug)]
    pub enum CatchPanicFuture<F> {
        /// The call goes on.
        Running { #[pin] future: F },
        /// It panicked before it began.
        Panicked { error: Option<Error> },
    }
}

impl<F, B, E> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CatchPanicBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let error = match self.project() {
            CatchPanicFutureProjection::Running { future } => {
                match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                    Ok(result) => {
                        let wrap = |body| CatchPanicBody { body: Some(body) };
                        return Poll::Ready(ready!(result).map(|response| response.map(wrap)));
                    }
                    Err(panic) => fault(panic.as_ref()),
                }
            }
            CatchPanicFutureProjection::Panicked { error } => {
                error.take().unwrap_or_else(|| Error::internal("polled after its end"))
            }
        };
        Poll::Ready(Ok(refusal(error)))
    }
}

pin_project! {
    /// The body of [`CatchPanic`]: none after a panic.
    #[derive(Debug)]
    pub struct CatchPanicBody<B> {
        #[pin]
        body: Option<B>,
    }
}

impl<B> Default for CatchPanicBody<B> {
    fn default() -> Self {
        Self { body: None }
    }
}

impl<B: Body<Data = Bytes>> Body for CatchPanicBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| body.poll_frame(cx))) {
            Ok(frame) => frame,
            Err(panic) => {
                this.body.set(None);
                Poll::Ready(Some(Ok(Frame::trailers(trailers(fault(panic.as_ref()))))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

fn fault(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("panicked: {}", text.unwrap_or("without a text")))
}
