//! Runs the commands of the README against the real server and compares the answers with those printed there.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::Server;

/// The port in the README.
const PORT: &str = "127.0.0.1:8000";
/// The beginning of every token, and the end of one that is shortened in the README.
const TOKEN: (&str, &str) = ("gAAAAA", "...");

#[test]
fn the_commands_answer_as_printed() {
    let curl = Command::new("curl").arg("--version").output().expect("curl is installed");
    assert!(curl.status.success());
    let server = Server::start();
    let address = format!("127.0.0.1:{}", server.port);
    let commands = commands(&readme("README.md"));
    assert_eq!(commands.len(), 8, "every command of the README is found");
    let mut names = HashMap::new();
    for (command, printed) in commands {
        let printed = printed.replace(PORT, &address);
        let command = with_names(&command.replace(PORT, &address), &names);
        // A GET is repeated, because its result may not be there yet. A POST is sent once.
        let asks = !command.contains(" -d ");
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = run(&command);
            match learn(&printed, &answer, &names) {
                Some(learned) => break names.extend(learned),
                None if asks && Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                None => panic!("$ {command}\nthe README has\n{printed}\nand it is\n{answer}"),
            }
        }
    }
}

#[test]
fn both_readmes_have_the_same_blocks() {
    assert_eq!(blocks(&readme("README.md")), blocks(&readme("README.zh-CN.md")));
}

fn readme(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    fs::read_to_string(path).unwrap()
}

/// Every fenced block of a page, with its language.
fn blocks(page: &str) -> Vec<&str> {
    page.split("\n```").skip(1).step_by(2).collect()
}

/// The commands and the output printed below each. A backslash continues a command on the next line.
fn commands(page: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let consoles = blocks(page).into_iter().filter_map(|block| block.strip_prefix("console\n"));
    for line in consoles.flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if command.ends_with('\\') => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, printed))) => printed.push_str(line),
            (None, None) => panic!("no command before {line}"),
        }
    }
    commands
}

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Replaces the README's ids and tokens in a command by the server's.
fn with_names(command: &str, names: &HashMap<String, String>) -> String {
    let mut text = String::new();
    let mut end = 0;
    for range in volatile(command) {
        let name = &command[range.clone()];
        text.push_str(&command[end..range.start]);
        text.push_str(names.get(name).unwrap_or_else(|| panic!("no answer has shown {name}")));
        end = range.end;
    }
    text + &command[end..]
}

/// Compares the printed output with the answer. If all else is equal and known names match, returns the
/// server's ids and tokens for those of the README.
fn learn(printed: &str, answer: &str, names: &HashMap<String, String>) -> Option<HashMap<String, String>> {
    let (ours, theirs) = (volatile(printed), volatile(answer));
    let constant = |text: &str, ranges: &[Range<usize>]| {
        let mut constant = String::new();
        let mut end = 0;
        for range in ranges {
            constant.push_str(&text[end..range.start]);
            constant.push('\0');
            end = range.end;
        }
        constant + &text[end..]
    };
    if constant(printed, &ours) != constant(answer, &theirs) {
        return None;
    }
    let learned: HashMap<String, String> = ours
        .into_iter()
        .zip(theirs)
        .map(|(our, their)| (printed[our].to_owned(), answer[their].to_owned()))
        .filter(|(name, _)| !is_time(name))
        .collect();
    let same = |(name, here): (&String, &String)| names.get(name).is_none_or(|known| known == here);
    learned.iter().all(same).then_some(learned)
}

/// The ranges of ids, tokens and times in a text.
fn volatile(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        match volatile_len(rest) {
            0 => at += rest.chars().next().map_or(1, char::len_utf8),
            len => {
                found.push(at..at + len);
                at += len;
            }
        }
    }
    found
}

fn volatile_len(text: &str) -> usize {
    let run = |is: fn(u8) -> bool| text.bytes().take_while(|byte| is(*byte)).count();
    if text.starts_with(TOKEN.0) {
        let len = run(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='));
        return len + if text[len..].starts_with(TOKEN.1) { TOKEN.1.len() } else { 0 };
    }
    if run(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()) == 32 {
        return 32;
    }
    let time = "2026-11-23 11:49:24".len();
    if text.get(..time).is_some_and(is_time) { time } else { 0 }
}

fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00 00:00:00"
}
