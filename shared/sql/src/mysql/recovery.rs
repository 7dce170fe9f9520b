//! What an error of the database asks for.

use sqlx::mysql::MySqlDatabaseError;

/// What an error asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Another transaction was in the way. The same again may well succeed.
    Conflict,
    /// This connection is of no use any more: it is broken, or its server takes no changes. A new one may lead
    /// elsewhere.
    Connection,
    /// The statement, or what it was to write.
    Statement,
}

impl Trouble {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => error
                .try_downcast_ref::<MySqlDatabaseError>()
                .map_or(Self::Statement, |error| Self::of_number(error.number())),
            sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::RowNotFound => Self::Statement,
            _ => Self::Connection,
        }
    }

    /// By the numbers of MySQL and MariaDB, which agree as far as they both have one.
    fn of_number(number: u16) -> Self {
        match number {
            // A row that somebody else has written at the same time, a lock that was waited for too long, a
            // deadlock, a transaction that a cluster rolled back when it was committed.
            1020 | 1062 | 1205 | 1213 | 3101 => Self::Conflict,
            // Too many connections, or the user has too many.
            1040 | 1203 | 1226
            // The server shuts down; the cluster is not ready, the server is offline.
            | 1047 | 1053 | 1077 | 1079 | 3032 | 3168
            // The connection was cut, killed, or idle for too long.
            | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 4031
            // Read-only: an option, a transaction, a server that lags behind or was demoted; a global lock.
            | 1223 | 1290 | 1792 | 1836 | 3100
            // No room on the disk.
            | 1021 | 1114 => Self::Connection,
            _ => Self::Statement,
        }
    }
}

/// The number of an error of the server.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}
