//! Callbacks: a job reports its progress and then its end at one URL; at another it can be cancelled.

use std::time::Duration;

use bk_plugin_kit::prelude::*;

const ONE_DAY: Duration = Duration::from_hours(24);

#[derive(Default, Serialize, Deserialize, JsonSchema)]
pub struct Outputs {
    /// 第一次 POST 报告进度，第二次 POST 报告结束
    job_url: String,
    /// POST 后本次调用失败
    cancel_url: String,
    /// 已经收到的报告
    reports: Vec<Value>,
}

pub struct TwoCallbacks;

impl Plugin for TwoCallbacks {
    const META: Meta = Meta::version("1.2.0").desc("两次回调：演示等待回调");
    type Inputs = Empty;
    type Context = Context<Outputs>;

    async fn execute(&self, _: Empty, cx: &mut Self::Context) -> Result<Next> {
        let Event::Called(call) = cx.event() else {
            let (job_url, cancel_url) = (cx.callback_url("job"), cx.callback_url("cancel"));
            cx.outputs.set(Outputs { job_url, cancel_url, reports: vec![] });
            return Ok(Next::callback_or_fail(ONE_DAY));
        };
        if call.is("cancel") {
            fail!("cancelled: {}", call.data());
        }
        let reports = &mut cx.outputs.edit().reports;
        reports.push(call.data().clone());
        match reports.len() {
            1 => Ok(Next::callback_or_fail(ONE_DAY)),
            _ => Ok(Next::done()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bk_plugin_testing::{Harness, Run, State};
    use serde_json::json;

    use super::*;

    async fn invoke() -> Run {
        Harness::new(TwoCallbacks).unwrap().invoke(Empty {}, Empty {}).await
    }

    fn url(run: &Run, which: &str) -> String {
        run.outputs()[which].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_second_report_is_the_end() {
        let mut run = invoke().await;
        assert_eq!(run.state(), State::Callback);
        let job = url(&run, "job_url");
        run.call(&job, json!({"percent": 50})).await.unwrap();
        assert_eq!(run.state(), State::Callback);
        run.call(&job, json!("done")).await.unwrap();
        assert_eq!(run.state(), State::Success);
        assert_eq!(run.outputs()["reports"], json!([{"percent": 50}, "done"]));
        assert!(run.call(&job, json!("again")).await.is_err(), "it is finished");
    }

    #[tokio::test]
    async fn the_other_url_cancels() {
        let mut run = invoke().await;
        let (job, cancel) = (url(&run, "job_url"), url(&run, "cancel_url"));
        run.call(&job, json!({"percent": 50})).await.unwrap();
        run.call(&cancel, json!("by admin")).await.unwrap();
        assert_eq!(run.state(), State::Fail);
        assert!(run.err().ends_with(r#"cancelled: "by admin""#), "{}", run.err());
        assert_eq!(run.outputs()["reports"], json!([{"percent": 50}]));
    }

    #[tokio::test]
    async fn a_job_that_is_never_heard_of_fails_after_a_day() {
        let mut run = invoke().await;
        run.advance(ONE_DAY).await;
        assert_eq!(run.state(), State::Fail);
    }
}
