//! No more calls at a time than the server can serve: further ones are refused at once instead of waiting.

use super::{Route, refusal};
use bytes::Bytes;
use clientele_api::error::{Error, ErrorReason};
use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

/// When to try again: most calls take far less, so that a place is free by then.
const RETRY: Duration = Duration::from_millis(100);

/// Streams that need no token (reflection, watching health) have so many places of their own: they can't take those of others.
const STRANGERS: usize = 64;

/// The places for calls and, apart from them, for streams: a stream keeps its place for hours.
#[derive(Debug)]
pub(super) struct Gates {
    limit: usize,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Gates {
    pub(super) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            limit,
            calls: Arc::new(Semaphore::new(limit)),
            streams: Arc::new(Semaphore::new(limit)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
        }
    }

    /// How many calls and how many streams are in flight.
    pub(super) fn in_flight(&self) -> (usize, usize) {
        let taken = |gate: &Semaphore| self.limit.saturating_sub(gate.available_permits());
        (taken(&self.calls), taken(&self.streams))
    }

    /// A place for this call. Health checks need none: an overloaded server must not look dead.
    fn enter(&self, route: Route) -> Result<Option<OwnedSemaphorePermit>, Error> {
        let gate = match route {
            Route::Health(_) if !route.is_stream() => return Ok(None),
            Route::Health(_) | Route::Reflection(_) => &self.strangers,
            _ if route.is_stream() => &self.streams,
            _ => &self.calls,
        };
        Arc::clone(gate).try_acquire_owned().map(Some).map_err(|_| {
            Error::new(ErrorReason::Overloaded, "the server is at its limit of calls in flight")
                .with("limit", self.limit)
                .retry_after(RETRY)
        })
    }
}

/// Lets no more calls through than there are places.
#[derive(Debug, Clone)]
pub struct Limit<S> {
    inner: S,
    gates: Arc<Gates>,
}

impl<S> Limit<S> {
    pub(super) fn new(inner: S, gates: Arc<Gates>) -> Self {
        Self { inner, gates }
    }
}

impl<S, R, B> Service<Request<R>> for Limit<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<LimitBody<B>>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, LimitFuture<S::Future>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let route = Route::of_request(&request);
        match self.gates.enter(route) {
            Ok(place) => Either::Right(LimitFuture {
                future: self.inner.call(request),
                stream: route.is_stream(),
                place,
            }),
            Err(error) => Either::Left(ready(Ok(refusal(error)))),
        }
    }
}

pin_project! {
    /// The future of [`Limit`].
    #[derive(Debug)]
    pub struct LimitFuture<F> {
        #[pin]
        future: F,
        stream: bool,
        place: Option<OwnedSemaphorePermit>,
    }
}

impl<F, B, E> Future for LimitFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<LimitBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        // The answer of a call is made by now: a client that does not read it holds no place.
        let place = this.place.take().filter(|_| *this.stream);
        Poll::Ready(Ok(response.map(|body| LimitBody { body, place })))
    }
}

pin_project! {
    /// The body of [`Limit`]: that of a stream keeps its place until it ends.
    #[derive(Debug, Default)]
    pub struct LimitBody<B> {
        #[pin]
        body: B,
        place: Option<OwnedSemaphorePermit>,
    }
}

impl<B: Body<Data = Bytes>> Body for LimitBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
