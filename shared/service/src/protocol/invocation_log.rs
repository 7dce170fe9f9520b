//! What the steps of an invocation logged, kept in memory for the debug panel and the `logs` route.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::json_lines::level_name;

/// A `tracing` layer that keeps the latest lines that steps logged.
///
/// It is for development: install it in the subscriber and hand a clone to
/// [`log_routes`](super::log_routes). In production logs go to the operator's own collection.
#[derive(Clone, Default)]
pub struct InvocationLog(Arc<Mutex<VecDeque<Line>>>);

struct Line {
    trace_id: Arc<str>,
    level: Level,
    message: String,
}

/// The invocation that a span is a step of.
struct StepOf(Arc<str>);

impl InvocationLog {
    /// Number of lines that are kept: the latest of all invocations together.
    pub const LINES: usize = 20_000;
    /// Bytes that are kept of one line.
    const LINE_LENGTH: usize = 16 * 1024;

    /// The lines of an invocation, each `LEVEL message field=value ...`; empty if the invocation is not known.
    pub fn text(&self, trace_id: &str) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_it = lines.iter().filter(|line| *line.trace_id == *trace_id);
        of_it
            .map(|line| format!("{} {}", level_name(line.level), line.message))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn keep(&self, line: Line) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == Self::LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for InvocationLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "step" {
            return;
        }
        let mut trace_id = TraceIdField::default();
        attributes.record(&mut trace_id);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(StepOf(trace_id.0.into()));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(StepOf(trace_id)) = span.extensions().get() {
                let mut text = EventText::default();
                event.record(&mut text);
                let mut message = text.finish();
                message.truncate(message.floor_char_boundary(Self::LINE_LENGTH));
                self.keep(Line { trace_id: Arc::clone(trace_id), level: *event.metadata().level(), message });
                return;
            }
        }
    }
}

/// The field `trace_id` of a span.
#[derive(Default)]
struct TraceIdField(String);

impl Visit for TraceIdField {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "trace_id" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "trace_id" {
            value.clone_into(&mut self.0);
        }
    }
}

/// An event as text: its message, then its other fields with their values in JSON.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl EventText {
    fn add(&mut self, field: &Field, json: impl fmt::Display) {
        // Attributes of OpenTelemetry, which have a dot in their names, are left out of the log.
        if !field.name().contains('.') {
            // Writing to a String does not fail.
            let _ = write!(self.fields, " {}={json}", field.name());
        }
    }

    fn finish(self) -> String {
        let text = self.message + &self.fields;
        text.trim_start().to_owned()
    }
}

impl Visit for EventText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.add(field, Value::from(format!("{value:?}")));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.add(field, Value::from(value));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn lines_of_steps_are_kept_and_no_others() {
        let log = InvocationLog::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            tracing::info!("outside");
            tracing::info_span!("step", trace_id = %"a", other = 1).in_scope(|| {
                tracing::info!(n = 1, "plugin {} execute", "start");
                tracing::info_span!("inner").in_scope(|| tracing::warn!("deep"));
                tracing::info!(sum = 7, name = "a b", ok = true, seen = ?Some(1), otel.kind = "x");
            });
            tracing::info_span!("steps", trace_id = "a").in_scope(|| tracing::info!("another span"));
        });
        assert_eq!(
            log.text("a"),
            "INFO plugin start execute n=1\nWARNING deep\nINFO sum=7 name=\"a b\" ok=true seen=\"Some(1)\""
        );
        assert_eq!(log.text("b"), "");
    }

    #[test]
    fn the_oldest_go() {
        let log = InvocationLog::default();
        for number in 0..=InvocationLog::LINES {
            let trace_id = if number < 2 { "old" } else { "new" }.into();
            log.keep(Line { trace_id, level: Level::INFO, message: number.to_string() });
        }
        assert_eq!(log.text("old"), "INFO 1");
        assert_eq!(log.text("new").lines().count(), InvocationLog::LINES - 1);
    }
}
