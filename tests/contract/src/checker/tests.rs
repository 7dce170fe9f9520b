//! Linearizable histories are accepted, others are rejected.

use std::time::Duration;

use bk_plugin_core::ids::{Receipt, TraceId};
use bk_plugin_core::record::{InboxEntry, Lease, Record, State};
use bk_plugin_core::table::{ClaimOn, Commit};
use serde_json::json;

use super::*;
use crate::sample::{START, early, ended, entry, late, lease, polled, record};
use crate::specification::{Answer, OneRecord, Operation};

/// A register: a number that clients write and read.
struct Register;

#[derive(Debug)]
enum Use {
    Write(u8),
    Read,
}

impl Specification for Register {
    type State = u8;
    type Operation = Use;
    type Answer = u8;

    fn step(&self, state: &u8, operation: &Use, answer: Option<&u8>) -> Option<u8> {
        match operation {
            Use::Write(number) => Some(*number),
            Use::Read => answer.is_none_or(|answer| answer == state).then_some(*state),
        }
    }

    fn is_pure(&self, operation: &Use, _answer: &u8) -> bool {
        matches!(operation, Use::Read)
    }

    fn tell(&self, state: &u8) -> String {
        state.to_string()
    }
}

fn call<O, A>(began: u64, ended: u64, operation: O, answer: A) -> Call<O, A> {
    Call { client: 0, operation, answer: Some(answer), began, ended }
}

fn register(history: &[Call<Use, u8>]) -> bool {
    match check(&Register, 0, history) {
        Verdict::Linearizable { order, .. } => {
            assert!(order.len() >= history.iter().filter(|call| call.answer.is_some()).count());
            true
        }
        Verdict::Violation { .. } => false,
        Verdict::Undecided => panic!("a small history is decided"),
    }
}

#[test]
fn one_after_the_other() {
    assert!(register(&[]));
    assert!(register(&[call(0, 1, Use::Write(1), 0), call(2, 3, Use::Read, 1)]));
    assert!(!register(&[call(0, 1, Use::Write(1), 0), call(2, 3, Use::Read, 0)]), "a stale read");
    assert!(!register(&[call(0, 1, Use::Read, 1), call(2, 3, Use::Write(1), 0)]), "from the future");
}

#[test]
fn at_the_same_time() {
    let both = |first, second| {
        register(&[call(0, 9, Use::Write(1), 0), call(1, 2, Use::Read, first), call(3, 4, Use::Read, second)])
    };
    assert!(both(0, 0) && both(0, 1) && both(1, 1));
    assert!(!both(1, 0), "what was read is not unread");
    // Two readers see two writes in different orders; their last reads begin after both writes.
    let order = |last: [u8; 2]| {
        register(&[
            call(0, 4, Use::Write(1), 0),
            call(1, 5, Use::Write(2), 0),
            call(6, 9, Use::Read, last[0]),
            call(7, 8, Use::Read, last[1]),
        ])
    };
    assert!(order([1, 1]) && order([2, 2]));
    assert!(!order([1, 2]) && !order([2, 1]));
}

#[test]
fn a_call_without_an_answer_may_have_an_effect_at_any_later_time_or_none() {
    let unknown = || Call { answer: None, ..call(0, 1, Use::Write(1), 0) };
    let reads = |answers: [u8; 3]| {
        let mut history = vec![unknown()];
        for (at, answer) in (10..).step_by(2).zip(answers) {
            history.push(call(at, at + 1, Use::Read, answer));
        }
        register(&history)
    };
    assert!(reads([0, 0, 0]) && reads([0, 0, 1]) && reads([1, 1, 1]));
    assert!(!reads([0, 1, 0]));
    assert!(!register(&[call(0, 1, Use::Read, 1), Call { began: 2, ended: 3, ..unknown() }]));
}

/// A history of one record, written call by call. Calls follow each other unless marked as concurrent.
struct Story {
    trace_id: TraceId,
    now: u64,
    history: Vec<Call<Operation, Answer>>,
}

impl Story {
    /// Begins with the creation of a record.
    fn of(record: &Record) -> Self {
        let mut story = Self { trace_id: record.trace_id.clone(), now: 0, history: Vec::new() };
        story.then(Operation::Create(Box::new(record.clone()), None), Answer::Applied);
        story
    }

    fn then(&mut self, operation: Operation, answer: Answer) -> &mut Self {
        self.at_once([(operation, answer)])
    }

    fn at_once<const N: usize>(&mut self, calls: [(Operation, Answer); N]) -> &mut Self {
        for (client, (operation, answer)) in calls.into_iter().enumerate() {
            let (began, ended) = (self.now + client as u64, self.now + 100 + client as u64);
            self.history.push(Call { client, operation, answer: Some(answer), began, ended });
        }
        self.now += 1000;
        self
    }

    fn is_linearizable(&self) -> bool {
        let specification = OneRecord::new(self.trace_id.clone(), &self.history);
        let verdict = check(&specification, None, &self.history);
        let told = explain(&specification, None, &self.history, &verdict);
        assert_eq!(told.contains("no order"), matches!(verdict, Verdict::Violation { .. }), "{told}");
        assert_ne!(verdict, Verdict::Undecided);
        matches!(verdict, Verdict::Linearizable { .. })
    }
}

fn claim(lease: &Lease) -> Operation {
    Operation::Claim(ClaimOn::Step(1), lease.clone(), START)
}

fn commit(lease: &Lease, commit: Commit) -> Operation {
    Operation::Commit(lease.token.clone(), Box::new(commit))
}

fn append(entry: &InboxEntry) -> Operation {
    Operation::Append(late(entry))
}

fn with_lease(record: &Record, lease: &Lease) -> Box<Record> {
    Box::new(Record { lease: Some(lease.clone()), ..record.clone() })
}

fn with_inbox(record: &Record, inbox: &[&InboxEntry]) -> Box<Record> {
    let inbox = inbox.iter().copied().cloned().collect();
    Box::new(Record { inbox, ..record.clone() })
}

#[test]
fn of_two_claims_at_once_one_is_granted() {
    let (polling, mine, yours) = (record(State::Poll), lease(), lease());
    let granted = |lease| Answer::Granted(with_lease(&polling, lease));
    let refused = |lease| Answer::Refused(Some(with_lease(&polling, lease)));
    let story = |first: Answer, second: Answer| {
        Story::of(&polling).at_once([(claim(&mine), first), (claim(&yours), second)]).is_linearizable()
    };
    assert!(story(granted(&mine), refused(&mine)));
    assert!(story(refused(&yours), granted(&yours)));
    assert!(!story(granted(&mine), granted(&yours)), "both");
    assert!(!story(refused(&yours), refused(&mine)), "neither");
    assert!(!story(granted(&mine), refused(&yours)), "the wrong one is shown");
}

#[test]
fn a_free_record_is_not_refused_and_a_grant_is_seen() {
    let (polling, mine) = (record(State::Poll), lease());
    let free = Some(Box::new(polling.clone()));
    assert!(!Story::of(&polling).then(claim(&mine), Answer::Refused(free.clone())).is_linearizable());
    let granted = Answer::Granted(with_lease(&polling, &mine));
    let mut story = Story::of(&polling);
    story.then(claim(&mine), granted);
    assert!(!story.then(Operation::Read, Answer::Read(free)).is_linearizable(), "a stale read");
}

#[test]
fn an_expired_lease_is_taken_over_and_a_live_one_is_not() {
    let (polling, mine, yours) = (record(State::Poll), lease(), lease());
    for (late, fits) in [(Duration::from_mins(1), true), (Duration::from_secs(59), false)] {
        let take_over = Operation::Claim(ClaimOn::Step(1), yours.clone(), START + late);
        let mut story = Story::of(&polling);
        story.then(claim(&mine), Answer::Granted(with_lease(&polling, &mine)));
        story.then(take_over, Answer::Granted(with_lease(&polling, &yours)));
        assert_eq!(story.is_linearizable(), fits);
        if fits {
            assert!(!story.then(commit(&mine, polled()), Answer::Applied).is_linearizable(), "a lost lease");
        }
    }
}

#[test]
fn no_append_is_lost_doubled_or_reordered() {
    let (waiting, a, b) = (record(State::Callback), entry(json!("a")), entry(json!("b")));
    let story = |inbox: &[&InboxEntry]| {
        Story::of(&waiting)
            .at_once([(append(&a), Answer::Applied), (append(&b), Answer::Applied)])
            .then(append(&a), Answer::Applied)
            .then(Operation::Read, Answer::Read(Some(with_inbox(&waiting, inbox))))
            .is_linearizable()
    };
    assert!(story(&[&a, &b]) && story(&[&b, &a]));
    assert!(!story(&[&a]) && !story(&[&b]) && !story(&[]), "lost");
    assert!(!story(&[&a, &b, &a]), "doubled");

    let reads = [[&a, &b], [&b, &a]].map(|inbox| Answer::Read(Some(with_inbox(&waiting, &inbox))));
    let mut two_orders = Story::of(&waiting);
    two_orders.at_once([(append(&a), Answer::Applied), (append(&b), Answer::Applied)]);
    for read in reads {
        two_orders.then(Operation::Read, read);
    }
    assert!(!two_orders.is_linearizable());

    let mut in_turn = Story::of(&waiting);
    in_turn.then(append(&a), Answer::Applied).then(append(&b), Answer::Applied);
    in_turn.then(Operation::Read, Answer::Read(Some(with_inbox(&waiting, &[&b, &a]))));
    assert!(!in_turn.is_linearizable(), "reordered");
}

#[test]
fn a_commit_sees_the_inbox_it_is_made_on() {
    let (waiting, mine) = (record(State::Callback), lease());
    let (a, b) = (entry(json!("a")), entry(json!("b")));
    let taken = with_inbox(&Record { lease: Some(mine.clone()), ..waiting.clone() }, &[&a]);
    let story = |inbox_len, answer: Answer| {
        let second = Commit { consume: true, inbox_len: Some(inbox_len), ..polled() };
        let mut story = Story::of(&waiting);
        story.then(append(&a), Answer::Applied).then(claim(&mine), Answer::Granted(taken.clone()));
        story.at_once([(append(&b), Answer::Applied), (commit(&mine, second), answer)]).is_linearizable()
    };
    let shown = |inbox: &[&InboxEntry]| Answer::Refused(Some(with_inbox(&taken, inbox)));
    assert!(story(1, Answer::Applied) && story(2, Answer::Applied), "before the append, and after it");
    assert!(!story(0, Answer::Applied) && !story(3, Answer::Applied));
    assert!(story(1, shown(&[&a, &b])) && story(2, shown(&[&a])));
    assert!(!story(1, shown(&[&a])), "refused, though the record that is shown fits");
}

#[test]
fn finished_is_final_and_a_known_receipt_is_known() {
    let (waiting, mine) = (record(State::Callback), lease());
    let (a, b) = (entry(json!("a")), entry(json!("b")));
    let taken = with_inbox(&Record { lease: Some(mine.clone()), ..waiting.clone() }, &[&a]);
    let last = Commit { consume: true, ..ended() };
    let done = Record {
        state: last.state,
        invoke_count: 2,
        storage: json!({ "n": 2 }),
        outputs: json!({ "out": "text" }),
        err: last.err.clone(),
        owed: true,
        finish_at: last.finish_at,
        consumed: vec![a.receipt.clone()],
        ..waiting.clone()
    };
    let story = |appended: &InboxEntry, answer: Answer| {
        let mut story = Story::of(&waiting);
        story.then(append(&a), Answer::Applied).then(claim(&mine), Answer::Granted(taken.clone()));
        story.then(commit(&mine, last.clone()), Answer::Applied);
        story.then(append(appended), answer).is_linearizable()
    };
    let refused = || Answer::Refused(Some(Box::new(done.clone())));
    assert!(story(&a, Answer::Applied) && !story(&a, refused()));
    assert!(story(&b, refused()) && !story(&b, Answer::Applied));
}

#[test]
fn an_early_callback_is_in_the_record() {
    let (waiting, a) = (record(State::Callback), entry(json!("a")));
    let story = |inbox_len, inbox: &[&InboxEntry]| {
        let mut story = Story { trace_id: waiting.trace_id.clone(), now: 0, history: Vec::new() };
        let create = Operation::Create(Box::new(waiting.clone()), inbox_len);
        story.then(Operation::Append(early(&a)), Answer::Applied).then(create, Answer::Applied);
        story.then(Operation::Read, Answer::Read(Some(with_inbox(&waiting, inbox)))).is_linearizable()
    };
    assert!(story(None, &[&a]) && story(Some(1), &[&a]));
    assert!(!story(Some(0), &[&a]) && !story(None, &[]));
}

/// The call would have got the same answer before the record existed, but then without any effect.
#[test]
fn a_change_is_not_taken_for_one_without_effect() {
    let owing = Record { owed: true, ..record(State::Poll) };
    let story = |owed: bool| {
        let mut story = Story { trace_id: owing.trace_id.clone(), now: 0, history: Vec::new() };
        let create = Operation::Create(Box::new(owing.clone()), None);
        story.at_once([(Operation::Settle, Answer::Applied), (create, Answer::Applied)]);
        let read = Answer::Read(Some(Box::new(Record { owed, ..owing.clone() })));
        story.then(Operation::Read, read).is_linearizable()
    };
    assert!(story(true) && story(false));
}

/// Sixteen concurrent appends have more orders than a search could try one by one.
#[test]
fn many_calls_at_once_are_decided() {
    let waiting = record(State::Callback);
    let entries: Vec<_> = (0..16).map(|number| entry(json!(number))).collect();
    let story = |inbox: &[&InboxEntry]| {
        let mut story = Story::of(&waiting);
        for (client, entry) in entries.iter().enumerate() {
            let (began, ended) = (story.now + client as u64, story.now + 100);
            let (operation, answer) = (append(entry), Some(Answer::Applied));
            story.history.push(Call { client, operation, answer, began, ended });
        }
        story.now += 1000;
        story.then(Operation::Read, Answer::Read(Some(with_inbox(&waiting, inbox)))).is_linearizable()
    };
    let backwards: Vec<_> = entries.iter().rev().collect();
    assert!(story(&backwards));
    assert!(!story(&backwards[1..]), "one is lost");
    let receipts: std::collections::HashSet<&Receipt> = entries.iter().map(|entry| &entry.receipt).collect();
    assert_eq!(receipts.len(), 16);
}
