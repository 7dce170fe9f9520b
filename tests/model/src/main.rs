//! Explores the model and prints the figures: `cargo run --profile server --package model`. The argument
//! `large` adds the large models.
#![allow(clippy::print_stdout, reason = "its output is a table")]

use std::process::ExitCode;
use std::time::Instant;

use model::{cases, explore, termination};

fn main() -> ExitCode {
    let large = std::env::args().nth(1).is_some_and(|argument| argument == "large");
    let more = if large { &cases::LARGE[..] } else { &[] };
    println!("| case | callbacks | crashes, duplicates, early lease ends | states | seconds | ends |");
    println!("|---|---|---|---|---|---|");
    let (mut total, mut all_hold) = (0, true);
    for (name, case) in cases::ORDER.iter().chain(&cases::TIME).chain(more) {
        let start = Instant::now();
        let found = explore(*case);
        let ends = termination::check(case);
        let seconds = start.elapsed().as_secs_f64();
        let holds = found.broken.is_none() && ends.stuck.is_none() && ends.looping.is_none();
        println!(
            "| {name} | {} | {}, {}, {} | {} | {seconds:.1} | {} |",
            case.callbacks,
            case.crashes,
            case.duplicates,
            case.early_ends,
            found.states,
            if holds { "holds" } else { "BROKEN" },
        );
        if !holds {
            println!("{found:#?}\n{ends:#?}");
        }
        total += found.states;
        all_hold &= holds;
    }
    println!("\n{total} states");
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
