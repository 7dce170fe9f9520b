//! What the steps of an invocation logged, kept in memory for the debug panel and the `logs` route.

use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// A `tracing` layer that keeps the log lines of the latest invocations, by `trace_id`.
///
/// It is for development: install it in the subscriber and hand a clone to
/// [`log_routes`](super::log_routes). In production logs go to the operator's own collection.
#[derive(Clone, Default)]
pub struct InvocationLog(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    lines: HashMap<String, VecDeque<String>>,
    /// Oldest first.
    order: VecDeque<String>,
}

/// The invocation that a span is a step of.
struct StepOf(String);

impl InvocationLog {
    /// How many invocations are kept.
    pub const INVOCATIONS: usize = 1_000;
    /// How many lines of each, the latest.
    pub const LINES: usize = 1_000;

    /// The lines of an invocation, each `LEVEL message`; none if it is not known.
    pub fn text(&self, trace_id: &str) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lines) = kept.lines.get(trace_id) else { return String::new() };
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    fn keep(&self, trace_id: &str, line: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = kept.lines.get_mut(trace_id) {
            if lines.len() == Self::LINES {
                lines.pop_front();
            }
            lines.push_back(line);
            return;
        }
        if kept.order.len() == Self::INVOCATIONS
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.lines.remove(&oldest);
        }
        kept.order.push_back(trace_id.to_owned());
        kept.lines.insert(trace_id.to_owned(), VecDeque::from([line]));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for InvocationLog {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != "step" {
            return;
        }
        let mut trace_id = OneField { name: "trace_id", text: String::new() };
        attributes.record(&mut trace_id);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(StepOf(trace_id.text));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(StepOf(trace_id)) = span.extensions().get() {
                let mut message = OneField { name: "message", text: String::new() };
                event.record(&mut message);
                self.keep(trace_id, format!("{} {}", event.metadata().level(), message.text));
                return;
            }
        }
    }
}

/// The text of the field with this name.
struct OneField {
    name: &'static str,
    text: String,
}

impl Visit for OneField {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == self.name {
            value.clone_into(&mut self.text);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == self.name {
            // Writing to a String does not fail.
            let _ = write!(self.text, "{value:?}");
        }
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
            });
            tracing::info_span!("steps", trace_id = "a").in_scope(|| tracing::info!("another span"));
        });
        assert_eq!(log.text("a"), "INFO plugin start execute\nWARN deep");
        assert_eq!(log.text("b"), "");
    }

    #[test]
    fn the_oldest_go() {
        let log = InvocationLog::default();
        for invocation in 0..=InvocationLog::INVOCATIONS {
            log.keep(&invocation.to_string(), "line".to_owned());
        }
        for line in 0..InvocationLog::LINES {
            log.keep("1", format!("line {line}"));
        }
        assert_eq!(log.text("0"), "");
        let text = log.text("1");
        assert!(text.starts_with("line 0\n") && text.ends_with("line 999"), "{text}");
    }
}
