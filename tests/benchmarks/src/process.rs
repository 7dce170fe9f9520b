//! A server under test, in its own process and folder.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::Failure;
use crate::load::{Connection, get};

/// A running server; killed when dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Time from the start of the process to its first answer.
    pub(crate) start_up: Duration,
    child: Child,
    _folder: TempDir,
}

impl Server {
    /// Starts `program`, a binary beside this one (itself with `bare`), on a SQLite file.
    pub(crate) async fn start(program: &str, log: &str) -> Result<Self, Failure> {
        Self::start_with(program, log, &[]).await
    }

    /// As [`Server::start`], with more environment variables, such as those of another store.
    pub(crate) async fn start_with(
        program: &str,
        log: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let this = std::env::current_exe()?;
        let mut command = match program {
            "bare" => {
                let mut command = Command::new(&this);
                command.arg("bare");
                command
            }
            other => Command::new(this.with_file_name(other)),
        };
        let log_file = std::fs::File::create(folder.path().join("log"))?;
        let started = Instant::now();
        let child = command
            .current_dir(folder.path())
            .env("PORT", port.to_string())
            .env("BK_PLUGIN_LOG", log)
            .envs(variables.iter().copied())
            .stdout(Stdio::from(log_file))
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{program}: {error}; is it built with the same profile?"))?;
        let mut server = Self { port, start_up: Duration::ZERO, child, _folder: folder };
        server.answered().await?;
        server.start_up = started.elapsed();
        Ok(server)
    }

    async fn answered(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Ok(mut connection) = Connection::open(self.port).await
                && connection.stream_answers().await
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Err("the server did not answer within 10 s".into())
    }

    /// The processor time that the process has used so far, in all its threads.
    pub(crate) fn cpu_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // Fields 14 and 15, user and system time, in hundredths of a second. The second field is a name in brackets.
        let mut times = stat.rsplit_once(") ")?.1.split(' ').skip(11);
        let user: u64 = times.next()?.parse().ok()?;
        let system: u64 = times.next()?.parse().ok()?;
        Some(Duration::from_millis((user + system) * 10))
    }

    /// A line of `/proc/<pid>/status` in MiB: `VmRSS` is the memory in use now, `VmHWM` the highest so far.
    pub(crate) fn memory(&self, line: &str) -> String {
        let read = || -> Option<String> {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
            let kib = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'))?;
            let kib: f64 = kib.trim().trim_end_matches(" kB").parse().ok()?;
            Some(format!("{:.1} MiB", kib / 1024.0))
        };
        read().unwrap_or_else(|| "unknown here (no /proc)".to_owned())
    }
}

impl Connection {
    async fn stream_answers(&mut self) -> bool {
        // Any answer counts, because the bare route's health page has neither a body nor a length.
        match self.exchange(&get("/healthz")).await {
            Ok(_) => true,
            Err(error) => error.to_string().contains("no content-length"),
        }
    }
}

/// The current commit.
pub(crate) fn revision() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    match output {
        Ok(output) if output.status.success() => {
            format!("commit {}", String::from_utf8_lossy(&output.stdout).trim())
        }
        _ => "no commit".to_owned(),
    }
}
