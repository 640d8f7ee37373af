//! What handlers share.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use utoipa::openapi::OpenApi;

use super::problem::Problem;
use crate::cancellation::{CancelReason, CancellationToken};
use crate::engine::Engine;
use crate::events::Hub;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::queue::Queue;
use crate::services::Services;
use crate::store::Store;

/// Pictures that are enlarged, reduced or encoded at once. Each takes a processor, and memory for its pixels.
const RENDERED_AT_ONCE: usize = 2;

/// What handlers share; clones are the same.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

#[derive(Clone)]
struct Parts {
    services: Services,
    queue: Queue,
    options: Arc<ServerOptions>,
    planning: Arc<Semaphore>,
    rendering: Arc<Semaphore>,
    document: Bytes,
}

impl App {
    pub(crate) fn new(services: Services, queue: Queue, options: Arc<ServerOptions>) -> Self {
        let planning = Arc::new(Semaphore::new(options.plans_at_once.max(1)));
        let rendering = Arc::new(Semaphore::new(RENDERED_AT_ONCE));
        let document = Bytes::new();
        Self(Arc::new(Parts { services, queue, options, planning, rendering, document }))
    }

    /// With the OpenAPI document that it serves.
    pub(super) fn with_document(&self, document: &OpenApi) -> Self {
        // The document is plain data: it can always be written.
        let document = serde_json::to_vec(document).unwrap_or_default().into();
        Self(Arc::new(Parts { document, ..(*self.0).clone() }))
    }

    pub(super) fn engine(&self) -> &dyn Engine {
        self.0.services.engine.as_ref()
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.services.store
    }

    pub(super) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.0.services.hub
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.services.metrics
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

    /// The same for what computes on what was sent: a few at once, so that processors are left for painting and threads for those who only read.
    ///
    /// When the client hangs up, work that still waits is never begun, and work under way is cancelled; it keeps its turn until it has ended.
    pub(super) async fn computing<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self, &CancellationToken) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.turn().await?;
        let client = Client::default();
        let cancellation = client.0.clone();
        let done = self.blocking(move |app| {
            let _turn = turn;
            match cancellation.is_cancelled() {
                false => work(app, &cancellation),
                true => Err(Problem::unavailable("nobody waits for the answer any more", None)),
            }
        });
        done.await
    }

    /// The same for requests that begin with pictures, for so many jobs: there is a place for those before anything is decoded.
    pub(super) async fn decoding<T: Send + 'static>(
        &self,
        jobs: usize,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let has_places = move |app: &Self| Ok(app.queue().check_places(jobs)?);
        self.blocking(has_places).await?;
        self.computing(move |app, _| work(app)).await
    }

    /// The same for finished pictures in other sizes and formats. They have turns of their own and wait for each other as long as it takes: a picture that was
    /// painted is not refused because others plan.
    pub(super) async fn rendering<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.0.rendering.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Problem::unavailable("the server stops", None))?;
        let done = self.blocking(move |app| {
            let _turn = turn;
            work(app)
        });
        done.await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Problem> {
        match timeout(self.0.options.turn_timeout, self.0.planning.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::unavailable("too many are planning: try again in a while", Some(10))),
        }
    }
}

/// Cancels when it is dropped, as happens with everything that a request holds when its client hangs up.
#[derive(Default)]
struct Client(Arc<CancellationToken>);

impl Drop for Client {
    fn drop(&mut self) {
        self.0.cancel(CancelReason::Unwanted);
    }
}
