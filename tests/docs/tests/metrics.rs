//! The dashboard and the documentation use the metrics' real names.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;

use bk_plugin_engine::metrics::{ALL, Kind};
use docs::workspace::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The metrics' names as Prometheus shows them.
fn shown() -> BTreeSet<String> {
    let names = |(name, kind, _): &(&str, Kind, &str)| match kind {
        Kind::Counter => vec![format!("{name}_total")],
        Kind::Gauge => vec![(*name).to_owned()],
        Kind::Times => ["bucket", "sum", "count"].map(|part| format!("{name}_{part}")).to_vec(),
    };
    ALL.iter().flat_map(names).collect()
}

/// Every word in a text that looks like a metric's name.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("bk_plugin_")).map(ToOwned::to_owned).collect()
}

#[test]
fn the_dashboard_asks_for_metrics_there_are() {
    let text = read("infra/grafana/dashboard.json");
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let (named, shown) = (named(&text), shown());
    let unknown: Vec<_> = named.difference(&shown).collect();
    assert_eq!(unknown, Vec::<&String>::new());
    for (name, ..) in ALL {
        assert!(named.iter().any(|asked| asked.starts_with(name)), "{name} is on the dashboard");
    }
}

#[test]
fn the_table_of_metrics_has_them_all() {
    let page = read("docs/observability.md");
    let rows = page.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    let listed: BTreeSet<&str> = rows.filter(|name| name.starts_with("bk_plugin_")).collect();
    assert_eq!(listed, ALL.iter().map(|(name, ..)| *name).collect());
}

#[test]
fn alerts_are_about_metrics_there_are() {
    let page = read("docs/observability.md");
    let code = page.split("\n```").skip(1).step_by(2).collect::<String>();
    let named = named(&code);
    assert!(named.len() > 3, "the alerts are found: {named:?}");
    assert_eq!(named.difference(&shown()).collect::<Vec<_>>(), Vec::<&String>::new());
}
