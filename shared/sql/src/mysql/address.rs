//! Where the database is, who connects to it, and whether the connection is encrypted.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

/// Where a database is, which user connects to it, and whether the connection is encrypted. It prints without the
/// password.
#[derive(Clone)]
pub struct MysqlAddress {
    options: Box<MySqlConnectOptions>,
}

/// The platform's settings for encryption.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of certificate authorities that are trusted besides the public ones. If it is set, the server must
    /// have a certificate for its host from one of them.
    pub ca: Option<PathBuf>,
    /// The certificate of this client.
    pub client: Option<ClientCertificate>,
    /// Whether any certificate of the server is accepted.
    pub accept_any_server: bool,
}

/// The certificate that a client shows to a server that asks for it.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of its private key.
    pub key: PathBuf,
}

/// Why a URL is not valid. It never repeats the URL, which may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum InvalidUrl {
    /// It is not a URL of a MySQL database.
    #[error("it does not begin with mysql://")]
    Scheme,
    /// Its syntax is wrong.
    #[error("{0}; characters such as @ : / in user or password are written as %40 %3A %2F")]
    Syntax(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It names no host, no user or no database.
    #[error("it has no {0}")]
    Lacks(&'static str),
    /// It has an unknown parameter.
    #[error("the parameter {0:?} is not known; there are ssl-mode, ssl-ca, ssl-cert and ssl-key")]
    Parameter(String),
}

impl MysqlAddress {
    /// A database on a server.
    pub fn new(host: &str, port: u16, database: &str, user: &str, password: &SecretString) -> Self {
        let options = MySqlConnectOptions::new().host(host).port(port).database(database).username(user);
        Self { options: Box::new(with_fixed_options(options.password(password.expose_secret()))) }
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
        Ok(Self { options: Box::new(with_fixed_options(options.host(&host))) })
    }

    /// The same address with the platform's settings for encryption.
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

/// Prepared statements that a connection keeps. Each statement is prepared once for each number of rows.
const STATEMENTS_KEPT: usize = 256;

/// Adds the options that every address has.
fn with_fixed_options(options: MySqlConnectOptions) -> MySqlConnectOptions {
    options
        .charset("utf8mb4")
        .timezone(Some("+00:00".to_owned()))
        // Each session sets its whole SQL mode itself.
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
