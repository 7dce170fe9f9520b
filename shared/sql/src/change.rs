//! Requests that change one record.

use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::record::Lease;
use bk_plugin_core::table::ClaimOn;

use crate::reply::Reply;
use crate::rows::{NewEntry, NewRecord, NewStep, StoredRecord};

/// Changes one record.
pub(crate) struct Change {
    pub(crate) trace_id: TraceId,
    pub(crate) kind: ChangeKind,
    pub(crate) reply: Reply<ChangeAnswer>,
}

pub(crate) enum ChangeKind {
    Create {
        new: Box<NewRecord>,
        inbox_len: Option<usize>,
    },
    Claim {
        on: ClaimOn,
        lease: Lease,
        now: Timestamp,
    },
    Commit {
        token: LeaseToken,
        new: Box<NewStep>,
    },
    Append(NewEntry),
    Settle,
    /// Takes a lease off: its holder cannot read the record, and other processes may.
    Release {
        token: LeaseToken,
    },
}

/// The answer to a change. The record is part of it if the change was refused or was a claim.
pub(crate) struct ChangeAnswer {
    pub(crate) applied: bool,
    pub(crate) record: Option<StoredRecord>,
}

impl Change {
    /// Bytes that it adds to a transaction.
    pub(crate) fn size(&self) -> usize {
        match &self.kind {
            ChangeKind::Create { new, .. } => {
                let sizes = new.head.sizes;
                sizes.call + sizes.storage + sizes.outputs + new.err.len()
            }
            ChangeKind::Commit { new, .. } => {
                new.step.storage.unwrap_or(0) + new.step.outputs.unwrap_or(0) + new.err.len()
            }
            ChangeKind::Append(entry) => entry.data.len(),
            ChangeKind::Claim { .. } | ChangeKind::Settle | ChangeKind::Release { .. } => 0,
        }
    }
}
