//! The connections that read. There are a few, and none waits without end for a server that has fallen silent.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use bk_plugin_core::store_error::StoreError;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, MySql, MySqlConnection, MySqlPool};

use super::session::SessionKind;
use crate::store_error::store_error;

/// Connections that read at the same time. Each reads one record.
const MOST: u32 = 4;

/// How long a reader waits for a connection.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// How long closing waits for reads that are under way.
const CLOSE_TIME: Duration = Duration::from_secs(10);

pub(super) struct Readers(MySqlPool);

impl Readers {
    pub(super) fn new(connect: MySqlConnectOptions) -> Self {
        Self(
            MySqlPoolOptions::new()
                .max_connections(MOST)
                .acquire_timeout(LONGEST_WAIT)
                .idle_timeout(Duration::from_mins(5))
                .after_connect(|connection, _| {
                    Box::pin(async move {
                        connection.execute(sqlx::raw_sql(SessionKind::Reader.statements())).await.map(drop)
                    })
                })
                .connect_lazy_with(connect),
        )
    }

    /// Lends a connection. It is to be given back when no answer is outstanding on it.
    pub(super) async fn lend(&self) -> Result<Reader, StoreError> {
        let connection = self.0.acquire().await.map_err(store_error)?;
        Ok(Reader { connection, is_given_back: false })
    }

    pub(super) async fn close(&self) {
        if tokio::time::timeout(CLOSE_TIME, self.0.close()).await.is_err() {
            tracing::debug!("the connections that read were not closed in time");
        }
    }
}

/// A connection on loan. The pool pings a connection that comes back and waits for the answer without end, so one
/// that is dropped while a read is under way is closed instead.
pub(super) struct Reader {
    connection: PoolConnection<MySql>,
    is_given_back: bool,
}

impl Reader {
    pub(super) fn give_back(mut self) {
        self.is_given_back = true;
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_given_back {
            self.connection.close_on_drop();
        }
    }
}

impl Deref for Reader {
    type Target = MySqlConnection;

    fn deref(&self) -> &MySqlConnection {
        &self.connection
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut MySqlConnection {
        &mut self.connection
    }
}
