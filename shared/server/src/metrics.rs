//! `/metrics`: the metrics for Prometheus. None is secret, and a scraper has no JWT, so the route is open to
//! everyone.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use bk_plugin_core::store_error::StoreError;
use bk_plugin_engine::metrics::{BUCKETS, DEAD_LETTERS, QUEUE_DEPTH, STORE_BUCKETS, STORE_TIME, describe};
use bk_plugin_sql::{QueueDepth, Store};
use metrics::gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::Mutex;
use tokio::time::Instant;

/// The metrics of this process.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

/// Time between two upkeeps. Each measured duration takes memory until the upkeep puts it into its bucket.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

impl Metrics {
    /// Installs the recorder for the whole process. Names and buckets are the reference's, as Prometheus' client
    /// for Python shows them: counters end in `_total`, and every metric has the label `hostname`.
    pub(crate) fn install() -> Result<Self, BuildError> {
        let recorder = PrometheusBuilder::new()
            .with_recommended_naming(true)
            .set_buckets(&BUCKETS)?
            .set_buckets_for_metric(Matcher::Full(STORE_TIME.to_owned()), &STORE_BUCKETS)?
            .add_global_label("hostname", crate::hostname::hostname())
            .build_recorder();
        let handle = recorder.handle();
        // A second server in one process (a test) uses the recorder of the first.
        let _ = metrics::set_global_recorder(recorder);
        describe(None);
        Ok(Self(handle))
    }

    /// Runs the upkeep, which bounds the memory, until the future is dropped.
    pub(crate) async fn keep(self) {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            self.0.run_upkeep();
        }
    }

    /// The route, which also shows the depth of the queue in `store`.
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

/// Depth of a store's queue. The database counts it row by row, so it is read only when a scrape needs it, and not
/// each time.
struct DepthOf {
    store: Arc<dyn Store>,
    read_at: Mutex<Option<Instant>>,
}

/// Longest time for which a depth is shown before it is read again.
const DEPTH_KEPT: Duration = Duration::from_secs(10);
/// Longest time that a scrape waits for the store.
const LONGEST_WAIT_FOR_DEPTH: Duration = Duration::from_secs(3);

impl DepthOf {
    /// Reads and shows the depth, unless it was read within [`DEPTH_KEPT`].
    async fn tell(&self) {
        let mut read_at = self.read_at.lock().await;
        if read_at.is_some_and(|at| at.elapsed() < DEPTH_KEPT) {
            return;
        }
        let depth = self.store.queue_depth(self.store.clock().now());
        let asked = tokio::time::timeout(LONGEST_WAIT_FOR_DEPTH, depth).await;
        tell(&asked.unwrap_or_else(|_| Err(StoreError::Unavailable("it took too long".into()))));
        *read_at = Some(Instant::now());
    }
}

/// Shows the depth; NaN if the store does not answer.
#[expect(clippy::cast_precision_loss, reason = "a queue that is so deep is deep enough")]
fn tell(asked: &Result<QueueDepth, StoreError>) {
    let shown = |of: fn(&QueueDepth) -> u64| asked.as_ref().map_or(f64::NAN, |depth| of(depth) as f64);
    gauge!(QUEUE_DEPTH, "state" => "due").set(shown(|depth| depth.due));
    gauge!(QUEUE_DEPTH, "state" => "delayed").set(shown(|depth| depth.delayed));
    gauge!(QUEUE_DEPTH, "state" => "in_flight").set(shown(|depth| depth.in_flight));
    gauge!(DEAD_LETTERS).set(shown(|depth| depth.dead_letters));
}
