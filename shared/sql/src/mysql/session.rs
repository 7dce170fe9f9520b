//! Connections, and the session settings of each kind of connection.

use bk_plugin_core::clock::Timestamp;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Executor as _};

use super::time_limits::{CONNECT_TIME, TRANSACTION_TIME, within};

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionKind {
    /// The writer's. A transaction begins with the first statement after a COMMIT, and each statement sees what is
    /// committed by then.
    Writer,
    /// A reader's. All reads of a transaction see the database as of the same moment.
    Reader,
}

impl SessionKind {
    /// The statements that set a session up. `wait_timeout`, in seconds, makes the server release the locks of a
    /// process whose machine is gone, long before TCP notices. The store's own transactions hold locks for less than
    /// the lock time-outs: a longer wait would be for another program's lock, and callers should not wait for that.
    pub(super) fn statements(self) -> &'static str {
        match self {
            Self::Writer => {
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = 15, \
                     innodb_lock_wait_timeout = 1, lock_wait_timeout = 5, autocommit = 0; \
                 SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
            }
            Self::Reader => {
                "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', wait_timeout = 600, \
                     lock_wait_timeout = 5; \
                 SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"
            }
        }
    }
}

/// Connects. Without a kind, the session is as the server sets it up.
pub(super) async fn connect(
    options: &MySqlConnectOptions,
    kind: Option<SessionKind>,
) -> Result<MySqlConnection, sqlx::Error> {
    let connecting = async {
        let mut connection = options.connect().await?;
        if let Some(kind) = kind {
            connection.execute(sqlx::raw_sql(kind.statements())).await?;
        }
        Ok(connection)
    };
    within(CONNECT_TIME, "connect", connecting).await
}

/// The time by the server's clock.
pub(super) async fn server_time(connection: &mut MySqlConnection) -> Result<Timestamp, sqlx::Error> {
    let sql = "SELECT CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000 AS SIGNED)";
    let asking = sqlx::query_scalar(sql).fetch_one(connection);
    within(TRANSACTION_TIME, "time", asking).await.map(Timestamp::from_millis)
}

/// The latest time that was noted in the database.
pub(super) async fn latest_time(connection: &mut MySqlConnection) -> Result<Timestamp, sqlx::Error> {
    let asking = sqlx::query_scalar("SELECT latest FROM bk_plugin_clock").fetch_one(connection);
    within(TRANSACTION_TIME, "latest time", asking).await.map(Timestamp::from_millis)
}

/// The server's `max_allowed_packet`, in bytes.
pub(super) async fn packet(connection: &mut MySqlConnection) -> Result<usize, sqlx::Error> {
    let asking = sqlx::query_scalar("SELECT CAST(@@max_allowed_packet AS SIGNED)").fetch_one(connection);
    let bytes: i64 = within(TRANSACTION_TIME, "max_allowed_packet", asking).await?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}
