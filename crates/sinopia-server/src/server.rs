//! Listening: the socket, its limits, and an orderly end.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::AddExtension;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tower::Layer;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::http::{App, Peer, router};
use crate::options::ServerOptions;
use crate::queue::Queue;
use crate::services::Services;
use crate::store::Store;
use crate::wire::{JobRequest, RecipeAnswer};
use crate::write_timeout::WriteTimeout;

/// The longest that answers under way are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// The longest that paintings are waited for at the end: a part of a network takes seconds at most.
const LAST_PAINTINGS: Duration = Duration::from_secs(30);
/// Pause after an accept that failed, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// Time between two looks for pictures that were sent and that no job begins with.
const SWEEP_PAUSE: Duration = Duration::from_secs(3600);
/// Threads that may wait for disks and planners.
const BLOCKING_THREADS: usize = 64;
/// Threads that speak HTTP. They have little to do.
const HTTP_THREADS: usize = 2;

/// A server whose socket is open and whose workers paint; [`run`](Self::run) answers.
pub struct Server {
    runtime: tokio::runtime::Runtime,
    listener: TcpListener,
    router: Router,
    queue: Queue,
    services: Services,
    connections: Arc<Semaphore>,
    options: Arc<ServerOptions>,
}

impl Server {
    /// Opens the folder of jobs and the socket, and starts the workers.
    ///
    /// # Errors
    /// [`Error::NoToken`] for an address that others reach, [`Error::Listen`], and what [`Store::open`] and [`Queue::start`] return.
    pub fn start(engine: Arc<dyn Engine>, options: ServerOptions) -> Result<Self> {
        let address = options.address;
        if options.token.is_none() && !is_loopback(address.ip()) {
            return Err(Error::NoToken { address });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("http")
            .enable_all()
            .build()
            .map_err(|source| Error::System { what: "threads", source })?;
        let services = Services::new(engine.clone(), Arc::new(open_store(engine.as_ref(), &options)?));
        let listener = runtime.block_on(TcpListener::bind(address));
        let listener = listener.map_err(|source| Error::Listen { address, source })?;
        let queue = Queue::start(services.clone(), options.queue)?;
        let connections = Arc::new(Semaphore::new(options.max_connections.max(1)));
        let options = Arc::new(options);
        let app = App::new(services.clone(), queue.clone(), options.clone());
        Ok(Self { runtime, listener, router: router(app), queue, services, connections, options })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// [`Error::System`] if the system does not tell.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|source| Error::System { what: "the socket's address", source })
    }

    /// Answers until the process is asked to end (Ctrl-C, `SIGTERM`) or `stop` is. Then answers under way are finished, and what is being painted goes
    /// back into the queue for the next start.
    ///
    /// # Errors
    /// [`Error::System`] if signals cannot be listened to.
    pub fn run(self, stop: Stop) -> Result<()> {
        let Self { runtime, listener, router, queue, services, connections, options } = self;
        let hub = services.hub.clone();
        runtime.block_on(async {
            tokio::spawn(sweep_uploads(services, options.upload_age));
            let graceful = GracefulShutdown::new();
            let signals = signals()?;
            tokio::pin!(signals);
            loop {
                tokio::select! {
                    accepted = accept(&listener, &connections) => {
                        let Some(Accepted { stream, peer, permit }) = accepted else { continue };
                        let service = Extension(peer).layer(router.clone());
                        let connection = graceful.watch(connection(stream, service, &options));
                        tokio::spawn(async move {
                            // A client that hangs up half-way is no news.
                            let _ = connection.await;
                            drop(permit);
                        });
                    }
                    () = &mut signals => break,
                    () = stop.0.notified() => break,
                }
            }
            tracing::info!("stopping");
            drop(listener);
            hub.close();
            let paintings = tokio::task::spawn_blocking(move || queue.stop());
            if timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
                tracing::warn!("some answers were not finished");
            }
            if timeout(LAST_PAINTINGS, paintings).await.is_err() {
                tracing::warn!("a painting does not end; it starts over with the server");
            }
            Ok(())
        })?;
        runtime.shutdown_background();
        Ok(())
    }
}

/// Deletes pictures that were sent too long ago and that no job begins with, at once and then every hour.
async fn sweep_uploads(services: Services, age: Duration) {
    let mut pause = tokio::time::interval(SWEEP_PAUSE);
    loop {
        pause.tick().await;
        let Services { store, metrics, .. } = services.clone();
        let swept = tokio::task::spawn_blocking(move || match store.sweep_uploads(age) {
            Ok(0) => {}
            Ok(count) => {
                metrics.uploads_swept.inc_by(count as u64);
                tracing::info!(count, "deleted pictures that were sent and that no job begins with");
            }
            Err(error) => tracing::error!(error = error.with_causes(), "cannot delete old uploads"),
        });
        if swept.await.is_err() {
            return; // the runtime ends
        }
    }
}

/// The store in the folder that the options name.
fn open_store(engine: &dyn Engine, options: &ServerOptions) -> Result<Store> {
    let request_of = |png: &[u8]| match engine.recipe(png) {
        Ok(RecipeAnswer::Sinopia(reply)) => Some(JobRequest::from(*reply)),
        Ok(RecipeAnswer::Foreign { .. }) | Err(_) => None,
    };
    match options.recover {
        true => Store::recover(&options.data, &request_of, options.queue.keep),
        false => Store::open(&options.data),
    }
}

/// What ends a [`Server`] from within the process. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<tokio::sync::Notify>);

impl Stop {
    /// Ends the server.
    pub fn stop(&self) {
        self.0.notify_one();
    }
}

/// Whether only this machine reaches an address.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// A connection, and its place among those that there may be at once.
struct Accepted {
    stream: TcpStream,
    peer: Peer,
    permit: OwnedSemaphorePermit,
}

/// The next connection, once there is room for one.
async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = connections.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Answers are small; waiting to send more at once only delays them.
            let _ = stream.set_nodelay(true);
            Some(Accepted { stream, peer: Peer(peer.ip()), permit })
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The router, with whoever asks.
type Service = AddExtension<Router, Peer>;

fn connection<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    service: Service,
    options: &ServerOptions,
) -> http1::Connection<TokioIo<WriteTimeout<S>>, TowerToHyperService<Service>> {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(options.header_timeout);
    let stream = WriteTimeout::new(stream, options.write_timeout);
    builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
}

/// Ends when the process is asked to.
fn signals() -> Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|source| Error::System { what: "signals", source });
        let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

#[cfg(test)]
mod tests;
