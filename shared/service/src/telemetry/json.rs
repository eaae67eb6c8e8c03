//! One line of JSON for each event, with the ids of the trace that it belongs to.

use crate::layers::TraceContext;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde_json::{Map, Value};
use std::fmt;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber, dispatcher};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format of a log line.
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Line(Map::new());
        let now = OffsetDateTime::now_utc().format(&Rfc3339).map_err(|_| fmt::Error)?;
        line.put("time", now);
        line.put("level", event.metadata().level().as_str());
        line.put("target", event.metadata().target());
        event.record(&mut line);
        if let Some(span) = current_span(context) {
            line.put("trace_id", span.trace_id().to_string());
            line.put("span_id", span.span_id().to_string());
        } else if let Some(trace) = TraceContext::current() {
            line.put("trace_id", trace.trace_id());
        }
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// The recorded span that the event lies in; most calls have none.
fn current_span<S, N>(context: &FmtContext<'_, S, N>) -> Option<SpanContext>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    let current = context.current_span();
    let id = current.id()?;
    let telemetry = dispatcher::get_default(|dispatch| get_otel_context(id, dispatch))?;
    let span = telemetry.span().span_context().clone();
    span.is_valid().then_some(span)
}

struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::TraceContext;
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt as _;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_object_with_the_trace_of_its_call() {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(Json)
            .with_writer(move || writer.clone());
        let trace = TraceContext::begin(false);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(count = 3, ok = true, name = %"a\"b", "done\nit");
            trace.scope(|| tracing::warn!(error = ?Some(1), "again"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["message"], &lines[0]["count"]),
            (&"done\nit".into(), &3.into())
        );
        assert_eq!(
            (&lines[0]["ok"], &lines[0]["name"], &lines[0]["level"]),
            (&true.into(), &"a\"b".into(), &"INFO".into())
        );
        assert!(lines[0].get("trace_id").is_none() && lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(
            (&lines[1]["trace_id"], &lines[1]["error"]),
            (&trace.trace_id().into(), &"Some(1)".into())
        );
    }
}
