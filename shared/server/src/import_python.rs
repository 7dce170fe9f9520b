//! `server import-python`: takes over the invocations that a Python deployment of the same app has left unfinished in
//! the same database.

use std::fmt::Write as _;
use std::sync::Arc;

use bk_plugin_core::record::Record;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::Table as _;
use bk_plugin_engine::metered_store::MeteredStore;
use bk_plugin_engine::{CallContext, TakeOver};
use bk_plugin_kit::runtime::{MakeProject, Registry};
use bk_plugin_service::settings::SettingErrors;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::{OpenError, PythonError};

use crate::settings::ServerSettings;
use crate::start_error::StartError;
use crate::store::{StoreSettings, open_mysql};
use crate::{log, registry, serve};

/// Why nothing, or not everything, was taken over. Each message says what to change.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("settings are wrong: {0}")]
    Settings(#[from] SettingErrors),
    #[error(
        "the store is a SQLite file, and a Python deployment's invocations are in its MySQL database: name that in \
         BK_PLUGIN_STORE_URL or MYSQL_HOST and so on"
    )]
    NoMysql,
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Python(#[from] PythonError),
    #[error(transparent)]
    Start(#[from] StartError),
    /// Some invocations were not taken over: the report on each.
    #[error("not everything is taken over; what is not here is still in the table schedule_schedule\n{0}")]
    Left(Report),
    #[error("cannot start the runtime: {0}")]
    Runtime(std::io::Error),
}

/// What was done with each invocation, one per line, and how many there were of each outcome.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: String,
    taken_over: usize,
    here_before: usize,
    left: usize,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lines, taken_over, here_before, left } = self;
        write!(f, "{lines}taken over: {taken_over}, here before: {here_before}, left: {left}")
    }
}

impl Report {
    fn add(&mut self, record: &Record, adopted: TakeOver, dry_run: bool) {
        let (count, word) = match adopted {
            TakeOver::Done if dry_run => (&mut self.taken_over, "would be taken over"),
            TakeOver::Done => (&mut self.taken_over, "taken over"),
            TakeOver::AlreadyHere => (&mut self.here_before, "here before"),
            TakeOver::UnknownVersion => (&mut self.left, "left: its version is not in this project"),
        };
        *count += 1;
        let Record { trace_id, plugin_version, state, .. } = record;
        // Writing to a String does not fail.
        let _ = writeln!(self.lines, "{trace_id} {plugin_version} {}: {word}", state.name());
    }

    fn add_unreadable(&mut self, error: &StoreError) {
        self.left += 1;
        let _ = writeln!(self.lines, "left: {error}");
    }

    fn finish(self) -> Result<String, ImportError> {
        if self.left == 0 { Ok(self.to_string()) } else { Err(ImportError::Left(self)) }
    }
}

/// Takes over the invocations that can be, and reports on each; with `dry_run` only reports what it would do.
pub(crate) fn run<Kind>(
    project: impl MakeProject<Kind>,
    dry_run: bool,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<String, ImportError> {
    let settings = ServerSettings::read(variables)?;
    log::to_stderr(settings.log.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(ImportError::Runtime)?.block_on(async {
        let registry = registry::registry(project).await?;
        import(registry, dry_run, &settings).await
    })
}

async fn import(registry: Registry, dry_run: bool, settings: &ServerSettings) -> Result<String, ImportError> {
    let StoreSettings::Mysql(address) = &settings.store else { return Err(ImportError::NoMysql) };
    let store = Arc::new(open_mysql(address, settings.store_options()).await?);
    let found = store.python_invocations().await?;
    // No step runs here, so no callback URL with this port is ever handed out.
    let engine = serve::engine(
        registry,
        settings,
        &Arc::new(MeteredStore::new(store.clone(), store.clone())),
        store.clock(),
        settings.port,
    )?;
    let mut report = Report::default();
    for record in found {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                report.add_unreadable(&error);
                continue;
            }
        };
        let adopted = if dry_run {
            let known = engine.registry().versions().contains(&record.plugin_version);
            let here = store.read(&record.trace_id).await;
            here.map(|here| match here {
                _ if !known => TakeOver::UnknownVersion,
                Some(_) => TakeOver::AlreadyHere,
                None => TakeOver::Done,
            })
        } else {
            engine.for_call(CallContext::default()).take_over(record.clone()).await
        };
        match adopted {
            Ok(adopted) => report.add(&record, adopted, dry_run),
            Err(error) => report.add_unreadable(&error),
        }
    }
    store.close().await;
    report.finish()
}
