//! When it is worth looking for messages, and for which.
//!
//! A process knows the messages it has sent itself and when they are due. Messages of others (of a process
//! that has died, or that receives none) and those that are visible again it has to look for: soon again when
//! it has found some, more and more seldom when there are none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bk_plugin_kit::clock::Timestamp;
use bk_plugin_kit::table::BackOff;

/// How long a message is left to the process that has sent it before everybody may receive it. One that is
/// behind by more is helped by the others.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

/// Time between two looks for the messages of others, by how many in a row were in vain.
const PAUSES: BackOff = BackOff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Messages that are remembered at most; whoever sends more of them finds them as those of others.
const MOST_REMEMBERED: usize = 200_000;

/// What a process knows of the messages in the queue.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// Sent by this process, by when they are due.
    own: BinaryHeap<Reverse<(Timestamp, i64)>>,
    look_at: Timestamp,
    in_vain: u32,
}

impl Mailbox {
    pub(super) fn new() -> Self {
        Self { own: BinaryHeap::new(), look_at: Timestamp::from_millis(i64::MIN), in_vain: 0 }
    }

    /// When there is something to do next.
    pub(super) fn next_look(&self) -> Timestamp {
        self.own.peek().map_or(self.look_at, |Reverse((due_at, _))| self.look_at.min(*due_at))
    }

    /// Remembers a message that was sent.
    pub(super) fn sent(&mut self, id: i64, due_at: Timestamp) {
        if self.own.len() < MOST_REMEMBERED {
            self.own.push(Reverse((due_at, id)));
        }
    }

    /// Takes out up to `most` own messages that are due, the one due first in front.
    pub(super) fn take_due(&mut self, most: usize, now: Timestamp) -> Vec<(Timestamp, i64)> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some(first) = self.own.peek_mut()
            && first.0.0 <= now
        {
            due.push(std::collections::binary_heap::PeekMut::pop(first).0);
        }
        due
    }

    /// Puts messages back that were taken out and not received; and the next receive looks for others.
    pub(super) fn put_back(&mut self, due: Vec<(Timestamp, i64)>) {
        self.own.extend(due.into_iter().map(Reverse));
        self.look_at = Timestamp::from_millis(i64::MIN);
    }

    /// Whether it is time to look for messages of others.
    pub(super) fn is_time_to_look(&self, now: Timestamp) -> bool {
        self.look_at <= now
    }

    /// Notes that `found` messages of others were there when it was looked for up to `most`.
    pub(super) fn looked(&mut self, found: usize, most: usize, now: Timestamp) {
        self.in_vain = if found == 0 { self.in_vain.saturating_add(1) } else { 0 };
        // All that was asked for: there may be more.
        self.look_at = if found == most { now } else { now + PAUSES.delay(self.in_vain) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn own_messages_come_when_they_are_due() {
        let mut mailbox = Mailbox::new();
        mailbox.looked(0, 10, at(0));
        for (id, due_at) in [(1, 30), (2, 10), (3, 20)] {
            mailbox.sent(id, at(due_at));
        }
        assert_eq!(mailbox.next_look(), at(10));
        assert_eq!(mailbox.take_due(10, at(20)), [(at(10), 2), (at(20), 3)]);
        assert_eq!(mailbox.next_look(), at(30));
        assert!(mailbox.take_due(10, at(29)).is_empty());
        mailbox.put_back(vec![(at(10), 2), (at(20), 3)]);
        assert_eq!(mailbox.take_due(1, at(30)), [(at(10), 2)]);
        assert!(mailbox.is_time_to_look(at(0)));
    }

    #[test]
    fn looks_in_vain_become_seldom() {
        let mut mailbox = Mailbox::new();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            mailbox.looked(0, 10, now);
            pauses.push(mailbox.next_look().since(now).as_millis());
            now = mailbox.next_look();
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
        mailbox.looked(3, 10, now);
        assert_eq!(mailbox.next_look(), now + Duration::from_millis(50));
        mailbox.looked(10, 10, now);
        assert!(mailbox.is_time_to_look(now));
    }
}
