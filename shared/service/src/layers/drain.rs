//! Health and reflection streams have no end of their own; at shutdown they get one.

use super::{Route, trailers};
use bytes::Bytes;
use clientele_api::error::{Error, ErrorReason};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::Service;

/// Ends the streams of health and reflection as soon as the server drains.
#[derive(Debug, Clone)]
pub struct Drain<S> {
    inner: S,
    draining: CancellationToken,
}

impl<S> Drain<S> {
    pub(super) fn new(inner: S, draining: CancellationToken) -> Self {
        Self { inner, draining }
    }
}

impl<S, R, B> Service<Request<R>> for Drain<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<DrainBody<B>>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let route = Route::of_request(&request);
        let ends = route.is_infrastructure() && route.is_stream();
        DrainFuture {
            draining: ends.then(|| self.draining.clone()),
            future: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`Drain`].
    #[derive(Debug)]
    pub struct DrainFuture<F> {
        #[pin]
        future: F,
        draining: Option<CancellationToken>,
    }
}

impl<F, B, E> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<DrainBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let draining = this.draining.take().map(|token| Box::pin(token.cancelled_owned()));
        Poll::Ready(Ok(response.map(|body| DrainBody {
            body,
            draining,
            ended: false,
        })))
    }
}

pin_project! {
    /// The body of [`Drain`].
    #[derive(Debug, Default)]
    pub struct DrainBody<B> {
        #[pin]
        body: B,
        // Boxed: all bodies pass here, and of those few are streams.
        draining: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
        ended: bool,
    }
}

impl<B: Body<Data = Bytes>> Body for DrainBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        if let Some(draining) = this.draining
            && draining.as_mut().poll(cx).is_ready()
        {
            *this.ended = true;
            let error = Error::new(
                ErrorReason::Draining,
                "the server is shutting down; another one answers",
            )
            .retry_after(Duration::from_millis(100));
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(error)))));
        }
        this.body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
