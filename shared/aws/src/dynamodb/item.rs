//! A record as an item: which attribute holds which part.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{Read as _, Write as _};

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{CallbackId, LeaseToken, NotAnId, Receipt, TraceId};
use bk_plugin_core::record::{Deadline, InboxEntry, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An item's attributes.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The format that items are written in. An item in an unknown format was written by a newer version, and is left alone
/// until such a version runs again.
pub(super) const FORMAT: u32 = 1;

/// Bytes that one write unit covers.
const WRITE_UNIT: usize = 1024;

/// Limit for decompressed text, in bytes. Items are written by this program alone, which compresses no longer texts.
const LARGEST_TEXT: u64 = 64 * 1024 * 1024;

/// Every attribute of a record except the inbox, which only callbacks write.
pub(super) fn encode(record: &Record) -> Vec<(&'static str, AttributeValue)> {
    let mut item = vec![
        ("format", number(FORMAT)),
        ("plugin_version", text(&record.plugin_version)),
        ("state", state(record.state)),
        ("invoke_count", number(record.invoke_count)),
        ("inputs", json(&record.inputs)),
        ("context", json(&record.context)),
        ("storage", json(&record.storage)),
        ("outputs", json(&record.outputs)),
        ("err", text(&record.err)),
        ("owed", AttributeValue::Bool(record.owed)),
        ("created_at", millis(record.created_at)),
        ("consumed", consumed(&record.consumed, record.invoke_count)),
        // Present but NULL: a callback's `set_if_absent` must not add an expiry to a live record, and TTL ignores NULL.
        ("expires_at", AttributeValue::Null(true)),
    ];
    if let Some(deadline) = &record.deadline {
        item.push(("deadline_at", millis(deadline.at)));
        item.push(("deadline_run", AttributeValue::Bool(deadline.run)));
    }
    if let Some(finish_callback) = &record.finish_callback {
        item.push(("finish_callback", json(finish_callback)));
    }
    if !record.caller.is_unknown() {
        item.push(("caller", json(&record.caller)));
    }
    if !record.trace.is_empty() {
        item.push(("trace", json(&record.trace)));
    }
    item.extend(lease(record.lease.as_ref()));
    if let Some(finish_at) = record.finish_at {
        item.push(("finish_at", millis(finish_at)));
    }
    item
}

/// A lease. "No lease" takes as many bytes as a lease, so that an item at DynamoDB's size limit can still be claimed by the
/// step that ends it.
pub(super) fn lease(lease: Option<&Lease>) -> [(&'static str, AttributeValue); 2] {
    match lease {
        Some(lease) => [("lease_token", text(&lease.token)), ("lease_until", millis(lease.until))],
        None => [("lease_token", text(NO_LEASE)), ("lease_until", millis(NEVER))],
    }
}

/// The token that stands for "no lease".
const NO_LEASE: &str = "00000000000000000000000000000000";

/// The end of "no lease": a time in 2001, which has as many digits as any later one.
const NEVER: Timestamp = Timestamp::from_millis(1_000_000_000_000);

/// The attributes that make an item with an inbox a stub.
pub(super) fn encode_stub(stub: &Record, expires_at: Timestamp) -> Vec<(&'static str, AttributeValue)> {
    vec![
        ("format", number(FORMAT)),
        ("state", state(stub.state)),
        ("invoke_count", number(stub.invoke_count)),
        ("created_at", millis(stub.created_at)),
        ("consumed", consumed(&stub.consumed, stub.invoke_count)),
        ("expires_at", expiry(expires_at)),
    ]
}

/// An entry of the inbox. Its receipt is in a separate list, where a condition can search for it.
pub(super) fn entry(entry: &InboxEntry) -> AttributeValue {
    AttributeValue::M(HashMap::from([
        ("callback_id".to_owned(), text(&entry.callback_id)),
        ("data".to_owned(), json(&entry.data)),
    ]))
}

/// Whether an update has left a stub that expires before `expires_at`.
pub(super) fn is_stub_that_ends_before(item: &Item, expires_at: Timestamp) -> bool {
    let is = |name: &str, value: AttributeValue| item.get(name) == Some(&value);
    let ends = item.get("expires_at").and_then(|value| value.as_n().ok()?.parse::<i64>().ok());
    is("state", state(State::Empty)) && ends.is_some_and(|ends| ends < seconds(expires_at))
}

/// Receipts of consumed callbacks form a ring of [`Record::CONSUMED_KEPT`] places: the receipt of step `n` is at `n` modulo
/// that number.
fn slot(invoke_count: u32) -> usize {
    invoke_count as usize % Record::CONSUMED_KEPT
}

/// The place in the ring for the receipt of this step's callback.
pub(super) fn consumed_by(invoke_count: u32) -> String {
    format!("#consumed[{}]", slot(invoke_count))
}

/// The ring after step `invoke_count`, whose receipt is the latest.
fn consumed(receipts: &[Receipt], invoke_count: u32) -> AttributeValue {
    let mut ring = vec![AttributeValue::Null(true); Record::CONSUMED_KEPT];
    let latest = slot(invoke_count) + Record::CONSUMED_KEPT;
    for (steps_ago, receipt) in receipts.iter().rev().take(Record::CONSUMED_KEPT).enumerate() {
        ring[(latest - steps_ago) % Record::CONSUMED_KEPT] = text(receipt);
    }
    AttributeValue::L(ring)
}

/// Text.
pub(super) fn text(text: impl Display) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

/// A number.
pub(super) fn number(number: impl Display) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A state, by its number on the wire.
pub(super) fn state(state: State) -> AttributeValue {
    number(u8::from(state))
}

fn millis(at: Timestamp) -> AttributeValue {
    number(at.as_millis())
}

/// The second from which on DynamoDB may delete an item.
pub(super) fn expiry(at: Timestamp) -> AttributeValue {
    number(seconds(at))
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000) + 1
}

/// JSON as text, or compressed where that saves a write unit in every update of the item.
pub(super) fn json(value: &impl Serialize) -> AttributeValue {
    let text = serde_json::to_string(value).expect("JSON values and maps with text keys are JSON");
    if text.len() > WRITE_UNIT
        && let Ok(compressed) = deflate(text.as_bytes())
        && compressed.len() + WRITE_UNIT <= text.len()
    {
        return AttributeValue::B(Blob::new(compressed));
    }
    AttributeValue::S(text)
}

fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// The record that an item is.
pub(super) fn decode(item: &Item) -> Result<Record, StoreError> {
    let mut reader = Reader { item, trouble: None };
    let format: u32 = reader.number("format").unwrap_or_default();
    if format > FORMAT {
        let problem = format!("it has format {format}, written by a newer version than this one");
        return Err(unreadable(item, problem));
    }
    let record = reader.record();
    match (record, reader.trouble) {
        (Some(record), None) => Ok(record),
        (_, trouble) => {
            Err(unreadable(item, trouble.unwrap_or_else(|| "an attribute is missing".to_owned())))
        }
    }
}

fn unreadable(item: &Item, problem: String) -> StoreError {
    let trace_id = item.get("trace_id").and_then(|id| id.as_s().ok()).map_or("?", String::as_str);
    StoreError::Unreadable { what: format!("record of {trace_id}"), source: problem.into() }
}

/// Reads attributes, and remembers the first one that is wrong.
struct Reader<'a> {
    item: &'a Item,
    trouble: Option<String>,
}

impl<'a> Reader<'a> {
    fn record(&mut self) -> Option<Record> {
        let trace_id = self.id("trace_id", TraceId::parse)?;
        let mut record = Record::stub(trace_id, self.time("created_at")?);
        let number: u8 = self.number("state")?;
        record.state = State::try_from(number).map_err(|error| self.wrong("state", error)).ok()?;
        record.invoke_count = self.number("invoke_count")?;
        record.inbox = self.inbox()?;
        record.consumed = self.consumed(record.invoke_count)?;
        if let Some(version) = self.text("plugin_version") {
            record.plugin_version = version.to_owned();
        }
        if let Some(err) = self.text("err") {
            record.err = err.to_owned();
        }
        self.json("inputs", &mut record.inputs);
        self.json("context", &mut record.context);
        self.json("caller", &mut record.caller);
        self.json("trace", &mut record.trace);
        self.json("storage", &mut record.storage);
        self.json("outputs", &mut record.outputs);
        let mut finish_callback = None;
        self.json("finish_callback", &mut finish_callback);
        record.finish_callback = finish_callback;
        record.owed = self.flag("owed");
        record.deadline = self.time("deadline_at").map(|at| Deadline { at, run: self.flag("deadline_run") });
        record.finish_at = self.time("finish_at");
        if let Some(token) =
            self.id("lease_token", LeaseToken::parse).filter(|token| token.as_str() != NO_LEASE)
        {
            record.lease = Some(Lease { token, until: self.time("lease_until")? });
        }
        Some(record)
    }

    fn wrong(&mut self, name: &str, problem: impl Display) {
        self.trouble.get_or_insert_with(|| format!("{name}: {problem}"));
    }

    fn text(&self, name: &str) -> Option<&'a str> {
        self.item.get(name)?.as_s().ok().map(String::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.item.get(name).and_then(|value| value.as_bool().ok()).copied().unwrap_or_default()
    }

    fn number<T: std::str::FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let digits = self.item.get(name)?.as_n().ok()?;
        digits.parse().map_err(|error| self.wrong(name, error)).ok()
    }

    fn time(&mut self, name: &str) -> Option<Timestamp> {
        self.number(name).map(Timestamp::from_millis)
    }

    fn id<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, NotAnId>) -> Option<T> {
        parse(self.text(name)?).map_err(|error| self.wrong(name, error)).ok()
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str, into: &mut T) {
        let Some(value) = self.item.get(name) else { return };
        match parse(value) {
            Ok(parsed) => *into = parsed,
            Err(problem) => self.wrong(name, problem),
        }
    }

    fn list(&self, name: &str) -> &'a [AttributeValue] {
        self.item.get(name).and_then(|value| value.as_l().ok()).map_or(&[], Vec::as_slice)
    }

    fn inbox(&mut self) -> Option<Vec<InboxEntry>> {
        let (entries, receipts) = (self.list("inbox"), self.list("receipts"));
        if entries.len() != receipts.len() {
            self.wrong("inbox", "it has not as many entries as receipts");
            return None;
        }
        let mut inbox = Vec::with_capacity(entries.len());
        for (entry, receipt) in entries.iter().zip(receipts) {
            match inbox_entry(entry, receipt) {
                Ok(entry) => inbox.push(entry),
                Err(problem) => {
                    self.wrong("inbox", problem);
                    return None;
                }
            }
        }
        Some(inbox)
    }

    /// Receipts in the order their callbacks were handed over.
    fn consumed(&mut self, invoke_count: u32) -> Option<Vec<Receipt>> {
        let ring = self.list("consumed");
        let oldest = slot(invoke_count) + 1;
        let in_order = (0..ring.len()).map(|step| &ring[(oldest + step) % ring.len()]);
        let receipts = in_order.filter_map(|value| value.as_s().ok()).map(|text| Receipt::parse(text));
        receipts.collect::<Result<_, _>>().map_err(|error| self.wrong("consumed", error)).ok()
    }
}

fn inbox_entry(entry: &AttributeValue, receipt: &AttributeValue) -> Result<InboxEntry, String> {
    let fields = entry.as_m().map_err(|_| "an entry is no map")?;
    let receipt = receipt.as_s().map_err(|_| "a receipt is no text")?;
    let callback_id = fields.get("callback_id").and_then(|id| id.as_s().ok()).ok_or("an entry has no id")?;
    Ok(InboxEntry {
        receipt: Receipt::parse(receipt).map_err(|error| error.to_string())?,
        callback_id: CallbackId::parse(callback_id).map_err(|error| error.to_string())?,
        data: parse(fields.get("data").ok_or("an entry has no data")?)?,
    })
}

/// JSON that is text, or compressed text.
fn parse<T: DeserializeOwned>(value: &AttributeValue) -> Result<T, String> {
    match value {
        AttributeValue::S(text) => serde_json::from_str(text).map_err(|error| error.to_string()),
        AttributeValue::B(compressed) => {
            let mut bytes = Vec::new();
            DeflateDecoder::new(compressed.as_ref())
                .take(LARGEST_TEXT)
                .read_to_end(&mut bytes)
                .map_err(|error| error.to_string())?;
            serde_json::from_slice(&bytes).map_err(|error| error.to_string())
        }
        _ => Err("it is neither text nor bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn item(record: &Record) -> Item {
        let mut item: Item =
            encode(record).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        item.insert("trace_id".to_owned(), text(&record.trace_id));
        item
    }

    #[test]
    fn what_is_compressed_saves_a_write_unit() {
        let letters = json(&"a".repeat(WRITE_UNIT + 200));
        assert!(letters.is_b() && super::super::size::of_value(&letters) < 200);
        assert!(json(&"a".repeat(WRITE_UNIT - 10)).is_s());
        let random: String = (0..60).map(|_| TraceId::random().to_string()).collect();
        assert!(json(&random[..1500].to_owned()).is_s(), "it would not save a kilobyte");
        for value in [letters, json(&random)] {
            let text: String = parse(&value).unwrap();
            assert!(text.starts_with('a') || text == random);
        }
    }

    #[test]
    fn the_ring_of_receipts_keeps_their_order() {
        for (count, steps) in [(0, 1), (3, 3), (31, 31), (32, 32), (32, 47), (32, 64)] {
            let mut record = Record::stub(TraceId::random(), AT);
            record.invoke_count = steps;
            record.consumed = (0..count).map(|_| Receipt::random()).collect();
            assert_eq!(decode(&item(&record)).unwrap().consumed, record.consumed, "{count} after {steps}");
        }
    }

    #[test]
    fn a_newer_format_is_left_alone_and_an_older_one_read() {
        let record = Record::stub(TraceId::random(), AT);
        let mut newer = item(&record);
        newer.insert("format".to_owned(), number(FORMAT + 1));
        let said = decode(&newer).unwrap_err().to_string();
        assert!(said.contains("newer version") && said.contains(record.trace_id.as_str()), "{said}");
        let mut older = item(&record);
        older.remove("format");
        assert_eq!(decode(&older).unwrap(), record);
    }

    #[test]
    fn what_is_damaged_is_named() {
        for (name, value) in [
            ("state", number(9)),
            ("inputs", text("{")),
            ("outputs", AttributeValue::B(Blob::new("not deflate"))),
            ("receipts", AttributeValue::L(vec![text("x")])),
            ("lease_token", text("short")),
        ] {
            let mut damaged = item(&Record::stub(TraceId::random(), AT));
            damaged.insert(name.to_owned(), value);
            let said = decode(&damaged).unwrap_err().to_string();
            assert!(said.contains(name) || name == "receipts", "{name}: {said}");
        }
        let mut missing = item(&Record::stub(TraceId::random(), AT));
        missing.remove("state");
        assert!(decode(&missing).is_err());
    }

    #[test]
    fn large_values_survive() {
        let mut record = Record::stub(TraceId::random(), AT);
        record.storage = json!({ "list": vec!["中文 and text"; 1000] });
        record.outputs = json!({ "n": u64::MAX });
        assert_eq!(decode(&item(&record)).unwrap(), record);
    }
}
