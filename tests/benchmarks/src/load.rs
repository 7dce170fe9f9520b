//! A load generator. It keeps its connections open, each with one request under way at a time.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// The measured figures of a load.
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// A kept-open connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(port: u16) -> Result<Self, Failure> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request and returns the body of its answer, which must be 200.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<&[u8], Failure> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if let Some((start, end)) = body_of(&self.buffer)? {
                return Ok(&self.buffer[start..end]);
            }
        }
    }
}

/// The range of the body in an answer; `None` if the answer is incomplete.
fn body_of(answer: &[u8]) -> Result<Option<(usize, usize)>, Failure> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
    if !text.starts_with("http/1.1 200") {
        return Err(format!("not 200: {}", String::from_utf8_lossy(answer)).into());
    }
    let length: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .ok_or("no content-length")?
        .trim()
        .parse()?;
    let (start, end) = (head + 4, head + 4 + length);
    Ok((answer.len() >= end).then_some((start, end)))
}

/// The bytes of a POST of JSON.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The bytes of a GET.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// Sends `request` over `connections` connections for `time`.
pub(crate) async fn run(
    port: u16,
    connections: usize,
    time: Duration,
    request: &[u8],
) -> Result<Measured, Failure> {
    let started = Instant::now();
    let tasks: Vec<_> = (0..connections)
        .map(|_| {
            let request = request.to_vec();
            tokio::spawn(async move {
                let mut connection = Connection::open(port).await?;
                let mut latencies = Vec::new();
                while started.elapsed() < time {
                    let sent = Instant::now();
                    connection.exchange(&request).await?;
                    latencies.push(sent.elapsed());
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let seconds = started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a count of requests is far below 2^52")]
    let per_second = latencies.len() as f64 / seconds;
    Ok(Measured { per_second, p50: percentile(&latencies, 50), p99: percentile(&latencies, 99) })
}

/// A percentile of sorted values.
pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * percent / 100).min(last)).copied().unwrap_or_default()
}
