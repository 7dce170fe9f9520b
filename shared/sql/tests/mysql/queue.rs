//! What the queue promises beyond the contract: it serves several processes, a process's own messages come without
//! a look, and a process that waits asks seldom.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::ids::TraceId;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Finish, Message, Queue, Receive, Selection, WakeUp};
use bk_plugin_sql::mysql::MysqlOptions;
use bk_plugin_sql::{QueueDepth, Store as _};

use crate::fixture::{Fixture, NOW, SOON, message, receive_one};

/// The server does not count looks apart from other statements, so all are counted: a process that waits runs a
/// look and a COMMIT now and then, and nothing else.
#[tokio::test]
async fn a_process_that_waits_asks_ever_more_seldom() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move { store.receive(1, SOON).await });
    // By then the pauses have reached their longest.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = fixture.server.count_of("Com_stmt_execute").await;
    let (began, pause) = (Instant::now(), Duration::from_secs(3));
    tokio::time::sleep(pause).await;
    let statements = fixture.server.count_of("Com_stmt_execute").await - before;
    let longest = began.elapsed().as_secs() + 1;
    assert!(statements <= longest, "{statements} looks in {longest} s");
    assert!(statements >= 1, "it does look");
    receiver.abort();
}

/// The process receives it by its number when it is due, without a look.
#[tokio::test]
async fn a_message_of_ones_own_comes_when_it_is_due() {
    let fixture = Fixture::new().await;
    let store = fixture.store.clone();
    let receiver = tokio::spawn(async move { store.receive(1, SOON).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The looks are a second apart by now: a message that had to wait for one would be late by half a second.
    let mut lateness = Vec::new();
    let sent = message();
    fixture.store.send(&sent, NOW).await.unwrap();
    assert_eq!(receiver.await.unwrap()[0].message, sent);
    for _ in 0..5 {
        let due = Duration::from_millis(150);
        let began = Instant::now();
        let sent = message();
        fixture.store.send(&sent, due).await.unwrap();
        assert_eq!(receive_one(&fixture.store).await, sent);
        lateness.push(began.elapsed().saturating_sub(due));
    }
    lateness.sort();
    assert!(lateness[0] < Duration::from_millis(100), "{lateness:?}");
}

#[tokio::test]
async fn messages_of_a_process_that_receives_none_come_at_once() {
    let fixture = Fixture::new().await;
    let web = fixture.another().await;
    let sent = message();
    web.send(&sent, NOW).await.unwrap();
    let received = fixture.store.receive(1, NOW).await.unwrap();
    assert_eq!(received[0].message, sent);
}

#[tokio::test]
async fn messages_of_a_process_that_has_died_come_to_others() {
    let fixture = Fixture::new().await;
    let dying = fixture.another().await;
    assert!(dying.receive(1, NOW).await.unwrap().is_empty());
    let sent = message();
    dying.send(&sent, Duration::from_millis(100)).await.unwrap();
    drop(dying);
    assert_eq!(receive_one(&fixture.store).await, sent);
}

/// Both receive as fast as they can: their own messages, and those of a process that does not receive.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_never_receive_the_same_message() {
    const EACH: usize = 300;
    let fixture = Fixture::new().await;
    let (web, other) = (fixture.another().await, fixture.another().await);
    let stores = [fixture.store.clone(), other];
    let mut tasks = Vec::new();
    for sender in stores.iter().cloned().chain([web]) {
        tasks.push(tokio::spawn(async move {
            for number in 0..EACH {
                sender.send(&message(), Duration::from_millis(number as u64 % 50)).await.unwrap();
            }
        }));
    }
    let receivers: Vec<_> = stores
        .into_iter()
        .map(|store| {
            tokio::spawn(async move {
                let mut received = Vec::new();
                loop {
                    let deliveries = store.receive(20, Duration::from_secs(4)).await.unwrap();
                    if deliveries.is_empty() {
                        return received;
                    }
                    for delivery in deliveries {
                        assert_eq!(delivery.receive_count, 1);
                        store.delete(&delivery.handle).await.unwrap();
                        received.push(delivery.message.trace_id().clone());
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut received = Vec::new();
    for receiver in receivers {
        received.extend(receiver.await.unwrap());
    }
    assert_eq!(received.len(), 3 * EACH);
    assert_eq!(received.into_iter().collect::<BTreeSet<_>>().len(), 3 * EACH);
}

/// The look finds the one message by its group.
#[tokio::test]
async fn a_backlog_that_is_not_selected_is_not_read() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.server.connect().await;
    let first = "INSERT INTO bk_plugin_messages (id, kind, message_group, visible_at, receive_count, body) \
                 VALUES (0, 0, 'step:1.0.0', 0, 0, 'is not read')";
    sqlx::query(first).execute(&mut connection).await.unwrap();
    for length in (0..12).map(|power| 1_i64 << power) {
        let as_many = "INSERT INTO bk_plugin_messages (id, kind, message_group, visible_at, receive_count, body) \
                       SELECT id + ?, kind, message_group, 0, 0, body FROM bk_plugin_messages";
        sqlx::query(as_many).bind(length).execute(&mut connection).await.unwrap();
    }
    let group = MessageGroup::of_version("2.0.0");
    let wake_up =
        WakeUp { group: Some(group.clone()), ..WakeUp::for_step(TraceId::random(), 1, SystemClock.now()) };
    let another = fixture.another().await;
    another.send(&Message::WakeUp(wake_up.clone()), NOW).await.unwrap();

    let before = fixture.server.count_of("Handler_read_next").await;
    let selection = Selection::WakeUpsOf(vec![group, MessageGroup::of_version("3.0.0")]);
    let asked = Receive { max: 10, wait: SOON, selection, ended_by: None };
    let received = fixture.store.receive_selected(asked).await.unwrap();
    let read = fixture.server.count_of("Handler_read_next").await - before;
    assert_eq!(received[0].message, Message::WakeUp(wake_up));
    assert!(read < 100, "{read} entries of an index were read, of 4,096 that are due");
}

/// A process of the release before knows neither kinds nor groups. Both run side by side while one replaces the other.
#[tokio::test]
async fn messages_of_the_release_before_are_received() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.server.connect().await;
    let trace_id = TraceId::random();
    let body = format!(r#"{{"kind":"finish","trace_id":"{trace_id}","attempt":1}}"#);
    let send = "INSERT INTO bk_plugin_messages (id, visible_at, receive_count, body) VALUES (7, 0, 0, ?)";
    sqlx::query(send).bind(body).execute(&mut connection).await.unwrap();
    let (max, wait, selection) = (10, SOON, Selection::WakeUps);
    let asked = Receive { max, wait, selection, ended_by: None };
    let received = fixture.store.receive_selected(asked).await.unwrap();
    assert_eq!(received[0].message, Message::Finish(Finish { attempt: 1, ..Finish::first(trace_id) }));
    // That is how it receives.
    let look = "SELECT id FROM bk_plugin_messages FORCE INDEX (by_visibility) WHERE visible_at <= 0";
    sqlx::query(look).fetch_all(&mut connection).await.unwrap();
}

#[tokio::test]
async fn a_message_that_names_no_invocation_is_put_aside() {
    let fixture = Fixture::new().await;
    let mut connection = fixture.server.connect().await;
    for (id, body) in [(1, "garbage"), (2, r#"{"kind":"of a later version"}"#)] {
        sqlx::query(
            "INSERT INTO bk_plugin_messages (id, visible_at, receive_count, body) VALUES (?, 0, 0, ?)",
        )
        .bind(id)
        .bind(body)
        .execute(&mut connection)
        .await
        .unwrap();
    }
    assert!(fixture.store.receive(1, NOW).await.unwrap().is_empty());
    let sent = message();
    fixture.store.send(&sent, NOW).await.unwrap();
    assert_eq!(receive_one(&fixture.store).await, sent, "the good one beside it is received");
    let dead: Vec<(String, i64)> =
        sqlx::query_as("SELECT body, receive_count FROM bk_plugin_dead_letters ORDER BY message_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(dead, [("garbage".to_owned(), 1), (r#"{"kind":"of a later version"}"#.to_owned(), 1)]);
    let depth = fixture.store.queue_depth(SystemClock.now()).await.unwrap();
    assert_eq!(depth, QueueDepth { dead_letters: 2, ..QueueDepth::default() });
}

#[tokio::test]
async fn the_depth_of_the_queue() {
    let options = MysqlOptions { visibility_timeout: Duration::from_secs(30), ..MysqlOptions::default() };
    let fixture = Fixture::with(&[], options).await;
    for delay in [0, 0, 0, 60] {
        fixture.store.send(&message(), Duration::from_secs(delay)).await.unwrap();
    }
    assert_eq!(fixture.store.receive(1, NOW).await.unwrap().len(), 1);
    let depth = fixture.store.queue_depth(SystemClock.now()).await.unwrap();
    assert_eq!(depth, QueueDepth { due: 2, delayed: 1, in_flight: 1, dead_letters: 0 });
}
