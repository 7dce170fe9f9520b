//! The record of one invocation: every fact about it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::JsonObject;
use crate::caller::Caller;
use crate::clock::Timestamp;
use crate::ids::{CallbackId, LeaseToken, Receipt, TraceId};
use crate::message_group::MessageGroup;
use crate::trace_context::TraceContext;

/// Where an invocation stands. The numbers are those of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub enum State {
    /// No step has been committed yet.
    Empty = 1,
    /// Waits to be run again after an interval.
    Poll = 2,
    /// Waits for a callback.
    Callback = 3,
    /// Ended in success.
    Success = 4,
    /// Ended in failure; `err` says why.
    Fail = 5,
}

impl State {
    /// The state's name in the reference, as plugins and logs print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "EMPTY",
            Self::Poll => "POLL",
            Self::Callback => "CALLBACK",
            Self::Success => "SUCCESS",
            Self::Fail => "FAIL",
        }
    }

    /// Whether the invocation has ended.
    pub fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Fail)
    }
}

impl From<State> for u8 {
    fn from(state: State) -> Self {
        state as Self
    }
}

impl TryFrom<u8> for State {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        [Self::Empty, Self::Poll, Self::Callback, Self::Success, Self::Fail]
            .into_iter()
            .find(|state| *state as u8 == number)
            .ok_or_else(|| format!("there is no state {number}"))
    }
}

/// An accepted callback that was not handed to a step yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Names this entry in the wake-up sent for it.
    pub receipt: Receipt,
    /// Which prepared callback was called.
    pub callback_id: CallbackId,
    /// The body of the call: any JSON value.
    pub data: Value,
}

/// The right to run one step and commit it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Names the run of the step that holds the lease.
    pub token: LeaseToken,
    /// From this time on another runner may take over.
    pub until: Timestamp,
}

/// The end of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// When the wait is over.
    pub at: Timestamp,
    /// Whether `execute` runs then; otherwise the invocation ends in FAIL.
    pub run: bool,
}

/// How the caller wants to be told of the end: `plugin_callback_info` of the call's context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishCallback {
    /// The URL that is posted to.
    pub url: String,
    /// The JSON object that is posted.
    pub data: JsonObject,
}

/// The item of one invocation in the table.
///
/// A record in state [`State::Empty`] is a *stub*: it holds callbacks that came before the invocation's first step was
/// written. It is not an invocation yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The invocation's name.
    pub trace_id: TraceId,
    /// The version that was invoked.
    pub plugin_version: String,
    /// Where the invocation stands.
    pub state: State,
    /// How many steps have been committed.
    pub invoke_count: u32,
    /// The inputs as they came.
    pub inputs: JsonObject,
    /// The context as it came.
    pub context: JsonObject,
    /// The caller.
    pub caller: Caller,
    /// What the plugin keeps between steps; null until it stores something.
    pub storage: Value,
    /// What the plugin has put out.
    pub outputs: Value,
    /// Why the invocation failed; empty otherwise.
    pub err: String,
    /// The end of the current wait, if it has one: in POLL the interval's, in CALLBACK that of the time given for the
    /// callback. (A record in POLL that a former release has written has none.)
    pub deadline: Option<Deadline>,
    /// How to tell the caller of the end, if the caller wants to be told.
    pub finish_callback: Option<FinishCallback>,
    /// The distributed trace of the call. Every step belongs to it, whatever triggered the step.
    #[serde(default, skip_serializing_if = "TraceContext::is_empty")]
    pub trace: TraceContext,
    /// Whether the finish callback must still be sent.
    pub owed: bool,
    /// The lease of the runner of the next step, if one has started it.
    pub lease: Option<Lease>,
    /// Callbacks in the order they were accepted.
    pub inbox: Vec<InboxEntry>,
    /// Receipts of the latest callbacks that were handed to steps, at most [`Record::CONSUMED_KEPT`].
    pub consumed: Vec<Receipt>,
    /// When the invocation was called.
    pub created_at: Timestamp,
    /// When it ended.
    pub finish_at: Option<Timestamp>,
}

impl Record {
    /// How many receipts of consumed callbacks a record remembers. A late wake-up for an older callback is no longer
    /// recognised as done. It is requeued until its limit, then dropped: slower, but harmless.
    pub const CONSUMED_KEPT: usize = 32;

    /// How many callbacks may wait. Every claim reads them all, so a third party that calls without end would slow down
    /// the store for all invocations.
    pub const LARGEST_INBOX: usize = 1000;

    /// A record that only holds early callbacks.
    pub fn stub(trace_id: TraceId, created_at: Timestamp) -> Self {
        Self {
            trace_id,
            plugin_version: String::new(),
            state: State::Empty,
            invoke_count: 0,
            inputs: JsonObject::new(),
            context: JsonObject::new(),
            caller: Caller::default(),
            storage: Value::Null,
            outputs: Value::Object(JsonObject::new()),
            err: String::new(),
            deadline: None,
            finish_callback: None,
            trace: TraceContext::default(),
            owed: false,
            lease: None,
            inbox: Vec::new(),
            consumed: Vec::new(),
            created_at,
            finish_at: None,
        }
    }

    /// The group of its wake-ups; a stub's version is not known yet.
    pub fn group(&self) -> Option<MessageGroup> {
        (!self.is_stub()).then(|| MessageGroup::of_version(&self.plugin_version))
    }

    /// Whether this is not an invocation yet.
    pub fn is_stub(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether a runner may be running a step at `now`.
    pub fn is_leased(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.until > now)
    }

    /// Whether a callback or the deadline allows a record in CALLBACK to run a step at `now`.
    pub fn is_called_or_timed_out(&self, now: Timestamp) -> bool {
        !self.inbox.is_empty() || self.deadline.is_some_and(|deadline| deadline.at <= now)
    }
}
