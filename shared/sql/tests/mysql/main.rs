//! The contract of the ports on MariaDB, and what is MySQL's own: several processes on one database, a server that
//! goes away, packets, migrations.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]

mod clock;
mod contract;
mod fixture;
mod opening;
mod queue;
mod table;
mod trouble;
