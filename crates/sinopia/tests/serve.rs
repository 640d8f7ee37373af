//! The server as its clients meet it: the real program on the real miniature, asked over real sockets, killed where it hurts.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "these are tests")]

#[path = "../../sinopia-planner/tests/scripted/mod.rs"]
mod scripted;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");
const TOKEN: &str = "correct-horse-battery";
/// Longest that anything here is waited for. Nothing is expected to take nearly as long.
const PATIENCE: Duration = Duration::from_secs(240);

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
    command.current_dir(folder).env("HF_HUB_OFFLINE", "1").env_remove("SINOPIA_TOKEN").env_remove("SINOPIA_CONFIG");
    command.stdin(Stdio::null());
    command
}

/// A running server and its folder.
struct Server {
    child: Child,
    address: String,
    token: Option<&'static str>,
    log: Arc<Mutex<String>>,
    folder: Arc<TempDir>,
}

/// What was answered.
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> Option<String> {
        let line = self.head.lines().find(|line| line.to_lowercase().starts_with(&format!("{name}:")))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}\n{}", self.head, self.text());
        self
    }
}

impl Server {
    fn start(args: &[&str]) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), args, &[])
    }

    fn start_in(folder: Arc<TempDir>, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = program(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "jobs", "--log-level", "debug"]).args(args);
        command.envs(variables.iter().copied()).stderr(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let line = lines.next().expect("the server ended before it listened").unwrap();
            if let Some((_, rest)) = line.split_once("open http://") {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
            *log.lock().unwrap() += &(line + "\n");
        };
        let kept = log.clone();
        thread::spawn(move || lines.map_while(Result::ok).for_each(|line| *kept.lock().unwrap() += &(line + "\n")));
        Self { child, address, token: None, log, folder }
    }

    /// One request, written by hand so that no client mends it.
    fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head += &format!("Host: {}\r\n", self.address);
        }
        if let Some(token) = self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let _ = stream.write_all(body); // a server that refuses need not read it all
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("no answer");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => unchunked(&answer[end + 4..]),
            false => answer[end + 4..].to_vec(),
        };
        Reply { status, head, body }
    }

    fn get(&self, path: &str) -> Reply {
        self.raw("GET", path, &[], b"")
    }

    fn post(&self, path: &str, body: &Value) -> Reply {
        self.raw("POST", path, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    fn create(&self, job: &Value) -> String {
        self.post("/api/jobs", job).expect(202).json()["id"].as_str().unwrap().to_owned()
    }

    fn job(&self, id: &str) -> Value {
        self.get(&format!("/api/jobs/{id}")).expect(200).json()
    }

    /// Waits until a job is as wanted.
    fn wait(&self, id: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let job = self.job(id);
            if is_there(&job) {
                return job;
            }
            assert!(start.elapsed() < PATIENCE, "{job:#}\n{}", self.log.lock().unwrap());
            thread::sleep(Duration::from_millis(30));
        }
    }

    fn done(&self, id: &str) -> Value {
        let job = self.wait(id, |job| !["queued", "running"].contains(&job["state"].as_str().unwrap()));
        assert_eq!(job["state"], "done", "{job:#}");
        job
    }

    /// As the system's memory killer does it.
    fn kill(mut self) -> Arc<TempDir> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.folder.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        let chunk = &body[end + 2..];
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&chunk[..size]);
        body = &chunk[size + 2..];
    }
    whole
}

fn layout() -> Value {
    serde_json::from_str(&std::fs::read_to_string(LAYOUT).unwrap()).unwrap()
}

/// A painting of a fraction of a second.
fn short(seed: u64) -> Value {
    json!({"caption": "a red car", "method": "sd", "steps": 2, "seed": seed})
}

/// A painting of a minute.
fn long() -> Value {
    json!({"caption": "two dogs", "layout": layout(), "method": "lmd", "steps": 250})
}

fn painted_here(folder: &Path, args: &[&str]) -> Vec<u8> {
    let out: PathBuf = folder.join("here.png");
    let status = program(folder).args(args).args(["--out", out.to_str().unwrap(), "--quiet"]).status().unwrap();
    assert!(status.success());
    std::fs::read(out).unwrap()
}

#[test]
fn a_job_is_painted_as_the_command_line_paints_it_and_can_be_followed() {
    let server = Server::start(&[]);
    let request = json!({"caption": "a dog", "layout": layout(), "steps": 3, "seed": 5,
        "options": {"frozen_step_ratio": 0.4}, "judge": true});
    let id = server.create(&request);
    let events = server.get(&format!("/api/jobs/{id}/events")).expect(200).text();
    let jobs: Vec<Value> = events
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("event: job\ndata: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(jobs.last().unwrap()["state"], "done", "{events}");
    assert!(events.contains("event: progress\ndata: {\"stage\""), "{events}");
    assert!(events.contains("event: preview\ndata: {\"image\":\"data:image/png;base64,"), "{events}");

    let job = server.done(&id);
    assert_eq!(job["guidance_scale"], 3.5);
    assert_eq!(job["verdict"]["objects"].as_array().unwrap().len(), 2);
    assert_eq!(job["verdict"]["objects"][0]["phrase"], "a blue dog");
    let png = server.get(job["image"].as_str().unwrap()).expect(200);
    assert_eq!(png.header("content-type").unwrap(), "image/png");
    let args =
        ["generate", "a dog", "--layout", LAYOUT, "--steps", "3", "--seed", "5", "--set", "frozen_step_ratio=0.4"];
    assert!(png.body == painted_here(server.folder.path(), &args), "the server paints something else");

    let recipe = server.raw("POST", "/api/recipe", &[], &png.body).expect(200).json();
    assert_eq!((&recipe["seed"], &recipe["caption"], &recipe["layout"]), (&json!(5), &json!("a dog"), &job["layout"]));
    assert_eq!(server.post("/api/evaluate", &json!({"job": id})).expect(200).json(), job["verdict"]);
    server.raw("POST", "/api/recipe", &[], b"no picture").expect(400);
}

#[test]
fn a_caption_is_planned_and_painted_and_found_again() {
    let server = Server::start(&[]);
    let caption = "a red apple to the left of a blue ball";
    let id = server.create(&json!({"caption": caption, "steps": 2}));
    let other = server.create(&short(1));
    let job = server.done(&id);
    assert_eq!(job["layout"]["objects"].as_array().unwrap().len(), 2, "{job:#}");
    let png = server.get(job["image"].as_str().unwrap()).expect(200).body;
    assert!(png == painted_here(server.folder.path(), &["generate", caption, "--steps", "2"]), "planned otherwise");
    server.done(&other);
    let found = server.get("/api/jobs?q=blue%20ball&state=done").expect(200).json();
    assert_eq!(found["jobs"].as_array().unwrap().len(), 1);
    let page = server.get("/api/jobs?limit=1").expect(200).json();
    assert_eq!(page["jobs"][0]["id"], json!(other));
    let rest = server.get(&format!("/api/jobs?before={}", page["next"].as_str().unwrap())).expect(200).json();
    assert_eq!((&rest["jobs"][0]["id"], &rest["next"]), (&json!(id), &Value::Null));
    server.raw("DELETE", &format!("/api/jobs/{id}"), &[], b"").expect(204);
    server.get(&format!("/api/jobs/{id}")).expect(404);
    server.get(&format!("/api/jobs/{id}/image.png")).expect(404);
}

#[test]
fn layouts_are_planned_checked_mended_composed_and_converted() {
    let server = Server::start(&[]);
    let plan = server.post(
        "/api/plan",
        &json!({"caption": "two red apples", "candidates": 2,
        "canvas": {"width": 640, "height": 384}}),
    );
    let plan = plan.expect(200).json();
    assert_eq!(plan["layout"]["canvas"], json!({"width": 640, "height": 384}));
    assert_eq!(plan["candidates"].as_array().unwrap().len(), 2);
    assert_eq!(plan["candidates"][0]["layout"], plan["layout"]);
    let outside = json!({"canvas": {"width": 512, "height": 512}, "background": "A beach",
        "objects": [{"phrase": "a cat", "bbox": [400, 400, 300, 300]}]});
    let checked =
        server.post("/api/check", &json!({"caption": "a cat and a dog", "layout": outside})).expect(200).json();
    assert!(checked["findings"].as_array().unwrap().iter().any(|one| one["severity"] == "fault"), "{checked}");
    let mended = server.post("/api/repair", &json!({"layout": outside})).expect(200).json();
    assert_eq!(mended["layout"]["objects"][0]["bbox"], json!([400, 400, 112, 112]));
    assert!(!mended["mended"].as_array().unwrap().is_empty());
    let composed = server.post("/api/compose", &json!({"layout": outside})).expect(200).json();
    assert_eq!(composed["overall_prompt"], "A beach with a cat");
    assert_eq!(composed["objects"][0]["box"], json!([400.0, 400.0, 112.0, 112.0]));
    // The built-in planner changes no layouts, and says so.
    let edited = server.post("/api/plan/edit", &json!({"layout": outside, "instruction": "move the cat up"}));
    assert_eq!(edited.expect(422).json()["error"]["code"], "planner_failed");

    let text = "[('a cat', [10, 20, 30, 40])]\nBackground prompt: A beach\nNegative prompt: ";
    let whole = server.raw("POST", "/api/layouts/convert?to=sinopia", &[], text.as_bytes()).expect(200).json();
    assert_eq!(whole["layout"]["objects"][0], json!({"phrase": "a cat", "bbox": [10, 20, 30, 40]}));
    for format in ["json", "text", "coco", "ideogram", "omost"] {
        let written =
            server.raw("POST", &format!("/api/layouts/convert?to={format}"), &[], text.as_bytes()).expect(200);
        let back = server.raw("POST", "/api/layouts/convert?to=sinopia", &[], &written.body).expect(200).json();
        assert_eq!(back["layout"]["objects"][0]["phrase"], "a cat", "{format}");
    }
    // What a reader would lose without a word is told; what is wrong, in one line.
    assert_eq!(whole["notes"], json!([]));
    let cut = server.post("/api/layouts/convert?to=sinopia", &outside).expect(200).json();
    assert!(cut["notes"].to_string().contains("a cat"), "{cut}");
    let wrong = server.raw("POST", "/api/layouts/convert?to=sinopia", &[], b"{\"hello\": 1}").expect(400).json();
    let message = wrong["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("this is no layout: line 1, column ") && !message.contains('\n'), "{message}");
    server.raw("POST", "/api/layouts/convert?to=sinopia", &[], b"no layout at all").expect(400);
    server.raw("POST", "/api/layouts/convert?to=cake", &[], text.as_bytes()).expect(400);
}

#[test]
fn a_painting_is_cancelled_within_it_and_the_next_one_comes() {
    let server = Server::start(&[]);
    let (running, waiting, next) = (server.create(&long()), server.create(&short(1)), server.create(&short(2)));
    server.wait(&running, |job| job["progress"]["step"].as_u64().unwrap_or(0) > 0);
    assert_eq!(server.job(&next)["position"], 1);
    server.raw("DELETE", &format!("/api/jobs/{running}"), &[], b"").expect(409);
    server.post(&format!("/api/jobs/{waiting}/cancel"), &json!({})).expect(200);
    server.post(&format!("/api/jobs/{running}/cancel"), &json!({})).expect(200);
    let ended = server.wait(&running, |job| job["state"] != "running");
    assert_eq!((&ended["state"], &ended["image"]), (&json!("cancelled"), &Value::Null));
    server.done(&next);
    assert_eq!(server.job(&waiting)["state"], "cancelled");
    let metrics = server.get("/metrics").expect(200).text();
    assert!(metrics.contains("sinopia_jobs_finished_total{state=\"cancelled\"} 2"), "{metrics}");
}

#[test]
fn a_job_whose_layout_is_still_planned_is_cancelled_at_once() {
    let model = scripted::Server::start(vec![scripted::Reply::Hang(PATIENCE)]);
    let server = Server::start(&["--llm-base-url", &model.base_url(), "--llm-model", "slow"]);
    let (planned, next) = (server.create(&json!({"caption": "two cats in a room"})), server.create(&short(1)));
    let start = Instant::now();
    while model.asked().is_empty() {
        assert!(start.elapsed() < PATIENCE, "nobody asked the model");
        thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    server.post(&format!("/api/jobs/{planned}/cancel"), &json!({})).expect(200);
    let ended = server.wait(&planned, |job| job["state"] != "running");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!((&ended["state"], &ended["error"]), (&json!("cancelled"), &Value::Null));
    server.done(&next);
    assert_eq!(model.asked().len(), 1);
}

#[test]
fn everything_that_a_job_says_of_painting_is_in_its_picture_and_told_of_it() {
    let server = Server::start(&[]);
    let how = json!({"guidance_interval": [0.25, 0.75], "deep_every": 2, "merge_tokens": 2, "text_encoder": "ella+clip",
        "negative_encoder": "clip", "negative": "blurry", "width": 128, "height": 64});
    let mut request = short(3);
    request["steps"] = json!(4);
    request.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    let job = server.done(&server.create(&request));
    let png = server.get(job["image"].as_str().unwrap()).expect(200).body;
    let recipe = server.raw("POST", "/api/recipe", &[], &png).expect(200).json();
    for (name, value) in how.as_object().unwrap() {
        assert_eq!((&job[name], &recipe[name]), (value, value), "{name}");
    }
    let plain = server.done(&server.create(&short(3)));
    let png = server.get(plain["image"].as_str().unwrap()).expect(200).body;
    let recipe = server.raw("POST", "/api/recipe", &[], &png).expect(200).json();
    assert_eq!((&recipe["guidance_interval"], &recipe["deep_every"]), (&json!([0.0, 1.0]), &json!(1)));
    assert_eq!((&recipe["text_encoder"], &recipe["negative_encoder"]), (&json!("clip"), &Value::Null));
    assert_eq!((&plain["text_encoder"], &plain["deep_every"]), (&Value::Null, &Value::Null));
    let options = server.get("/api/options").expect(200).json();
    assert_eq!(options["text_encoders"], json!(["clip", "ella", "ella+clip"]));
    assert_eq!(options["planner"]["edits"], false);
}

#[test]
fn nothing_is_lost_when_the_process_is_killed() {
    let server = Server::start(&[]);
    let finished = server.create(&short(0));
    server.done(&finished);
    let picture = server.get(&format!("/api/jobs/{finished}/image.png")).expect(200).body;
    let running = server.create(&json!({"caption": "a dog", "layout": layout(), "method": "lmd", "steps": 12}));
    let queued = [server.create(&short(1)), server.create(&short(2))];
    server.wait(&running, |job| job["progress"]["step"].as_u64().unwrap_or(0) > 0);
    let folder = server.kill();
    // What a kill in the middle of a write leaves behind.
    std::fs::write(folder.path().join("jobs/pictures").join(format!("{}.part", queued[0])), b"half").unwrap();

    let server = Server::start_in(folder, &[], &[]);
    assert!(server.get(&format!("/api/jobs/{finished}/image.png")).expect(200).body == picture);
    server.done(&running);
    queued.iter().for_each(|id| assert_eq!(server.done(id)["state"], "done"));
    for id in queued.iter().chain([&running]) {
        let png = server.get(&format!("/api/jobs/{id}/image.png")).expect(200).body;
        assert_eq!(image::load_from_memory(&png).unwrap().to_rgb8().dimensions(), (128, 128));
    }
    let metrics = server.get("/metrics").expect(200).text();
    assert!(metrics.contains("sinopia_jobs_finished_total{state=\"done\"} 3"), "each ends once: {metrics}");
    let left = std::fs::read_dir(server.folder.path().join("jobs/pictures")).unwrap().count();
    assert_eq!(left, 4, "a half-written file stayed");
}

#[test]
fn an_orderly_end_puts_the_painting_back() {
    let server = Server::start(&[]);
    let running = server.create(&long());
    server.wait(&running, |job| job["progress"]["step"].as_u64().unwrap_or(0) > 0);
    let pid = server.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut server = server;
    assert!(server.child.wait().unwrap().success());
    let server = Server::start_in(server.folder.clone(), &[], &[]);
    server.wait(&running, |job| job["state"] == "running");
    server.post(&format!("/api/jobs/{running}/cancel"), &json!({})).expect(200);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let server = Server::start(&["--max-queued", "1"]);
    let running = server.create(&long());
    server.wait(&running, |job| job["state"] == "running");
    server.create(&short(1));
    let refused = server.post("/api/jobs", &short(2)).expect(429);
    assert_eq!(refused.json()["error"]["code"], "queue_full");
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    server.post(&format!("/api/jobs/{running}/cancel"), &json!({})).expect(200);
}

#[test]
fn openai_clients_get_their_pictures() {
    use base64::Engine as _;
    let server = Server::start(&[]);
    let models = server.get("/v1/models").expect(200).json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("miniature")));
    let request =
        json!({"model": "miniature", "prompt": "a dog", "n": 2, "size": "128x128", "layout": layout(), "steps": 2});
    let reply = server.post("/v1/images/generations", &request).expect(200).json();
    assert_eq!(reply["data"].as_array().unwrap().len(), 2);
    let of = |index: usize| {
        let text = reply["data"][index]["b64_json"].as_str().unwrap();
        base64::engine::general_purpose::STANDARD.decode(text).unwrap()
    };
    assert_ne!(of(0), of(1), "seeds count up");
    let url = reply["data"][1]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.address)).unwrap();
    assert!(server.get(path).expect(200).body == of(1));
    let revised = reply["data"][0]["revised_prompt"].as_str().unwrap();
    assert!(revised.contains("a blue dog"), "{revised}");
    let error = server.post("/v1/images/generations", &json!({"prompt": "a dog", "size": "huge"})).expect(400).json();
    assert_eq!(error["error"]["type"], "invalid_request_error");
    server.post("/v1/images/generations", &json!({"prompt": "a dog", "n": 99})).expect(400);
    server.get("/v1/models/dall-e-3").expect(404);
}

#[test]
fn the_command_line_as_a_client_writes_the_same_file() {
    let server = Server::start(&[]);
    let folder = server.folder.path();
    let args =
        ["generate", "a dog", "--layout", LAYOUT, "--steps", "3", "--seed", "7", "--set", "frozen_step_ratio=0.4"];
    let here = painted_here(folder, &args);
    let url = format!("http://{}", server.address);
    let mut with_server = args.to_vec();
    with_server.extend(["--server", &url]);
    assert!(here == painted_here(folder, &with_server), "the server's file is another");
    assert!(folder.join("here.layout.svg").exists());
    let refused = program(folder).args(["generate", "a dog", "--server", &url, "--threads", "1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--threads"));
    let bad = program(folder).args(["generate", "a dog", "--server", &url, "--model", "/etc/passwd"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2), "{}", String::from_utf8_lossy(&bad.stderr));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("there is no model `/etc/passwd` here"));
}

// What docs/security.md promises, a test each.

#[test]
fn others_are_listened_to_with_a_token_only() {
    let folder = tempfile::tempdir().unwrap();
    let refused = program(folder.path()).args(["serve", "--listen", "0.0.0.0:0", "--data", "jobs"]).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("token") && message.contains("--token-file"), "{message}");
    std::fs::write(folder.path().join("token"), "short\n").unwrap();
    let weak = program(folder.path()).args(["serve", "--token-file", "token", "--data", "jobs"]).output().unwrap();
    assert_eq!(weak.status.code(), Some(2));
    assert!(!String::from_utf8_lossy(&weak.stderr).contains("short"), "the token is shown");
}

#[test]
fn the_token_opens_and_nothing_else_does() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let key = "sk-secret-of-a-language-model";
    let mut server = Server::start_in(folder, &[], &[("SINOPIA_TOKEN", TOKEN), ("SINOPIA_LLM_API_KEY", key)]);
    for path in ["/api/options", "/api/jobs", "/v1/models", "/metrics", "/api/", "/api/no-such-thing"] {
        let refused = server.get(path).expect(401);
        assert_eq!(refused.header("www-authenticate").as_deref(), Some("Bearer"), "{path}");
        for wrong in [
            "Bearer wrong-horse-battery",
            "Bearer correct-horse-batter",
            "Basic correct-horse-battery",
            "correct-horse-battery",
            "Bearer ",
        ] {
            server.raw("GET", path, &[("Authorization", wrong)], b"").expect(401);
        }
    }
    ["/", "/healthz", "/readyz", "/openapi.json", "/docs"]
        .into_iter()
        .for_each(|path| drop(server.get(path).expect(200)));
    // With a token other names are answered: a proxy passes them on.
    server.raw("GET", "/healthz", &[("Host", "paint.example")], b"").expect(200);
    server.token = Some(TOKEN);
    let options = server.get("/api/options").expect(200).text();
    server.done(&server.create(&short(1)));
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("/api/options"), "{log}");
    for text in [&options, &log] {
        assert!(!text.contains(TOKEN) && !text.contains(key), "a secret is told: {text}");
    }
    assert!(!log.contains("a red car"), "captions do not belong into the log: {log}");
}

#[test]
fn pages_of_other_origins_are_refused_unless_configured() {
    let server = Server::start(&["--cors-origin", "https://paint.example"]);
    let from = |origin: &str| server.raw("GET", "/api/options", &[("Origin", origin)], b"");
    for origin in ["https://evil.example", "null", "https://paint.example.evil.example", "http://127.0.0.1:1"] {
        let refused = from(origin).expect(403);
        assert_eq!(refused.header("access-control-allow-origin"), None);
    }
    from(&format!("http://{}", server.address)).expect(200);
    let allowed = from("https://paint.example").expect(200);
    assert_eq!(allowed.header("access-control-allow-origin").as_deref(), Some("https://paint.example"));
    let asked = server.raw("OPTIONS", "/api/jobs", &[("Origin", "https://paint.example")], b"").expect(204);
    assert!(asked.header("access-control-allow-headers").unwrap().contains("Authorization"));
    // A form of another page can send text, so text is not read.
    server.raw("POST", "/api/jobs", &[("Content-Type", "text/plain")], short(1).to_string().as_bytes()).expect(415);
    assert!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().is_empty());
}

#[test]
fn other_names_of_this_machine_are_refused() {
    let server = Server::start(&[]);
    for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:7878", ""] {
        server.raw("GET", "/api/options", &[("Host", host)], b"").expect(403);
        server.raw("GET", "/", &[("Host", host)], b"").expect(403);
    }
    server.raw("GET", "/api/options", &[("Host", "localhost:7878")], b"").expect(200);
}

#[test]
fn every_answer_has_the_headers_of_security() {
    let server = Server::start(&[]);
    for path in ["/", "/docs", "/docs/docs.js", "/api/options", "/api/jobs/none", "/no/such/page", "/openapi.json"] {
        let reply = server.get(path);
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(reply.header("x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
    for path in ["/", "/docs"] {
        let page = server.get(path).expect(200).text();
        assert!(!page.contains("style=") && !page.contains("onclick"), "{path} has inline style or script");
        let scripts = page.split("<script").skip(1);
        scripts.for_each(|script| assert!(script.split('>').next().unwrap().contains("src="), "{path}: inline script"));
    }
}

#[test]
fn requests_beyond_the_limits_are_refused_before_any_work() {
    let server = Server::start(&["--max-boxes", "2", "--max-pixels", "16384", "--max-steps", "10"]);
    let refuse = |job: Value, status: u16, word: &str| {
        let reply = server.post("/api/jobs", &job).expect(status);
        assert!(reply.text().contains(word), "`{word}` is missing in {}", reply.text());
    };
    let mut crowd = layout();
    crowd["objects"] = json!(vec![json!({"phrase": "a cat", "bbox": [1, 1, 99, 99]}); 3]);
    refuse(json!({"caption": "cats", "layout": crowd}), 400, "3 boxes");
    refuse(json!({"caption": "a cat", "method": "sd", "width": 256, "height": 128}), 413, "256 × 128");
    refuse(json!({"caption": "a cat", "method": "sd", "width": 100}), 400, "multiple of 8");
    refuse(json!({"caption": "a cat", "method": "sd", "steps": 11}), 400, "1 to 10");
    refuse(json!({"caption": "a cat", "method": "sd", "steps": 0}), 400, "1 to 10");
    refuse(json!({"caption": "x".repeat(5000), "method": "sd"}), 400, "5000 characters");
    refuse(json!({"caption": " ", "method": "sd"}), 400, "empty");
    refuse(json!({"method": "lmd"}), 400, "neither");
    refuse(json!({"caption": "a cat", "method": "magic"}), 400, "magic");
    refuse(json!({"caption": "a cat", "options": {"no_such_option": 1}}), 400, "no_such_option");
    refuse(json!({"caption": "a cat", "guidance_scale": 1000}), 400, "guidance_scale");
    let huge = server.raw("POST", "/api/jobs", &[("Content-Type", "application/json")], &vec![b' '; 17 * 1024 * 1024]);
    assert_eq!(huge.expect(413).json()["error"]["code"], "too_large");
    server.raw("POST", "/api/jobs", &[("Content-Type", "application/json")], b"{\"caption\": ").expect(400);
    server.raw("PUT", "/api/jobs", &[], b"").expect(405);
    assert!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().is_empty());
}

#[test]
fn a_picture_that_does_not_fit_the_memory_is_refused() {
    let server = Server::start(&["--memory-budget", "0.2", "--max-pixels", "16777216"]);
    let refused = server.post("/api/jobs", &json!({"caption": "a cat", "method": "sd", "width": 4096, "height": 4096}));
    assert!(refused.expect(413).text().contains("GB"));
    server.done(&server.create(&short(1)));
}

#[test]
fn places_come_from_the_configuration_and_never_from_a_request() {
    let server = Server::start(&[]);
    for model in ["/etc/passwd", "../miniature", "http://127.0.0.1:1/model", "owner/name", "file:///etc"] {
        let reply = server.post("/api/jobs", &json!({"caption": "a cat", "method": "sd", "model": model})).expect(400);
        assert!(reply.text().contains("there is no model"), "{}", reply.text());
        server.post("/v1/images/generations", &json!({"prompt": "a cat", "model": model})).expect(400);
    }
    for field in ["sam", "t5", "ella", "out", "template", "llm_base_url", "llm_model", "base_url", "path", "config"] {
        let mut job = short(1);
        job[field] = json!("/etc/passwd");
        server.post("/api/jobs", &job).expect(400);
        server.post("/api/plan", &json!({"caption": "a cat", field: "http://127.0.0.1:1"})).expect(400);
    }
}

#[test]
fn paths_lead_nowhere_else() {
    let server = Server::start(&[]);
    let folder = server.folder.path();
    std::fs::write(folder.join("jobs/secret.png"), b"secret").unwrap();
    for path in [
        "/../jobs.sqlite",
        "/..%2f..%2fetc/passwd",
        "/%2e%2e/jobs.sqlite",
        "/assets/../../Cargo.toml",
        "//etc/passwd",
        "/api/jobs/..%2fsecret/image.png",
        "/api/jobs/%2e%2e%2fsecret/image.png",
        "/api/jobs/secret/image.png",
        "/api/jobs/0123456789abcdef0123456789abcdef/image.png",
        "/jobs.sqlite",
        "/docs/../jobs.sqlite",
        "/%00",
    ] {
        let reply = server.get(path);
        assert!(matches!(reply.status, 400 | 404), "{path}: {}", reply.status);
        assert!(!reply.text().contains("secret") || reply.text().contains("\"error\""), "{path}: {}", reply.text());
    }
}

#[test]
fn the_document_names_every_route_and_the_page_shows_it_by_itself() {
    let server = Server::start(&[]);
    let document = server.get("/openapi.json").expect(200).json();
    for path in [
        "/api/options",
        "/api/plan",
        "/api/plan/edit",
        "/api/check",
        "/api/repair",
        "/api/compose",
        "/api/layouts/convert",
        "/api/jobs",
        "/api/jobs/{id}",
        "/api/jobs/{id}/cancel",
        "/api/jobs/{id}/events",
        "/api/jobs/{id}/image.png",
        "/api/recipe",
        "/api/evaluate",
        "/v1/images/generations",
        "/v1/models",
        "/healthz",
        "/readyz",
        "/metrics",
    ] {
        assert!(document["paths"][path].is_object(), "{path} is not in the document");
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let page = server.get("/docs").expect(200).text();
    assert!(!page.contains("http://") && !page.contains("https://"), "the page needs something from elsewhere");
}
