//! Runs a task of 标准运维 (bk-sops): creates it from a template, starts it, and polls until it has ended.
//!
//! No step needs to remember whether it was run before. The first step creates the task, and the engine never runs a first step
//! again; if its answer is lost, a task stays behind that no step starts. Each later step asks for the task's state first,
//! and starts only a task that is not started yet.

mod sops_client;
#[cfg(test)]
mod tests;

use bk_plugin_kit::prelude::*;

use self::sops_client::{Sops, SopsClient, TaskState};

pub use self::sops_client::SopsError;

#[derive(Deserialize, JsonSchema)]
pub struct Inputs {
    template_id: i64,
    task_name: String,
    /// 任务全局变量
    #[serde(default)]
    constants: JsonObject,
}

#[derive(Default, Serialize, Deserialize)]
pub enum Storage {
    #[default]
    New,
    Created {
        task_id: i64,
        /// How often in a row bk-sops did not answer.
        misses: u32,
    },
}

#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    #[schemars(title = "标准运维任务 ID")]
    task_id: i64,
    #[schemars(title = "标准运维任务 URL")]
    task_url: String,
}

pub struct SopsExec {
    sops: SopsClient,
}

impl SopsExec {
    /// Takes what it needs from the environment.
    pub fn from_env() -> Result<Self, SopsError> {
        Ok(Self { sops: SopsClient::from_env(|name| std::env::var(name).ok())? })
    }
}

impl Plugin for SopsExec {
    const META: Meta = Meta::version("2.0.0")
        .desc("执行标准运维任务")
        .form(include_str!("../../../../forms/2.0.0/form.js"))
        .enable_plugin_callback();
    type Inputs = Inputs;
    type Context = Context<Outputs, Storage, SopsContext>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let sops = self.sops.on_behalf_of(&cx.data);
        let Storage::Created { task_id, misses } = &mut cx.storage else {
            let (template_id, name) = (inputs.template_id, &inputs.task_name);
            let task = sops.create_task(template_id, name, &inputs.constants).await.or_fail()?;
            cx.storage = Storage::Created { task_id: task.task_id, misses: 0 };
            cx.outputs.set(Outputs { task_id: task.task_id, task_url: task.task_url });
            return Ok(Next::poll(secs(0)));
        };
        let state = match start_and_ask(&sops, *task_id).await {
            Err(error) if error.may_pass() && *misses < 5 => {
                *misses += 1;
                return Ok(Next::poll(secs(5)));
            }
            answered => answered.or_fail()?,
        };
        *misses = 0;
        match state {
            TaskState::Finished => Ok(Next::done()),
            TaskState::Failed | TaskState::Revoked => fail!("task {task_id} ended in {state}"),
            TaskState::Created | TaskState::Running | TaskState::Suspended => Ok(Next::poll(secs(5))),
        }
    }
}

/// Says where a task stands, and starts it if it is not started yet.
async fn start_and_ask(sops: &Sops<'_>, task_id: i64) -> Result<TaskState, SopsError> {
    let state = sops.task_state(task_id).await?;
    if state == TaskState::Created {
        sops.start_task(task_id).await?;
    }
    Ok(state)
}
