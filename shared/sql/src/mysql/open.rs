//! Opening the database: the schema is brought up to date, and each error says what to do about it.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use bk_plugin_core::back_off::BackOff;
use bk_plugin_core::clock::Timestamp;
use sqlx::Connection as _;
use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};

use super::address::MysqlAddress;
use super::backend::{MysqlBackend, MysqlStore};
use super::database::MysqlDatabase;
use super::options::MysqlOptions;
use super::readers::Readers;
use super::recovery::{Recovery, jittered, number};
use super::session::{connect, latest_time, packet, server_time};
use crate::store_clock::StoreClock;
use crate::writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/mysql");

/// The author's own tables, or another framework's, may be in the same database.
const MIGRATIONS_TABLE: &str = "bk_plugin_migrations";

/// How long a process waits, in seconds, while another one brings the schema up to date.
const LOCK_SECONDS: i64 = 60;

const OPEN_AGAIN: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a database cannot be used. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no answer, or not that of a database server.
    #[error(
        "the database {address} does not answer: {source}. Check host, port and network, and that it runs"
    )]
    Away {
        /// The address that was tried.
        address: String,
        /// What happened.
        #[source]
        source: Source,
    },
    /// The server turns the user away.
    #[error(
        "the database {address} turns the user away: {source}. Check user and password, and that the user has all privileges on the database (the first start creates tables)"
    )]
    Denied {
        /// The address of the server.
        address: String,
        /// The server's error.
        #[source]
        source: Source,
    },
    /// The server has no such database.
    #[error("there is no database {address}: {source}. Create it, or correct the name")]
    Unknown {
        /// The address with the database's name.
        address: String,
        /// The server's error.
        #[source]
        source: Source,
    },
    /// The connection cannot be encrypted as the address demands.
    #[error(
        "no encrypted connection to the database {address}: {source}. Check the CA, the client certificate and its key; a certificate that is not for this host needs ssl-mode=VERIFY_CA, a server without TLS ssl-mode=DISABLED"
    )]
    Tls {
        /// The address that was tried.
        address: String,
        /// What is wrong with the encryption.
        #[source]
        source: Source,
    },
    /// A later version of the program has written the schema.
    #[error(
        "the database {address} has schema {found}, written by a newer version of this program; this one knows schemas up to {known}. Start the newer version, or choose another database"
    )]
    Newer {
        /// Where the database is.
        address: String,
        /// Its schema.
        found: i64,
        /// The latest schema this program knows.
        known: i64,
    },
    /// Any other error.
    #[error("the database {address} cannot be used: {source}")]
    Failed {
        /// Where the database is.
        address: String,
        /// What happened.
        #[source]
        source: Source,
    },
}

impl MysqlStore {
    /// Connects to the database and brings its schema up to date. Other processes may use it, or do the same, at
    /// the same time.
    ///
    /// Leases and hidden messages stay as they are: the processes that hold them may be alive.
    ///
    /// # Errors
    /// See [`OpenError`]. If the database does not answer, it is tried again for as long as the options say.
    pub async fn open(address: &MysqlAddress, options: MysqlOptions) -> Result<Self, OpenError> {
        let mut connect = address.connect_options();
        let Prepared { packet, now, latest } = match prepare_patiently(address, &connect, options.patience)
            .await
        {
            // The server's TLS is too old for this program (MySQL 5.7 by default), and the address does not demand
            // any.
            Err(OpenError::Tls { source, .. })
                if matches!(connect.get_ssl_mode(), MySqlSslMode::Preferred) =>
            {
                tracing::warn!(
                    error = %source, database = %address,
                    "no encrypted connection to the database, so it is not encrypted; set ssl-mode to have it refused"
                );
                connect = connect.ssl_mode(MySqlSslMode::Disabled);
                prepare_patiently(address, &connect, options.patience).await?
            }
            prepared => prepared?,
        };
        let largest = options.largest_record_in(packet);
        if largest < options.largest_record {
            tracing::warn!(
                max_allowed_packet = packet,
                "the server takes records of {largest} bytes at most; raise its max_allowed_packet for larger ones"
            );
        }
        let backend = MysqlBackend::new(address.clone(), Readers::new(connect.clone()));
        let store_clock = StoreClock::at_opening(options.clock.clone(), now, latest);
        store_clock.follow(now);
        let clock = store_clock.shared();
        let writer = Writer::start(MysqlDatabase::new(connect, options, store_clock), clock.clone());
        Ok(Self::new(writer, clock, backend))
    }
}

/// What is asked of a database that was brought up to date.
struct Prepared {
    /// `max_allowed_packet`.
    packet: usize,
    /// The time by the server's clock.
    now: Timestamp,
    /// The latest time that was noted.
    latest: Timestamp,
}

/// Brings the schema up to date, and tries again while the database does not answer.
async fn prepare_patiently(
    address: &MysqlAddress,
    options: &MySqlConnectOptions,
    patience: Duration,
) -> Result<Prepared, OpenError> {
    let begun = Instant::now();
    for attempt in 0.. {
        let Err(error) = prepare(options).await else { break };
        let delay = jittered(OPEN_AGAIN.delay(attempt));
        if !is_passing(&error) || begun.elapsed() + delay > patience {
            return Err(describe(address, error));
        }
        tracing::warn!(%error, database = %address, "the database cannot be opened yet, trying again");
        tokio::time::sleep(delay).await;
    }
    let asking = async {
        let mut connection = connect(options, None).await?;
        let (packet, latest) = (packet(&mut connection).await?, latest_time(&mut connection).await?);
        Ok(Prepared { packet, latest, now: server_time(&mut connection).await? })
    };
    asking.await.map_err(|error: sqlx::Error| describe(address, error.into()))
}

async fn prepare(options: &MySqlConnectOptions) -> Result<(), MigrateError> {
    let mut connection = connect(options, None).await?;
    let migrated = migrate(&mut connection).await;
    // Closing the connection also releases the lock.
    connection.close().await.ok();
    migrated
}

/// Runs the migrations, in one process at a time. (sqlx's own lock waits without a time limit, which MariaDB
/// refuses without an error.) A migration whose process was killed runs again from its beginning, which each of
/// its statements allows.
async fn migrate(connection: &mut MySqlConnection) -> Result<(), MigrateError> {
    let lock = "SELECT get_lock(concat('bk_plugin_', md5(database())), ?)";
    let locked: Option<i64> = sqlx::query_scalar(lock).bind(LOCK_SECONDS).fetch_one(&mut *connection).await?;
    if locked != Some(1) {
        let busy = "another process has been changing the schema for a minute";
        return Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, busy)).into());
    }
    let logged: String = sqlx::query_scalar("SELECT IF(@@log_bin, @@binlog_format, 'none')")
        .fetch_one(&mut *connection)
        .await?;
    if logged == "STATEMENT" {
        return Err(MigrateError::Source(
            "it has binlog_format=STATEMENT, which allows no transactions in READ COMMITTED; set ROW or MIXED".into(),
        ));
    }
    connection.ensure_migrations_table(MIGRATIONS_TABLE).await?;
    sqlx::query("DELETE FROM bk_plugin_migrations WHERE NOT success AND version <= ?")
        .bind(known())
        .execute(&mut *connection)
        .await?;
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.set_locking(false);
    migrator.dangerous_set_table_name(Cow::Borrowed(MIGRATIONS_TABLE));
    // This is what `run` does, but the future of `run` is not `Send`.
    migrator.run_direct(None, connection, false).await
}

fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The error of the database that made a migration fail.
fn cause(error: &MigrateError) -> Option<&sqlx::Error> {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Some(error),
        _ => None,
    }
}

/// Whether the error may pass, so that it is worth trying again.
fn is_passing(error: &MigrateError) -> bool {
    cause(error).is_some_and(|error| !is_of_tls(error) && Recovery::after(error) != Recovery::GiveUp)
}

/// Whether the error is about encryption. The TLS handshake reports a certificate that it does not accept as
/// invalid data.
fn is_of_tls(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn describe(address: &MysqlAddress, error: MigrateError) -> OpenError {
    const DENIED: [u16; 7] = [1044, 1045, 1130, 1142, 1227, 1251, 1698];
    const UNKNOWN_DATABASE: u16 = 1049;

    let address = address.to_string();
    if let MigrateError::VersionMissing(found) | MigrateError::Dirty(found) = error {
        return OpenError::Newer { address, found, known: known() };
    }
    let cause = cause(&error);
    let number = cause.and_then(number);
    if number.is_some_and(|number| DENIED.contains(&number)) {
        OpenError::Denied { address, source: error.into() }
    } else if number == Some(UNKNOWN_DATABASE) {
        OpenError::Unknown { address, source: error.into() }
    } else if cause.is_some_and(is_of_tls) {
        OpenError::Tls { address, source: error.into() }
    } else if cause.is_some_and(|error| Recovery::after(error) == Recovery::Reconnect) {
        OpenError::Away { address, source: error.into() }
    } else {
        OpenError::Failed { address, source: error.into() }
    }
}
