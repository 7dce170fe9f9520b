//! A server process of this crate's own binary, and an orchestrator that starts it again when it ends and kills it when
//! `/healthz` stays silent.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::AbortHandle;

use crate::Failure;
use crate::offence::Stdout;
use crate::outcome::Outcome;

/// Memory that a process may have in KiB: 512 MiB, as in a container.
const MEMORY_LIMIT: u32 = 512 * 1024;

/// The orchestrator's probe of `/healthz`: how often, how long it waits for an answer, and after how many in a row
/// that were not answered with 200 it kills the process.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const PROBE_FAILURES: u32 = 5;

/// What the orchestrator has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lives {
    /// How often the process ended and was started again.
    pub restarts: u32,
    /// How often it had ended because the orchestrator killed it.
    pub killed: u32,
    /// The most memory a process had, in KiB.
    pub memory: u64,
}

/// A server under an orchestrator. It ends when it is dropped.
pub struct Server {
    process: Arc<Process>,
    /// Asks the server.
    pub client: reqwest::Client,
    watchers: Vec<AbortHandle>,
}

struct Process {
    place: Place,
    state: Mutex<(Child, Lives)>,
}

/// Everything that is the same for each start.
struct Place {
    folder: TempDir,
    binary: PathBuf,
    port: u16,
    stdout: Stdout,
    step_time_limit: Duration,
}

impl Server {
    /// Starts `binary` on a SQLite file in a folder of its own, and waits until it answers. The time limit is that of
    /// requests, and of the innocent's steps.
    pub async fn start(binary: PathBuf, stdout: Stdout, step_time_limit: Duration) -> Result<Self, Failure> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let place = Place { folder: tempfile::tempdir()?, binary, port, stdout, step_time_limit };
        let state = Mutex::new((place.spawn()?, Lives::default()));
        let process = Arc::new(Process { place, state });
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        let watchers = vec![
            tokio::spawn(start_again(Arc::clone(&process))).abort_handle(),
            tokio::spawn(probe(Arc::clone(&process), client.clone())).abort_handle(),
        ];
        let server = Self { process, client, watchers };
        server.wait_until_ready().await?;
        Ok(server)
    }

    async fn wait_until_ready(&self) -> Result<(), Failure> {
        for _ in 0..1000 {
            let answer = self.client.get(self.url("/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(format!("the server is not ready: {}", self.log()).into())
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.process.place.port)
    }

    /// A file in the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.process.place.folder.path().join(name)
    }

    /// The text of a file there; empty if there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        let log = self.read("log");
        log[log.ceil_char_boundary(log.len().saturating_sub(10_000))..].to_owned()
    }

    /// What the orchestrator has seen so far.
    pub fn lives(&self) -> Lives {
        self.process.lock().1
    }

    /// Invokes a version, and returns the answer.
    pub async fn invoke(&self, version: &str, inputs: Value) -> Result<Value, Failure> {
        let url = self.url(&format!("/bk_plugin/invoke/{version}"));
        let body = json!({"inputs": inputs, "context": {}});
        Ok(self.client.post(url).json(&body).send().await?.json().await?)
    }

    /// What `schedule` says of an invocation now.
    pub async fn schedule(&self, trace_id: &str) -> Outcome {
        let url = self.url(&format!("/bk_plugin/schedule/{trace_id}"));
        let asked = async {
            let request = self.client.get(url).timeout(Duration::from_millis(500));
            request.send().await?.json::<Value>().await
        };
        asked.await.map_or(Outcome::NoAnswer, |answer| Outcome::of(&answer["data"]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.watchers.iter().for_each(AbortHandle::abort);
        let _ = self.process.lock().0.start_kill();
    }
}

impl Process {
    fn lock(&self) -> std::sync::MutexGuard<'_, (Child, Lives)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most memory of the process that runs now, in KiB.
    fn memory(&self) -> Option<u64> {
        let id = self.lock().0.id()?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        most.trim().trim_end_matches(" kB").parse().ok()
    }
}

impl Place {
    fn spawn(&self) -> Result<Child, Failure> {
        let log = OpenOptions::new().append(true).create(true).open(self.folder.path().join("log"))?;
        let stdout = match self.stdout {
            Stdout::File => Stdio::from(log.try_clone()?),
            Stdout::Unread => Stdio::piped(),
        };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -d {MEMORY_LIMIT}; exec \"$0\"")]).arg(&self.binary);
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::from(log));
        command.env("PORT", self.port.to_string()).env("BK_PLUGIN_CONCURRENCY", "16");
        command.env("BK_PLUGIN_FINISH_CALLBACK_HOSTS", "127.0.0.1");
        command.env("BK_PLUGIN_STEP_TIME_LIMIT", self.step_time_limit.as_secs().to_string());
        // A backtrace of a debug build takes a second and 150 MB.
        command.env_remove("RUST_BACKTRACE");
        Ok(command.kill_on_drop(true).spawn()?)
    }
}

/// Starts the process again whenever it has ended.
async fn start_again(process: Arc<Process>) {
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let memory = process.memory().unwrap_or_default();
        let mut state = process.lock();
        state.1.memory = state.1.memory.max(memory);
        let has_ended = state.0.try_wait().is_ok_and(|status| status.is_some());
        if has_ended && let Ok(child) = process.place.spawn() {
            state.0 = child;
            state.1.restarts += 1;
        }
    }
}

/// Kills the process when it does not say for a while that it is well.
async fn probe(process: Arc<Process>, client: reqwest::Client) {
    let url = format!("http://127.0.0.1:{}/healthz", process.place.port);
    let mut failures = 0;
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let answer = client.get(&url).timeout(PROBE_TIMEOUT).send().await;
        let is_well = answer.is_ok_and(|answer| answer.status().is_success());
        failures = if is_well { 0 } else { failures + 1 };
        if failures == PROBE_FAILURES {
            failures = 0;
            let mut state = process.lock();
            state.1.killed += 1;
            let _ = state.0.start_kill();
        }
    }
}
