//! Table and queue in a MySQL or MariaDB database that any number of processes share: MySQL 5.7 and 8,
//! MariaDB 10.2 and later.
//!
//! All changes of a process go through one task, the writer, over one connection. It takes the requests that wait
//! and makes them in one transaction: it locks the records concerned (`FOR UPDATE`, in the order of an index),
//! applies the rules to them, and writes the result, by a few statements of many rows. Reads have connections of
//! their own.
//!
//! A message belongs to the process that locks its row first. A process knows the messages it has sent and
//! receives exactly these when they are due, so under load each process works on its own messages. It looks for
//! those of other processes now and then, and the more seldom the fewer it finds (`due_messages`).
//!
//! The SQL is limited to what all three databases know: no `SKIP LOCKED`, no window functions, no `RETURNING`.

mod address;
mod backend;
mod database;
mod due_messages;
mod open;
mod options;
mod python;
mod queue;
mod readers;
mod recovery;
mod session;
mod statement;
mod table;
mod time_limits;
mod writer_session;

pub use address::{ClientCertificate, InvalidUrl, MysqlAddress, Tls};
pub use backend::{MysqlBackend, MysqlStore};
pub use open::OpenError;
pub use options::MysqlOptions;
pub use python::PythonError;
