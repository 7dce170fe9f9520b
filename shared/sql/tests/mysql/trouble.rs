//! A server that goes down, comes back, hangs, or is read-only; transactions that conflict.

use std::time::Duration;

use bk_plugin_core::queue::Queue;
use bk_plugin_core::record::State;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Table};
use bk_plugin_sql::Store as _;
use contract::sample::{START, applied, entry, late, lease, record};
use serde_json::json;

use crate::fixture::{Fixture, NOW, message, receive_one};

#[tokio::test]
async fn an_answered_write_outlives_a_killed_server() {
    let mut fixture = Fixture::new().await;
    let record = fixture.invocation(State::Poll).await;
    let sent = message();
    fixture.store.send(&sent, NOW).await.unwrap();
    fixture.server.kill();
    for answer in [
        fixture.store.settle(&record.trace_id).await,
        fixture.store.read(&record.trace_id).await.map(drop),
        fixture.store.ping().await,
        fixture.store.receive(1, NOW).await.map(drop),
    ] {
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    fixture.server.start_again().await;
    fixture.patiently(async |store| store.settle(&record.trace_id).await).await;
    fixture.patiently(async |store| store.ping().await).await;
    assert_eq!(fixture.read(&record.trace_id).await, record);
    assert_eq!(receive_one(&fixture.store).await, sent);
}

/// A caller that retries has every change made once; leases stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_goes_on_after_restarts_in_the_middle_of_it() {
    let mut fixture = Fixture::new().await;
    let record = fixture.invocation(State::Callback).await;
    let held = fixture.invocation(State::Poll).await.trace_id;
    fixture.leased(&held).await;
    let store = fixture.store.clone();
    let trace_id = record.trace_id.clone();
    let writing = tokio::spawn(async move {
        for number in 0..200 {
            let callback = late(&entry(json!(number)));
            while let Err(error) = store.append(&trace_id, &callback).await {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    for round in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if round == 1 {
            fixture.server.kill();
            fixture.server.start_again().await;
        } else {
            fixture.server.restart().await;
        }
    }
    writing.await.unwrap();
    let inbox = fixture.patiently(async |store| store.read(&record.trace_id).await).await.unwrap().inbox;
    let numbers: Vec<_> = inbox.iter().map(|entry| entry.data.as_i64().unwrap()).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>(), "in order, each once");
    let refused = fixture.store.claim(&held, &ClaimOn::Step(1), &lease(), START).await.unwrap();
    assert!(matches!(refused, bk_plugin_core::table::Claim::Refused(Some(_))), "the lease is still there");
}

/// The connection breaks between two transactions, and no caller notices.
#[tokio::test]
async fn a_connection_that_was_cut_while_idle_costs_nothing() {
    let fixture = Fixture::new().await;
    let record = fixture.invocation(State::Callback).await;
    for number in 0..3 {
        let ids: Vec<i64> =
            sqlx::query_scalar("SELECT id FROM information_schema.processlist WHERE user = 'plugin'")
                .fetch_all(&mut fixture.server.connect().await)
                .await
                .unwrap();
        for id in ids {
            fixture.server.execute(&format!("KILL {id}")).await;
        }
        applied(fixture.store.append(&record.trace_id, &late(&entry(json!(number)))).await.unwrap());
        assert_eq!(fixture.read(&record.trace_id).await.inbox.len(), number + 1);
    }
}

/// This happens after a failover, when the old primary has become a replica.
#[tokio::test]
async fn a_server_that_is_read_only_is_unavailable_until_it_is_not() {
    let fixture = Fixture::new().await;
    let record = fixture.invocation(State::Callback).await;
    fixture.server.execute("SET GLOBAL read_only = 1").await;
    let callback = late(&entry(json!(1)));
    let refused = fixture.store.append(&record.trace_id, &callback).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(fixture.read(&record.trace_id).await, record, "it can be read");
    fixture.server.execute("SET GLOBAL read_only = 0").await;
    applied(fixture.patiently(async |store| store.append(&record.trace_id, &callback).await).await);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let fixture = Fixture::new().await;
    let record = fixture.invocation(State::Callback).await;
    fixture.server.freeze();
    let (settled, read) =
        tokio::join!(fixture.store.settle(&record.trace_id), fixture.store.read(&record.trace_id));
    assert!(matches!(settled, Err(StoreError::Unavailable(_))), "{settled:?}");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    fixture.server.thaw();
    fixture.patiently(async |store| store.settle(&record.trace_id).await).await;
    assert_eq!(fixture.read(&record.trace_id).await, record);
}

/// Another transaction locks two records in the opposite order of the store's. The server rolls one of the two
/// back, and the store retries.
#[tokio::test]
async fn a_deadlock_is_retried() {
    let fixture = Fixture::new().await;
    let mut trace_ids =
        [fixture.invocation(State::Poll).await.trace_id, fixture.invocation(State::Poll).await.trace_id];
    trace_ids.sort();
    let [first, second] = trace_ids;
    let mut connection = fixture.server.connect().await;
    // The server does not roll back the transaction that has written more.
    sqlx::raw_sql("CREATE TABLE heavy (n INT); INSERT INTO heavy VALUES (1), (2), (3)")
        .execute(&mut connection)
        .await
        .unwrap();
    let lock = "UPDATE bk_plugin_invocations SET owed = 1 WHERE trace_id = ?";
    let mut other = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::query("UPDATE heavy SET n = n + 1").execute(&mut *other).await.unwrap();
    sqlx::query(lock).bind(second.as_str()).execute(&mut *other).await.unwrap();
    // Both requests are made before the writer task runs, so they are in one transaction.
    let asked: Vec<_> = [&first, &second]
        .map(|trace_id| {
            let (store, trace_id) = (fixture.store.clone(), trace_id.clone());
            tokio::spawn(async move { store.settle(&trace_id).await })
        })
        .into();
    tokio::time::sleep(Duration::from_millis(500)).await;
    sqlx::query(lock).bind(first.as_str()).execute(&mut *other).await.unwrap();
    other.commit().await.unwrap();
    for settled in asked {
        settled.await.unwrap().unwrap();
    }
    for trace_id in [first, second] {
        assert!(!fixture.read(&trace_id).await.owed, "it was settled after the other one had written");
    }
}

/// The store waits for the session's time-out, retries, and gives up in the end.
#[tokio::test]
async fn a_lock_that_is_never_released_is_unavailable() {
    let fixture = Fixture::new().await;
    let trace_id = fixture.invocation(State::Poll).await.trace_id;
    let mut connection = fixture.server.connect().await;
    let mut holding = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::query("UPDATE bk_plugin_invocations SET owed = 1 WHERE trace_id = ?")
        .bind(trace_id.as_str())
        .execute(&mut *holding)
        .await
        .unwrap();
    let refused = fixture.store.settle(&trace_id).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    holding.rollback().await.unwrap();
    fixture.patiently(async |store| store.settle(&trace_id).await).await;
}

#[tokio::test]
async fn a_failing_request_does_not_fail_its_neighbours() {
    let fixture = Fixture::new().await;
    let bad = fixture.invocation(State::Poll).await.trace_id;
    fixture
        .server
        .execute(&format!(
            "CREATE TRIGGER plugin.refuse BEFORE INSERT ON plugin.bk_plugin_messages FOR EACH ROW \
             IF new.body LIKE '%{bad}%' THEN SIGNAL SQLSTATE '45000'; END IF"
        ))
        .await;
    let sends: Vec<_> = (0..50)
        .map(|number| {
            let message = match number {
                20 => {
                    bk_plugin_core::queue::Message::Finish(bk_plugin_core::queue::Finish::first(bad.clone()))
                }
                _ => message(),
            };
            let store = fixture.store.clone();
            tokio::spawn(async move { store.send(&message, NOW).await })
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
    assert_eq!(fixture.store.receive(100, NOW).await.unwrap().len(), 49);
}

#[tokio::test]
async fn a_damaged_record_is_unreadable_and_others_are_not() {
    let fixture = Fixture::new().await;
    let damaged = fixture.invocation(State::Poll).await.trace_id;
    let good = fixture.invocation(State::Poll).await.trace_id;
    sqlx::query("UPDATE bk_plugin_invocations SET state = 77 WHERE trace_id = ?")
        .bind(damaged.as_str())
        .execute(&mut fixture.server.connect().await)
        .await
        .unwrap();
    let error = fixture.store.read(&damaged).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    let (lease, on) = (lease(), ClaimOn::Step(1));
    let (claim, other) =
        tokio::join!(fixture.store.claim(&damaged, &on, &lease, START), fixture.store.settle(&good));
    assert!(matches!(claim, Err(StoreError::Unreadable { .. })), "{claim:?}");
    other.unwrap();
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move { store.receive(1, Duration::from_secs(9)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.store.close().await;
    fixture.store.close().await;
    assert!(receiver.await.unwrap().unwrap().is_empty());
    let trace_id = record(State::Poll).trace_id;
    assert!(matches!(fixture.store.settle(&trace_id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(fixture.store.read(&trace_id).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(fixture.store.ping().await, Err(StoreError::Unavailable(_))));
}
