//! What must hold for every invocation of a crowd.

use std::time::Duration;

use bk_plugin_core::record::{Record, State};
use bk_plugin_engine::Limits;

use super::{Crowd, LONGEST_RESTART};

/// Deaths in runs alone that it takes to be found guilty: see `COUNTED_BESIDE` in the engine.
const PROOFS: u32 = 2;
/// Most processes that a guilty step kills. Runs alone that let visitors in prove nothing, and each of those holds them
/// up for twice as long as the one before.
const MOST_KILLED: u32 = 4 + PROOFS + 7;

/// An innocent invocation ends well, unless processes that ran nothing else were killed as often as it takes to be
/// found guilty. A guilty one ends in FAIL.
pub(super) fn end(crowd: &Crowd, record: &Record) -> Result<(), String> {
    let account = crowd.account();
    let id = &record.trace_id;
    let Some(member) = account.invoked.get(id) else { return Ok(()) };
    let alone = account.deaths_alone.get(id).copied().unwrap_or(0);
    match record.state {
        State::Fail if alone < PROOFS => {
            Err(format!("P4: {id} is found guilty after {alone} deaths in runs alone: {}", record.err))
        }
        State::Success if member.is_guilty => Err(format!("{id} is guilty and ends well")),
        _ => Ok(()),
    }
}

/// A guilty invocation ends before it has killed too many processes, and the time to recover is bounded:
/// `docs/reliability.md` has the formula. Nothing comes from outside after `outside`.
pub(super) fn in_time(crowd: &Crowd, outside: Duration) -> Result<(), String> {
    let account = crowd.account();
    if let Some((id, killed)) = account.killed.iter().find(|(_, killed)| **killed > MOST_KILLED) {
        return Err(format!("P4: {id} has killed {killed} processes"));
    }
    let number = account.invoked.len() + 1;
    let step = crowd.plan.members.iter().map(|member| member.step);
    let step = step.chain(crowd.plan.visitors.iter().map(|visitor| visitor.stays)).max().unwrap_or_default();
    let restart = Duration::from_millis(LONGEST_RESTART);
    let rounds = (number + 1).next_power_of_two().ilog2();
    let each_death =
        restart + Limits::default().visibility_timeout() + (step + Duration::from_secs(10)) * rounds;
    let alone = u32::try_from(number).unwrap_or(u32::MAX);
    let steps = crowd.plan.members.iter().map(|member| member.steps).max().unwrap_or(0);
    // Half of the slots may be kept for the other version.
    let turns = number.div_ceil((crowd.plan.concurrency / 2).max(1));
    let turns = u32::try_from(turns).unwrap_or(u32::MAX);
    let in_peace = (step + Duration::from_secs(10)) * (steps + 1) * turns;
    let bound = in_peace + each_death * (account.deaths + 1) + (step + Duration::from_secs(5)) * 4 * alone;
    let since = crowd.begun.elapsed().saturating_sub(account.last_disturbed.max(outside));
    if since > bound {
        return Err(format!(
            "P4: nothing has disturbed it for {since:?}, and it has not ended after {bound:?}"
        ));
    }
    Ok(())
}
