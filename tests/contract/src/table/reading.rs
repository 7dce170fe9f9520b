//! What reads see: the record as it was written, at once.

use bk_plugin_core::ids::{Receipt, TraceId};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::record::{Deadline, FinishCallback, State};
use bk_plugin_core::table::Commit;
use serde_json::json;

use super::{MINUTE, appended, claim, committed, invocation, read};
use crate::TableStore;
use crate::sample::{START, applied, early, entry, granted, late, lease, polled, record};

/// Every field of a record survives, with any characters in its texts.
pub async fn a_record_reads_back_as_it_was_written(store: &dyn TableStore) {
    let mut record = record(State::Callback);
    record.context.insert("operator".to_owned(), json!("admin"));
    record.context.insert(String::new(), json!({ "": [[], {}, "", null, false, -1, u64::MAX, i64::MIN] }));
    record.storage = json!([1, null, { "z": "\"", "a": 1e300 }]);
    record.outputs = json!({ "empty": {}, "text": "\u{1f600} \\u0000 \r\n" });
    record.err.push_str("a \u{0} \"quoted\" 'word'");
    record.deadline = Some(Deadline { at: START, run: true });
    record.finish_callback =
        Some(FinishCallback { url: "http://x/".to_owned(), data: record.inputs.clone() });
    record.trace.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    record.owed = true;
    record.lease = Some(lease());
    record.consumed = vec![Receipt::random(), Receipt::random()];
    record.finish_at = Some(START + MINUTE);
    let table = store.table();
    applied(table.create(&record, Some(0)).await.unwrap());
    let read = read(&*table, &record.trace_id).await;
    assert_eq!(read, record);
    let keys: Vec<_> = read.inputs.keys().collect();
    assert_eq!(keys, ["b", "a"], "the order of keys is kept");
}

/// Reading a missing record is not an error.
pub async fn nothing_is_read_where_nothing_is(store: &dyn TableStore) {
    assert_eq!(store.table().read(&TraceId::random()).await.unwrap(), None);
}

/// A client that got the answer to its write reads that write, every time.
pub async fn a_write_is_read_at_once(store: &dyn TableStore) {
    let table = store.table();
    let trace_id = invocation(&*table, State::Poll).await.trace_id;
    for step in 1..=20 {
        let lease = lease();
        granted(claim(&*table, &trace_id, step, &lease).await);
        assert_eq!(read(&*table, &trace_id).await.lease, Some(lease.clone()));
        let one = entry(json!(step));
        appended(&*table, &trace_id, &late(&one)).await;
        assert_eq!(read(&*table, &trace_id).await.inbox.last(), Some(&one));
        let commit = Commit { invoke_count: step + 1, ..polled() };
        let after = committed(&*table, &trace_id, &lease, &commit).await;
        assert_eq!((after.invoke_count, after.lease), (step + 1, None));
    }
}

/// `ping` succeeds.
pub async fn a_table_that_is_there_answers(store: &dyn TableStore) {
    store.table().ping().await.unwrap();
}

/// It is unknown until the invocation is there.
pub async fn the_group_is_that_of_the_version_or_unknown(store: &dyn TableStore) {
    let (table, record) = (store.table(), record(State::Poll));
    assert_eq!(table.group_of(&record.trace_id).await, None);
    appended(&*table, &record.trace_id, &early(&entry(json!(1)))).await;
    assert_eq!(table.group_of(&record.trace_id).await, None, "a stub");
    applied(table.create(&record, None).await.unwrap());
    let group = store.tells_groups().then(|| MessageGroup::of_version(&record.plugin_version));
    assert_eq!(table.group_of(&record.trace_id).await, group);
}
