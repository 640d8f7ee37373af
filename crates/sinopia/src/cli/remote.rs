//! `sinopia generate --server URL`: the same request, painted by a server.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sinopia_diffusion::{Cancellation, methods};
use sinopia_layout::limits::{SERVER_REPLY_BYTES, read_up_to};
use sinopia_layout::{Layout, svg};
use sinopia_server::wire::{Job, JobRequest, JobState};
use ureq::Agent;
use ureq::http::StatusCode;

use super::args::{GenerateArgs, PaintingArgs};
use super::failure::{bad_request, plain};
use super::progress::{Bars, cancellation_on_interrupt};
use super::{job, output, settings};

/// Pause between two looks at a job.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for an answer. Painting is not waited for in one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Has the server at `url` paint.
pub(super) fn run(
    url: &str,
    args: &GenerateArgs,
    (caption, layout): (Option<String>, Option<Layout>),
    painting: &PaintingArgs,
) -> anyhow::Result<()> {
    refuse_local_flags(args)?;
    let to_stdout = output::is_stdout(&args.output.out);
    let count = painting.count.unwrap_or(1);
    if to_stdout && (args.output.json || args.output.preview || count > 1) {
        return Err(bad_request(
            "with `--out -` stdout holds one image: `--json`, `--preview` and `--count` need a file",
        ));
    }
    let out = &args.output.out;
    output::check_picture_name(out)?;
    output::check_writable(out)?;
    let server = Server::new(url)?;
    let first = request(caption, layout, painting)?;
    let bars = Bars::new(args.output.quiet);
    let cancellation = cancellation_on_interrupt(&bars)?;
    let mut made = Vec::new();
    for index in 0..count {
        let seed = first.seed.unwrap_or(0).checked_add(u64::from(index));
        let seed = seed.ok_or_else(|| bad_request("`--seed` plus `--count` goes beyond the largest seed"))?;
        let job = server.paint(&JobRequest { seed: Some(seed), ..first.clone() }, &cancellation, &bars)?;
        let png = server.get(&format!("/api/jobs/{}/image.png", job.id))?;
        let path = match count {
            1 => args.output.out.clone(),
            _ => output::numbered(&args.output.out, index + 1),
        };
        output::write(&path, &png)?;
        job.warnings.iter().for_each(|warning| bars.warn(warning));
        bars.line(&format!("wrote {}, seed {seed}", path.display()));
        made.push((path, job));
    }
    if let Some(layout) = made.first().and_then(|(_, job)| job.layout.as_ref()).filter(|_| !to_stdout) {
        let path = args.output.out.with_extension("layout.svg");
        output::write(&path, svg::render(layout).as_bytes())?;
    }
    if args.output.json {
        let images: Vec<Value> =
            made.iter().map(|(path, job)| json!({ "file": path.to_string_lossy(), "job": job })).collect();
        output::print(&format!("{:#}", json!({ "images": images })))?;
    }
    Ok(())
}

/// Refuses what only this machine could do, or what the server's configuration decides.
fn refuse_local_flags(args: &GenerateArgs) -> anyhow::Result<()> {
    let PaintingArgs { sam, precision, threads, text, .. } = &args.painting;
    let given = [
        ("--sam", sam.is_some()),
        ("--t5", text.t5.is_some()),
        ("--ella", text.ella.is_some()),
        ("--t5-length", text.t5_length.is_some()),
        ("--t5-range", text.t5_range.is_some()),
        ("--precision", precision.is_some()),
        ("--threads", threads.is_some()),
        ("--grid", args.output.grid),
        ("--debug-maps", args.output.debug_maps.is_some()),
        ("--preview", args.output.preview),
        ("--llm-model", args.planner.llm_model.is_some()),
        ("--planner", args.planner.planner.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((flag, _)) => Err(bad_request(format!(
            "`{flag}` does not go with `--server`: the server's configuration decides that, or only this machine can do it"
        ))),
    }
}

/// The request in the server's words. Defaults are this program's, so that the picture is the one that it would paint itself.
fn request(caption: Option<String>, layout: Option<Layout>, args: &PaintingArgs) -> anyhow::Result<JobRequest> {
    let method = methods::find(args.method.as_deref().unwrap_or(methods::Lmd::NAME))?.name.to_owned();
    let preset = job::preset_options(&method, args)?.unwrap_or_default();
    Ok(JobRequest {
        caption,
        layout,
        options: job::method_options(&method, preset, args)?,
        method: Some(method),
        model: args.model.clone(),
        seed: Some(args.seed.unwrap_or(0)),
        steps: Some(args.steps.unwrap_or(50)),
        guidance_scale: args.guidance_scale,
        scheduler: args.scheduler.clone(),
        judge: false,
        negative: args.negative.clone(),
        width: args.width,
        height: args.height,
        guidance_interval: args.guidance_interval,
        deep_every: args.deep_every,
        merge_tokens: args.merge_tokens,
        text_encoder: args.text.text_encoder.map(|kind| kind.as_str().to_owned()),
        negative_encoder: args.text.negative_encoder.map(|kind| kind.as_str().to_owned()),
    })
}

/// A server, and the token for it.
struct Server {
    agent: Agent,
    base: String,
    token: Option<String>,
}

impl Server {
    fn new(url: &str) -> anyhow::Result<Self> {
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = url.trim_end_matches('/');
        let host = base.strip_prefix("http://").or_else(|| base.strip_prefix("https://")).unwrap_or_default();
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(bad_request(format!(
                "`--server {url}`: an address such as `http://127.0.0.1:7878` is expected"
            )));
        }
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(ANSWER_TIMEOUT)).max_redirects(0);
        Ok(Self { agent: config.build().into(), base: base.to_owned(), token: settings::server_token() })
    }

    /// Queues a job and waits until its picture is there. When it is given up here, it is cancelled there.
    fn paint(&self, request: &JobRequest, cancellation: &Cancellation, bars: &Bars) -> anyhow::Result<Job> {
        let mut job: Job = self.post("/api/jobs", &json!(request))?;
        let path = format!("/api/jobs/{}", job.id);
        let mut is_layout_told = request.layout.is_some();
        while !job.state.is_final() {
            if cancellation.is_cancelled() {
                let _: Job = self.post(&format!("{path}/cancel"), &json!({}))?;
                return Err(sinopia_diffusion::Error::Cancelled.into());
            }
            match (&job.progress, job.position) {
                (Some(progress), _) => bars.advance("painting on the server ", progress.step, progress.steps),
                (None, Some(position)) if position > 0 => bars.advance("waiting for the jobs before", 0, 0),
                _ => {}
            }
            if let Some(layout) = job.layout.as_ref().filter(|_| !is_layout_told) {
                bars.show_layout(layout);
                is_layout_told = true;
            }
            std::thread::sleep(PAUSE);
            job = self.read(&self.get(&path)?)?;
        }
        bars.finish();
        match (job.state, &job.error) {
            (JobState::Done, _) => Ok(job),
            (_, Some(error)) => {
                let hint = error.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                Err(anyhow!("{}{hint}", error.message).context("the server could not paint it"))
            }
            _ => Err(anyhow!("the job was cancelled on the server")),
        }
    }

    fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.answer(request.call())
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> anyhow::Result<T> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Content-Type", "application/json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(&self.answer(request.send(body.to_string().as_bytes()))?)
    }

    fn read<T: DeserializeOwned>(&self, bytes: &[u8]) -> anyhow::Result<T> {
        serde_json::from_slice(bytes)
            .with_context(|| format!("`{}` does not answer as a Sinopia server does", self.base))
    }

    /// One sentence for a server that is not there.
    fn unreached(&self, error: &ureq::Error) -> anyhow::Error {
        let why = plain(&error.to_string());
        anyhow!("no server answers at {}: {why}\nhint: `sinopia serve` starts one and says its address", self.base)
    }

    fn answer(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> anyhow::Result<Vec<u8>> {
        let mut answer = answer.map_err(|error| self.unreached(&error))?;
        let status = answer.status();
        let read = read_up_to(answer.body_mut().as_reader(), SERVER_REPLY_BYTES);
        let bytes = read.with_context(|| format!("the answer of the server `{}` broke off", self.base))?;
        if status.is_success() { Ok(bytes) } else { Err(refused(status, &bytes)) }
    }
}

/// The server's refusal in its own words.
fn refused(status: StatusCode, bytes: &[u8]) -> anyhow::Error {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or("it does not say why");
    let hint = match (status, body["error"]["hint"].as_str()) {
        (StatusCode::UNAUTHORIZED, _) => "\nhint: put the server's token into SINOPIA_TOKEN".to_owned(),
        (_, Some(hint)) => format!("\nhint: {hint}"),
        _ => String::new(),
    };
    let told = format!("the server refused ({}): {message}{hint}", status.as_u16());
    match status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        true => bad_request(told),
        false => anyhow!(told),
    }
}
