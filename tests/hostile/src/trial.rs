//! A trial: innocent invocations run on a server while an offence is committed.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::Failure;
use crate::delay::{self, Delay, now, p99};
use crate::offence::Offence;
use crate::outcome::Outcome;
use crate::server::{Lives, Server};

/// How long the parts of a trial take.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Innocent invocations that poll.
    pub innocents: usize,
    /// Their interval in milliseconds. (A step takes 5 ms.)
    pub interval: u64,
    /// Innocent invocations that have one long step.
    pub long_innocents: usize,
    /// What it takes, in milliseconds.
    pub long: u64,
    /// Time before the offence.
    pub before: Duration,
    /// The least time that belongs to the offence.
    pub during: Duration,
    /// Time after the offenders have ended.
    pub after: Duration,
    /// How long offenders and innocents are waited for.
    pub patience: Duration,
    /// The time limit of requests.
    pub step_time_limit: Duration,
}

/// Lateness in each part of a trial: the 99th percentile.
pub type Late = [Option<Delay>; 3];

/// What a trial has shown.
#[derive(Debug)]
pub struct Findings {
    /// What became of each request or invocation of the offender.
    pub offenders: Vec<Outcome>,
    /// What became of each innocent invocation.
    pub innocents: Vec<Outcome>,
    /// Steps of the innocent: due until begun.
    pub steps: Late,
    /// `/healthz`: asked until answered, if need be by the next process.
    pub healthz: Late,
    /// What became of the process.
    pub lives: Lives,
    /// Whether the process ran a new invocation after it all.
    pub serves: bool,
    /// The end of the server's log.
    pub log: String,
}

/// A port of 127.0.0.1 that accepts connections and never answers, while the listener exists.
pub fn silent_port() -> Result<(TcpListener, u16), Failure> {
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let port = silent.local_addr()?.port();
    Ok((silent, port))
}

/// Holds a trial on a server of its own: `binary`, this crate's.
pub async fn hold(offence: &Offence, pace: &Pace, binary: PathBuf) -> Result<Findings, Failure> {
    let server = Server::start(binary, offence.stdout, pace.step_time_limit).await?;
    let health = Health::watch(&server);
    let begun = now();
    let mut innocents = invoke(&server, pace.innocents, pace.interval, 5, u32::MAX).await?;
    tokio::time::sleep(pace.before).await;
    innocents.extend(invoke(&server, pace.long_innocents, 0, pace.long, 2).await?);

    // A step that was due a moment before may be interrupted, and run again much later.
    let deed = now() - 1000;
    let (offenders, ()) = tokio::join!(
        commit(offence, pace, &server),
        // The part of the offence is never shorter than this.
        tokio::time::sleep(pace.during)
    );
    let offenders = ends(&server, offenders, pace.patience, offence.promise.has_an_end()).await;

    let over = now();
    tokio::time::sleep(pace.after).await;
    let end = now();
    let healthz = health.stop(end).await;
    let steps = delay::of_steps(&server.read("journal"), end);
    fs::write(server.file("stop"), "")?;
    let innocents =
        ends(&server, innocents.into_iter().map(Accused::Unfinished).collect(), pace.patience, true);
    let innocents = innocents.await;
    let late = |delays: &[Delay]| [p99(delays, begun..deed), p99(delays, deed..over), p99(delays, over..end)];
    Ok(Findings {
        offenders,
        innocents,
        steps: late(&steps),
        healthz: late(&healthz),
        lives: server.lives(),
        serves: echoes(&server).await,
        log: server.log(),
    })
}

/// Begins innocent invocations, and returns their names.
async fn invoke(
    server: &Server,
    times: usize,
    interval: u64,
    work: u64,
    steps: u32,
) -> Result<Vec<String>, Failure> {
    let inputs = json!({
        "journal": server.file("journal"), "stop": server.file("stop"),
        "interval": interval, "work": work, "steps": steps,
    });
    let mut trace_ids = Vec::new();
    for _ in 0..times {
        let answer = server.invoke("1.0.0-polls", inputs.clone()).await?;
        trace_ids.push(answer["trace_id"].as_str().ok_or_else(|| answer.to_string())?.to_owned());
    }
    Ok(trace_ids)
}

/// Whether a new invocation ends in SUCCESS. The process may be starting.
async fn echoes(server: &Server) -> bool {
    for _ in 0..20 {
        match server.invoke("1.0.0-echo", json!({"said": "hello"})).await {
            Ok(answer) => return answer["data"]["outputs"]["said"] == "hello",
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
    false
}

/// An invocation or request that is waited for.
enum Accused {
    /// The invocation's name.
    Unfinished(String),
    Known(Outcome),
}

/// Commits the offence.
async fn commit(offence: &Offence, pace: &Pace, server: &Server) -> Vec<Accused> {
    let requests = (0..offence.times).map(|_| async {
        let url = server.url(&offence.path);
        let request = match &offence.body {
            Some(body) => {
                server.client.post(url).header("Content-Type", "application/json").body(body.clone())
            }
            None => server.client.get(url),
        };
        let Ok(answer) = request.timeout(pace.patience).send().await else {
            return Accused::Known(Outcome::NoAnswer);
        };
        let status = answer.status().as_u16();
        let answer: Value = answer.json().await.unwrap_or_default();
        let (data, message) = (&answer["data"], answer["message"].as_str().unwrap_or_default());
        match (Outcome::of(data), answer["trace_id"].as_str()) {
            (Outcome::NoAnswer, _) => Accused::Known(Outcome::Answered(status, message.to_owned())),
            (outcome, Some(trace_id)) if !outcome.is_final() => Accused::Unfinished(trace_id.to_owned()),
            (outcome, _) => Accused::Known(outcome),
        }
    });
    join_all(requests).await
}

/// Waits for the ends of invocations; without `wait`, looks at them once.
async fn ends(server: &Server, accused: Vec<Accused>, patience: Duration, wait: bool) -> Vec<Outcome> {
    let until = Instant::now() + patience;
    let mut outcomes = Vec::new();
    for accused in accused {
        outcomes.push(match accused {
            Accused::Known(outcome) => outcome,
            Accused::Unfinished(trace_id) => loop {
                let outcome = server.schedule(&trace_id).await;
                if outcome.is_final() || !wait || Instant::now() > until {
                    break outcome;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            },
        });
    }
    outcomes
}

/// Asks `/healthz` ten times a second, and for each time notes when an answer came.
struct Health {
    stop: watch::Sender<bool>,
    asking: JoinHandle<Vec<Delay>>,
}

impl Health {
    fn watch(server: &Server) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (client, url) = (server.client.clone(), server.url("/healthz"));
        let asking = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            let mut asked = Vec::new();
            while !*stopped.borrow() {
                ticks.tick().await;
                asked.push(tokio::spawn(answer_to(client.clone(), url.clone(), stopped.clone())));
            }
            join_all(asked).await.into_iter().flatten().collect()
        });
        Self { stop, asking }
    }

    async fn stop(self, end: i64) -> Vec<Delay> {
        let _ = self.stop.send(true);
        let delays = self.asking.await.unwrap_or_default();
        delays.into_iter().filter(|delay| delay.is_due_before(end)).collect()
    }
}

/// Asks until there is an answer.
async fn answer_to(client: reqwest::Client, url: String, mut stopped: watch::Receiver<bool>) -> Delay {
    let due = now();
    let answered = async {
        while client.get(&url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = answered => Delay::of(due, now()),
        _ = stopped.wait_for(|stopped| *stopped) => Delay::open(due, now()),
    }
}
