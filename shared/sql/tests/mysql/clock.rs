//! The time of the store is that of the database server, whatever the clocks of the processes tell.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::memory::ManualClock;
use bk_plugin_core::queue::Queue as _;
use bk_plugin_core::table::Table as _;
use bk_plugin_sql::Store as _;
use bk_plugin_sql::mysql::{MysqlOptions, MysqlStore};
use local_mysql::MariaDb;

use crate::fixture::{message, receive_one};

const HOUR: Duration = Duration::from_hours(1);

/// The servers' clock was set back by an hour, and all processes are started again.
#[tokio::test]
async fn a_server_clock_set_back_by_an_hour_delays_no_message() {
    let server = MariaDb::start().await;
    let before = Arc::new(ManualClock::at(SystemClock.now() + HOUR));
    let options = MysqlOptions { clock: Some(before.clone()), ..MysqlOptions::default() };
    let store = MysqlStore::open(&server.address(), options).await.unwrap();
    let sent = message();
    store.send(&sent, Duration::from_secs(1)).await.unwrap();
    store.close().await;

    let store = MysqlStore::open(&server.address(), MysqlOptions::default()).await.unwrap();
    assert!(store.clock().now() >= before.now(), "the time of a store never goes back");
    assert_eq!(receive_one(&store).await, sent);
    store.ping().await.unwrap();
    store.close().await;
}
