//! How the server is run.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::queue::QueueOptions;
use crate::store::UploadRoom;
use crate::token::Token;
use crate::wire::Limits;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where it listens. Others than this machine need [`token`](Self::token).
    pub address: SocketAddr,
    /// What clients have to show.
    pub token: Option<Token>,
    /// Pages of other origins that may call it, as browsers write them: `https://paint.example`.
    pub origins: Vec<String>,
    /// Proxies whose word on what the server is called counts: `X-Forwarded-Host`, `X-Forwarded-Proto`.
    pub trusted_proxies: Vec<IpNet>,
    /// The folder of jobs.
    pub data: PathBuf,
    /// Whether a damaged record of jobs is set aside, and pictures that no job names become jobs.
    pub recover: bool,
    /// The queue.
    pub queue: QueueOptions,
    /// How much may be asked for.
    pub limits: Limits,
    /// Pictures that were sent and are kept at once; further ones are refused.
    pub upload_room: UploadRoom,
    /// How long a picture is kept that was sent and that no job begins with.
    pub upload_age: Duration,
    /// Requests that plan at once; others wait.
    pub plans_at_once: usize,
    /// The longest that a request which plans or checks waits for others; then it is told to come again.
    pub turn_timeout: Duration,
    /// Connections at once; others wait.
    pub max_connections: usize,
    /// The longest that a client takes to say what it wants.
    pub header_timeout: Duration,
    /// The longest pause within a body.
    pub pause_timeout: Duration,
    /// The longest that a body takes, however steadily it comes.
    pub body_timeout: Duration,
    /// The longest that a client takes nothing of what it is sent: an answer, or events.
    pub write_timeout: Duration,
}

impl ServerOptions {
    /// The defaults, with jobs in a folder.
    pub fn new(data: PathBuf) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7878)),
            token: None,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            data,
            recover: false,
            queue: QueueOptions::default(),
            limits: Limits::default(),
            upload_room: UploadRoom { count: 1000, bytes: 1 << 30 },
            upload_age: Duration::from_secs(24 * 3600),
            plans_at_once: 2,
            turn_timeout: Duration::from_secs(60),
            max_connections: 1024,
            header_timeout: Duration::from_secs(15),
            pause_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(30),
        }
    }
}
