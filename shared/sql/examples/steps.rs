//! Measures how many polling steps a second the SQLite store takes, without an engine around it.
//!
//! `cargo run --profile server -p bk-plugin-sql --example steps -- [invocations] [seconds] [bytes of inputs]`
//!
//! A step is what the engine does for one wake-up: claim, send the next wake-up, commit, delete the wake-up.
//! Wake-ups are received in batches.
#![allow(clippy::print_stdout, reason = "a program for the command line")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bk_plugin_kit::JsonObject;
use bk_plugin_kit::clock::{Clock, SystemClock};
use bk_plugin_kit::ids::{LeaseToken, TraceId};
use bk_plugin_kit::queue::{Delivery, Message, Queue, WakeUp};
use bk_plugin_kit::record::{Lease, Record, State};
use bk_plugin_kit::table::{Claim, Commit, StoreError, Table, Write};
use bk_plugin_sql::Store as _;
use bk_plugin_sql::sqlite::{Durability, SqliteOptions, SqliteStore};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const RECEIVED_AT_ONCE: usize = 64;

/// How long an invocation waits between two steps: about as long as a step takes, or the wake-up would come
/// before the commit.
const INTERVAL: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (invocations, seconds, bytes) = (argument(1024)?, argument(5)?, argument(1000)?);
    for durability in [Durability::PowerLoss, Durability::ProcessCrash] {
        let folder = tempfile::tempdir_in(".")?;
        let options = SqliteOptions { durability, ..SqliteOptions::default() };
        let store = Arc::new(SqliteStore::open(folder.path().join("steps.db"), options).await?);
        begin(&store, invocations, usize::try_from(bytes)?).await?;
        let steps = run(&store, invocations, Duration::from_secs(seconds)).await?;
        store.close().await;
        println!(
            "{durability:?}: {invocations} invocations, {bytes} bytes of inputs: {} steps/s, {} operations/s",
            steps / seconds,
            4 * steps / seconds
        );
    }
    Ok(())
}

async fn begin(store: &SqliteStore, invocations: u64, bytes: usize) -> Result<(), StoreError> {
    for _ in 0..invocations {
        let mut record = Record::stub(TraceId::random(), SystemClock.now());
        record.state = State::Poll;
        record.invoke_count = 1;
        record.inputs = JsonObject::from_iter([("text".to_owned(), Value::from("x".repeat(bytes)))]);
        store.create(&record, None).await?;
        store.send(&wake_up(&record.trace_id, 1), Duration::ZERO).await?;
    }
    Ok(())
}

async fn run(store: &Arc<SqliteStore>, invocations: u64, time: Duration) -> Result<u64, StoreError> {
    let steps = Arc::new(AtomicU64::new(0));
    let runners = Arc::new(Semaphore::new(usize::try_from(invocations).unwrap_or(1)));
    let end = Instant::now() + time;
    while Instant::now() < end {
        for delivery in store.receive(RECEIVED_AT_ONCE, Duration::from_millis(100)).await? {
            let Ok(permit) = runners.clone().acquire_owned().await else { break };
            let (store, steps) = (store.clone(), steps.clone());
            tokio::spawn(async move {
                match step(&store, delivery).await {
                    Ok(made) => drop(steps.fetch_add(u64::from(made), Ordering::Relaxed)),
                    Err(error) => println!("{error}"),
                }
                drop(permit);
            });
        }
    }
    let made = steps.load(Ordering::Relaxed);
    // Steps that are under way end before the store is closed.
    runners.acquire_many(u32::try_from(invocations).unwrap_or(1)).await.ok();
    Ok(made)
}

/// Whether a step was made; a wake-up that comes too early is put back.
async fn step(store: &SqliteStore, delivery: Delivery) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let Message::WakeUp(WakeUp { trace_id, after_step, .. }) = delivery.message else {
        return Err("a message of another kind".into());
    };
    let now = SystemClock.now();
    let lease = Lease { token: LeaseToken::random(), until: now + Duration::from_mins(1) };
    let on = bk_plugin_kit::table::ClaimOn::Step(after_step);
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
