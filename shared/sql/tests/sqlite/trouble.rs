//! Statements that fail, rows that cannot be read, a database that is busy.

use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Finish, Message, Queue};
use bk_plugin_core::record::State;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Table};
use contract::sample::{START, lease};
use sqlx::AssertSqlSafe;

use crate::fixture::Fixture;

/// Sends many messages at once, one of which the database refuses.
async fn one_bad_send(action: &str) {
    let fixture = Fixture::new().await;
    let bad = TraceId::random();
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON messages WHEN new.body LIKE '%{bad}%' \
         BEGIN SELECT RAISE({action}, 'not this one'); END"
    );
    sqlx::query(AssertSqlSafe(trigger)).execute(&mut fixture.connect().await).await.unwrap();
    let sends: Vec<_> = (0..50)
        .map(|number| {
            let trace_id = if number == 20 { bad.clone() } else { TraceId::random() };
            let store = fixture.store.clone();
            tokio::spawn(async move {
                store.send(&Message::Finish(Finish::first(trace_id)), Duration::ZERO).await
            })
        })
        .collect();
    let mut failed = Vec::new();
    for (number, send) in sends.into_iter().enumerate() {
        if let Err(error) = send.await.unwrap() {
            assert!(matches!(error, StoreError::Unavailable(_)));
            failed.push(number);
        }
    }
    assert_eq!(failed, [20]);
    assert_eq!(fixture.store.receive(100, Duration::ZERO).await.unwrap().len(), 49);
}

#[tokio::test]
async fn a_failing_request_does_not_fail_its_neighbours() {
    one_bad_send("ABORT").await;
}

#[tokio::test]
async fn nor_does_one_after_which_sqlite_has_rolled_back() {
    one_bad_send("ROLLBACK").await;
}

#[tokio::test]
async fn a_damaged_record_is_unreadable_and_others_are_not() {
    let fixture = Fixture::new().await;
    let damaged = fixture.invocation(State::Poll).await.trace_id;
    let odd = fixture.invocation(State::Poll).await.trace_id;
    let good = fixture.invocation(State::Poll).await.trace_id;
    let mut connection = fixture.connect().await;
    for (change, trace_id) in [
        ("UPDATE invocations SET storage = '{' WHERE trace_id = ?", &damaged),
        ("UPDATE invocations SET state = 77 WHERE trace_id = ?", &odd),
    ] {
        sqlx::query(change).bind(trace_id.as_str()).execute(&mut connection).await.unwrap();
    }
    for trace_id in [&damaged, &odd] {
        let error = fixture.store.read(trace_id).await.unwrap_err();
        assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(trace_id.as_str()), "{error}");
        let (lease, on) = (lease(), ClaimOn::Step(1));
        let (claim, other) =
            tokio::join!(fixture.store.claim(trace_id, &on, &lease, START), fixture.store.settle(&good),);
        assert!(matches!(claim, Err(StoreError::Unreadable { .. })), "{claim:?}");
        other.unwrap();
    }
    let leases: i64 =
        sqlx::query_scalar("SELECT count(*) FROM leases").fetch_one(&mut connection).await.unwrap();
    assert_eq!(leases, 0, "a release that can read the record need not wait for the end of a lease");
}

#[tokio::test]
async fn a_busy_database_is_unavailable_until_it_is_free() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let mut connection = fixture.connect().await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
    let refused = fixture.store.settle(&trace_id).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    fixture.read(&trace_id).await;
    sqlx::query("ROLLBACK").execute(&mut connection).await.unwrap();
    fixture.store.settle(&trace_id).await.unwrap();
}
