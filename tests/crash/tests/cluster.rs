//! Three server processes on one MariaDB; the database is restarted and processes are killed while invocations
//! are in flight.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod server;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use local_mysql::MariaDb;
use serde_json::{Value, json};
use server::{Server, journal};
use tokio::task::JoinHandle;

const POLLING: usize = 2000;
const TIMES: u32 = 5;
const CALLED: usize = 500;
/// The bodies of the callbacks for each invocation of the second kind; the last one ends it.
const CALLS: [&str; 3] = ["one", "two", "end"];
const CALLERS: usize = 16;

/// Callers of all servers. They try the next server when one does not answer with 200.
#[derive(Clone)]
struct Callers {
    client: reqwest::Client,
    ports: Arc<[u16]>,
}

impl Callers {
    /// Asks one server after the other until one answers with 200. A callback whose answer was lost may have
    /// ended its invocation; the repeated call is then answered with 400, which counts as success.
    async fn ask(&self, first: usize, path: &str, body: Option<&Value>) -> Value {
        let deadline = Instant::now() + Duration::from_mins(2);
        for (tried, port) in self.ports.iter().cycle().skip(first % self.ports.len()).enumerate() {
            let url = format!("http://127.0.0.1:{port}{path}");
            let request = match body {
                Some(body) => self.client.post(&url).json(body),
                None => self.client.get(&url),
            };
            match request.send().await {
                Ok(answer) if answer.status() == 200 || (tried > 0 && answer.status() == 400) => {
                    if let Ok(answer) = answer.json().await {
                        return answer;
                    }
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            assert!(Instant::now() < deadline, "nobody answers {path}");
        }
        unreachable!("the servers are gone through without end")
    }

    /// Runs a task for each number, a few at a time.
    fn each<T, F>(
        &self,
        count: usize,
        work: impl Fn(Self, usize) -> F + Clone + Send + 'static,
    ) -> JoinHandle<Vec<T>>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (this, work) = (self.clone(), work.clone());
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for number in (caller..count).step_by(CALLERS) {
                        done.push(work(this.clone(), number).await);
                    }
                    done
                })
            })
            .collect();
        tokio::spawn(async move { join_all(callers).await.into_iter().flat_map(Result::unwrap).collect() })
    }

    async fn invoke(self, number: usize, version: &str, inputs: Value) -> Value {
        let body = json!({"inputs": inputs, "context": {}});
        self.ask(number, &format!("/bk_plugin/invoke/{version}"), Some(&body)).await
    }

    /// Waits until the invocation is finished, and returns the data of `schedule`.
    async fn finished(self, trace_id: String) -> Value {
        let deadline = Instant::now() + Duration::from_mins(3);
        loop {
            let answer = self.ask(0, &format!("/bk_plugin/schedule/{trace_id}"), None).await;
            if answer["data"]["state"] == 4 || answer["data"]["state"] == 5 {
                return answer["data"].clone();
            }
            assert!(Instant::now() < deadline, "still {answer}");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_survive_restarts_of_their_database_and_kills() {
    let mut database = MariaDb::start().await;
    let url = database.url();
    let variables = [
        ("BK_PLUGIN_STORE_URL", url.as_str()),
        ("BKPAAS_APP_SECRET", "a secret that all of them know"),
        // A killed process' leases expire after this time and 35 s.
        ("BK_PLUGIN_STEP_TIME_LIMIT", "1"),
        ("BK_PLUGIN_LOG", "warn"),
    ];
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Server::start_with(&variables).await);
    }
    let callers = Callers {
        client: servers[0].client.clone(),
        ports: servers.iter().map(|server| server.port).collect(),
    };
    let began = Instant::now();
    let journal_file = servers[0].path("journal");

    let inputs = json!({"journal": journal_file, "times": TIMES, "interval": 2000, "work": 10});
    let polling = callers.each(POLLING, move |callers, number| {
        let inputs = inputs.clone();
        async move { text(&callers.invoke(number, "1.0.0", inputs).await["trace_id"]) }
    });
    let polling = polling.await.unwrap();
    let called = callers.each(CALLED, |callers, number| async move {
        let invoked = callers.clone().invoke(number, "2.0.0", json!({})).await;
        let url = text(&invoked["data"]["outputs"]["callback_url"]);
        // Any server accepts the callback, because all servers make and open tokens with the same secret.
        let path = url.splitn(4, '/').nth(3).unwrap();
        for (which, call) in CALLS.iter().enumerate() {
            callers.ask(number + which, &format!("/{path}"), Some(&json!(call))).await;
        }
        text(&invoked["trace_id"])
    });

    let pause = Duration::from_secs(2);
    tokio::time::sleep(pause).await;
    database.stop();
    tokio::time::sleep(pause).await;
    database.start_again().await;
    tokio::time::sleep(pause).await;
    servers[0].kill();
    tokio::time::sleep(pause).await;
    servers[0].start_again().await;
    servers[1].kill();
    tokio::time::sleep(pause).await;
    database.kill();
    database.start_again().await;
    servers[1].start_again().await;

    let called = called.await.unwrap();
    let trace_ids = polling.clone();
    let ended = callers.each(POLLING, move |callers, number| callers.finished(trace_ids[number].clone()));
    for data in ended.await.unwrap() {
        assert_eq!(data["state"], 4, "{data}");
    }
    let ended = callers.each(CALLED, move |callers, number| callers.finished(called[number].clone()));
    for data in ended.await.unwrap() {
        assert_eq!(data["state"], 4, "{data}");
        // A callback whose answer was lost was sent again, and may have been accepted twice.
        let mut came = Vec::new();
        for callback in data["outputs"]["callbacks"].as_array().unwrap() {
            if !came.contains(callback) {
                came.push(callback.clone());
            }
        }
        assert_eq!(came, CALLS, "{data}");
    }
    let steps = journal(&journal_file);
    let mut again = 0;
    for trace_id in &polling {
        let steps = &steps[trace_id];
        // A step may run again only if it was not committed, so before the next step began.
        assert!(steps.is_sorted(), "{trace_id} ran a committed step again: {steps:?}");
        let distinct: BTreeSet<u32> = steps.iter().copied().collect();
        assert_eq!(distinct, (1..=TIMES + 1).collect(), "{trace_id}");
        again += steps.len() - distinct.len();
    }
    println!(
        "{POLLING} polling and {CALLED} called invocations on three servers, the database restarted twice, two \
         servers killed: all ended well in {:.0} s; {again} uncommitted steps were run again",
        began.elapsed().as_secs_f64()
    );
}
