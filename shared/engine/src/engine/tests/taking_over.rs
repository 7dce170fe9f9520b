//! Invocations that another framework began.

use super::*;

impl Bench {
    /// An invocation of these steps whose first one was run elsewhere.
    fn elsewhere(&self, steps: &[&str], state: State) -> Record {
        Record {
            plugin_version: "1.0.0".to_owned(),
            state,
            invoke_count: 1,
            inputs: json!({"steps": steps}).as_object().cloned().unwrap(),
            context: json!({URL_INFO: {"url": "http://caller.test/", "data": {}}})
                .as_object()
                .cloned()
                .unwrap(),
            caller: caller(),
            storage: json!(1),
            outputs: json!({"trail": ["elsewhere"]}),
            ..Record::stub(self.trace_id.clone(), self.clock.now())
        }
    }
}

#[tokio::test]
async fn one_that_polls_goes_on_at_once() {
    let bench = Bench::new();
    let record = bench.elsewhere(&["poll", "done"], State::Poll);
    assert_eq!(bench.call_engine().take_over(record).await.unwrap(), TakeOver::Done);
    bench.work().await;
    let ended = bench.record().await;
    assert_eq!((ended.state, ended.invoke_count), (State::Success, 2));
    assert_eq!(ended.outputs, json!({"trail": ["elsewhere", "Polled"]}));
    assert_eq!(bench.receiver.received.load(Ordering::Relaxed), 1, "its caller is told of the end");
}

#[tokio::test]
async fn one_that_waits_gets_the_callback_that_came_before_it() {
    let bench = Bench::new();
    bench.call(json!("early")).await.unwrap();
    let record = bench.elsewhere(&["callback", "done"], State::Callback);
    assert_eq!(bench.call_engine().take_over(record).await.unwrap(), TakeOver::Done);
    bench.work().await;
    assert_eq!(bench.record().await.outputs, json!({"trail": ["elsewhere", "early"]}));
}

#[tokio::test]
async fn one_that_is_here_is_left_as_it_is() {
    let bench = Bench::new();
    let record = bench.elsewhere(&["poll", "poll", "done"], State::Poll);
    bench.call_engine().take_over(record.clone()).await.unwrap();
    bench.work().await;
    assert_eq!(bench.record().await.invoke_count, 2);
    assert_eq!(bench.call_engine().take_over(record).await.unwrap(), TakeOver::AlreadyHere);
    bench.work().await;
    assert_eq!(bench.record().await.invoke_count, 2, "its wake-up is for a step that was committed");
}

#[tokio::test]
async fn one_of_a_version_that_is_not_here_is_left_alone() {
    let bench = Bench::new();
    let record =
        Record { plugin_version: "7.0.0".to_owned(), ..bench.elsewhere(&["poll", "done"], State::Poll) };
    assert_eq!(bench.call_engine().take_over(record).await.unwrap(), TakeOver::UnknownVersion);
    assert!(bench.store.read(&bench.trace_id).await.unwrap().is_none());
}
