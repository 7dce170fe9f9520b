//! Keeps an unavailable collector from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// An exporter that logs its failures, but not each of them.
#[derive(Debug)]
pub(super) struct ThrottledErrors<E> {
    exporter: E,
    said_at: Mutex<Option<Instant>>,
}

/// Shortest time between two log lines about failures.
const EVERY: Duration = Duration::from_mins(10);

impl<E> ThrottledErrors<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self { exporter, said_at: Mutex::new(None) }
    }

    /// Whether a failure is to be logged now.
    fn is_to_be_said(&self, now: Instant) -> bool {
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = said_at.is_none_or(|at| now.duration_since(at) >= EVERY);
        if is_time {
            *said_at = Some(now);
        }
        is_time
    }
}

impl<E: SpanExporter> SpanExporter for ThrottledErrors<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        if let Err(error) = &sent
            && self.is_to_be_said(Instant::now())
        {
            tracing::warn!(%error, spans, "spans cannot be sent and are lost; this is said every ten minutes at most");
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_a_while() {
        let rarely = ThrottledErrors::new(());
        let begun = Instant::now();
        let said =
            [0, 1, 599, 600, 601].map(|second| rarely.is_to_be_said(begun + Duration::from_secs(second)));
        assert_eq!(said, [true, false, false, true, false]);
    }
}
