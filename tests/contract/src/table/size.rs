//! Records that are too large for a store.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Commit, Write};
use serde_json::json;

use super::{appended, committed, created, invocation, leased, read};
use crate::TableStore;
use crate::sample::{applied, early, ended, entry, late, polled, record, text};

/// The length of a text that fits into a record once but not twice, even compressed.
fn large(store: &dyn TableStore) -> usize {
    store.largest_record() / 10 * 7
}

#[track_caller]
fn is_too_large(result: Result<Write, StoreError>) {
    let Err(StoreError::TooLarge { size, limit }) = result else { panic!("{result:?}") };
    assert!(size > limit, "{size} bytes, {limit} may be");
}

/// The record is not written. A smaller one is.
pub async fn create_of_a_record_that_is_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let mut record = record(State::Callback);
    record.inputs.insert("large".to_owned(), text(large));
    let mut too_large = Record { trace_id: TraceId::random(), ..record.clone() };
    too_large.context.insert("large".to_owned(), text(large + 1));
    is_too_large(table.create(&too_large, None).await);
    assert_eq!(table.read(&too_large.trace_id).await.unwrap(), None);
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await, record);

    // The stub's inbox counts as part of the record that replaces the stub.
    record.trace_id = TraceId::random();
    appended(&*table, &record.trace_id, &early(&entry(text(large + 2)))).await;
    is_too_large(table.create(&record, None).await);
    assert!(read(&*table, &record.trace_id).await.is_stub());
}

/// The inbox stays unchanged, and accepts a smaller callback.
pub async fn append_that_makes_a_record_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    for trace_id in [TraceId::random(), invocation(&*table, State::Callback).await.trace_id] {
        let (first, second) = (entry(text(large)), entry(json!("small")));
        appended(&*table, &trace_id, &early(&first)).await;
        is_too_large(table.append(&trace_id, &early(&entry(text(large + 1)))).await);
        appended(&*table, &trace_id, &early(&second)).await;
        appended(&*table, &trace_id, &early(&first)).await;
        assert_eq!(read(&*table, &trace_id).await.inbox, [first, second]);
    }
}

/// The record keeps its fields and its lease, and a smaller commit of the step succeeds.
pub async fn commit_that_makes_a_record_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(text(large)))).await;
    let lease = leased(&*table, &trace_id).await;
    let before = read(&*table, &trace_id).await;
    let storage = Commit { storage: Some(text(large + 1)), ..polled() };
    let outputs = Commit { outputs: Some(text(large + 1)), storage: None, ..polled() };
    for commit in [&storage, &outputs] {
        is_too_large(table.commit(&trace_id, &lease.token, commit).await);
        assert_eq!(read(&*table, &trace_id).await, before);
    }
    // A consumed callback makes room.
    let after = committed(&*table, &trace_id, &lease, &Commit { consume: true, ..storage }).await;
    assert_eq!((after.storage, after.inbox), (text(large + 1), vec![]));
}

/// The commit that ends an invocation because its state was too large must go through.
pub async fn commit_without_storage_and_outputs_is_never_too_large(store: &dyn TableStore) {
    let (table, large) = (store.table(), large(store));
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(text(large)))).await;
    // Fills the record until no further text fits.
    let mut length = store.largest_record() / 10;
    while length > 0 {
        match table.append(&trace_id, &late(&entry(text(length)))).await {
            Ok(write) => applied(write),
            Err(_) => length /= 2,
        }
    }
    let lease = leased(&*table, &trace_id).await;
    let err = "the state is too large ".repeat(20);
    let commit = Commit { storage: None, outputs: None, err: err.clone(), ..ended() };
    let done = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!((done.state, done.err), (State::Fail, err));
}
