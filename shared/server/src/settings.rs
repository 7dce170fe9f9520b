//! The server's own settings, besides those that it shares with the Lambda functions.

use std::time::Duration;

use bk_plugin_apigw::settings::Connection;
use bk_plugin_engine::worker::WorkerOptions;
use bk_plugin_service::protocol::Admission;
use bk_plugin_service::settings::{self, Reader, SettingErrors, Settings};
use tracing_subscriber::filter::Targets;

use crate::connections;
use crate::log_files::LogFiles;
use crate::store::{StoreOptions, StoreSettings};
use crate::traces::TraceSettings;

/// All settings of the server. `docs/configuration.md` has every variable.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// The settings that it shares with the Lambda functions.
    pub shared: Settings,
    /// BK_PLUGIN_HOST: the address to listen on.
    pub host: String,
    /// PORT.
    pub port: u16,
    /// BK_PLUGIN_STORE_URL, or the variables of a MySQL add-on.
    pub store: StoreSettings,
    /// BK_PLUGIN_STATE_LIMIT: bytes the record of one invocation may have.
    pub state_limit: usize,
    /// Where the gateway's API is, from which the public key is fetched. Set if callers must come through the
    /// gateway, its key is not configured, and a variable such as BK_API_URL_TMPL says where the API is.
    pub apigw: Option<Connection>,
    /// BK_PLUGIN_ROLE: what this process does.
    pub role: Role,
    /// BK_PLUGIN_CONNECTIONS: how many connections are open at a time.
    pub connections: usize,
    /// BK_PLUGIN_SHUTDOWN_DELAY: how long callers are still answered after a signal to stop.
    pub shutdown_delay: Duration,
    /// BK_PLUGIN_CONCURRENCY and BK_PLUGIN_SLOTS_PER_VERSION.
    pub worker: WorkerOptions,
    /// BK_PLUGIN_LOG: which log lines are written.
    pub log: Targets,
    /// The log's files, if there are any.
    pub log_files: Option<LogFiles>,
    /// Where traces are sent; `None` if they are not.
    pub traces: Option<TraceSettings>,
}

/// Which of the server's jobs a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Answers callers, and runs first steps inside their calls.
    Web,
    /// Runs every later step. It also listens, but only for probes and metrics.
    Worker,
    /// Both.
    All,
}

impl Role {
    pub(crate) fn answers_callers(self) -> bool {
        self != Self::Worker
    }

    pub(crate) fn runs_later_steps(self) -> bool {
        self != Self::Web
    }

    fn read(reader: &mut Reader<'_>) -> Self {
        let roles = [("web", Self::Web), ("worker", Self::Worker), ("all", Self::All)];
        reader.one_of("BK_PLUGIN_ROLE", Self::All, &roles)
    }
}

impl ServerSettings {
    /// How the store is opened.
    pub(crate) fn store_options(&self) -> StoreOptions {
        StoreOptions {
            visibility_timeout: self.shared.limits.visibility_timeout(),
            largest_record: self.state_limit,
            development: self.shared.environment.is_development(),
        }
    }

    /// Reads the variables.
    pub fn read(variables: &dyn Fn(&str) -> Option<String>) -> Result<Self, SettingErrors> {
        let mut reader = Reader::new(variables);
        let shared = Settings::read(&mut reader);
        let development = shared.environment.is_development();
        let host = if development { "127.0.0.1" } else { "0.0.0.0" };
        let worker = WorkerOptions {
            concurrency: reader.number("BK_PLUGIN_CONCURRENCY", 256, 1..=100_000),
            guaranteed: reader
                .text("BK_PLUGIN_SLOTS_PER_VERSION")
                .map(|_| reader.number("BK_PLUGIN_SLOTS_PER_VERSION", 1, 1..=100_000)),
        };
        let settings = Self {
            host: reader.text("BK_PLUGIN_HOST").unwrap_or_else(|| host.to_owned()),
            port: reader.number("PORT", 8000, 0..=u16::MAX),
            store: StoreSettings::read(&mut reader),
            state_limit: reader.number("BK_PLUGIN_STATE_LIMIT", 4 * 1024 * 1024, 1024..=256 * 1024 * 1024),
            apigw: match shared.admission {
                Admission::Gateway(None) => Connection::read(&mut reader),
                _ => None,
            },
            role: Role::read(&mut reader),
            connections: reader.number("BK_PLUGIN_CONNECTIONS", connections::default_bound(), 1..=1_000_000),
            shutdown_delay: Duration::from_secs(reader.number(
                "BK_PLUGIN_SHUTDOWN_DELAY",
                if development { 0 } else { 5 },
                0..=600,
            )),
            worker,
            log: settings::log(&mut reader),
            log_files: LogFiles::read(&mut reader, &shared.app_id),
            traces: TraceSettings::read(&mut reader, &shared),
            shared,
        };
        if settings.role != Role::All && matches!(settings.store, StoreSettings::Sqlite(_)) {
            reader.wrong(
                "BK_PLUGIN_ROLE",
                "is for processes that share a store, and a SQLite file is one process's alone: name a MySQL \
                 database in BK_PLUGIN_STORE_URL, or leave the role at all",
            );
        }
        reader.finish(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<ServerSettings, SettingErrors> {
        ServerSettings::read(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn development_listens_on_loopback_only() {
        assert_eq!(read(&[]).unwrap().host, "127.0.0.1");
        let prod = [
            ("BKPAAS_ENVIRONMENT", "prod"),
            ("BKPAAS_APP_ID", "a"),
            ("BKPAAS_APP_SECRET", "s"),
            ("BK_PLUGIN_PUBLIC_URL", "https://plugin.example.com"),
        ];
        assert_eq!(read(&prod).unwrap().host, "0.0.0.0");
    }

    #[test]
    fn a_role_is_one_of_three() {
        assert_eq!(read(&[]).unwrap().role, Role::All);
        let said = read(&[("BK_PLUGIN_ROLE", "schedule")]).unwrap_err().to_string();
        assert!(said.contains("BK_PLUGIN_ROLE") && said.contains("web, worker, all"), "{said}");
    }

    #[test]
    fn processes_with_roles_share_a_database() {
        let store = ("BK_PLUGIN_STORE_URL", "mysql://u:p@h:3306/d");
        assert_eq!(read(&[("BK_PLUGIN_ROLE", "worker"), store]).unwrap().role, Role::Worker);
        let said = read(&[("BK_PLUGIN_ROLE", "worker")]).unwrap_err().to_string();
        assert!(said.contains("BK_PLUGIN_ROLE") && said.contains("MySQL"), "{said}");
    }

    #[test]
    fn wrong_numbers_are_named_together() {
        let said = read(&[
            ("PORT", "eighty"),
            ("BK_PLUGIN_CONCURRENCY", "0"),
            ("BK_PLUGIN_LOG", "bk_plugin_kit=loud"),
        ]);
        let said = said.unwrap_err().to_string();
        for name in ["PORT", "BK_PLUGIN_CONCURRENCY", "BK_PLUGIN_LOG"] {
            assert!(said.contains(name), "{name} in {said}");
        }
    }
}
