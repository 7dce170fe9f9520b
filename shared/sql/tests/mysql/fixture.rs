//! A server with a database, and stores on it.

use std::sync::Arc;
use std::time::Duration;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::queue::{Finish, Message, Queue};
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Table};
use bk_plugin_sql::mysql::{MysqlOptions, MysqlStore};
use contract::sample::{START, applied, granted, lease, record};
use local_mysql::MariaDb;

pub(crate) const NOW: Duration = Duration::ZERO;

/// Long enough for any message that is on its way.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) server: MariaDb,
    pub(crate) store: Arc<MysqlStore>,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(&[], MysqlOptions::default()).await
    }

    pub(crate) async fn with(server_options: &[&str], options: MysqlOptions) -> Self {
        let server = MariaDb::start_with(server_options).await;
        let store = Arc::new(MysqlStore::open(&server.address(), options).await.unwrap());
        Self { server, store }
    }

    /// A store of another process.
    pub(crate) async fn another(&self) -> Arc<MysqlStore> {
        Arc::new(MysqlStore::open(&self.server.address(), MysqlOptions::default()).await.unwrap())
    }

    /// A record in POLL or CALLBACK with one committed step.
    pub(crate) async fn invocation(&self, state: State) -> Record {
        let record = record(state);
        applied(self.store.create(&record, None).await.unwrap());
        record
    }

    pub(crate) async fn read(&self, trace_id: &TraceId) -> Record {
        *self.store.read(trace_id).await.unwrap().expect("there is a record")
    }

    /// A lease of one minute, granted after one committed step.
    pub(crate) async fn leased(&self, trace_id: &TraceId) -> Lease {
        let lease = lease();
        granted(self.store.claim(trace_id, &ClaimOn::Step(1), &lease, START).await.unwrap());
        lease
    }

    /// Repeats the call until the store answers, as the engine does.
    pub(crate) async fn patiently<T>(&self, ask: impl AsyncFn(&MysqlStore) -> Result<T, StoreError>) -> T {
        for _ in 0..400 {
            match ask(&self.store).await {
                Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(50)).await,
                answer => return answer.unwrap(),
            }
        }
        panic!("the store stays unavailable: {}", self.server.log());
    }
}

pub(crate) fn message() -> Message {
    Message::Finish(Finish { attempt: 3, ..Finish::first(TraceId::random()) })
}

/// Receives one message and deletes it.
pub(crate) async fn receive_one(store: &MysqlStore) -> Message {
    let mut deliveries = store.receive(1, SOON).await.unwrap();
    let delivery = deliveries.pop().expect("a message comes");
    store.delete(&delivery.handle).await.unwrap();
    delivery.message
}
