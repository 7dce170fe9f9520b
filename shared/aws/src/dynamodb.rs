//! The invocation table on DynamoDB: one item for each invocation, one conditional update for each change.
//!
//! An update whose condition does not hold returns the item as it is (`ALL_OLD`), a granted claim the item as it has become
//! (`ALL_NEW`), so no item is read twice. `schedule` reads consistently. The attribute `expires_at` is for DynamoDB's own
//! deletion (TTL), which may be days late: no rule here depends on it.

mod item;
mod size;
mod update;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};

use self::item::{Item, number, state, text};
use self::update::{Failed, Update};
use crate::unavailable::unavailable;

pub use self::size::LARGEST_ITEM;

/// The invocation table, in a DynamoDB table whose key is `trace_id`.
#[derive(Debug, Clone)]
pub struct DynamoDbTable {
    client: Client,
    name: String,
}

/// Condition: the item has no lease that is valid at `:now`.
const NOT_LEASED: &str = "#lease_until <= :now";

impl DynamoDbTable {
    /// The table with this name.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self { client, name: name.into() }
    }

    async fn run(&self, update: Update) -> Result<UpdateItemOutput, Failed> {
        update.run(&self.client, &self.name).await
    }

    async fn item(&self, trace_id: &TraceId) -> Result<Option<Item>, StoreError> {
        let request = self.client.get_item().table_name(&self.name).key("trace_id", text(trace_id));
        let answer = request.consistent_read(true).send().await.map_err(|error| unavailable(&error))?;
        Ok(answer.item)
    }

    /// The error for an update that would make the item too large. DynamoDB does not say how large.
    async fn too_large(&self, trace_id: &TraceId, update: &Update) -> StoreError {
        match self.item(trace_id).await {
            Ok(item) => {
                let size = update.size() + item.as_ref().map_or(0, size::of);
                StoreError::TooLarge { size: size.max(LARGEST_ITEM + 1), limit: LARGEST_ITEM }
            }
            Err(error) => error,
        }
    }

    /// Runs an update whose condition may not hold.
    async fn write(&self, trace_id: &TraceId, update: Update) -> Result<Write, StoreError> {
        match self.run(update.clone()).await {
            Ok(_) => Ok(Write::Applied),
            Err(Failed::Condition(there)) => Ok(Write::Refused(record(there)?)),
            Err(Failed::TooLarge) => Err(self.too_large(trace_id, &update).await),
            Err(Failed::Store(error)) => Err(error),
        }
    }

    /// Moves the expiry of a stub later, never earlier.
    async fn put_off(&self, trace_id: &TraceId, expires_at: Timestamp) -> Result<(), StoreError> {
        let update = Update::of(trace_id)
            .set("expires_at", item::expiry(expires_at))
            .when("#state = :empty AND #expires_at < :expires_at")
            .with("empty", state(State::Empty));
        match self.run(update).await {
            // Refused: the item is no longer a stub, or another callback has moved its expiry further.
            Ok(_) | Err(Failed::Condition(_) | Failed::TooLarge) => Ok(()),
            Err(Failed::Store(error)) => Err(error),
        }
    }
}

fn record(item: Option<Item>) -> Result<Option<Box<Record>>, StoreError> {
    item.map(|item| item::decode(&item).map(Box::new)).transpose()
}

#[async_trait]
impl Table for DynamoDbTable {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        let mut update = Update::of(&record.trace_id)
            .when("(attribute_not_exists(#trace_id) OR #state = :stub)")
            .with("stub", state(State::Empty))
            .set_if_absent("inbox", AttributeValue::L(Vec::new()))
            .set_if_absent("receipts", AttributeValue::L(Vec::new()))
            .set_all(item::encode(record));
        if let Some(length) = inbox_len {
            let known = if length == 0 {
                "(attribute_not_exists(#receipts) OR size(#receipts) = :length)"
            } else {
                "size(#receipts) = :length"
            };
            update = update.when(known).with("length", number(length));
        }
        self.write(&record.trace_id, update).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let update = match on {
            ClaimOn::Step(after) => Update::of(trace_id)
                .when("#invoke_count = :after")
                .when("(#state = :poll OR (#state = :callback AND (size(#receipts) > :none OR #deadline_at <= :now)))")
                .with("after", number(*after))
                .with("poll", state(State::Poll))
                .with("none", number(0)),
            ClaimOn::Receipt(receipt) => Update::of(trace_id)
                .when("#state = :callback")
                .when("contains(#receipts, :receipt)")
                .with("receipt", text(receipt)),
        };
        let update = update
            .when(NOT_LEASED)
            .with("callback", state(State::Callback))
            .with("now", number(now.as_millis()))
            .set_all(item::lease(Some(lease)))
            .returning(ReturnValue::AllNew);
        let there = match self.run(update).await {
            Ok(UpdateItemOutput { attributes: Some(item), .. }) => {
                return Ok(Claim::Granted(Box::new(item::decode(&item)?)));
            }
            Ok(_) => None,
            Err(Failed::Condition(there)) => record(there)?,
            Err(Failed::TooLarge) => return Err(update::no_room()),
            Err(Failed::Store(error)) => return Err(error),
        };
        match there {
            // An earlier attempt succeeded, but its answer was lost.
            Some(record) if record.lease.as_ref() == Some(lease) => Ok(Claim::Granted(record)),
            there => Ok(Claim::Refused(there)),
        }
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        let brings_state = commit.storage.is_some() || commit.outputs.is_some();
        // The commit that ends an invocation whose state is too large must succeed: where its error does not fit, it takes
        // the room of data that no step reads after the end.
        let attempts: &[Dropped] =
            if brings_state { &[Dropped::Nothing] } else { &[Dropped::Nothing, Dropped::Call, Dropped::All] };
        let mut refused = None;
        for dropped in attempts {
            let update = committing(trace_id, token, commit, *dropped);
            match self.run(update.clone()).await {
                Ok(_) => return Ok(Write::Applied),
                Err(Failed::Condition(there)) => return Ok(Write::Refused(record(there)?)),
                Err(Failed::TooLarge) => refused = Some(update),
                Err(Failed::Store(error)) => return Err(error),
            }
        }
        match refused {
            Some(update) => Err(self.too_large(trace_id, &update).await),
            None => Ok(Write::Applied),
        }
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        let receipt = &append.entry.receipt;
        let mut update = Update::of(trace_id)
            .append("inbox", item::entry(&append.entry))
            .append("receipts", text(receipt))
            .when("NOT contains(#receipts, :receipt) AND NOT contains(#consumed, :receipt)")
            .when("(attribute_not_exists(#receipts) OR size(#receipts) < :most)")
            .with("receipt", text(receipt))
            .with("most", number(Record::LARGEST_INBOX))
            .with("empty", state(State::Empty))
            .with("poll", state(State::Poll))
            .with("callback", state(State::Callback));
        if let Some((created_at, expires_at)) = append.stub {
            let stub = Record::stub(trace_id.clone(), created_at);
            for (name, value) in item::encode_stub(&stub, expires_at) {
                update = update.set_if_absent(name, value);
            }
            update = update
                .when("(attribute_not_exists(#trace_id) OR #state IN (:empty, :poll, :callback))")
                .returning(ReturnValue::UpdatedNew);
        } else {
            update = update.when("#state IN (:empty, :poll, :callback)");
        }
        let there = match self.run(update.clone()).await {
            Ok(UpdateItemOutput { attributes, .. }) => {
                let (Some((_, expires_at)), Some(now_is)) = (append.stub, attributes) else {
                    return Ok(Write::Applied);
                };
                if item::is_stub_that_ends_before(&now_is, expires_at) {
                    self.put_off(trace_id, expires_at).await?;
                }
                return Ok(Write::Applied);
            }
            Err(Failed::Condition(there)) => record(there)?,
            Err(Failed::TooLarge) => return Err(self.too_large(trace_id, &update).await),
            Err(Failed::Store(error)) => return Err(error),
        };
        let Some(there) = there else { return Ok(Write::Refused(None)) };
        let waits = there.inbox.iter().any(|entry| entry.receipt == *receipt);
        if waits || there.consumed.contains(receipt) {
            return Ok(Write::Applied);
        }
        if !there.state.is_finished() && there.inbox.len() >= Record::LARGEST_INBOX {
            return Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX });
        }
        Ok(Write::Refused(Some(there)))
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        let update = Update::of(trace_id)
            .set("owed", AttributeValue::Bool(false))
            .when("#owed = :is_owed")
            .with("is_owed", AttributeValue::Bool(true));
        match self.run(update).await {
            Ok(_) | Err(Failed::Condition(_) | Failed::TooLarge) => Ok(()),
            Err(Failed::Store(error)) => Err(error),
        }
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        record(self.item(trace_id).await?)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.item(&TraceId::random()).await.map(drop)
    }
}

/// Data that a commit removes from an item to make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Nothing,
    /// Inputs, context, storage, and the data of callbacks that no step was given.
    Call,
    /// These, and the outputs.
    All,
}

fn committing(trace_id: &TraceId, token: &LeaseToken, commit: &Commit, dropped: Dropped) -> Update {
    let mut update = Update::of(trace_id)
        .when("#lease_token = :holder")
        .with("holder", text(token))
        .set_all(item::lease(None))
        .set("state", state(commit.state))
        .set("invoke_count", number(commit.invoke_count))
        .set("err", text(&commit.err))
        .set("owed", AttributeValue::Bool(commit.owed))
        .set_or_remove("storage", commit.storage.as_ref().map(item::json), true)
        .set_or_remove("outputs", commit.outputs.as_ref().map(item::json), true)
        .set_or_remove("deadline_at", commit.deadline.map(|deadline| number(deadline.at.as_millis())), false)
        .set_or_remove(
            "deadline_run",
            commit.deadline.map(|deadline| AttributeValue::Bool(deadline.run)),
            false,
        )
        .set_or_remove("finish_at", commit.finish_at.map(|at| number(at.as_millis())), false)
        .set_or_remove("expires_at", commit.expires_at.map(item::expiry), true);
    if let Some(length) = commit.inbox_len {
        update = update.when("size(#receipts) = :length").with("length", number(length));
    }
    if commit.consume {
        update = update
            .when("size(#receipts) > :none")
            .with("none", number(0))
            .copy(&item::consumed_by(commit.invoke_count), "#receipts[0]");
    }
    match dropped {
        Dropped::Nothing if commit.consume => update = update.remove("inbox[0]").remove("receipts[0]"),
        Dropped::Nothing => {}
        Dropped::Call | Dropped::All => {
            update = ["inputs", "context", "storage"].into_iter().fold(update, Update::remove);
            update = ["inbox", "receipts"]
                .into_iter()
                .fold(update, |update, list| update.set(list, AttributeValue::L(Vec::new())));
            if dropped == Dropped::All {
                update = update.remove("outputs");
            }
        }
    }
    update
}
