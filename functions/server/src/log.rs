//! Logs: for people on a terminal, JSON lines otherwise.
//!
//! The names of the JSON fields (levelname, funcName, pathname, message, trace_id) are those that BlueKing's
//! log panel reads.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal as _, Write as _};

use bk_plugin_kit::protocol::InvocationLog;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::settings::ServerSettings;

/// What a server holds on to for its log.
pub(crate) struct Log {
    /// The log of each of the latest invocations, for `logs/<trace_id>`; in development only.
    pub(crate) invocations: Option<InvocationLog>,
    /// Writes what is left when it is dropped.
    _guard: Option<WorkerGuard>,
}

/// Sets the log up for the whole process.
pub(crate) fn install(settings: &ServerSettings) -> Log {
    let invocations = settings.shared.development.then(InvocationLog::default);
    let people = io::stdout().is_terminal();
    let (lines, guard) = if people { (None, None) } else { json_lines() };
    let text = people.then(|| tracing_subscriber::fmt::layer().with_target(false));
    // A second server in one process (a test) keeps the log of the first.
    let _ = tracing_subscriber::registry()
        .with(lines.map(|layer| layer.with_filter(settings.log.clone())))
        .with(text.map(|layer| layer.with_filter(settings.log.clone())))
        .with(invocations.clone().map(|layer| layer.with_filter(settings.log.clone())))
        .try_init();
    Log { invocations, _guard: guard }
}

/// Lines go to standard output by a thread of their own, many at a time; none is dropped.
fn json_lines() -> (Option<JsonLines>, Option<WorkerGuard>) {
    let stdout = BufWriter::with_capacity(64 * 1024, io::stdout());
    let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(stdout);
    (Some(JsonLines(writer)), Some(guard))
}

/// Writes every event as one line of JSON.
struct JsonLines(NonBlocking);

/// The fields of a span as JSON, kept with it for the events inside it.
struct SpanFields(Line);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Line(Vec::new());
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields));
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
        let _ = self.0.clone().write_all(&line.finish());
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
