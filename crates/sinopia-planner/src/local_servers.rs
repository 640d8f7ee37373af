//! Language models that run on this machine: looked for at the usual ports of their servers, so that whoever has one hears how to use it. Nothing is used unasked.
//!
//! A server is known by what its own endpoint says: Ollama by its tags, the others by whom their models are owned by. Whatever else listens there is left alone.

use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sinopia_layout::counted;
use sinopia_layout::limits::LLM_REPLY_BYTES;
use ureq::Agent;

/// How long looking may take in all.
pub const TIME_LIMIT: Duration = Duration::from_millis(200);

/// Longest name of a model that is told, in characters.
const NAME_CHARS: usize = 200;

/// What names of models say that write no texts.
const NO_WRITERS: [&str; 3] = ["embed", "rerank", "whisper"];

/// A program that serves language models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalServerKind {
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// llama.cpp's `llama-server`.
    LlamaCpp,
    /// vLLM.
    Vllm,
}

impl LocalServerKind {
    /// All of them, those that people have most often first.
    pub const ALL: [Self; 4] = [Self::Ollama, Self::LmStudio, Self::LlamaCpp, Self::Vllm];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vLLM",
        }
    }

    /// Its name among [`KNOWN_SERVERS`](crate::address::KNOWN_SERVERS), which stands for its address.
    pub fn address_name(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::LmStudio => "lm-studio",
            Self::LlamaCpp => "llama.cpp",
            Self::Vllm => "vllm",
        }
    }

    /// Where it listens when nothing is changed.
    pub fn port(self) -> u16 {
        match self {
            Self::Ollama => 11434,
            Self::LmStudio => 1234,
            Self::LlamaCpp => 8080,
            Self::Vllm => 8000,
        }
    }

    /// Whom its models are owned by, as `/v1/models` says.
    fn owner(self) -> Option<&'static str> {
        match self {
            Self::Ollama => None,
            Self::LmStudio => Some("organization_owner"),
            Self::LlamaCpp => Some("llamacpp"),
            Self::Vllm => Some("vllm"),
        }
    }
}

/// A server that was found, with models that can plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalServer {
    /// Which program.
    pub kind: LocalServerKind,
    /// Names of its models, as it lists them; never empty.
    pub models: Vec<String>,
}

impl LocalServer {
    /// The flags that let it plan.
    pub fn flags(&self) -> String {
        let model = self.models.first().map(String::as_str).unwrap_or_default();
        // The name of a file would be a file that is run in process.
        let by_name = model.to_ascii_lowercase().ends_with(".gguf");
        let planner = if by_name { "--planner openai " } else { "" };
        format!("{planner}--llm-base-url {} --llm-model {}", self.kind.address_name(), in_a_shell(model))
    }
}

impl fmt::Display for LocalServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = match self.models.len() {
            0 | 1 => String::new(),
            count => format!(" ({} in all)", counted(count, "model")),
        };
        write!(f, "{} runs on this machine{others}: `{}` lets it plan", self.kind.name(), self.flags())
    }
}

/// A place to look at.
#[derive(Debug, Clone, Copy)]
struct Place {
    kind: LocalServerKind,
    port: u16,
}

/// The servers of language models that answer on this machine, at their usual ports and within [`TIME_LIMIT`].
pub fn find() -> Vec<LocalServer> {
    find_at(LocalServerKind::ALL.map(|kind| Place { kind, port: kind.port() }), TIME_LIMIT)
}

/// Looks at all places at once. Whoever has not answered when the time is over is not there.
fn find_at<const N: usize>(places: [Place; N], limit: Duration) -> Vec<LocalServer> {
    let end = Instant::now() + limit;
    let (sender, receiver) = channel();
    for (index, place) in places.into_iter().enumerate() {
        let sender: Sender<(usize, LocalServer)> = sender.clone();
        let look = move || {
            if let Some(server) = look_at(place, limit) {
                let _ = sender.send((index, server)); // unless nobody waits any more
            }
        };
        // Where there is no thread to look with, nothing is found.
        let _ = thread::Builder::new().name("local servers".to_owned()).spawn(look);
    }
    drop(sender);
    let mut found = Vec::new();
    while let Ok(server) = receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
        found.push(server);
    }
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, server)| server).collect()
}

fn look_at(Place { kind, port }: Place, limit: Duration) -> Option<LocalServer> {
    let models: Vec<String> = match kind.owner() {
        None => get::<Tags>(port, "/api/tags", limit)?.models.into_iter().map(|tag| tag.name).collect(),
        Some(owner) => {
            let listed = get::<Models>(port, "/v1/models", limit)?.data.into_iter();
            listed.filter(|model| model.owned_by == owner).map(|model| model.id).collect()
        }
    };
    let models: Vec<String> = models.into_iter().filter(|name| can_plan(name)).collect();
    (!models.is_empty()).then_some(LocalServer { kind, models })
}

/// What `GET` at this machine answers, if it is JSON of this form.
fn get<T: DeserializeOwned>(port: u16, path: &str, limit: Duration) -> Option<T> {
    let config = Agent::config_builder()
        .timeout_global(Some(limit))
        .max_redirects(0)
        .proxy(None)
        .user_agent(concat!("sinopia/", env!("CARGO_PKG_VERSION")));
    let agent = Agent::new_with_config(config.build());
    let mut response = agent.get(format!("http://127.0.0.1:{port}{path}")).call().ok()?;
    let bytes = response.body_mut().with_config().limit(LLM_REPLY_BYTES).read_to_vec().ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Ollama's `/api/tags`. The digest tells it from other lists of models.
#[derive(Deserialize)]
struct Tags {
    models: Vec<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    #[serde(rename = "digest")]
    _digest: String,
}

/// `/v1/models`, as OpenAI has it.
#[derive(Deserialize)]
struct Models {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    owned_by: String,
}

/// Whether a model of this name may write texts, and the name can be typed.
fn can_plan(name: &str) -> bool {
    let is_plain = !name.is_empty() && name.chars().count() <= NAME_CHARS;
    let is_typed = name.chars().all(|c| !c.is_control() && c != '\'');
    let lower = name.to_lowercase();
    is_plain && is_typed && !NO_WRITERS.iter().any(|word| lower.contains(word))
}

/// A word as a shell reads it.
fn in_a_shell(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@+-".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
#[path = "../tests/scripted/mod.rs"]
mod scripted;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use serde_json::{Value, json};

    use super::LocalServerKind::{LlamaCpp, LmStudio, Ollama, Vllm};
    use super::scripted::{Reply, Server, http, json_reply};
    use super::*;
    use crate::address::KNOWN_SERVERS;

    /// Longer than a small server needs on a machine that is busy.
    const PATIENT: Duration = Duration::from_secs(60);

    fn port(server: &Server) -> u16 {
        server.address.rsplit(':').next().unwrap().parse().unwrap()
    }

    /// What is found where a server answers so, and the path that it was asked for.
    fn found(kind: LocalServerKind, reply: Reply) -> Option<LocalServer> {
        let server = Server::start(vec![reply]);
        let found = find_at([Place { kind, port: port(&server) }], PATIENT);
        let path = if kind == Ollama { "/api/tags" } else { "/v1/models" };
        assert_eq!(server.asked()[0].path, path);
        found.into_iter().next()
    }

    fn says(reply: &Value) -> Reply {
        json_reply("200 OK", "", reply)
    }

    fn models(owner: &str, ids: &[&str]) -> Reply {
        let data: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "object": "model", "owned_by": owner, "created": 1})).collect();
        says(&json!({"object": "list", "data": data}))
    }

    fn tags() -> Value {
        let tag = |name: &str| json!({"name": name, "model": name, "digest": "a3f2", "size": 5, "details": {}});
        json!({"models": [tag("qwen3:8b"), tag("nomic-embed-text:latest"), tag("gemma3:4b")]})
    }

    #[test]
    fn the_ports_and_names_are_those_of_the_known_addresses() {
        for kind in LocalServerKind::ALL {
            let (_, address) = KNOWN_SERVERS.iter().find(|(name, _)| *name == kind.address_name()).unwrap();
            assert_eq!(*address, format!("http://localhost:{}/v1", kind.port()));
        }
    }

    #[test]
    fn each_server_is_known_by_its_own_endpoint() {
        for (kind, reply, told) in [
            (
                Ollama,
                says(&tags()),
                "Ollama runs on this machine (2 models in all): `--llm-base-url ollama --llm-model qwen3:8b` lets it plan",
            ),
            (
                LmStudio,
                models("organization_owner", &["text-embedding-nomic-embed-text-v1.5", "qwen/qwen3-8b"]),
                "LM Studio runs on this machine: `--llm-base-url lm-studio --llm-model qwen/qwen3-8b` lets it plan",
            ),
            (
                LlamaCpp,
                models("llamacpp", &["/models/my qwen.gguf"]),
                "llama.cpp runs on this machine: `--planner openai --llm-base-url llama.cpp --llm-model '/models/my qwen.gguf'` lets it plan",
            ),
            (
                Vllm,
                models("vllm", &["Qwen/Qwen3-8B"]),
                "vLLM runs on this machine: `--llm-base-url vllm --llm-model Qwen/Qwen3-8B` lets it plan",
            ),
        ] {
            assert_eq!(found(kind, reply).unwrap().to_string(), told);
        }
    }

    #[test]
    fn whatever_else_listens_there_is_left_alone() {
        let page = http("200 OK", "Content-Type: text/html\r\n", b"<!DOCTYPE html><title>A blog</title>");
        for kind in LocalServerKind::ALL {
            for reply in [
                models("sinopia", &["miniature"]), // our own server
                models("openai", &["gpt-4"]),
                models(kind.owner().unwrap_or("ollama"), &[]),
                models(kind.owner().unwrap_or("ollama"), &["bge-reranker", "it's", "\u{1b}[31m", ""]),
                says(&json!({"models": [{"name": "llama"}]})),
                says(&json!({"error": "Unexpected endpoint"})),
                page.clone(),
                json_reply("404 Not Found", "", &tags()),
                http("301 Moved Permanently", "Location: http://example.org/\r\n", b""),
                Reply::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
            ] {
                assert_eq!(found(kind, reply), None, "{kind:?}");
            }
        }
        assert_eq!(found(Vllm, says(&tags())), None);
    }

    #[test]
    fn looking_ends_where_nobody_answers() {
        let hangs = Server::start(vec![Reply::Hang]);
        let limit = Duration::from_millis(50);
        assert_eq!(find_at([Place { kind: LmStudio, port: port(&hangs) }], limit), []);
    }

    #[test]
    fn places_where_nobody_listens_do_not_hide_the_others() {
        let answers = Server::start(vec![models("vllm", &["m"])]);
        // A port that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let places = [Place { kind: Ollama, port: free }, Place { kind: Vllm, port: port(&answers) }];
        let found = find_at(places, PATIENT);
        assert_eq!(found, [LocalServer { kind: Vllm, models: vec!["m".to_owned()] }]);
    }
}
