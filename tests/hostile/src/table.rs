//! The table of `docs/reliability.md`: a row for each offence.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use hostile::Failure;
use hostile::offence::{Fate, Offence};
use hostile::offences::offences;
use hostile::outcome::{Outcome, counted};
use hostile::trial::{Findings, Late, Pace, hold, silent_port};

/// The page, and the lines around the table.
const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- Made by `just hostile-table --write`. -->\n";
const END: &str = "<!-- The end of what it made. -->\n";

const HEAD: &str = "\
| behaviour | what becomes of it | others' steps late by | `/healthz` answers in | what becomes of others, and of the process |
|---|---|---|---|---|
";

/// Prints a row for each offence whose name contains one of the `wanted` texts, or for all; with `write`, puts the
/// table into the page as well.
pub(crate) fn print(wanted: &[String], write: bool) -> Result<(), Failure> {
    if write && !wanted.is_empty() {
        return Err("only the whole table is written: leave out the names of offences".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (_silent, silent_port) = silent_port()?;
    let binary = std::env::current_exe()?;
    let is_wanted = |offence: &Offence| wanted.iter().any(|text| offence.name.contains(text.as_str()));
    let offences: Vec<_> =
        offences(silent_port).into_iter().filter(|offence| wanted.is_empty() || is_wanted(offence)).collect();
    let mut table = HEAD.to_owned();
    print!("{HEAD}");
    for (position, offence) in offences.iter().enumerate() {
        let begun = Instant::now();
        let findings = runtime.block_on(hold(offence, &pace(offence), binary.clone()))?;
        let row = row(offence, &findings);
        print!("{row}");
        table.push_str(&row);
        let seconds = begun.elapsed().as_secs();
        eprintln!("{} of {}: {} ({seconds} s)", position + 1, offences.len(), offence.name);
    }
    if write {
        let page = fs::read_to_string(PAGE)?;
        fs::write(PAGE, replaced(&page, &format!("\n{table}\nMade at {}.\n\n", commit()?))?)?;
    }
    Ok(())
}

/// Offences that kill the process have innocents with longer steps beside them: none ends between two deaths.
fn pace(offence: &Offence) -> Pace {
    Pace {
        innocents: 20,
        interval: 1000,
        long_innocents: 4,
        long: if offence.fate == Fate::Ends { 20_000 } else { 5_000 },
        before: Duration::from_secs(4),
        during: Duration::from_secs(4),
        after: Duration::from_secs(3),
        patience: Duration::from_mins(1),
        step_time_limit: Duration::from_secs(25),
    }
}

fn row(offence: &Offence, findings: &Findings) -> String {
    let times = if offence.times == 1 { String::new() } else { format!(", {} at once", offence.times) };
    let becomes = counted(&findings.offenders);
    let (steps, healthz) = (parts(&findings.steps), parts(&findings.healthz));
    let others = others(findings);
    format!("| {}{times} | {becomes} | {steps} | {healthz} | {others} |\n", offence.name)
}

/// Before, during and after.
fn parts(late: &Late) -> String {
    let parts = late.map(|delay| delay.map_or_else(|| "none".to_owned(), |delay| delay.to_string()));
    parts.join(" · ")
}

fn others(findings: &Findings) -> String {
    let all_succeed = findings.innocents.iter().all(|outcome| *outcome == Outcome::Succeeded);
    let mut told = vec![if all_succeed { "all succeed".to_owned() } else { counted(&findings.innocents) }];
    let lives = findings.lives;
    told.push(match (lives.restarts, lives.killed) {
        (0, 0) => "the process lives".to_owned(),
        (restarts, 0) => format!("it ended {restarts} ×"),
        (restarts, killed) => format!("it ended {restarts} ×, {killed} × killed by the probe"),
    });
    if !findings.serves {
        told.push("it runs no new invocation".to_owned());
    }
    told.push(format!("{} MiB", lives.memory / 1024));
    told.join("; ")
}

/// The page with another text between the marks.
fn replaced(page: &str, text: &str) -> Result<String, Failure> {
    let (head, rest) = page.split_once(BEGIN).ok_or("the page has no line before the table")?;
    let (_, tail) = rest.split_once(END).ok_or("the page has no line after the table")?;
    Ok([head, BEGIN, text, END, tail].concat())
}

/// The commit that is tried; with a plus if there are changes.
fn commit() -> Result<String, Failure> {
    let told = Command::new("git").args(["describe", "--always", "--dirty=+"]).output()?;
    Ok(String::from_utf8(told.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_has_a_place_for_the_table() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
        let page = replaced(&fs::read_to_string(page).unwrap(), "the table\n").unwrap();
        assert!(page.contains(&format!("{BEGIN}the table\n{END}")));
    }
}
