//! Polling: counts down, one number each time it is run again.

use bk_plugin_kit::prelude::*;

#[derive(Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inputs {
    /// 从几开始倒数
    times: u32,
    /// 每隔几秒数一次
    interval: u64,
}

impl Default for Inputs {
    fn default() -> Self {
        Self { times: 3, interval: 1 }
    }
}

#[derive(Default, Serialize, Deserialize)]
pub struct Storage {
    left: u32,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// 已经数过的数
    counted: Vec<u32>,
}

pub struct CountDown;

impl Plugin for CountDown {
    const META: Meta = Meta::version("1.1.0").desc("倒数：演示轮询");
    type Inputs = Inputs;
    type ContextInputs = Empty;
    type Storage = Storage;
    type Outputs = Outputs;

    async fn execute(&self, inputs: Inputs, cx: &mut Context<Self>) -> Result<Next> {
        cx.storage.left = match cx.event() {
            Event::Invoked => inputs.times,
            _ => cx.storage.left - 1,
        };
        cx.outputs.get_or_insert_default().counted.push(cx.storage.left);
        if cx.storage.left == 0 {
            return Ok(Next::done());
        }
        Ok(Next::poll(secs(inputs.interval)))
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_testing::Harness;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn counts_down_by_itself() {
        let mut run = Harness::new(CountDown).unwrap().invoke(Empty {}, Empty {}).await;
        assert_eq!((run.state(), run.outputs()), (State::Poll, &json!({"counted": [3]})));
        run.advance(secs(1)).await;
        assert_eq!((run.state(), run.outputs()), (State::Poll, &json!({"counted": [3, 2]})));
        run.advance(secs(2)).await;
        assert_eq!((run.state(), run.outputs()), (State::Success, &json!({"counted": [3, 2, 1, 0]})));
    }

    #[tokio::test]
    async fn waits_as_long_as_it_is_told() {
        let inputs = json!({"times": 1, "interval": 3600});
        let mut run = Harness::new(CountDown).unwrap().invoke(inputs, Empty {}).await;
        run.advance(secs(3599)).await;
        assert_eq!(run.state(), State::Poll);
        run.advance(secs(1)).await;
        assert_eq!(run.state(), State::Success);
    }

    #[tokio::test]
    async fn nothing_to_count_is_done_at_once() {
        let run = Harness::new(CountDown).unwrap().invoke(json!({"times": 0}), Empty {}).await;
        assert_eq!((run.state(), run.outputs()), (State::Success, &json!({"counted": [0]})));
    }
}
