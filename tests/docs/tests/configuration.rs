//! `docs/configuration.md` has every environment variable that the sources read, and no other.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bk_plugin_server::ServerSettings;
use docs::workspace::root;

/// The name and the default of each variable in the table.
fn documented() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    page.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            Some((name.to_owned(), cells.next()?.to_owned()))
        })
        .collect()
}

/// Adds the sources below `folder` that are not tests.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            let text = fs::read_to_string(&path).unwrap();
            found.push(text.split("mod tests {").next().unwrap_or_default().to_owned());
        }
    }
}

/// Every string in the sources that names a variable.
fn read_by_sources() -> BTreeSet<String> {
    let mut texts = Vec::new();
    for crates in ["functions", "shared"] {
        for folder in fs::read_dir(root().join(crates)).unwrap() {
            let folder = folder.unwrap().path().join("src");
            if folder.is_dir() {
                sources(&folder, &mut texts);
            }
        }
    }
    let is_name = |text: &&str| {
        let known = ["BK_", "BKPAAS_", "BKSOPS_", "OTEL_", "SCHEDULE_", "MYSQL_", "GCS_MYSQL_"]
            .iter()
            .any(|start| text.starts_with(start));
        let all_capitals = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        known && all_capitals || ["PORT", "TZ"].contains(text)
    };
    texts.iter().flat_map(|text| text.split('"')).filter(is_name).map(ToOwned::to_owned).collect()
}

#[test]
fn every_variable_is_in_the_table_and_no_other() {
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(documented, read_by_sources());
}

#[test]
fn defaults_are_those_of_the_sources() {
    let documented = documented();
    let settings = ServerSettings::read(&|name| (name == "BKPAAS_APP_LOG_PATH").then(|| "logs".to_owned()));
    let settings = settings.unwrap();
    let log_files = settings.log_files.as_ref().unwrap();
    let (shared, limits) = (&settings.shared, &settings.shared.limits);
    let days = |duration: std::time::Duration| (duration.as_secs() / 86_400).to_string();
    for (name, default) in [
        ("BKPAAS_APP_ID", shared.app_id.clone()),
        ("BKPAAS_ENVIRONMENT", shared.environment.to_string()),
        ("BK_PLUGIN_BODY_LIMIT", shared.body_limit.to_string()),
        ("BK_PLUGIN_CALLBACK_DAYS", days(shared.callback_lifetime)),
        ("BK_PLUGIN_CONCURRENCY", settings.worker.concurrency.to_string()),
        ("BK_PLUGIN_FINISH_CALLBACK_ATTEMPTS", limits.finish_callback_attempts.to_string()),
        ("BK_PLUGIN_HOST", settings.host.clone()),
        ("BK_PLUGIN_LOG", settings.log.to_string()),
        ("BK_PLUGIN_LOG_FILES_KEPT", log_files.kept.to_string()),
        ("BK_PLUGIN_LOG_FILE_SIZE", log_files.largest.to_string()),
        ("BK_PLUGIN_MAX_RECEIVE_COUNT", settings.shared.limits.max_receive_count.to_string()),
        ("BK_PLUGIN_STATE_LIMIT", settings.state_limit.to_string()),
        ("BK_PLUGIN_STEP_TIME_LIMIT", limits.step_time_limit.as_secs().to_string()),
        ("BK_PLUGIN_STORE_URL", settings.store.to_string()),
        ("PORT", settings.port.to_string()),
        ("SCHEDULE_PERSISTENT_DAYS", days(limits.keep_finished)),
        ("TZ", shared.time_zone.iana_name().unwrap_or_default().to_owned()),
    ] {
        let cell = &documented[name];
        assert!(cell.starts_with(&format!("`{default}`")), "{name}: the table has {cell}, not {default}");
    }
}
