//! Which messages there is room for. This is the decision alone: [`Slots`](super::slots::Slots) keeps what it is about.

use std::collections::BTreeMap;

use bk_plugin_core::message_group::MessageGroup;
use bk_plugin_core::queue::Selection;

/// What is under way.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay {
    total: usize,
    by_group: BTreeMap<MessageGroup, usize>,
}

impl UnderWay {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    fn of(&self, group: &MessageGroup) -> usize {
        self.by_group.get(group).copied().unwrap_or(0)
    }

    /// One more. Of a message without a group it is only known that it takes a slot.
    pub(super) fn begin(&mut self, group: Option<&MessageGroup>) {
        self.total += 1;
        if let Some(group) = group {
            *self.by_group.entry(group.clone()).or_default() += 1;
        }
    }

    /// One of those that have begun has ended.
    pub(super) fn end(&mut self, group: Option<&MessageGroup>) {
        self.total -= 1;
        if let Some(group) = group
            && let Some(count) = self.by_group.get_mut(group)
        {
            *count -= 1;
            if *count == 0 {
                self.by_group.remove(group);
            }
        }
    }
}

/// What can be received now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) selection: Selection,
    /// Most messages to receive. Whichever of the selection they are, there is a slot for each.
    pub(super) max: usize,
}

impl Room {
    /// Whether messages are left out that may be selected as soon as a slot is free.
    pub(super) fn leaves_some_out(&self) -> bool {
        match &self.selection {
            Selection::All | Selection::WakeUps => false,
            Selection::WakeUpsOf(_) => true,
            Selection::FinishesExcept(groups) => !groups.is_empty(),
        }
    }
}

/// How slots are shared among groups.
pub(super) trait Shares: Send + Sync {
    /// What can be received while this is under way; `None`: nothing.
    fn room(&self, under_way: &UnderWay) -> Option<Room>;
}

/// The slots for steps: each version may take any free one that is not kept for another version. Kept are the slots that
/// are guaranteed to versions and that they do not use.
#[derive(Debug, Clone)]
pub(super) struct VersionShares {
    total: usize,
    versions: Vec<MessageGroup>,
    /// Slots that each version can always have.
    guaranteed: usize,
    /// Slots that are kept at most.
    most_kept: usize,
}

impl VersionShares {
    /// Shares `total` slots among versions, of which each can always have `guaranteed`. Without that number half of the
    /// slots are guaranteed. If there are not enough slots for so many versions, half of them are kept for versions that
    /// run no step.
    pub(super) fn new(total: usize, versions: Vec<MessageGroup>, guaranteed: Option<usize>) -> Self {
        let fair = total / versions.len().max(1);
        let guaranteed = guaranteed.unwrap_or(fair / 2).clamp(1, fair.max(1));
        let is_kept = guaranteed * versions.len() <= total;
        Self { total, versions, guaranteed, most_kept: if is_kept { total } else { total / 2 } }
    }
}

impl Shares for VersionShares {
    fn room(&self, under_way: &UnderWay) -> Option<Room> {
        let free = self.total.saturating_sub(under_way.total());
        let unused = |version| self.guaranteed.saturating_sub(under_way.of(version));
        // With one version there is no other to keep a slot for.
        let kept = if let [_] = self.versions[..] { 0 } else { self.versions.iter().map(unused).sum() };
        let shared = free.saturating_sub(self.most_kept.min(kept));
        if shared > 0 {
            return Some(Room { selection: Selection::WakeUps, max: shared });
        }
        let below = self.versions.iter().filter(|version| unused(version) > 0);
        let least_unused = below.clone().map(unused).min()?;
        let max = least_unused.min(free);
        (max > 0).then(|| Room { selection: Selection::WakeUpsOf(below.cloned().collect()), max })
    }
}

/// The slots for finish callbacks: a host that answers slowly or never takes a bounded part of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostShares {
    pub(super) total: usize,
    /// Slots that one host takes at most.
    pub(super) each: usize,
}

impl Shares for HostShares {
    fn room(&self, under_way: &UnderWay) -> Option<Room> {
        let free = self.total.saturating_sub(under_way.total());
        let left = |count: &usize| self.each.saturating_sub(*count);
        let (full, others): (Vec<_>, Vec<_>) =
            under_way.by_group.iter().partition(|(_, count)| left(count) == 0);
        // The messages may all be for the host that has the fewest slots left.
        let least_left = others.into_iter().map(|(_, count)| left(count)).fold(self.each, usize::min);
        let max = least_left.min(free);
        let full = full.into_iter().map(|(host, _)| host.clone()).collect();
        (max > 0).then_some(Room { selection: Selection::FinishesExcept(full), max })
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_core::queue::MessageKind;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// What happens to a worker whose queue always has messages of every group.
    #[derive(Debug, Clone)]
    enum Happens {
        /// It receives messages; each index chooses a group among those of the selection.
        Received(Vec<Index>),
        /// Something that is under way ends.
        Ended(Index),
    }

    fn history() -> impl Strategy<Value = Vec<Happens>> {
        let received = vec(any::<Index>(), 1..40).prop_map(Happens::Received);
        let ended = any::<Index>().prop_map(Happens::Ended);
        vec(prop_oneof![received, ended], 0..60)
    }

    fn versions(count: usize) -> Vec<MessageGroup> {
        (0..count).map(|number| MessageGroup::of_version(&format!("{number}.0.0"))).collect()
    }

    fn hosts() -> Vec<MessageGroup> {
        (0..9).map(|number| MessageGroup::of_finish_callbacks_to(&format!("http://host{number}/"))).collect()
    }

    /// Plays a history and looks at what is under way after each event.
    fn play(
        shares: &dyn Shares,
        kind: MessageKind,
        groups: &[Option<MessageGroup>],
        history: &[Happens],
        mut check: impl FnMut(&UnderWay, Option<&Room>) -> Result<(), TestCaseError>,
    ) -> Result<(), TestCaseError> {
        let (mut under_way, mut running) = (UnderWay::default(), Vec::new());
        for happens in history {
            match happens {
                Happens::Received(drawn) => {
                    let Some(Room { selection, max }) = shares.room(&under_way) else { continue };
                    let due: Vec<_> =
                        groups.iter().filter(|group| selection.takes(kind, group.as_ref())).collect();
                    for index in drawn.iter().take(if due.is_empty() { 0 } else { max }) {
                        let group: &Option<MessageGroup> = due[index.index(due.len())];
                        under_way.begin(group.as_ref());
                        running.push(group.clone());
                    }
                }
                Happens::Ended(_) if running.is_empty() => {}
                Happens::Ended(index) => {
                    let ended = running.swap_remove(index.index(running.len()));
                    under_way.end(ended.as_ref());
                }
            }
            check(&under_way, shares.room(&under_way).as_ref())?;
        }
        Ok(())
    }

    fn takes(room: Option<&Room>, kind: MessageKind, group: &MessageGroup) -> bool {
        room.is_some_and(|room| room.max > 0 && room.selection.takes(kind, Some(group)))
    }

    proptest! {
        /// Whatever the others have due: a version below its guarantee can have its next step run at once.
        #[test]
        fn no_version_waits_for_the_backlog_of_others(
            total in 1..40_usize, count in 1..12_usize, guaranteed in proptest::option::of(1..20_usize),
            history in history(),
        ) {
            let versions = versions(count);
            let shares = VersionShares::new(total, versions.clone(), guaranteed);
            // A version that is no longer deployed, and messages of an older release.
            let old = [Some(MessageGroup::of_version("0.0.1")), None];
            let groups: Vec<_> = versions.iter().cloned().map(Some).chain(old).collect();
            play(&shares, MessageKind::WakeUp, &groups, &history, |under_way, room| {
                prop_assert!(under_way.total() <= total);
                let is_kept = shares.guaranteed * count <= total && count > 1;
                for version in &versions {
                    let is_below = under_way.of(version) < shares.guaranteed;
                    let may_take = if is_kept { is_below } else { is_below && under_way.total() < total };
                    prop_assert!(!may_take || takes(room, MessageKind::WakeUp, version), "{under_way:?}");
                }
                Ok(())
            })?;
        }

        /// Slots are not wasted: some are free only because they are kept for versions that do not use them.
        #[test]
        fn a_version_alone_takes_every_slot_that_is_not_kept_for_others(
            total in 1..40_usize, count in 1..12_usize, history in history(),
        ) {
            let versions = versions(count);
            let shares = VersionShares::new(total, versions.clone(), None);
            let groups: Vec<_> = versions.iter().cloned().map(Some).collect();
            play(&shares, MessageKind::WakeUp, &groups, &history, |under_way, room| {
                let unused: usize =
                    versions.iter().map(|version| shares.guaranteed.saturating_sub(under_way.of(version))).sum();
                let kept = if count == 1 { 0 } else { unused.min(shares.most_kept) };
                let free = total - under_way.total();
                prop_assert_eq!(room.is_some_and(|room| room.selection == Selection::WakeUps), free > kept);
                prop_assert!(count == 1 || kept <= total / 2 + count, "about half at most");
                Ok(())
            })?;
        }

        #[test]
        fn a_silent_host_takes_its_part_and_no_more(
            each in 1..10_usize, parts in 1..5_usize, history in history(),
        ) {
            let shares = HostShares { total: each * parts, each };
            let hosts = hosts();
            let groups: Vec<_> = hosts.iter().cloned().map(Some).chain([None]).collect();
            play(&shares, MessageKind::Finish, &groups, &history, |under_way, room| {
                prop_assert!(under_way.total() <= shares.total);
                for host in &hosts {
                    prop_assert!(under_way.of(host) <= each);
                    let may_take = under_way.of(host) < each && under_way.total() < shares.total;
                    prop_assert_eq!(takes(room, MessageKind::Finish, host), may_take);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn with_one_version_nothing_is_held_back() {
        let shares = VersionShares::new(16, versions(1), None);
        let room = shares.room(&UnderWay::default());
        assert_eq!(room, Some(Room { selection: Selection::WakeUps, max: 16 }));
    }

    #[test]
    fn the_guarantee_is_half_of_a_fair_share_unless_it_is_set() {
        let guaranteed = |total, count, set| VersionShares::new(total, versions(count), set).guaranteed;
        assert_eq!([guaranteed(256, 8, None), guaranteed(16, 2, None), guaranteed(4, 8, None)], [16, 4, 1]);
        assert_eq!([guaranteed(256, 8, Some(2)), guaranteed(16, 4, Some(100))], [2, 4]);
    }
}
