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
//! Start reading at [`Server`], then [`queue`] (what becomes of a job), [`store`] (how jobs and pictures are kept, and in which order they are written) and
//! `http/` (one file a topic, `guard.rs` for who may ask).

// The engine of the integration tests plays in unit tests too, and knows the crate by its name.
#[cfg(test)]
extern crate self as sinopia_server;

pub mod cancellation;
pub mod engine;
pub mod seed;
pub mod wire;

mod options;
mod server;
mod token;
mod write_timeout;

pub mod queue;
pub mod store;

pub mod events;
pub mod metrics;
mod services;

mod http;

mod error;

pub use cancellation::{CancelReason, CancellationToken};
pub use engine::{Answer, Engine, Fault, Refusal, Watch};
pub use error::{Error, Result};
pub use options::ServerOptions;
pub use server::{Server, Stop};
pub use services::Services;
pub use token::Token;

/// The OpenAPI document of everything that the server answers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    http::api().into_openapi()
}
