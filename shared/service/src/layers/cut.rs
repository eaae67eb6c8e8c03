//! Requests that are cut off. tonic takes a stream whose client cancels the call for one that has come to its end: whoever writes what
//! it was sent would take a half for the whole.

use super::Route;
use bytes::Bytes;
use http::Request;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tower::Service;

/// Lets a stream of ours that is cut off end with an error.
#[derive(Debug, Clone)]
pub struct CutOff<S> {
    inner: S,
}

impl<S> CutOff<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for CutOff<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let route = Route::of_request(&request);
        if route.is_stream() && !route.is_infrastructure() {
            return self.inner.call(request.map(|body| Body::new(CutOffBody { body })));
        }
        self.inner.call(request)
    }
}

pin_project! {
    /// The body of a stream.
    #[derive(Debug)]
    struct CutOffBody {
        #[pin]
        body: Body,
    }
}

impl http_body::Body for CutOffBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = self.project().body.poll_frame(cx);
        // Anything but CANCELLED, which is what tonic does not tell.
        frame.map_err(|error| Status::deadline_exceeded(format!("the request was cut off: {}", error.message())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
