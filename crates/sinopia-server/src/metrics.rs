//! What is counted, for Prometheus.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Which requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The method of HTTP.
    pub method: String,
    /// The route, not the address: jobs have no labels of their own.
    pub route: String,
    /// The status.
    pub status: u16,
}

/// Which jobs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabels {
    /// The state.
    pub state: &'static str,
}

/// Which route, whatever the answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route.
    pub route: String,
}

/// Which painting.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MethodLabels {
    /// The method.
    pub method: String,
}

/// Which attempts at a checked picture.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AttemptLabels {
    /// `painting` or `repair`.
    pub kind: &'static str,
    /// Whether it was better than what was there: `true` or `false`.
    pub accepted: String,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answers by route and status.
    pub requests: Family<RequestLabels, Counter>,
    /// Seconds to an answer.
    pub request_seconds: Family<RouteLabels, Histogram>,
    /// Jobs that ended, by how.
    pub finished: Family<StateLabels, Counter>,
    /// Seconds of painting.
    pub paint_seconds: Family<MethodLabels, Histogram>,
    /// Jobs that wait.
    pub queued: Gauge,
    /// Jobs that are painted.
    pub running: Gauge,
    /// Jobs that were refused as the queue was full.
    pub refused: Counter,
    /// Attempts at checked pictures.
    pub attempts: Family<AttemptLabels, Counter>,
    /// Pictures that were sent.
    pub uploads: Counter,
    /// Pictures that were sent and are deleted, as no job begins with them.
    pub uploads_swept: Counter,
    /// Models in memory.
    pub models: Gauge,
    /// Bytes of their weights.
    pub model_bytes: Gauge,
    /// Bytes of the process.
    pub resident_bytes: Gauge,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sinopia");
        let request_seconds = Family::new_with_constructor((|| buckets(&REQUEST_SECONDS)) as fn() -> Histogram);
        let paint_seconds = Family::new_with_constructor((|| buckets(&PAINT_SECONDS)) as fn() -> Histogram);
        let metrics = Self {
            requests: Family::default(),
            request_seconds,
            finished: Family::default(),
            paint_seconds,
            queued: Gauge::default(),
            running: Gauge::default(),
            refused: Counter::default(),
            attempts: Family::default(),
            uploads: Counter::default(),
            uploads_swept: Counter::default(),
            models: Gauge::default(),
            model_bytes: Gauge::default(),
            resident_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("http_requests", "Requests answered", metrics.requests.clone());
        let (seconds, bytes) = (Unit::Seconds, Unit::Bytes);
        registry.register_with_unit(
            "http_request",
            "Time to an answer",
            seconds.clone(),
            metrics.request_seconds.clone(),
        );
        registry.register("jobs_finished", "Jobs that ended", metrics.finished.clone());
        registry.register_with_unit("paint", "Time of painting", seconds, metrics.paint_seconds.clone());
        registry.register("jobs_queued", "Jobs that wait", metrics.queued.clone());
        registry.register("jobs_running", "Jobs being painted", metrics.running.clone());
        registry.register("jobs_refused", "Jobs refused as the queue was full", metrics.refused.clone());
        registry.register("attempts", "Attempts at checked pictures", metrics.attempts.clone());
        registry.register("uploads", "Pictures that were sent", metrics.uploads.clone());
        registry.register("uploads_swept", "Pictures that were sent and not used", metrics.uploads_swept.clone());
        registry.register("models_loaded", "Models kept in memory", metrics.models.clone());
        registry.register_with_unit("models", "Their weights", bytes.clone(), metrics.model_bytes.clone());
        registry.register_with_unit("process_resident", "Memory of the process", bytes, metrics.resident_bytes.clone());
        Self { registry, ..metrics }
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Upper ends in seconds: answers take milliseconds, but for those that plan.
const REQUEST_SECONDS: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 100.0];
/// Upper ends in seconds: the miniature takes a fraction of one, Stable Diffusion on a processor many minutes.
const PAINT_SECONDS: [f64; 11] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0];

fn buckets(ends: &[f64]) -> Histogram {
    Histogram::new(ends.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::new();
        let labels = RequestLabels { method: "GET".to_owned(), route: "/api/jobs".to_owned(), status: 200 };
        metrics.requests.get_or_create(&labels).inc();
        metrics.queued.set(3);
        metrics.paint_seconds.get_or_create(&MethodLabels { method: "lmd".to_owned() }).observe(2.0);
        let text = metrics.text();
        for line in [
            "sinopia_http_requests_total{method=\"GET\",route=\"/api/jobs\",status=\"200\"} 1",
            "sinopia_jobs_queued 3",
            "sinopia_paint_seconds_bucket{le=\"3.0\",method=\"lmd\"} 1",
        ] {
            assert!(text.contains(line), "`{line}` is missing in\n{text}");
        }
    }
}
