//! Where the database is, and how a connection to it is made.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _};

/// Where a database is, as whom it is asked, and whether that is encrypted. It prints without the password.
#[derive(Clone)]
pub struct MysqlAddress {
    options: Box<MySqlConnectOptions>,
}

/// What the platform says about encryption.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// A PEM file of authorities that are trusted beside the public ones. With it the server must have a
    /// certificate of one of them for its host.
    pub ca: Option<PathBuf>,
    /// What the server is shown.
    pub client: Option<ClientCertificate>,
    /// Whether any certificate of the server will do.
    pub accept_any_server: bool,
}

/// What a client shows to a server that asks for it.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// What is wrong with a URL. It never repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It is none of this kind.
    #[error("it does not begin with mysql://")]
    Scheme,
    /// It cannot be read.
    #[error("{0}; characters such as @ : / in user or password are written as %40 %3A %2F")]
    Syntax(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It names no host, no user or no database.
    #[error("it has no {0}")]
    Lacks(&'static str),
    /// It has a parameter that is not known.
    #[error("the parameter {0:?} is not known; there are ssl-mode, ssl-ca, ssl-cert and ssl-key")]
    Parameter(String),
}

impl MysqlAddress {
    /// A database on a server.
    pub fn new(host: &str, port: u16, database: &str, user: &str, password: &SecretString) -> Self {
        let options = MySqlConnectOptions::new().host(host).port(port).database(database).username(user);
        Self { options: Box::new(settled(options.password(password.expose_secret()))) }
    }

    /// Reads `mysql://user:password@host:port/database`, with the parameters `ssl-mode` (as MySQL has it:
    /// DISABLED, PREFERRED, which is the default, REQUIRED, VERIFY_CA, VERIFY_IDENTITY), `ssl-ca`, `ssl-cert`
    /// and `ssl-key`, each a path.
    ///
    /// # Errors
    /// See [`InvalidUrl`].
    pub fn from_url(url: &str) -> Result<Self, InvalidUrl> {
        const PARAMETERS: [&str; 4] = ["ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

        let rest = url.strip_prefix("mysql://").ok_or(InvalidUrl::Scheme)?;
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = place.split_once('/').unwrap_or((place, ""));
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        for (part, name) in [(host, "host"), (user, "user"), (database, "database")] {
            if part.is_empty() || part.starts_with(':') {
                return Err(InvalidUrl::Lacks(name));
            }
        }
        let mut keys = form_urlencoded::parse(query.as_bytes()).map(|(key, _)| key);
        if let Some(unknown) = keys.find(|key| !PARAMETERS.contains(&key.as_ref())) {
            return Err(InvalidUrl::Parameter(unknown.into_owned()));
        }
        let options = MySqlConnectOptions::from_str(url).map_err(|error| InvalidUrl::Syntax(error.into()))?;
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = options.get_host().trim_matches(['[', ']']).to_owned();
        Ok(Self { options: Box::new(settled(options.host(&host))) })
    }

    /// The same with what the platform says about encryption.
    #[must_use]
    pub fn with_tls(self, tls: &Tls) -> Self {
        let mode = match tls {
            Tls { ca: Some(_), accept_any_server: false, .. } => MySqlSslMode::VerifyIdentity,
            Tls { ca: None, client: None, .. } => MySqlSslMode::Preferred,
            _ => MySqlSslMode::Required,
        };
        let mut options = self.options.ssl_mode(mode);
        if let Some(ca) = &tls.ca {
            options = options.ssl_ca(ca);
        }
        if let Some(client) = &tls.client {
            options = options.ssl_client_cert(&client.certificate).ssl_client_key(&client.key);
        }
        Self { options: Box::new(options) }
    }

    pub(super) fn connect_options(&self) -> MySqlConnectOptions {
        (*self.options).clone()
    }
}

/// Prepared statements that a connection keeps: each statement is prepared for some numbers of rows.
const STATEMENTS_KEPT: usize = 256;

/// What is the same for every address.
fn settled(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options
        .charset("utf8mb4")
        .timezone(Some("+00:00".to_owned()))
        // A session sets its whole mode itself.
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .disable_statement_logging()
}

impl fmt::Display for MysqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (user, host, port) =
            (self.options.get_username(), self.options.get_host(), self.options.get_port());
        write!(f, "mysql://{user}@{host}:{port}/{}", self.options.get_database().unwrap_or_default())
    }
}

impl fmt::Debug for MysqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MysqlAddress").field(&self.to_string()).finish()
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// The writer's. A transaction begins with the first statement after a COMMIT, and sees at each statement
    /// what is committed by then.
    Writing,
    /// One that reads: what it reads in one transaction is of one moment.
    Reading,
}

impl Session {
    /// `wait_timeout`: a process whose machine is gone must not hold its locks until TCP notices.
    /// The lock time-outs: whoever holds a lock for longer is not doing one of the store's transactions, and
    /// callers have better to do than wait.
    pub(super) fn statements(self) -> &'static str {
        match self {
            Self::Writing => {
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = 15, \
                     innodb_lock_wait_timeout = 1, lock_wait_timeout = 5, autocommit = 0; \
                 SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
            }
            Self::Reading => {
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = 600, \
                     lock_wait_timeout = 5; \
                 SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
            }
        }
    }
}

/// A server that does not answer within that time is away.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Connects, in bounded time.
pub(super) async fn connect(
    options: &MySqlConnectOptions,
    session: Option<Session>,
) -> Result<MySqlConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        if let Some(session) = session {
            connection.execute(sqlx::raw_sql(session.statements())).await?;
        }
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_TIME, connecting).await.unwrap_or_else(|_| Err(timed_out("connect")))
}

/// The error of something that took too long.
pub(super) fn timed_out(what: &str) -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in time ({what})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything() {
        let url =
            "mysql://a%40b:p%40ss%2Fword@db.example.com:3307/plugin?ssl-mode=VERIFY_CA&ssl-ca=/etc/ca.pem";
        let address = MysqlAddress::from_url(url).unwrap();
        assert_eq!(address.to_string(), "mysql://a@b@db.example.com:3307/plugin");
        assert!(matches!(address.options.get_ssl_mode(), MySqlSslMode::VerifyCa));
        let short = MysqlAddress::from_url("mysql://root@[::1]/plugin").unwrap();
        assert_eq!((short.options.get_host(), short.options.get_port()), ("::1", 3306));
        assert!(matches!(short.options.get_ssl_mode(), MySqlSslMode::Preferred));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (url, problem) in [
            ("postgres://u:hunter2@h/d", "mysql://"),
            ("mysql://u:hunter2@h", "database"),
            ("mysql://h/d", "user"),
            ("mysql://u:hunter2@:3306/d", "host"),
            ("mysql://u:hunter2@h:port/d", "port"),
            ("mysql://u:hunter2@h/d?sslmode=none", "sslmode"),
            ("mysql://u:hunter2@h/d?ssl-mode=sometimes", "sometimes"),
        ] {
            let said = MysqlAddress::from_url(url).unwrap_err().to_string();
            assert!(said.contains(problem) && !said.contains("hunter2"), "{url}: {said}");
        }
    }

    #[test]
    fn a_password_does_not_print() {
        let address = MysqlAddress::new("h", 1, "d", "u", &SecretString::from("hunter2"));
        assert_eq!(format!("{address:?} {address}"), "MysqlAddress(\"mysql://u@h:1/d\") mysql://u@h:1/d");
    }

    #[test]
    fn the_platform_says_whether_the_server_is_checked() {
        let mode = |tls: &Tls| {
            let address = MysqlAddress::new("h", 1, "d", "u", &SecretString::from("p")).with_tls(tls);
            format!("{:?}", address.options.get_ssl_mode())
        };
        let ca = Some(PathBuf::from("ca.pem"));
        assert_eq!(mode(&Tls::default()), "Preferred");
        assert_eq!(mode(&Tls { ca: ca.clone(), ..Tls::default() }), "VerifyIdentity");
        assert_eq!(mode(&Tls { ca, accept_any_server: true, ..Tls::default() }), "Required");
    }
}
