//! The properties that must hold in every state. This is stronger than a check of the final states: the
//! promise is kept at every moment, whatever crashes next.

use stateright::Property;

use crate::protocol::Protocol;
use crate::state::{Call, Event, Invoke, Message, Next, Runner, Stands, State};

/// All properties.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always("P1 no lost wake-up", |_, s| has_wake_up(s)),
        Property::always("P2 a step is committed once", |_, s: &State| s.commits == s.record.invoke_count),
        Property::always("P2 a step has one runner, unless a lease ended early", one_runner),
        Property::always("no step before it is due", none_early),
        Property::always("P3 accepted callbacks: none lost, none twice, in order", |_, s: &State| {
            s.accepted.iter().eq(s.record.consumed.iter().chain(&s.record.inbox))
        }),
        Property::always("P5 finished is final", |_, s: &State| {
            s.finished_by.is_none_or(|by| s.record.state == Stands::Finished && s.commits == by)
        }),
        Property::always("P5 the finish callback is posted after the end", |_, s: &State| {
            !s.posted || s.record.state == Stands::Finished
        }),
        Property::always("P5 an owed finish callback is sent", |_, s| finish_is_sent(s)),
        Property::always("what is at rest has reached its end", at_its_end),
    ]
}

/// Messages in the queue, and messages held by runners that will not simply delete them.
fn pending(s: &State) -> impl Iterator<Item = Message> {
    let held = s.runners.iter().filter_map(|runner| match runner {
        Runner::Holds(held) | Runner::Runs(held, _) | Runner::Commits { wake_up: held, .. } => Some(*held),
        Runner::Idle | Runner::Committed { .. } | Runner::Posted => None,
    });
    s.queue.iter().copied().chain(held)
}

/// P1, word for word: an unfinished invocation has a wake-up for its step; one that waits for a callback needs
/// one only if there is a callback or a deadline.
fn has_wake_up(s: &State) -> bool {
    let record = &s.record;
    let by_step = |until: u8| {
        pending(s).any(|message| {
            matches!(message, Message::WakeUp { after_step, due, receipt: None, .. }
                if after_step == record.invoke_count && due <= until)
        })
    };
    let by_receipt = || {
        pending(s).any(|message| {
            matches!(message, Message::WakeUp { receipt: Some(receipt), .. } if record.inbox.contains(&receipt))
        })
    };
    match record.state {
        Stands::Stub | Stands::Finished => true,
        Stands::Poll => record.due.is_none_or(by_step),
        Stands::Callback => {
            (record.inbox.is_empty() || by_step(s.clock) || by_receipt()) && record.due.is_none_or(by_step)
        }
    }
}

fn one_runner(model: &Protocol, s: &State) -> bool {
    let running = s.runners.iter().filter(|r| matches!(r, Runner::Runs(..) | Runner::Commits { .. })).count();
    running <= 1 || s.early_ends < model.early_ends
}

/// A wait does not time out before its deadline. A poll keeps its interval; if a step had to run again, the
/// interval counts from its first run that sent the wake-up. (Only the holder of the lease works on this
/// record.)
fn none_early(model: &Protocol, s: &State) -> bool {
    let ran_again = s.crashes < model.crashes || s.early_ends < model.early_ends;
    let is_due = s.record.due.is_none_or(|due| due <= s.clock);
    s.runners.iter().enumerate().all(|(number, runner)| match runner {
        Runner::Runs(_, claim) if s.record.lease == Some(number) => match claim.event {
            Event::Polled => is_due || ran_again,
            Event::TimedOut => is_due,
            Event::Called => true,
        },
        _ => true,
    })
}

/// A finished invocation owes its finish callback or has posted it. While it owes one, a message asks for it.
fn finish_is_sent(s: &State) -> bool {
    let asked = pending(s).any(|message| matches!(message, Message::Finish { .. }));
    let reminded = asked || s.runners.contains(&Runner::Posted);
    s.record.state != Stands::Finished || if s.record.owed { reminded } else { s.posted }
}

/// Whether the model is at rest: the queue is empty, and no handler or runner works.
pub fn at_rest(s: &State) -> bool {
    s.queue.is_empty()
        && matches!(s.invoke, Invoke::Answered | Invoke::Dead)
        && s.calls.iter().all(|call| !matches!(call, Call::Begins | Call::HalfWay))
        && s.runners.iter().all(|runner| *runner == Runner::Idle)
}

/// At rest, an invocation whose caller was answered is finished, unless it still waits because too few
/// callbacks were accepted.
fn at_its_end(model: &Protocol, s: &State) -> bool {
    let waits = model.steps.iter().filter(|step| matches!(step, Next::Callback(None))).count();
    let may_wait =
        s.accepted.len() < waits && s.record.state == Stands::Callback && s.record.inbox.is_empty();
    let no_record = model.steps[0] == Next::Done;
    !at_rest(s)
        || s.invoke == Invoke::Dead
        || no_record
        || may_wait
        || (s.record.state == Stands::Finished && !s.record.owed)
}
