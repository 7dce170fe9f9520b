//! Stages the functions, deploys the template, and calls the AWS CLI.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

const STACK: &str = "bk-plugin-e2e";
const FUNCTIONS: [&str; 4] = ["invoke", "callback", "poll-tick", "meta"];

/// Template parameters with small values, so that waits of minutes in production take seconds here.
const PARAMETERS: [&str; 7] = [
    "StepTimeLimit=20",
    "LongestDelay=2",
    "MaxReceiveCount=3",
    "VisibilityTimeout=12",
    "PollTickTimeout=10",
    "LogLevel=info,bk_plugin_engine=debug",
    "ThrottleRate=1000",
];

/// The deployed plugin.
pub(crate) struct Deployment {
    root: PathBuf,
    url: String,
}

/// The result of replaying the transcripts.
pub(crate) struct Transcripts {
    pub(crate) passed: bool,
    told: String,
}

impl fmt::Display for Transcripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told)
    }
}

impl Deployment {
    /// Creates the secret, with the value in the recordings.
    pub(crate) async fn new(root: PathBuf) -> Self {
        let secret = format!(r#"{{"BKPAAS_APP_SECRET": "{}"}}"#, conformance::APP_SECRET);
        let name = format!("bk-plugin/{STACK}");
        aws(&["secretsmanager", "create-secret", "--name", &name, "--secret-string", &secret]).await;
        Self { root, url: String::new() }
    }

    /// Deploys the plugin of the transcripts.
    pub(crate) async fn first(&mut self) {
        // Removes the files of an earlier run.
        let _ = fs::remove_dir_all(self.root.join("target/e2e"));
        self.url = self.deploy(&[]).await;
    }

    /// Deploys again, with other code and other settings.
    pub(crate) async fn second(&self) {
        for function in FUNCTIONS {
            fs::write(self.staged(function).with_file_name(e2e::SECOND), "").unwrap();
        }
        self.deploy(&["SchedulePersistentDays=7"]).await;
    }

    /// The URL up to `/bk_plugin/`.
    pub(crate) fn base_url(&self) -> &str {
        self.url.trim_end_matches('/').trim_end_matches("/bk_plugin")
    }

    fn staged(&self, function: &str) -> PathBuf {
        self.root.join("target/e2e").join(function).join("bootstrap")
    }

    /// Deploys, and returns the plugin's address.
    async fn deploy(&self, parameters: &[&str]) -> String {
        for function in FUNCTIONS {
            let (built, staged) = (built(function), self.staged(function));
            fs::create_dir_all(staged.parent().unwrap()).unwrap();
            // Without debug information a binary has a tenth of its size, and packs faster.
            let stripped = Command::new("strip").arg("-o").args([&staged, &built]).status().await.unwrap();
            assert!(stripped.success(), "strip {}", built.display());
        }
        let mut command = Command::new(self.root.join("infra/deploy-local.sh"));
        command.arg(self.root.join("target/e2e")).arg(STACK).args(PARAMETERS).args(parameters);
        let output = command.stderr(Stdio::inherit()).output().await.unwrap();
        assert!(output.status.success(), "the template was not deployed");
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().trim().to_owned()
    }

    /// Replays the transcripts that apply to Lambda, through API Gateway.
    pub(crate) async fn replay_transcripts(&self) -> Transcripts {
        let output = Command::new("cargo")
            .args([
                "nextest",
                "run",
                "--workspace",
                "--no-capture",
                "-E",
                "binary(transcripts) & test(of_development)",
            ])
            .current_dir(&self.root)
            .env("BK_PLUGIN_CONFORMANCE_URL", self.base_url())
            .env("BK_PLUGIN_CONFORMANCE_ON", "lambda")
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            println!("{text}{}", String::from_utf8_lossy(&output.stderr));
        }
        let told = text.lines().find(|line| line.contains("transcripts replayed"));
        let told = told.map_or_else(|| text.clone(), ToOwned::to_owned);
        Transcripts { passed: output.status.success(), told }
    }

    /// URLs of the queue of wake-ups and of its dead-letter queue.
    pub(crate) async fn queue_urls(&self) -> [String; 2] {
        let outputs = self.outputs().await;
        ["QueueUrl", "DeadLetterQueueUrl"].map(|key| output(&outputs, key))
    }

    /// Counts the lines with this text about this invocation in the log of `poll-tick`.
    pub(crate) async fn logged(&self, text: &str, trace_id: &str) -> usize {
        let group = format!("/aws/lambda/{}", output(&self.outputs().await, "PollTickFunctionName"));
        let lines = aws(&[
            "logs",
            "filter-log-events",
            "--log-group-name",
            &group,
            "--query",
            "events[].message",
            "--output",
            "json",
        ])
        .await;
        lines.lines().filter(|line| line.contains(text) && line.contains(trace_id)).count()
    }

    async fn outputs(&self) -> String {
        aws(&[
            "cloudformation",
            "describe-stacks",
            "--stack-name",
            STACK,
            "--query",
            "Stacks[0].Outputs[].[OutputKey, OutputValue]",
            "--output",
            "text",
        ])
        .await
    }
}

fn output(outputs: &str, key: &str) -> String {
    let line = outputs.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('\t'));
    line.unwrap_or_else(|| panic!("the stack has no output {key}: {outputs}")).trim().to_owned()
}

/// Runs the AWS CLI, and returns its output.
async fn aws(arguments: &[&str]) -> String {
    let output = Command::new("aws").args(arguments).stderr(Stdio::inherit()).output().await.unwrap();
    assert!(output.status.success(), "aws {}", arguments[..2].join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The path of a function's binary, beside this program.
fn built(function: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().map(Path::to_owned).unwrap();
    let binary = folder.join(format!("e2e-{function}"));
    assert!(binary.exists(), "{} is not there: cargo build --workspace", binary.display());
    binary
}
