//! `sim <count>` runs that many worlds with fresh seeds. With SIM_SEED set, it runs the world of that seed
//! and prints its trace.
#![allow(clippy::print_stdout, reason = "a program that is run by hand and prints what it found")]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use simulation::{Options, minimal, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.first().and_then(|count| count.replace('_', "").parse().ok()).unwrap_or(10_000);
    match std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => replay(seed),
        None => run_many(count),
    }
}

fn replay(seed: u64) -> ExitCode {
    let whole = run(seed, Options { trace: true, ..Options::default() });
    let shown = if whole.violation.is_some() { minimal(seed, &Options::default()) } else { whole };
    for line in &shown.trace {
        println!("{line}");
    }
    let (faults, violation) = (shown.faults.len(), shown.violation);
    println!("seed {seed}: {faults} faults, {}", violation.as_deref().unwrap_or("everything holds"));
    if violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn run_many(count: u64) -> ExitCode {
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (begun, first) = (Instant::now(), rand::random::<u64>());
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let (steps, deliveries, faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < count
                {
                    let outcome = run(first.wrapping_add(number), Options::default());
                    steps.fetch_add(outcome.steps as u64, Ordering::Relaxed);
                    deliveries.fetch_add(outcome.deliveries as u64, Ordering::Relaxed);
                    faults.fetch_add(outcome.faults.len() as u64, Ordering::Relaxed);
                    if let Some(violation) = outcome.violation
                        && failed.fetch_add(1, Ordering::Relaxed) < 20
                    {
                        println!("SIM_SEED={} just sim 1   # {violation}", outcome.seed);
                    }
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (steps, deliveries, faults) = (steps.into_inner(), deliveries.into_inner(), faults.into_inner());
    let failed = failed.into_inner();
    println!(
        "{count} invocations, {steps} steps, {deliveries} deliveries, {faults} faults: {failed} violations"
    );
    #[allow(clippy::cast_precision_loss, reason = "a figure to read")]
    let rate = count as f64 / seconds;
    println!("{seconds:.1} s, {rate:.0} invocations a second");
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
