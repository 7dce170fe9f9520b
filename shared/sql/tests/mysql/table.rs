//! What the table does beyond the contract.

use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::State;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Commit, Table, Write};
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::MysqlOptions;
use contract::sample::{START, applied, early, ended, entry, granted, late, lease, polled, record, text};
use serde_json::{Value, json};

use crate::fixture::Fixture;

const MIB: usize = 1024 * 1024;

/// Records are deleted in portions, by two processes at once, and nothing is left in any table.
#[tokio::test]
async fn what_expires_goes_with_all_that_belongs_to_it() {
    let fixture = Fixture::new().await;
    let polling = fixture.invocation(State::Poll).await.trace_id;
    let stub = TraceId::random();
    applied(fixture.store.append(&stub, &early(&entry(json!(1)))).await.unwrap());
    for _ in 0..120 {
        let trace_id = fixture.invocation(State::Poll).await.trace_id;
        let lease = fixture.leased(&trace_id).await;
        applied(fixture.store.append(&trace_id, &late(&entry(json!(1)))).await.unwrap());
        applied(fixture.store.commit(&trace_id, &lease.token, &ended()).await.unwrap());
    }
    let at = |minutes| START + Duration::from_mins(minutes);
    assert_eq!(fixture.store.delete_expired(at(9), 10).await.unwrap(), 0);
    assert_eq!(fixture.store.delete_expired(at(10), 10).await.unwrap(), 1);
    assert!(fixture.store.read(&stub).await.unwrap().is_none());
    assert_eq!(fixture.store.delete_expired(at(59), 10).await.unwrap(), 0);
    assert_eq!(fixture.store.delete_expired(at(60), 10).await.unwrap(), 10);
    let other = fixture.another().await;
    let (one, two) =
        tokio::join!(fixture.store.delete_expired(at(60), 500), other.delete_expired(at(60), 500));
    let rest = fixture.store.delete_expired(at(60), 500).await.unwrap();
    assert_eq!(one.unwrap() + two.unwrap() + rest, 110);
    fixture.read(&polling).await;
    let left: (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM bk_plugin_invocations), (SELECT count(*) FROM bk_plugin_calls), \
                (SELECT count(*) FROM bk_plugin_inbox)",
    )
    .fetch_one(&mut fixture.server.connect().await)
    .await
    .unwrap();
    assert_eq!(left, (1, 1, 0));
}

#[tokio::test]
async fn every_character_and_every_digit_comes_back() {
    let fixture = Fixture::new().await;
    let mut record = record(State::Callback);
    let odd = json!({ "🦀": "a\u{0}b 中文 é e\u{301} \u{10ffff} '\"\\ %_", "n": 18_446_744_073_709_551_615_u64, "f": 0.1 });
    record.storage = odd.clone();
    record.inputs.insert("odd".to_owned(), odd.clone());
    applied(fixture.store.create(&record, None).await.unwrap());
    let callback = entry(odd);
    applied(fixture.store.append(&record.trace_id, &late(&callback)).await.unwrap());
    record.inbox.push(callback);
    assert_eq!(fixture.read(&record.trace_id).await, record);
}

/// The states are together twice as large as a packet of MySQL 5.7 is by default.
#[tokio::test]
async fn states_of_a_mebibyte_go_through_small_packets() {
    let fixture = Fixture::with(&["--max-allowed-packet=4M"], MysqlOptions::default()).await;
    let states: Vec<_> = (0..8).map(|_| fixture.invocation(State::Poll)).collect();
    let mut claims = Vec::new();
    for record in states {
        let record = record.await;
        claims.push((record.trace_id.clone(), fixture.leased(&record.trace_id).await));
    }
    // All commits are made at once, so that they are in one transaction.
    let commits: Vec<_> = claims
        .iter()
        .map(|(trace_id, lease)| {
            let (store, trace_id, token) = (fixture.store.clone(), trace_id.clone(), lease.token.clone());
            let commit = Commit { storage: Some(text(MIB)), ..polled() };
            tokio::spawn(async move { store.commit(&trace_id, &token, &commit).await.unwrap() })
        })
        .collect();
    for commit in commits {
        applied(commit.await.unwrap());
    }
    let again: Vec<_> = claims
        .iter()
        .map(|(trace_id, _)| {
            let (store, trace_id) = (fixture.store.clone(), trace_id.clone());
            tokio::spawn(async move {
                granted(store.claim(&trace_id, &ClaimOn::Step(2), &lease(), START).await.unwrap())
            })
        })
        .collect();
    for record in again {
        assert_eq!(record.await.unwrap().storage, text(MIB));
    }
}

/// The caller gets an error at once, and other callers' changes are made.
#[tokio::test]
async fn what_no_packet_takes_is_too_large() {
    let options = MysqlOptions { largest_record: 64 * MIB, ..MysqlOptions::default() };
    let fixture = Fixture::with(&["--max-allowed-packet=4M"], options).await;
    let record = fixture.invocation(State::Poll).await;
    let lease = fixture.leased(&record.trace_id).await;
    let good = fixture.invocation(State::Poll).await;
    let commit = |bytes| Commit { storage: Some(Value::from("x".repeat(bytes))), ..polled() };
    for bytes in [4 * MIB, 20 * MIB] {
        let commit = commit(bytes);
        let (refused, other) = tokio::join!(
            fixture.store.commit(&record.trace_id, &lease.token, &commit),
            fixture.store.settle(&good.trace_id)
        );
        assert!(
            matches!(refused, Err(StoreError::TooLarge { limit, .. }) if limit < 4 * MIB && limit > 3 * MIB),
            "{refused:?}"
        );
        other.unwrap();
    }
    let largest = commit(4 * MIB - 256 * 1024);
    applied(fixture.store.commit(&record.trace_id, &lease.token, &largest).await.unwrap());
    assert_eq!(Some(fixture.read(&record.trace_id).await.storage), largest.storage);
}

/// Both find no record and write one, so one of them must see the other's.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_create_the_same_record() {
    let fixture = Fixture::new().await;
    let other = fixture.another().await;
    for _ in 0..50 {
        let trace_id = TraceId::random();
        let creations: Vec<_> = [fixture.store.clone(), other.clone()]
            .into_iter()
            .map(|store| {
                let mut record = record(State::Callback);
                record.trace_id = trace_id.clone();
                tokio::spawn(async move { store.create(&record, None).await.unwrap() })
            })
            .collect();
        let callback = entry(json!("early"));
        applied(other.append(&trace_id, &early(&callback)).await.unwrap());
        let mut made = 0;
        for creation in creations {
            match creation.await.unwrap() {
                Write::Applied => made += 1,
                Write::Refused(record) => assert!(!record.unwrap().is_stub()),
            }
        }
        assert_eq!(made, 1);
        assert_eq!(fixture.read(&trace_id).await.inbox, [callback]);
    }
}

/// Both append callbacks all the time: none is lost, none is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_that_write_the_same_records() {
    let fixture = Fixture::new().await;
    let other = fixture.another().await;
    let mut trace_ids = Vec::new();
    for _ in 0..8 {
        trace_ids.push(fixture.invocation(State::Callback).await.trace_id);
    }
    let tasks: Vec<_> = [&fixture.store, &fixture.store, &other, &other]
        .into_iter()
        .map(|store| {
            let (store, trace_ids) = (store.clone(), trace_ids.clone());
            tokio::spawn(async move {
                for number in 0..20 {
                    for trace_id in &trace_ids {
                        applied(store.append(trace_id, &late(&entry(json!(number)))).await.unwrap());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for trace_id in &trace_ids {
        let inbox = fixture.read(trace_id).await.inbox;
        let sum: i64 = inbox.iter().map(|entry| entry.data.as_i64().unwrap()).sum();
        assert_eq!((inbox.len(), sum), (80, 4 * 190));
    }
}

/// Every statement finds its rows by an index, so it does not lock any others.
#[tokio::test]
async fn a_claim_does_not_wait_for_other_rows() {
    let fixture = Fixture::new().await;
    let held = fixture.invocation(State::Poll).await.trace_id;
    let free = fixture.invocation(State::Poll).await.trace_id;
    let mut connection = fixture.server.connect().await;
    let mut holding = sqlx::Connection::begin(&mut connection).await.unwrap();
    sqlx::query("UPDATE bk_plugin_invocations SET owed = 1 WHERE trace_id = ?")
        .bind(held.as_str())
        .execute(&mut *holding)
        .await
        .unwrap();
    fixture.leased(&free).await;
    // Reads do not wait for locks at all.
    assert!(!fixture.read(&held).await.owed);
    holding.rollback().await.unwrap();
}
