//! When a look for messages is worthwhile, and for which messages.
//!
//! A process knows the messages it has sent itself and when they are due. It has to look for messages of other
//! processes (one that has died, or one that does not receive) and for those that are visible again: soon after a
//! look that found some, more and more seldom after looks that found none.

use std::collections::BTreeSet;
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;

/// How long only the process that has sent a message may receive it. If that process is late by more, others
/// receive the message.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

/// Time between two looks for the messages of other processes, by how many looks in a row found none.
const PAUSES: BackOff = BackOff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Messages that a process remembers at most: those that are due soonest. It finds the others as it finds those of other
/// processes.
const MOST_REMEMBERED: usize = 200_000;

/// What a process knows of the messages in the queue.
#[derive(Debug)]
pub(super) struct DueMessages {
    /// Sent by this process, by when they are due.
    own: BTreeSet<(Timestamp, i64)>,
    look_at: Timestamp,
    /// Looks in a row that found nothing.
    empty_looks: u32,
}

impl DueMessages {
    pub(super) fn new() -> Self {
        Self { own: BTreeSet::new(), look_at: Timestamp::from_millis(i64::MIN), empty_looks: 0 }
    }

    /// When the next message is due, or the next look.
    pub(super) fn next_look(&self) -> Timestamp {
        self.own.first().map_or(self.look_at, |(due_at, _)| self.look_at.min(*due_at))
    }

    /// Whether a message that is due then will be remembered. One that will not be needs no [`HEAD_START`].
    pub(super) fn remembers(&self, due_at: Timestamp) -> bool {
        self.own.len() < MOST_REMEMBERED || self.own.last().is_some_and(|(latest, _)| due_at < *latest)
    }

    /// Remembers a message that this process has sent. In place of the latest one, if it remembers as many as it may:
    /// deadlines far away must not make those late that come before them.
    pub(super) fn note_sent(&mut self, id: i64, due_at: Timestamp) {
        self.own.insert((due_at, id));
        if self.own.len() > MOST_REMEMBERED {
            self.own.pop_last();
        }
    }

    /// Takes up to `most` of this process's messages that are due, the earliest first.
    pub(super) fn take_due(&mut self, most: usize, now: Timestamp) -> Vec<(Timestamp, i64)> {
        let is_due = |own: &BTreeSet<(Timestamp, i64)>| own.first().is_some_and(|(due_at, _)| *due_at <= now);
        let due = std::iter::from_fn(|| is_due(&self.own).then(|| self.own.pop_first()).flatten());
        due.take(most).collect()
    }

    /// Puts messages back that were taken and not received. The next receive also looks for those of others.
    pub(super) fn put_back(&mut self, due: Vec<(Timestamp, i64)>) {
        self.own.extend(due);
        self.look_at = Timestamp::from_millis(i64::MIN);
    }

    /// Whether it is time to look for messages of other processes.
    pub(super) fn is_time_to_look(&self, now: Timestamp) -> bool {
        self.look_at <= now
    }

    /// Notes that a look for up to `most` messages of other processes found `found`.
    pub(super) fn note_look(&mut self, found: usize, most: usize, now: Timestamp) {
        self.empty_looks = if found == 0 { self.empty_looks.saturating_add(1) } else { 0 };
        // A full result: there may be more.
        self.look_at = if found == most { now } else { now + PAUSES.delay(self.empty_looks) };
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
        let mut due_messages = DueMessages::new();
        due_messages.note_look(0, 10, at(0));
        for (id, due_at) in [(1, 30), (2, 10), (3, 20)] {
            due_messages.note_sent(id, at(due_at));
        }
        assert_eq!(due_messages.next_look(), at(10));
        assert_eq!(due_messages.take_due(10, at(20)), [(at(10), 2), (at(20), 3)]);
        assert_eq!(due_messages.next_look(), at(30));
        assert!(due_messages.take_due(10, at(29)).is_empty());
        due_messages.put_back(vec![(at(10), 2), (at(20), 3)]);
        assert_eq!(due_messages.take_due(1, at(30)), [(at(10), 2)]);
        assert!(due_messages.is_time_to_look(at(0)));
    }

    #[test]
    fn deadlines_far_away_leave_room_for_what_comes_before_them() {
        let mut due_messages = DueMessages::new();
        due_messages.note_look(0, 10, at(0));
        let far = 1_000_000;
        for id in 0..i64::try_from(MOST_REMEMBERED).unwrap() {
            assert!(due_messages.remembers(at(far)));
            due_messages.note_sent(id, at(far + id));
        }
        for (id, due_at) in [(-1, 30), (-2, 10), (-3, 2 * far)] {
            assert_eq!(due_messages.remembers(at(due_at)), due_at < far);
            due_messages.note_sent(id, at(due_at));
        }
        assert_eq!(due_messages.own.len(), MOST_REMEMBERED);
        assert_eq!(due_messages.next_look(), at(10), "not at the next look for those of others");
        assert_eq!(due_messages.take_due(10, at(30)), [(at(10), -2), (at(30), -1)]);
        assert_eq!(due_messages.take_due(1, at(far)), [(at(far), 0)]);
    }

    #[test]
    fn empty_looks_become_seldom() {
        let mut due_messages = DueMessages::new();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            due_messages.note_look(0, 10, now);
            pauses.push(due_messages.next_look().since(now).as_millis());
            now = due_messages.next_look();
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
        due_messages.note_look(3, 10, now);
        assert_eq!(due_messages.next_look(), now + Duration::from_millis(50));
        due_messages.note_look(10, 10, now);
        assert!(due_messages.is_time_to_look(now));
    }
}
