//! Opening the file, and what can be wrong with it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::{Clock, SystemClock};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, SqlitePool};

use super::backend::{SqliteBackend, SqliteStore};
use super::counters::Counters;
use super::database::SqliteFile;
use super::options::{Durability, SqliteOptions};
use super::queue;
use crate::database::MOST_REQUESTS;
use crate::store_clock::StoreClock;
use crate::writer::Writer;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Connections that read. Each reads one record at a time, mostly from memory.
const READERS: u32 = 2;

/// Why a file cannot be opened. Each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder of the file does not exist and cannot be created.
    #[error("cannot create the folder {} for the database: {source}. Create it, or choose another path", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has the file.
    #[error("the database {} is in use by another process. Stop that one, or choose another path", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error("the database {} cannot be written: {source}. Give this user the right to write the file and its folder, or choose another path", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The path is that of a folder.
    #[error("{} is a folder, not a database file. Choose the path of a file", path.display())]
    IsFolder {
        /// The path.
        path: PathBuf,
    },
    /// The file is damaged, or is not a database.
    #[error("{} is damaged or is no SQLite database: {source}. Restore a backup, or move the file away to begin with an empty one", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A later version of the program has written the file.
    #[error("the database {} has schema {found}, written by a newer version of this program; this one knows schemas up to {known}. Start the newer version, or choose another path", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The latest schema this program knows.
        known: i64,
    },
    /// Any other error: the disk is full, for example.
    #[error("cannot open the database {}: {source}. Check the disk, then try again", path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SqliteStore {
    /// Opens the file, and creates it and the folders above it if they do not exist.
    ///
    /// Until it is closed, the store belongs to this process alone. The process that had it before is gone, so its
    /// leases are over and the messages that it had received can be received at once; their receive counts
    /// stay.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        open(path.as_ref(), options).await
    }
}

async fn open(path: &Path, options: SqliteOptions) -> Result<SqliteStore, OpenError> {
    make_folder(path)?;
    if path.is_dir() {
        return Err(OpenError::IsFolder { path: path.to_owned() });
    }
    let lock = lock(path)?;
    let connect = connect_options(path, options.durability);
    let mut connection = connect.connect().await.map_err(|error| describe(path, error))?;
    let prepared = prepare(&mut connection, &options).await;
    let (counters, clock) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            // Otherwise the log of a file that was not accepted would stay beside it.
            connection.close().await.ok();
            return Err(describe_migration(path, error));
        }
    };
    let file = SqliteFile::new(connection, counters, options, clock.clone(), lock);
    let backend = SqliteBackend::new(path.to_owned(), readers(connect));
    Ok(SqliteStore::new(Writer::start(file, clock.clone()), clock, backend))
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).map_err(|source| OpenError::Folder { folder: folder.to_owned(), source })
}

/// Locks the file for this process. SQLite's own locks last for one transaction and would let a second process in
/// between. When the process ends, in whatever way, the lock is released; the lock file stays.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path: path.to_owned(), source: error.into() }
        }
        _ => OpenError::Failed { path: path.to_owned(), source: error.into() },
    };
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(Path::new(&name)).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn connect_options(path: &Path, durability: Durability) -> SqliteConnectOptions {
    let synchronous = match durability {
        Durability::PowerLoss => SqliteSynchronous::Full,
        Durability::ProcessCrash => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .pragma("temp_store", "MEMORY")
        // Pages of the log, 16 MiB: the longer the log, the fewer flushes for copying it into the file.
        .pragma("wal_autocheckpoint", "4000")
        // Bytes that the log is cut to after it had to grow.
        .pragma("journal_size_limit", "67108864")
        // 16 MiB of pages in memory for each connection.
        .pragma("cache_size", "-16384")
        // Only a person with a SQLite shell can hold the file's lock.
        .busy_timeout(Duration::from_secs(2))
        // A result goes from SQLite's thread to this one as a whole, not row by row.
        .row_buffer_size(2 * MOST_REQUESTS)
        .disable_statement_logging()
}

fn readers(connect: SqliteConnectOptions) -> SqlitePool {
    // An idle pool does no work: it tests, replaces and closes no connection.
    SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_lazy_with(connect.create_if_missing(false).read_only(true))
}

/// Brings the schema up to date and releases what the process before had leased and received. Also makes the clock.
async fn prepare(
    connection: &mut SqliteConnection,
    options: &SqliteOptions,
) -> Result<(Counters, Arc<dyn Clock>), MigrateError> {
    MIGRATIONS.run(&mut *connection).await?;
    let latest = queue::latest_time(connection).await?;
    let clock = StoreClock::at_opening(options.clock.clone(), SystemClock.now(), latest).shared();
    let now = clock.now();
    sqlx::query("UPDATE leases SET until = min(until, ?1)")
        .bind(now.as_millis())
        .execute(&mut *connection)
        .await?;
    queue::release_all(connection, now).await?;
    Ok((Counters::load(connection).await?, clock))
}

fn describe_migration(path: &Path, error: MigrateError) -> OpenError {
    let path_of = || path.to_owned();
    match error {
        MigrateError::VersionMissing(found) => OpenError::Newer { path: path_of(), found, known: known() },
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => describe(path, error),
        other => OpenError::Failed { path: path_of(), source: other.into() },
    }
}

fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Chooses the [`OpenError`] for an error of SQLite, by its primary result code.
fn describe(path: &Path, error: sqlx::Error) -> OpenError {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const READ_ONLY: i32 = 8;
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;

    let path = path.to_owned();
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .and_then(|code| code.parse::<i32>().ok())
        // The higher bytes are details.
        .map(|code| code & 0xff);
    match code {
        Some(BUSY | LOCKED) => OpenError::Locked { path },
        Some(READ_ONLY) => OpenError::ReadOnly { path, source: error.into() },
        Some(CORRUPT | NOT_A_DATABASE) => OpenError::Corrupt { path, source: error.into() },
        _ => OpenError::Failed { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::sqlite::table;

    /// Permission bits do not stop root, so a read-only connection provokes the error.
    #[tokio::test]
    async fn a_refused_write_is_told_as_read_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let options = SqliteConnectOptions::new().filename(&path);
        options.clone().create_if_missing(true).connect().await.unwrap().close().await.unwrap();
        let mut connection = options.read_only(true).connect().await.unwrap();
        let error = sqlx::query("CREATE TABLE t (c)").execute(&mut connection).await.unwrap_err();
        let told = describe(&path, error);
        assert!(matches!(told, OpenError::ReadOnly { .. }), "{told}");
        assert!(told.to_string().contains("a.db"), "{told}");
    }

    /// Each statement finds its rows by an index, however many rows there are. It scans only the rows of its
    /// parameter, which SQLite lists as a virtual table.
    #[tokio::test]
    async fn no_statement_scans_a_whole_table() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        MIGRATIONS.run(&mut connection).await.unwrap();
        for statement in table::STATEMENTS.into_iter().chain(queue::STATEMENTS) {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&mut connection).await.unwrap();
            for (.., line) in plan {
                println!("{line}");
                let scans = line.starts_with("SCAN") && !line.contains("VIRTUAL TABLE");
                assert!(!scans || line.contains("CONSTANT ROW"), "{statement}: {line}");
            }
        }
    }
}
