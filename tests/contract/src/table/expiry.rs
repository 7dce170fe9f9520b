//! When a store deletes records and stubs.

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{Record, State};
use bk_plugin_core::table::{Append, Table};
use serde_json::json;

use super::{MINUTE, MUCH_LATER, appended, created, finished, invocation, read};
use crate::TableStore;
use crate::sample::{START, early, entry, record};

async fn is_there(table: &dyn Table, trace_id: &TraceId) -> bool {
    table.read(trace_id).await.unwrap().is_some()
}

/// A finished invocation is deleted when its time is over, an unfinished one never.
pub async fn expired_records_and_stubs_go_others_stay(store: &dyn TableStore) {
    let table = store.table();
    let stub = TraceId::random();
    appended(&*table, &stub, &early(&entry(json!(1)))).await;
    let unfinished = [State::Poll, State::Callback];
    let unfinished = [invocation(&*table, unfinished[0]).await, invocation(&*table, unfinished[1]).await];
    let done = finished(&*table).await.trace_id;
    if !store.delete_expired(START + 9 * MINUTE).await {
        return;
    }
    assert!(is_there(&*table, &stub).await && is_there(&*table, &done).await);
    store.delete_expired(START + 11 * MINUTE).await;
    assert!(!is_there(&*table, &stub).await && is_there(&*table, &done).await);
    store.delete_expired(START + 59 * MINUTE).await;
    assert!(is_there(&*table, &done).await);
    store.delete_expired(START + 61 * MINUTE).await;
    assert!(!is_there(&*table, &done).await);
    store.delete_expired(START + MUCH_LATER).await;
    for record in unfinished {
        assert_eq!(read(&*table, &record.trace_id).await, record);
    }
    // The trace_id can be used again.
    let again = Record { trace_id: done, ..record(State::Poll) };
    created(&*table, &again).await;
    assert_eq!(read(&*table, &again.trace_id).await, again);
}

/// Each callback may be waiting for the first step to be written.
pub async fn a_stub_lives_as_long_as_its_youngest_callback(store: &dyn TableStore) {
    let (table, stub) = (store.table(), TraceId::random());
    for minutes in [20, 10] {
        let times = (START, START + minutes * MINUTE);
        appended(&*table, &stub, &Append { entry: entry(json!(minutes)), stub: Some(times) }).await;
    }
    if !store.delete_expired(START + 19 * MINUTE).await {
        return;
    }
    assert_eq!(read(&*table, &stub).await.inbox.len(), 2);
    store.delete_expired(START + 21 * MINUTE).await;
    assert!(!is_there(&*table, &stub).await);
}

/// A record that replaced a stub stays until the invocation is finished.
pub async fn create_over_a_stub_ends_its_expiry(store: &dyn TableStore) {
    let (table, record) = (store.table(), record(State::Callback));
    appended(&*table, &record.trace_id, &early(&entry(json!(1)))).await;
    created(&*table, &record).await;
    appended(&*table, &record.trace_id, &early(&entry(json!(2)))).await;
    store.delete_expired(START + MUCH_LATER).await;
    assert_eq!(read(&*table, &record.trace_id).await.inbox.len(), 2);
}
