//! The port `Table`.

use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::record::{Lease, Record};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table, Write};

use super::SqlStore;
use crate::backend::Backend;
use crate::change::{Change, ChangeAnswer, ChangeKind};
use crate::request::Request;
use crate::rows::{NewEntry, NewRecord, NewStep, StoredRecord};

/// How long a database may take to accept a write before it counts as unavailable.
const PING_TIME: Duration = Duration::from_secs(5);

#[async_trait]
impl<B: Backend> Table for SqlStore<B> {
    async fn create(&self, record: &Record, inbox_len: Option<usize>) -> Result<Write, StoreError> {
        let new = Box::new(NewRecord::of(record)?);
        self.write(&record.trace_id, ChangeKind::Create { new, inbox_len }).await
    }

    async fn claim(
        &self,
        trace_id: &TraceId,
        on: &ClaimOn,
        lease: &Lease,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let kind = ChangeKind::Claim { on: on.clone(), lease: lease.clone(), now };
        let answer = self.change(trace_id, kind).await?;
        let record = answer.record.map(StoredRecord::decode).transpose();
        if answer.applied && record.is_err() {
            // A newer release may be able to read it, and must not wait for the end of this lease. If this fails, it does.
            self.change(trace_id, ChangeKind::Release { token: lease.token.clone() }).await.ok();
        }
        match record? {
            // By the end of the transaction another claim may have found this lease expired.
            Some(record) if answer.applied => {
                Ok(Claim::Granted(Box::new(Record { lease: Some(lease.clone()), ..*record })))
            }
            record => Ok(Claim::Refused(record)),
        }
    }

    async fn commit(
        &self,
        trace_id: &TraceId,
        token: &LeaseToken,
        commit: &Commit,
    ) -> Result<Write, StoreError> {
        let new = Box::new(NewStep::of(commit)?);
        self.write(trace_id, ChangeKind::Commit { token: token.clone(), new }).await
    }

    async fn append(&self, trace_id: &TraceId, append: &Append) -> Result<Write, StoreError> {
        self.write(trace_id, ChangeKind::Append(NewEntry::of(append)?)).await
    }

    async fn settle(&self, trace_id: &TraceId) -> Result<(), StoreError> {
        self.write(trace_id, ChangeKind::Settle).await.map(drop)
    }

    async fn read(&self, trace_id: &TraceId) -> Result<Option<Box<Record>>, StoreError> {
        let record = self.backend.read(trace_id).await?;
        record.map(StoredRecord::decode).transpose()
    }

    async fn group_of(&self, trace_id: &TraceId) -> Option<MessageGroup> {
        let version = self.backend.version_of(trace_id).await.ok()??;
        (!version.is_empty()).then(|| MessageGroup::of_version(&version))
    }

    async fn ping(&self) -> Result<(), StoreError> {
        tokio::time::timeout(PING_TIME, self.writer.ask(Request::Ping))
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("no answer in time (ping)".into())))
    }
}

impl<B> SqlStore<B> {
    async fn write(&self, trace_id: &TraceId, kind: ChangeKind) -> Result<Write, StoreError> {
        let answer = self.change(trace_id, kind).await?;
        if answer.applied {
            return Ok(Write::Applied);
        }
        Ok(Write::Refused(answer.record.map(StoredRecord::decode).transpose()?))
    }

    async fn change(&self, trace_id: &TraceId, kind: ChangeKind) -> Result<ChangeAnswer, StoreError> {
        let trace_id = trace_id.clone();
        self.writer.ask(|reply| Request::Change(Change { trace_id, kind, reply })).await
    }
}
