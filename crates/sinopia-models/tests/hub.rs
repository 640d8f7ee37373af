//! Downloads from a server on this machine that behaves like the Hub: file lists, redirects, ranges, connections that break off.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sinopia_models::Error;
use sinopia_models::checkpoint::HubModel;
use sinopia_models::hub::{DownloadProgress, HubOptions, NoProgress, fetch};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// The repository `owner/name` on a server of its own thread; it stops serving when the test's process ends.
struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    /// Every request: method and path, and where its range began.
    log: Vec<(String, u64)>,
    /// Connections to cut after so many bytes of a body, one for each time a file's content is asked for.
    cuts: HashMap<String, Vec<usize>>,
    /// Files whose content is changed on the way.
    corrupted: Vec<String>,
    token: Option<String>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { files: pipeline(), ..State::default() }));
        let server = Self { address: address.clone(), state: state.clone() };
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (address, state) = (address.clone(), state.clone());
                std::thread::spawn(move || serve(connection, &address, &state));
            }
        });
        server
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Where the ranges of all requests for a file's content began, in order.
    fn starts(&self, file: &str) -> Vec<u64> {
        let end = format!("/cdn/{file}");
        // The client first asks for one byte to learn the size; those requests are logged as such and left out here.
        self.state().log.iter().filter(|(path, _)| *path == end).map(|(_, start)| *start).collect()
    }
}

/// A folder in diffusers' layout and files that nobody needs.
fn pipeline() -> HashMap<String, Vec<u8>> {
    let small = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "unet/config.json",
        "vae/config.json",
    ];
    let mut files: HashMap<String, Vec<u8>> =
        small.iter().map(|name| ((*name).to_owned(), format!("{{\"{name}\": 1}}").into_bytes())).collect();
    for name in ["tokenizer/vocab.json", "tokenizer/merges.txt", "README.md", "unet/diffusion_pytorch_model.bin"] {
        files.insert(name.into(), b"text".to_vec());
    }
    for name in ["text_encoder/model.safetensors", UNET, "vae/diffusion_pytorch_model.safetensors"] {
        files.insert(name.into(), (0..300_000_u32).flat_map(|i| (i ^ name.len() as u32).to_le_bytes()).collect());
    }
    files
}

fn serve(connection: TcpStream, address: &str, state: &Mutex<State>) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut range, mut authorization) = (None, None);
    loop {
        line.clear();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        let (name, value) = line.trim().split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => range = parse_range(value.trim()),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut state = state.lock().unwrap();
    let answer = respond(&mut state, address, &path, range, authorization.as_deref());
    drop(state);
    let mut connection = connection;
    let _ = connection.write_all(&answer);
}

/// `bytes=3-` or `bytes=0-0`.
fn parse_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (start, end) = value.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse().ok()))
}

fn respond(
    state: &mut State,
    address: &str,
    path: &str,
    range: Option<(u64, Option<u64>)>,
    authorization: Option<&str>,
) -> Vec<u8> {
    if let Some(token) = &state.token
        && authorization != Some(&format!("Bearer {token}"))
        && !path.starts_with("/cdn/")
    {
        return answer("401 Unauthorized", "", b"");
    }
    if path == "/api/models/owner/name/revision/main" {
        let siblings: Vec<_> = state.files.keys().map(|name| serde_json::json!({"rfilename": name})).collect();
        let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
        return answer("200 OK", "", body.as_bytes());
    }
    if let Some(file) = path.strip_prefix(&format!("/owner/name/resolve/{COMMIT}/"))
        && let Some(bytes) = state.files.get(file)
    {
        if !file.ends_with(".safetensors") {
            let headers = format!("ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n", short_hash(bytes));
            return content(bytes, range, &headers);
        }
        // Large files live elsewhere, and are known by their SHA-256.
        let headers = format!(
            "Location: {address}/cdn/{file}\r\nX-Linked-ETag: \"{}\"\r\nX-Repo-Commit: {COMMIT}\r\n",
            sha256(bytes)
        );
        return answer("302 Found", &headers, b"");
    }
    if let Some(file) = path.strip_prefix("/cdn/")
        && let Some(mut bytes) = state.files.get(file).cloned()
    {
        if range == Some((0, Some(0))) {
            return content(&bytes, range, "");
        }
        let (start, _) = range.unwrap_or_default();
        state.log.push((path.to_owned(), start));
        if state.corrupted.iter().any(|name| name == file) {
            bytes[7] ^= 1;
        }
        let mut whole = content(&bytes, range, "");
        if let Some(cuts) = state.cuts.get_mut(file)
            && !cuts.is_empty()
        {
            whole.truncate(cuts.remove(0));
        }
        return whole;
    }
    answer("404 Not Found", "", b"Entry not found")
}

fn content(bytes: &[u8], range: Option<(u64, Option<u64>)>, headers: &str) -> Vec<u8> {
    let Some((start, end)) = range else {
        return answer("200 OK", headers, bytes);
    };
    let start = start as usize;
    if start >= bytes.len() {
        return answer("416 Range Not Satisfiable", headers, b"");
    }
    let end = end.map_or(bytes.len() - 1, |end| end as usize);
    let headers = format!("{headers}Content-Range: bytes {start}-{end}/{}\r\n", bytes.len());
    answer("206 Partial Content", &headers, &bytes[start..=end])
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len())
            .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short_hash(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_owned()
}

fn model() -> HubModel {
    HubModel { repo: "owner/name".into(), revision: "main".into(), file: None }
}

fn options(server: &Server, cache: &Path) -> HubOptions {
    HubOptions {
        endpoint: server.address.clone(),
        cache: cache.to_owned(),
        token: None,
        offline: false,
        retries: 3,
        retry_pause: Duration::from_millis(5),
    }
}

fn unet_of(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join(UNET)).unwrap()
}

/// Remembers what it was told of one file.
#[derive(Default)]
struct Recorder(RefCell<Vec<(u64, u64)>>);

impl DownloadProgress for Recorder {
    fn update(&self, file: &str, done: u64, total: u64) {
        if file == UNET {
            self.0.borrow_mut().push((done, total));
        }
    }
}

#[test]
fn a_model_is_fetched_once_and_only_what_is_needed() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let options = options(&server, cache.path());
    let recorder = Recorder::default();
    let folder = fetch(&model(), None, &options, &recorder).unwrap();
    assert_eq!(folder, cache.path().join("models--owner--name/snapshots").join(COMMIT));
    assert_eq!(unet_of(&folder), server.state().files[UNET]);
    assert!(folder.join("tokenizer/merges.txt").exists());
    assert!(!folder.join("README.md").exists() && !folder.join("unet/diffusion_pytorch_model.bin").exists());

    let told = recorder.0.borrow();
    assert_eq!(told.last(), Some(&(1_200_000, 1_200_000)));
    assert!(told.len() > 1 && told.is_sorted(), "progress only grows");

    assert_eq!(fetch(&model(), None, &options, &NoProgress).unwrap(), folder);
    assert_eq!(server.starts(UNET), [0], "the second time nothing is fetched");
}

#[test]
fn a_connection_that_breaks_off_is_taken_up_where_it_ended() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.state().cuts.insert(UNET.into(), vec![500_000, 300_000]);
    let folder = fetch(&model(), None, &options(&server, cache.path()), &NoProgress).unwrap();
    assert_eq!(unet_of(&folder), server.state().files[UNET]);
    let starts = server.starts(UNET);
    assert_eq!(starts.len(), 3);
    assert!(starts[0] == 0 && starts[1] > 400_000 && starts[2] > starts[1] + 200_000, "{starts:?}");
}

#[test]
fn a_download_left_by_an_earlier_run_is_continued() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let mut once = options(&server, cache.path());
    once.retries = 0;
    server.state().cuts.insert(UNET.into(), vec![700_000]);
    let error = fetch(&model(), None, &once, &NoProgress).unwrap_err();
    assert!(matches!(&error, Error::Download { file, .. } if file == UNET), "{error}");

    let recorder = Recorder::default();
    let folder = fetch(&model(), None, &once, &recorder).unwrap();
    assert_eq!(unet_of(&folder), server.state().files[UNET]);
    assert!(server.starts(UNET)[1] > 600_000);
    assert!(recorder.0.borrow()[0].0 > 600_000, "the bar starts where the download does");
}

#[test]
fn a_part_that_lacks_nothing_or_has_too_much_is_no_obstacle() {
    for extra in [0, 5] {
        let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
        let mut part = server.state().files[UNET].clone();
        let blobs = cache.path().join("models--owner--name/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let name = format!("{}.part", sha256(&part));
        part.resize(part.len() + extra, 0);
        std::fs::write(blobs.join(name), part).unwrap();
        let folder = fetch(&model(), None, &options(&server, cache.path()), &NoProgress).unwrap();
        assert_eq!(unet_of(&folder), server.state().files[UNET]);
    }
}

#[test]
fn damage_on_the_way_is_noticed_and_not_kept() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.state().corrupted.push(UNET.into());
    let mut once = options(&server, cache.path());
    once.retries = 1;
    let error = fetch(&model(), None, &once, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("SHA-256") && error.contains(UNET), "{error}");
    assert_eq!(server.starts(UNET), [0, 0]);

    server.state().corrupted.clear();
    let folder = fetch(&model(), None, &once, &NoProgress).unwrap();
    assert_eq!(unet_of(&folder), server.state().files[UNET]);
}

#[test]
fn files_that_are_read_whole_are_refused_by_their_announced_size() {
    for file in ["unet/config.json", "unet/diffusion_pytorch_model.safetensors.index.json"] {
        let server = Server::start();
        server.state().files.insert(file.to_owned(), vec![b' '; (16 << 20) + 1]);
        let cache = tempfile::tempdir().unwrap();
        let error = fetch(&model(), None, &options(&server, cache.path()), &NoProgress).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("16777217 bytes are announced; at most 16777216"), "{error}");
        let snapshot = cache.path().join("models--owner--name/snapshots").join(COMMIT);
        assert!(!snapshot.join(file).exists(), "it was not fetched");
    }
}

#[test]
fn what_is_not_there_is_said_at_once() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let options = options(&server, cache.path());
    let nobody = HubModel { repo: "owner/nobody".into(), ..model() };
    let error = fetch(&nobody, None, &options, &NoProgress).unwrap_err().to_string();
    assert!(
        error.contains("`owner/nobody`") && error.ends_with("there is no such repository, revision or file"),
        "{error}"
    );

    let error = fetch(&model(), Some("bf16"), &options, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("none of its networks has weights of variant `bf16`"), "{error}");

    let file = HubModel { file: Some("v1.safetensors".into()), ..model() };
    let error = fetch(&file, None, &options, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("no file `v1.safetensors`"), "{error}");
}

#[test]
fn a_private_repository_wants_the_token() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.state().token = Some("hf_secret".into());
    let mut options = options(&server, cache.path());
    let error = fetch(&model(), None, &options, &NoProgress).unwrap_err().to_string();
    assert!(error.contains("HF_TOKEN"), "{error}");
    options.token = Some("hf_secret".into());
    fetch(&model(), None, &options, &NoProgress).unwrap();
}

#[test]
fn one_file_of_a_repository() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    server.state().files.insert("v1.safetensors".into(), vec![3; 1000]);
    let file = HubModel { file: Some("v1.safetensors".into()), ..model() };
    let path: PathBuf = fetch(&file, None, &options(&server, cache.path()), &NoProgress).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), vec![3; 1000]);
    assert!(!path.with_file_name("model_index.json").exists(), "nothing else");
}

#[test]
fn without_a_network_the_cache_is_enough() {
    let (server, cache) = (Server::start(), tempfile::tempdir().unwrap());
    let online = options(&server, cache.path());
    let mut offline = options(&server, cache.path());
    offline.offline = true;
    let error = fetch(&model(), None, &offline, &NoProgress).unwrap_err();
    assert!(matches!(&error, Error::Offline { file, .. } if file == "model_index.json"), "{error}");
    assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));

    let folder = fetch(&model(), None, &online, &NoProgress).unwrap();
    let requests = server.state().log.len();
    assert_eq!(fetch(&model(), None, &offline, &NoProgress).unwrap(), folder);
    assert_eq!(server.state().log.len(), requests);

    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let unreachable = HubOptions { endpoint: format!("http://127.0.0.1:{port}"), ..online };
    assert_eq!(fetch(&model(), None, &unreachable, &NoProgress).unwrap(), folder);

    std::fs::remove_file(folder.join(UNET)).unwrap();
    assert!(matches!(fetch(&model(), None, &offline, &NoProgress), Err(Error::Offline { .. })));
    assert!(matches!(fetch(&model(), None, &unreachable, &NoProgress), Err(Error::Unreachable { .. })));
}
