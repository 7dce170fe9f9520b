//! Many changes in one transaction have the result of the same changes made one by one, in some order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bk_plugin_core::ids::TraceId;
use bk_plugin_core::record::{InboxEntry, Lease, Record, State};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_core::table::{ClaimOn, Commit, Table};
use contract::checker::{self, Call, Verdict};
use contract::concurrency::History;
use contract::sample::{Dice, START, early, ended, entry, late, lease, polled, record};
use contract::specification::{Answer, OneRecord, Operation};
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// The few records and callbacks that all changes are about, so that the changes conflict.
struct World {
    trace_ids: [TraceId; 2],
    entries: Vec<InboxEntry>,
    lease: Lease,
}

impl World {
    fn new() -> Self {
        let data =
            |number: usize| entry(if number == 0 { Value::from("x".repeat(5_000)) } else { json!(number) });
        Self {
            trace_ids: [TraceId::random(), TraceId::random()],
            entries: (0..6).map(data).collect(),
            lease: lease(),
        }
    }

    fn operation(&self, trace_id: &TraceId, dice: &mut Dice) -> Operation {
        match dice.roll(8) {
            0 | 1 => {
                let mut record = record(*dice.pick(&[State::Poll, State::Callback]));
                record.trace_id = trace_id.clone();
                record.lease = dice.once_in(2).then(|| self.lease.clone());
                let inbox_len = *dice.pick(&[None, Some(0), Some(1), Some(2)]);
                Operation::Create(Box::new(record), inbox_len)
            }
            2..5 => {
                let entry = dice.pick(&self.entries);
                Operation::Append(if dice.once_in(2) { early(entry) } else { late(entry) })
            }
            5 | 6 => {
                let last = dice.once_in(20);
                let commit = Commit {
                    state: if last { State::Fail } else { State::Callback },
                    storage: dice.once_in(2).then(|| Value::from("y".repeat(dice.roll(9_900)))),
                    consume: dice.once_in(2),
                    inbox_len: *dice.pick(&[None, None, Some(0), Some(1), Some(2)]),
                    ..if last { ended() } else { polled() }
                };
                Operation::Commit(self.lease.token.clone(), Box::new(commit))
            }
            _ => Operation::Settle,
        }
    }
}

/// Operations on one record that were asked for concurrently, with their answers, and the record before them. An
/// operation that was too large had no effect and is left out.
#[derive(Default)]
struct Round {
    history: History,
    before: Option<Arc<Record>>,
}

impl Round {
    fn add(&mut self, operation: Operation, answer: Answer) {
        let (client, answer) = (self.history.len(), Some(answer));
        self.history.push(Call { client, operation, answer, began: client as u64, ended: 1000 });
    }

    /// Checks the round and begins the next one.
    fn end(&mut self, trace_id: &TraceId, after: Option<Box<Record>>) {
        let read = Answer::Read(after.clone());
        self.history.push(Call {
            client: 0,
            operation: Operation::Read,
            answer: Some(read),
            began: 1001,
            ended: 1002,
        });
        // The order of callbacks is not checked: there are few of them, and each is appended several times.
        let specification = OneRecord::new(trace_id.clone(), &[]);
        let verdict = checker::check(&specification, self.before.clone(), &self.history);
        let told = || checker::explain(&specification, self.before.clone(), &self.history, &verdict);
        assert!(matches!(verdict, Verdict::Linearizable { .. }), "{}", told());
        *self = Self { history: History::new(), before: after.map(Arc::from) };
    }
}

#[tokio::test]
async fn one_transaction_or_many() {
    let fixture = Fixture::new().await;
    let mut seen = BTreeMap::new();
    for seed in 0..40 {
        let (world, mut dice) = (World::new(), Dice::new(seed));
        let mut rounds = [Round::default(), Round::default()];
        for _ in 0..4 {
            // On one thread all requests are made before the writer task runs.
            let tasks: Vec<_> = (0..12)
                .map(|_| {
                    let which = dice.roll(2);
                    let trace_id = world.trace_ids[which].clone();
                    let (store, operation) = (fixture.store.clone(), world.operation(&trace_id, &mut dice));
                    tokio::spawn(async move {
                        let answer = operation.ask(&*store, &trace_id).await;
                        (which, operation, answer)
                    })
                })
                .collect();
            for task in tasks {
                let (which, operation, answer) = task.await.unwrap();
                let kind = match answer {
                    Ok(answer) => {
                        let kind = if answer == Answer::Applied { "applied" } else { "refused" };
                        rounds[which].add(operation, answer);
                        kind
                    }
                    Err(StoreError::TooLarge { .. }) => "too large",
                    Err(error) => panic!("{error}"),
                };
                *seen.entry(kind).or_insert(0) += 1;
            }
            for (trace_id, round) in world.trace_ids.iter().zip(&mut rounds) {
                round.end(trace_id, fixture.store.read(trace_id).await.unwrap());
                for on in [ClaimOn::Step(1), ClaimOn::Step(2)] {
                    fixture.store.claim(trace_id, &on, &world.lease, START).await.unwrap();
                }
                round.before = fixture.store.read(trace_id).await.unwrap().map(Arc::from);
            }
        }
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count > 10), "{seen:?}");
}
