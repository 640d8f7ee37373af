//! A server on this machine that answers every request with the next line of a script, and remembers what it was asked.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of tests")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

/// What a request is answered with.
#[derive(Clone)]
pub enum Reply {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// Nothing for so long, then the end of the connection.
    Hang(Duration),
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
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// A server with a script. The last reply is repeated.
    pub fn start(script: Vec<Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(VecDeque::from(script)));
        let asked = Arc::new(Mutex::new(Vec::new()));
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
        lock(&self.asked).clone()
    }

    /// The text of the last message of request number `index`.
    pub fn said(&self, index: usize) -> String {
        let body = &self.asked()[index].body;
        let last = body["messages"].as_array().and_then(|messages| messages.last()).map(|message| &message["content"]);
        last.unwrap_or(&body["prompt"]).as_str().unwrap_or_default().to_owned()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn serve(mut connection: TcpStream, script: &Mutex<VecDeque<Reply>>, asked: &Mutex<Vec<Asked>>) {
    let Some(request) = read_request(&connection) else { return };
    lock(asked).push(request);
    let reply = {
        let mut script = lock(script);
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
    };
    match reply {
        Some(Reply::Bytes(bytes)) => drop(connection.write_all(&bytes)),
        Some(Reply::Hang(time)) => std::thread::sleep(time),
        None => {}
    }
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
