//! `/metrics`: what Prometheus is told. Nothing in it is secret, and whoever scrapes has no JWT, so it is for everybody.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bk_plugin_core::clock::{Clock as _, SystemClock};
use bk_plugin_core::store_error::StoreError;
use bk_plugin_engine::metrics::{BUCKETS, DEAD_LETTERS, QUEUE_DEPTH, STORE_BUCKETS, STORE_TIME, describe};
use bk_plugin_sql::{QueueDepth, Store};
use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Everything that was counted.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

/// Times are kept one by one until they are put into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

impl Metrics {
    /// Counts from now on, for the whole process. Names and buckets are the reference's, as Prometheus' client for Python
    /// shows them: counters end in `_total`, and every metric has the label `hostname`.
    pub(crate) fn install() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .with_recommended_naming(true)
            .set_buckets(&BUCKETS)?
            .set_buckets_for_metric(Matcher::Full(STORE_TIME.to_owned()), &STORE_BUCKETS)?
            .add_global_label("hostname", crate::hostname::hostname())
            .build_recorder();
        let handle = recorder.handle();
        // A second server in one process (a test) counts with the first.
        let _ = metrics::set_global_recorder(recorder);
        describe(None);
        Ok(Self(handle))
    }

    /// Keeps what was counted small. Runs until it is dropped.
    pub(crate) async fn keep(self) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            self.0.run_upkeep();
        }
    }

    /// The route, with the depth of the queue in `store`.
    pub(crate) fn routes(self, store: Arc<dyn Store>) -> Router {
        let depth = Arc::new(DepthOf { store, read_at: Mutex::new(None) });
        let show = move || {
            let (metrics, depth) = (self.clone(), Arc::clone(&depth));
            async move {
                depth.tell().await;
                ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.0.render())
            }
        };
        Router::new().route("/metrics", get(show))
    }
}

/// The depth of a store's queue. It is counted row by row, so not more often than anybody needs it.
struct DepthOf {
    store: Arc<dyn Store>,
    read_at: Mutex<Option<Instant>>,
}

/// How old the depth may be.
const DEPTH_KEPT: Duration = Duration::from_secs(10);
/// How long a scrape waits for the store.
const PATIENCE: Duration = Duration::from_secs(3);

impl DepthOf {
    /// Reads the depth, unless it was read a moment ago.
    async fn tell(&self) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < DEPTH_KEPT) {
            return;
        }
        let asked = tokio::time::timeout(PATIENCE, self.store.queue_depth(SystemClock.now())).await;
        tell(&asked.unwrap_or_else(|_| Err(StoreError::Unavailable("it took too long".into()))));
        *read_at = Some(Instant::now());
    }
}

/// Shows the depth; of a store that does not answer, that it is not known.
#[expect(clippy::cast_precision_loss, reason = "a queue that is so deep is deep enough")]
fn tell(asked: &Result<QueueDepth, StoreError>) {
    let shown = |of: fn(&QueueDepth) -> u64| asked.as_ref().map_or(f64::NAN, |depth| of(depth) as f64);
    gauge!(QUEUE_DEPTH, "state" => "due").set(shown(|depth| depth.due));
    gauge!(QUEUE_DEPTH, "state" => "delayed").set(shown(|depth| depth.delayed));
    gauge!(QUEUE_DEPTH, "state" => "in_flight").set(shown(|depth| depth.in_flight));
    gauge!(DEAD_LETTERS).set(shown(|depth| depth.dead_letters));
}
