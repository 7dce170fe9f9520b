//! The real server binary with plugins that keep a journal, in a process that a test can kill.
#![allow(dead_code, reason = "each test program needs other parts")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The server's binary.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_crash-plugins");

/// A server with its own folder and port, which a test can kill and start again.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) port: u16,
    variables: Vec<(String, String)>,
    pub(crate) child: Option<Child>,
    pub(crate) client: reqwest::Client,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(variables: &[(&str, &str)]) -> Self {
        let mut server = Self::stopped(variables);
        server.start_again().await;
        server
    }

    /// A server that is not started yet.
    pub(crate) fn stopped(variables: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let variables =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self { folder, port, variables, child: None, client }
    }

    pub(crate) async fn start_again(&mut self) {
        self.spawn();
        self.wait_until_ready().await;
    }

    pub(crate) fn spawn(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.path("log")).unwrap();
        let mut command = self.command(PROGRAM);
        let child = command.stdout(Stdio::from(log.try_clone().unwrap())).stderr(Stdio::from(log)).spawn();
        self.child = Some(child.unwrap());
    }

    /// A command in the server's folder, with its variables.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PORT", self.port.to_string())
            .env("BK_PLUGIN_CONCURRENCY", "64")
            .envs(self.variables.iter().cloned());
        command
    }

    /// Sets a variable for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) async fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.is_ready().await {
            assert!(Instant::now() < deadline, "not ready: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.client.get(self.url("/readyz")).send().await.is_ok_and(|answer| answer.status().is_success())
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }

    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        child.wait().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) async fn post(&self, url: &str, body: &Value) -> reqwest::Result<(u16, Value)> {
        let answer = self.client.post(url).json(body).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    pub(crate) async fn invoke(&self, version: &str, inputs: Value) -> Value {
        let body = json!({"inputs": inputs, "context": {}});
        let (status, answer) =
            self.post(&self.url(&format!("/bk_plugin/invoke/{version}")), &body).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Calls `schedule` until the invocation is finished, and returns the data.
    pub(crate) async fn finished(&self, trace_id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let url = self.url(&format!("/bk_plugin/schedule/{trace_id}"));
            let answer: Value = self.client.get(url).send().await.unwrap().json().await.unwrap();
            let data = &answer["data"];
            if data["state"] == 4 || data["state"] == 5 {
                return data.clone();
            }
            assert!(Instant::now() < deadline, "still {answer}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

pub(crate) fn trace_id(answer: &Value) -> String {
    answer["trace_id"].as_str().unwrap().to_owned()
}

/// The steps of each invocation, in the order in which they began.
pub(crate) fn journal(path: &str) -> BTreeMap<String, Vec<u32>> {
    let mut steps: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    for line in fs::read_to_string(Path::new(path)).unwrap().lines() {
        let (trace_id, step) = line.split_once(' ').unwrap();
        steps.entry(trace_id.to_owned()).or_default().push(step.parse().unwrap());
    }
    steps
}
