//! The database in which the server keeps its invocations: a SQLite file, or MySQL for more than one process.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_service::settings::Reader;
use bk_plugin_sql::Store;
use bk_plugin_sql::mysql::{self, ClientCertificate, MysqlAddress, MysqlOptions, MysqlStore, Tls};
use bk_plugin_sql::sqlite::{SqliteOptions, SqliteStore};

use crate::start_error::StartError;

/// Where invocations are stored: BK_PLUGIN_STORE_URL, or the variables of the platform's MySQL add-on.
#[derive(Debug, Clone)]
pub enum StoreSettings {
    /// A file that this process owns.
    Sqlite(PathBuf),
    /// A database that processes share.
    Mysql(MysqlAddress),
}

/// Options for opening a store, whichever it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreOptions {
    /// How long a received message stays hidden from other receivers.
    pub(crate) visibility_timeout: Duration,
    /// Bytes that the record of one invocation may have.
    pub(crate) largest_record: usize,
    /// Whether this is development, where losing the store does no harm.
    pub(crate) development: bool,
}

/// The names of the variables by which a platform describes one database.
struct AddOn {
    host: &'static str,
    port: &'static str,
    name: &'static str,
    user: &'static str,
    password: &'static str,
    ca: &'static str,
    certificate: &'static str,
    key: &'static str,
    insecure: &'static str,
}

/// In the order in which they are tried.
const ADD_ONS: [AddOn; 2] = [
    AddOn {
        host: "MYSQL_HOST",
        port: "MYSQL_PORT",
        name: "MYSQL_NAME",
        user: "MYSQL_USER",
        password: "MYSQL_PASSWORD",
        ca: "MYSQL_CA",
        certificate: "MYSQL_CERT",
        key: "MYSQL_CERT_KEY",
        insecure: "MYSQL_INSECURE_SKIP_VERIFY",
    },
    AddOn {
        host: "GCS_MYSQL_HOST",
        port: "GCS_MYSQL_PORT",
        name: "GCS_MYSQL_NAME",
        user: "GCS_MYSQL_USER",
        password: "GCS_MYSQL_PASSWORD",
        ca: "GCS_MYSQL_CA",
        certificate: "GCS_MYSQL_CERT",
        key: "GCS_MYSQL_CERT_KEY",
        insecure: "GCS_MYSQL_INSECURE_SKIP_VERIFY",
    },
];

const DEFAULT_FILE: &str = ".bk-plugin/dev.db";

impl StoreSettings {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        if let Some(url) = reader.text("BK_PLUGIN_STORE_URL") {
            return Self::of_url(&url).unwrap_or_else(|problem| {
                // The URL may hold a password, so it is not repeated.
                reader.wrong("BK_PLUGIN_STORE_URL", problem);
                Self::default()
            });
        }
        let add_on = ADD_ONS.iter().find(|add_on| add_on.is_told_of(reader));
        add_on.map(|add_on| Self::Mysql(add_on.read(reader))).unwrap_or_default()
    }

    fn of_url(url: &str) -> Result<Self, String> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let named = (!path.is_empty()).then(|| Self::Sqlite(PathBuf::from(path)));
            return named.ok_or_else(|| "names no file after sqlite:".to_owned());
        }
        MysqlAddress::from_url(url).map(Self::Mysql).map_err(|problem| {
            format!(
                "is neither sqlite:<path of a file> nor mysql://user:password@host:port/database: {problem}"
            )
        })
    }

    /// The file in which the app secret for development is kept.
    pub(crate) fn secret_file(&self) -> PathBuf {
        match self {
            Self::Sqlite(path) => path.with_extension("secret"),
            Self::Mysql(_) => PathBuf::from(DEFAULT_FILE).with_extension("secret"),
        }
    }

    /// Opens the store.
    pub(crate) async fn open(&self, options: StoreOptions) -> Result<Arc<dyn Store>, StartError> {
        let StoreOptions { visibility_timeout, largest_record, development } = options;
        match self {
            Self::Sqlite(path) => {
                if !development {
                    tracing::warn!(
                        "the store is a SQLite file: it takes one process, and it is lost with its disk"
                    );
                }
                let options =
                    SqliteOptions { visibility_timeout, largest_record, ..SqliteOptions::default() };
                Ok(Arc::new(SqliteStore::open(path, options).await?))
            }
            Self::Mysql(address) => Ok(Arc::new(open_mysql(address, options).await?)),
        }
    }
}

/// Opens a database that processes share.
pub(crate) async fn open_mysql(
    address: &MysqlAddress,
    options: StoreOptions,
) -> Result<MysqlStore, mysql::OpenError> {
    let StoreOptions { visibility_timeout, largest_record, .. } = options;
    let options = MysqlOptions { visibility_timeout, largest_record, ..MysqlOptions::default() };
    MysqlStore::open(address, options).await
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self::Sqlite(PathBuf::from(DEFAULT_FILE))
    }
}

impl fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Mysql(address) => address.fmt(f),
        }
    }
}

impl AddOn {
    fn required(&self) -> [&'static str; 5] {
        [self.host, self.port, self.name, self.user, self.password]
    }

    fn is_told_of(&self, reader: &Reader<'_>) -> bool {
        self.required().iter().any(|name| reader.text(name).is_some())
    }

    fn read(&self, reader: &mut Reader<'_>) -> MysqlAddress {
        let prefix = self.host.trim_end_matches("HOST");
        let why = format!("other {prefix} variables are set; set all five, or BK_PLUGIN_STORE_URL");
        let [host, _, name, user, password] = self.required().map(|name| reader.required(name, &why));
        let port = reader.number(self.port, 3306, 1..=u16::MAX);
        MysqlAddress::new(&host, port, &name, &user, &password.into()).with_tls(&self.tls(reader))
    }

    fn tls(&self, reader: &mut Reader<'_>) -> Tls {
        let path = |name| reader.text(name).map(PathBuf::from);
        let (ca, certificate, key) = (path(self.ca), path(self.certificate), path(self.key));
        let client = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(ClientCertificate { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                reader.wrong(self.key, format!("is required beside {}", self.certificate));
                None
            }
            (None, Some(_)) => {
                reader.wrong(self.certificate, format!("is required beside {}", self.key));
                None
            }
        };
        Tls { ca, client, accept_any_server: reader.flag(self.insecure, false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<String, String> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut reader = Reader::new(&lookup);
        let store = StoreSettings::read(&mut reader);
        reader.finish(store.to_string()).map_err(|errors| errors.to_string())
    }

    const ADD_ON: [(&str, &str); 5] = [
        ("MYSQL_HOST", "db"),
        ("MYSQL_PORT", "3307"),
        ("MYSQL_NAME", "plugin"),
        ("MYSQL_USER", "u"),
        ("MYSQL_PASSWORD", "hunter2"),
    ];

    #[test]
    fn urls() {
        for (url, store) in [
            ("sqlite:a.db", "sqlite:a.db"),
            ("sqlite:///tmp/a.db", "sqlite:/tmp/a.db"),
            ("sqlite://a.db", "sqlite:a.db"),
            ("mysql://u:pw@h:3307/d?ssl-mode=REQUIRED", "mysql://u@h:3307/d"),
        ] {
            assert_eq!(read(&[("BK_PLUGIN_STORE_URL", url)]).unwrap(), store);
        }
        for url in ["postgres://u:hunter2@h/d", "sqlite:", "a.db", "mysql://u:hunter2@h"] {
            let said = read(&[("BK_PLUGIN_STORE_URL", url)]).unwrap_err();
            assert!(said.contains("BK_PLUGIN_STORE_URL") && !said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn the_platforms_variables_in_both_spellings() {
        assert_eq!(read(&ADD_ON).unwrap(), "mysql://u@db:3307/plugin");
        let gcs =
            ["GCS_MYSQL_HOST", "GCS_MYSQL_PORT", "GCS_MYSQL_NAME", "GCS_MYSQL_USER", "GCS_MYSQL_PASSWORD"];
        let variables: Vec<_> = gcs.into_iter().zip(ADD_ON.map(|(_, value)| value)).collect();
        assert_eq!(read(&variables).unwrap(), "mysql://u@db:3307/plugin");
        let both: Vec<_> = ADD_ON.into_iter().chain([("BK_PLUGIN_STORE_URL", "sqlite:a.db")]).collect();
        assert_eq!(read(&both).unwrap(), "sqlite:a.db", "the URL wins");
        assert_eq!(read(&[]).unwrap(), "sqlite:.bk-plugin/dev.db");
    }

    #[test]
    fn what_is_missing_is_named() {
        for missing in ADD_ON.map(|(name, _)| name) {
            let rest: Vec<_> = ADD_ON.into_iter().filter(|(name, _)| *name != missing).collect();
            let said = read(&rest).unwrap_err();
            assert!(
                said.starts_with(&format!("{missing}: is required")) && !said.contains("hunter2"),
                "{said}"
            );
        }
        let said = |name, value| {
            let variables: Vec<_> = ADD_ON.into_iter().chain([(name, value)]).collect();
            read(&variables).unwrap_err()
        };
        assert!(said("MYSQL_CERT", "c.pem").starts_with("MYSQL_CERT_KEY: "));
        assert!(said("MYSQL_CERT_KEY", "k.pem").starts_with("MYSQL_CERT: "));
        assert!(said("MYSQL_INSECURE_SKIP_VERIFY", "perhaps").starts_with("MYSQL_INSECURE_SKIP_VERIFY: "));
    }
}
