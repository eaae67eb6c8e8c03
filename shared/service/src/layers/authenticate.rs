//! Who calls: proven before anything else is looked at.

use super::{Route, refusal};
use crate::caller::{Caller, ProofExpiry};
use crate::token::Verifier;
use clientele_api::error::{Error, ErrorReason, Result};
use futures::future::{Either, Ready, ready};
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use std::sync::Arc;
use std::task::{Context, Poll};
use tower::Service;
use tracing::Span;

/// Puts the [`Caller`] into the extensions of the request. Only health, reflection and public methods need none.
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
    verifier: Arc<Verifier>,
}

impl<S> Authenticate<S> {
    pub(super) fn new(inner: S, verifier: Arc<Verifier>) -> Self {
        Self { inner, verifier }
    }

    fn caller(&self, route: Route, headers: &HeaderMap) -> Result<Option<(Caller, ProofExpiry)>> {
        match route {
            Route::Health(_) | Route::Reflection(_) => Ok(None),
            // A token says more about who calls a public method, but an outdated one must not keep anybody from signing in.
            Route::Method(method) if method.public => Ok(self.prove(headers).ok()),
            Route::Method(_) | Route::Unknown => self.prove(headers).map(Some),
        }
    }

    fn prove(&self, headers: &HeaderMap) -> Result<(Caller, ProofExpiry)> {
        self.verifier.verify(bearer(headers)?)
    }
}

/// Names who calls in the span of the call, if it has one.
fn name(caller: &Caller) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    span.record("enduser.id", caller.actor());
    if let Some(user) = caller.acting_for() {
        span.record("clientele.acting_for", user);
    }
}

/// The token of the header `authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Result<&str> {
    let missing = || {
        Error::new(
            ErrorReason::TokenMissing,
            "send a token in the metadata: authorization: Bearer …",
        )
    };
    let value = headers.get(AUTHORIZATION).ok_or_else(missing)?;
    let (scheme, token) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim())
    } else {
        Err(missing())
    }
}

impl<S, R, B> Service<Request<R>> for Authenticate<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<B>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        match self.caller(Route::of_request(&request), request.headers()) {
            Ok(proven) => {
                if let Some((caller, expiry)) = proven {
                    name(&caller);
                    request.extensions_mut().insert(caller);
                    request.extensions_mut().insert(expiry);
                }
                Either::Right(self.inner.call(request))
            }
            Err(error) => Either::Left(ready(Ok(refusal(error)))),
        }
    }
}
