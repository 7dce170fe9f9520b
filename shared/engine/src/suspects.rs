//! Suspects: wake-ups that were being handled when their process died.
//!
//! Most of them are innocent: they happened to be under way. So suspects run a few at a time, beside everything else.
//! With each that ends well one more may run, so that the innocent are released in growing numbers: 1, 2, 4, 8. One
//! that was under way again when a process died is singled out, and runs with nothing else under way; only such runs
//! can end an invocation (`engine/alone.rs`). [`plan`] is the decision, for any host; a host has a [`SuspectPolicy`].

#[cfg(test)]
mod tests;

use std::time::Duration;

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use bk_plugin_core::queue::{Delivery, Message};

/// When a host suspects a wake-up, and what it does with it.
#[derive(Debug, Clone, Copy)]
pub struct SuspectPolicy {
    /// A wake-up with this many crashes is a suspect.
    pub suspected_at: u32,
    /// A wake-up with this many crashes is singled out.
    pub singled_out_at: u32,
    /// The same where nothing else is under way, so that a run alone holds nothing up.
    pub singled_out_when_idle_at: u32,
    /// Whether suspects run beside fresh deliveries. If not, they run when there are no fresh ones or when they have had
    /// their put-backs; then the fresh ones are put back instead.
    pub beside_fresh: bool,
    /// Put-backs after which others are put back for a delivery that cannot run beside them.
    pub put_backs: u32,
    /// Delay of a delivery that is put back, by how often it was put back before.
    pub back_off: BackOff,
    /// Delay between suspects put back together, so that fewer of them meet.
    pub stagger: Duration,
}

/// What is under way in the process that received the deliveries.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// Nothing is under way.
    pub is_idle: bool,
    /// Others may be held up for a run alone.
    pub may_hold_up: bool,
    /// How many suspects may begin.
    pub room: usize,
}

/// What is to be done with some deliveries. Put back first, then run: a delivery that is still here when the process
/// dies counts one more crash.
#[derive(Debug)]
pub struct Plan<D> {
    /// Deliveries to run that are not suspects.
    pub fresh: Vec<D>,
    /// Suspects to run.
    pub suspects: Vec<D>,
    /// The one delivery to run alone. Then nothing else is to be run.
    pub alone: Option<D>,
    /// Deliveries to put back as ones that are only run alone.
    pub single_out: Vec<D>,
    /// Deliveries to put back as they are, each for after its delay.
    pub put_back: Vec<(D, Duration)>,
}

/// Decides what runs now.
pub fn plan<D: AsRef<Delivery>>(deliveries: Vec<D>, policy: &SuspectPolicy, now: Situation) -> Plan<D> {
    let is_only_one = deliveries.len() == 1 && now.is_idle;
    let (mut fresh, mut suspects, mut for_alone, mut single_out) =
        <(Vec<D>, Vec<D>, Vec<D>, Vec<D>)>::default();
    for delivery in deliveries {
        let group = match policy.standing(delivery.as_ref(), is_only_one) {
            Standing::Fresh => &mut fresh,
            Standing::Suspect => &mut suspects,
            Standing::ToBeSingledOut => &mut single_out,
            Standing::SingledOut => &mut for_alone,
        };
        group.push(delivery);
    }
    suspects.sort_by_key(put_backs);
    for_alone.sort_by_key(put_backs);
    let had_put_backs =
        |delivery: Option<&D>| delivery.is_some_and(|last| put_backs(last) >= policy.put_backs);

    let is_quiet = now.is_idle && fresh.is_empty() && suspects.is_empty();
    let its_turn = is_quiet || now.may_hold_up && had_put_backs(for_alone.last());
    let alone = if its_turn { for_alone.pop() } else { None };
    let mut make_way = Vec::new();
    let begin = if alone.is_some() {
        make_way.append(&mut fresh);
        0
    } else if policy.beside_fresh || fresh.is_empty() {
        now.room
    } else if had_put_backs(suspects.last()) && now.room > 0 {
        make_way.append(&mut fresh);
        now.room
    } else {
        0
    };
    let waiting = suspects.len().saturating_sub(begin);
    let begin = suspects.split_off(waiting);

    let later = |delivery: D, stagger: Duration| {
        let delay = policy.back_off.delay(put_backs(&delivery)) + stagger;
        (delivery, delay)
    };
    let put_back = suspects.into_iter().chain(for_alone).zip(0..);
    let put_back = put_back.map(|(suspect, position)| later(suspect, policy.stagger_of(position)));
    let make_way = make_way.into_iter().map(|delivery| later(delivery, Duration::ZERO));
    Plan { fresh, suspects: begin, alone, single_out, put_back: put_back.chain(make_way).collect() }
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Fresh,
    Suspect,
    ToBeSingledOut,
    SingledOut,
}

impl SuspectPolicy {
    /// (Posting a finish callback runs no author's code.)
    fn standing(&self, delivery: &Delivery, is_only_one: bool) -> Standing {
        let Message::WakeUp(wake_up) = &delivery.message else { return Standing::Fresh };
        let singled_out_at = if is_only_one { self.singled_out_when_idle_at } else { self.singled_out_at };
        match delivery.crashes() {
            _ if wake_up.alone.is_some() => Standing::SingledOut,
            crashes if crashes >= singled_out_at => Standing::ToBeSingledOut,
            crashes if crashes >= self.suspected_at => Standing::Suspect,
            _ => Standing::Fresh,
        }
    }

    /// Bounded, because a crash can make suspects of very many.
    fn stagger_of(&self, position: u32) -> Duration {
        self.stagger.saturating_mul(position).min(self.back_off.longest)
    }
}

fn put_backs<D: AsRef<Delivery>>(delivery: &D) -> u32 {
    delivery.as_ref().message.put_backs()
}

/// How many suspects may be under way in one process at the same time: one at first, and one more for each that ends
/// well. A process that dies takes this with it, and the next one begins with one.
#[derive(Debug)]
pub struct Probation {
    most: usize,
    under_way: usize,
    quiet_since: Timestamp,
}

/// If no suspect was under way for this long, the next ones are those of another crash, in another process.
const FORGET_AFTER: Duration = Duration::from_secs(30);

impl Default for Probation {
    fn default() -> Self {
        Self { most: 1, under_way: 0, quiet_since: Timestamp::from_millis(0) }
    }
}

impl Probation {
    /// How many suspects may begin.
    pub fn room(&mut self, now: Timestamp) -> usize {
        if self.under_way == 0 && now.since(self.quiet_since) > FORGET_AFTER {
            self.most = 1;
        }
        self.most.saturating_sub(self.under_way)
    }

    /// A suspect begins.
    pub fn begin(&mut self) {
        self.under_way += 1;
    }

    /// A suspect has ended, and its process lives.
    pub fn end(&mut self, now: Timestamp) {
        self.under_way = self.under_way.saturating_sub(1);
        self.most += 1;
        self.quiet_since = now;
    }
}
