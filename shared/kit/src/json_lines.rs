//! The log as lines of JSON.
//!
//! The names of the fields (levelname, funcName, pathname, message, trace_id) are those that BlueKing's log
//! panel reads.

use std::fmt;
use std::io::Write as _;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Writes every event as one line of JSON.
///
/// An event has the fields of the spans it is in.
#[derive(Debug)]
pub struct JsonLines<W>(pub W);

/// The fields of a span as JSON, kept with it for the events inside it.
struct SpanFields(Line);

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Line(Vec::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(SpanFields(fields)) = context.span(id).and_then(|span| span.extensions_mut().remove()) {
            let mut fields = fields;
            values.record(&mut fields);
            if let Some(span) = context.span(id) {
                span.extensions_mut().insert(SpanFields(fields));
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line(Vec::with_capacity(512));
        line.put("asctime", jiff::Timestamp::now().to_string());
        line.put("levelname", metadata.level().as_str());
        line.put("funcName", metadata.target());
        line.put("pathname", metadata.file());
        line.put("lineno", metadata.line());
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(SpanFields(fields)) = span.extensions().get() {
                line.0.extend_from_slice(&fields.0);
            }
        }
        event.record(&mut line);
        // Nobody is there to be told that the log cannot be written.
        let _ = self.0.make_writer().write_all(&line.finish());
    }
}

/// A JSON object that is being written: each field with a comma before it.
struct Line(Vec<u8>);

impl Line {
    fn put(&mut self, name: &str, value: impl Serialize) {
        let start = self.0.len();
        self.0.push(b',');
        let name = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        if name.and_then(|()| serde_json::to_writer(&mut self.0, &value)).is_err() {
            self.0.truncate(start);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some(first) = self.0.first_mut() {
            *first = b'{';
        }
        self.0.extend_from_slice(b"}\n");
        self.0
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
