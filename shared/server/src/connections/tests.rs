//! Clients that leave their connections, over real sockets.

use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tower::util::MapRequestLayer;

use super::*;

/// Fails the test instead of hanging.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

struct Served {
    port: u16,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

async fn served(bound: usize) -> Served {
    let routes = Router::new()
        .route("/meta", get(|| async { "meta" }))
        .route("/echo", post(|body: String| async { body }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = oneshot::channel();
    let routes = tower::Layer::layer(&MapRequestLayer::new(|request: Request| request), routes);
    let serving = tokio::spawn(serve(listener, routes, bound, async { drop(stopped.await) }));
    Served { port, stop, serving }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.unwrap()
    }

    /// A connection on which this was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn exchange(&self, text: &str) -> String {
        let mut stream = self.send(text).await;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn ends(self) {
        self.stop.send(()).unwrap();
        soon(self.serving).await.unwrap();
    }
}

const META: &str = "GET /meta HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn half_sent_heads_keep_nobody_out() {
    let served = served(8).await;
    let mut left = Vec::new();
    for _ in 0..40 {
        left.push(served.send("GET /meta HTTP/1.1\r\nHost:").await);
    }
    for _ in 0..3 {
        let answer = soon(served.exchange(META)).await;
        assert!(answer.ends_with("meta"), "{answer}");
    }
    served.ends().await;
}

#[tokio::test]
async fn a_connection_that_answers_is_not_cut_for_another() {
    let served = served(2).await;
    let slow = "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (first, second, third) =
        soon(async { tokio::join!(served.exchange(slow), served.exchange(slow), served.exchange(META)) })
            .await;
    assert!(first.ends_with("slow") && second.ends_with("slow") && third.ends_with("meta"));
    served.ends().await;
}

#[tokio::test]
async fn a_client_that_has_shut_its_sending_side_is_answered() {
    let served = served(8).await;
    let requests = [
        "GET /meta HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nmeta",
    ];
    for request in requests {
        let mut stream = served.send(request).await;
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with("meta") || answer.ends_with("slow"), "{answer}");
    }
    served.ends().await;
}

#[tokio::test]
async fn a_stop_answers_what_has_begun_and_waits_for_nothing_else() {
    let served = served(8).await;
    let _half_sent = served.send("GET /meta HTTP/1.1\r\nHost:").await;
    let _silent = served.connect().await;
    let mut idle = served.send("GET /meta HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut head = [0; 15];
    soon(idle.read_exact(&mut head)).await.unwrap();
    let mut slow = served.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    // The request has arrived when the connection no longer waits.
    tokio::time::sleep(Duration::from_millis(100)).await;
    served.ends().await;
    let mut answer = String::new();
    soon(slow.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("slow"), "{answer}");
}
