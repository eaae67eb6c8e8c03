//! Every error that leaves says why: those that tonic, health and reflection answer get the ErrorInfo that ours have.

use bytes::Bytes;
use clientele_api::error::{Error, ErrorReason as Reason};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use tower::Service;

/// Completes the errors of the service below.
#[derive(Debug, Clone)]
pub struct CompleteErrors<S> {
    inner: S,
}

impl<S> CompleteErrors<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, R, B> Service<Request<R>> for CompleteErrors<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<CompleteErrorsBody<B>>;
    type Error = S::Error;
    type Future = CompleteErrorsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        CompleteErrorsFuture {
            future: self.inner.call(request),
        }
    }
}

pin_project! {
    /// The future of [`CompleteErrors`].
    #[derive(Debug)]
    pub struct CompleteErrorsFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for CompleteErrorsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<CompleteErrorsBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(self.project().future.poll(cx))?;
        complete(response.headers_mut());
        Poll::Ready(Ok(response.map(|body| CompleteErrorsBody { body })))
    }
}

pin_project! {
    /// The body of [`CompleteErrors`].
    #[derive(Debug, Default)]
    pub struct CompleteErrorsBody<B> {
        #[pin]
        body: B,
    }
}

impl<B: Body<Data = Bytes>> Body for CompleteErrorsBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut frame = ready!(self.project().body.poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            complete(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Gives the error in these headers or trailers, if there is one, an ErrorInfo, if it has none.
fn complete(headers: &mut HeaderMap) {
    if headers.get(Status::GRPC_STATUS).is_none_or(|code| code == "0") {
        return;
    }
    let Some(bare) = Status::from_header_map(headers) else {
        return;
    };
    if bare.get_details_error_info().is_some() {
        return;
    }
    headers.remove(Status::GRPC_MESSAGE);
    let status = crate::status::status(reworded(&bare));
    if let Err(status) = status.add_header(headers) {
        tracing::error!(%status, "a status can't be written as headers");
    }
}

/// What an error of a library means, in our words. Its own are matched where the code alone says too little: tonic takes
/// messages that a client spoiled for faults of the server.
pub(crate) fn reworded(bare: &Status) -> Error {
    let message = bare.message();
    let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
    let as_it_is = |reason| Error::new(reason, message);
    match bare.code() {
        Code::Unimplemented if says(&["Content is compressed"]) => {
            as_it_is(Reason::InvalidHeader).with("header", "grpc-encoding")
        }
        Code::Unimplemented => Error::new(
            Reason::MethodUnknown,
            "this server has no such method; its reflection lists those it has",
        ),
        Code::OutOfRange | Code::ResourceExhausted
            if says(&["decoded message length too large", "while decompressing message"]) =>
        {
            too_large(message)
        }
        Code::Internal
            if says(&[
                "received message with compressed-flag",
                "received message with invalid compression flag",
                "Error decompressing",
                "Unexpected EOF decoding stream",
                "Missing request message",
                "failed to decode Protobuf message",
            ]) =>
        {
            Error::new(
                Reason::MalformedMessage,
                format!("the message can't be read: {message}"),
            )
        }
        Code::Cancelled | Code::DeadlineExceeded => Error::new(
            Reason::DeadlineExceeded,
            "the call was ended before its answer was ready",
        ),
        Code::NotFound => as_it_is(Reason::ResourceNotFound),
        Code::InvalidArgument => as_it_is(Reason::MalformedMessage),
        Code::AlreadyExists => as_it_is(Reason::ResourceExists),
        Code::PermissionDenied => as_it_is(Reason::CallerNotAllowed),
        Code::Unauthenticated => as_it_is(Reason::TokenInvalid),
        Code::ResourceExhausted => as_it_is(Reason::LimitReached),
        Code::Aborted => as_it_is(Reason::Contention),
        Code::OutOfRange => as_it_is(Reason::CursorOutOfRange),
        Code::Unavailable => as_it_is(Reason::Overloaded),
        Code::Ok | Code::Unknown | Code::FailedPrecondition | Code::Internal | Code::DataLoss => {
            Error::internal(format!("{:?}: {message}", bare.code()))
        }
    }
}

/// tonic's sentence ends in the figures: "…: found 9 bytes, the limit is: 4 bytes".
fn too_large(message: &str) -> Error {
    let figure = |before: &str| {
        let (_, rest) = message.split_once(before)?;
        rest.split_once(" bytes").map(|(figure, _)| figure.to_owned())
    };
    let mut error = Error::new(Reason::MessageTooLarge, "the message is larger than the server accepts");
    for (key, before) in [
        ("size", "found "),
        ("limit", "limit is: "),
        ("limit", "size limit, of "),
    ] {
        if let Some(figure) = figure(before) {
            error = error.with(key, figure);
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        complete(&mut headers);
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_code_without_error_info_gets_one_and_keeps_the_table() {
        for code in 1..=16 {
            let status = completed(&Status::new(Code::from(code), "raw text"));
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.domain, "clientele");
            let reason = Reason::from_str_name(&format!("ERROR_REASON_{}", info.reason)).unwrap();
            assert_eq!(status.code(), clientele_api::error::code(reason), "{code}");
        }
    }

    #[test]
    fn what_a_client_spoiled_is_not_our_fault() {
        for (code, message, reason) in [
            (Code::Internal, "Unexpected EOF decoding stream.", "MALFORMED_MESSAGE"),
            (
                Code::Internal,
                "failed to decode Protobuf message: buffer underflow",
                "MALFORMED_MESSAGE",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
                "MESSAGE_TOO_LARGE",
            ),
            (
                Code::Unimplemented,
                "Content is compressed with `br` which isn't supported",
                "INVALID_HEADER",
            ),
            (Code::Unimplemented, "", "METHOD_UNKNOWN"),
            (Code::Unknown, "secret text of a database", "INTERNAL"),
        ] {
            let status = completed(&Status::new(code, message));
            assert_eq!(status.get_details_error_info().unwrap().reason, reason, "{message}");
            assert!(!status.message().contains("secret"));
        }
        let large = completed(&Status::out_of_range(
            "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
        ));
        let metadata = large.get_details_error_info().unwrap().metadata;
        assert_eq!((metadata["size"].as_str(), metadata["limit"].as_str()), ("9", "4"));
    }

    #[test]
    fn what_has_an_error_info_and_what_is_no_error_stay_as_they_are() {
        let ours: Status = Error::not_found("Organization", "workspaces/a").into();
        let mut headers = HeaderMap::new();
        ours.add_header(&mut headers).unwrap();
        let before = headers.clone();
        complete(&mut headers);
        assert_eq!(headers, before);

        let mut fine = HeaderMap::from_iter([(Status::GRPC_STATUS, "0".parse().unwrap())]);
        complete(&mut fine);
        assert_eq!(fine.len(), 1);
    }
}
