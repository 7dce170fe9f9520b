//! The scenarios for the deployed plugin.

use std::path::PathBuf;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use bk_plugin_aws::Clients;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};

use crate::deployment::Deployment;
use crate::plugin::Plugin;
use crate::receiver::Receiver;

/// A scenario and its result.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
}

type Outcome = Result<(), String>;

/// Invocations that are in flight during the second deployment.
pub(crate) struct InFlight {
    polling: String,
    waiting: String,
}

/// The deployed plugin, with its caller and the receiver of its finish callbacks.
pub(crate) struct World<'a> {
    deployment: &'a Deployment,
    plugin: Plugin,
    receiver: Receiver,
    queue: aws_sdk_sqs::Client,
    /// The URLs of the queue of wake-ups and of its dead-letter queue.
    queue_urls: [String; 2],
    folder: PathBuf,
}

impl<'a> World<'a> {
    pub(crate) async fn new(deployment: &'a Deployment) -> Self {
        let clients =
            Clients::new(&|name| std::env::var(name).ok()).expect("infra/aws-emulator.sh sets them");
        let folder = std::env::temp_dir().join(format!("bk-plugin-e2e-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self {
            plugin: Plugin::new(deployment.base_url()),
            receiver: Receiver::start().await,
            queue: clients.sqs(),
            queue_urls: deployment.queue_urls().await,
            deployment,
            folder,
        }
    }

    /// Begins the invocations that are in flight during the second deployment.
    pub(crate) async fn begin(&self) -> InFlight {
        let polling = self.plugin.invoke("1.2.0", json!({ "times": 15, "interval": 2 }), executor()).await;
        let waiting = self.plugin.invoke("1.6.0", json!({ "path": "callback,end" }), executor()).await;
        InFlight { polling: polling.unwrap(), waiting: waiting.unwrap() }
    }

    /// Runs all scenarios, most of them at the same time, because they mostly wait.
    pub(crate) async fn scenarios(&self, in_flight: InFlight) -> Vec<Scenario> {
        let together: Vec<(&'static str, BoxFuture<'_, Outcome>)> = vec![
            ("meta, detail and the documents", Box::pin(self.documents())),
            ("a deployment with invocations in flight", Box::pin(self.redeployed(in_flight))),
            ("polling to the end", Box::pin(self.polling())),
            ("callbacks: early, twice, after the end", Box::pin(self.callbacks())),
            ("a finish callback", Box::pin(self.finish_callback())),
            ("a step that kills the function is run again", Box::pin(self.dying_once())),
            (
                "a step that always kills it ends in FAIL, by the dead-letter queue",
                Box::pin(self.dying_always()),
            ),
            (
                "a message that cannot be read ends no invocation that something else wakes",
                Box::pin(self.unreadable()),
            ),
            ("messages that cannot be read do not hold up the batch", Box::pin(self.partial_batch())),
            ("a wait longer than the longest delay, in hops", Box::pin(self.hops())),
        ];
        let mut told = join_all(
            together
                .into_iter()
                .map(|(name, scenario)| async move { Scenario { name, outcome: scenario.await } }),
        )
        .await;
        told.push(Scenario { name: "nothing is left in the queues", outcome: self.nothing_is_left().await });
        told
    }

    async fn documents(&self) -> Outcome {
        let (status, meta) = self.plugin.get("bk_plugin/meta").await?;
        let versions = meta["data"]["versions"].as_array().map_or(0, Vec::len);
        expect(status == 200 && versions > 10 && meta["data"]["language"] == "rust", &meta)?;
        let (status, detail) = self.plugin.get("bk_plugin/detail/1.0.0/").await?;
        expect(status == 200 && detail["data"]["forms"]["renderform"].is_string(), &detail)?;
        let (status, schema) = self.plugin.get("schema/").await?;
        expect(status == 200 && schema["paths"].is_object(), &schema)?;
        let (status, page) = self.plugin.get("swagger/").await?;
        expect(status == 200 && page.as_str().is_some_and(|page| page.contains("<html")), &page)?;
        let (status, unknown) = self.plugin.get("nothing/here").await?;
        expect(status == 404 && unknown["result"] == false, &unknown)
    }

    async fn redeployed(&self, in_flight: InFlight) -> Outcome {
        let data = self.plugin.until(&in_flight.polling, 4, |_| true).await?;
        let ticks = data["outputs"]["ticks"].as_array().map_or(0, Vec::len);
        expect(ticks == 16, &data)?;
        let answer = self.plugin.call_back(&in_flight.waiting, &json!(1)).await?;
        expect(answer.0 == 200, &answer.1)?;
        self.plugin.until(&in_flight.waiting, 4, |_| true).await?;
        let (_, meta) = self.plugin.get("bk_plugin/meta").await?;
        expect(meta["data"]["versions"][0] == "10.0.0", &meta)
    }

    async fn polling(&self) -> Outcome {
        let trace_id = self.plugin.invoke("1.2.0", json!({ "times": 3, "interval": 1 }), executor()).await?;
        let data = self.plugin.until(&trace_id, 4, |_| true).await?;
        expect(data["outputs"]["ticks"].as_array().map_or(0, Vec::len) == 4 && data["finish_at"] != "", &data)
    }

    async fn callbacks(&self) -> Outcome {
        let inputs = json!({ "path": "poll,callback,callback,end" });
        let trace_id = self.plugin.invoke("1.6.0", inputs, executor()).await?;
        for body in [json!({ "early": true }), json!("twice")] {
            let (status, answer) = self.plugin.call_back(&trace_id, &body).await?;
            expect(status == 200 && answer["result"] == true, &answer)?;
        }
        let data = self.plugin.until(&trace_id, 4, |_| true).await?;
        expect(data["outputs"]["trail"].as_array().map_or(0, Vec::len) == 4, &data)?;
        let (status, late) = self.plugin.call_back(&trace_id, &json!("late")).await?;
        expect(status == 400 && late["result"] == false, &late)?;
        let forged = self.plugin.call_back(&"0".repeat(32), &json!(1)).await?;
        // The first step of this invocation could still be on its way, so the callback is kept.
        expect(forged.0 == 200, &forged.1)
    }

    async fn finish_callback(&self) -> Outcome {
        let context = self.receiver.context("/finished");
        let trace_id = self.plugin.invoke("1.6.0", json!({ "path": "poll,end" }), context).await?;
        self.plugin.until(&trace_id, 4, |_| true).await?;
        self.told("/finished").await
    }

    async fn told(&self, path: &str) -> Outcome {
        // The message may share a batch with one that kills the function, and then waits for the visibility
        // time-out.
        for _ in 0..360 {
            if self.receiver.count(path) > 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Err(format!("the caller was never told at {path}"))
    }

    async fn dying_once(&self) -> Outcome {
        let trace_id = self.dying("once", 1, executor()).await?;
        self.plugin.until(&trace_id, 4, |_| true).await?;
        let deaths = std::fs::read_to_string(self.folder.join("once")).unwrap_or_default();
        expect(deaths == "x", &json!(deaths))
    }

    async fn dying_always(&self) -> Outcome {
        let trace_id = self.dying("always", usize::MAX, self.receiver.context("/died")).await?;
        let data = self.plugin.until(&trace_id, 5, |_| true).await?;
        expect(data["err"].as_str().is_some_and(|err| err.contains("never came to its end")), &data)?;
        self.told("/died").await
    }

    async fn dying(&self, counter: &str, times: usize, context: Value) -> Result<String, String> {
        let inputs = json!({ "counter": self.folder.join(counter), "times": times });
        self.plugin.invoke("10.0.0", inputs, context).await
    }

    async fn unreadable(&self) -> Outcome {
        let inputs = json!({ "times": 1, "interval": 10 });
        let trace_id = self.plugin.invoke("1.2.0", inputs, executor()).await?;
        // It was left for an hour at the step that the invocation waits for.
        let unread = json!({ "after_step": 1, "times": 64 });
        let body = json!({ "format": 99, "kind": "wake_up", "trace_id": trace_id, "unread": unread });
        self.send(&body.to_string()).await?;
        self.plugin.until(&trace_id, 4, |_| true).await.map(drop)
    }

    async fn partial_batch(&self) -> Outcome {
        for _ in 0..3 {
            self.send("garbage").await?;
        }
        let trace_id = self.plugin.invoke("1.2.0", json!({ "times": 2, "interval": 1 }), executor()).await?;
        self.plugin.until(&trace_id, 4, |_| true).await.map(drop)
    }

    async fn send(&self, body: &str) -> Outcome {
        let request = self.queue.send_message().queue_url(&self.queue_urls[0]).message_body(body);
        request.send().await.map(drop).map_err(|error| format!("{error:?}"))
    }

    async fn hops(&self) -> Outcome {
        let trace_id = self.plugin.invoke("1.2.0", json!({ "times": 1, "interval": 20 }), executor()).await?;
        self.plugin.until(&trace_id, 4, |_| true).await?;
        let hops = self.deployment.logged("not due yet, sent on", &trace_id).await;
        expect(hops >= 4, &json!({ "hops": hops }))
    }

    /// A message for a record that never comes is dropped after a limit: the length of a lease and a little
    /// over a minute.
    async fn nothing_is_left(&self) -> Outcome {
        for _ in 0..90 {
            if self.left().await?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        Err(self.left().await?.join(", "))
    }

    /// The contents of the queues, including messages that are delayed or in flight.
    async fn left(&self) -> Result<Vec<String>, String> {
        let mut left = Vec::new();
        for url in &self.queue_urls {
            let request =
                self.queue.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All);
            let answer = request.send().await.map_err(|error| format!("{error:?}"))?;
            for (name, value) in answer.attributes.into_iter().flatten() {
                if name.as_str().starts_with("ApproximateNumberOfMessages") && value != "0" {
                    left.push(format!("{url}: {} {value}", name.as_str()));
                }
            }
        }
        Ok(left)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn executor() -> Value {
    json!({ "executor": "admin" })
}

fn expect(holds: bool, seen: &Value) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not as it should be: {seen}")) }
}
