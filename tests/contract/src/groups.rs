//! The cases of a queue that selects by message group: [`Queue::receive_selected`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Delivery, Finish, Message, Queue, Receive, Selection, WakeUp};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::QueueStore;
use crate::sample::START;

/// Registers every case of message groups for a [`QueueStore`] that selects.
#[macro_export]
macro_rules! group_cases {
    ($store:ty) => {
        $crate::register!($store, QueueStore, groups, [
            each_receiver_gets_what_it_selects
            the_earliest_selected_message_comes_first
            what_is_not_selected_stays_as_it_was
            messages_without_a_group_are_received
            a_waiting_receiver_gets_only_what_it_selects
            a_waiting_receiver_wakes_for_what_it_selects_and_becomes_due
            a_waiting_receiver_wakes_for_what_it_selects_and_is_visible_again
            a_wait_is_ended_from_outside
            a_wait_that_is_ended_loses_nothing
        ]);
    };
}

const NOW: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(20);

fn version(number: &str) -> MessageGroup {
    MessageGroup::of_version(number)
}

fn host(name: &str) -> MessageGroup {
    MessageGroup::of_finish_callbacks_to(&format!("https://{name}/finished/"))
}

fn wake_up(group: Option<MessageGroup>) -> Message {
    Message::WakeUp(WakeUp { group, ..WakeUp::for_step(TraceId::random(), 1, START) })
}

fn finish(group: Option<MessageGroup>) -> Message {
    Message::Finish(Finish { group, ..Finish::first(TraceId::random()) })
}

async fn send(queue: &dyn Queue, message: &Message, delay: Duration) {
    queue.send(message, delay).await.unwrap();
}

/// Receives all messages of the selection that can be received now.
async fn receive(queue: &dyn Queue, selection: Selection) -> Vec<Delivery> {
    let mut received = Vec::new();
    loop {
        let asked = Receive { max: 10, wait: NOW, selection: selection.clone(), ended_by: None };
        let deliveries = queue.receive_selected(asked).await.unwrap();
        if deliveries.is_empty() {
            return received;
        }
        received.extend(deliveries);
    }
}

/// The groups of the deliveries, each with its number of deliveries.
fn count(deliveries: &[Delivery]) -> BTreeMap<&str, usize> {
    let mut groups = BTreeMap::new();
    for delivery in deliveries {
        let group = delivery.message.group().map_or("none", MessageGroup::as_str);
        *groups.entry(group).or_default() += 1;
    }
    groups
}

fn waiting(store: &dyn QueueStore, groups: &[MessageGroup], wait: Duration) -> JoinHandle<Vec<Delivery>> {
    let (queue, selection) = (store.queue(), Selection::WakeUpsOf(groups.to_vec()));
    tokio::spawn(async move {
        queue.receive_selected(Receive { max: 10, wait, selection, ended_by: None }).await.unwrap()
    })
}

async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn soon<T>(receiver: JoinHandle<T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("the receiver wakes up").unwrap()
}

/// Whatever else is due before.
pub async fn each_receiver_gets_what_it_selects(store: &dyn QueueStore) {
    let queue = store.queue();
    for _ in 0..40 {
        send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
        send(&*queue, &finish(Some(host("silent.test"))), NOW).await;
    }
    for _ in 0..3 {
        send(&*queue, &wake_up(Some(version("2.0.0"))), NOW).await;
        send(&*queue, &wake_up(Some(version("3.0.0"))), NOW).await;
        send(&*queue, &finish(Some(host("good.test"))), NOW).await;
    }
    let others = vec![version("2.0.0"), version("3.0.0"), version("4.0.0")];
    let received = receive(&*queue, Selection::WakeUpsOf(others)).await;
    assert_eq!(count(&received), BTreeMap::from([("step:2.0.0", 3), ("step:3.0.0", 3)]));
    let received =
        receive(&*queue, Selection::FinishesExcept(vec![host("silent.test"), host("other.test")])).await;
    assert_eq!(count(&received), BTreeMap::from([("finish:good.test", 3)]));
    assert!(receive(&*queue, Selection::WakeUpsOf(vec![])).await.is_empty());
    let received = receive(&*queue, Selection::WakeUps).await;
    assert_eq!(count(&received), BTreeMap::from([("step:1.0.0", 40)]));
    let received = receive(&*queue, Selection::FinishesExcept(vec![])).await;
    assert_eq!(count(&received), BTreeMap::from([("finish:silent.test", 40)]));
    assert!(receive(&*queue, Selection::All).await.is_empty());
}

/// No message of a group waits for ever while others of it come.
pub async fn the_earliest_selected_message_comes_first(store: &dyn QueueStore) {
    let queue = store.queue();
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(wake_up(Some(version("2.0.0"))));
        send(&*queue, &sent[sent.len() - 1], NOW).await;
        send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
        store.advance(Duration::from_secs(2)).await;
    }
    for message in sent {
        let selection = Selection::WakeUpsOf(vec![version("2.0.0")]);
        let asked = Receive { max: 1, wait: NOW, selection, ended_by: None };
        assert_eq!(queue.receive_selected(asked).await.unwrap()[0].message, message);
    }
}

/// It is not hidden, and its receive count does not grow.
pub async fn what_is_not_selected_stays_as_it_was(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
    send(&*queue, &finish(Some(host("silent.test"))), NOW).await;
    for _ in 0..3 {
        assert!(receive(&*queue, Selection::WakeUpsOf(vec![version("2.0.0")])).await.is_empty());
        assert!(receive(&*queue, Selection::FinishesExcept(vec![host("silent.test")])).await.is_empty());
    }
    let received = receive(&*queue, Selection::All).await;
    assert_eq!(received.iter().map(|delivery| delivery.receive_count).collect::<Vec<_>>(), [1, 1]);
}

/// Releases before groups sent them. They are in no group that could be selected or left out.
pub async fn messages_without_a_group_are_received(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, &wake_up(None), NOW).await;
    send(&*queue, &finish(None), NOW).await;
    assert!(receive(&*queue, Selection::WakeUpsOf(vec![version("1.0.0")])).await.is_empty());
    let received = receive(&*queue, Selection::WakeUps).await;
    assert!(matches!(received[..], [Delivery { message: Message::WakeUp(_), .. }]), "{received:?}");
    let received = receive(&*queue, Selection::FinishesExcept(vec![host("silent.test")])).await;
    assert!(matches!(received[..], [Delivery { message: Message::Finish(_), .. }]), "{received:?}");
}

/// Several receivers wait, each for something else.
pub async fn a_waiting_receiver_gets_only_what_it_selects(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
    let second = waiting(store, &[version("2.0.0")], LONG);
    let third = waiting(store, &[version("3.0.0")], LONG);
    settle().await;
    assert!(!second.is_finished() && !third.is_finished());
    send(&*queue, &finish(Some(host("good.test"))), NOW).await;
    send(&*queue, &wake_up(Some(version("3.0.0"))), NOW).await;
    assert_eq!(count(&soon(third).await), BTreeMap::from([("step:3.0.0", 1)]));
    assert!(!second.is_finished());
    send(&*queue, &wake_up(Some(version("2.0.0"))), NOW).await;
    assert_eq!(count(&soon(second).await), BTreeMap::from([("step:2.0.0", 1)]));
}

/// It wakes although the message was sent before the receiver began to wait, and others are due.
pub async fn a_waiting_receiver_wakes_for_what_it_selects_and_becomes_due(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
    send(&*queue, &wake_up(Some(version("2.0.0"))), Duration::from_secs(3)).await;
    let receiver = waiting(store, &[version("2.0.0")], LONG);
    settle().await;
    assert!(!receiver.is_finished());
    store.advance(Duration::from_secs(3)).await;
    assert_eq!(count(&soon(receiver).await), BTreeMap::from([("step:2.0.0", 1)]));
}

/// An earlier receiver crashed with the message.
pub async fn a_waiting_receiver_wakes_for_what_it_selects_and_is_visible_again(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, &wake_up(Some(version("2.0.0"))), NOW).await;
    assert_eq!(receive(&*queue, Selection::All).await.len(), 1);
    let receiver = waiting(store, &[version("2.0.0")], store.visibility_timeout() + Duration::from_secs(5));
    settle().await;
    assert!(!receiver.is_finished());
    store.advance(store.visibility_timeout()).await;
    assert_eq!(soon(receiver).await[0].receive_count, 2);
}

/// Also if that was notified before the receiver began to wait.
pub async fn a_wait_is_ended_from_outside(store: &dyn QueueStore) {
    let (queue, end) = (store.queue(), Arc::new(Notify::new()));
    let receiver = |groups: Vec<MessageGroup>| {
        let (queue, end) = (Arc::clone(&queue), Arc::clone(&end));
        tokio::spawn(async move {
            let selection = Selection::WakeUpsOf(groups);
            let asked = Receive { max: 10, wait: LONG, selection, ended_by: Some(&end) };
            queue.receive_selected(asked).await.unwrap()
        })
    };
    send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
    let waiting = receiver(vec![version("2.0.0")]);
    settle().await;
    assert!(!waiting.is_finished());
    end.notify_one();
    assert!(soon(waiting).await.is_empty());
    end.notify_one();
    assert!(soon(receiver(vec![version("2.0.0")])).await.is_empty());
    assert_eq!(soon(receiver(vec![version("1.0.0")])).await.len(), 1, "it ends one wait");
}

/// A message that comes at that moment is received, or stays as it was.
pub async fn a_wait_that_is_ended_loses_nothing(store: &dyn QueueStore) {
    let (queue, end) = (store.queue(), Arc::new(Notify::new()));
    let receiver = tokio::spawn({
        let (queue, end) = (Arc::clone(&queue), Arc::clone(&end));
        async move {
            let selection = Selection::WakeUpsOf(vec![version("1.0.0")]);
            let mut counts = Vec::new();
            while counts.len() < 200 {
                let asked = Receive {
                    max: 3,
                    wait: Duration::from_millis(50),
                    selection: selection.clone(),
                    ended_by: Some(&end),
                };
                for delivery in queue.receive_selected(asked).await.unwrap() {
                    counts.push(delivery.receive_count);
                    queue.delete(&delivery.handle).await.unwrap();
                }
            }
            counts
        }
    });
    for number in 0..200 {
        send(&*queue, &wake_up(Some(version("1.0.0"))), NOW).await;
        if number % 3 == 0 {
            tokio::task::yield_now().await;
        }
        end.notify_one();
    }
    let counts = tokio::time::timeout(Duration::from_mins(1), receiver).await.expect("all come").unwrap();
    assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
}
