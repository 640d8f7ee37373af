//! A server for layout-grounded image generation: it plans, queues, paints, and tells how far it is.
//!
//! The server knows HTTP, jobs and security; it does not know how to paint. Whoever does implements [`Engine`]:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use sinopia_server::{Engine, Server, ServerOptions, Stop};
//!
//! fn serve(engine: Arc<dyn Engine>) -> sinopia_server::Result<()> {
//!     let server = Server::start(engine, ServerOptions::new("jobs".into()))?;
//!     println!("http://{}", server.address()?);
//!     server.run(Stop::default())
//! }
//! ```
//!
//! Start reading at [`Server`], then [`queue`] (what becomes of a job) and `http/` (one file a topic, `guard.rs` for who may ask).

pub mod engine;
pub mod seed;
pub mod wire;

mod impatient;
pub mod server;

pub mod queue;
pub mod store;

pub mod events;
pub mod metrics;

mod http;

mod error;

pub use engine::{Answer, Engine, Fault, Refusal, Watch};
pub use error::{Error, Result};
pub use http::Token;
pub use server::{Server, ServerOptions, Stop};

/// The OpenAPI document of everything that the server answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    http::api().into_openapi()
}
