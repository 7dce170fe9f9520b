//! Crowds: many invocations in processes that run several steps at a time, and die of some of them.
//!
//! The real worker and engine run over a store in memory. Some invocations are guilty: they kill each process that runs
//! their second step. Others are innocent, and take long enough to be under way at the time. Processes are also killed
//! from outside, and answer visitors (routes of the author's), some of whom kill as well.

mod check;
mod ports;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::memory::MemoryStore;
use bk_plugin_core::table::Table as _;
use bk_plugin_engine::Limits;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, sleep_until};

use crate::mutation::Mutation;
use crate::world::Dice;
use ports::TokioClock;
use process::Process;

/// The result of a crowd.
#[derive(Debug, Clone, Default)]
pub struct CrowdOutcome {
    /// What does not hold, if anything.
    pub violation: Option<String>,
    /// Invocations.
    pub invocations: usize,
    /// Deaths of processes.
    pub deaths: u32,
    /// Steps that were begun as only ones under way and died with their process.
    pub deaths_alone: u32,
    /// What happened.
    pub trace: Vec<String>,
}

/// An invocation of a crowd.
#[derive(Debug, Clone, Copy)]
struct Member {
    begins: Duration,
    is_guilty: bool,
    /// Until a later step ends, or kills.
    step: Duration,
    /// Later steps.
    steps: u32,
}

/// A caller of a route, who holds nothing but the process's attention.
#[derive(Debug, Clone, Copy)]
struct Visitor {
    comes: Duration,
    stays: Duration,
    kills: bool,
}

/// Everything that is drawn before anything runs.
#[derive(Debug)]
struct Plan {
    processes: usize,
    concurrency: usize,
    members: Vec<Member>,
    visitors: Vec<Visitor>,
    kills: Vec<(Duration, usize)>,
}

/// The longest pause before a dead process is started again.
const LONGEST_RESTART: u64 = 5_000;

impl Plan {
    fn draw(dice: &mut Dice) -> Self {
        let mut time = |most: u64| Duration::from_millis(dice.random_range(0..=most));
        let mut members = Vec::new();
        let longest = [1_000, 20_000, 50_000];
        let longest = longest[usize::try_from(time(2).as_millis()).unwrap_or(0)];
        let (innocent, guilty) = (time(24).as_millis(), time(4).as_millis());
        for number in 0..innocent + guilty {
            let is_guilty = number >= innocent;
            let begins = time(30_000);
            let steps = if is_guilty { 1 } else { 1 + u32::from(time(3).is_zero()) };
            members.push(Member { begins, is_guilty, step: time(longest), steps });
        }
        // A version that kills, with ever new invocations.
        if time(3).is_zero() {
            let (first, pause, number) = (time(10_000), time(60_000), time(10).as_millis());
            for number in 0..u32::try_from(number).unwrap_or(0) {
                let begins = first + pause * number;
                members.push(Member { begins, is_guilty: true, step: time(2_000), steps: 1 });
            }
        }
        let (visitors, kills) = (time(5).as_millis(), time(6).as_millis());
        let visitor = |time: &mut dyn FnMut(u64) -> Duration| Visitor {
            comes: time(300_000),
            stays: time(20_000),
            kills: time(7).is_zero(),
        };
        let visitors = (0..visitors).map(|_| visitor(&mut time)).collect();
        let processes = 1 + usize::try_from(time(2).as_millis()).unwrap_or(0);
        let mut kill = || (time(400_000), usize::try_from(time(2).as_millis()).unwrap_or(0) % processes);
        let kills = (0..kills).map(|_| kill()).collect();
        let concurrency = [2, 8, 64][dice.random_range(0..3)];
        Self { processes, concurrency, members, visitors, kills }
    }
}

/// What has happened so far.
#[derive(Default)]
struct Account {
    invoked: BTreeMap<TraceId, Member>,
    deaths: u32,
    /// Deaths of a process that ran only this step.
    deaths_alone: BTreeMap<TraceId, u32>,
    /// Processes that a guilty step has killed.
    killed: BTreeMap<TraceId, u32>,
    last_disturbed: Duration,
    trace: Vec<String>,
}

/// What the processes of a crowd share.
struct Crowd {
    plan: Plan,
    store: Arc<MemoryStore>,
    clock: Arc<TokioClock>,
    begun: Instant,
    dice: Mutex<Dice>,
    account: Mutex<Account>,
    processes: Mutex<Vec<Arc<Process>>>,
    mutation: Option<Mutation>,
}

impl Crowd {
    fn account(&self) -> MutexGuard<'_, Account> {
        locked(&self.account)
    }

    fn time(&self, most: u64) -> Duration {
        Duration::from_millis(locked(&self.dice).random_range(0..=most))
    }

    fn process(&self, number: usize) -> Arc<Process> {
        let processes = locked(&self.processes);
        Arc::clone(&processes[number % processes.len()])
    }

    fn note(&self, what: impl FnOnce() -> String) {
        let at = self.begun.elapsed().as_secs_f64();
        let line = format!("{at:>10.3}s  {}", what());
        self.account().trace.push(line);
    }

    /// Notes a disturbance from outside: the time to recover is counted from the last one.
    fn disturb(&self) {
        self.account().last_disturbed = self.begun.elapsed();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the crowd of a seed.
///
/// # Panics
///
/// If a runtime cannot be made.
#[allow(clippy::expect_used, reason = "a runtime without I/O needs nothing from the system")]
pub fn run_crowd(seed: u64, mutation: Option<Mutation>) -> CrowdOutcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O can be made");
    runtime.block_on(drive(seed, mutation))
}

async fn drive(seed: u64, mutation: Option<Mutation>) -> CrowdOutcome {
    let mut dice = Dice::seed_from_u64(seed);
    let plan = Plan::draw(&mut dice);
    let clock = Arc::new(TokioClock::default());
    let store = Arc::new(MemoryStore::new(clock.clone(), Limits::default().visibility_timeout()));
    let crowd = Arc::new(Crowd {
        plan,
        store,
        clock,
        begun: Instant::now(),
        dice: Mutex::new(dice),
        account: Mutex::default(),
        processes: Mutex::default(),
        mutation,
    });
    for number in 0..crowd.plan.processes {
        let process = Process::start(&crowd, number);
        locked(&crowd.processes).push(process);
    }
    let outside = [invoke_all(&crowd), visit_all(&crowd), kill_all(&crowd)];
    for began in outside.into_iter().flatten() {
        // A task ends by itself; those of a caller whose process died never do.
        drop(began);
    }
    let violation = wait_for_the_end(&crowd).await.err();
    let mut account = crowd.account();
    CrowdOutcome {
        violation,
        invocations: account.invoked.len(),
        deaths: account.deaths,
        deaths_alone: account.deaths_alone.values().sum(),
        trace: std::mem::take(&mut account.trace),
    }
}

type Tasks = Vec<tokio::task::JoinHandle<()>>;

fn invoke_all(crowd: &Arc<Crowd>) -> Tasks {
    let members = crowd.plan.members.iter().enumerate();
    let task = |(number, member): (usize, &Member)| {
        let (crowd, member) = (Arc::clone(crowd), *member);
        tokio::spawn(async move {
            sleep_until(crowd.begun + member.begins).await;
            crowd.process(number).invoke(member).await;
        })
    };
    members.map(task).collect()
}

fn visit_all(crowd: &Arc<Crowd>) -> Tasks {
    let visitors = crowd.plan.visitors.iter().enumerate();
    let task = |(number, visitor): (usize, &Visitor)| {
        let (crowd, visitor) = (Arc::clone(crowd), *visitor);
        tokio::spawn(async move {
            sleep_until(crowd.begun + visitor.comes).await;
            crowd.process(number).visit(visitor).await;
        })
    };
    visitors.map(task).collect()
}

fn kill_all(crowd: &Arc<Crowd>) -> Tasks {
    let task = |(at, number): &(Duration, usize)| {
        let (crowd, at, number) = (Arc::clone(crowd), *at, *number);
        tokio::spawn(async move {
            sleep_until(crowd.begun + at).await;
            crowd.disturb();
            crowd.process(number).die("it is killed from outside");
        })
    };
    crowd.plan.kills.iter().map(task).collect()
}

/// Checks the end of every invocation, and that it comes in time.
async fn wait_for_the_end(crowd: &Crowd) -> Result<(), String> {
    let outside = crowd.plan.members.iter().map(|member| member.begins);
    let outside = outside.chain(crowd.plan.visitors.iter().map(|visitor| visitor.comes));
    let outside = outside.chain(crowd.plan.kills.iter().map(|(at, _)| *at)).max().unwrap_or_default();
    loop {
        sleep(Duration::from_secs(1)).await;
        let invoked: Vec<TraceId> = crowd.account().invoked.keys().cloned().collect();
        let mut all_ended = crowd.begun.elapsed() > outside + Duration::from_secs(30);
        for trace_id in &invoked {
            match crowd.store.read(trace_id).await {
                Ok(Some(record)) if record.state.is_finished() => check::end(crowd, &record)?,
                _ => all_ended = false,
            }
        }
        if all_ended {
            return Ok(());
        }
        check::in_time(crowd, outside)?;
    }
}
