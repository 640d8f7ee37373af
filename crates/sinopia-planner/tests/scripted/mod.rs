//! A server on this machine that answers every request with the next line of a script, and remembers what it was asked.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

/// What a request is answered with.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing, until whoever asks hangs up.
    Hang,
    /// These bytes, once the gate is open.
    Held(Gate, Vec<u8>),
}

/// What holds a reply back. Clones are the same.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        drop(self.0.1.wait_while(lock(&self.0.0), |is_open| !*is_open));
    }
}

/// What the server was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// A running server; it ends with the test's process.
pub struct Server {
    pub address: String,
    script: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Questions>,
}

/// What a server was asked so far.
#[derive(Default)]
struct Questions {
    asked: Mutex<Vec<Asked>>,
    came: Condvar,
}

impl Server {
    /// A server with a script. The last reply is repeated.
    pub fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let asked = Arc::new(Questions::default());
        let server = Self { address, script: script.clone(), asked: asked.clone() };
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (script, asked) = (script.clone(), asked.clone());
                std::thread::spawn(move || serve(connection, &script, &asked));
            }
        });
        server
    }

    pub fn base_url(&self) -> String {
        format!("{}/v1", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.asked.asked).clone()
    }

    /// Waits until so many requests have come.
    pub fn wait_until_asked(&self, count: usize) {
        drop(self.asked.came.wait_while(lock(&self.asked.asked), |asked| asked.len() < count));
    }

    /// The text of the last message of request number `index`.
    pub fn said(&self, index: usize) -> String {
        let body = &self.asked()[index].body;
        let last = body["messages"].as_array().and_then(|messages| messages.last()).map(|message| &message["content"]);
        last.unwrap_or(&body["prompt"]).as_str().unwrap_or_default().to_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut connection: TcpStream, script: &Mutex<VecDeque<Reply>>, questions: &Questions) {
    let Some(request) = read_request(&connection) else { return };
    lock(&questions.asked).push(request);
    questions.came.notify_all();
    let reply = {
        let mut script = lock(script);
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
    };
    match reply {
        Some(Reply::Bytes(bytes)) => drop(connection.write_all(&bytes)),
        Some(Reply::Held(gate, bytes)) => {
            gate.wait();
            drop(connection.write_all(&bytes));
        }
        Some(Reply::Hang) => wait_for_end(&mut connection),
        None => {}
    }
}

/// Waits until whoever is at the other end has hung up, whatever they send before.
pub fn wait_for_end(connection: &mut TcpStream) {
    let _ = std::io::copy(connection, &mut std::io::sink()); // to the end, or a reset
}

fn read_request(connection: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { path, authorization, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

/// An answer with a status line, headers (each ending with `\r\n`) and a body.
pub fn http(status: &str, headers: &str, body: &[u8]) -> Reply {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    Reply::Bytes(bytes)
}

pub fn json_reply(status: &str, headers: &str, body: &Value) -> Reply {
    http(status, &format!("{headers}Content-Type: application/json\r\n"), body.to_string().as_bytes())
}

/// A reply that is held back until the gate is open.
pub fn held(gate: &Gate, reply: Reply) -> Reply {
    match reply {
        Reply::Bytes(bytes) => Reply::Held(gate.clone(), bytes),
        other => other,
    }
}

/// The answer of a chat model.
pub fn chat(text: &str) -> Reply {
    let choice = json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"});
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120});
    json_reply("200 OK", "", &json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}))
}

/// The answer of a model that continues texts.
pub fn continuation(text: &str) -> Reply {
    json_reply("200 OK", "", &json!({"choices": [{"text": text, "finish_reason": "stop"}]}))
}
