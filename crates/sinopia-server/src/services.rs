//! What the queue and the handlers work with.

use std::sync::Arc;

use crate::engine::Engine;
use crate::events::Hub;
use crate::metrics::Metrics;
use crate::store::Store;

/// What the queue and the handlers work with; clones are the same.
#[derive(Clone)]
pub struct Services {
    /// Plans, checks and paints.
    pub engine: Arc<dyn Engine>,
    /// Keeps jobs and pictures.
    pub store: Arc<Store>,
    /// Tells listeners what happens to jobs.
    pub hub: Arc<Hub>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Services {
    /// An engine on a store; nobody listens yet and nothing is counted.
    pub fn new(engine: Arc<dyn Engine>, store: Arc<Store>) -> Self {
        Self { engine, store, hub: Arc::default(), metrics: Arc::default() }
    }
}
