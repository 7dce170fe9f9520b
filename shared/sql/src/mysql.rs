//! Table and queue in a MySQL or MariaDB database that any number of processes share: MySQL 5.7 and 8,
//! MariaDB 10.2 and later.
//!
//! All changes of a process go through one task, the writer, over one connection. It takes whatever waits for
//! it and makes it in one transaction: the records concerned are locked (`FOR UPDATE`, in the order of an
//! index), the rules are applied to them, and the result is written, by a few statements of many rows. Reads
//! have connections of their own.
//!
//! Messages are claimed by whoever locks their rows first. A process knows the messages it has sent and
//! claims exactly these when they fall due, so under load everyone works on what is its own; everybody else's
//! are looked for now and then, the more seldom the less there are (`mailbox`).
//!
//! The SQL keeps to what all three databases know: no `SKIP LOCKED`, no window functions, no `RETURNING`.

mod address;
mod database;
mod due_messages;
mod open;
mod python;
mod queue;
mod readers;
mod recovery;
mod statement;
mod table;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bk_plugin_kit::clock::{Clock, SystemClock, Timestamp};
use bk_plugin_kit::table::StoreError;

pub use address::{ClientCertificate, InvalidUrl, MysqlAddress, Tls};
pub use open::OpenError;
pub use python::PythonError;

use self::readers::Readers;
use crate::client::Client;
use crate::{QueueDepth, Store};

/// How a [`MysqlStore`] behaves.
#[derive(Clone)]
pub struct MysqlOptions {
    /// How long a received message is hidden from other receivers. Default: 60 seconds.
    pub visibility_timeout: Duration,
    /// Bytes the JSON of one record, its inbox included, may have. Default: 4 MiB. If the server's
    /// `max_allowed_packet` is smaller, a record has to fit into that.
    pub largest_record: usize,
    /// The clock of the queue. Default: the machine's.
    pub clock: Arc<dyn Clock>,
    /// How long opening waits for a database that is away. Default: one minute.
    pub patience: Duration,
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self {
            visibility_timeout: Duration::from_mins(1),
            largest_record: 4 * 1024 * 1024,
            clock: Arc::new(SystemClock),
            patience: Duration::from_mins(1),
        }
    }
}

impl fmt::Debug for MysqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlOptions")
            .field("visibility_timeout", &self.visibility_timeout)
            .field("largest_record", &self.largest_record)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// The invocation table and the delayed queue in one MySQL or MariaDB database.
pub struct MysqlStore {
    address: MysqlAddress,
    writer: Client,
    readers: Readers,
}

impl MysqlStore {
    /// Connects to the database and brings its schema up to date. Other processes may use it, or do the same,
    /// at the same time.
    ///
    /// Leases and hidden messages stay as they are: whoever has them may be alive.
    ///
    /// # Errors
    /// See [`OpenError`]. A database that is away is waited for, as long as the options say.
    pub async fn open(address: &MysqlAddress, options: MysqlOptions) -> Result<Self, OpenError> {
        open::open(address, options).await
    }

    /// Where the database is.
    pub fn address(&self) -> &MysqlAddress {
        &self.address
    }
}

/// Records deleted in one transaction at most. It delays the steps that come after it, and those of another
/// process that deletes the same ones.
const EXPIRED_AT_ONCE: u32 = 50;

#[async_trait]
impl Store for MysqlStore {
    async fn delete_expired(&self, now: Timestamp, at_most: u32) -> Result<u64, StoreError> {
        let (mut deleted, mut left) = (0, at_most);
        while left > 0 {
            let portion = left.min(EXPIRED_AT_ONCE);
            let gone = self.writer.delete_expired(now, portion).await?;
            deleted += gone;
            left -= portion;
            if gone < u64::from(portion) {
                break;
            }
        }
        Ok(deleted)
    }

    async fn queue_depth(&self, now: Timestamp) -> Result<QueueDepth, StoreError> {
        let mut reader = self.readers.lend().await?;
        let depth = database::in_time(queue::depth(&mut reader, now)).await?;
        reader.give_back();
        Ok(depth)
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }
}

impl fmt::Debug for MysqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlStore").field("address", &self.address).finish_non_exhaustive()
    }
}
