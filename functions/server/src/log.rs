//! Logs: for people on a terminal, JSON lines otherwise.
//!
//! The names of the JSON fields (levelname, funcName, pathname, message, trace_id) are those that BlueKing's
//! log panel reads.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use bk_plugin_kit::JsonObject;
use bk_plugin_kit::protocol::InvocationLog;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::ServerSettings;

/// Sets the log up for the whole process. In development the log of each invocation is kept in memory too,
/// for `logs/<trace_id>`.
pub(crate) fn install(settings: &ServerSettings) -> Option<InvocationLog> {
    let kept = settings.shared.development.then(InvocationLog::default);
    let people = std::io::stdout().is_terminal();
    let lines = (!people).then_some(JsonLines);
    let text = people.then(|| tracing_subscriber::fmt::layer().with_target(false));
    // A second server in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry()
        .with(lines.map(|layer| layer.with_filter(settings.log.clone())))
        .with(text.map(|layer| layer.with_filter(settings.log.clone())))
        .with(kept.clone())
        .try_init();
    kept
}

/// Writes every event as one line of JSON.
struct JsonLines;

/// The fields of a span, kept with it so that events inside it can show them.
struct SpanFields(JsonObject);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Fields::default();
        line.0.insert("asctime".to_owned(), jiff::Timestamp::now().to_string().into());
        line.0.insert("levelname".to_owned(), metadata.level().as_str().into());
        line.0.insert("message".to_owned(), Value::Null);
        line.0.insert("funcName".to_owned(), metadata.target().into());
        line.0.insert("pathname".to_owned(), metadata.file().unwrap_or_default().into());
        line.0.insert("lineno".to_owned(), metadata.line().unwrap_or_default().into());
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.0.extend(fields.clone());
            }
        }
        event.record(&mut line);
        let mut bytes = serde_json::to_vec(&line.0).unwrap_or_default();
        bytes.push(b'\n');
        // Nobody is there to be told that the log cannot be written.
        let _ = std::io::stdout().lock().write_all(&bytes);
    }
}

/// Collects fields as JSON.
#[derive(Default)]
struct Fields(JsonObject);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}
