//! The required result of an invocation, computed from its script and the accepted callbacks. Nothing here
//! uses the engine.

use std::time::Duration;

use bk_plugin_core::record::State;
use bk_plugin_kit::{CallbackWait, Next};
use serde_json::{Value, json};

use crate::script::Step;
use crate::world::{Committed, SKEW, World};

/// Number of posts after which the engine gives up a finish callback.
const MOST_POSTS: u32 = 12;
/// Runs alone that must have died before a step is given up.
const DEATHS_ALONE: u32 = 2;
/// Faults that a step bears that kills nothing: five for deaths beside others, since no worker suspects it earlier.
const MOST_FAULTS_BORNE: usize = 5 + DEATHS_ALONE as usize;
const ENDED_TOO_LATE: &str = "plugin schedule failed: no callback came in the time given for it";
const GONE: &str = "plugin schedule failed: version 1.0.0 is not deployed any more";

/// Checks all promises; the error names the first one that does not hold.
pub(crate) fn check(world: &World, shown: Option<&Value>) -> Result<(), String> {
    steps(world)?;
    callbacks(world)?;
    end(world, shown)
}

/// The results of the steps so far.
#[derive(Default)]
struct Walk {
    trail: Vec<String>,
    handed_over: usize,
    filled: bool,
}

/// P2: every step is written once, in order, with the result it would have without faults.
fn steps(world: &World) -> Result<(), String> {
    let mut walk = Walk::default();
    let mut before: Option<&Committed> = None;
    for (at, now) in world.committed.iter().enumerate() {
        if now.count as usize != at + 1 {
            return Err(format!("P2: the {}. step written is step {}", at + 1, now.count));
        }
        if before.is_some_and(|before| before.state.is_finished()) {
            return Err(format!("P5: step {} is written after the end", now.count));
        }
        let event = event(world, &mut walk, before, now)?;
        written(world, &mut walk, now, event)?;
        before = Some(now);
    }
    Ok(())
}

/// The event that may have caused a step; `None` if a wait that ended too late has taken the step's place.
fn event(
    world: &World,
    walk: &mut Walk,
    before: Option<&Committed>,
    now: &Committed,
) -> Result<Option<String>, String> {
    let step = now.count;
    let Some(before) = before else { return Ok(Some("Invoked".to_owned())) };
    let early = |since: i64, wait: Duration| {
        now.claimed_at + SKEW < since + i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
    };
    let poll = match world.script.steps.get(step as usize - 2) {
        Some(Step::Wait(Next::Poll(interval))) => *interval,
        Some(Step::Wait(Next::Callback(wait))) => {
            return callback(world, walk, *wait, &|wait| early(before.ended_at, wait), now);
        }
        _ => Duration::from_secs(1),
    };
    if early(before.first_ended_at, poll) {
        return Err(format!("step {step} is run before its interval is over"));
    }
    if now.call.is_some() {
        return Err(format!("P3: step {step} polls and is given a callback"));
    }
    Ok(Some("Polled".to_owned()))
}

/// P3: a step is given the oldest callback that no step was given before, and a wait times out only when it
/// may.
fn callback(
    world: &World,
    walk: &mut Walk,
    wait: CallbackWait,
    early: &dyn Fn(Duration) -> bool,
    now: &Committed,
) -> Result<Option<String>, String> {
    let step = now.count;
    if let Some(call) = now.call {
        if world.appended.get(walk.handed_over) != Some(&call) {
            return Err(format!("P3: step {step} is given call {call}: twice, or out of order"));
        }
        walk.handed_over += 1;
        return Ok(Some(format!("call {call}")));
    }
    let timeout = match wait {
        CallbackWait::Forever => return Err(format!("step {step} is run without the callback it waits for")),
        CallbackWait::OrFail(timeout) | CallbackWait::OrRun(timeout) => timeout,
    };
    if early(timeout) {
        return Err(format!("step {step} is run before the time for a callback is over"));
    }
    let accepted = |call: &&usize| {
        world.calls[**call].answered.is_some_and(|(status, at)| status == 200 && at < now.claimed_at)
    };
    if world.appended.iter().skip(walk.handed_over).any(|call| accepted(&call)) {
        return Err(format!("P3: step {step} timed out although a callback had been accepted"));
    }
    Ok(matches!(wait, CallbackWait::OrRun(_)).then(|| "TimedOut".to_owned()))
}

/// The committed result is the one that the script prescribes.
fn written(world: &World, walk: &mut Walk, now: &Committed, event: Option<String>) -> Result<(), String> {
    let number = now.count as usize;
    let Some(step) = world.script.steps.get(number - 1).copied() else {
        return Err(format!("step {number} is written, and the script has ended before"));
    };
    walk.filled |= step == Step::Fill;
    let failed = |message: &str| (State::Fail, format!("plugin schedule failed: {message}"));
    let mut kept = true;
    let (state, err) = match step {
        _ if world.gone && now.err == GONE => {
            kept = false;
            (State::Fail, GONE.to_owned())
        }
        _ if now.err.contains("was started again and again") => {
            let alone = world.begun_alone.get(&now.count).copied().unwrap_or(0);
            if alone < DEATHS_ALONE || (step != Step::Kill && world.made.len() < MOST_FAULTS_BORNE) {
                return Err(format!("P4: step {number} is given up and has not crashed often enough"));
            }
            if walk.filled && now.outputs == json!({}) {
                walk.trail.clear();
            }
            kept = false;
            (State::Fail, now.err.clone())
        }
        _ if now.err.contains("cannot be read") => {
            if !world.releases.are_two() {
                return Err(format!("P4: step {number} ends because of a newer release, and there is none"));
            }
            kept = false;
            (State::Fail, now.err.clone())
        }
        _ if now.err.contains("the state is too large")
            && (walk.filled || matches!(step, Step::TooLarge | Step::FailTooLarge)) =>
        {
            if step == Step::FailTooLarge && event.is_some() && !walk.filled && !now.err.contains("as asked")
            {
                return Err(format!("step {number} does not say what its author said: {}", now.err));
            }
            if now.outputs == json!({}) {
                walk.trail.clear();
            }
            kept = false;
            (State::Fail, now.err.clone())
        }
        _ if event.is_none() => {
            kept = false;
            (State::Fail, ENDED_TOO_LATE.to_owned())
        }
        Step::Wait(Next::Poll(_)) | Step::Fill => (State::Poll, String::new()),
        Step::Wait(Next::Callback(_)) => (State::Callback, String::new()),
        Step::Wait(Next::Done) | Step::Done => (State::Success, String::new()),
        Step::Fail => failed("as asked"),
        Step::Unexpected | Step::Panic | Step::Hang => {
            kept = false;
            failed(match step {
                Step::Unexpected => "odd",
                Step::Panic => "panicked: boom",
                _ => "the step took longer than its time limit of 60 s",
            })
        }
        Step::TooLarge | Step::FailTooLarge => return Err(format!("step {number} is larger than it may be")),
        Step::Kill => return Err(format!("step {number} kills its runner, and is written")),
    };
    if let (true, Some(event)) = (kept, event) {
        walk.trail.push(event);
    }
    let outputs = if walk.trail.is_empty() { json!({}) } else { json!({"trail": walk.trail}) };
    if (now.state, &now.err, &now.outputs) == (state, &err, &outputs) {
        return Ok(());
    }
    Err(format!(
        "step {number} should have left {} {outputs} {err}, and left {} {} {}",
        state.name(),
        now.state.name(),
        now.outputs,
        now.err
    ))
}

/// P3: every callback that was answered with 200 is there, in the order of acceptance.
fn callbacks(world: &World) -> Result<(), String> {
    for (number, call) in world.calls.iter().enumerate() {
        if let Some((200, at)) = call.answered
            && call.appended_at.is_none_or(|appended_at| appended_at > at)
        {
            return Err(format!("P3: call {number} was answered with 200 and is not in the inbox"));
        }
    }
    for (at, later) in world.appended.iter().enumerate() {
        for earlier in &world.appended[..at] {
            let (earlier, later) = (&world.calls[*earlier], &world.calls[*later]);
            if later.answered.is_some_and(|(_, at)| at < earlier.sent_at) {
                return Err("P3: callbacks are not in the order of their acceptance".to_owned());
            }
        }
    }
    Ok(())
}

/// P4 and P5: the invocation is over and can be read, and its finish callback was posted if the caller wanted
/// one.
fn end(world: &World, shown: Option<&Value>) -> Result<(), String> {
    let state = world.invoked.as_ref().map(|data| data["state"].as_u64());
    let Some(last) = world.committed.last() else {
        return match state {
            None | Some(Some(4 | 5)) => Ok(()),
            Some(state) => Err(format!("P1: invoke answered state {state:?}, and nothing was written")),
        };
    };
    if state.is_some_and(|state| state != Some(u64::from(u8::from(world.committed[0].state)))) {
        return Err("invoke answered another state than was written".to_owned());
    }
    if !last.state.is_finished() {
        return Err(format!("P1: it rests in {} and is not over", last.state.name()));
    }
    let Some(record) = &world.record else { return Err("the record is gone".to_owned()) };
    let shown = shown.ok_or("P5: schedule does not show the end")?;
    if shown["state"] != json!(u8::from(last.state))
        || shown["outputs"] != last.outputs
        || shown["err"] != last.err
    {
        return Err(format!("P5: schedule shows another end: {shown}"));
    }
    if record.state != last.state || record.lease.is_some() || record.owed {
        return Err("P5: the record is not as its end left it".to_owned());
    }
    match (world.script.tells, world.posts, world.posts_taken) {
        (true, posts, 0) if posts < MOST_POSTS => Err("P5: the caller was not told of the end".to_owned()),
        (false, 1.., _) => Err("P5: a finish callback was posted that nobody asked for".to_owned()),
        _ => Ok(()),
    }
}
