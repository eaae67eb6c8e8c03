//! The trace that a call belongs to: W3C trace context, read by hand because every call pays for it.

use http::HeaderMap;
use std::fmt;
use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    /// The trace of the call that this task works on, so that a log line finds it although most calls have no span.
    static CURRENT: TraceContext;
}

/// The trace that a call belongs to, sampled or not. Every request carries it in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// The trace of the call that this task works on.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|trace| *trace).ok()
    }

    /// Does a part of the call's work.
    pub(crate) fn scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }

    /// Does the call's work.
    pub(super) fn scope_future<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// Takes the parts that a span has.
    pub(super) fn new(trace_id: u128, span_id: u64, sampled: bool) -> Self {
        Self {
            trace_id,
            span_id,
            sampled,
        }
    }

    /// A trace of its own for a call that came without one.
    pub(crate) fn begin(sampled: bool) -> Self {
        // Zero means "none" in both ids.
        Self::new(rand::random::<u128>().max(1), rand::random::<u64>().max(1), sampled)
    }

    /// The trace that the caller names, if it names one.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get("traceparent")?.as_bytes())
    }

    /// `00-{32 hex}-{16 hex}-{2 hex}`; later versions may go on behind a further hyphen.
    fn parse(text: &[u8]) -> Option<Self> {
        let hyphens = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
        let version = hex(text.get(0..2)?)?;
        let end = match version {
            0 => text.len() == 55,
            0xff => false,
            _ => text.len() == 55 || text.get(55) == Some(&b'-'),
        };
        let trace_id = hex(text.get(3..35)?)?;
        let span_id = u64::try_from(hex(text.get(36..52)?)?).ok()?;
        let flags = hex(text.get(53..55)?)?;
        (hyphens && end && trace_id != 0 && span_id != 0).then_some(Self::new(trace_id, span_id, flags & 1 == 1))
    }

    /// Whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.sampled
    }

    /// Its id, 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// What outgoing calls and the journal say: the value of the header `traceparent`.
    pub fn traceparent(self) -> String {
        self.to_string()
    }

    pub(super) fn ids(self) -> (u128, u64) {
        (self.trace_id, self.span_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id,
            self.span_id,
            u8::from(self.sampled)
        )
    }
}

/// Lower-case digits only, as the standard has it.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_header_is_read_and_written_the_same() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::parse(text.as_bytes()).unwrap();
        assert!(trace.is_sampled());
        assert_eq!(trace.traceparent(), text);
        assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more";
        assert!(!TraceContext::parse(later.as_bytes()).unwrap().is_sampled());
    }

    #[test]
    fn a_bad_header_counts_as_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
