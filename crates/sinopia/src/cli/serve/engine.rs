//! The engine of the server: the same planning and painting that the other commands do.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use serde_json::Value;
use sinopia::pictures::{self, Origin};
use sinopia_diffusion::schedulers::SchedulerName;
use sinopia_diffusion::{Cancellation, Recipe, Run, Shortcuts, TextEncoderKind, methods};
use sinopia_eval::Detector;
use sinopia_layout::exchange::{Hints, Imported};
use sinopia_layout::{Canvas, Layout, Scene, repair};
use sinopia_models::Precision;
use sinopia_nn::threads;
use sinopia_planner::{Error as PlanError, Plan, checks};
use sinopia_server::engine::{Accepted, Interrupt, Kept, Painted};
use sinopia_server::seed::exact_options;
use sinopia_server::wire::{
    Candidate, CheckRequest, Composed, ComposedObject, Converted, Defaults, EditRequest, Finding, Findings, JobRequest,
    LayoutFormat, LayoutReply, Limits, ModelDoc, Options, PictureFormat, PlanReply, PlanRequest, PlannerDoc,
    RecipeAnswer, RecipeReply, Rendering, Repaired, Severity, Size, Verdict,
};
use sinopia_server::{Answer, Engine, Fault, Refusal, Watch};

use super::observer::Teller;
use super::shelf::{Listed, Ready, Shelf};
use super::{options, rendering, verdict};
use crate::cli::args::{self, PaintingArgs};
use crate::cli::job::Job;
use crate::cli::planning::Planning;
use crate::cli::{convert, failure, foreign, painting_file};

/// Everything that paints and plans.
pub(super) struct Painter {
    /// What is done if a request does not say; places of models come from here and from nowhere else.
    pub(super) defaults: PaintingArgs,
    /// The models that may be asked for, the default first.
    pub(super) models: Vec<Listed>,
    pub(super) shelf: Shelf,
    pub(super) planning: Arc<Planning>,
    /// Bytes for models and paintings together.
    pub(super) budget: Option<u64>,
    /// The detector that was named, if one was.
    pub(super) detector: Option<String>,
    /// Threads of each painting, if several are painted at once.
    pub(super) threads_each: Option<usize>,
    pub(super) eye: Mutex<Option<Arc<Detector>>>,
}

/// What `--detector` is called when nobody shall look.
pub(super) const NO_DETECTOR: &str = "none";
/// The method if nobody says.
const DEFAULT_METHOD: &str = "lmd";
/// Steps if nobody says.
const DEFAULT_STEPS: u32 = 50;
/// What a recipe is that asks for a method or an option that is not there.
const NOT_REPEATABLE: &str = "this version cannot paint the picture again";

impl Painter {
    fn model(&self, name: Option<&str>) -> Answer<&Listed> {
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

    /// A request in the words of the command line, so that the same checks and the same code do the rest.
    fn args(&self, request: &JobRequest) -> PaintingArgs {
        let set = |(name, value): (&String, &Value)| format!("{name}={value}");
        let encoder = |name: &Option<String>| name.as_deref().and_then(encoder);
        let mut text = self.defaults.text.clone();
        text.text_encoder = encoder(&request.text_encoder);
        text.negative_encoder = encoder(&request.negative_encoder);
        if !text.encoding(Default::default()).needs_ella() {
            (text.t5, text.ella) = (None, None);
        }
        PaintingArgs {
            method: request.method.clone(),
            model: request.model.clone(),
            sam: self.defaults.sam.clone(),
            seed: request.seed,
            steps: request.steps,
            guidance_scale: request.guidance_scale,
            guidance_interval: request.guidance_interval,
            deep_every: request.deep_every,
            merge_tokens: request.merge_tokens,
            scheduler: request.scheduler.clone(),
            text,
            negative: request.negative.clone(),
            width: request.width,
            height: request.height,
            precision: self.defaults.precision,
            set: request.options.iter().map(set).collect(),
            ..PaintingArgs::default()
        }
    }

    fn job(&self, request: &JobRequest, layout: Option<Layout>) -> anyhow::Result<Job> {
        Job::new(request.caption.clone(), layout, Vec::new(), self.args(request))
    }

    /// The layout of a job: its own, or the planner's.
    fn layout(&self, request: &JobRequest, watch: &dyn Watch) -> anyhow::Result<Option<Layout>> {
        let needs_layout = methods::find(request.method.as_deref().unwrap_or(DEFAULT_METHOD))?.needs_layout;
        if request.layout.is_some() || !needs_layout {
            return Ok(request.layout.clone());
        }
        let caption = request.caption.as_deref().unwrap_or_default();
        let plan = self.plan_for(caption, watch)?;
        for finding in &plan.findings {
            watch.warning(&finding.to_string());
        }
        watch.planned(&plan.layout);
        Ok(Some(plan.layout))
    }

    /// The plan for a caption.
    fn plan_for(&self, caption: &str, watch: &dyn Watch) -> anyhow::Result<Plan> {
        let caption = caption.to_owned();
        Ok(self.aside(watch.interrupt(), move |planning, is_over| planning.plan_until(is_over, &caption))??)
    }

    /// What the planner answers. After an interrupt nothing more is asked; what is open then is waited for, at a language model elsewhere too, so that those who
    /// come and go leave no work behind them.
    fn ask<T>(&self, interrupt: &Interrupt, ask: impl FnOnce(&Planning, &AtomicBool) -> T) -> T {
        let is_over = Arc::new(AtomicBool::new(false));
        let to_stop = is_over.clone();
        interrupt.on_throw(move || to_stop.store(true, Ordering::Relaxed));
        ask(&self.planning, &is_over)
    }

    /// The same for a job, on a thread of its own. An interrupt ends the wait at once: a language model may take minutes. The question that is open then ends by its own
    /// time limit, and no other follows it.
    fn aside<T: Send + 'static>(
        &self,
        interrupt: &Interrupt,
        ask: impl FnOnce(&Planning, &AtomicBool) -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        let (sender, receiver) = channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let (to_stop, interrupted) = (is_over.clone(), sender.clone());
        interrupt.on_throw(move || {
            to_stop.store(true, Ordering::Relaxed);
            let _ = interrupted.send(None); // unless the plan was there first
        });
        let planning = self.planning.clone();
        let plan = move || {
            let plan = catch_unwind(AssertUnwindSafe(|| ask(&planning, &is_over)));
            let _ = sender.send(Some(plan)); // unless nobody waits any more
        };
        thread::Builder::new().name("planner".to_owned()).spawn(plan).context("there is no thread to plan on")?;
        match receiver.recv()? {
            Some(Ok(plan)) => Ok(plan),
            Some(Err(panic)) => resume_unwind(panic),
            None => Err(Refusal::new(Fault::Interrupted, "the planning was interrupted").into()),
        }
    }

    fn paint_job(&self, request: &JobRequest, watch: &dyn Watch) -> anyhow::Result<Painted> {
        let layout = self.layout(request, watch)?;
        let job = self.job(request, layout)?;
        job.vocabulary_warning().iter().for_each(|warning| watch.warning(warning));
        let listed = self.model(request.model.as_deref())?;
        let (width, height) = size(request, listed);
        let ready = self.shelf.take(listed, job.ella(), listed.picture_bytes(width, height))?;
        match self.threads_each {
            Some(threads) => threads::with_own_threads(threads, || paint_with(&job, &ready, watch))?,
            None => paint_with(&job, &ready, watch),
        }
    }

    fn detector(&self) -> anyhow::Result<Option<Arc<Detector>>> {
        let mut eye = self.eye.lock().unwrap_or_else(PoisonError::into_inner);
        if eye.is_none() {
            let opened = match self.detector.as_deref() {
                Some(NO_DETECTOR) => return Ok(None),
                None | Some(sinopia_miniature::NAME) => {
                    Detector::from_embedded(sinopia_miniature::NAME, sinopia_miniature::DETECTOR_FILES)?
                }
                Some(folder) => Detector::open(Path::new(folder), Precision::Auto)
                    .with_context(|| format!("cannot open the detector `{folder}`"))?,
            };
            *eye = Some(Arc::new(opened));
        }
        Ok(eye.clone())
    }

    fn judge_picture(&self, png: &[u8], layout: &Layout, interrupt: &Interrupt) -> anyhow::Result<Verdict> {
        let recipe = Recipe::from_json(&painting_file::recipe_in(png)?)?;
        if self.detector.is_none() && recipe.model.id != sinopia_miniature::NAME {
            return Err(refused("no detector knows pictures of this model: start the server with `--detector`").into());
        }
        let Some(detector) = self.detector()? else {
            return Err(refused("this server looks at no pictures: it was started with `--detector none`").into());
        };
        let image = sinopia_eval::picture(Path::new("the picture"), png)?.to_rgb8();
        let cancellation = cancellation(interrupt);
        Ok(verdict::look(detector.as_ref(), &image, layout, cancellation.interrupt())?)
    }
}

/// Paints a job on a model that is there.
fn paint_with(job: &Job, ready: &Ready, watch: &dyn Watch) -> anyhow::Result<Painted> {
    let model = &ready.model;
    let request = job.request(0, model);
    model.pipeline.latent_size(&request.sampling)?;
    let cancellation = cancellation(watch.interrupt());
    let teller = Teller::new(watch, &ready.preview, request.sampling.num_inference_steps);
    let painting = job.method().generate(&request, &model.pipeline, &Run::new(&teller, &cancellation))?;
    let guidance_scale = request.sampling.guidance_scale;
    Ok(Painted { png: job.png(&request, &painting, model)?.bytes, guidance_scale })
}

/// What the networks look at, cancelled when the server's switch is thrown.
fn cancellation(interrupt: &Interrupt) -> Cancellation {
    let cancellation = Cancellation::default();
    let switch = cancellation.clone();
    interrupt.on_throw(move || switch.cancel());
    cancellation
}

fn size(request: &JobRequest, listed: &Listed) -> (u32, u32) {
    (request.width.unwrap_or(listed.native_size.0), request.height.unwrap_or(listed.native_size.1))
}

fn encoder(name: &str) -> Option<TextEncoderKind> {
    TextEncoderKind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

impl Engine for Painter {
    fn options(&self) -> Options {
        let size = |listed: &Listed| Size { width: listed.native_size.0, height: listed.native_size.1 };
        let models: Vec<ModelDoc> =
            self.models.iter().map(|listed| ModelDoc { id: listed.name.clone(), image_size: size(listed) }).collect();
        Options {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            methods: options::methods(),
            schedulers: SchedulerName::all().iter().map(SchedulerName::to_string).collect(),
            text_encoders: TextEncoderKind::ALL.iter().map(|kind| kind.as_str().to_owned()).collect(),
            defaults: Defaults {
                method: self.defaults.method.clone().unwrap_or_else(|| DEFAULT_METHOD.to_owned()),
                model: models.first().map(|model| model.id.clone()).unwrap_or_default(),
                scheduler: self.defaults.scheduler.clone(),
                steps: self.defaults.steps.unwrap_or(DEFAULT_STEPS),
                guidance_scale: self.defaults.guidance_scale,
                seed: 0,
                seed_text: "0".to_owned(),
            },
            models,
            limits: Limits::default(),
            planner: PlannerDoc { name: self.planning.name().to_owned(), edits: self.planning.can_edit() },
        }
    }

    fn is_ready(&self) -> Answer<()> {
        self.model(None).map(drop)
    }

    fn kept(&self) -> Kept {
        self.shelf.kept()
    }

    fn plan(&self, request: &PlanRequest, interrupt: &Interrupt) -> Answer<PlanReply> {
        let canvas = request.canvas.map(|Size { width, height }| Canvas::new(width, height)).transpose();
        let canvas = canvas.map_err(|error| refused(error.to_string()))?;
        let (caption, candidates) = (request.caption.trim().to_owned(), request.candidates.unwrap_or(1) as usize);
        let plans = move |planning: &Planning, is_over: &AtomicBool| {
            let provider = planning.until(is_over);
            let planner = planning.lenient_planner(&provider, canvas).map_err(|error| told(&error))?;
            let mut plans = Vec::new();
            for occurrence in 0..candidates {
                match planner.plan(&caption, occurrence, &|_| {}) {
                    Ok(plan) => plans.push(plan),
                    // What was found is worth more than what went wrong later.
                    Err(error) if plans.is_empty() => return Err(unplanned(error)),
                    Err(_) => break,
                }
            }
            Ok(plans)
        };
        reply(self.ask(interrupt, plans)?)
    }

    fn edit(&self, request: &EditRequest, interrupt: &Interrupt) -> Answer<PlanReply> {
        let (layout, _) = repair(request.layout.clone());
        let instruction = request.instruction.trim().to_owned();
        let edit = move |planning: &Planning, is_over: &AtomicBool| {
            let provider = planning.until(is_over);
            let planner = planning.lenient_planner(&provider, None).map_err(|error| told(&error))?;
            planner.edit(&layout, &instruction, 0, &|_| {}).map_err(unplanned)
        };
        let mut plan = self.ask(interrupt, edit)?;
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
            r#box: verdict::sides(&object.bbox().to_pixels(layout.canvas)),
        });
        Ok(Composed {
            overall_prompt: scene.overall().text.clone(),
            overall_negative: scene.overall_negative().to_owned(),
            objects: objects.collect(),
            object_negative: scene.object_negative().to_owned(),
        })
    }

    fn convert(&self, text: &str, to: LayoutFormat) -> Answer<Converted> {
        let read = convert::import(text, None, &Hints::default());
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
            LayoutFormat::Svg => (args::LayoutFormat::Svg, "image/svg+xml"),
        };
        let text = convert::write(&layout, to, None).map_err(|error| told(&error))?;
        Ok(Converted::Text { text, media_type })
    }

    fn recipe(&self, png: &[u8]) -> Answer<RecipeAnswer> {
        let text = match pictures::read(png).map_err(|error| refused(error.to_string()))? {
            Origin::Sinopia { recipe } => recipe,
            Origin::Foreign(made) => return Ok(RecipeAnswer::Foreign { foreign: Box::new(foreign::wire(&made)) }),
        };
        let recipe = Recipe::from_json(&text).map_err(|error| told(&error.into()))?;
        recipe.build_method().map_err(|error| told(&anyhow::Error::new(error).context(NOT_REPEATABLE)))?;
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
        check_numbers(&request)?;
        let listed = self.model(request.model.as_deref())?;
        let defaults = self.options().defaults;
        request.caption = request.caption.map(|caption| caption.trim().to_owned());
        request.layout = request.layout.map(|layout| repair(layout).0);
        request.model = Some(listed.name.clone());
        request.method.get_or_insert(defaults.method);
        request.seed.get_or_insert(defaults.seed);
        request.steps.get_or_insert(defaults.steps);
        request.guidance_scale = request.guidance_scale.or(defaults.guidance_scale);
        request.scheduler = request.scheduler.or(defaults.scheduler);
        let (width, height) = size(&request, listed);
        for (name, side) in [("width", width), ("height", height)] {
            if side % listed.multiple != 0 {
                return Err(refused(format!("`{name}` is {side}; a multiple of {} is expected", listed.multiple)));
            }
        }
        (request.width, request.height) = (Some(width), Some(height));
        // Where the planner will be asked, anything stands in for its layout.
        let layout = request.layout.clone().or_else(|| request.caption.as_deref().map(stand_in));
        self.job(&request, layout).map_err(|error| told(&error))?;
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
        self.paint_job(request, watch).map_err(|error| told(&error))
    }

    fn judge(&self, png: &[u8], layout: &Layout, interrupt: &Interrupt) -> Answer<Verdict> {
        self.judge_picture(png, layout, interrupt).map_err(|error| told(&error))
    }
}

/// A layout in the place of one that is yet to be planned.
fn stand_in(caption: &str) -> Layout {
    let background = caption.to_owned();
    Layout { canvas: Canvas::PUBLISHED, objects: Vec::new(), background, negative: String::new() }
}

/// What the command line refuses while it reads its flags.
fn check_numbers(request: &JobRequest) -> Answer<()> {
    let refuse = |name: &str, expected: &str| Err(refused(format!("`{name}` is out of range: {expected}")));
    if request.guidance_scale.is_some_and(|x| !(1.0..=100.0).contains(&x)) {
        return refuse("guidance_scale", "a number from 1 to 100");
    }
    for (name, side) in [("width", request.width), ("height", request.height)] {
        if side.is_some_and(|side| !(8..=4096).contains(&side)) {
            return refuse(name, "8 to 4096 pixels");
        }
    }
    if request.deep_every.is_some_and(|n| !(1..=1000).contains(&n)) {
        return refuse("deep_every", "1 to 1000");
    }
    if request.merge_tokens.is_some_and(|n| !(1..=8).contains(&n)) {
        return refuse("merge_tokens", "1 to 8");
    }
    let is_rising = |(first, end): (f64, f64)| (0.0..=1.0).contains(&first) && (first..=1.0).contains(&end);
    if request.guidance_interval.is_some_and(|interval| !is_rising(interval)) {
        return refuse("guidance_interval", "two rising numbers from 0 to 1");
    }
    for (name, kind) in [("text_encoder", &request.text_encoder), ("negative_encoder", &request.negative_encoder)] {
        if kind.as_deref().is_some_and(|kind| encoder(kind).is_none()) {
            return refuse(name, &TextEncoderKind::ALL.map(TextEncoderKind::as_str).join(", "));
        }
    }
    Ok(())
}

fn findings(caption: Option<&str>, layout: &Layout) -> Vec<Finding> {
    let found = match caption {
        Some(caption) => checks::check(caption, layout),
        None => checks::check_boxes(layout),
    };
    found.iter().map(finding).collect()
}

fn finding(finding: &checks::Finding) -> Finding {
    let severity = if finding.is_fault() { Severity::Fault } else { Severity::Remark };
    Finding { severity, message: finding.to_string() }
}

/// Plans, best first; equal ones in the order they came.
fn reply(plans: Vec<Plan>) -> Answer<PlanReply> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for Plan { layout, findings, .. } in plans {
        let penalty = checks::penalty(&findings) + 0.0; // the sum of nothing is −0
        candidates.push(Candidate { layout, findings: findings.iter().map(finding).collect(), penalty });
    }
    candidates.sort_by(|a, b| a.penalty.total_cmp(&b.penalty));
    match candidates.first().cloned() {
        Some(Candidate { layout, findings, .. }) => Ok(PlanReply { layout, findings, candidates }),
        None => Err(Refusal::new(Fault::Engine, "nothing was planned")),
    }
}

/// Why there is no plan. A planner that cannot do what was asked, or gave nothing usable, is another matter than one that cannot be reached.
fn unplanned(error: PlanError) -> Refusal {
    let fault = match error {
        PlanError::Unable { .. } | PlanError::Unusable { .. } => Fault::NoPlan,
        _ => Fault::Planner,
    };
    Refusal { fault, ..told(&error.into()) }
}

fn refused(message: impl Into<String>) -> Refusal {
    Refusal::new(Fault::Request, message)
}

/// An error of the program in the words of the server.
fn told(error: &anyhow::Error) -> Refusal {
    if let Some(refusal) = error.downcast_ref::<Refusal>() {
        return refusal.clone();
    }
    let is_interrupted = error.chain().any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(
                sinopia_diffusion::Error::Cancelled
                    | sinopia_diffusion::Error::Model(sinopia_models::Error::Interrupted)
            )
        ) || matches!(cause.downcast_ref(), Some(sinopia_models::Error::Interrupted))
            || matches!(cause.downcast_ref(), Some(sinopia_eval::Error::Model(sinopia_models::Error::Interrupted)))
    });
    let fault = match error.downcast_ref::<PlanError>() {
        _ if is_interrupted => Fault::Interrupted,
        Some(_) => Fault::Planner,
        None if failure::is_refused(error) => Fault::Request,
        None => Fault::Engine,
    };
    let (message, hint) = failure::told(error);
    // The command line's hints name flags that a request has not.
    let hint = match error.downcast_ref() {
        Some(PlanError::Unusable { .. }) => Some("ask again or in other words, or draw the boxes".to_owned()),
        Some(PlanError::OutOfTime { .. }) => {
            Some("ask again; the server's `--plan-timeout` allows more time".to_owned())
        }
        _ => hint,
    };
    Refusal { fault, message, hint }
}
