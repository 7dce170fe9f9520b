//! Measures how many polling steps a second the stores take, without an engine around them: SQLite, and a MariaDB
//! of its own on the same machine.
//!
//! `cargo run --profile server -p bk-plugin-sql --example steps -- [invocations] [seconds] [bytes of inputs]`
//!
//! A step is what the engine does for one wake-up: claim, send the next wake-up, commit, delete the wake-up.
//! Wake-ups are received in batches.
#![allow(clippy::print_stdout, reason = "a program for the command line")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bk_plugin_core::JsonObject;
use bk_plugin_core::clock::{Clock, SystemClock};
use bk_plugin_core::ids::{LeaseToken, TraceId};
use bk_plugin_core::queue::{Delivery, Message, WakeUp};
use bk_plugin_core::record::{Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{Claim, Commit, Write};
use bk_plugin_sql::Store;
use bk_plugin_sql::mysql::{MysqlOptions, MysqlStore};
use bk_plugin_sql::sqlite::{Durability, SqliteOptions, SqliteStore};
use local_mysql::MariaDb;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const RECEIVED_AT_ONCE: usize = 64;

/// How long an invocation waits between two steps. It is about as long as a step takes: otherwise the wake-up
/// would come before the commit.
const INTERVAL: Duration = Duration::from_millis(50);

/// The load under which the stores are measured.
#[derive(Clone, Copy)]
struct Load {
    invocations: u64,
    seconds: u64,
    /// Bytes of inputs of each invocation.
    bytes: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let load = Load {
        invocations: argument(1024)?,
        seconds: argument(5)?,
        bytes: usize::try_from(argument(1000)?)?,
    };
    for durability in [Durability::PowerLoss, Durability::ProcessCrash] {
        let folder = tempfile::tempdir_in(".")?;
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let store = SqliteStore::open(folder.path().join("steps.db"), options).await?;
        measure(&format!("SQLite, {durability:?}"), Arc::new(store), load).await?;
    }
    let server = MariaDb::start_in(Path::new(".")).await;
    let store = MysqlStore::open(&server.address(), MysqlOptions::default()).await?;
    measure("MariaDB on this machine", Arc::new(store), load).await?;
    println!("The reference publishes 125.");
    Ok(())
}

async fn measure(name: &str, store: Arc<dyn Store>, load: Load) -> Result<(), Box<dyn Error>> {
    begin(&store, load).await?;
    let steps = run(&store, load).await?;
    store.close().await;
    let Load { invocations, seconds, bytes } = load;
    println!(
        "{name}: {invocations} invocations, {bytes} bytes of inputs: {} steps/s, {} operations/s",
        steps / seconds,
        4 * steps / seconds
    );
    Ok(())
}

async fn begin(store: &Arc<dyn Store>, load: Load) -> Result<(), Box<dyn Error>> {
    let beginning: Vec<_> = (0..load.invocations)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut record = Record::stub(TraceId::random(), SystemClock.now());
                record.state = State::Poll;
                record.invoke_count = 1;
                let text = Value::from("x".repeat(load.bytes));
                record.inputs = JsonObject::from_iter([("text".to_owned(), text)]);
                store.create(&record, None).await?;
                store.send(&wake_up(&record.trace_id, 1), Duration::ZERO).await
            })
        })
        .collect();
    for begun in beginning {
        begun.await??;
    }
    Ok(())
}

async fn run(store: &Arc<dyn Store>, load: Load) -> Result<u64, StoreError> {
    let steps = Arc::new(AtomicU64::new(0));
    let runners = Arc::new(Semaphore::new(usize::try_from(load.invocations).unwrap_or(1)));
    let end = Instant::now() + Duration::from_secs(load.seconds);
    while Instant::now() < end {
        for delivery in store.receive(RECEIVED_AT_ONCE, Duration::from_millis(100)).await? {
            let Ok(permit) = runners.clone().acquire_owned().await else { break };
            let (store, steps) = (store.clone(), steps.clone());
            tokio::spawn(async move {
                match step(&*store, delivery).await {
                    Ok(made) => drop(steps.fetch_add(u64::from(made), Ordering::Relaxed)),
                    Err(error) => println!("{error}"),
                }
                drop(permit);
            });
        }
    }
    let made = steps.load(Ordering::Relaxed);
    // The store is closed only when all steps under way have ended.
    runners.acquire_many(u32::try_from(load.invocations).unwrap_or(1)).await.ok();
    Ok(made)
}

/// Makes a step, or puts back a wake-up that comes too early. Returns whether it made a step.
async fn step(store: &dyn Store, delivery: Delivery) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let Message::WakeUp(WakeUp { trace_id, after_step, .. }) = delivery.message else {
        return Err("a message of another kind".into());
    };
    let now = SystemClock.now();
    let lease = Lease { token: LeaseToken::random(), until: now + Duration::from_mins(1) };
    let on = bk_plugin_core::table::ClaimOn::Step(after_step);
    let Claim::Granted(record) = store.claim(&trace_id, &on, &lease, now).await? else {
        store.send(&wake_up(&trace_id, after_step), INTERVAL).await?;
        store.delete(&delivery.handle).await?;
        return Ok(false);
    };
    store.send(&wake_up(&trace_id, after_step + 1), INTERVAL).await?;
    let commit = Commit {
        state: State::Poll,
        invoke_count: record.invoke_count + 1,
        storage: Some(json!({ "task_id": 4711, "polled": record.invoke_count })),
        outputs: None,
        err: String::new(),
        deadline: None,
        consume: false,
        owed: false,
        finish_at: None,
        expires_at: None,
        inbox_len: None,
    };
    let Write::Applied = store.commit(&trace_id, &lease.token, &commit).await? else {
        return Err("a commit was refused".into());
    };
    store.delete(&delivery.handle).await?;
    Ok(true)
}

fn wake_up(trace_id: &TraceId, after_step: u32) -> Message {
    Message::WakeUp(WakeUp::for_step(trace_id.clone(), after_step, SystemClock.now()))
}
