//! `Table::append`: callbacks in the order of their acceptance, each once.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{InboxEntry, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Append, Commit};
use serde_json::json;

use super::{MINUTE, appended, committed, created, invocation, leased, read};
use crate::TableStore;
use crate::sample::{START, applied, early, ended, entry, late, lease, polled, record, refused};

/// Callbacks stay in the order of acceptance, whatever else changes on the record.
pub async fn append_keeps_the_order(store: &dyn TableStore) {
    let table = store.table();
    let record = record(State::Callback);
    let entries: Vec<_> = (0..12).map(|number| entry(json!({ "n": number }))).collect();
    for (number, entry) in entries.iter().enumerate() {
        if number == 4 {
            created(&*table, &record).await;
        }
        if number == 8 {
            leased(&*table, &record.trace_id).await;
        }
        appended(&*table, &record.trace_id, &early(entry)).await;
    }
    assert_eq!(read(&*table, &record.trace_id).await.inbox, entries);
}

/// The append is made with and without a lease on the record, and with and without permission to make a stub.
pub async fn append_is_made_in_every_unfinished_state(store: &dyn TableStore) {
    let table = store.table();
    for state in [State::Poll, State::Callback] {
        for lease in [None, Some(lease())] {
            let record = Record { lease, ..record(state) };
            created(&*table, &record).await;
            let inbox = vec![entry(json!(null)), entry(json!([]))];
            appended(&*table, &record.trace_id, &late(&inbox[0])).await;
            appended(&*table, &record.trace_id, &early(&inbox[1])).await;
            assert_eq!(read(&*table, &record.trace_id).await, Record { inbox, ..record });
        }
    }
}

/// This holds while the callback is in the inbox and after a step consumed it.
pub async fn append_of_a_known_receipt_changes_nothing(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (one, two) = (entry(json!({ "n": [1, 2] })), entry(json!(2)));
    for entry in [&one, &two, &one, &two] {
        appended(&*table, &trace_id, &late(entry)).await;
    }
    let changed = InboxEntry { data: json!("other data"), ..one.clone() };
    appended(&*table, &trace_id, &late(&changed)).await;
    assert_eq!(read(&*table, &trace_id).await.inbox, [one.clone(), two.clone()]);

    let lease = leased(&*table, &trace_id).await;
    let commit = Commit { state: State::Callback, consume: true, ..polled() };
    let record = committed(&*table, &trace_id, &lease, &commit).await;
    assert_eq!(record.inbox, [two]);
    appended(&*table, &trace_id, &early(&one)).await;
    assert_eq!(read(&*table, &trace_id).await, record);
}

/// The callback was accepted while the invocation ran. A caller that repeats the call after a lost answer
/// gets the same answer.
pub async fn append_of_a_known_receipt_counts_as_applied_when_finished(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    let (given, left) = (entry(json!(1)), entry(json!(2)));
    for entry in [&given, &left] {
        appended(&*table, &trace_id, &late(entry)).await;
    }
    let lease = leased(&*table, &trace_id).await;
    let done = committed(&*table, &trace_id, &lease, &Commit { consume: true, ..ended() }).await;
    for entry in [&given, &left] {
        appended(&*table, &trace_id, &late(entry)).await;
        appended(&*table, &trace_id, &early(entry)).await;
    }
    assert_eq!(read(&*table, &trace_id).await, done);
}

/// Callbacks that were accepted earlier and not consumed stay in the inbox.
pub async fn append_to_a_finished_invocation_is_refused(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Callback).await.trace_id;
    appended(&*table, &trace_id, &late(&entry(json!("left over")))).await;
    let lease = leased(&*table, &trace_id).await;
    let done = committed(&*table, &trace_id, &lease, &ended()).await;
    for append in [late(&entry(json!(1))), early(&entry(json!(2)))] {
        assert_eq!(refused(table.append(&trace_id, &append).await.unwrap()), Some(done.clone()));
    }
    assert_eq!(read(&*table, &trace_id).await, done);
    assert_eq!(done.inbox[0].data, json!("left over"));
}

/// A stub is made once. Later callbacks are added to it, with or without permission to make one.
pub async fn append_without_a_record_makes_a_stub_only_if_told_to(store: &dyn TableStore) {
    let (table, trace_id) = (store.table(), TraceId::random());
    let (one, two, three) = (entry(json!(null)), entry(json!("two")), entry(json!({ "three": 3 })));
    assert_eq!(refused(table.append(&trace_id, &late(&one)).await.unwrap()), None);
    assert_eq!(table.read(&trace_id).await.unwrap(), None);
    appended(&*table, &trace_id, &early(&one)).await;
    appended(&*table, &trace_id, &early(&one)).await;
    appended(&*table, &trace_id, &late(&two)).await;
    let later = Append { entry: three.clone(), stub: Some((START + MINUTE, START + 2 * MINUTE)) };
    appended(&*table, &trace_id, &later).await;
    let expected = Record { inbox: vec![one, two, three], ..Record::stub(trace_id.clone(), START) };
    assert_eq!(read(&*table, &trace_id).await, expected);
}

/// An append of a known receipt counts as applied even if the inbox is full.
pub async fn append_to_a_full_inbox_is_refused_as_such(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    let first = late(&entry(json!(0)));
    appended(&*table, &trace_id, &first).await;
    for number in 1..Record::LARGEST_INBOX {
        appended(&*table, &trace_id, &late(&entry(json!(number)))).await;
    }
    let full = table.append(&trace_id, &late(&entry(json!("one more")))).await;
    assert!(matches!(full, Err(StoreError::InboxFull { limit: Record::LARGEST_INBOX })), "{full:?}");
    appended(&*table, &trace_id, &first).await;
    assert_eq!(read(&*table, &trace_id).await.inbox.len(), Record::LARGEST_INBOX);
}

/// The record is created while the appends are under way.
pub async fn of_many_appends_at_once_none_is_lost(store: &dyn TableStore) {
    let record = record(State::Callback);
    let entries: Vec<_> = (0..100).map(|number| entry(json!(number))).collect();
    let mut writes = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        let (table, trace_id, append) = (store.table(), record.trace_id.clone(), early(entry));
        writes.push(tokio::spawn(async move { table.append(&trace_id, &append).await.unwrap() }));
        if number == 50 {
            let (table, record) = (store.table(), record.clone());
            writes.push(tokio::spawn(async move { table.create(&record, None).await.unwrap() }));
        }
    }
    for write in writes {
        applied(write.await.unwrap());
    }
    let read = read(&*store.table(), &record.trace_id).await;
    assert_eq!(read.state, State::Callback);
    assert_eq!(read.inbox.len(), 100);
    assert!(entries.iter().all(|entry| read.inbox.contains(entry)));
}
