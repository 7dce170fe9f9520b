//! Accepts connections within a bound, and serves HTTP/1.1 on each.
//!
//! A client may open connections and leave them, send half of a request, or not read its answer. None of this may keep
//! others out: each wait for a client has a limit, and when no place is left the connection goes that has waited for
//! a request the longest.

mod bound;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower::{Service, ServiceExt as _};

pub(crate) use bound::default_bound;

/// Longest time for the head of a request, and for a connection that sends no next request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for which a client may take nothing of its answer, or confirm nothing that was sent to it.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that is silent for this long while its request is answered is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// How long connections without a request stay open when the server stops: a request may be on its way.
const WAITING_AT_STOP: Duration = Duration::from_secs(2);

/// Milliseconds for which a connection without a request is not cut for another: its request may be on its way.
const LEFT_ALONE: u64 = 100;

/// Pause after the system could not accept a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Time between two looks for a connection that could go, while all are being answered.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Serves until `stopping`, then until every request that has begun is answered.
///
/// At most `bound` connections are open at a time.
pub(crate) async fn serve<S>(
    listener: TcpListener,
    routes: S,
    bound: usize,
    stopping: impl Future<Output = ()>,
) where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    let connections = Arc::new(Connections::new(bound));
    let mut stopping = pin!(stopping);
    loop {
        let accepted = tokio::select! {
            accepted = connections.accept(&listener) => accepted,
            () = &mut stopping => break,
        };
        match accepted {
            Ok((stream, connection)) => drop(tokio::spawn(connection.serve(stream, routes.clone()))),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be accepted, trying again");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
    drop(listener);
    connections.end().await;
}

/// Whether the client is the reason that its connection could not be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}

/// All open connections.
struct Connections {
    bound: usize,
    places: Arc<Semaphore>,
    open: Mutex<BTreeMap<u64, Arc<Connection>>>,
    /// Connections so far.
    count: AtomicU64,
    begun: Instant,
}

/// One connection, as the others see it.
struct Connection {
    /// When it began to wait for a request, in milliseconds since the server began to listen.
    waiting_since: AtomicU64,
    /// Asks it to end, after the request that is being answered.
    finish: Notify,
    /// Asks it to end now.
    cut: Notify,
}

/// In place of a time: a request is being answered.
const ANSWERS: u64 = u64::MAX;

impl Connection {
    fn is_waiting(&self) -> bool {
        self.waiting_since.load(Ordering::Relaxed) != ANSWERS
    }
}

impl Connections {
    fn new(bound: usize) -> Self {
        Self {
            bound,
            places: Arc::new(Semaphore::new(bound)),
            open: Mutex::default(),
            count: AtomicU64::new(0),
            begun: Instant::now(),
        }
    }

    /// The next connection.
    async fn accept(self: &Arc<Self>, listener: &TcpListener) -> io::Result<(TcpStream, Open)> {
        let (stream, _) = listener.accept().await?;
        let place = self.place().await;
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection {
            waiting_since: AtomicU64::new(self.now()),
            finish: Notify::new(),
            cut: Notify::new(),
        });
        self.open().insert(number, Arc::clone(&connection));
        Ok((stream, Open { number, connections: Arc::clone(self), connection, _place: place }))
    }

    /// A place for a connection. If none is left, the connection that has waited for a request the longest goes.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            self.cut_longest_waiting();
            let freed = Arc::clone(&self.places).acquire_owned();
            // The semaphore is never closed.
            if let Ok(Ok(place)) = tokio::time::timeout(LOOK_AGAIN, freed).await {
                return place;
            }
        }
    }

    fn cut_longest_waiting(&self) {
        let open = self.open();
        let waiting =
            open.values().map(|connection| (connection.waiting_since.load(Ordering::Relaxed), connection));
        if let Some((since, longest)) = waiting.min_by_key(|(since, _)| *since)
            && since.saturating_add(LEFT_ALONE) <= self.now()
        {
            longest.cut.notify_one();
        }
    }

    /// Ends all connections: those that answer a request after the answer, the others soon.
    async fn end(&self) {
        self.open().values().for_each(|connection| connection.finish.notify_one());
        let all = self.places.acquire_many(u32::try_from(self.bound).unwrap_or(u32::MAX));
        let mut all = pin!(all);
        while tokio::time::timeout(WAITING_AT_STOP, &mut all).await.is_err() {
            let open = self.open();
            open.values()
                .filter(|connection| connection.is_waiting())
                .for_each(|waiting| waiting.cut.notify_one());
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(ANSWERS - 1)
    }
}

/// A connection that is open. It leaves the list when this is dropped.
struct Open {
    number: u64,
    connections: Arc<Connections>,
    connection: Arc<Connection>,
    _place: OwnedSemaphorePermit,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}

impl Open {
    async fn serve<S>(self, stream: TcpStream, routes: S)
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
    {
        set_options(&stream);
        let (connections, connection) = (Arc::clone(&self.connections), Arc::clone(&self.connection));
        let answering = service_fn(move |request: hyper::Request<Incoming>| {
            connection.waiting_since.store(ANSWERS, Ordering::Relaxed);
            let (connections, connection) = (Arc::clone(&connections), Arc::clone(&connection));
            let until_sent = UntilSent { connections, connection };
            let answer = routes.clone().oneshot(request.map(Body::new));
            async move {
                let response = answer.await?;
                Ok::<_, Infallible>(response.map(|body| AnswerBody { body, _until_sent: until_sent }))
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            // A client may close its sending side after the request, and still wait for the answer.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), answering);
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = self.connection.cut.notified() => return,
            () = self.connection.finish.notified() => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut served => ended,
                    () = self.connection.cut.notified() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// Without these options a connection is served all the same.
fn set_options(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ =
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 4));
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(SEND_TIMEOUT));
}

/// Notes, when it is dropped, that the connection waits for a request again.
struct UntilSent {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Drop for UntilSent {
    fn drop(&mut self) {
        self.connection.waiting_since.store(self.connections.now(), Ordering::Relaxed);
    }
}

/// The body of an answer. While it is being sent, the connection counts as one that answers.
struct AnswerBody {
    body: Body,
    _until_sent: UntilSent,
}

impl hyper::body::Body for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
