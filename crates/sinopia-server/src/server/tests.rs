//! Clients that are slow on purpose: each is ended in bounded time, and costs nobody else anything.
//!
//! Connections lie in memory, and the clock is tokio's own: it goes on when everything waits, so that nothing here takes time or depends on it.

#[path = "../../tests/script/mod.rs"]
mod script;

use std::net::Ipv4Addr;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf, duplex, split};
use tokio::time::Instant;

use super::*;
use crate::events::{Event, Hub};
use script::{Script, patience};

/// Pause between the bytes of a client that trickles.
const DRIP: Duration = Duration::from_secs(1);
/// Bytes between a client and the server: what neither has taken.
const BUFFER: usize = 1 << 12;

/// A server without a socket.
struct Bench {
    router: Router,
    options: Arc<ServerOptions>,
    queue: Queue,
    hub: Arc<Hub>,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Arc::new(ServerOptions::new(folder.path().join("jobs")));
        let store = Arc::new(Store::open(&options.data).unwrap());
        let services = Services::new(Arc::new(Script::default()), store);
        let queue = Queue::start(services.clone(), options.queue).unwrap();
        let hub = services.hub.clone();
        let router = router(App::new(services, queue.clone(), options.clone()));
        Self { router, options, queue, hub, _folder: folder }
    }

    fn connect(&self) -> DuplexStream {
        let (client, server) = duplex(BUFFER);
        let service = Extension(Peer(Ipv4Addr::LOCALHOST.into())).layer(self.router.clone());
        let connection = connection(server, service, &self.options);
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    /// A connection over which the beginning of a request was sent.
    async fn send(&self, request: &str, rest: &str) -> DuplexStream {
        let mut client = self.connect();
        client.write_all(format!("{request} HTTP/1.1\r\nHost: localhost\r\n{rest}").as_bytes()).await.unwrap();
        client
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _patience = patience::until("the workers stop");
        self.queue.stop();
    }
}

/// Sends a byte now and then, as long as the server takes them.
fn trickle(mut client: WriteHalf<DuplexStream>) {
    tokio::spawn(async move {
        while client.write_all(b" ").await.is_ok() {
            sleep(DRIP).await;
        }
    });
}

/// Everything until the end of the connection.
async fn rest(client: &mut (impl AsyncRead + Unpin)) -> String {
    let _patience = patience::until("the connection ends");
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until a text has come.
async fn read_until(client: &mut DuplexStream, text: &str) -> String {
    let _patience = patience::until(&format!("{text:?} is read"));
    let mut seen = Vec::new();
    loop {
        seen.push(client.read_u8().await.expect("the connection ended"));
        if seen.ends_with(text.as_bytes()) {
            return String::from_utf8_lossy(&seen).into_owned();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_trickle_end_the_connection() {
    let bench = Bench::new();
    let start = Instant::now();
    let (mut reading, writing) = split(bench.send("GET /healthz", "X-Slow:").await);
    trickle(writing);
    let answer = rest(&mut reading).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert!(start.elapsed() <= bench.options.header_timeout + DRIP, "{:?}", start.elapsed());
    let mut other = bench.send("GET /healthz", "Connection: close\r\n\r\n").await;
    assert!(rest(&mut other).await.contains("200 OK"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_ended_with_408() {
    let bench = Bench::new();
    let start = Instant::now();
    let headers = "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let (mut reading, writing) = split(bench.send("POST /api/jobs", headers).await);
    trickle(writing);
    let answer = rest(&mut reading).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("took longer than 120 seconds"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), bench.options.body_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_coming_is_ended_with_408() {
    let bench = Bench::new();
    let start = Instant::now();
    let headers = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    let mut client = bench.send("POST /api/jobs", headers).await;
    let answer = rest(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("not in time"), "{answer}");
    assert_eq!(start.elapsed().as_secs(), bench.options.pause_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_does_not_read_is_let_go_and_one_that_reads_is_not() {
    let bench = Bench::new();
    let job = r#"{"caption": "hang"}"#;
    let headers =
        format!("Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{job}", job.len());
    let answer = rest(&mut bench.send("POST /api/jobs", &headers).await).await;
    let job: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let id = job["id"].as_str().unwrap();
    let listen = || async {
        let mut client = bench.send(&format!("GET /api/jobs/{id}/events"), "\r\n").await;
        read_until(&mut client, "event: job").await;
        client
    };
    let (mut reading, mut deaf) = (listen().await, listen().await);
    // For much longer than those that do not read are borne.
    let start = Instant::now();
    while start.elapsed() < 3 * bench.options.write_timeout {
        bench.hub.publish(id, Event::Preview("x".repeat(BUFFER)));
        read_until(&mut reading, "event: preview").await;
        sleep(DRIP).await;
    }
    // Its job goes on: nothing but the server's patience has ended it.
    let heard = rest(&mut deaf).await;
    assert!(heard.contains("event: preview"), "there was nothing to read: {heard}");
    bench.hub.publish(id, Event::Preview("the last".to_owned()));
    read_until(&mut reading, "the last").await;
}
