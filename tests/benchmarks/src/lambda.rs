//! Cold and warm latency of the functions and of a bare one, through Lambda's runtime interface, and the size
//! of their packages.
//!
//! The benchmark serves the interface itself, so it measures the functions and not an emulator. Each function
//! gets a request that it can answer without AWS, so the time of AWS is not part of the figures.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

use crate::Failure;

const COLD_STARTS: usize = 30;
const WARM_CALLS: usize = 2000;

/// Measures all functions in turn.
pub(crate) async fn run() -> Result<(), Failure> {
    let folder = std::env::current_exe()?.with_file_name("../release");
    println!("Lambda functions, built with --release, on this machine:");
    println!(
        "{:14} {:>9} {:>11} {:>11} {:>11} {:>11}",
        "", "zip", "cold p50", "x bare", "warm p50", "warm p99"
    );
    let cases = [
        ("lambda-hello", http("GET", "/", "")),
        ("meta", http("GET", "/bk_plugin/meta", "")),
        ("invoke", http("POST", "/bk_plugin/invoke/1.0.0", ECHO)),
        ("callback", http("GET", "/bk_plugin/schedule/none", "")),
        ("poll-tick", json!({ "Records": [] })),
    ];
    // The functions take turns, so that other load on the machine affects all of them alike.
    let mut cold: Vec<Vec<Duration>> = vec![Vec::new(); cases.len()];
    for _ in 0..COLD_STARTS {
        for (times, (name, event)) in cold.iter_mut().zip(&cases) {
            let mut function = Function::start(&folder.join(name)).await?;
            function.call(event.clone()).await?;
            times.push(function.started.elapsed());
        }
    }
    let bare = median(&mut cold[0]);
    for (times, (name, event)) in cold.iter_mut().zip(&cases) {
        let binary = folder.join(name);
        let mut function = Function::start(&binary).await?;
        function.call(event.clone()).await?;
        let mut warm = Vec::with_capacity(WARM_CALLS);
        for _ in 0..WARM_CALLS {
            let began = Instant::now();
            function.call(event.clone()).await?;
            warm.push(began.elapsed());
        }
        let (cold, zip) = (median(times), packed(&binary)?);
        println!(
            "{name:14} {:>6.2} MB {:>8.1} ms {:>11.2} {:>8.0} us {:>8.0} us",
            megabytes(zip),
            millis(cold),
            cold.as_secs_f64() / bare.as_secs_f64(),
            micros(median(&mut warm)),
            micros(warm[WARM_CALLS * 99 / 100]),
        );
    }
    Ok(())
}

const ECHO: &str = r#"{"inputs": {"hello": "world"}, "context": {"executor": "admin"}}"#;

fn megabytes(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// An event of an HTTP API.
fn http(method: &str, path: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": { "content-type": "application/json", "host": "plugin.test" },
        "requestContext": {
            "accountId": "000000000000", "apiId": "a", "domainName": "plugin.test", "domainPrefix": "plugin",
            "http": { "method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "b" },
            "requestId": "r", "routeKey": "$default", "stage": "$default", "time": "24/Nov/2026:00:00:00 +0000",
            "timeEpoch": 1_800_000_000_000_u64,
        },
        "body": body, "isBase64Encoded": false,
    })
}

/// The size of a binary's package, in bytes.
fn packed(binary: &Path) -> Result<u64, Failure> {
    let zip = tempfile::tempdir()?;
    let path = zip.path().join("function.zip");
    let packing = "import sys, zipfile; \
                   zipfile.ZipFile(sys.argv[1], 'w', zipfile.ZIP_DEFLATED).write(sys.argv[2], 'bootstrap')";
    let packed =
        std::process::Command::new("python3").args(["-c", packing]).arg(&path).arg(binary).status()?;
    if !packed.success() {
        return Err("python3 could not pack a function".into());
    }
    Ok(std::fs::metadata(path)?.len())
}

/// A running function behind a runtime interface of its own; killed when dropped.
struct Function {
    started: Instant,
    events: mpsc::Sender<Value>,
    answers: mpsc::Receiver<Result<(), String>>,
    _child: Child,
}

struct Interface {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<Result<(), String>>,
}

impl Function {
    async fn start(binary: &PathBuf) -> Result<Self, Failure> {
        let (events, to_be_handled) = mpsc::channel(1);
        let (answered, answers) = mpsc::channel(1);
        let interface = Arc::new(Interface { events: Mutex::new(to_be_handled), answers: answered });
        let routes = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(interface);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let started = Instant::now();
        let child = Command::new(binary)
            .env_clear()
            .envs(VARIABLES)
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                format!("{}: {error}; see docs/performance.md for how it is built", binary.display())
            })?;
        Ok(Self { started, events, answers, _child: child })
    }

    async fn call(&mut self, event: Value) -> Result<(), Failure> {
        self.events.send(event).await?;
        let answer = tokio::time::timeout(Duration::from_secs(10), self.answers.recv()).await?;
        answer.ok_or("the function has gone")?.map_err(Into::into)
    }
}

const VARIABLES: [(&str, &str); 14] = [
    ("AWS_LAMBDA_FUNCTION_NAME", "benchmark"),
    ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
    ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
    ("AWS_REGION", "us-east-1"),
    ("AWS_ACCESS_KEY_ID", "none"),
    ("AWS_SECRET_ACCESS_KEY", "none"),
    ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
    ("BKPAAS_APP_SECRET", "secret of the benchmark"),
    ("BK_PLUGIN_AUTH", "none"),
    ("BK_PLUGIN_DLQ_ARN", "arn:aws:sqs:us-east-1:000000000000:dead"),
    ("BK_PLUGIN_LOG", "warn"),
    ("BK_PLUGIN_PUBLIC_URL", "http://plugin.test"),
    ("BK_PLUGIN_QUEUE_URL", "http://127.0.0.1:9/queue"),
    ("BK_PLUGIN_TABLE", "table"),
];

async fn next(State(interface): State<Arc<Interface>>) -> Result<(HeaderMap, String), StatusCode> {
    let event = interface.events.lock().await.recv().await.ok_or(StatusCode::GONE)?;
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + Duration::from_secs(30);
    let headers = [
        ("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers
        .into_iter()
        .filter_map(|(name, value)| Some((HeaderName::from_static(name), value.parse().ok()?)));
    Ok((headers.collect(), event.to_string()))
}

async fn response(State(interface): State<Arc<Interface>>, body: String) -> StatusCode {
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    let failed = answer["statusCode"].as_u64().is_some_and(|status| status >= 400);
    let _ = interface.answers.send(if failed { Err(body) } else { Ok(()) }).await;
    StatusCode::ACCEPTED
}

async fn error(State(interface): State<Arc<Interface>>, body: String) -> StatusCode {
    let _ = interface.answers.send(Err(body)).await;
    StatusCode::ACCEPTED
}
