//! The engine of the server: the same planning and painting that the other commands do.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::Context;
use sinopia_diffusion::methods::AutoChoice;
use sinopia_diffusion::schedulers::SchedulerName;
use sinopia_diffusion::{self as diffusion, ImageSize, Recipe, Shortcuts, TextEncoderKind, methods};
use sinopia_eval::Detector;
use sinopia_layout::exchange::Imported;
use sinopia_layout::{Canvas, Layout, Scene, repair};
use sinopia_planner::{Plan, PlanContext, PlanNote, PlanTask, Planner, checks};
use sinopia_server::engine::{Accepted, Kept, Painted, Sources, TakenIn};
use sinopia_server::seed::exact_options;
use sinopia_server::wire::{
    Candidate, CheckRequest, Composed, ComposedObject, Converted, Defaults, EditRequest, Editing, Finding, Findings,
    JobRequest, LayoutFormat, LayoutReply, Limits, ModelDoc, Operation, Options, PictureEdit, PictureFormat, PlanReply,
    PlanRequest, PlannerDoc, RecipeAnswer, RecipeReply, Rendering, Repaired, Severity, Size, Verdict,
};
use sinopia_server::{Answer, CancellationToken, Engine, Fault, Refusal, Watch};
use sinopia_studio::models::{Cached, ModelCache, ModelInfo};
use sinopia_studio::pictures::{self, Origin};
use sinopia_studio::{
    AUTO, DEFAULT_METHOD, DEFAULT_SEED, DEFAULT_STEPS, InitPicture, PaintSettings, PaintSpec, ResolvedSpec,
};

use super::editing::Change;
use super::refusal::{refused, to_refusal, unplanned};
use super::verdict::sides;
use super::{options, rendering, request, taking_in};
use crate::cli::{args, convert, foreign};

/// Everything that paints and plans.
pub(super) struct StudioEngine {
    /// What is done if a request does not say; places of models come from here and from nowhere else.
    pub(super) defaults: PaintSettings,
    /// The models that may be asked for, the default first.
    pub(super) models: Vec<ModelInfo>,
    pub(super) cache: ModelCache,
    pub(super) planner: Arc<dyn Planner>,
    /// Whether the planner's canvas was named, and not to be the picture's.
    pub(super) is_canvas_named: bool,
    /// Bytes for models and paintings together.
    pub(super) budget: Option<u64>,
    /// The detector that was named, if one was.
    pub(super) detector: Option<String>,
    /// The longest that a job may take.
    pub(super) job_seconds: Option<f64>,
    /// Threads of each painting, if several are painted at once.
    pub(super) threads_each: Option<usize>,
    pub(super) opened_detector: Mutex<Option<Arc<Detector>>>,
}

/// What a recipe is that asks for a method or an option that is not there.
const NOT_REPEATABLE: &str = "this version cannot paint the picture again";

impl StudioEngine {
    pub(super) fn model(&self, name: Option<&str>) -> Answer<&ModelInfo> {
        let found = match name {
            None => self.models.first(),
            Some(name) => self.models.iter().find(|listed| listed.name == name),
        };
        found.ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|listed| listed.name.as_str()).collect();
            let message = format!("there is no model `{}` here", name.unwrap_or_default());
            Refusal { hint: Some(format!("there is {}", known.join(", "))), ..refused(message) }
        })
    }

    /// The method if a request does not say, for the default model: the page shows its options.
    fn default_method(&self) -> String {
        let has_adapters = self.models.first().is_some_and(|info| info.has_grounding_adapters);
        match self.defaults.method.as_deref() {
            Some(method) if method.eq_ignore_ascii_case(AUTO) => {
                methods::auto(AutoChoice { has_layout: true, has_adapters, has_init: false }).name.to_owned()
            }
            Some(method) => method.to_owned(),
            None => DEFAULT_METHOD.to_owned(),
        }
    }

    /// What a request asks for, with this server's model and files.
    pub(super) fn spec(&self, request: &JobRequest, init: Option<Arc<InitPicture>>) -> Answer<PaintSpec> {
        request::spec(request, init, &self.defaults).map_err(|error| to_refusal(&error.into()))
    }

    pub(super) fn resolve(&self, spec: &PaintSpec) -> anyhow::Result<ResolvedSpec> {
        let has_adapters = self.model(spec.settings.model.as_deref())?.has_grounding_adapters;
        Ok(spec.resolve_for(|| Ok(has_adapters))?)
    }

    /// The spec with a layout: its own, or the planner's.
    pub(super) fn planned(&self, spec: PaintSpec, size: (u32, u32), watch: &dyn Watch) -> anyhow::Result<PaintSpec> {
        if !spec.lacks_layout()? {
            return Ok(spec);
        }
        let plan = self.plan_for(spec.caption.as_deref().unwrap_or_default(), self.canvas_for(size), watch)?;
        for note in plan.notes() {
            watch.warning(&note.text);
        }
        plan.understood.iter().for_each(|note| watch.warning(note));
        watch.planned(&plan.layout);
        Ok(PaintSpec { layout: Some(plan.layout), ..spec })
    }

    /// The canvas in the shape of a picture of `width` × `height` pixels; none where the planner keeps to its own.
    pub(super) fn canvas_for(&self, (width, height): (u32, u32)) -> Option<Canvas> {
        let keeps_its_own = self.is_canvas_named || self.planner.info().is_canvas_fixed;
        (!keeps_its_own).then(|| Canvas::shaped_like(width, height))
    }

    /// The plan for a caption.
    pub(super) fn plan_for(&self, caption: &str, canvas: Option<Canvas>, watch: &dyn Watch) -> anyhow::Result<Plan> {
        let caption = caption.to_owned();
        let plan = move |planner: &dyn Planner, is_cancelled: &AtomicBool| {
            let is_cancelled = || is_cancelled.load(Ordering::Relaxed);
            let task = PlanTask { canvas, ..PlanTask::caption(&caption) };
            planner.plan(&task, &PlanContext::default().cancelled_by(&is_cancelled))
        };
        Ok(self.aside(watch.cancellation(), plan)??)
    }

    /// What the planner answers. After cancellation nothing more is asked; what is open then is waited for, at a language model elsewhere too, so that those who
    /// come and go leave no work behind them.
    fn ask<T>(&self, cancellation: &CancellationToken, ask: impl FnOnce(&dyn Planner, &AtomicBool) -> T) -> T {
        let is_over = Arc::new(AtomicBool::new(false));
        let to_stop = is_over.clone();
        cancellation.on_cancel(move || to_stop.store(true, Ordering::Relaxed));
        ask(self.planner.as_ref(), &is_over)
    }

    /// The same for a job, on a thread of its own. Cancellation ends the wait at once: a language model may take minutes. The question that is open then ends by its own
    /// time limit, and no other follows it.
    fn aside<T: Send + 'static>(
        &self,
        cancellation: &CancellationToken,
        ask: impl FnOnce(&dyn Planner, &AtomicBool) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, receiver) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (to_stop, cancelled) = (is_over.clone(), sender.clone());
        cancellation.on_cancel(move || {
            to_stop.store(true, Ordering::Relaxed);
            let _ = cancelled.send(None); // unless the plan was there first
        });
        let planner = self.planner.clone();
        let plan = move || {
            let plan = catch_unwind(AssertUnwindSafe(|| ask(planner.as_ref(), &is_over)));
            let _ = sender.send(Some(plan)); // unless nobody waits any more
        };
        thread::Builder::new().name("planner".to_owned()).spawn(plan).context("there is no thread to plan on")?;
        match receiver.recv()? {
            Some(Ok(plan)) => Ok(plan),
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(Refusal::new(Fault::Cancelled, "the planning was cancelled").into()),
        }
    }
}

/// The size of a picture that begins with another: its shape, where the request does not say.
fn shaped(init: &InitPicture, request: &JobRequest, info: &ModelInfo) -> (u32, u32) {
    let asked = |side: Option<u32>| side.map(|side| side as usize);
    let native = ImageSize { width: info.native_size.0 as usize, height: info.native_size.1 as usize };
    let ImageSize { width, height } = init.shaped(asked(request.width), asked(request.height), native);
    (width as u32, height as u32)
}

/// The size of the picture of a request.
pub(super) fn size(request: &JobRequest, info: &ModelInfo) -> (u32, u32) {
    (request.width.unwrap_or(info.native_size.0), request.height.unwrap_or(info.native_size.1))
}

impl StudioEngine {
    /// Fills in what a request leaves open.
    fn fill_in(&self, request: &mut JobRequest, listed: &ModelInfo, init: Option<&InitPicture>) {
        let defaults = self.options().defaults;
        request.caption = request.caption.take().map(|caption| caption.trim().to_owned());
        request.layout = request.layout.take().map(|layout| repair(layout).0);
        request.model = Some(listed.name.clone());
        // Another model may be able to do more than the default one, and not every method begins with a picture.
        let method = init.map_or_else(|| self.defaults.method.clone(), |_| Some(AUTO.to_owned()));
        request.method = request.method.take().or(method).or(Some(defaults.method));
        request.seed.get_or_insert(defaults.seed);
        request.steps.get_or_insert(defaults.steps);
        request.guidance_scale = request.guidance_scale.or(defaults.guidance_scale);
        request.scheduler = request.scheduler.take().or(defaults.scheduler);
        let (width, height) = match init {
            Some(init) => shaped(init, request, listed),
            None => size(request, listed),
        };
        (request.width, request.height) = (Some(width), Some(height));
    }

    /// What a change of a picture asks for, all else as the picture's recipe says.
    fn edit_request(&self, request: &JobRequest, edit: &PictureEdit, sources: &Sources) -> Answer<JobRequest> {
        let change = Change::new(edit, request.seed, sources).map_err(|error| to_refusal(&error))?;
        let RecipeAnswer::Sinopia(recipe) = self.recipe(sources.image.as_deref().unwrap_or_default())? else {
            return Err(refused("`edit`: this picture was not painted here"));
        };
        let before = JobRequest::from(*recipe);
        Ok(JobRequest {
            layout: Some(change.plan.layout),
            seed: request.seed.or(before.seed),
            judge: request.judge,
            edit: request.edit.clone(),
            ..before
        })
    }
}

impl Engine for StudioEngine {
    fn options(&self) -> Options {
        let size = |listed: &ModelInfo| Size { width: listed.native_size.0, height: listed.native_size.1 };
        let models: Vec<ModelDoc> =
            self.models.iter().map(|listed| ModelDoc { id: listed.name.clone(), image_size: size(listed) }).collect();
        let checked = self.models.iter().filter(|listed| self.detector_name(&listed.name).is_ok());
        let checked_models = checked.map(|listed| listed.name.clone()).collect();
        Options {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            methods: options::methods(),
            settings: options::settings(),
            schedulers: SchedulerName::all().iter().map(SchedulerName::to_string).collect(),
            text_encoders: TextEncoderKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect(),
            defaults: Defaults {
                method: self.default_method(),
                model: models.first().map(|model| model.id.clone()).unwrap_or_default(),
                scheduler: self.defaults.scheduler.clone(),
                steps: self.defaults.steps.unwrap_or(DEFAULT_STEPS),
                guidance_scale: self.defaults.guidance_scale,
                seed: DEFAULT_SEED,
                seed_text: DEFAULT_SEED.to_string(),
            },
            models,
            limits: Limits::default(),
            planner: PlannerDoc { name: self.planner.info().name.clone(), edits: self.planner.info().can_edit },
            editing: Editing { operations: Operation::NAMES.map(str::to_owned).to_vec(), checked_models },
        }
    }

    fn is_ready(&self) -> Answer<()> {
        self.model(None).map(drop)
    }

    fn kept(&self) -> Kept {
        let Cached { models, bytes } = self.cache.cached();
        Kept { models, bytes }
    }

    fn plan(&self, request: &PlanRequest, cancellation: &CancellationToken) -> Answer<PlanReply> {
        let canvas = request.canvas.map(|Size { width, height }| Canvas::new(width, height)).transpose();
        let canvas = canvas.map_err(|error| refused(error.to_string()))?;
        let (caption, candidates) = (request.caption.trim().to_owned(), request.candidates.unwrap_or(1) as usize);
        let plans = move |planner: &dyn Planner, is_cancelled: &AtomicBool| {
            let is_cancelled = || is_cancelled.load(Ordering::Relaxed);
            let context = PlanContext::default().cancelled_by(&is_cancelled);
            let mut plans = Vec::new();
            for occurrence in 0..candidates {
                let task = PlanTask { canvas, occurrence, is_lenient: true, ..PlanTask::caption(&caption) };
                match planner.plan(&task, &context) {
                    Ok(plan) => plans.push(plan),
                    // What was found is worth more than what went wrong later.
                    Err(error) if plans.is_empty() => return Err(unplanned(error)),
                    Err(_) => break,
                }
            }
            Ok(plans)
        };
        reply(self.ask(cancellation, plans)?)
    }

    fn edit(&self, request: &EditRequest, cancellation: &CancellationToken) -> Answer<PlanReply> {
        let (layout, _) = repair(request.layout.clone());
        let instruction = request.instruction.trim().to_owned();
        let edit = move |planner: &dyn Planner, is_cancelled: &AtomicBool| {
            let is_cancelled = || is_cancelled.load(Ordering::Relaxed);
            let task = PlanTask { is_lenient: true, ..PlanTask::edit(&layout, &instruction) };
            planner.plan(&task, &PlanContext::default().cancelled_by(&is_cancelled)).map_err(unplanned)
        };
        let mut plan = self.ask(cancellation, edit)?;
        if let Some(caption) = &request.caption {
            plan.findings = checks::check(caption, &plan.layout);
        }
        reply(vec![plan])
    }

    fn check(&self, request: &CheckRequest) -> Answer<Findings> {
        Ok(Findings { findings: findings(request.caption.as_deref(), &request.layout) })
    }

    fn repair(&self, request: &CheckRequest) -> Answer<Repaired> {
        let (layout, report) = repair(request.layout.clone());
        let mended = report.to_string().lines().map(str::to_owned).collect();
        Ok(Repaired { findings: findings(request.caption.as_deref(), &layout), layout, mended })
    }

    fn compose(&self, request: &CheckRequest) -> Answer<Composed> {
        let (layout, _) = repair(request.layout.clone());
        let scene = Scene::compose(&layout).map_err(|error| refused(error.to_string()))?;
        let objects = scene.objects().iter().map(|object| ComposedObject {
            prompt: object.prompt().text.clone(),
            r#box: sides(&object.bbox().to_pixels(layout.canvas)),
        });
        Ok(Composed {
            overall_prompt: scene.overall().text.clone(),
            overall_negative: scene.overall_negative().to_owned(),
            objects: objects.collect(),
            object_negative: scene.object_negative().to_owned(),
        })
    }

    fn convert(&self, text: &str, to: LayoutFormat) -> Answer<Converted> {
        let read = convert::import(text);
        let Imported { layout, notes } = read.map_err(|error| match error.fault() {
            Some(fault) => refused(format!("this is no layout: {fault}")),
            None => refused(format!("this is no layout: {error}")),
        })?;
        layout.check_size().map_err(|error| refused(error.to_string()))?;
        let (to, media_type) = match to {
            LayoutFormat::Sinopia => return Ok(Converted::Layout(LayoutReply { layout, notes })),
            LayoutFormat::Json => (args::LayoutFormat::Json, "application/json"),
            LayoutFormat::Coco => (args::LayoutFormat::Coco, "application/json"),
            LayoutFormat::Ideogram => (args::LayoutFormat::Ideogram, "application/json"),
            LayoutFormat::Text => (args::LayoutFormat::Text, "text/plain; charset=utf-8"),
            LayoutFormat::Omost => (args::LayoutFormat::Omost, "text/plain; charset=utf-8"),
            LayoutFormat::Flux3 => (args::LayoutFormat::Flux3, "text/plain; charset=utf-8"),
            LayoutFormat::Moss => (args::LayoutFormat::Moss, "application/json"),
            LayoutFormat::Svg => (args::LayoutFormat::Svg, "image/svg+xml"),
        };
        let text = convert::write(&layout, to, None).map_err(|error| to_refusal(&error))?;
        Ok(Converted::Text { text, media_type })
    }

    fn recipe(&self, png: &[u8]) -> Answer<RecipeAnswer> {
        let text = match pictures::read(png).map_err(|error| refused(error.to_string()))? {
            Origin::Sinopia { recipe } => recipe,
            Origin::Foreign(made) => return Ok(RecipeAnswer::Foreign { foreign: Box::new(foreign::wire(&made)) }),
        };
        let recipe = Recipe::from_json(&text).map_err(|error| to_refusal(&error.into()))?;
        recipe.build_method().map_err(|error| to_refusal(&anyhow::Error::new(error).context(NOT_REPEATABLE)))?;
        let shown = recipe.final_layout().cloned();
        let Recipe { caption, negative, method, options, sampling, model, .. } = recipe;
        let Shortcuts { guidance_interval, deep_every, merge_tokens } = sampling.shortcuts;
        let text = sampling.text_encoding;
        Ok(RecipeAnswer::Sinopia(Box::new(RecipeReply {
            caption,
            layout: shown,
            method,
            model: model.id,
            seed: sampling.seed.0,
            seed_text: sampling.seed.0.to_string(),
            steps: sampling.num_inference_steps as u32,
            guidance_scale: sampling.guidance_scale,
            scheduler: sampling.scheduler_name().map(|name| name.to_string()),
            options: exact_options(options.as_object().cloned().unwrap_or_default()),
            negative,
            width: sampling.width as u32,
            height: sampling.height as u32,
            guidance_interval,
            deep_every: deep_every as u32,
            merge_tokens: merge_tokens as u32,
            text_encoder: text.encoder.as_str().to_owned(),
            negative_encoder: text.negative.map(|kind| kind.as_str().to_owned()),
        })))
    }

    fn fitting_size(&self, model: Option<&str>, size: Size, max_pixels: u64) -> Answer<Size> {
        let listed = self.model(model)?;
        let native = Size { width: listed.native_size.0, height: listed.native_size.1 };
        Ok(rendering::fitting_size(size, native, listed.multiple, max_pixels))
    }

    fn render(&self, png: &[u8], format: PictureFormat, rendering: &Rendering) -> Answer<Vec<u8>> {
        rendering::render(png, format, rendering).map_err(|error| Refusal::new(Fault::Engine, format!("{error:#}")))
    }

    fn take_in(&self, bytes: &[u8], max_pixels: u64) -> Answer<TakenIn> {
        taking_in::take_in(bytes, max_pixels)
    }

    fn accept(&self, request: JobRequest, sources: &Sources) -> Answer<Accepted> {
        let mut request = match &request.edit {
            Some(edit) => self.edit_request(&request, edit, sources)?,
            None => request,
        };
        let listed = self.model(request.model.as_deref())?;
        if request.is_checked() {
            self.detector_name(&listed.name)?;
        }
        if request.repair && request.init.is_some() {
            let message = "`repair` does not go with `init`: what is wrong with the picture that it begins with would be changed, too";
            return Err(Refusal { hint: Some("`attempts` goes with it".to_owned()), ..refused(message) });
        }
        let init = request::init(&request, sources).map_err(|error| to_refusal(&error.into()))?;
        self.fill_in(&mut request, listed, init.as_deref());
        let spec = self.spec(&request, init.clone())?; // what no model could paint comes first
        let (width, height) = size(&request, listed);
        for (name, side) in [("width", width), ("height", height)] {
            if side % listed.multiple != 0 {
                return Err(refused(format!("`{name}` is {side}; a multiple of {} is expected", listed.multiple)));
            }
        }
        let resolved = self.resolve(&spec).map_err(|error| to_refusal(&error))?;
        if request.method.as_deref().is_some_and(|method| method.eq_ignore_ascii_case(AUTO)) {
            request.method = Some(resolved.method_info().name.to_owned());
        }
        if let Some(init) =
            init.filter(|init| diffusion::first_call(init.strength(), resolved.steps()) == resolved.steps())
        {
            let (strength, steps) = (init.strength(), resolved.steps());
            return Err(refused(format!(
                "`strength` is {strength}: of {steps} steps that leaves none, and nothing would change"
            )));
        }
        if resolved.method_info().needs_adapters && !listed.has_grounding_adapters {
            let method = resolved.method_info().name;
            return Err(to_refusal(&diffusion::Error::NoAdapters { method }.into()));
        }
        let memory_bytes = listed.picture_bytes(width, height);
        let needed = listed.weight_bytes.saturating_add(memory_bytes);
        if let Some(budget) = self.budget.filter(|budget| needed > *budget) {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            let message = format!(
                "a picture of {width} × {height} pixels takes about {:.1} GB with its model; there are {:.1} GB",
                gigabytes(needed),
                gigabytes(budget)
            );
            return Err(Refusal::new(Fault::TooLarge, message));
        }
        Ok(Accepted { request, memory_bytes })
    }

    fn paint(&self, request: &JobRequest, sources: &Sources, watch: &dyn Watch) -> Answer<Painted> {
        self.paint_job(request, sources, watch).map_err(|error| to_refusal(&error))
    }

    fn judge(&self, png: &[u8], layout: &Layout, cancellation: &CancellationToken) -> Answer<Verdict> {
        self.judge_picture(png, layout, cancellation).map_err(|error| to_refusal(&error))
    }
}

fn findings(caption: Option<&str>, layout: &Layout) -> Vec<Finding> {
    let found = match caption {
        Some(caption) => checks::check(caption, layout),
        None => checks::check_boxes(layout),
    };
    found.iter().map(finding).collect()
}

fn finding(finding: &checks::Finding) -> Finding {
    noted(PlanNote { is_fault: finding.is_fault(), text: finding.to_string() })
}

fn noted(PlanNote { is_fault, text }: PlanNote) -> Finding {
    let severity = if is_fault { Severity::Fault } else { Severity::Remark };
    Finding { severity, message: text }
}

/// Plans, best first; equal ones in the order they came.
fn reply(plans: Vec<Plan>) -> Answer<PlanReply> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for plan in plans {
        let penalty = checks::penalty(&plan.findings) + 0.0; // the sum of nothing is −0
        let notes = plan.notes();
        let understood = plan.understood.into_iter().map(|message| Finding { severity: Severity::Remark, message });
        let findings = understood.chain(notes.into_iter().map(noted)).collect();
        candidates.push(Candidate { layout: plan.layout, findings, penalty });
    }
    candidates.sort_by(|a, b| a.penalty.total_cmp(&b.penalty));
    match candidates.first().cloned() {
        Some(Candidate { layout, findings, .. }) => Ok(PlanReply { layout, findings, candidates }),
        None => Err(Refusal::new(Fault::Engine, "nothing was planned")),
    }
}
