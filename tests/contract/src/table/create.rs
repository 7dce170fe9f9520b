//! `Table::create`: only where nothing is, and over a stub.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Record, State};
use serde_json::json;

use super::{MINUTE, appended, created, finished, invocation, read};
use crate::TableStore;
use crate::sample::{START, applied, early, entry, record, refused};

/// The create may have a condition on the inbox or not.
pub async fn create_writes_where_nothing_is(store: &dyn TableStore) {
    let table = store.table();
    for inbox_len in [None, Some(0)] {
        let record = record(State::Poll);
        applied(table.create(&record, inbox_len).await.unwrap());
        assert_eq!(read(&*table, &record.trace_id).await, record);
    }
}

/// The second create is shown the first record, which stays unchanged.
pub async fn create_is_refused_where_an_invocation_is(store: &dyn TableStore) {
    let table = store.table();
    for state in [State::Poll, State::Callback] {
        let first = invocation(&*table, state).await;
        let second = Record { plugin_version: "2.0.0".to_owned(), ..first.clone() };
        for inbox_len in [None, Some(0)] {
            assert_eq!(refused(table.create(&second, inbox_len).await.unwrap()), Some(first.clone()));
        }
        assert_eq!(read(&*table, &first.trace_id).await, first);
    }
}

/// A finished invocation never changes.
pub async fn create_is_refused_where_a_finished_invocation_is(store: &dyn TableStore) {
    let table = store.table();
    let done = finished(&*table).await;
    let again = Record { trace_id: done.trace_id.clone(), ..record(State::Poll) };
    assert_eq!(refused(table.create(&again, None).await.unwrap()), Some(done.clone()));
    assert_eq!(read(&*table, &done.trace_id).await, done);
}

/// Callbacks that came before the record are in it, in their order. All other fields are those of the new
/// record.
pub async fn create_over_a_stub_keeps_the_inbox(store: &dyn TableStore) {
    let table = store.table();
    let record = Record { created_at: START + MINUTE, ..record(State::Callback) };
    let inbox = vec![entry(json!({ "n": 1 })), entry(json!("two"))];
    for entry in &inbox {
        appended(&*table, &record.trace_id, &early(entry)).await;
    }
    let stub = Record { inbox: inbox.clone(), ..Record::stub(record.trace_id.clone(), START) };
    assert_eq!(read(&*table, &record.trace_id).await, stub);

    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await, Record { inbox, ..record });
}

/// Only appends write to the inbox.
pub async fn create_does_not_write_the_inbox_it_brings(store: &dyn TableStore) {
    let table = store.table();
    let record = Record { inbox: vec![entry(json!("brought"))], ..record(State::Callback) };
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox, []);

    let (record, there) = (Record { trace_id: TraceId::random(), ..record }, entry(json!("there")));
    appended(&*table, &record.trace_id, &early(&there)).await;
    created(&*table, &record).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox, [there]);
}

/// Refused if a callback came meanwhile, so that the first step sends a wake-up for that callback.
pub async fn create_wants_the_inbox_it_knows(store: &dyn TableStore) {
    let table = store.table();
    let record = record(State::Callback);
    assert_eq!(refused(table.create(&record, Some(1)).await.unwrap()), None);
    assert_eq!(table.read(&record.trace_id).await.unwrap(), None);
    appended(&*table, &record.trace_id, &early(&entry(json!(1)))).await;
    for unfit in [0, 2] {
        let stub = refused(table.create(&record, Some(unfit)).await.unwrap());
        assert_eq!(stub, Some(read(&*table, &record.trace_id).await));
        assert!(stub.unwrap().is_stub());
    }
    applied(table.create(&record, Some(1)).await.unwrap());
}
