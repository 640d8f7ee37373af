//! The server as its clients meet it: the real program on the real miniature, asked over real sockets, killed where it hurts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "these are tests")]

#[path = "../../sinopia-planner/tests/scripted/mod.rs"]
mod scripted;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

const LAYOUT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/blue-dog-white-bowl.json");
const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");
const TOKEN: &str = "correct-horse-battery";
const TWO_CATS: &str =
    "[('a cat', [40, 200, 180, 200]), ('a cat', [290, 200, 180, 200])]\nBackground prompt: A room\nNegative prompt: ";

const SERVE: [&str; 7] = ["serve", "--listen", "127.0.0.1:0", "--data", "jobs", "--log-level", "debug"];

fn program(folder: &Path) -> Command {
    through(folder, Command::new(env!("CARGO_BIN_EXE_sinopia")))
}

/// A command that runs the program, or becomes it, in a folder.
fn through(folder: &Path, mut command: Command) -> Command {
    command.current_dir(folder).env("HF_HUB_OFFLINE", "1").env_remove("SINOPIA_TOKEN").env_remove("SINOPIA_CONFIG");
    command.env("XDG_CACHE_HOME", folder.join("cache")).stdin(Stdio::null());
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
        let command = program(folder.path());
        Self::start_with(command, folder, args, variables)
    }

    /// Runs the program by a command that names it.
    fn start_with(mut command: Command, folder: Arc<TempDir>, args: &[&str], variables: &[(&str, &str)]) -> Self {
        command.args(SERVE).args(args);
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

    /// A connection over which one request was sent, written by hand so that no client mends it.
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
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
        stream
    }

    /// The answer to one request.
    fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut stream = self.send(method, path, headers, body);
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

    /// Events of a job, as they come.
    fn listen(&self, id: &str) -> Events {
        let stream = self.send("GET", &format!("/api/jobs/{id}/events"), &[], b"");
        Events { lines: BufReader::new(stream).lines(), name: String::new() }
    }

    /// Waits until a job is as wanted, looking whenever something has happened to it.
    fn wait(&self, id: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        for _ in self.listen(id) {
            let job = self.job(id);
            if is_there(&job) {
                return job;
            }
        }
        let job = self.job(id);
        assert!(is_there(&job), "it ended otherwise: {job:#}\n{}", self.log.lock().unwrap());
        job
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

/// Names and data of server-sent events, as they come.
struct Events {
    lines: std::io::Lines<BufReader<TcpStream>>,
    name: String,
}

impl Iterator for Events {
    type Item = (String, Value);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?.ok()?;
            if let Some(name) = line.strip_prefix("event: ") {
                self.name = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((self.name.clone(), serde_json::from_str(data).unwrap()));
            }
        }
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
    // Somebody listens before it begins.
    let before = server.create(&long());
    let id = server.create(&request);
    let mut events = server.listen(&id);
    assert_eq!(events.next().unwrap().1["state"], "queued");
    server.post(&format!("/api/jobs/{before}/cancel"), &json!({})).expect(200);
    let events: Vec<(String, Value)> = events.collect();
    let (name, last) = events.last().unwrap();
    assert_eq!((name.as_str(), &last["state"]), ("job", &json!("done")), "{events:?}");
    let of_kind = |kind: &str| events.iter().find(|(name, _)| name == kind).map(|(_, data)| data);
    assert!(of_kind("progress").is_some_and(|data| data["stage"].is_string()), "{events:?}");
    let preview = of_kind("preview").unwrap()["image"].as_str().unwrap();
    assert!(preview.starts_with("data:image/png;base64,"), "{preview}");

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

/// A PNG of one pixel with a text in it, as it is or deflated.
fn picture(keyword: &str, text: &str, is_deflated: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    match is_deflated {
        true => encoder.add_ztxt_chunk(keyword.to_owned(), text.to_owned()).unwrap(),
        false => encoder.add_itxt_chunk(keyword.to_owned(), text.to_owned()).unwrap(),
    }
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    bytes
}

#[test]
fn pictures_say_how_they_were_made_and_bombs_do_not() {
    let server = Server::start(&[]);
    let ask = |bytes: &[u8]| server.raw("POST", "/api/recipe", &[], bytes);
    let parameters =
        "a (red:1.2) car\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 18446744073709551615, Size: 512x640";
    let foreign = ask(&picture("parameters", parameters, false)).expect(200).json();
    assert_eq!(foreign["foreign"]["program"], "Stable Diffusion web UI");
    assert_eq!(
        (&foreign["foreign"]["caption"], &foreign["foreign"]["seed"]),
        (&json!("a red car"), &json!("18446744073709551615"))
    );
    assert!(foreign["foreign"]["notes"].to_string().contains("Euler a"), "{foreign:#}");
    let refused = |bytes: &[u8], word: &str| {
        let message = ask(bytes).expect(400).json()["error"]["message"].to_string();
        assert!(message.contains(word), "{word} is missing in {message}");
    };
    refused(&picture("sinopia", &" ".repeat(64 << 20), true), "1048576 bytes");
    refused(&picture("Comment", "hello", false), "nothing about how it was made");
    refused(b"\xff\xd8\xff\xe0", "JPEG");
    let recipe = |method: &str, options: Value| {
        let sampling = json!({"seed": 1, "width": 64, "height": 64, "num_inference_steps": 1, "guidance_scale": 1.0});
        let model = json!({"id": "miniature", "hash": "00"});
        let recipe = json!({"format": 1, "sinopia": "0.1.0", "method": method, "options": options, "sampling": sampling, "model": model, "precision": "f32"});
        picture("sinopia", &recipe.to_string(), false)
    };
    assert_eq!(ask(&recipe("sd", json!({}))).expect(200).json()["method"], "sd");
    refused(&recipe("dreamt-up", json!({})), "unknown method `dreamt-up`");
    refused(&recipe("sd", json!({"dreamt_up": 1})), "dreamt_up");
    let convert = server.raw("POST", "/api/layouts/convert?to=json", &[], b"\xff\xd8\xff\xe0");
    assert!(convert.expect(400).text().contains("JPEG picture, not a layout"));
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
    for format in ["json", "text", "coco", "ideogram", "omost", "flux3", "moss"] {
        let written =
            server.raw("POST", &format!("/api/layouts/convert?to={format}"), &[], text.as_bytes()).expect(200);
        let back = server.raw("POST", "/api/layouts/convert?to=sinopia", &[], &written.body).expect(200).json();
        assert_eq!(back["layout"]["objects"][0]["phrase"], "a cat", "{format}");
    }
    // What a reader would lose without a word is told; what is wrong, in one line.
    assert_eq!(whole["notes"], json!(["it is read as the answer of a language model"]));
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
fn a_job_whose_layout_is_still_planned_is_cancelled_without_the_plan() {
    // The model never answers, so that the job's end is not its answer's.
    let model = scripted::Server::start(vec![scripted::Reply::Hang]);
    let server = Server::start(&["--llm-base-url", &model.base_url(), "--llm-model", "slow"]);
    let (planned, next) = (server.create(&json!({"caption": "two cats in a room"})), server.create(&short(1)));
    model.wait_until_asked(1);
    server.post(&format!("/api/jobs/{planned}/cancel"), &json!({})).expect(200);
    let ended = server.wait(&planned, |job| job["state"] != "running");
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
    // The model is slow the first time, so that the kill comes while that job runs.
    let model = scripted::Server::start(vec![scripted::Reply::Hang, scripted::chat(TWO_CATS)]);
    let url = model.base_url();
    let planned = ["--llm-base-url", &url, "--llm-model", "gpt-4"];
    let server = Server::start(&planned);
    let finished = server.create(&short(0));
    server.done(&finished);
    let picture = server.get(&format!("/api/jobs/{finished}/image.png")).expect(200).body;
    let running = server.create(&json!({"caption": "two cats in a room", "steps": 2}));
    let queued = [server.create(&short(1)), server.create(&short(2))];
    model.wait_until_asked(1);
    let folder = server.kill();
    // What a kill in the middle of a write leaves behind.
    std::fs::write(folder.path().join("jobs/pictures").join(format!("{}.part", queued[0])), b"half").unwrap();

    let server = Server::start_in(folder, &planned, &[]);
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

/// The model's answer to a request in OpenAI's protocol. Few steps without boxes, unless it says otherwise.
fn painted(server: &Server, fields: Value) -> Value {
    let mut request = json!({"prompt": "a red car", "method": "sd", "steps": 2});
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.post("/v1/images/generations", &request).expect(200).json()
}

/// The bytes of a picture of an answer.
fn bytes(reply: &Value, index: usize) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(reply["data"][index]["b64_json"].as_str().unwrap()).unwrap()
}

/// Width and height of a PNG, a JPEG or a WebP without loss.
fn picture_size(bytes: &[u8]) -> (u32, u32) {
    let big = |at: usize, len: usize| bytes[at..at + len].iter().fold(0, |n, byte| (n << 8) | u32::from(*byte));
    if bytes.starts_with(b"\x89PNG") {
        return (big(16, 4), big(20, 4));
    }
    if bytes.starts_with(b"RIFF") && &bytes[8..16] == b"WEBPVP8L" {
        let bits = u32::from_le_bytes(bytes[21..25].try_into().unwrap());
        return ((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1);
    }
    assert!(bytes.starts_with(&[0xff, 0xd8, 0xff]), "{:?}", &bytes[..16]);
    let mut at = 2;
    while bytes[at + 1] != 0xc0 && bytes[at + 1] != 0xc2 {
        at += 2 + big(at + 2, 2) as usize;
    }
    (big(at + 7, 2), big(at + 5, 2))
}

#[test]
fn openai_clients_get_their_pictures() {
    let server = Server::start(&[]);
    let models = server.get("/v1/models").expect(200).json();
    assert_eq!((&models["object"], &models["data"][0]["id"]), (&json!("list"), &json!("miniature")));
    let request =
        json!({"model": "miniature", "prompt": "a dog", "n": 2, "size": "128x128", "layout": layout(), "steps": 2});
    let reply = server.post("/v1/images/generations", &request).expect(200).json();
    assert_eq!(reply["data"].as_array().unwrap().len(), 2);
    assert_ne!(bytes(&reply, 0), bytes(&reply, 1), "seeds count up");
    let seed = |index: usize| reply["data"][index]["seed"].as_u64().unwrap();
    assert_eq!(seed(1), seed(0) + 1);
    let url = reply["data"][1]["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", server.address)).unwrap();
    assert!(server.get(path).expect(200).body == bytes(&reply, 1));
    let revised = reply["data"][0]["revised_prompt"].as_str().unwrap();
    assert!(revised.contains("a blue dog"), "{revised}");
    assert_eq!((&reply["size"], &reply["notes"]), (&json!("128x128"), &json!([])));
    let unknown = server.get("/v1/models/dall-e-3").expect(404).json();
    assert_eq!(unknown["error"]["code"], "model_not_found");
}

#[test]
fn what_image_clients_send_is_painted() {
    let server = Server::start(&[]);
    for fields in [
        // Open WebUI, LibreChat, LangChain, n8n and others, with what their users left open.
        json!({"model": "", "n": 1, "size": "128x128", "response_format": "b64_json"}),
        json!({"model": "dall-e-2", "n": "1", "size": "128x128", "quality": "standard"}),
        json!({"n": 1, "size": "auto", "quality": "auto", "background": "auto", "moderation": "auto"}),
        json!({"size": null, "n": null, "response_format": null, "quality": null, "style": null, "user": null, "model": null,
            "seed": null, "stream": null, "background": null}),
        json!({"stream": false, "background": "transparent", "moderation": "low", "user": "somebody"}),
        json!({"quality": "hd", "style": "vivid", "seed": -1, "width": 128, "height": 128}),
        json!({"step": 2, "negative_prompt": "blurry", "cfg_scale": 4}),
    ] {
        let reply = painted(&server, fields.clone());
        assert_eq!(picture_size(&bytes(&reply, 0)), (128, 128), "{fields}");
        assert_eq!(
            (&reply["model"], &reply["output_format"], &reply["background"]),
            (&json!("miniature"), &json!("png"), &json!("opaque"))
        );
    }
    // Names that are not served are told, and so is what was not looked at.
    let notes = |fields: Value| painted(&server, fields)["notes"].to_string();
    assert!(notes(json!({"model": "gpt-image-1"})).contains("there is no model `gpt-image-1` here"));
    assert!(notes(json!({"background": "transparent"})).contains("opaque"));
    // Who asks for OpenAI's own model gets what that sends: the picture, and no address.
    let reply = painted(&server, json!({"model": "gpt-image-1"}));
    assert!(reply["data"][0]["b64_json"].is_string() && reply["data"][0].get("url").is_none());
    let reply = painted(&server, json!({"response_format": "url"}));
    assert!(reply["data"][0]["url"].is_string() && reply["data"][0].get("b64_json").is_none());
    // Other words for the same things mean the same things.
    let job = |reply: &Value| server.job(reply["data"][0]["job"].as_str().unwrap());
    let request =
        json!({"prompt": "a red car", "method": "sd", "sample_steps": 3, "cfg_scale": "4", "negative_prompt": "fog"});
    let told = job(&server.post("/v1/images/generations", &request).expect(200).json());
    assert_eq!((&told["steps"], &told["guidance_scale"], &told["negative"]), (&json!(3), &json!(4.0), &json!("fog")));
}

#[test]
fn without_a_seed_every_call_is_another_picture_and_with_it_the_same() {
    let server = Server::start(&[]);
    let of_seed = |fields: Value| bytes(&painted(&server, fields), 0);
    assert_ne!(of_seed(json!({})), of_seed(json!({})));
    assert_ne!(of_seed(json!({"seed": -1})), of_seed(json!({"seed": "-1"})));
    assert!(of_seed(json!({"seed": 7})) == of_seed(json!({"seed": "7"})));
    let reply = painted(&server, json!({}));
    assert!(of_seed(json!({"seed": reply["data"][0]["seed_text"]})) == bytes(&reply, 0));
}

#[test]
fn sizes_far_from_the_models_own_are_enlarged_and_told() {
    let server = Server::start(&[]);
    for (size, painted_size, pixels) in
        [("256x256", (128, 128), (256, 256)), ("1792x1024", (168, 96), (1792, 1024)), ("64x64", (128, 128), (64, 64))]
    {
        let reply = painted(&server, json!({"size": size}));
        assert_eq!((picture_size(&bytes(&reply, 0)), &reply["size"]), (pixels, &json!(size)));
        let note = reply["notes"][0].as_str().unwrap();
        assert!(note.contains(&format!("painted at {} × {} pixels", painted_size.0, painted_size.1)), "{note}");
        let job = server.job(reply["data"][0]["job"].as_str().unwrap());
        assert_eq!((&job["width"], &job["height"]), (&json!(painted_size.0), &json!(painted_size.1)));
        let url = reply["data"][0]["url"].as_str().unwrap();
        let path = url.strip_prefix(&format!("http://{}", server.address)).unwrap();
        assert!(server.get(path).expect(200).body == bytes(&reply, 0), "{url} is another picture");
        // Larger or not, the picture says how it was made.
        let recipe = server.raw("POST", "/api/recipe", &[], &bytes(&reply, 0)).expect(200).json();
        assert_eq!((&recipe["width"], &recipe["seed_text"]), (&job["width"], &job["seed_text"]));
    }
    let near = painted(&server, json!({"size": "160x128"}));
    assert_eq!((picture_size(&bytes(&near, 0)), &near["notes"]), ((160, 128), &json!([])));
}

#[test]
fn pictures_come_in_the_format_that_was_asked_for() {
    let server = Server::start(&[]);
    let same = json!({"seed": 5, "size": "256x256"});
    let of_format = |more: Value| {
        let mut fields = same.clone();
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        painted(&server, fields)
    };
    let webp = of_format(json!({"output_format": "webp", "output_compression": 80}));
    assert_eq!((picture_size(&bytes(&webp, 0)), &webp["output_format"]), ((256, 256), &json!("webp")));
    assert!(webp["notes"].to_string().contains("`output_compression` is for jpeg"));
    let coarse = of_format(json!({"output_format": "jpeg", "output_compression": 10}));
    let fine = of_format(json!({"output_format": "jpeg", "output_compression": 95}));
    assert_eq!((picture_size(&bytes(&coarse, 0)), &coarse["output_format"]), ((256, 256), &json!("jpeg")));
    assert!(2 * bytes(&coarse, 0).len() < bytes(&fine, 0).len());
    for (reply, media_type) in [(&webp, "image/webp"), (&coarse, "image/jpeg"), (&fine, "image/jpeg")] {
        let url = reply["data"][0]["url"].as_str().unwrap();
        let sent = server.get(url.strip_prefix(&format!("http://{}", server.address)).unwrap()).expect(200);
        assert_eq!(sent.header("content-type").as_deref(), Some(media_type));
        assert!(sent.body == bytes(reply, 0), "{url} is another picture");
    }
    let id = webp["data"][0]["job"].as_str().unwrap();
    for (query, name) in [("width=7&height=8", "width"), ("width=64", "height"), ("quality=101", "quality")] {
        let refused = server.get(&format!("/api/jobs/{id}/image.jpeg?{query}")).expect(400).json();
        assert_eq!(refused["error"]["param"], *name);
    }
    assert_eq!(picture_size(&server.get(&format!("/api/jobs/{id}/image.png")).expect(200).body), (128, 128));
}

/// Names and data of server-sent events.
fn events(text: &str) -> Vec<(String, Value)> {
    let event = |text: &str| {
        let (name, data) = text.strip_prefix("event: ")?.split_once("\ndata: ")?;
        Some((name.to_owned(), serde_json::from_str(data).unwrap()))
    };
    text.split("\n\n").filter_map(event).collect()
}

#[test]
fn pictures_are_streamed_with_unfinished_ones_before() {
    let server = Server::start(&[]);
    let request = json!({"prompt": "a red car", "method": "sd", "steps": 8, "seed": 3, "n": 2, "size": "256x256",
        "output_format": "jpeg", "stream": true, "partial_images": 1});
    let reply = server.post("/v1/images/generations", &request).expect(200);
    assert_eq!(reply.header("content-type").as_deref(), Some("text/event-stream"));
    let events = events(&reply.text());
    let (partial, whole) = ("image_generation.partial_image", "image_generation.completed");
    let completed: Vec<&Value> = events.iter().filter(|(name, _)| name == whole).map(|(_, data)| data).collect();
    let of_partial: Vec<&Value> = events.iter().filter(|(name, _)| name == partial).map(|(_, data)| data).collect();
    assert_eq!((completed.len(), completed.len() + of_partial.len()), (2, events.len()), "{events:?}");
    assert!(of_partial.len() <= 2);
    for (name, data) in &events {
        assert_eq!(
            (&data["type"], &data["size"], &data["output_format"]),
            (&json!(name), &json!("256x256"), &json!("jpeg"))
        );
        assert_eq!(picture_size(&bytes(&json!({"data": [data]}), 0)), (256, 256));
        assert!(data["created_at"].as_u64().unwrap() > 1_700_000_000);
        assert_eq!((&data["background"], &data["quality"]), (&json!("opaque"), &json!("auto")));
    }
    assert!(of_partial.iter().all(|data| data["partial_image_index"] == 0));
    assert_eq!([0, 1].map(|index| completed[index]["seed"].as_u64().unwrap()), [3, 4]);
    assert_eq!(completed[0]["usage"]["total_tokens"], 0);
    let plain = json!({"prompt": "a red car", "method": "sd", "steps": 8, "seed": 3, "size": "256x256", "output_format": "jpeg"});
    let plain = server.post("/v1/images/generations", &plain).expect(200).json();
    assert_eq!(completed[0]["b64_json"], plain["data"][0]["b64_json"], "streamed or not, it is the same picture");
    // What is wrong with the request is no event, it is told before.
    let refused = json!({"prompt": "a red car", "stream": true, "partial_images": 4});
    let refused = server.post("/v1/images/generations", &refused).expect(400).json();
    assert_eq!(refused["error"]["param"], "partial_images");
}

#[test]
fn an_unfinished_picture_is_seen_before_the_picture() {
    // The first preview of a painting is never left out, whatever the pace, and half of two steps is done by then.
    let server = Server::start(&[]);
    let request = json!({"prompt": "a red car", "method": "sd", "steps": 2, "stream": true, "partial_images": 1});
    let events = events(&server.post("/v1/images/generations", &request).expect(200).text());
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["image_generation.partial_image", "image_generation.completed"]);
    assert_ne!(events[0].1["b64_json"], events[1].1["b64_json"]);
}

#[test]
fn whoever_hangs_up_on_a_stream_wants_no_picture() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "two dogs", "layout": layout(), "steps": 250, "stream": true}).to_string();
    let json = [("Content-Type", "application/json")];
    let mut stream = server.send("POST", "/v1/images/generations", &json, body.as_bytes());
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let id = server.get("/api/jobs").expect(200).json()["jobs"][0]["id"].as_str().unwrap().to_owned();
    server.wait(&id, |job| job["state"] == "running");
    drop(stream);
    server.wait(&id, |job| job["state"] == "cancelled");
}

#[test]
fn what_is_wrong_with_a_request_for_pictures_is_named() {
    let server = Server::start(&["--model", "miniature", "--model", SMALL]);
    for (fields, name) in [
        (json!({"size": "huge"}), "size"),
        (json!({"size": "7x7"}), "size"),
        (json!({"n": 99}), "n"),
        (json!({"model": "dall-e-3"}), "model"), // where several are served
        (json!({"prompt": " "}), "prompt"),
        (json!({"prompt": "x".repeat(5000)}), "prompt"),
        (json!({"seed": "1.5"}), "seed"),
        (json!({"seed": u64::MAX, "n": 2}), "seed"),
        (json!({"output_format": "gif"}), "output_format"),
        (json!({"output_format": "jpeg", "output_compression": 101}), "output_compression"),
        (json!({"method": "magic"}), "method"),
        (json!({"setps": 4}), "setps"),
    ] {
        let mut request = json!({"prompt": "a red car", "method": "sd", "steps": 1});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let error = server.post("/v1/images/generations", &request).expect(400).json()["error"].clone();
        assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!(name)), "{error}");
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
    }
    let missing = server.post("/v1/images/generations", &json!({})).expect(400).json();
    assert_eq!(missing["error"]["code"], "missing_required_parameter");
    assert!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().is_empty());
}

#[test]
fn what_is_not_there_yet_says_so_in_openais_words() {
    let server = Server::start(&[]);
    let form = [("Content-Type", "multipart/form-data; boundary=x")];
    let picture =
        [b"--x\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\n".as_slice(), &[7; 3_000_000]].concat();
    let reply = server.raw("POST", "/v1/images/variations", &form, &picture).expect(501);
    assert_eq!(reply.header("x-should-retry").as_deref(), Some("false"));
    let error = reply.json()["error"].clone();
    assert!(error["message"].as_str().unwrap().contains("no variations"), "{error}");
    server.get("/v1/images/variations").expect(405);
    for path in ["/v1/chat/completions", "/v1/v1/images/generations", "/images/generations"] {
        let error = server.post(path, &json!({"prompt": "a red car"})).expect(404).json()["error"].clone();
        assert!(error["hint"].as_str().unwrap().contains("/v1/images/generations"), "{error}");
    }
}

#[test]
fn seeds_that_javascript_would_round_come_and_go_as_text() {
    let server = Server::start(&[]);
    let largest = u64::MAX.to_string();
    let picture = |job: &Value| server.get(job["image"].as_str().unwrap()).expect(200).body;
    let of_seed = |seed: Value| {
        let mut request = short(0);
        request["seed"] = seed;
        server.done(&server.create(&request))
    };
    let job = of_seed(json!(largest));
    assert_eq!((&job["seed"], &job["seed_text"]), (&json!(u64::MAX), &json!(largest)));
    assert!(picture(&job) == picture(&of_seed(json!(u64::MAX))), "text is another seed than the number");
    // 2^53 + 1 is the first that a number of JavaScript is not.
    let rounded = of_seed(json!("9007199254740993"));
    assert_eq!(rounded["seed_text"], "9007199254740993");
    assert_ne!(picture(&rounded), picture(&of_seed(json!("9007199254740992"))));
    let recipe = server.raw("POST", "/api/recipe", &[], &picture(&job)).expect(200).json();
    assert_eq!((&recipe["seed"], &recipe["seed_text"]), (&json!(u64::MAX), &json!(largest)));
    let told = server.get(&format!("/api/jobs/{}/events", job["id"].as_str().unwrap())).expect(200).text();
    assert_eq!(events(&told).last().unwrap().1["seed_text"], json!(largest));
    assert_eq!(server.get("/api/jobs").expect(200).json()["jobs"][3]["seed_text"], json!(largest));
    assert_eq!(server.get("/api/options").expect(200).json()["defaults"]["seed_text"], "0");
    let reply = painted(&server, json!({"seed": largest}));
    assert_eq!((&reply["data"][0]["seed_text"], &reply["data"][0]["seed"]), (&json!(largest), &json!(u64::MAX)));
    // Options that are seeds, too.
    let mut request =
        json!({"caption": "a dog", "layout": layout(), "steps": 1, "options": {"fg_seed_start": largest}});
    let with_text = server.done(&server.create(&request));
    request["options"]["fg_seed_start"] = json!(u64::MAX);
    let with_number = server.done(&server.create(&request));
    assert!(picture(&with_text) == picture(&with_number));
    assert_eq!(
        [&with_text, &with_number].map(|job| &job["options"]["fg_seed_start"]),
        [&json!(largest), &json!(largest)]
    );
    let recipe = server.raw("POST", "/api/recipe", &[], &picture(&with_text)).expect(200).json();
    assert_eq!(recipe["options"]["fg_seed_start"], json!(largest));
    for seed in [json!(-1), json!(0.5), json!("18446744073709551616"), json!(1e19), json!("one")] {
        let refused = server.post("/api/jobs", &json!({"caption": "a cat", "method": "sd", "seed": seed})).expect(400);
        assert!(refused.text().contains("`seed` is "), "{}", refused.text());
    }
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

// Pictures that are checked, changed and begun with.

/// The pixels of a PNG.
fn pixels(png: &[u8]) -> image::RgbImage {
    image::load_from_memory(png).unwrap().to_rgb8()
}

/// The bytes of the PNG of a picture.
fn encoded(picture: impl Into<image::DynamicImage>) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.into().write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Whether two pictures are the same where `is_kept` says so, and differ elsewhere.
fn check_kept(before: &[u8], after: &[u8], is_kept: impl Fn(u32, u32) -> bool) {
    let (before, after) = (pixels(before), pixels(after));
    assert_eq!(before.dimensions(), after.dimensions());
    let mut num_changed = 0;
    for (x, y, pixel) in before.enumerate_pixels() {
        let is_same = pixel == after.get_pixel(x, y);
        assert!(is_same || !is_kept(x, y), "the pixel at {x}, {y} is another");
        num_changed += usize::from(!is_same);
    }
    assert!(num_changed > 0, "nothing changed");
}

/// The picture of a job.
fn image_of(server: &Server, job: &Value) -> Vec<u8> {
    server.get(job["image"].as_str().unwrap()).expect(200).body
}

#[test]
fn tries_are_told_kept_and_repeated() {
    let server = Server::start(&[]);
    let request = json!({"caption": "a blue dog and a white bowl", "layout": layout(), "method": "gligen", "steps": 3, "seed": 5,
        "attempts": 2, "repair": true});
    let id = server.create(&request);
    let told: Vec<Value> = server.listen(&id).filter(|(name, _)| name == "job").map(|(_, job)| job).collect();
    let job = server.done(&id);
    let attempts = job["attempts"].as_array().unwrap();
    assert!(!attempts.is_empty() && attempts.len() <= 64, "{job:#}");
    let is_told = |job: &Value| job["state"] == "running" && job["attempts"][0]["seed_text"] == "5";
    assert!(attempts.len() == 1 || told.iter().any(is_told), "{told:?}");
    assert!(job["verdict"]["evaluator"]["id"].is_string() && attempts[0]["verdict"]["objects"].is_array(), "{job:#}");
    assert!(attempts[0]["summary"].as_str().unwrap().contains("seed 5") && attempts[0]["work"] == 1.0);
    for attempt in attempts {
        let png = server.get(attempt["image"].as_str().unwrap()).expect(200).body;
        assert_eq!(picture_size(&png), (128, 128));
    }
    let counted = server.get("/metrics").expect(200).text();
    assert!(counted.contains("sinopia_attempts_total{kind=\"painting\",accepted=\"true\"}"), "{counted}");
    // Whoever has the file has the picture, without anybody looking again.
    let (png, folder) = (image_of(&server, &job), server.folder.path());
    std::fs::write(folder.join("checked.png"), &png).unwrap();
    assert!(png == painted_here(folder, &["generate", "--from", "checked.png"]), "--from makes another picture");
    // The command line as a client has the same picture and tells of the same tries.
    let url = format!("http://{}", server.address);
    let args = ["generate", "a blue dog and a white bowl", "--layout", LAYOUT, "--method", "gligen", "--steps", "3"];
    let more = ["--seed", "5", "--attempts", "2", "--repair", "--server", &url, "--out", "there.png"];
    let client = program(folder).args(args).args(more).output().unwrap();
    let said = String::from_utf8_lossy(&client.stderr);
    assert!(client.status.success() && said.contains("attempt 1, seed 5"), "{said}");
    assert!(png == std::fs::read(folder.join("there.png")).unwrap(), "the server's file is another");
}

#[test]
fn without_anybody_who_knows_the_models_pictures_tries_are_refused() {
    for (args, hint) in [(&["--model", SMALL][..], "--detector DIR"), (&["--detector", "none"], "")] {
        let server = Server::start(args);
        let mut request = short(1);
        request["attempts"] = json!(2);
        let refused = server.post("/api/jobs", &request).expect(400).json()["error"].clone();
        assert!(refused["hint"].as_str().unwrap_or_default().contains(hint), "{refused}");
        assert_eq!(server.get("/api/options").expect(200).json()["editing"]["checked_models"], json!([]));
        assert!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().is_empty());
    }
}

#[test]
fn one_thing_is_changed_and_the_rest_of_the_picture_stays() {
    let server = Server::start(&[]);
    let request = json!({"caption": "a dog", "layout": layout(), "method": "gligen", "steps": 4, "seed": 5});
    let job = server.done(&server.create(&request));
    let before = image_of(&server, &job);
    let (canvas, dog) = (&job["layout"]["canvas"], &job["layout"]["objects"][0]);
    let side = |index: usize, of: &str| dog["bbox"][index].as_f64().unwrap() / canvas[of].as_f64().unwrap();
    let (x0, y0) = (side(0, "width"), side(1, "height"));
    let bbox = [x0, y0, x0 + side(2, "width"), y0 + side(3, "height")];
    let edit =
        |job: &Value, operation: Value| json!({"edit": {"job": job["id"], "operations": [operation]}, "seed": 8});
    // Masks are a little larger than boxes.
    let is_kept = |x: u32, y: u32| {
        let (x, y) = (f64::from(x) / 128.0, f64::from(y) / 128.0);
        x < bbox[0] - 0.2 || x > bbox[2] + 0.2 || y < bbox[1] - 0.2 || y > bbox[3] + 0.25
    };
    let phrase = dog["phrase"].as_str().unwrap();
    let repaint = edit(&job, json!({"op": "replace", "phrase": "a red dog", "bbox": bbox}));
    let repainted = server.done(&server.create(&repaint));
    check_kept(&before, &image_of(&server, &repainted), is_kept);
    assert_eq!((&repainted["layout"]["objects"][0]["phrase"], &repainted["seed"]), (&json!("a red dog"), &json!(8)));
    assert_eq!((&repainted["caption"], &repainted["method"]), (&job["caption"], &job["method"]));
    assert!(before == image_of(&server, &job), "the picture before is another");
    assert!(image_of(&server, &repainted) == image_of(&server, &server.done(&server.create(&repaint))));
    // A changed picture is changed again.
    let remove = edit(&repainted, json!({"op": "remove", "phrase": "a red dog", "bbox": bbox}));
    let removed = server.done(&server.create(&remove));
    check_kept(&before, &image_of(&server, &removed), is_kept);
    let left = removed["layout"]["objects"].as_array().unwrap();
    assert_eq!(left.len(), job["layout"]["objects"].as_array().unwrap().len() - 1);
    assert!(left.iter().all(|object| object["phrase"] != phrase && object["phrase"] != "a red dog"));
    // To a picture of a caption alone something is added.
    let plain = server.done(&server.create(&short(1)));
    let add = edit(&plain, json!({"op": "add", "phrase": "a red car", "bbox": bbox}));
    let with_car = server.done(&server.create(&add));
    assert_eq!(with_car["layout"]["objects"][0]["phrase"], "a red car");
    check_kept(&image_of(&server, &plain), &image_of(&server, &with_car), is_kept);
    // What was sent says nothing of how it was made.
    let sent = server.raw("POST", "/api/uploads", &[], &before).expect(201).json();
    let refused = edit(&sent, json!({"op": "remove", "phrase": "a red car", "bbox": bbox}));
    let refused = server.post("/api/jobs", &refused).expect(400).json();
    assert_eq!(refused["error"]["param"], "edit", "{refused}");
}

#[test]
fn a_painting_begins_with_a_picture_that_was_sent() {
    let server = Server::start(&[]);
    let upload = |png: &[u8]| server.raw("POST", "/api/uploads", &[], png).expect(201).json();
    let before = image::RgbImage::from_fn(256, 128, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let sent = upload(&encoded(before.clone()));
    assert_eq!((&sent["size"], &sent["transparent"]), (&json!({"width": 256, "height": 128}), &json!(false)));
    let mut mask = image::RgbaImage::from_pixel(256, 128, image::Rgba([0, 0, 0, 255]));
    (96..160).for_each(|x| (32..96).for_each(|y| mask.put_pixel(x, y, image::Rgba([0; 4]))));
    let mask = upload(&encoded(mask));
    assert_eq!(mask["transparent"], true);
    let begin = |more: Value| {
        let mut request = json!({"caption": "a red car", "steps": 2, "seed": 1});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let init = json!({"image": sent["id"], "mask": mask["id"], "strength": 1.0});
    let job = server.done(&server.create(&begin(json!({"init": init, "width": 256, "height": 128}))));
    assert_eq!((&job["method"], &job["init"]), (&json!("sd"), &init));
    let is_kept = |x: u32, y: u32| !(96..160).contains(&x) || !(32..96).contains(&y);
    check_kept(&encoded(before), &image_of(&server, &job), is_kept);
    // Without a size it has the picture's shape, and about as many pixels as the model's own.
    let job = server.done(&server.create(&begin(json!({"init": {"image": sent["id"]}}))));
    assert_eq!((&job["width"], &job["height"]), (&json!(184), &json!(88)));
    // A job's picture serves too.
    server.done(&server.create(&begin(json!({"init": {"image": job["id"], "strength": 0.5}}))));
    let small = upload(&encoded(image::RgbaImage::new(8, 8)));
    for (more, why) in [
        (json!({"init": {"image": sent["id"], "mask": small["id"]}}), "mask"),
        (json!({"init": {"image": sent["id"]}, "method": "lmd", "layout": layout()}), "lmd"),
        (json!({"init": {"image": sent["id"], "strength": 0.0}}), "strength"),
        (json!({"init": {"image": sent["id"]}, "repair": true}), "repair"),
        (json!({"init": {"image": sent["id"], "strength": 0.4}}), "of 2 steps"),
    ] {
        let refused = server.post("/api/jobs", &begin(more)).expect(400).json()["error"].clone();
        assert!(refused["message"].as_str().unwrap().contains(why), "{refused}");
    }
    for (bytes, status) in
        [(b"no picture".to_vec(), 400), (b"GIF89a..".to_vec(), 400), (encoded(image::GrayImage::new(6000, 5000)), 413)]
    {
        server.raw("POST", "/api/uploads", &[], &bytes).expect(status);
    }
    let path = format!("/api/uploads/{}", small["id"].as_str().unwrap());
    server.raw("DELETE", &path, &[], b"").expect(204);
    server.raw("DELETE", &path, &[], b"").expect(404);
}

#[test]
fn openai_clients_change_pictures() {
    let server = Server::start(&[]);
    let picture = bytes(&painted(&server, json!({"seed": 3})), 0);
    let mut mask = image::RgbaImage::from_pixel(128, 128, image::Rgba([255; 4]));
    (32..96).for_each(|x| (32..96).for_each(|y| mask.put_pixel(x, y, image::Rgba([0; 4]))));
    let mask = encoded(mask);
    let form = |parts: &[(&str, &[u8])]| {
        let mut body = Vec::new();
        for (name, content) in parts {
            let file = if content.starts_with(b"\x89PNG") { "; filename=\"a.png\"" } else { "" };
            body.extend(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n").into_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--x--\r\n");
        server.raw("POST", "/v1/images/edits", &[("Content-Type", "multipart/form-data; boundary=x")], &body)
    };
    let few: [(&str, &[u8]); 3] = [("prompt", b"a red apple"), ("steps", b"2"), ("seed", b"7")];
    let with = |more: &[(&'static str, &[u8])]| form(&[&few[..], more].concat());
    let reply = with(&[("image", &picture), ("mask", &mask)]).expect(200).json();
    let is_kept = |x: u32, y: u32| !(32..96).contains(&x) || !(32..96).contains(&y);
    check_kept(&picture, &bytes(&reply, 0), is_kept);
    assert_eq!((&reply["size"], &reply["notes"]), (&json!("128x128"), &json!([])));
    let streamed = with(&[("image[]", &picture), ("mask", &mask), ("stream", b"true")]).expect(200).text();
    assert!(streamed.contains("event: image_edit.completed"), "{streamed}");
    for (parts, param) in [
        (&[("image", picture.as_slice()), ("mask", picture.as_slice())][..], "mask"),
        (&[("mask", mask.as_slice())], "image"),
        (&[("image", picture.as_slice()), ("hat", b"red")], "hat"),
    ] {
        let refused = with(parts).expect(400).json();
        assert_eq!(refused["error"]["param"], param, "{refused}");
    }
    server.post("/v1/images/edits", &json!({"prompt": "a hat"})).expect(415);
}

// What becomes of the folder of jobs.

#[test]
fn a_start_leaves_alone_what_others_wrote_and_says_so() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let pictures = folder.path().join("jobs/pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    let lost = "0123456789abcdef0123456789abcdef.png";
    for name in ["wedding.jpg", "holiday.png", lost] {
        std::fs::write(pictures.join(name), b"precious").unwrap();
    }
    let server = Server::start_in(folder.clone(), &[], &[]);
    for name in ["wedding.jpg", "holiday.png", lost] {
        assert_eq!(std::fs::read(pictures.join(name)).unwrap(), b"precious", "{name}");
    }
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("left alone what this server did not write"), "{log}");
    assert!(["wedding.jpg", "holiday.png", lost, "--recover"].iter().all(|word| log.contains(word)), "{log}");
    server.done(&server.create(&short(1)));
    let server = Server::start_in(server.kill(), &[], &[]);
    assert!(pictures.join("wedding.jpg").exists() && pictures.join("holiday.png").exists());
    assert_eq!(std::fs::read(folder.path().join("jobs/quarantine").join(lost)).unwrap(), b"precious");
    let log = server.log.lock().unwrap().clone();
    assert!(log.contains("set aside a picture that no job names"), "{log}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_others_can_look_into_gets_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let jobs = folder.path().join("jobs");
    std::fs::create_dir(&jobs).unwrap();
    std::fs::set_permissions(&jobs, std::fs::Permissions::from_mode(0o755)).unwrap();
    let warning = "others on this machine can look into the folder of jobs";
    let server = Server::start_in(folder.clone(), &[], &[]);
    assert!(server.log.lock().unwrap().contains(warning));
    let mode = |name: &str| std::fs::metadata(jobs.join(name)).unwrap().permissions().mode() & 0o077;
    assert_eq!((mode("jobs.sqlite"), mode("pictures"), mode("quarantine")), (0, 0, 0));
    std::fs::set_permissions(&jobs, std::fs::Permissions::from_mode(0o700)).unwrap();
    let server = Server::start_in(server.kill(), &[], &[]);
    assert!(!server.log.lock().unwrap().contains(warning));
}

#[test]
fn a_damaged_record_has_a_way_out() {
    let server = Server::start(&[]);
    let mut request = short(7);
    request["negative"] = json!("blurry");
    let id = server.create(&request);
    let before = server.done(&id);
    let picture = server.get(&format!("/api/jobs/{id}/image.png")).expect(200).body;
    let folder = server.kill();
    let jobs = folder.path().join("jobs");
    for name in ["jobs.sqlite-wal", "jobs.sqlite-shm"] {
        let _ = std::fs::remove_file(jobs.join(name));
    }
    std::fs::write(jobs.join("jobs.sqlite"), b"damaged beyond anything that could be read").unwrap();

    let refused = program(folder.path()).args(SERVE).output().unwrap();
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    assert!(message.contains("jobs.sqlite` is damaged") && message.contains("`sinopia serve --recover`"), "{message}");

    let server = Server::start_in(folder, &["--recover"], &[]);
    assert_eq!(std::fs::read(jobs.join("jobs.sqlite.damaged")).unwrap(), b"damaged beyond anything that could be read");
    let after = server.job(&id);
    for name in ["state", "caption", "seed", "steps", "method", "model", "negative", "width"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    assert!(server.get(&format!("/api/jobs/{id}/image.png")).expect(200).body == picture);
    server.done(&server.create(&short(8)));
    // A record that is whole stays where it is.
    let server = Server::start_in(server.kill(), &["--recover"], &[]);
    assert_eq!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().len(), 2);
    assert!(!jobs.join("jobs.sqlite.damaged-2").exists());
}

#[test]
fn a_picture_that_somebody_took_away_is_gone_and_no_fault_of_the_server() {
    let server = Server::start(&[]);
    let id = server.create(&short(1));
    server.done(&id);
    std::fs::remove_file(server.folder.path().join(format!("jobs/pictures/{id}.png"))).unwrap();
    let gone = server.get(&format!("/api/jobs/{id}/image.png")).expect(410);
    assert_eq!(gone.json()["error"]["code"], "gone");
    server.post("/api/evaluate", &json!({"job": id})).expect(410);
    assert_eq!(server.job(&id)["state"], "done");
    server.raw("DELETE", &format!("/api/jobs/{id}"), &[], b"").expect(204);
    server.get(&format!("/api/jobs/{id}")).expect(404);
}

/// A server whose folder of jobs is a disk of its own, and where that is to be found; nothing where the system does not let us make one.
#[cfg(target_os = "linux")]
fn on_a_small_disk(size: &str, args: &[&str]) -> Option<(Server, PathBuf)> {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("jobs")).unwrap();
    let script = "mount -t tmpfs -o mode=700,size=\"$0\" tmpfs jobs && exec \"$@\"";
    // As root, or as what is root in a namespace of its own. What is mounted there goes with the process.
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let command = |way: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(way).args(["sh", "-c", script, size]);
        through(folder.path(), command)
    };
    let way = ways.into_iter().find(|way| command(way).arg("true").status().is_ok_and(|status| status.success()))?;
    let mut command = command(way);
    command.arg(env!("CARGO_BIN_EXE_sinopia"));
    let server = Server::start_with(command, folder.clone(), args, &[]);
    let inside = folder.path().strip_prefix("/").unwrap().join("jobs");
    let disk = Path::new("/proc").join(server.child.id().to_string()).join("root").join(inside);
    Some((server, disk))
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_the_job_with_that_reason_and_work_goes_on_when_there_is_room() {
    // The model holds its answer back until the disk is full.
    let gate = scripted::Gate::default();
    let model = scripted::Server::start(vec![scripted::held(&gate, scripted::chat(TWO_CATS))]);
    let args = ["--llm-base-url", &model.base_url(), "--llm-model", "gpt-4"];
    let Some((server, disk)) = on_a_small_disk("1m", &args) else {
        eprintln!("not tried: no disk of its own can be mounted here");
        return;
    };
    let old = server.create(&short(1));
    server.done(&old);
    let ready = server.get("/readyz").expect(200).text();
    assert!(ready.contains("ok"));
    let request = json!({"caption": "two cats in a room", "steps": 2});
    let (failing, waiting) = (server.create(&request), server.create(&short(3)));
    model.wait_until_asked(1);
    let fill = |name: &str| {
        let mut file = std::fs::File::create(disk.join(name)).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    fill("fill");
    gate.open();
    let failed = server.wait(&failing, |job| job["state"] != "running");
    assert_eq!(failed["state"], "failed", "{failed:#}");
    assert!(failed["error"]["message"].as_str().unwrap().contains("disk full"), "{failed:#}");
    // Somebody takes the room that was kept back, too.
    fill("more");
    let unready = server.get("/readyz").expect(503);
    assert!(unready.text().contains("disk full"), "{}", unready.text());
    let refused = server.post("/api/jobs", &short(4));
    assert!(refused.status == 507 && refused.text().contains("disk full"), "{}: {}", refused.status, refused.text());
    // Nothing is begun that could not be kept; what is not wanted any more goes.
    assert_eq!(server.job(&waiting)["state"], "queued");
    server.post(&format!("/api/jobs/{waiting}/cancel"), &json!({})).expect(200);
    assert_eq!(server.job(&waiting)["state"], "cancelled");
    server.raw("DELETE", &format!("/api/jobs/{old}"), &[], b"").expect(204);
    server.get(&format!("/api/jobs/{old}")).expect(404);
    assert!(!disk.join(format!("pictures/{old}.png")).exists());
    for name in ["fill", "more"] {
        std::fs::remove_file(disk.join(name)).unwrap();
    }
    // It looks again once in a while.
    while server.get("/readyz").status != 200 {}
    server.done(&server.create(&short(5)));
    assert_eq!(server.job(&failing)["state"], "failed");
    server.raw("DELETE", &format!("/api/jobs/{failing}"), &[], b"").expect(204);
    assert_eq!(server.job(&waiting)["state"], "cancelled");
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
    // OpenAI's client in a page has headers of its own; other pages are not asked what they would like.
    let own = "authorization,content-type,x-stainless-lang";
    let asks = |origin| [("Origin", origin), ("Access-Control-Request-Headers", own)];
    let asked = server.raw("OPTIONS", "/v1/images/generations", &asks("https://paint.example"), b"").expect(204);
    assert_eq!(asked.header("access-control-allow-headers").as_deref(), Some(own));
    let refused = server.raw("OPTIONS", "/v1/images/generations", &asks("https://evil.example"), b"").expect(403);
    assert_eq!(refused.header("access-control-allow-headers"), None);
    // A form of another page can send text, so text is not read.
    server.raw("POST", "/api/jobs", &[("Content-Type", "text/plain")], short(1).to_string().as_bytes()).expect(415);
    assert!(server.get("/api/jobs").expect(200).json()["jobs"].as_array().unwrap().is_empty());
}

#[test]
fn proxies_say_what_the_server_is_called_only_if_they_are_configured() {
    let forwarded =
        [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "paint.example"), ("Content-Type", "application/json")];
    let body = json!({"prompt": "a red car", "method": "sd", "steps": 1, "response_format": "url"}).to_string();
    let address = |server: &Server| {
        let reply = server.raw("POST", "/v1/images/generations", &forwarded, body.as_bytes()).expect(200).json();
        reply["data"][0]["url"].as_str().unwrap().to_owned()
    };
    let from_page = |server: &Server| {
        let headers = [("Origin", "https://paint.example"), ("X-Forwarded-Host", "paint.example")];
        server.raw("GET", "/api/options", &headers, b"")
    };
    let server = Server::start(&[]);
    assert!(address(&server).starts_with(&format!("http://{}/api/jobs/", server.address)));
    from_page(&server).expect(403);
    let elsewhere = Server::start(&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "::1"]);
    assert!(address(&elsewhere).starts_with(&format!("http://{}/", elsewhere.address)));
    let behind = Server::start(&["--trusted-proxy", "127.0.0.0/8"]);
    assert!(address(&behind).starts_with("https://paint.example/api/jobs/"));
    from_page(&behind).expect(200);
    // A name that was pointed at this machine is refused all the same.
    let rebound = [("Host", "evil.example"), ("X-Forwarded-Host", "localhost")];
    behind.raw("GET", "/api/options", &rebound, b"").expect(403);
    let folder = behind.folder.path();
    let bad = program(folder).args(["serve", "--trusted-proxy", "proxy.example"]).output().unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("10.0.0.0/8"));
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
    // Where a single model is served, it paints whatever OpenAI's clients call it: here there are two.
    let server = Server::start(&["--model", "miniature", "--model", SMALL]);
    for model in ["/etc/passwd", "../miniature", "http://127.0.0.1:1/model", "owner/name", "file:///etc"] {
        let reply = server.post("/api/jobs", &json!({"caption": "a cat", "method": "sd", "model": model})).expect(400);
        assert!(reply.text().contains("there is no model"), "{}", reply.text());
        let reply = server.post("/v1/images/generations", &json!({"prompt": "a cat", "model": model})).expect(400);
        assert!(reply.text().contains("there is no model"), "{}", reply.text());
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
        "/api/jobs/{id}/image.jpeg",
        "/api/jobs/{id}/image.webp",
        "/api/jobs/{id}/attempts/{file}",
        "/api/jobs/{id}/decisions",
        "/api/uploads",
        "/api/uploads/{id}",
        "/api/recipe",
        "/api/evaluate",
        "/v1/images/generations",
        "/v1/images/edits",
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
