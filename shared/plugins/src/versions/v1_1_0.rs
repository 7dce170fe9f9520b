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

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// 已经数过的数
    counted: Vec<u32>,
}

pub struct CountDown;

impl Plugin for CountDown {
    const META: Meta =
        Meta::version("1.1.0").desc("倒数：演示轮询").form(include_str!("../../../../forms/1.1.0/form.js"));
    type Inputs = Inputs;
    type Context = Context<Outputs>;

    async fn execute(&self, inputs: Inputs, cx: &mut Self::Context) -> Result<Next> {
        let counted = &mut cx.outputs.edit().counted;
        let left = counted.last().map_or(inputs.times, |last| last - 1);
        counted.push(left);
        if left == 0 { Ok(Next::done()) } else { Ok(Next::poll(secs(inputs.interval))) }
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_testing::{Harness, State};
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
