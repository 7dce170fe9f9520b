//! Many changes in one transaction leave what the same changes leave one by one.

use bk_plugin_kit::clock::Clock as _;
use bk_plugin_kit::ids::TraceId;
use bk_plugin_kit::record::{InboxEntry, Lease, Record, State};
use bk_plugin_kit::table::{Append, ClaimOn, Commit, StoreError, Table, Write};
use bk_plugin_sql::sqlite::SqliteStore;
use serde_json::{Value, json};

use crate::fixture::{Fixture, START, early, ended, entry, late, lease, polled, record};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Changes are made to few records with few callbacks, so that they meet.
struct World {
    trace_ids: Vec<TraceId>,
    entries: Vec<InboxEntry>,
    lease: Lease,
}

#[derive(Debug, Clone)]
enum Op {
    Create(Box<Record>, Option<usize>),
    Append(TraceId, Append),
    Commit(TraceId, Lease, Commit),
    Settle(TraceId),
}

impl World {
    fn new() -> Self {
        let data =
            |number: usize| entry(if number == 0 { Value::from("x".repeat(5_000)) } else { json!(number) });
        Self {
            trace_ids: (0..2).map(|_| TraceId::random()).collect(),
            entries: (0..6).map(data).collect(),
            lease: lease(),
        }
    }

    fn op(&self, dice: &mut Dice) -> Op {
        let trace_id = self.trace_ids[dice.roll(2)].clone();
        match dice.roll(8) {
            0 | 1 => {
                let mut record = record([State::Poll, State::Callback][dice.roll(2)]);
                record.trace_id = trace_id;
                record.lease = (dice.roll(2) == 0).then(|| self.lease.clone());
                Op::Create(Box::new(record), [None, Some(dice.roll(3))][dice.roll(2)])
            }
            2..5 => {
                let entry = &self.entries[dice.roll(6)];
                Op::Append(trace_id, [early(entry), late(entry)][dice.roll(2)].clone())
            }
            5 | 6 => {
                let last = dice.roll(20) == 0;
                let commit = Commit {
                    state: if last { State::Fail } else { State::Callback },
                    storage: (dice.roll(2) == 0).then(|| Value::from("y".repeat(dice.roll(9_900)))),
                    consume: dice.roll(2) == 0,
                    inbox_len: [None, Some(dice.roll(3))][dice.roll(2)],
                    ..if last { ended() } else { polled() }
                };
                Op::Commit(trace_id, self.lease.clone(), commit)
            }
            _ => Op::Settle(trace_id),
        }
    }
}

/// Makes a change and says in a word what came of it.
async fn make(store: &SqliteStore, op: &Op) -> &'static str {
    let write = match op {
        Op::Create(record, inbox_len) => store.create(record, *inbox_len).await,
        Op::Append(trace_id, append) => store.append(trace_id, append).await,
        Op::Commit(trace_id, lease, commit) => store.commit(trace_id, &lease.token, commit).await,
        Op::Settle(trace_id) => store.settle(trace_id).await.map(|()| Write::Applied),
    };
    match write {
        Ok(Write::Applied) => "applied",
        Ok(Write::Refused(_)) => "refused",
        Err(StoreError::TooLarge { .. }) => "too large",
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn one_transaction_or_many() {
    let (single, grouped) = (Fixture::new().await, Fixture::new().await);
    let mut seen = std::collections::BTreeMap::new();
    for seed in 0..25 {
        let (world, mut dice) = (World::new(), Dice(seed));
        for _ in 0..4 {
            let ops: Vec<_> = (0..12).map(|_| world.op(&mut dice)).collect();
            // On one thread all of them are waiting before the writer has its turn.
            let tasks: Vec<_> = ops
                .iter()
                .map(|op| {
                    let (store, op) = (grouped.store.clone(), op.clone());
                    tokio::spawn(async move { make(&store, &op).await })
                })
                .collect();
            for (op, task) in ops.iter().zip(tasks) {
                let answers = (make(&single.store, op).await, task.await.unwrap());
                assert_eq!(answers.0, answers.1, "seed {seed}: {op:?}");
                *seen.entry(answers.0).or_insert(0) += 1;
            }
            for trace_id in &world.trace_ids {
                let mut records = Vec::new();
                for store in [&single.store, &grouped.store] {
                    for on in [ClaimOn::Step(1), ClaimOn::Step(2)] {
                        store.claim(trace_id, &on, &world.lease, single.clock.now()).await.unwrap();
                    }
                    records.push(store.read(trace_id).await.unwrap());
                }
                assert_eq!(records[0], records[1], "seed {seed}");
            }
        }
    }
    assert_eq!(grouped.clock.now(), START);
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 10), "{seen:?}");
}
