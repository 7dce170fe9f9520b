//! When a look for messages is worthwhile, and for which messages.
//!
//! A process knows the messages it has sent itself and when they are due. It has to look for messages of other
//! processes (one that has died, or one that does not receive) and for those that are visible again: soon after a
//! look that found some, more and more seldom after looks that found none.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::{MessageKind, Selection};

use crate::by_selection::BySelection;
use crate::request::SendMessage;

/// How long only the process that has sent a message may receive it. If that process is late by more, others
/// receive the message.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

/// Time between two looks for the messages of other processes, by how many looks in a row found none.
const PAUSES: BackOff = BackOff { first: Duration::from_millis(50), longest: Duration::from_secs(1) };

/// Messages that a process remembers at most: those that are due soonest. It finds the others as it finds those of other
/// processes.
const MOST_REMEMBERED: usize = 200_000;

/// Messages of one kind and group: receivers take all of them or none.
type Line = (MessageKind, Option<MessageGroup>);

/// What a process knows of the messages in the queue.
#[derive(Debug)]
pub(super) struct DueMessages {
    /// Sent by this process, by when they are due. No line is empty.
    own: BTreeMap<Line, BTreeSet<(Timestamp, i64)>>,
    remembered: usize,
    looks: BySelection<Look>,
}

/// A message that this process has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnMessage {
    line: Line,
    due_at: Timestamp,
    id: i64,
}

impl OwnMessage {
    pub(super) fn id(&self) -> i64 {
        self.id
    }
}

/// When to look next for the messages of other processes.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Timestamp,
    /// Looks in a row that found nothing.
    empty: u32,
}

impl Look {
    const NOW: Self = Self { at: Timestamp::from_millis(i64::MIN), empty: 0 };
}

impl DueMessages {
    pub(super) const fn new() -> Self {
        Self { own: BTreeMap::new(), remembered: 0, looks: BySelection::new() }
    }

    /// When the next message of the selection is due, or the next look for it.
    pub(super) fn next_look(&self, selection: &Selection) -> Timestamp {
        let look_at = self.look(selection).at;
        self.earliest(selection).map_or(look_at, |(_, due_at)| look_at.min(due_at))
    }

    /// Whether a message that is due then will be remembered. One that will not be needs no [`HEAD_START`].
    pub(super) fn remembers(&self, due_at: Timestamp) -> bool {
        self.remembered < MOST_REMEMBERED || self.latest().is_some_and(|(_, latest)| due_at < latest)
    }

    /// Remembers a message that this process has sent. In place of the latest one, if it remembers as many as it may:
    /// deadlines far away must not make those late that come before them.
    pub(super) fn note_sent(&mut self, id: i64, send: &SendMessage) {
        self.remember(OwnMessage { line: (send.kind, send.group.clone()), due_at: send.due_at, id });
        if self.remembered > MOST_REMEMBERED
            && let Some((line, _)) = self.latest()
        {
            let line = line.clone();
            self.forget(line, BTreeSet::pop_last);
        }
    }

    /// Takes up to `most` of this process's messages that are due, the earliest first.
    pub(super) fn take_due(&mut self, selection: &Selection, most: usize, now: Timestamp) -> Vec<OwnMessage> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some((line, due_at)) = self.earliest(selection)
            && due_at <= now
        {
            let line = line.clone();
            due.extend(self.forget(line, BTreeSet::pop_first));
        }
        due
    }

    /// Puts messages back that were taken and not received. The next receive also looks for those of others.
    pub(super) fn put_back(&mut self, due: Vec<OwnMessage>) {
        for message in due {
            self.remember(message);
        }
        self.looks.clear();
    }

    /// Whether it is time to look for messages of other processes.
    pub(super) fn is_time_to_look(&self, selection: &Selection, now: Timestamp) -> bool {
        self.look(selection).at <= now
    }

    /// Notes that a look for up to `most` messages of other processes found `found`.
    pub(super) fn note_look(&mut self, selection: &Selection, found: usize, most: usize, now: Timestamp) {
        let empty = if found == 0 { self.look(selection).empty.saturating_add(1) } else { 0 };
        // A full result: there may be more. A look by groups takes one of each.
        let may_be_more = found == most || (found > 0 && matches!(selection, Selection::WakeUpsOf(_)));
        let at = if may_be_more { now } else { now + PAUSES.delay(empty) };
        self.looks.set(selection, Look { at, empty });
    }

    fn look(&self, selection: &Selection) -> Look {
        self.looks.get(selection).copied().unwrap_or(Look::NOW)
    }

    fn earliest(&self, selection: &Selection) -> Option<(&Line, Timestamp)> {
        let selected = self.own.iter().filter(|((kind, group), _)| selection.takes(*kind, group.as_ref()));
        let first = selected.filter_map(|(line, own)| Some((line, own.first()?.0)));
        first.min_by_key(|(_, due_at)| *due_at)
    }

    fn latest(&self) -> Option<(&Line, Timestamp)> {
        let last = self.own.iter().filter_map(|(line, own)| Some((line, own.last()?.0)));
        last.max_by_key(|(_, due_at)| *due_at)
    }

    fn remember(&mut self, message: OwnMessage) {
        let OwnMessage { line, due_at, id } = message;
        self.own.entry(line).or_default().insert((due_at, id));
        self.remembered += 1;
    }

    /// Forgets the message that `pop` takes from its line.
    fn forget(
        &mut self,
        line: Line,
        pop: impl Fn(&mut BTreeSet<(Timestamp, i64)>) -> Option<(Timestamp, i64)>,
    ) -> Option<OwnMessage> {
        let own = self.own.get_mut(&line)?;
        let (due_at, id) = pop(own)?;
        if own.is_empty() {
            self.own.remove(&line);
        }
        self.remembered -= 1;
        Some(OwnMessage { line, due_at, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn send(group: &str, due_at: i64) -> SendMessage {
        let (reply, _) = tokio::sync::oneshot::channel();
        let group = Some(MessageGroup::of_version(group));
        let (kind, body) = (MessageKind::WakeUp, String::new());
        SendMessage { kind, group, body, due_at: at(due_at), reply }
    }

    fn ids(due: &[OwnMessage]) -> Vec<i64> {
        due.iter().map(OwnMessage::id).collect()
    }

    #[test]
    fn own_messages_come_when_they_are_due() {
        let (mut due_messages, all) = (DueMessages::new(), Selection::All);
        due_messages.note_look(&all, 0, 10, at(0));
        for (id, group, due_at) in [(1, "1.0.0", 30), (2, "2.0.0", 10), (3, "1.0.0", 20)] {
            due_messages.note_sent(id, &send(group, due_at));
        }
        assert_eq!(due_messages.next_look(&all), at(10));
        let due = due_messages.take_due(&all, 10, at(20));
        assert_eq!(ids(&due), [2, 3]);
        assert_eq!(due_messages.next_look(&all), at(30));
        assert!(due_messages.take_due(&all, 10, at(29)).is_empty());
        due_messages.put_back(due);
        assert_eq!(ids(&due_messages.take_due(&all, 1, at(30))), [2]);
        assert!(due_messages.is_time_to_look(&all, at(0)));
    }

    #[test]
    fn only_messages_of_the_selection_are_taken() {
        let mut due_messages = DueMessages::new();
        for (id, group, due_at) in [(1, "1.0.0", 10), (2, "2.0.0", 20), (3, "1.0.0", 30)] {
            due_messages.note_sent(id, &send(group, due_at));
        }
        let second = Selection::WakeUpsOf(vec![MessageGroup::of_version("2.0.0")]);
        due_messages.note_look(&second, 0, 1, at(0));
        assert_eq!(due_messages.next_look(&second), at(20));
        assert_eq!(ids(&due_messages.take_due(&second, 10, at(40))), [2]);
        assert_eq!(due_messages.next_look(&second), at(100), "the next look for those of others");
        assert!(due_messages.take_due(&Selection::FinishesExcept(Vec::new()), 10, at(40)).is_empty());
        assert_eq!(ids(&due_messages.take_due(&Selection::WakeUps, 10, at(40))), [1, 3]);
    }

    #[test]
    fn deadlines_far_away_leave_room_for_what_comes_before_them() {
        let (mut due_messages, all) = (DueMessages::new(), Selection::All);
        due_messages.note_look(&all, 0, 10, at(0));
        let far = 1_000_000;
        for id in 0..i64::try_from(MOST_REMEMBERED).unwrap() {
            assert!(due_messages.remembers(at(far)));
            due_messages.note_sent(id, &send("1.0.0", far + id));
        }
        for (id, due_at) in [(-1, 30), (-2, 10), (-3, 2 * far)] {
            assert_eq!(due_messages.remembers(at(due_at)), due_at < far);
            due_messages.note_sent(id, &send("2.0.0", due_at));
        }
        assert_eq!(due_messages.remembered, MOST_REMEMBERED);
        assert_eq!(due_messages.next_look(&all), at(10), "not at the next look for those of others");
        assert_eq!(ids(&due_messages.take_due(&all, 10, at(30))), [-2, -1]);
        assert_eq!(ids(&due_messages.take_due(&all, 1, at(far))), [0]);
    }

    #[test]
    fn empty_looks_become_seldom() {
        let (mut due_messages, all) = (DueMessages::new(), Selection::All);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            due_messages.note_look(&all, 0, 10, now);
            pauses.push(due_messages.next_look(&all).since(now).as_millis());
            now = due_messages.next_look(&all);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000, 1000]);
        due_messages.note_look(&all, 3, 10, now);
        assert_eq!(due_messages.next_look(&all), now + Duration::from_millis(50));
        due_messages.note_look(&all, 10, 10, now);
        assert!(due_messages.is_time_to_look(&all, now));
    }
}
