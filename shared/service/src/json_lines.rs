//! The log as lines of JSON.
//!
//! The names of the fields (levelname, funcName, pathname, message, trace_id) are those that BlueKing's log panel
//! reads. The panel is made for Python, so the names of the levels and the format of the time are Python's too.
//! The first four fields are in every line: bk-sops' panel breaks on a line without one.

use std::fmt;
use std::io::Write as _;

use jiff::tz::TimeZone;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// Writes every event as one line of JSON.
///
/// An event has the fields of the spans it is in; of two with one name, the event's or the inner span's counts.
/// Fields with a dot in their name are attributes of OpenTelemetry's conventions and are left out of the log.
#[derive(Debug)]
pub struct JsonLines<W> {
    writer: W,
    zone: TimeZone,
}

impl<W> JsonLines<W> {
    /// Lines to `writer`, with times in UTC.
    pub fn new(writer: W) -> Self {
        Self { writer, zone: TimeZone::UTC }
    }

    /// The same lines, with times in `zone`.
    #[must_use]
    pub fn in_zone(self, zone: TimeZone) -> Self {
        Self { zone, ..self }
    }
}

/// A level under Python's name.
pub(crate) fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        if let Some(fields) = extensions.get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line { json: Vec::with_capacity(512), names: Vec::with_capacity(16) };
        let now = jiff::Timestamp::now().to_zoned(self.zone.clone());
        line.put("asctime", now.strftime("%Y-%m-%d %H:%M:%S,%3f").to_string());
        line.put("levelname", level_name(*metadata.level()));
        line.put("funcName", metadata.target());
        let mut fields = Fields::default();
        event.record(&mut fields);
        line.add(&fields);
        // An event may name another line of code than its own: an author's error, a panic.
        line.put("pathname", metadata.file().unwrap_or_default());
        line.put("lineno", metadata.line());
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.add(fields);
            }
        }
        line.put("message", "");
        // A failure to write the log cannot be reported anywhere.
        let _ = self.writer.make_writer().write_all(&line.finish());
    }
}

/// Fields of an event or a span: their values as JSON, one after another. Of two fields with one name the later
/// counts.
#[derive(Debug, Default)]
struct Fields {
    json: Vec<u8>,
    /// Name of each field, and where its value ends.
    ends: Vec<(&'static str, usize)>,
}

impl Fields {
    fn put(&mut self, name: &'static str, value: impl Serialize) {
        let start = self.json.len();
        match serde_json::to_writer(&mut self.json, &value) {
            Ok(()) => self.ends.push((name, self.json.len())),
            Err(_) => self.json.truncate(start),
        }
    }

    /// Name and value of each field, the latest first.
    fn latest_first(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, end)| *end));
        let spans: Vec<_> = starts.zip(&self.ends).collect();
        spans.into_iter().rev().map(|(start, (name, end))| (*name, &self.json[start..*end]))
    }
}

/// A JSON object that is being written. It writes the commas, and each field only once.
#[derive(Debug)]
struct Line {
    json: Vec<u8>,
    names: Vec<&'static str>,
}

impl Line {
    /// Writes a field whose value is always valid JSON, unless a field of this name is written already.
    fn put(&mut self, name: &'static str, value: impl Serialize) {
        if self.begin(name) {
            // Writing to a vector does not fail.
            let _ = serde_json::to_writer(&mut self.json, &value);
        }
    }

    /// Writes the fields that are not written yet.
    fn add(&mut self, fields: &Fields) {
        for (name, value) in fields.latest_first() {
            if self.begin(name) {
                self.json.extend_from_slice(value);
            }
        }
    }

    /// Writes the name of a field. Returns false, and writes nothing, if the field is written already, or if it is
    /// an attribute of OpenTelemetry's.
    fn begin(&mut self, name: &'static str) -> bool {
        if name.contains('.') || self.names.contains(&name) {
            return false;
        }
        self.names.push(name);
        self.json.push(b',');
        let _ = serde_json::to_writer(&mut self.json, name);
        self.json.push(b':');
        true
    }

    fn finish(mut self) -> Vec<u8> {
        if let Some(first) = self.json.first_mut() {
            *first = b'{';
        }
        self.json.extend_from_slice(b"}\n");
        self.json
    }
}

impl Visit for Fields {
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
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that are written while `logs` runs.
    fn text(logs: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let layer = JsonLines::new(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), logs);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(logs: impl FnOnce()) -> Vec<Value> {
        text(logs).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn every_line_has_what_the_panel_reads() {
        for line in lines(|| {
            tracing::error!("one");
            tracing::warn!(n = 1);
            tracing::info!("three");
            tracing::debug!("four");
            tracing::trace!("five");
        }) {
            for name in ["message", "levelname", "funcName", "pathname", "asctime"] {
                assert!(line[name].is_string(), "{name} in {line}");
            }
        }
        let levels = lines(|| {
            tracing::error!("");
            tracing::warn!("");
            tracing::trace!("");
        });
        let levels: Vec<_> = levels.iter().map(|line| line["levelname"].clone()).collect();
        assert_eq!(levels, ["ERROR", "WARNING", "DEBUG"]);
    }

    #[test]
    fn an_event_may_name_the_line_that_it_is_about() {
        let line = &lines(|| tracing::warn!(pathname = "src/v1_0_0.rs", lineno = 7, "failed"))[0];
        assert_eq!((&line["pathname"], &line["lineno"]), (&json!("src/v1_0_0.rs"), &json!(7)));
        let nowhere: Option<&str> = None;
        let line = &lines(|| tracing::warn!(pathname = nowhere, "failed"))[0];
        assert!(line["pathname"].as_str().unwrap().ends_with("json_lines.rs"), "{line}");
    }

    #[test]
    fn the_time_has_the_form_of_pythons() {
        let line = &lines(|| tracing::info!(""))[0];
        let time = line["asctime"].as_str().unwrap();
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
        assert_eq!(form, "9999-99-99 99:99:99,999");
    }

    #[test]
    fn a_name_is_written_once_and_the_innermost_value_counts() {
        let text = text(|| {
            let outer = tracing::info_span!("outer", a = 1, b = 1, c = 1, url.path = "/x");
            outer.in_scope(|| {
                let inner = tracing::info_span!("inner", b = 2, c = 2, d = tracing::field::Empty);
                inner.record("d", 4);
                inner.record("b", 3);
                inner.in_scope(|| tracing::info!(c = 5, levelname = "none", "text"));
            });
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        let mut fields = line.as_object().unwrap().clone();
        for (name, _) in &fields {
            assert_eq!(text.matches(&format!("\"{name}\":")).count(), 1, "{name} in {text}");
        }
        for fixed in ["asctime", "levelname", "funcName", "pathname", "lineno"] {
            fields.remove(fixed);
        }
        assert_eq!(Value::Object(fields), json!({ "message": "text", "a": 1, "b": 3, "c": 5, "d": 4 }));
        assert_eq!(line["levelname"], "INFO");
    }
}
