//! A MariaDB server for one test, with its own port and data directory. The test can restart, kill or freeze
//! it. Dropping it ends the server.
//!
//! MariaDB's server must be installed (on Debian and Ubuntu the package `mariadb-server`); no service has to
//! run.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is wanted")]
#![allow(clippy::missing_panics_doc, reason = "everything panics that does not work")]

mod installation;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bk_plugin_sql::mysql::MysqlAddress;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use tempfile::TempDir;

/// The tests' user. It has the rights of an application's user on its own database.
const USER: &str = "plugin";
const PASSWORD: &str = "a p@ss/word";
const PASSWORD_IN_URL: &str = "a%20p%40ss%2Fword";

/// The database that every server starts with.
const DATABASE: &str = "plugin";

/// A server that is running, or that its test has stopped.
pub struct MariaDb {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

impl MariaDb {
    /// Starts a server with an empty database and a user for it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// As [`MariaDb::start`], with options of the server, such as `--max-allowed-packet=4M`.
    pub async fn start_with(options: &[&str]) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), options).await
    }

    /// As [`MariaDb::start`], with the data below `folder`, so that a benchmark can choose the disk.
    pub async fn start_in(folder: &Path) -> Self {
        Self::start_on(tempfile::tempdir_in(folder).unwrap(), &["--innodb-log-file-size=96M"]).await
    }

    async fn start_on(folder: TempDir, options: &[&str]) -> Self {
        copy(&installation::template(), &folder.path().join("data"));
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { folder, port: 0, options, child: None };
        // Another process may take the port before the server has it.
        for _ in 0..10 {
            server.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            server.spawn();
            if server.answers().await {
                server.create_user().await;
                return server;
            }
        }
        panic!("MariaDB does not start: {}", server.log());
    }

    async fn create_user(&self) {
        self.execute(&format!("CREATE DATABASE {DATABASE}")).await;
        self.execute(&format!("CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")).await;
        self.execute(&format!("GRANT ALL ON {DATABASE}.* TO {USER}@'127.0.0.1'")).await;
    }

    /// Starts a stopped server again, on the same port and data.
    pub async fn start_again(&mut self) {
        self.spawn();
        assert!(self.answers().await, "MariaDB does not start again: {}", self.log());
    }

    /// Tells the server to stop and waits until it has.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        self.child.take().unwrap().wait().unwrap();
    }

    /// Kills the server: SIGKILL.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Stops the server and starts it again.
    pub async fn restart(&mut self) {
        self.stop();
        self.start_again().await;
    }

    /// Freezes the server: connections stay open and get no answers.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets a frozen server continue.
    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// The database's address, for a store.
    pub fn address(&self) -> MysqlAddress {
        MysqlAddress::from_url(&self.url()).unwrap()
    }

    /// The database's address as a URL, for a setting.
    pub fn url(&self) -> String {
        format!("mysql://{USER}:{PASSWORD_IN_URL}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Connects to the database as the root user.
    pub async fn connect(&self) -> MySqlConnection {
        self.root().database(DATABASE).connect().await.unwrap()
    }

    /// Runs a statement as the root user.
    pub async fn execute(&self, sql: &str) {
        let mut connection = self.root().connect().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }

    /// Number of statements of a kind (`Com_select`, `Com_stmt_execute`, ...) since the server's start.
    pub async fn count_of(&self, kind: &str) -> u64 {
        let mut connection = self.root().connect().await.unwrap();
        let (_, count): (String, String) =
            sqlx::query_as(AssertSqlSafe(format!("SHOW GLOBAL STATUS LIKE '{kind}'")))
                .fetch_one(&mut connection)
                .await
                .unwrap();
        count.parse().unwrap()
    }

    fn root(&self) -> MySqlConnectOptions {
        MySqlConnectOptions::new()
            .host("127.0.0.1")
            .port(self.port)
            .username("root")
            .ssl_mode(MySqlSslMode::Disabled)
            .disable_statement_logging()
    }

    /// The server's log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn spawn(&mut self) {
        let log = File::options().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let child = Command::new(installation::server())
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.folder.path().join("data").display()))
            .arg(format!("--socket={}", self.folder.path().join("socket").display()))
            .arg(format!("--port={}", self.port))
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(installation::SMALL)
            .args(installation::as_root())
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log))
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Waits until the server answers. Returns `false` if it has ended instead.
    async fn answers(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            if self.root().connect().await.is_ok() {
                return true;
            }
            if self.child.as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("MariaDB does not answer: {}", self.log());
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGKILL ends a frozen server too. An error means that it has already ended.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}
