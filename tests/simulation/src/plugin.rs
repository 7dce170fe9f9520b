//! The simulated plugin, which follows the script of its world.

use std::time::Duration;

use bk_plugin_kit::CallbackWait;
use bk_plugin_kit::prelude::*;
use rand::RngExt as _;

use crate::outside;
use crate::script::Step;
use crate::world::{Fault, LARGEST_RECORD, Shared};

/// The inputs of every invocation.
pub(crate) const WORD: &str = "kept";

/// The plugin in one process of the world.
pub(crate) struct Scripted {
    pub(crate) shared: Shared,
    pub(crate) process: usize,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Inputs {
    word: String,
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Storage {
    next: usize,
    ballast: String,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Outputs {
    trail: Vec<String>,
}

impl Plugin for Scripted {
    const META: Meta = Meta::version("1.0.0").enable_plugin_callback();
    type Inputs = Inputs;
    type Context = Context<Outputs, Storage>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let (shared, process) = (&self.shared, self.process);
        let event = match cx.event() {
            Event::Called(callback) => format!("call {}", callback.data()["call"]),
            event => format!("{event:?}"),
        };
        let number = cx.invoke_count() as usize;
        let (step, growth, pause) = shared.with(|world| {
            world.note(process, |_| format!("executes step {number}: {event}"));
            if cx.storage.next + 1 != number || inputs.word != WORD {
                world.violate(format!("P2: step {number} finds the storage of step {}", cx.storage.next));
            }
            let longest = world.script.longest_step;
            let step = world.script.steps.get(number - 1).copied();
            (step.unwrap_or(Step::Done), world.script.growth, world.dice.random_range(0..=longest))
        });
        self.prepare(step, cx);
        tokio::time::sleep(Duration::from_millis(pause / 2)).await;
        if shared.with(|world| world.fault(process, Fault::CrashInStep)) || step == Step::Kill {
            shared.kill(process);
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(pause - pause / 2)).await;
        cx.storage.next = number;
        cx.storage.ballast.extend(std::iter::repeat_n('x', growth));
        cx.outputs.edit().trail.push(event);
        shared.with(|world| {
            let now = world.now();
            world.ended_at[process] = now;
            world.first_ended_at.entry(number).or_insert(now);
            world.note(process, |_| format!("ends step {number}: {step:?}"));
        });
        match step {
            Step::Wait(next) => Ok(next),
            Step::Done | Step::Kill => Ok(Next::done()),
            Step::Fail => fail!("as asked"),
            Step::FailTooLarge => {
                cx.storage.ballast = "x".repeat(LARGEST_RECORD);
                fail!("as asked")
            }
            Step::Unexpected => unexpected!("odd"),
            // No panic!: its hook would print a million times.
            Step::Panic => std::panic::resume_unwind(Box::new("boom")),
            Step::Hang => std::future::pending().await,
            Step::TooLarge => {
                cx.storage.ballast = "x".repeat(LARGEST_RECORD);
                Ok(Next::poll(secs(1)))
            }
            Step::Fill => {
                cx.storage.ballast = "x".repeat(LARGEST_RECORD - 400);
                Ok(Next::poll(secs(1)))
            }
        }
    }
}

impl Scripted {
    /// Prepares a callback and lets third parties call it: at once, later, twice, or never.
    fn prepare(&self, step: Step, cx: &mut <Self as Plugin>::Context) {
        let (calls, token) = {
            let waits = matches!(step, Step::Wait(Next::Callback(_)));
            let forever = matches!(step, Step::Wait(Next::Callback(CallbackWait::Forever)));
            let early = self.shared.with(|world| world.dice.random_ratio(1, 6));
            if !waits && !early {
                return;
            }
            let prepared = cx.prepare_callback();
            let token = prepared.url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
            let calls: Vec<u64> = self.shared.with(|world| {
                world.tokens.push(token.clone());
                let room = 10_usize.saturating_sub(world.calls.len());
                let number = [usize::from(forever), 1, 1, 2, 3][world.dice.random_range(0..5)].min(room);
                let latest = [0, 20, 2_000, 60_000, 400_000][world.dice.random_range(0..5)];
                (0..number).map(|_| world.dice.random_range(0..=latest)).collect()
            });
            (calls, token)
        };
        for delay in calls {
            outside::call_later(&self.shared, token.clone(), delay);
        }
    }
}

/// Another version of the plugin, which stays deployed when the scripted one is removed.
pub(crate) struct Other;

impl Plugin for Other {
    const META: Meta = Meta::version("2.0.0");
    type Inputs = Empty;
    type Context = Context;

    async fn execute(&self, _: Empty, _: &mut Self::Context) -> Result<Next> {
        Ok(Next::done())
    }
}
