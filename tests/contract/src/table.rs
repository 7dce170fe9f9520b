//! The cases of the port `Table`: the condition of every write, and the record after it.

mod append;
mod claim;
mod commit;
mod create;
mod expiry;
mod reading;
mod size;

use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::table::{Append, Claim, ClaimOn, Commit, Table};

use crate::sample::{START, applied, ended, granted, lease, record, refused};

pub use self::append::*;
pub use self::claim::*;
pub use self::commit::*;
pub use self::create::*;
pub use self::expiry::*;
pub use self::reading::*;
pub use self::size::*;

/// Registers every case of the port `Table` for a [`TableStore`](crate::TableStore).
#[macro_export]
macro_rules! table_cases {
    ($store:ty) => {
        $crate::register!($store, TableStore, table, [
            a_record_reads_back_as_it_was_written
            nothing_is_read_where_nothing_is
            a_write_is_read_at_once
            a_table_that_is_there_answers
            the_group_is_that_of_the_version_or_unknown
            create_writes_where_nothing_is
            create_is_refused_where_an_invocation_is
            create_is_refused_where_a_finished_invocation_is
            create_over_a_stub_keeps_the_inbox
            create_does_not_write_the_inbox_it_brings
            create_wants_the_inbox_it_knows
            claim_by_step_wants_that_many_steps
            claim_of_nothing_is_refused
            claim_of_a_stub_is_refused
            claim_of_a_finished_invocation_is_refused
            claim_respects_a_live_lease
            claim_takes_over_an_expired_lease
            claim_in_callback_wants_a_callback
            claim_in_callback_with_an_empty_inbox_waits_for_the_deadline
            claim_in_poll_does_not_look_at_the_inbox
            claim_by_receipt_wants_callback_and_the_receipt
            of_many_claims_at_once_one_is_granted
            commit_writes_the_step_and_takes_the_lease_off
            commit_that_ends_leaves_nothing_to_claim
            commit_without_storage_and_outputs_leaves_them
            commit_without_a_record_is_refused
            commit_without_the_lease_is_refused
            commit_of_a_lost_lease_is_refused
            commit_by_an_expired_lease_that_nobody_took_is_made
            commit_wants_the_inbox_it_knows
            commit_consumes_the_oldest_callback
            commit_that_consumes_from_an_empty_inbox_is_refused
            commit_remembers_the_latest_receipts
            settle_notes_that_nothing_is_owed
            append_keeps_the_order
            append_is_made_in_every_unfinished_state
            append_of_a_known_receipt_changes_nothing
            append_of_a_known_receipt_counts_as_applied_when_finished
            append_to_a_finished_invocation_is_refused
            append_without_a_record_makes_a_stub_only_if_told_to
            append_to_a_full_inbox_is_refused_as_such
            of_many_appends_at_once_none_is_lost
            create_of_a_record_that_is_too_large
            append_that_makes_a_record_too_large
            commit_that_makes_a_record_too_large
            commit_without_storage_and_outputs_is_never_too_large
            expired_records_and_stubs_go_others_stay
            a_stub_lives_as_long_as_its_youngest_callback
            create_over_a_stub_ends_its_expiry
        ]);
        $crate::register!($store, TableStore, concurrency, [
            one_client_is_answered_as_specified
            many_clients_are_linearizable
        ]);
    };
}

const MINUTE: Duration = Duration::from_mins(1);

/// Longer than every lease and deadline of a case.
const MUCH_LATER: Duration = Duration::from_hours(1000);

async fn created(table: &dyn Table, record: &Record) {
    applied(table.create(record, None).await.unwrap());
}

async fn invocation(table: &dyn Table, state: State) -> Record {
    let record = record(state);
    created(table, &record).await;
    record
}

async fn read(table: &dyn Table, trace_id: &TraceId) -> Record {
    *table.read(trace_id).await.unwrap().expect("there is a record")
}

async fn claim(table: &dyn Table, trace_id: &TraceId, after_step: u32, lease: &Lease) -> Claim {
    table.claim(trace_id, &ClaimOn::Step(after_step), lease, START).await.unwrap()
}

/// A lease of one minute, granted after one committed step.
async fn leased(table: &dyn Table, trace_id: &TraceId) -> Lease {
    let lease = lease();
    granted(claim(table, trace_id, 1, &lease).await);
    lease
}

async fn finished(table: &dyn Table) -> Record {
    let trace_id = invocation(table, State::Poll).await.trace_id;
    let lease = leased(table, &trace_id).await;
    committed(table, &trace_id, &lease, &ended()).await
}

async fn committed(table: &dyn Table, trace_id: &TraceId, lease: &Lease, commit: &Commit) -> Record {
    applied(table.commit(trace_id, &lease.token, commit).await.unwrap());
    read(table, trace_id).await
}

async fn refused_commit(table: &dyn Table, trace_id: &TraceId, lease: &Lease, commit: &Commit) -> Record {
    refused(table.commit(trace_id, &lease.token, commit).await.unwrap()).expect("there is a record")
}

async fn appended(table: &dyn Table, trace_id: &TraceId, append: &Append) {
    applied(table.append(trace_id, append).await.unwrap());
}
