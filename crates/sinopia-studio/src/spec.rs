//! What somebody wants painted, and what that comes to once every open question is answered.

use std::sync::Arc;

use serde_json::{Map, Value};
use sinopia_diffusion::edit::{self, EditOptions, EditSource, Edited};
use sinopia_diffusion::methods::{self, AutoChoice, Method, MethodInfo};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::schedulers::{PUBLISHED_STEPS, SchedulerKind, SchedulerName};
use sinopia_diffusion::{
    CheckedRecord, Edit, ImageSize, PaintRequest, Painting, Pipeline, Recipe, Run, Sampling, Shortcuts, TextEncoding,
};
use sinopia_layout::{Layout, says_something};
use sinopia_models::hub::{DownloadProgress, NoProgress};
use sinopia_nn::threads;

use crate::checked::Repainted;
use crate::models::{EllaSource, LoadedModel, ModelKey, NO_SAM, OpenedModel, check_sam};
use crate::{Compute, Error, InitPicture, PaintSettings, Picture, Result, vocabulary};

/// The method if nobody says.
pub const DEFAULT_METHOD: &str = methods::Lmd::NAME;
/// Denoising steps if nobody says, as published.
pub const DEFAULT_STEPS: u32 = PUBLISHED_STEPS as u32;
/// The model if nobody says.
pub const DEFAULT_MODEL: &str = sinopia_miniature::NAME;
/// The seed if nobody says.
pub const DEFAULT_SEED: u64 = 0;

/// The name of the method that is the best one that the model can do.
pub const AUTO: &str = "auto";

/// One picture that somebody wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PaintSpec {
    /// What it shows, in words.
    pub caption: Option<String>,
    /// What stands where. Repaired: every box inside its canvas.
    pub layout: Option<Layout>,
    /// What it begins with, if not with noise alone.
    pub init: Option<Arc<InitPicture>>,
    /// Whether a planner will be asked for a layout that is missing. A picture that begins with another is not planned unless its method needs it.
    pub is_planned: bool,
    /// How it is painted, as far as anybody said.
    pub settings: PaintSettings,
    /// The recipe to repeat, whose model must be the one that it was made with.
    pub repeated: Option<Recipe>,
    /// Whether its settings are a recipe's, which may say more than somebody who asks can.
    pub is_recorded: bool,
    /// What is done to the painting afterwards, in order.
    pub edits: Vec<Edit>,
    /// How the picture that is repeated was checked.
    pub checked: Option<CheckedRecord>,
}

/// A picture of which everything is known but what the model in memory says. Made by [`PaintSpec::resolve`].
#[derive(Debug, Clone)]
pub struct ResolvedSpec {
    caption: Option<String>,
    layout: Option<Layout>,
    init: Option<Arc<InitPicture>>,
    negative: Option<String>,
    method: Arc<dyn Method>,
    info: &'static MethodInfo,
    sampling: ResolvedSampling,
    model: ModelKey,
    repeated: Option<Recipe>,
    edits: Vec<Edit>,
    checked: Option<CheckedRecord>,
}

/// A method by name, with the options that were asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestedMethod {
    /// The method's name, or `auto`.
    pub name: String,
    /// Options; those that are left out have their defaults.
    pub options: Map<String, Value>,
}

/// [`Sampling`] before the model, which knows its own size, is there.
#[derive(Debug, Clone)]
struct ResolvedSampling {
    seed: u64,
    steps: usize,
    guidance_scale: Option<f64>,
    guidance_rescale: f64,
    shortcuts: Shortcuts,
    text_encoding: TextEncoding,
    scheduler: Option<SchedulerName>,
    width: Option<usize>,
    height: Option<usize>,
}

impl PaintSpec {
    /// A picture of a caption, which a planner lays out.
    pub fn new(caption: impl Into<String>) -> Self {
        Self { caption: Some(caption.into()), is_planned: true, ..Self::default() }
    }

    /// A picture of a layout.
    pub fn of_layout(layout: Layout) -> Self {
        Self { layout: Some(layout), ..Self::default() }
    }

    /// With settings.
    #[must_use]
    pub fn with(self, settings: PaintSettings) -> Self {
        Self { settings, ..self }
    }

    /// The name of its model.
    pub fn model_name(&self) -> &str {
        self.settings.model.as_deref().unwrap_or(DEFAULT_MODEL)
    }

    /// Its seed.
    pub fn seed(&self) -> u64 {
        self.settings.seed.unwrap_or(DEFAULT_SEED)
    }

    /// Where its networks run, and what they compute in.
    pub fn compute(&self) -> Compute {
        let PaintSettings { device, precision, .. } = self.settings;
        Compute { device: device.unwrap_or_default(), precision: precision.unwrap_or_default() }
    }

    /// The same picture from another seed.
    #[must_use]
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { settings: PaintSettings { seed: Some(seed), ..self.settings.clone() }, ..self.clone() }
    }

    /// Whether its method paints a layout, and there is none yet.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), for the names of method and preset.
    pub fn lacks_layout(&self) -> Result<bool> {
        let Some(method) = self.method_name()? else { return Ok(self.layout.is_none() && self.is_planned_by_choice()) };
        Ok(self.layout.is_none() && methods::find(method)?.needs_layout)
    }

    /// Answers every open question with the defaults, and refuses what cannot be painted whatever the model is. For the method `auto` the model's files
    /// are looked at.
    ///
    /// # Errors
    /// Of [`Error`], all that say what of the settings is wrong; [`sinopia_diffusion::Error`] for unknown methods, presets, options and schedulers.
    pub fn resolve(&self) -> Result<ResolvedSpec> {
        self.resolve_for(|| {
            let opened = OpenedModel::open(self.model_name(), self.compute(), &NoProgress)?;
            Ok(opened.has_grounding_adapters())
        })
    }

    /// The same; `has_adapters` says whether the model has GLIGEN's grounding adapters, and is asked only for the method `auto`.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), and those of `has_adapters`.
    pub fn resolve_for(&self, has_adapters: impl FnOnce() -> Result<bool>) -> Result<ResolvedSpec> {
        self.check_there_is_something()?;
        let settings = &self.settings.clone().with_preset()?;
        if !self.is_recorded {
            settings.check_values()?;
        }
        let info = self.method(has_adapters)?;
        if self.init.is_some() && !info.takes_init {
            return Err(sinopia_diffusion::Error::NoInit { method: info.name }.into());
        }
        let method = methods::build(info.name, Value::Object(self.method_options(info)?))?;
        let text_encoding = settings.text_encoding();
        let model = self.model_name().to_owned();
        let ella = EllaSource::resolve(settings, &text_encoding, &model)?;
        let sampling = ResolvedSampling {
            seed: self.seed(),
            steps: settings.steps.unwrap_or(DEFAULT_STEPS) as usize,
            guidance_scale: settings.guidance_scale,
            guidance_rescale: settings.guidance_rescale.unwrap_or(0.0),
            shortcuts: settings.shortcuts(),
            text_encoding,
            scheduler: settings.scheduler.as_deref().map(parse_scheduler).transpose()?,
            width: settings.width.map(|px| px as usize),
            height: settings.height.map(|px| px as usize),
        };
        // What is edited again is edited with the SAM that its recipe names, whatever the method.
        let uses_sam = segments(method.as_ref()) || !self.edits.is_empty();
        let sam = settings.sam.clone().filter(|_| uses_sam);
        Ok(ResolvedSpec {
            caption: self.caption.clone(),
            layout: self.layout.clone(),
            init: self.init.clone(),
            negative: settings.negative.clone(),
            method: Arc::from(method),
            info,
            sampling,
            model: ModelKey { name: model, sam, ella, compute: self.compute() },
            repeated: self.repeated.clone(),
            edits: self.edits.clone(),
            checked: self.checked.clone(),
        })
    }

    /// The method and its options for whoever resolves the rest elsewhere: every preset is written out, and `auto` stays.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), for method, preset and options.
    pub fn requested_method(&self) -> Result<RequestedMethod> {
        if let Some(name) = self.method_name()? {
            let info = methods::find(name)?;
            return Ok(RequestedMethod { name: info.name.to_owned(), options: self.method_options(info)? });
        }
        // Options that are written out are those of one method, and which one it becomes is not known here.
        let auto = [methods::Sd::NAME, methods::Lmd::NAME, methods::LmdPlus::NAME];
        let preset = self.settings.preset.as_deref().map(methods::find_preset).transpose()?;
        if let Some(preset) = preset.filter(|preset| auto.iter().any(|method| preset.own_options(method).is_some())) {
            return Err(Error::PresetWithAuto { preset: preset.name });
        }
        let mut options = self.settings.options.clone();
        for assignment in &self.settings.set {
            let (name, value) = assigned(assignment, methods::find(methods::LmdPlus::NAME)?)?;
            options.insert(name, value);
        }
        Ok(RequestedMethod { name: AUTO.to_owned(), options })
    }

    /// Refuses to paint nothing.
    fn check_there_is_something(&self) -> Result<()> {
        match (&self.caption, &self.layout) {
            (Some(_), _) => Ok(()),
            (None, None) => Err(Error::NothingToPaint),
            (None, Some(layout)) if layout.objects.is_empty() && !says_something(&layout.background) => {
                Err(Error::EmptyLayout)
            }
            (None, Some(_)) => Ok(()),
        }
    }

    /// The method's name as it was said, by a preset too; nothing for `auto`.
    pub(crate) fn method_name(&self) -> Result<Option<&str>> {
        if let Some(preset) = &self.settings.preset {
            methods::find_preset(preset)?;
        }
        let named = self.settings.method.as_deref().or(self.settings.method_of_preset());
        let unnamed = if self.init.is_some() { AUTO } else { DEFAULT_METHOD };
        Ok(Some(named.unwrap_or(unnamed)).filter(|name| !name.eq_ignore_ascii_case(AUTO)))
    }

    fn method(&self, has_adapters: impl FnOnce() -> Result<bool>) -> Result<&'static MethodInfo> {
        match self.method_name()? {
            Some(name) => Ok(methods::find(name)?),
            None => {
                let has_layout = self.layout.is_some() || self.is_planned_by_choice();
                let has_adapters = has_layout && has_adapters()?;
                Ok(methods::auto(AutoChoice { has_layout, has_adapters, has_init: self.init.is_some() }))
            }
        }
    }

    /// Whether a missing layout is planned for a method that would do without.
    fn is_planned_by_choice(&self) -> bool {
        self.is_planned && self.init.is_none()
    }

    /// The options of a method: a preset's or the published ones, then what was said of single ones.
    fn method_options(&self, method: &'static MethodInfo) -> Result<Map<String, Value>> {
        let settings = &self.settings;
        if method.name != methods::Sd::NAME && settings.options.get(IGNORE_NEGATIVE) == Some(&Value::Bool(true)) {
            return Err(Error::IgnoredNegative { method: method.name });
        }
        let mut options = match &settings.preset {
            Some(preset) => preset_options(preset, method)?,
            None => Map::new(),
        };
        options.extend(method.check_options(&settings.options)?);
        for assignment in &settings.set {
            let (name, value) = assigned(assignment, method)?;
            options.insert(name, value);
        }
        Ok(options)
    }
}

/// An option that `sd` alone has, and that has a flag of its own.
const IGNORE_NEGATIVE: &str = "ignore_negative_prompt";

/// Whether the method segments the objects that it painted alone, which a SAM can do.
fn segments(method: &dyn Method) -> bool {
    method.options().get("mask_prompt").is_some()
}

/// The option and the value of `name=value`.
fn assigned(assignment: &str, method: &MethodInfo) -> Result<(String, Value)> {
    let assigned = assignment.split_once('=');
    let (name, value) = assigned.ok_or_else(|| Error::Assignment { assignment: assignment.to_owned() })?;
    Ok(method.parse_option(name, value)?)
}

/// What a preset sets, which must go with this method.
fn preset_options(preset: &str, method: &'static MethodInfo) -> Result<Map<String, Value>> {
    let preset = methods::find_preset(preset)?;
    match preset.method.filter(|of| *of != method.name) {
        Some(of) => Err(Error::PresetOfAnother { preset: preset.name, of, method: method.name }),
        // What it leaves to the default is not said by it.
        None => Ok(preset.own_options(method.name).cloned().unwrap_or_default()),
    }
}

/// The scheduler of a name.
///
/// # Errors
/// [`sinopia_diffusion::Error::UnknownScheduler`], [`Error::FixedNoiseLevels`].
pub fn parse_scheduler(name: &str) -> Result<SchedulerName> {
    match name.parse()? {
        SchedulerName { kind: SchedulerKind::Pndm, sigmas: Some(_) } => {
            Err(Error::FixedNoiseLevels { name: name.to_owned() })
        }
        scheduler => Ok(scheduler),
    }
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}

impl ResolvedSpec {
    /// The method.
    pub fn method(&self) -> &dyn Method {
        self.method.as_ref()
    }

    /// What is known of the method.
    pub fn method_info(&self) -> &'static MethodInfo {
        self.info
    }

    /// What it shows, in words.
    pub fn caption(&self) -> Option<&str> {
        self.caption.as_deref()
    }

    /// The layout.
    pub fn layout(&self) -> Option<&Layout> {
        self.layout.as_ref()
    }

    /// What the picture shows after its edits.
    pub fn final_layout(&self) -> Option<&Layout> {
        self.edits.last().map(|edit| &edit.layout).or(self.layout())
    }

    /// What is done to the painting afterwards, in order.
    pub fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// Whether it begins with a picture.
    pub fn has_init(&self) -> bool {
        self.init.is_some()
    }

    /// Where its noise starts.
    pub fn seed(&self) -> Seed {
        Seed(self.sampling.seed)
    }

    /// The model that paints it, with what stands beside it.
    pub fn model(&self) -> &ModelKey {
        &self.model
    }

    /// Denoising steps of the picture.
    pub fn steps(&self) -> usize {
        self.sampling.steps
    }

    /// The same with a layout that was planned.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout: Some(layout), ..self }
    }

    /// The same from another seed.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { sampling: ResolvedSampling { seed, ..self.sampling }, ..self }
    }

    /// Refuses SAM and ELLA that are not where they are said to be.
    ///
    /// # Errors
    /// [`Error::NoSam`], [`Error::NoFile`], for what a recipe names inside of [`Error::Moved`].
    pub fn check_files(&self) -> Result<()> {
        let sam = self.model.sam.as_deref().map_or(Ok(()), check_sam);
        self.moved(sam)?;
        self.model.ella.as_ref().map_or(Ok(()), EllaSource::check)
    }

    /// Refuses what a model cannot paint, as far as its files tell before its networks are loaded.
    ///
    /// # Errors
    /// [`sinopia_diffusion::Error::NoAdapters`], [`sinopia_diffusion::Error::PictureSize`] and those of schedulers.
    pub fn check_model(&self, opened: &OpenedModel) -> Result<()> {
        if self.info.needs_adapters && !opened.has_grounding_adapters() {
            return Err(sinopia_diffusion::Error::NoAdapters { method: self.info.name }.into());
        }
        let native = opened.native_size();
        Pipeline::check_size(self.size(native), opened.multiple())?;
        let is_plain = self.info.name == methods::Sd::NAME;
        let usual = (!is_plain).then_some(SchedulerName { kind: SchedulerKind::Ddim, sigmas: None });
        let scheduler = self.sampling.scheduler.or(usual);
        Ok(Pipeline::check_scheduler(&opened.checkpoint().scheduler, scheduler, self.sampling.steps)?)
    }

    /// Opens the model, and refuses one that cannot paint it.
    ///
    /// # Errors
    /// Those of [`OpenedModel::open`] and [`check_model`](Self::check_model).
    pub fn open(&self, progress: &dyn DownloadProgress) -> Result<OpenedModel> {
        let opened = self.moved(OpenedModel::open(&self.model.name, self.model.compute, progress))?;
        self.check_model(&opened)?;
        Ok(opened)
    }

    /// Loads the networks of its model, which for a repeated recipe must be the very same.
    ///
    /// # Errors
    /// Those of [`LoadedModel::load`] and [`check_repeated`](Self::check_repeated).
    pub fn load(&self, opened: &OpenedModel) -> Result<LoadedModel> {
        let ModelKey { sam, ella, compute, .. } = &self.model;
        let model = self.moved(LoadedModel::load(opened, sam.as_deref(), ella.as_ref(), *compute))?;
        self.check_repeated(&model)?;
        Ok(model)
    }

    /// Refuses a model that is not the one of the recipe that is repeated.
    ///
    /// # Errors
    /// [`sinopia_diffusion::Error::RecipeModel`].
    pub fn check_repeated(&self, model: &LoadedModel) -> Result<()> {
        if let Some(recipe) = &self.repeated {
            recipe.check_model(&model.id.hash)?;
            recipe.check_sam(model.sam.as_ref())?;
            recipe.check_ella(model.ella.as_ref())?;
        }
        Ok(())
    }

    /// What went wrong with a model, which for a repeated recipe may have moved.
    ///
    /// # Errors
    /// Those of `result`, perhaps inside of [`Error::Moved`].
    pub fn moved<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| match &self.repeated {
            Some(_) => Error::Moved { source: Box::new(error) },
            None => error,
        })
    }

    /// The size of the picture. Where nobody says it is the model's own, or has the shape of what it begins with.
    pub fn size(&self, native: ImageSize) -> ImageSize {
        let ResolvedSampling { width, height, .. } = self.sampling;
        if let Some(init) = &self.init {
            return init.shaped(width, height, native);
        }
        ImageSize { width: width.unwrap_or(native.width), height: height.unwrap_or(native.height) }
    }

    /// The sampling settings for a model.
    pub fn sampling(&self, model: &LoadedModel) -> Sampling {
        let chosen = &self.sampling;
        let ImageSize { width, height } = self.size(model.pipeline.native_size());
        Sampling {
            num_inference_steps: chosen.steps,
            guidance_scale: chosen.guidance_scale.unwrap_or(model.guidance_scale),
            guidance_rescale: chosen.guidance_rescale,
            shortcuts: chosen.shortcuts,
            text_encoding: chosen.text_encoding,
            scheduler: chosen.scheduler.map(|name| name.kind),
            sigmas: chosen.scheduler.and_then(|name| name.sigmas),
            ..Sampling::new(Seed(chosen.seed), width, height)
        }
    }

    /// What the method is asked for.
    ///
    /// # Errors
    /// [`Error::Diffusion`] for a picture to begin with that cannot be scaled to its size.
    pub fn request(&self, model: &LoadedModel) -> Result<PaintRequest> {
        let sampling = self.sampling(model);
        Ok(PaintRequest {
            caption: self.caption.clone(),
            layout: self.layout.clone(),
            negative: self.negative.clone(),
            init: self.init.as_ref().map(|init| init.scaled(sampling.size())).transpose()?,
            sampling,
        })
    }

    /// Paints it, and does its edits.
    ///
    /// # Errors
    /// Those of the method and of edits; [`Error::Encode`].
    pub fn paint(&self, model: &LoadedModel, run: &Run) -> Result<Picture> {
        if self.edits.is_empty() {
            let picture = self.paint_seed(self.seed(), model, run)?;
            return picture.checked_as(self.checked.clone());
        }
        let base = run.beside().keeping_trajectory();
        let mut picture = self.paint_seed(self.seed(), model, &base)?;
        run.join(base);
        for edit in &self.edits {
            picture = self.edited(&picture, edit, model, run)?.picture;
        }
        picture.checked_as(self.checked.clone())
    }

    /// Paints it from another seed, without its edits. If the run keeps its trajectory, the picture can be [edited](Self::edited).
    ///
    /// # Errors
    /// As [`paint`](Self::paint).
    pub fn paint_seed(&self, seed: Seed, model: &LoadedModel, run: &Run) -> Result<Picture> {
        let request = self.request(model)?;
        let request = PaintRequest { sampling: Sampling { seed, ..request.sampling }, ..request };
        model.pipeline.latent_size(&request.sampling)?;
        let painting = self.method.generate(&request, &model.pipeline, run)?;
        let precision = model.precision.as_str();
        let recipe = Recipe::new(&request, self.method.as_ref(), &painting, model.id.clone(), precision)
            .with_sam(model.sam.clone(), &painting)
            .with_ella(model.ella.clone())
            .with_init(self.init.as_ref().map(|init| init.record()));
        Picture::new(painting, recipe)
    }

    /// A picture of it after an edit: outside of what the edit may change its bytes are those of before, and so are its states.
    ///
    /// # Errors
    /// [`Error::NotEditable`] for a picture without its trajectory; those of the edit.
    pub fn edited(&self, picture: &Picture, edit: &Edit, model: &LoadedModel, run: &Run) -> Result<Repainted<Picture>> {
        let Picture { painting, recipe, .. } = picture;
        let trajectory = painting.trajectory.as_ref().ok_or(Error::NotEditable)?;
        let request = recipe.request();
        let (image, method) = (&painting.image, self.method.as_ref());
        let source = EditSource { image, trajectory, sampling: &recipe.sampling, request: &request, method };
        // A server's model may have a SAM that this picture knows nothing of.
        let sam = model.sam.clone().filter(|_| self.model.sam.as_deref().is_some_and(|sam| sam != NO_SAM));
        let options = EditOptions { uses_segmentation: sam.is_some(), ..EditOptions::default() };
        let edited = threads::on_worker(|| edit::edit_with(&source, edit, &options, &model.pipeline, run))?;
        let Edited { image, trajectory, seam, warnings, .. } = edited;
        let edits = recipe.edits.iter().chain([edit]).cloned().collect();
        let new = warnings.into_iter().filter(|warning| !painting.warnings.contains(warning));
        let warnings = painting.warnings.iter().cloned().chain(new).collect();
        let painting = Painting { image, trajectory: Some(trajectory), warnings, ..painting.clone() };
        let recipe = recipe.clone().with_sam_of_edits(sam).with_edits(edits);
        let picture = Picture::new(painting, recipe)?;
        Ok(Repainted { picture, seam })
    }

    /// What to say of the picture that it begins with, if that has another size.
    pub fn scaling(&self, native: ImageSize) -> Option<String> {
        self.init.as_ref()?.scaling(self.size(native))
    }

    /// What the model is known not to know of it.
    pub fn vocabulary_warning(&self) -> Option<String> {
        let is_miniature = self.model.name == sinopia_miniature::NAME;
        is_miniature.then(|| vocabulary::warning(self.caption.as_deref(), self.layout.as_ref())).flatten()
    }

    /// A warning of a picture much larger than those that the model has learned from.
    pub fn size_warning(&self, model: &LoadedModel) -> Option<String> {
        let Sampling { width, height, .. } = self.sampling(model);
        let native = model.pipeline.native_size();
        (width > native.width * 3 / 2 && height > native.height * 3 / 2).then(|| {
            format!(
                "the model has learned from pictures of {} × {}; at {width} × {height} it tends to paint things several times",
                native.width, native.height
            )
        })
    }
}
