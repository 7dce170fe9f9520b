//! What the table does beyond the contract.

use std::time::Duration;

use bk_plugin_core::clock::Clock as _;
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::State;
use bk_plugin_core::table::Table;
use bk_plugin_sql::Store as _;
use contract::sample::{START, applied, early, ended, entry, late};
use serde_json::json;

use crate::fixture::Fixture;

/// Records are deleted in portions, and nothing is left in any table of the file.
#[tokio::test]
async fn what_expires_goes_with_all_that_belongs_to_it() {
    let fixture = Fixture::new().await;
    let polling = fixture.invocation(State::Poll).await.trace_id;
    let stub = TraceId::random();
    applied(fixture.store.append(&stub, &early(&entry(json!(1)))).await.unwrap());
    let mut finished = Vec::new();
    for _ in 0..3 {
        let trace_id = fixture.invocation(State::Poll).await.trace_id;
        let lease = fixture.leased(&trace_id).await;
        applied(fixture.store.append(&trace_id, &late(&entry(json!(1)))).await.unwrap());
        applied(fixture.store.commit(&trace_id, &lease.token, &ended()).await.unwrap());
        finished.push(trace_id);
    }
    let expire =
        |minutes, at_most| fixture.store.delete_expired(START + Duration::from_mins(minutes), at_most);
    assert_eq!(expire(9, 10).await.unwrap(), 0);
    assert_eq!(expire(10, 10).await.unwrap(), 1);
    assert!(fixture.store.read(&stub).await.unwrap().is_none());
    assert_eq!(expire(59, 10).await.unwrap(), 0);
    assert_eq!(expire(60, 2).await.unwrap(), 2);
    assert_eq!(expire(60, 2).await.unwrap(), 1);
    for trace_id in finished {
        assert!(fixture.store.read(&trace_id).await.unwrap().is_none());
    }
    fixture.read(&polling).await;
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM inbox), (SELECT count(*) FROM leases)",
    )
    .fetch_one(&mut fixture.connect().await)
    .await
    .unwrap();
    assert_eq!(left, (1, 0, 0));
    assert_eq!(fixture.clock.now(), START);
}
