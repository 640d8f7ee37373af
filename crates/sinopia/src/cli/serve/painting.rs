//! Jobs that are painted: planned, begun with a picture, tried until somebody sees what was wanted, repaired, or made of a picture by a change.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use sinopia_diffusion::{self as diffusion, ImageSize, Recipe, Run};
use sinopia_eval::Detector;
use sinopia_layout::Layout;
use sinopia_models::hub::NoProgress;
use sinopia_nn::threads;
use sinopia_server::engine::{Painted, Sources};
use sinopia_server::wire::{Attempt, JobRequest, PictureEdit, Verdict};
use sinopia_server::{CancelReason, CancellationToken, Fault, Refusal, Watch};
use sinopia_studio::checked::{Ended, LocalHand};
use sinopia_studio::editing::EditResources;
use sinopia_studio::models::{LoadedModel, ModelKey};
use sinopia_studio::verdict::{Look, Program};
use sinopia_studio::{AttemptReport, CheckOptions, CheckSettings, Picture, ResolvedSpec, detector_for, recipe_in};

use super::editing::{Change, operation_doc};
use super::engine::{StudioEngine, size};
use super::observer::ProgressAdapter;
use super::refusal::refused;
use super::request;
use super::verdict::verdict;

/// What `--detector` is called when nobody shall look.
pub(super) const NO_DETECTOR: &str = "none";
/// Share of the time that a job may take after which nothing more is tried: what is painted then has still to be looked at and kept.
const TIME_TO_TRY: f64 = 0.9;

/// Who looks at the pictures of a job, for what, and how much is tried.
struct Checking {
    detector: Arc<Detector>,
    wanted: Layout,
    options: CheckOptions,
}

impl StudioEngine {
    /// Paints a job on the calling thread.
    pub(super) fn paint_job(
        &self,
        request: &JobRequest,
        sources: &Sources,
        watch: &dyn Watch,
    ) -> anyhow::Result<Painted> {
        if let Some(edit) = &request.edit {
            return self.paint_edit(request, edit, sources, watch);
        }
        let info = self.model(request.model.as_deref())?;
        let (width, height) = size(request, info);
        let spec = self.spec(request, request::init(request, sources)?)?;
        let spec = self.planned(spec, (width, height), watch)?;
        let resolved = self.resolve(&spec)?;
        let checking = self.checking(request, resolved.layout(), (width, height), watch)?;
        resolved.vocabulary_warning().iter().for_each(|warning| watch.warning(warning));
        let model = self.loaded(&resolved, info.picture_bytes(width, height))?;
        self.on_own_threads(|| match &checking {
            Some(checking) => paint_checked(&resolved, &model, checking, watch),
            None => paint_once(&resolved, &model, watch),
        })
    }

    /// The model of a picture, in memory once for all methods: with SAM also for those that have no use for it.
    fn loaded(&self, resolved: &ResolvedSpec, picture_bytes: u64) -> anyhow::Result<Arc<LoadedModel>> {
        let key = ModelKey { sam: self.defaults.sam.clone(), ..resolved.model().clone() };
        Ok(self.cache.get(&key, picture_bytes, || resolved.open(&NoProgress))?)
    }

    fn on_own_threads<T: Send>(&self, paint: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        match self.threads_each {
            Some(threads) => threads::with_own_threads(threads, paint)?,
            None => paint(),
        }
    }

    /// How the pictures of a job are looked at, if they are. What a method without boxes shall show is planned.
    fn checking(
        &self,
        request: &JobRequest,
        layout: Option<&Layout>,
        (width, height): (u32, u32),
        watch: &dyn Watch,
    ) -> anyhow::Result<Option<Checking>> {
        if !request.is_checked() {
            return Ok(None);
        }
        let model = request.model.as_deref().unwrap_or_default();
        let detector = self.detector_of(model)?;
        let wanted = match (layout, &request.caption) {
            (Some(layout), _) => layout.clone(),
            (None, Some(caption)) => {
                let planned = self.plan_for(caption, self.canvas_for((width, height)), watch)?.layout;
                watch.planned(&planned);
                planned
            }
            (None, None) => {
                return Err(refused("`attempts` and `repair` need a caption or a layout to look for").into());
            }
        };
        let max_seconds = self.job_seconds.map(|seconds| TIME_TO_TRY * seconds);
        let (attempts, repair) = (request.attempts, Some(request.repair));
        let options = CheckOptions::from(&CheckSettings { attempts, repair, max_seconds, ..CheckSettings::default() });
        Ok(Some(Checking { detector, wanted, options }))
    }

    /// Who looks at pictures of a model.
    ///
    /// # Errors
    /// [`Fault::Request`] if nobody does, with what has to be done about it.
    pub(super) fn detector_of(&self, model: &str) -> anyhow::Result<Arc<Detector>> {
        let name = self.detector_name(model)?;
        let mut opened = self.opened_detector.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(detector) = opened.as_ref() {
            return Ok(detector.clone());
        }
        let detector = Arc::new(sinopia_studio::open_detector(name)?);
        *opened = Some(detector.clone());
        Ok(detector)
    }

    /// The name of who looks at pictures of a model. The server has one detector: the one that was named, or else the built-in one, which knows the built-in
    /// model's pictures.
    pub(super) fn detector_name(&self, model: &str) -> Result<&str, Refusal> {
        match self.detector.as_deref() {
            Some(NO_DETECTOR) => Err(refused("this server looks at no pictures: it was started with `--detector none`")),
            named => detector_for(named, model).map_err(|_| Refusal {
                hint: Some("`sinopia serve --detector DIR` takes a folder of OWL-ViT or OWLv2 weights, such as a download of google/owlv2-base-patch16-ensemble".to_owned()),
                ..refused(format!("no detector here knows pictures of the model `{model}`"))
            }),
        }
    }

    /// What is in a picture, the bytes of a PNG of ours, of what a layout wants.
    pub(super) fn judge_picture(
        &self,
        png: &[u8],
        layout: &Layout,
        cancellation: &CancellationToken,
    ) -> anyhow::Result<Verdict> {
        let recipe = Recipe::from_json(&recipe_in(png)?)?;
        let detector = self.detector_of(&recipe.model.id)?;
        let image = sinopia_eval::picture(Path::new("the picture"), png)?.to_rgb8();
        let program = Program::for_method(layout, recipe.caption.as_deref(), &recipe.method)?;
        Ok(verdict(&detector.look(&image, &program, Some(&linked_to(cancellation)))?))
    }

    /// Changes the picture of another job. What is outside of the change stays as it is, to the byte.
    fn paint_edit(
        &self,
        request: &JobRequest,
        edit: &PictureEdit,
        sources: &Sources,
        watch: &dyn Watch,
    ) -> anyhow::Result<Painted> {
        let Change { job, plan } = Change::new(edit, request.seed, sources)?;
        let info = self.model(request.model.as_deref())?;
        let native = ImageSize { width: info.native_size.0 as usize, height: info.native_size.1 as usize };
        let job = job.fitted(native, info.multiple as usize);
        let resolved = self.resolve(job.paint_spec())?;
        let (width, height) = size(request, info);
        let model = self.loaded(&resolved, info.picture_bytes(width, height))?;
        resolved.check_repeated(&model)?;
        let edited = self.on_own_threads(|| {
            let cancellation = linked_to(watch.cancellation());
            let observer = ProgressAdapter::new(watch, &model, resolved.steps())?;
            let resources =
                EditResources { resolved: &resolved, model: &model, observer: &observer, cancellation: &cancellation };
            Ok(job.run(plan, resources)?)
        })?;
        edited.notes.iter().for_each(|note| watch.warning(note));
        Ok(painted(&edited.picture, None))
    }
}

/// Paints a job on a model that is there.
fn paint_once(resolved: &ResolvedSpec, model: &LoadedModel, watch: &dyn Watch) -> anyhow::Result<Painted> {
    let cancellation = linked_to(watch.cancellation());
    let adapter = ProgressAdapter::new(watch, model, resolved.steps())?;
    let picture = resolved.paint(model, &Run::new(&adapter, &cancellation))?;
    Ok(painted(&picture, None))
}

/// The same until what was wanted is seen, or as much was tried as may be.
fn paint_checked(
    resolved: &ResolvedSpec,
    model: &LoadedModel,
    checking: &Checking,
    watch: &dyn Watch,
) -> anyhow::Result<Painted> {
    let cancellation = linked_to(watch.cancellation());
    let adapter = ProgressAdapter::new(watch, model, resolved.steps())?;
    let hand = LocalHand::new(resolved, model, &adapter, &cancellation);
    // The work of the first attempt, which all work is told in.
    let painting = Cell::new(None);
    let tell = |report: &AttemptReport, picture: &Picture| {
        let unit = painting.get().unwrap_or(report.work);
        painting.set(Some(unit));
        watch.attempt(attempt_doc(report, unit), &picture.png);
    };
    let checked = hand.check(checking.detector.as_ref(), &checking.wanted, &checking.options, &tell)?;
    match checked.ended {
        // Whoever cancelled wants no picture; when time is up, the best one is better than none.
        Ended::Cancelled if watch.cancellation().reason() != Some(CancelReason::OutOfTime) => {
            return Err(Refusal::new(Fault::Cancelled, "the painting was cancelled").into());
        }
        Ended::Cancelled | Ended::Seconds => {
            watch.warning("there was no time for more tries: the best picture is kept")
        }
        Ended::Failed => {
            let problem = checked.problem.as_deref().unwrap_or("for no known reason");
            watch.warning(&format!("the next try failed, and the best picture is kept: {problem}"));
        }
        Ended::Right | Ended::Attempts | Ended::Repairs | Ended::Work => {}
    }
    let seed = Some(checked.picture.recipe.sampling.seed.0);
    Ok(Painted { seed, ..painted(&checked.picture, Some(verdict(&checked.verdict))) })
}

/// A try as clients read it; `painting` is the work of a picture.
fn attempt_doc(report: &AttemptReport, painting: u64) -> Attempt {
    Attempt {
        seed: report.seed.0,
        seed_text: report.seed.0.to_string(),
        verdict: Some(verdict(&report.verdict)),
        operations: report.operations.iter().map(operation_doc).collect(),
        accepted: report.accepted,
        summary: report.line(),
        work: report.work as f64 / painting.max(1) as f64,
        image: None,
    }
}

fn painted(picture: &Picture, verdict: Option<Verdict>) -> Painted {
    Painted { png: picture.png.clone(), guidance_scale: picture.recipe.sampling.guidance_scale, seed: None, verdict }
}

/// What the networks look at, cancelled when the server's token is.
pub(super) fn linked_to(cancellation: &CancellationToken) -> diffusion::CancellationToken {
    let linked = diffusion::CancellationToken::default();
    let to_cancel = linked.clone();
    cancellation.on_cancel(move || to_cancel.cancel());
    linked
}
