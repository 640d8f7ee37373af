//! An order of pictures: the jobs that it becomes, and what is sent of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use sinopia_layout::Layout;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

use super::super::app::App;
use super::super::jobs::{accept, check_rendered, image_path, look_up, picture};
use super::super::problem::Problem;
use super::request::{ResponseFormat, Wanted};
use crate::engine::Accepted;
use crate::events::Event;
use crate::queue::Queued;
use crate::store::Record;
use crate::wire::{CheckRequest, Job, JobRequest, JobState, LayoutDoc, ModelDoc, PictureFormat, Rendering, Size};

/// What is the same for all pictures of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ImagesCommon)]
pub(super) struct Common {
    /// The model that painted.
    model: String,
    /// `WIDTHxHEIGHT` of each picture.
    size: String,
    /// Format of each picture.
    output_format: PictureFormat,
    /// Always `opaque`.
    background: &'static str,
    /// What is not as it was asked for, a sentence each.
    notes: Vec<String>,
}

/// A picture.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(in crate::http) struct ImageReply {
    /// The picture in base 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    b64_json: Option<String>,
    /// Where it is. It takes the token where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// What the model was told.
    revised_prompt: String,
    /// What was to stand where.
    #[schema(value_type = Option<LayoutDoc>)]
    layout: Option<Layout>,
    /// The job that it is kept as.
    job: String,
    /// Where its noise started.
    seed: u64,
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    seed_text: String,
    /// What whoever asked should know of it.
    warnings: Vec<String>,
}

/// How the pictures of a request are sent.
#[derive(Debug, Clone)]
pub(super) struct Order {
    format: PictureFormat,
    /// Says a size only where it is not the painted one.
    pub(super) rendering: Rendering,
    pub(super) response: Option<ResponseFormat>,
    /// Whether pictures are sent as events, with at most so many unfinished ones before each.
    pub(super) stream: Option<u32>,
    /// This server's address, as the client calls it.
    base: String,
    /// Of each picture as it is sent.
    pub(super) size: Size,
    /// What the types of events begin with.
    pub(super) kind: &'static str,
    pub(super) common: Common,
}

/// A job for each picture, and how they are sent.
pub(super) fn order(app: &App, wanted: Wanted, base: String) -> Result<(Order, Vec<Accepted>), Problem> {
    let Wanted { job, model: named, seed, n, size, format, quality, response, stream, mut notes, is_edit } = wanted;
    let model = served_model(app, named.as_deref(), &mut notes)?;
    let limits = &app.options().limits;
    let painted = app.engine().fitting_size(Some(&model.id), size.unwrap_or(model.image_size), limits.pixels)?;
    let is_rendered = size.is_some_and(|size| size != painted);
    let size = size.unwrap_or(painted);
    check_rendered(size, limits)?;
    let is_held = stream.is_none() && response != Some(ResponseFormat::Url);
    if is_held && size.pixels().saturating_mul(u64::from(n)) > limits.answered_pixels() {
        let max = limits.answered_pixels();
        let message = format!("`n` is {n}: an answer holds {max} pixels at most");
        return Err(
            Problem::too_large(message).hint("ask for fewer or smaller pictures, with `stream`, or for addresses")
        );
    }
    if is_rendered {
        let verb = if size.pixels() >= painted.pixels() { "enlarged" } else { "reduced" };
        notes.push(format!(
            "painted at {} × {} pixels, near what the model knows, and {verb} to {} × {}",
            painted.width, painted.height, size.width, size.height
        ));
    }
    if is_rendered && is_edit {
        notes.push("what is not painted anew is scaled with the rest: it stays to the byte only where the picture is painted at its own size".to_owned());
    }
    let first = match seed {
        Some(seed) => seed,
        None => any_seed()?,
    };
    if first.checked_add(u64::from(n - 1)).is_none() {
        return Err(Problem::bad_request("`seed` plus `n` goes beyond the largest seed"));
    }
    let (width, height) = (Some(painted.width), Some(painted.height));
    let job = JobRequest { model: Some(model.id.clone()), width, height, ..job };
    // They differ in their seeds alone: what one begins with is looked at once.
    let accepted = accept(app, JobRequest { seed: Some(first), ..job })?;
    let of_index = |index: u32| Accepted {
        request: JobRequest { seed: Some(first + u64::from(index)), ..accepted.request.clone() },
        memory_bytes: accepted.memory_bytes,
    };
    let accepted = (0..n).map(of_index).collect();
    let is_openai =
        named.as_deref().is_some_and(|name| name.starts_with("gpt-image") || name.starts_with("chatgpt-image"));
    let order = Order {
        format,
        rendering: Rendering {
            width: is_rendered.then_some(size.width),
            height: is_rendered.then_some(size.height),
            quality,
        },
        // OpenAI's models of that name send pictures only, and clients that ask for them look no further than an address if there is one.
        response: response.or(is_openai.then_some(ResponseFormat::B64Json)),
        stream,
        base,
        size,
        kind: if is_edit { "image_edit" } else { "image_generation" },
        common: Common {
            model: model.id,
            size: format!("{}x{}", size.width, size.height),
            output_format: format,
            background: "opaque",
            notes,
        },
    };
    Ok((order, accepted))
}

/// The model of that name, or the default. Many clients know OpenAI's names only: where one model is served, it is meant.
fn served_model(app: &App, named: Option<&str>, notes: &mut Vec<String>) -> Result<ModelDoc, Problem> {
    let mut models = app.engine().options().models;
    let index = match named {
        None => Some(0),
        Some(name) => models.iter().position(|model| model.id == name),
    };
    if let Some(index) = index.filter(|index| *index < models.len()) {
        return Ok(models.swap_remove(index));
    }
    let named = named.unwrap_or_default();
    match models.as_slice() {
        [only] => {
            notes.push(format!("there is no model `{named}` here: `{}` painted", only.id));
            Ok(only.clone())
        }
        _ => {
            let known: Vec<_> = models.iter().map(|model| model.id.as_str()).collect();
            let problem = Problem::bad_request(format!("`model`: there is no model `{named}` here"));
            Err(problem.code("model_not_found").hint(format!("there is {}", known.join(", "))))
        }
    }
}

/// Another seed for each call; short enough for every program that shows it.
fn any_seed() -> Result<u64, Problem> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(|_| Problem::internal("the system does not give random numbers"))?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

/// What happened, if the server goes on.
pub(super) fn next_event(event: Result<Event, RecvError>) -> Result<Event, Problem> {
    match event {
        Ok(event) => Ok(event),
        Err(RecvError::Lagged(_)) => Ok(Event::Changed),
        Err(RecvError::Closed) => Err(Problem::unavailable("the server stops; the job goes on when it is back", None)),
    }
}

/// Whether a job is done, or why it never will be.
pub(super) async fn is_done(app: &App, id: &str) -> Result<bool, Problem> {
    let wanted = id.to_owned();
    let job = app.blocking(move |app| look_up(app, &wanted)).await?;
    match job.state {
        JobState::Done => Ok(true),
        JobState::Failed => Err(failed(job)),
        JobState::Cancelled => Err(Problem::conflict("the job was cancelled")),
        JobState::Queued | JobState::Running => Ok(false),
    }
}

/// The problem of a job that failed.
fn failed(job: Job) -> Problem {
    let Some(error) = job.error else { return Problem::internal("the painting failed") };
    let problem = Problem::internal(error.message);
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A picture that is done, as it was ordered.
pub(super) async fn reply(app: &App, order: &Order, id: &str) -> Result<ImageReply, Problem> {
    let (order, id) = (order.clone(), id.to_owned());
    app.rendering(move |app| {
        let (record, png) = picture(app, &id)?;
        let Record { id, request, warnings, .. } = record;
        let (layout, caption) = (request.layout, request.caption.unwrap_or_default());
        let revised_prompt = match &layout {
            Some(layout) => {
                app.engine().compose(&CheckRequest { caption: None, layout: layout.clone() })?.overall_prompt
            }
            None => caption,
        };
        let seed = request.seed.unwrap_or_default();
        let sends_picture = order.response != Some(ResponseFormat::Url);
        Ok(ImageReply {
            b64_json: if sends_picture { Some(order.encoded(app, &png)?) } else { None },
            url: (order.response != Some(ResponseFormat::B64Json)).then(|| order.address(&id)),
            revised_prompt,
            layout,
            job: id,
            seed,
            seed_text: seed.to_string(),
            warnings,
        })
    })
    .await
}

impl Order {
    /// A picture in base 64.
    pub(super) fn encoded(&self, app: &App, png: &[u8]) -> Result<String, Problem> {
        match self.is_as_painted() {
            true => Ok(STANDARD.encode(png)),
            false => Ok(STANDARD.encode(app.engine().render(png, self.format, &self.rendering)?)),
        }
    }

    /// Where a picture is.
    fn address(&self, id: &str) -> String {
        let Rendering { width, height, quality } = self.rendering;
        let numbers = [("width", width), ("height", height), ("quality", quality.map(u32::from))];
        let query: Vec<_> = numbers.iter().filter_map(|(name, n)| n.map(|n| format!("{name}={n}"))).collect();
        let path = image_path(id, self.format);
        match query.is_empty() {
            true => format!("{}{path}", self.base),
            false => format!("{}{path}?{}", self.base, query.join("&")),
        }
    }

    fn is_as_painted(&self) -> bool {
        self.format == PictureFormat::Png && self.rendering.size().is_none()
    }
}

/// Jobs that nobody needs once this is dropped.
pub(super) struct Unfinished {
    pub(super) app: App,
    ids: Vec<String>,
}

impl Unfinished {
    pub(super) fn new(app: &App, jobs: &[Queued]) -> Self {
        Self { app: app.clone(), ids: jobs.iter().map(|job| job.id.clone()).collect() }
    }

    pub(super) fn has_ended(&mut self, id: &str) {
        self.ids.retain(|other| other != id);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if ids.is_empty() {
            return;
        }
        let queue = self.app.queue().clone();
        // Dropping may happen on a thread that must not wait for a disk.
        tokio::task::spawn_blocking(move || {
            for id in ids {
                if let Err(error) = queue.cancel(&id) {
                    tracing::error!(job = id, error = error.with_causes(), "cannot cancel");
                }
            }
        });
    }
}
