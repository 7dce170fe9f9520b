//! How to go on after an error of the database.

use std::time::Duration;

use sqlx::mysql::MySqlDatabaseError;

/// What may help after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// The same transaction again: another one conflicted with it.
    Retry,
    /// A new connection, which may lead to another server: this one is broken, or its server accepts no changes.
    Reconnect,
    /// Nothing: the statement is wrong, or the values that it was to write.
    GiveUp,
}

impl Recovery {
    pub(super) fn after(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => error
                .try_downcast_ref::<MySqlDatabaseError>()
                .map_or(Self::GiveUp, |error| Self::after_number(error.number())),
            sqlx::Error::Encode(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::RowNotFound => Self::GiveUp,
            _ => Self::Reconnect,
        }
    }

    /// By the error numbers of MySQL and MariaDB. Where both have a number, it means the same.
    fn after_number(number: u16) -> Self {
        match number {
            // Another transaction has written the row at the same time, a lock wait timed out, a deadlock, a
            // cluster rolled the transaction back at its COMMIT.
            1020 | 1062 | 1205 | 1213 | 3101 => Self::Retry,
            // Too many connections, or the user has too many.
            1040 | 1203 | 1226
            // The server shuts down; the cluster is not ready, the server is offline.
            | 1047 | 1053 | 1077 | 1079 | 3032 | 3168
            // The connection was cut, killed, or idle for too long.
            | 1152 | 1158..=1161 | 1184 | 1317 | 1927 | 4031
            // Read-only: an option, a transaction, a server that lags behind or was demoted; a global lock.
            | 1223 | 1290 | 1792 | 1836 | 3100
            // No room on the disk.
            | 1021 | 1114 => Self::Reconnect,
            _ => Self::GiveUp,
        }
    }
}

/// The server's number of an error.
pub(super) fn number(error: &sqlx::Error) -> Option<u16> {
    Some(error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Between half of a delay and all of it, so that processes that failed together do not retry together.
pub(super) fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
