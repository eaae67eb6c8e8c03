//! What every call passes before its handler, in one fixed order.

mod authenticate;
mod cut;
mod deadline;
mod drain;
mod errors;
mod limit;
mod observe;
mod panic;
mod route;
mod trace;

pub(crate) use errors::reworded;
pub use route::Route;
pub use trace::TraceContext;

use crate::config::Config;
use crate::status::status;
use crate::token::Verifier;
use authenticate::Authenticate;
use clientele_api::Error;
use cut::CutOff;
use deadline::Deadline;
use drain::Drain;
use errors::CompleteErrors;
use http::{HeaderMap, Response};
use limit::{Gates, Limit};
use observe::{Observe, Observer};
use panic::CatchPanic;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower::Layer;

/// A service behind all layers; the first is the outermost.
pub type Layered<S> = CatchPanic<Observe<CompleteErrors<CatchPanic<Limit<Drain<Deadline<Authenticate<CutOff<S>>>>>>>>>;

/// The layers, to be given to [`tonic::transport::Server::layer`].
#[derive(Debug, Clone)]
pub struct Stack {
    observer: Arc<Observer>,
    gates: Arc<Gates>,
    draining: CancellationToken,
    verifier: Arc<Verifier>,
}

/// The layers of the service with this name. Telemetry has to be started before, since the instruments are made here.
/// Health and reflection streams end as soon as `draining` is cancelled; our own streams end themselves, with a cursor.
pub fn stack(service: &'static str, config: &Config, verifier: Arc<Verifier>, draining: CancellationToken) -> Stack {
    let gates = Arc::new(Gates::new(config.max_in_flight));
    Stack {
        observer: Arc::new(Observer::new(service, config, Arc::clone(&gates))),
        gates,
        draining,
        verifier,
    }
}

impl Stack {
    /// How many calls are worked on, and how many streams are open.
    pub fn in_flight(&self) -> (usize, usize) {
        self.gates.in_flight()
    }
}

impl<S> Layer<S> for Stack {
    type Service = Layered<S>;

    /// A panic is caught twice: around the handler, so that it is counted and traced as INTERNAL, and around all else, so that
    /// the process lives.
    fn layer(&self, service: S) -> Layered<S> {
        let service = Authenticate::new(CutOff::new(service), Arc::clone(&self.verifier));
        let service = Deadline::new(service);
        let service = Drain::new(service, self.draining.clone());
        let service = Limit::new(service, Arc::clone(&self.gates));
        let service = CompleteErrors::new(CatchPanic::new(service));
        CatchPanic::new(Observe::new(service, Arc::clone(&self.observer)))
    }
}

/// The answer of a layer that does not let a call through.
fn refusal<B: Default>(error: Error) -> Response<B> {
    status(error).into_http()
}

/// The trailers that end a stream with this error.
fn trailers(error: Error) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let status = status(error);
    if let Err(status) = status.add_header(&mut trailers) {
        tracing::error!(%status, "a status can't be written as headers");
    }
    trailers
}
