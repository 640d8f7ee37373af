//! Clients that are slow on purpose: each is ended in bounded time, and costs nobody else anything.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

mod script;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use script::running::{Running, rest};

/// Time after which a slow client is ended here.
const SHORT: Duration = Duration::from_millis(400);
/// Pause between the bytes of a client that trickles.
const DRIP: Duration = Duration::from_millis(20);

/// Sends a byte now and then, as long as the server takes them.
fn trickle(stream: &TcpStream) -> JoinHandle<()> {
    let mut stream = stream.try_clone().unwrap();
    spawn(move || {
        while stream.write_all(b" ").is_ok() {
            sleep(DRIP);
        }
    })
}

/// Fails unless what began at `start` took about [`SHORT`]. The upper end leaves room for a busy machine.
fn took_about_short(start: Instant) {
    let took = start.elapsed();
    assert!(took >= SHORT / 2 && took < SHORT + Duration::from_secs(10), "{took:?}");
}

#[test]
fn headers_that_trickle_end_the_connection() {
    let server = Running::start(|options| options.header_timeout = SHORT);
    let mut stream = server.connect();
    let start = Instant::now();
    stream.write_all(server.head("GET /healthz", "X-Slow:").as_bytes()).unwrap();
    let dripping = trickle(&stream);
    let answer = rest(&mut stream);
    assert!(!answer.contains("200 OK"), "{answer}");
    took_about_short(start);
    drop(stream);
    dripping.join().unwrap();
    assert!(server.ask("GET /healthz", "").contains("200 OK"));
}

#[test]
fn a_body_that_trickles_is_ended_with_408() {
    let server = Running::start(|options| options.body_timeout = SHORT);
    let mut stream = server.connect();
    let start = Instant::now();
    let headers = "Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    stream.write_all(server.head("POST /api/jobs", headers).as_bytes()).unwrap();
    let dripping = trickle(&stream);
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("took longer than 0.4 seconds"), "{answer}");
    took_about_short(start);
    drop(stream);
    dripping.join().unwrap();
}

#[test]
fn a_body_that_stops_coming_is_ended_with_408() {
    let server = Running::start(|options| options.pause_timeout = SHORT);
    let mut stream = server.connect();
    let start = Instant::now();
    let headers = "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
    stream.write_all(server.head("POST /api/jobs", headers).as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("not in time"), "{answer}");
    took_about_short(start);
}

#[test]
fn a_listener_that_does_not_read_is_let_go_and_one_that_reads_is_not() {
    let server = Running::start(|options| options.write_timeout = SHORT);
    let job = server.ask("POST /api/jobs", r#"{"caption": "flood"}"#);
    let id = job.split("\"id\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let listen = || {
        let mut stream = server.connect();
        let path = format!("GET /api/jobs/{id}/events");
        stream.write_all(server.head(&path, "\r\n").as_bytes()).unwrap();
        stream
    };
    let mut reading = listen();
    let reader = spawn(move || {
        // For much longer than those that do not read are borne.
        let (start, mut bytes) = (Instant::now(), vec![0; 1 << 16]);
        while start.elapsed() < 5 * SHORT {
            assert!(reading.read(&mut bytes).unwrap() > 0, "the events ended");
            sleep(Duration::from_millis(1));
        }
    });
    let mut deaf = listen();
    // Once the buffers between the two are full, the server waits for as long as it does.
    sleep(8 * SHORT);
    let heard = rest(&mut deaf);
    assert!(heard.contains("event: preview"), "there was nothing to read");
    reader.join().unwrap();
    let now = server.ask(&format!("GET /api/jobs/{id}"), "");
    assert!(now.contains("\"state\":\"running\""), "the events ended with the job: {now}");
    server.ask(&format!("POST /api/jobs/{id}/cancel"), "");
}
