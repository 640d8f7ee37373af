//! What handlers share.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::openapi::OpenApi;

use super::problem::Problem;
use crate::engine::Engine;
use crate::events::Hub;
use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::server::ServerOptions;
use crate::store::Store;

/// Longest wait for others that plan.
const PLAN_PATIENCE: Duration = Duration::from_secs(60);

/// What handlers share; clones are the same.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    engine: Arc<dyn Engine>,
    store: Arc<Store>,
    queue: Queue,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    options: Arc<ServerOptions>,
    planning: Arc<Semaphore>,
    document: Bytes,
}

impl App {
    pub(crate) fn new(
        engine: Arc<dyn Engine>,
        store: Arc<Store>,
        queue: Queue,
        (hub, metrics): (Arc<Hub>, Arc<Metrics>),
        options: Arc<ServerOptions>,
    ) -> Self {
        let planning = Arc::new(Semaphore::new(options.plans_at_once.max(1)));
        Self(Arc::new(Parts { engine, store, queue, hub, metrics, options, planning, document: Bytes::new() }))
    }

    /// With the OpenAPI document that it serves.
    pub(super) fn with_document(&self, document: &OpenApi) -> Self {
        // The document is plain data: it can always be written.
        let document = serde_json::to_vec(document).unwrap_or_default().into();
        Self(Arc::new(Parts { document, ..(*self.0).clone() }))
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        self.0.engine.as_ref()
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn options(&self) -> &ServerOptions {
        &self.0.options
    }

    pub(super) fn document(&self) -> Bytes {
        self.0.document.clone()
    }

    /// Does what may block on a thread that may.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        done.unwrap_or_else(|_| Err(Problem::internal("a fault of the program")))
    }

    /// The same for what computes for a while: a few at once, so that threads are left for those who only read.
    pub(super) async fn planning<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let _turn = self.turn().await?;
        self.blocking(work).await
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(PLAN_PATIENCE, self.0.planning.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::unavailable("too many are planning: try again in a while", Some(10))),
        }
    }
}
