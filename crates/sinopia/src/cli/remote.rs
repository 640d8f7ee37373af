//! `sinopia generate --server URL`: the same request, painted by a server.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, Observer};
use sinopia_layout::limits::{SERVER_REPLY_BYTES, read_up_to};
use sinopia_layout::svg;
use sinopia_server::wire::{Job, JobRequest, JobState};
use sinopia_studio::{
    CheckOptions, CheckSettings, DEFAULT_STEPS, Described, PaintSettings, PaintSpec, Painted, Painter,
};
use ureq::Agent;
use ureq::http::StatusCode;

use super::args::{GenerateArgs, OutputArgs, Painting};
use super::checking::CheckRequest;
use super::failure::{bad_request, plain};
use super::job::{PaintJob, drawing_file};
use super::progress::{Bars, cancellation_on_interrupt};
use super::serve::NOT_REQUESTED;
use super::{output, settings};

/// Pause between two looks at a job.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait for an answer. Painting is not waited for in one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Has the server at `url` paint.
pub(super) fn run(
    url: &str,
    spec: PaintSpec,
    count: Option<u32>,
    check: &CheckSettings,
    output: &OutputArgs,
) -> anyhow::Result<()> {
    let to_stdout = output::is_stdout(&output.out);
    let job = PaintJob::new(spec, Vec::new(), count, CheckRequest::of_server(check))?;
    let count = job.count;
    if to_stdout && (output.json || output.preview || count > 1) {
        return Err(bad_request(
            "with `--out -` stdout holds one image: `--json`, `--preview` and `--count` need a file",
        ));
    }
    output::check_picture_name(&output.out)?;
    output::check_writable(&output.out)?;
    let bars = Bars::new(output.quiet);
    let server = Server { check: job.check.as_ref().map(|check| check.options), ..Server::new(url, &bars)? };
    let cancellation = cancellation_on_interrupt(&bars)?;
    let mut made = Vec::new();
    for index in 0..count {
        let seed = job.seed_of(index);
        let painted = server.paint(&job.spec.with_seed(seed), &bars, &cancellation)?;
        let path = job.image_file(output, index);
        output::write(&path, &painted.png)?;
        painted.warnings.iter().for_each(|warning| bars.warn(warning));
        if let Some(verdict) = painted.details.verdict.as_ref().filter(|verdict| !verdict.right) {
            bars.line(&format!("the best picture is kept, and it is not right: {}", verdict.summary));
        }
        // Of several attempts the one that was kept.
        bars.line(&format!("wrote {}, seed {}", path.display(), painted.details.seed));
        made.push((path, painted));
    }
    if let Some(layout) = made.first().and_then(|(_, painted)| painted.layout.as_ref()).filter(|_| !to_stdout) {
        output::write(&drawing_file(output), svg::render(layout).as_bytes())?;
    }
    if output.json {
        let images: Vec<Value> = made
            .iter()
            .map(|(path, painted)| json!({ "file": path.to_string_lossy(), "job": painted.details }))
            .collect();
        output::print(&format!("{:#}", json!({ "images": images })))?;
    }
    Ok(())
}

/// Refuses what only this machine could do, or what the server's configuration decides.
pub(super) fn refuse_local_flags(args: &GenerateArgs, typed: &Painting) -> anyhow::Result<()> {
    let of_picture = PaintSettings::described().iter().filter(|setting| NOT_REQUESTED.contains(&&*setting.name));
    let mut of_picture = of_picture.filter(|setting| typed.settings.says(&setting.name) && setting.name != "preset");
    let given = [
        ("--threads", typed.machine.threads.is_some()),
        ("--pack-cache", typed.machine.pack_cache.is_some()),
        ("--pack-cache-size", typed.machine.pack_cache_size.is_some()),
        ("--detector", args.check.0.detector.is_some()),
        ("--max-work", args.check.0.max_work.is_some()),
        ("--max-seconds", args.check.0.max_seconds.is_some()),
        ("--max-work", args.check.0.max_work.is_some()),
        ("--max-seconds", args.check.0.max_seconds.is_some()),
        ("--init", args.init.0.init.is_some()),
        ("--mask", args.init.0.mask.is_some()),
        ("--strength", args.init.0.strength.is_some()),
        ("--grid", args.output.grid),
        ("--debug-maps", args.output.debug_maps.is_some()),
        ("--preview", args.output.preview),
        ("--llm-model", args.planner.settings().llm_model.is_some()),
        ("--planner", args.planner.settings().planner.is_some()),
    ];
    let local = given.iter().find(|(_, is_given)| *is_given).map(|(flag, _)| (*flag).to_owned());
    match of_picture.next().map(|setting| format!("--{}", setting.flag())).or(local) {
        None => Ok(()),
        Some(flag) => Err(bad_request(format!(
            "`{flag}` does not go with `--server`: the server's configuration decides that, or only this machine can do it"
        ))),
    }
}

/// The request in the server's words. Defaults are this program's, so that the picture is the one that it would paint itself.
fn request(spec: &PaintSpec, check: Option<CheckOptions>) -> sinopia_studio::Result<JobRequest> {
    let settings = &spec.settings.clone().with_preset()?;
    let method = spec.requested_method()?;
    Ok(JobRequest {
        caption: spec.caption.clone(),
        layout: spec.layout.clone(),
        options: method.options,
        method: Some(method.name),
        model: settings.model.clone(),
        seed: Some(spec.seed()),
        steps: Some(settings.steps.unwrap_or(DEFAULT_STEPS)),
        guidance_scale: settings.guidance_scale,
        scheduler: settings.scheduler.clone(),
        negative: settings.negative.clone(),
        width: settings.width,
        height: settings.height,
        guidance_interval: settings.guidance_interval,
        deep_every: settings.deep_every,
        merge_tokens: settings.merge_tokens,
        text_encoder: settings.text_encoder.map(|kind| kind.as_str().to_owned()),
        negative_encoder: settings.negative_encoder.map(|kind| kind.as_str().to_owned()),
        attempts: check.map(|check| check.attempts).filter(|attempts| *attempts > 1),
        repair: check.is_some_and(|check| check.repair),
        ..JobRequest::default()
    })
}

/// A server, and the token for it.
struct Server<'a> {
    agent: Agent,
    base: String,
    token: Option<String>,
    bars: &'a Bars,
    /// How its pictures are looked at, if they are.
    check: Option<CheckOptions>,
}

impl Painter for Server<'_> {
    type Error = anyhow::Error;
    type Details = Job;

    /// Has the server paint; nothing of its steps is seen here, only how far it is.
    fn paint(
        &self,
        spec: &PaintSpec,
        _: &dyn Observer,
        cancellation: &CancellationToken,
    ) -> anyhow::Result<Painted<Job>> {
        let job = self.finished(&request(spec, self.check)?, cancellation)?;
        let png = self.get(&format!("/api/jobs/{}/image.png", job.id))?;
        let (layout, warnings) = (job.layout.clone(), job.warnings.clone());
        Ok(Painted { png, seed: Seed(job.seed), layout, warnings, details: job })
    }
}

impl<'a> Server<'a> {
    fn new(url: &str, bars: &'a Bars) -> anyhow::Result<Self> {
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
        Ok(Self {
            agent: config.build().into(),
            base: base.to_owned(),
            token: settings::server_token(),
            bars,
            check: None,
        })
    }

    /// Queues a job and waits until its picture is there. When it is given up here, it is cancelled there.
    fn finished(&self, request: &JobRequest, cancellation: &CancellationToken) -> anyhow::Result<Job> {
        let bars = self.bars;
        let mut job: Job = self.post("/api/jobs", &json!(request))?;
        let path = format!("/api/jobs/{}", job.id);
        let mut is_layout_told = request.layout.is_some();
        let mut num_told = 0;
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
            // A job that starts over with its server has fewer than were told.
            job.attempts.iter().skip(num_told).for_each(|attempt| bars.line(&attempt.summary));
            num_told = num_told.max(job.attempts.len());
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
