//! The engine of the server: the same planning and painting that the other commands do.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use sinopia_diffusion::schedulers::SchedulerName;
use sinopia_diffusion::{self as diffusion, Recipe, Run, Shortcuts, TextEncoderKind, methods};
use sinopia_eval::Detector;
use sinopia_layout::exchange::Imported;
use sinopia_layout::{Canvas, Layout, PixelBox, Scene, repair};
use sinopia_models::hub::NoProgress;
use sinopia_nn::threads;
use sinopia_planner::{Plan, PlanContext, PlanNote, PlanTask, Planner, checks};
use sinopia_server::engine::{Accepted, Kept, Painted};
use sinopia_server::seed::exact_options;
use sinopia_server::wire::{
    Candidate, CheckRequest, Composed, ComposedObject, Converted, Defaults, EditRequest, Finding, Findings, JobRequest,
    LayoutFormat, LayoutReply, Limits, ModelDoc, ObjectVerdict, Options, PictureFormat, PlanReply, PlanRequest,
    PlannerDoc, RecipeAnswer, RecipeReply, Rendering, Repaired, Severity, Size, Verdict,
};
use sinopia_server::{Answer, CancellationToken, Engine, Fault, Refusal, Watch};
use sinopia_studio::models::{Cached, LoadedModel, ModelCache, ModelInfo, ModelKey};
use sinopia_studio::pictures::{self, Origin};
use sinopia_studio::{
    AUTO, DEFAULT_METHOD, DEFAULT_SEED, DEFAULT_STEPS, PaintSettings, PaintSpec, ResolvedSpec, open_detector,
    recipe_in, verdict,
};

use super::observer::ProgressAdapter;
use super::refusal::{refused, to_refusal, unplanned};
use super::request::spec;
use super::{options, rendering};
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
    /// Threads of each painting, if several are painted at once.
    pub(super) threads_each: Option<usize>,
    pub(super) opened_detector: Mutex<Option<Arc<Detector>>>,
}

/// What `--detector` is called when nobody shall look.
pub(super) const NO_DETECTOR: &str = "none";
/// What a recipe is that asks for a method or an option that is not there.
const NOT_REPEATABLE: &str = "this version cannot paint the picture again";

impl StudioEngine {
    fn model(&self, name: Option<&str>) -> Answer<&ModelInfo> {
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
            Some(method) if method.eq_ignore_ascii_case(AUTO) => methods::auto(true, has_adapters).name.to_owned(),
            Some(method) => method.to_owned(),
            None => DEFAULT_METHOD.to_owned(),
        }
    }

    /// What a request asks for, with this server's model and files.
    fn spec(&self, request: &JobRequest) -> Answer<PaintSpec> {
        spec(request, &self.defaults).map_err(|error| to_refusal(&error.into()))
    }

    fn resolve(&self, spec: &PaintSpec) -> anyhow::Result<ResolvedSpec> {
        let has_adapters = self.model(spec.settings.model.as_deref())?.has_grounding_adapters;
        Ok(spec.resolve_for(|| Ok(has_adapters))?)
    }

    /// The spec with a layout: its own, or the planner's.
    fn planned(&self, spec: PaintSpec, size: (u32, u32), watch: &dyn Watch) -> anyhow::Result<PaintSpec> {
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
    fn canvas_for(&self, (width, height): (u32, u32)) -> Option<Canvas> {
        let keeps_its_own = self.is_canvas_named || self.planner.info().is_canvas_fixed;
        (!keeps_its_own).then(|| Canvas::shaped_like(width, height))
    }

    /// The plan for a caption.
    fn plan_for(&self, caption: &str, canvas: Option<Canvas>, watch: &dyn Watch) -> anyhow::Result<Plan> {
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

    fn paint_job(&self, request: &JobRequest, watch: &dyn Watch) -> anyhow::Result<Painted> {
        let info = self.model(request.model.as_deref())?;
        let (width, height) = size(request, info);
        let spec = self.planned(self.spec(request)?, (width, height), watch)?;
        let resolved = self.resolve(&spec)?;
        resolved.vocabulary_warning().iter().for_each(|warning| watch.warning(warning));
        // One SAM for all methods, also for those that have no use for it: a model is in memory once.
        let key = ModelKey { sam: self.defaults.sam.clone(), ..resolved.model().clone() };
        let model = self.cache.get(&key, info.picture_bytes(width, height), || resolved.open(&NoProgress))?;
        match self.threads_each {
            Some(threads) => threads::with_own_threads(threads, || paint_with(&resolved, &model, watch))?,
            None => paint_with(&resolved, &model, watch),
        }
    }

    fn detector(&self) -> anyhow::Result<Option<Arc<Detector>>> {
        let mut detector = self.opened_detector.lock().unwrap_or_else(PoisonError::into_inner);
        if detector.is_none() {
            let name = self.detector.as_deref().unwrap_or(sinopia_miniature::NAME);
            if name == NO_DETECTOR {
                return Ok(None);
            }
            *detector = Some(Arc::new(open_detector(name)?));
        }
        Ok(detector.clone())
    }

    fn judge_picture(&self, png: &[u8], layout: &Layout, cancellation: &CancellationToken) -> anyhow::Result<Verdict> {
        let recipe = Recipe::from_json(&recipe_in(png)?)?;
        if self.detector.is_none() && recipe.model.id != sinopia_miniature::NAME {
            return Err(refused("no detector knows pictures of this model: start the server with `--detector`").into());
        }
        let Some(detector) = self.detector()? else {
            return Err(refused("this server looks at no pictures: it was started with `--detector none`").into());
        };
        let image = sinopia_eval::picture(Path::new("the picture"), png)?.to_rgb8();
        let cancellation = linked_to(cancellation);
        Ok(verdict_doc(&verdict::look(detector.as_ref(), &image, layout, Some(&cancellation))?))
    }
}

/// Paints a job on a model that is there.
fn paint_with(resolved: &ResolvedSpec, model: &LoadedModel, watch: &dyn Watch) -> anyhow::Result<Painted> {
    let cancellation = linked_to(watch.cancellation());
    let adapter = ProgressAdapter::new(watch, model, resolved.steps())?;
    let picture = resolved.paint(model, &Run::new(&adapter, &cancellation))?;
    Ok(Painted { png: picture.png, guidance_scale: picture.recipe.sampling.guidance_scale })
}

/// What the networks look at, cancelled when the server's token is.
fn linked_to(cancellation: &CancellationToken) -> diffusion::CancellationToken {
    let linked = diffusion::CancellationToken::default();
    let to_cancel = linked.clone();
    cancellation.on_cancel(move || to_cancel.cancel());
    linked
}

fn size(request: &JobRequest, info: &ModelInfo) -> (u32, u32) {
    (request.width.unwrap_or(info.native_size.0), request.height.unwrap_or(info.native_size.1))
}

impl Engine for StudioEngine {
    fn options(&self) -> Options {
        let size = |listed: &ModelInfo| Size { width: listed.native_size.0, height: listed.native_size.1 };
        let models: Vec<ModelDoc> =
            self.models.iter().map(|listed| ModelDoc { id: listed.name.clone(), image_size: size(listed) }).collect();
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
        let Recipe { caption, layout, negative, method, options, sampling, model, .. } = recipe;
        let Shortcuts { guidance_interval, deep_every, merge_tokens } = sampling.shortcuts;
        let text = sampling.text_encoding;
        Ok(RecipeAnswer::Sinopia(Box::new(RecipeReply {
            caption,
            layout,
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

    fn accept(&self, mut request: JobRequest) -> Answer<Accepted> {
        let listed = self.model(request.model.as_deref())?;
        let defaults = self.options().defaults;
        request.caption = request.caption.map(|caption| caption.trim().to_owned());
        request.layout = request.layout.map(|layout| repair(layout).0);
        request.model = Some(listed.name.clone());
        // Another model may be able to do more than the default one.
        request.method = request.method.or(self.defaults.method.clone()).or(Some(defaults.method));
        request.seed.get_or_insert(defaults.seed);
        request.steps.get_or_insert(defaults.steps);
        request.guidance_scale = request.guidance_scale.or(defaults.guidance_scale);
        request.scheduler = request.scheduler.or(defaults.scheduler);
        self.spec(&request)?; // what no model could paint comes first
        let (width, height) = size(&request, listed);
        for (name, side) in [("width", width), ("height", height)] {
            if side % listed.multiple != 0 {
                return Err(refused(format!("`{name}` is {side}; a multiple of {} is expected", listed.multiple)));
            }
        }
        (request.width, request.height) = (Some(width), Some(height));
        let resolved = self.resolve(&self.spec(&request)?).map_err(|error| to_refusal(&error))?;
        if request.method.as_deref().is_some_and(|method| method.eq_ignore_ascii_case(AUTO)) {
            request.method = Some(resolved.method_info().name.to_owned());
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

    fn paint(&self, request: &JobRequest, watch: &dyn Watch) -> Answer<Painted> {
        self.paint_job(request, watch).map_err(|error| to_refusal(&error))
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

/// A verdict as clients read it.
fn verdict_doc(verdict: &verdict::Verdict) -> Verdict {
    let objects = verdict.objects.iter().map(|object| ObjectVerdict {
        phrase: object.phrase.clone(),
        r#box: sides(&object.bbox),
        found: object.is_found,
        score: object.score,
        detected_box: object.detected.as_ref().map(sides),
    });
    Verdict { objects: objects.collect() }
}

/// Left, top, width, height.
fn sides(bbox: &PixelBox) -> [f64; 4] {
    [bbox.x(), bbox.y(), bbox.width(), bbox.height()]
}
