//! The cases of the port `Queue`: delays, visibility, receive counts, handles and waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bk_plugin_core::ids::{LeaseToken, Receipt, TraceId};
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{Delivery, Finish, Message, Queue, WakeUp};
use bk_plugin_core::trace_context::TraceContext;
use tokio::task::JoinHandle;

use crate::QueueStore;
use crate::sample::START;

/// Registers every case of the port `Queue` for a [`QueueStore`].
#[macro_export]
macro_rules! queue_cases {
    ($store:ty) => {
        $crate::register!($store, QueueStore, queue, [
            messages_read_back_as_they_were_sent
            an_empty_queue_gives_nothing
            a_delayed_message_comes_when_it_is_due
            the_longest_delay_is_taken
            a_received_message_is_hidden_until_the_time_out
            a_deleted_message_never_comes_again
            a_handle_can_be_deleted_twice
            the_handle_of_an_earlier_delivery_is_no_error
            the_receive_count_of_a_dead_letter_grows
            a_copy_begins_its_own_receive_count
            no_more_than_asked_for_is_received
            every_message_comes_in_whatever_order
            a_waiting_receive_wakes_for_what_is_sent
            a_waiting_receive_wakes_for_what_becomes_due
            a_waiting_receive_wakes_for_what_is_visible_again
            a_waiting_receive_ends_in_time
            a_receiver_that_has_gone_loses_nothing
            many_receivers_share_the_messages
        ]);
    };
}

const NOW: Duration = Duration::ZERO;
const MOMENT: Duration = Duration::from_millis(1);

fn message(attempt: u32) -> Message {
    Message::Finish(Finish { attempt, ..Finish::first(TraceId::random()) })
}

async fn send(queue: &dyn Queue, delay: Duration) -> Message {
    let message = message(0);
    queue.send(&message, delay).await.unwrap();
    message
}

/// Receives all messages that can be received now. A queue may return fewer messages than it has, so it is
/// asked until it returns none.
async fn receive(queue: &dyn Queue) -> Vec<Delivery> {
    let mut received = Vec::new();
    loop {
        let deliveries = queue.receive(10, NOW).await.unwrap();
        if deliveries.is_empty() {
            return received;
        }
        received.extend(deliveries);
    }
}

#[track_caller]
fn one(mut deliveries: Vec<Delivery>) -> Delivery {
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    deliveries.remove(0)
}

fn waiting(store: &dyn QueueStore, wait: Duration) -> JoinHandle<Vec<Delivery>> {
    let queue = store.queue();
    tokio::spawn(async move { queue.receive(10, wait).await.unwrap() })
}

/// Gives receivers time to begin waiting.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// The answer of a receiver that is expected to finish soon.
async fn soon<T>(receiver: JoinHandle<T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), receiver).await.expect("the receiver wakes up").unwrap()
}

/// One message of each kind, with every field set.
pub async fn messages_read_back_as_they_were_sent(store: &dyn QueueStore) {
    let queue = store.queue();
    let wake_up = WakeUp {
        trace_id: TraceId::random(),
        after_step: 7,
        due_at: START,
        receipt: Some(Receipt::random()),
        put_backs: u32::MAX,
        crashes: 1,
        alone: Some(LeaseToken::random_alone()),
        group: Some(MessageGroup::of_version("1.2.0-rc.1")),
        trace: TraceContext {
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned()),
            ..TraceContext::default()
        },
    };
    let plain = WakeUp {
        receipt: None,
        put_backs: 0,
        group: None,
        trace: TraceContext::default(),
        ..wake_up.clone()
    };
    let group = Some(MessageGroup::of_finish_callbacks_to("https://sops.example.com/finished/"));
    let finish = Finish { attempt: 3, group, ..Finish::first(TraceId::random()) };
    for sent in [Message::WakeUp(wake_up), Message::WakeUp(plain), message(3), Message::Finish(finish)] {
        queue.send(&sent, NOW).await.unwrap();
        let delivery = one(receive(&*queue).await);
        assert_eq!((&delivery.message, delivery.receive_count), (&sent, 1));
        queue.delete(&delivery.handle).await.unwrap();
    }
}

/// A receive without a wait returns at once.
pub async fn an_empty_queue_gives_nothing(store: &dyn QueueStore) {
    let began = Instant::now();
    assert!(receive(&*store.queue()).await.is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// The message does not come before it is due.
pub async fn a_delayed_message_comes_when_it_is_due(store: &dyn QueueStore) {
    let queue = store.queue();
    let delayed = send(&*queue, Duration::from_secs(5)).await;
    let now = send(&*queue, NOW).await;
    assert_eq!(one(receive(&*queue).await).message, now);
    store.advance(Duration::from_secs(4)).await;
    assert!(receive(&*queue).await.is_empty());
    store.advance(Duration::from_secs(1)).await;
    let delivery = one(receive(&*queue).await);
    assert_eq!((delivery.message, delivery.receive_count), (delayed, 1));
}

/// The queue accepts the longest delay of the port and keeps to it.
pub async fn the_longest_delay_is_taken(store: &dyn QueueStore) {
    let queue = store.queue();
    let longest = queue.longest_delay();
    assert!(longest >= Duration::from_secs(1), "a wait must come nearer to its end with every hop");
    let sent = send(&*queue, longest).await;
    if longest > store.longest_advance() {
        return;
    }
    store.advance(longest.saturating_sub(Duration::from_secs(1))).await;
    assert!(receive(&*queue).await.is_empty());
    store.advance(Duration::from_secs(1)).await;
    assert_eq!(one(receive(&*queue).await).message, sent);
}

/// No other receiver gets it until then. It comes again with a higher receive count.
pub async fn a_received_message_is_hidden_until_the_time_out(store: &dyn QueueStore) {
    let queue = store.queue();
    let sent = send(&*queue, NOW).await;
    assert_eq!(one(receive(&*queue).await).receive_count, 1);
    assert!(receive(&*queue).await.is_empty());
    store.advance(store.visibility_timeout().saturating_sub(Duration::from_secs(1))).await;
    assert!(receive(&*queue).await.is_empty());
    store.advance(Duration::from_secs(1)).await;
    let again = one(receive(&*queue).await);
    assert_eq!((again.message, again.receive_count), (sent, 2));
}

/// Other messages stay.
pub async fn a_deleted_message_never_comes_again(store: &dyn QueueStore) {
    let queue = store.queue();
    let (gone, stays) = (send(&*queue, NOW).await, send(&*queue, NOW).await);
    for delivery in receive(&*queue).await {
        if delivery.message == gone {
            queue.delete(&delivery.handle).await.unwrap();
        }
    }
    store.advance(store.visibility_timeout()).await;
    assert_eq!(one(receive(&*queue).await).message, stays);
}

/// A runner that did not get the answer to its delete tries again.
pub async fn a_handle_can_be_deleted_twice(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, NOW).await;
    let delivery = one(receive(&*queue).await);
    for _ in 0..2 {
        queue.delete(&delivery.handle).await.unwrap();
    }
    store.advance(store.visibility_timeout()).await;
    assert!(receive(&*queue).await.is_empty());
    queue.delete(&delivery.handle).await.unwrap();
}

/// A late runner deletes a message that another runner has received since. In a strict queue that removes
/// nothing.
pub async fn the_handle_of_an_earlier_delivery_is_no_error(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, NOW).await;
    let first = one(receive(&*queue).await);
    store.advance(store.visibility_timeout()).await;
    let second = one(receive(&*queue).await);
    assert_ne!(first.handle, second.handle, "each delivery has a handle of its own");
    queue.delete(&first.handle).await.unwrap();
    store.advance(store.visibility_timeout()).await;
    let third = receive(&*queue).await;
    if store.is_strict() {
        assert_eq!(one(third).receive_count, 3);
    }
}

/// The receive count reveals a message that crashes its receivers.
pub async fn the_receive_count_of_a_dead_letter_grows(store: &dyn QueueStore) {
    let queue = store.queue();
    let (deadly, harmless) = (send(&*queue, NOW).await, send(&*queue, NOW).await);
    for round in 1..=7 {
        let deliveries = receive(&*queue).await;
        let delivery = deliveries.iter().find(|delivery| delivery.message == deadly).unwrap();
        assert_eq!(delivery.receive_count, round);
        if let Some(handled) = deliveries.iter().find(|delivery| delivery.message == harmless) {
            queue.delete(&handled.handle).await.unwrap();
        }
        store.advance(store.visibility_timeout()).await;
    }
}

/// Putting a copy back does not count as a crash of its receiver.
pub async fn a_copy_begins_its_own_receive_count(store: &dyn QueueStore) {
    let queue = store.queue();
    let sent = send(&*queue, NOW).await;
    let first = one(receive(&*queue).await);
    store.advance(store.visibility_timeout()).await;
    let second = one(receive(&*queue).await);
    assert_eq!((first.receive_count, second.receive_count), (1, 2));
    queue.send(&sent, NOW).await.unwrap();
    queue.delete(&second.handle).await.unwrap();
    let copy = one(receive(&*queue).await);
    assert_eq!((copy.message, copy.receive_count), (sent, 1));
}

/// This holds for any number; the next receiver gets the rest.
pub async fn no_more_than_asked_for_is_received(store: &dyn QueueStore) {
    let queue = store.queue();
    let mut sent = 0;
    for max in [1, 2, 10, 100] {
        for _ in 0..=max {
            send(&*queue, NOW).await;
            sent += 1;
        }
        let received = queue.receive(max, NOW).await.unwrap();
        assert!((1..=max).contains(&received.len()), "{} of {max}", received.len());
        sent -= received.len();
    }
    assert_eq!(receive(&*queue).await.len(), sent);
}

/// The queue promises no order, only that each message comes, to one receiver at a time.
pub async fn every_message_comes_in_whatever_order(store: &dyn QueueStore) {
    let queue = store.queue();
    let mut sent = BTreeSet::new();
    for number in 0..60 {
        let message = send(&*queue, Duration::from_secs(number % 3)).await;
        sent.insert(message.trace_id().clone());
    }
    store.advance(Duration::from_secs(2)).await;
    let received = receive(&*queue).await;
    if store.is_strict() {
        assert_eq!(received.len(), 60);
    }
    let received: BTreeSet<_> =
        received.into_iter().map(|delivery| delivery.message.trace_id().clone()).collect();
    assert_eq!(received, sent);
}

/// It wakes at once, not at the end of its wait.
pub async fn a_waiting_receive_wakes_for_what_is_sent(store: &dyn QueueStore) {
    let receiver = waiting(store, Duration::from_secs(20));
    settle().await;
    assert!(!receiver.is_finished());
    let sent = send(&*store.queue(), NOW).await;
    let sent_at = Instant::now();
    assert_eq!(one(soon(receiver).await).message, sent);
    assert!(sent_at.elapsed() < Duration::from_secs(5), "{:?}", sent_at.elapsed());
}

/// It wakes although the message was sent before the receiver began to wait.
pub async fn a_waiting_receive_wakes_for_what_becomes_due(store: &dyn QueueStore) {
    let sent = send(&*store.queue(), Duration::from_secs(3)).await;
    let receiver = waiting(store, Duration::from_secs(20));
    settle().await;
    assert!(!receiver.is_finished());
    store.advance(Duration::from_secs(3)).await;
    assert_eq!(one(soon(receiver).await).message, sent);
}

/// An earlier receiver crashed with the message.
pub async fn a_waiting_receive_wakes_for_what_is_visible_again(store: &dyn QueueStore) {
    let queue = store.queue();
    send(&*queue, NOW).await;
    one(receive(&*queue).await);
    let receiver = waiting(store, store.visibility_timeout() + Duration::from_secs(5));
    settle().await;
    assert!(!receiver.is_finished());
    store.advance(store.visibility_timeout()).await;
    assert_eq!(one(soon(receiver).await).receive_count, 2);
}

/// It ends without a message.
pub async fn a_waiting_receive_ends_in_time(store: &dyn QueueStore) {
    send(&*store.queue(), Duration::from_mins(1)).await;
    let receiver = waiting(store, Duration::from_secs(3));
    settle().await;
    store.advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(!receiver.is_finished());
    store.advance(Duration::from_secs(1) + MOMENT).await;
    assert!(soon(receiver).await.is_empty());
}

/// If a message was already given to it, another receiver gets that message after the time-out at the latest.
pub async fn a_receiver_that_has_gone_loses_nothing(store: &dyn QueueStore) {
    let queue = store.queue();
    let receiver = waiting(store, Duration::from_secs(20));
    settle().await;
    receiver.abort();
    settle().await;
    let sent = send(&*queue, NOW).await;
    let mut deliveries = receive(&*queue).await;
    if deliveries.is_empty() {
        store.advance(store.visibility_timeout()).await;
        deliveries = receive(&*queue).await;
    }
    assert_eq!(one(deliveries).message, sent);
}

/// While other clients send, each message goes to one receiver, and deleted messages stay deleted.
pub async fn many_receivers_share_the_messages(store: &dyn QueueStore) {
    let senders: Vec<_> = (0..8)
        .map(|_| {
            let queue = store.queue();
            tokio::spawn(async move {
                let mut sent = Vec::new();
                for _ in 0..25 {
                    sent.push(send(&*queue, NOW).await.trace_id().clone());
                }
                sent
            })
        })
        .collect();
    let receivers: Vec<_> = (0..32)
        .map(|_| {
            let queue = store.queue();
            tokio::spawn(async move {
                let mut handled = Vec::new();
                let mut misses = 0;
                while misses < 20 {
                    let deliveries = queue.receive(3, NOW).await.unwrap();
                    if deliveries.is_empty() {
                        misses += 1;
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    for delivery in deliveries {
                        handled.push(delivery.message.trace_id().clone());
                        queue.delete(&delivery.handle).await.unwrap();
                    }
                }
                handled
            })
        })
        .collect();
    let mut count: BTreeMap<TraceId, usize> = BTreeMap::new();
    for sender in senders {
        count.extend(sender.await.unwrap().into_iter().map(|trace_id| (trace_id, 0)));
    }
    for receiver in receivers {
        for trace_id in receiver.await.unwrap() {
            *count.get_mut(&trace_id).expect("only what was sent is received") += 1;
        }
    }
    let queue = store.queue();
    for delivery in receive(&*queue).await {
        *count.get_mut(delivery.message.trace_id()).unwrap() += 1;
        queue.delete(&delivery.handle).await.unwrap();
    }
    assert_eq!(count.len(), 200);
    let is_right = |times: usize| times == 1 || (times > 1 && !store.is_strict());
    assert!(count.values().all(|times| is_right(*times)), "{count:?}");
    store.advance(store.visibility_timeout()).await;
    assert!(receive(&*queue).await.is_empty());
}
