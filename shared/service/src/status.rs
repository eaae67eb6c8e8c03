//! From refusals to statuses: the one place where faults are logged.

use crate::layers::TraceContext;
use clientele_api::error::{Error, ErrorReason};
use tonic::Status;

/// The status of a refusal. A fault of ours is logged with its cause, which the status does not have.
pub fn status(error: Error) -> Status {
    let reason = error.reason().short_name();
    let cause = error.cause().unwrap_or("none given");
    match error.reason() {
        ErrorReason::Internal => {
            tracing::error!(reason, cause, "a call failed");
            match TraceContext::current() {
                Some(trace) => error.with("trace_id", trace.trace_id()).into(),
                None => error.into(),
            }
        }
        ErrorReason::DatabaseUnavailable | ErrorReason::OutcomeUnknown => {
            tracing::warn!(reason, cause, "a call met a database that does not answer");
            error.into()
        }
        _ => error.into(),
    }
}
