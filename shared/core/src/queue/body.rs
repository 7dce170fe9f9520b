//! Messages as every store keeps them.
//!
//! # What every format promises
//!
//! A release that changes what a message holds gives it a higher `format`. Older releases may receive it: both run during
//! an upgrade, and a rollback brings the older one back. So in every format the body is a JSON object whose numbers fit
//! into 64 bits, and these fields keep their names, types and meanings:
//!
//! | field | type | meaning |
//! |---|---|---|
//! | `format` | number | the format; a message without it has format 1 |
//! | `trace_id` | text | the invocation that the message is about |
//! | `crashes` | number, may be missing | crashes counted before the message was put back |
//! | `unread` | object, may be missing | an [`Unread`]: written by a release that cannot read the message |
//!
//! A release that cannot read a message sends it again as it is, but for the last two.

use serde::{Deserialize, Serialize};

use super::Message;
use crate::JsonObject;
use crate::ids::TraceId;
use crate::store_error::StoreError;

/// The format that messages are written in, and the highest that is read.
const FORMAT: u32 = 1;

/// A message of which only the part that every format has can be read: a newer release has written it, or it is
/// damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The invocation that the message is about.
    pub trace_id: TraceId,
    /// How long it has been left, by earlier receivers that could not read it either.
    pub unread: Unread,
    /// What is wrong with it.
    pub problem: String,
    body: JsonObject,
}

/// How long a message was left by receivers that could not read it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Committed steps of the invocation when it was last received.
    pub after_step: u32,
    /// How often it was received while the invocation, due for its next step, stayed at that one.
    pub times: u32,
}

/// A body that names no invocation is not a message of this framework.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAMessage(String);

/// The fields that say whether the rest can be read.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default = "first_format")]
    format: u32,
    trace_id: String,
}

fn first_format() -> u32 {
    1
}

/// A message of the format that is written now.
#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    #[serde(flatten)]
    message: &'a Message,
}

impl Message {
    /// The message as a store keeps it, a JSON object.
    ///
    /// # Errors
    /// None for any message there is now: numbers, texts and objects can be written as JSON.
    pub fn to_body(&self) -> Result<String, StoreError> {
        let body = match self {
            Self::Unreadable(unreadable) => serde_json::to_string(&unreadable.body),
            readable => serde_json::to_string(&Written { format: FORMAT, message: readable }),
        };
        let what = || "message that was to be written".to_owned();
        body.map_err(|error| StoreError::Unreadable { what: what(), source: error.into() })
    }

    /// Reads a message as a store keeps it. A message of a newer format, or a damaged one, is a
    /// [`Message::Unreadable`].
    ///
    /// # Errors
    /// [`NotAMessage`] if the body names no invocation.
    pub fn parse(body: &str) -> Result<Self, NotAMessage> {
        let envelope: Envelope =
            serde_json::from_str(body).map_err(|error| NotAMessage(error.to_string()))?;
        let trace_id = TraceId::parse(&envelope.trace_id)
            .map_err(|error| NotAMessage(format!("its trace_id is not valid: {error}")))?;
        let problem = match envelope.format {
            1..=FORMAT => match serde_json::from_str(body) {
                Ok(message) => return Ok(message),
                Err(error) => format!("it is damaged: {error}"),
            },
            newer => format!("it has format {newer}; this release reads formats up to {FORMAT}"),
        };
        let body: JsonObject = serde_json::from_str(body).map_err(|error| NotAMessage(error.to_string()))?;
        Ok(Self::Unreadable(Unreadable::new(trace_id, problem, body)))
    }
}

impl Unreadable {
    fn new(trace_id: TraceId, problem: String, body: JsonObject) -> Self {
        let unread = body.get("unread").and_then(|unread| Unread::deserialize(unread).ok());
        Self { trace_id, unread: unread.unwrap_or_default(), problem, body }
    }

    /// Crashes counted before it was put back.
    pub(super) fn crashes(&self) -> u32 {
        let crashes = self.body.get("crashes").and_then(serde_json::Value::as_u64).unwrap_or(0);
        u32::try_from(crashes).unwrap_or(u32::MAX)
    }

    pub(super) fn with_crashes(mut self, crashes: u32) -> Self {
        if crashes > 0 {
            self.body.insert("crashes".to_owned(), crashes.into());
        }
        self
    }

    /// A copy that says how long it has been left.
    #[must_use]
    pub fn left(&self, unread: Unread) -> Self {
        let mut body = self.body.clone();
        let said = serde_json::json!({ "after_step": unread.after_step, "times": unread.times });
        body.insert("unread".to_owned(), said);
        Self { unread, body, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::Receipt;
    use crate::queue::{Finish, WakeUp};

    const AT: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const TRACE_ID: &str = "0123456789abcdef0123456789abcdef";
    const RECEIPT: &str = "fedcba9876543210fedcba9876543210";

    fn trace_id() -> TraceId {
        TraceId::parse(TRACE_ID).unwrap()
    }

    fn unreadable(body: &str) -> Unreadable {
        match Message::parse(body).unwrap() {
            Message::Unreadable(unreadable) => unreadable,
            readable => panic!("it can be read: {readable:?}"),
        }
    }

    /// Releases read what other releases have stored: a change of these texts is a change of the format.
    #[test]
    fn the_stored_form_of_each_message() {
        let wake_up = WakeUp { crashes: 1, put_backs: 2, ..WakeUp::for_step(trace_id(), 3, AT) };
        let called = WakeUp::for_callback(trace_id(), Receipt::parse(RECEIPT).unwrap(), AT);
        for (message, stored) in [
            (
                Message::WakeUp(wake_up),
                r#"{"format":1,"kind":"wake_up","trace_id":"0123456789abcdef0123456789abcdef","after_step":3,"due_at":1800000000000,"put_backs":2,"crashes":1}"#,
            ),
            (
                Message::WakeUp(called),
                r#"{"format":1,"kind":"wake_up","trace_id":"0123456789abcdef0123456789abcdef","after_step":0,"due_at":1800000000000,"receipt":"fedcba9876543210fedcba9876543210","put_backs":0,"crashes":0}"#,
            ),
            (
                Message::Finish(Finish::first(trace_id())),
                r#"{"format":1,"kind":"finish","trace_id":"0123456789abcdef0123456789abcdef","attempt":0}"#,
            ),
        ] {
            assert_eq!(message.to_body().unwrap(), stored);
            assert_eq!(Message::parse(stored).unwrap(), message);
            // The SQL stores of former releases wrote no format.
            assert_eq!(Message::parse(&stored.replace(r#""format":1,"#, "")).unwrap(), message);
        }
    }

    #[test]
    fn a_message_of_a_newer_format_is_left_as_it_is() {
        let newer = format!(r#"{{"format":2,"kind":"nudge","trace_id":"{TRACE_ID}","n":1,"a":[0.1,null]}}"#);
        let first = unreadable(&newer);
        assert_eq!((&first.trace_id, first.unread), (&trace_id(), Unread::default()));
        assert!(first.problem.contains("has format 2"), "{}", first.problem);
        assert_eq!(Message::Unreadable(first.clone()).to_body().unwrap(), newer);

        let unread = Unread { after_step: 3, times: 7 };
        let left = Message::Unreadable(first.left(unread)).with_crashes(2).to_body().unwrap();
        let again = unreadable(&left);
        assert_eq!((again.unread, again.crashes()), (unread, 2));
        let left: serde_json::Value = serde_json::from_str(&left).unwrap();
        let expected = json!({
            "format": 2, "kind": "nudge", "trace_id": TRACE_ID, "n": 1, "a": [0.1, null],
            "unread": { "after_step": 3, "times": 7 }, "crashes": 2,
        });
        assert_eq!(left, expected);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (body, said) in [
            (format!(r#"{{"format":1,"kind":"wake_up","trace_id":"{TRACE_ID}"}}"#), "damaged"),
            (format!(r#"{{"kind":"of a later release","trace_id":"{TRACE_ID}"}}"#), "damaged"),
            (format!(r#"{{"format":0,"trace_id":"{TRACE_ID}"}}"#), "has format 0"),
        ] {
            assert!(unreadable(&body).problem.contains(said), "{}", unreadable(&body).problem);
        }
        for body in ["garbage", "{}", "[1]", r#"{"trace_id":"../x"}"#, r#"{"format":1,"trace_id":null}"#] {
            assert!(Message::parse(body).is_err(), "{body}");
        }
    }
}
