//! A server on a scripted engine, asked over real sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

use sinopia_server::{Server, ServerOptions, Stop};
use tempfile::TempDir;

use super::{Script, patience};

/// Longer than any test.
const FOREVER: Duration = Duration::from_secs(1 << 30);

/// A server and its folder.
pub struct Running {
    pub address: SocketAddr,
    pub script: Arc<Script>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Running {
    pub fn start(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = ServerOptions::new(folder.path().join("jobs"));
        options.address = SocketAddr::from(([127, 0, 0, 1], 0));
        // What clients are given a time for is tested where tests set the clock. Here nobody is too slow, however slow the machine.
        for time in [
            &mut options.turn_timeout,
            &mut options.header_timeout,
            &mut options.pause_timeout,
            &mut options.body_timeout,
            &mut options.write_timeout,
        ] {
            *time = FOREVER;
        }
        change(&mut options);
        let script = Arc::new(Script::default());
        let server = Server::start(script.clone(), options).unwrap();
        let (address, stop) = (server.address().unwrap(), Stop::default());
        let stopped = stop.clone();
        let thread = spawn(move || server.run(stopped).unwrap());
        Self { address, script, stop, thread: Some(thread), _folder: folder }
    }

    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    pub fn head(&self, request: &str, headers: &str) -> String {
        format!("{request} HTTP/1.1\r\nHost: {}\r\n{headers}", self.address)
    }

    /// A connection over which a whole request was sent.
    pub fn send(&self, request: &str, body: &str) -> TcpStream {
        let headers = format!(
            "Connection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = self.connect();
        stream.write_all(self.head(request, &headers).as_bytes()).unwrap();
        stream
    }

    /// What is answered to a whole request.
    #[track_caller]
    pub fn ask(&self, request: &str, body: &str) -> String {
        rest(&mut self.send(request, body))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _patience = patience::until("the server stops");
        self.stop.stop();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Everything until the end of the connection; a reset is an end.
#[track_caller]
pub fn rest(stream: &mut TcpStream) -> String {
    let _patience = patience::until("the connection ends");
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("{error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}
