//! Caption to checked picture in one place, for programs that paint.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use image::RgbImage;
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, Observer, Recipe, Run, Silent};
use sinopia_eval::Detector;
use sinopia_layout::{Canvas, Layout};
use sinopia_models::Precision;
use sinopia_models::hub::NoProgress;
use sinopia_planner::{PlanContext, PlanTask, Planner, PlannerConfig};

use crate::checked::{AttemptReport, CheckOptions, Checked, LocalHand};
use crate::editing::{DetectorSearch, EditJob, EditResources, EditSpec, EditedPicture, ObjectSearch};
use crate::models::{LoadedModel, ModelCache, OpenedModel, built_in};
use crate::painter::{Painted, Painter};
use crate::spec::AUTO;
use crate::verdict::{Look, Program, Thresholds, Verdict};
use crate::{Error, PaintSettings, PaintSpec, Picture, ResolvedSpec, Result};

/// A planner, models that stay loaded, and a detector.
pub struct Studio {
    planner: Box<dyn Planner>,
    models: Arc<ModelCache>,
    detector: Option<String>,
    opened_detector: OnceLock<Arc<Detector>>,
}

impl std::fmt::Debug for Studio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Studio").field("models", &self.models).field("detector", &self.detector).finish_non_exhaustive()
    }
}

impl Studio {
    /// With the built-in planner and detector, and models as they are asked for.
    ///
    /// # Errors
    /// Never on a sound build.
    pub fn new() -> Result<Self> {
        let planner = sinopia_planner::open(&PlannerConfig::default(), &|_| {})?;
        Ok(Self::with_planner(planner))
    }

    /// With a planner of one's own.
    pub fn with_planner(planner: Box<dyn Planner>) -> Self {
        Self { planner, models: Arc::default(), detector: None, opened_detector: OnceLock::new() }
    }

    /// With models that are kept elsewhere too.
    #[must_use]
    pub fn with_models(self, models: Arc<ModelCache>) -> Self {
        Self { models, ..self }
    }

    /// With a detector of one's own: a folder of OWL-ViT or OWLv2 weights.
    #[must_use]
    pub fn with_detector(self, folder: impl Into<String>) -> Self {
        Self { detector: Some(folder.into()), opened_detector: OnceLock::new(), ..self }
    }

    /// Who plans.
    pub fn planner(&self) -> &dyn Planner {
        self.planner.as_ref()
    }

    /// The spec with a layout, if its method paints one and it has none.
    ///
    /// # Errors
    /// Those of the planner; [`Error::NoLayout`] for a method that needs one and a spec without a caption.
    pub fn plan(&self, spec: &PaintSpec) -> Result<PaintSpec> {
        if !spec.lacks_layout()? {
            return Ok(spec.clone());
        }
        let layout = self.planned_for(spec, spec.method_name()?.unwrap_or(AUTO))?;
        Ok(PaintSpec { layout: Some(layout), ..spec.clone() })
    }

    /// The layout that the planner makes of the caption.
    fn planned_for(&self, spec: &PaintSpec, method: &str) -> Result<Layout> {
        let no_layout = || Error::NoLayout { method: method.to_owned() };
        let caption = spec.caption.as_deref().filter(|_| spec.is_planned).ok_or_else(no_layout)?;
        let task = PlanTask { canvas: self.canvas_for(spec)?, ..PlanTask::caption(caption) };
        Ok(self.planner.plan(&task, &PlanContext::default())?.layout)
    }

    /// The canvas in the shape of the picture, where its size is said and the planner takes any canvas.
    fn canvas_for(&self, spec: &PaintSpec) -> Result<Option<Canvas>> {
        let PaintSettings { width, height, .. } = spec.settings.clone().with_preset()?;
        let size = width.zip(height).filter(|_| !self.planner.info().is_canvas_fixed);
        Ok(size.map(|(width, height)| Canvas::shaped_like(width, height)))
    }

    /// Plans, if need be, and paints.
    ///
    /// # Errors
    /// As [`plan`](Self::plan), [`PaintSpec::resolve`] and [`ResolvedSpec::paint`].
    pub fn paint(&self, spec: &PaintSpec) -> Result<Picture> {
        self.paint_with(spec, &Silent, &CancellationToken::default())
    }

    /// The same, watched, and given up when it is cancelled.
    ///
    /// # Errors
    /// As [`paint`](Self::paint).
    pub fn paint_with(
        &self,
        spec: &PaintSpec,
        observer: &dyn Observer,
        cancellation: &CancellationToken,
    ) -> Result<Picture> {
        let spec = self.plan(spec)?;
        let resolved = spec.resolve()?;
        resolved.check_files()?;
        let model = self.model(&resolved, || resolved.open(&NoProgress))?;
        resolved.paint(&model, &Run::new(observer, cancellation))
    }

    /// Plans, if need be, and paints until the detector sees what was asked for: other seeds, then repairs of the best picture, as far as `options` go. `tell` hears of
    /// every try. What a method without boxes paints is looked at by the plan of its caption.
    ///
    /// ```
    /// use sinopia_studio::{CheckOptions, PaintSettings, PaintSpec, Studio};
    ///
    /// let quick = PaintSettings { steps: Some(4), method: Some("gligen".to_owned()), ..PaintSettings::default() };
    /// let spec = PaintSpec::new("a red apple to the left of a blue cup").with(quick);
    /// let options = CheckOptions { attempts: 2, ..CheckOptions::default() };
    /// let checked = Studio::new()?.paint_checked(&spec, &options, &|report, _| println!("{}", report.line()))?;
    /// assert_eq!(checked.picture.recipe.checked.as_ref().map(|record| record.tries.len()), Some(checked.tries.len()));
    /// # Ok::<(), sinopia_studio::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`paint`](Self::paint); [`Error::NoDetector`], [`Error::NoLayout`] where nothing says what the picture has to show.
    pub fn paint_checked(
        &self,
        spec: &PaintSpec,
        options: &CheckOptions,
        tell: &dyn Fn(&AttemptReport, &Picture),
    ) -> Result<Checked<Picture>> {
        detector_for(self.detector.as_deref(), spec.model_name())?;
        let spec = self.plan(spec)?;
        let resolved = spec.resolve()?;
        resolved.check_files()?;
        let wanted = match &spec.layout {
            Some(layout) => layout.clone(),
            None => self.planned_for(&spec, resolved.method_info().name)?,
        };
        let model = self.model(&resolved, || resolved.open(&NoProgress))?;
        let cancellation = CancellationToken::default();
        let hand = LocalHand::new(&resolved, &model, &Silent, &cancellation);
        hand.check(self.detector()?.as_ref(), &wanted, options, tell)
    }

    /// Changes a finished picture in one place and keeps the rest, to the byte.
    ///
    /// A picture that was painted here is painted again from the recipe in its file, its states kept; any other (PNG, JPEG, WebP) is scaled to the model and inverted, and what is
    /// new enlarged into it where it was larger. What
    /// the layout does not name is looked for by the detector.
    ///
    /// ```
    /// use sinopia_studio::editing::{Change, EditSpec, Source};
    /// use sinopia_studio::{PaintSettings, PaintSpec, Studio};
    ///
    /// let studio = Studio::new()?;
    /// let quick = PaintSettings { steps: Some(4), method: Some("gligen".to_owned()), ..PaintSettings::default() };
    /// let picture = studio.paint(&PaintSpec::new("a red apple to the left of a blue cup").with(quick))?;
    ///
    /// let source = Source::read(&picture.png, "apple.png".as_ref())?;
    /// let change = Change::Recolour { object: "the apple".to_owned(), phrase: "a green apple".to_owned() };
    /// let edited = studio.edit(&EditSpec::new(source, [change]))?;
    /// assert!(!edited.is_inverted && edited.changed_share() < 0.9);
    /// assert_eq!(edited.picture.recipe.edits.len(), 1); // `PaintSpec::repeat` does it again
    /// # Ok::<(), sinopia_studio::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`EditError`](crate::editing::EditError) for what cannot be done, with the way out; [`Error::NoDetector`] never: without a detector only what the layout names is
    /// found; those of models, painting and [`PaintSpec::repeat`].
    pub fn edit(&self, spec: &EditSpec) -> Result<EditedPicture> {
        self.edit_with(spec, &Silent, &CancellationToken::default())
    }

    /// The same, watched, and given up when it is cancelled.
    ///
    /// # Errors
    /// As [`edit`](Self::edit).
    pub fn edit_with(
        &self,
        spec: &EditSpec,
        observer: &dyn Observer,
        cancellation: &CancellationToken,
    ) -> Result<EditedPicture> {
        let job = EditJob::new(spec.clone())?;
        let resolved = job.paint_spec().resolve()?;
        resolved.check_files()?;
        let model = self.model(&resolved, || resolved.open(&NoProgress))?;
        let multiple = model.pipeline.vae().scale_factor();
        let job = job.fitted(model.pipeline.native_size(), multiple);
        let resolved = job.paint_spec().resolve()?;
        let look = |image: &RgbImage, program: &Program| self.detector()?.look(image, program, Some(cancellation));
        let search = DetectorSearch { look: &look, image: job.image() };
        let has_detector = self.detector.is_some() || model.id.id == sinopia_miniature::NAME;
        let plan = job.plan(multiple, has_detector.then_some(&search as &dyn ObjectSearch))?;
        let edited = job.run(plan, EditResources { resolved: &resolved, model: &model, observer, cancellation })?;
        job.at_full_size(edited)
    }

    /// The model of a spec, from the cache or loaded from what `open` opens.
    ///
    /// # Errors
    /// Those of `open` and of loading; [`sinopia_diffusion::Error::RecipeModel`] if a recipe is repeated and this is another model.
    pub fn model(
        &self,
        resolved: &ResolvedSpec,
        open: impl FnOnce() -> Result<OpenedModel>,
    ) -> Result<Arc<LoadedModel>> {
        let model = resolved.moved(self.models.get(resolved.model(), 0, open))?;
        resolved.check_repeated(&model)?;
        Ok(model)
    }

    /// Whether the objects of a picture's layout are where they should be. A picture without a layout is right.
    ///
    /// # Errors
    /// [`Error::NoDetector`] for pictures that the built-in detector does not know; those of the detector.
    pub fn verify(&self, picture: &Picture) -> Result<Verdict> {
        let Recipe { caption, method, .. } = &picture.recipe;
        let Some(layout) = picture.recipe.final_layout() else { return Ok(Verdict::of_nothing(Thresholds::BUILT_IN)) };
        let model = &picture.recipe.model.id;
        if self.detector.is_none() && model != sinopia_miniature::NAME {
            return Err(Error::NoDetector { model: model.clone() });
        }
        let image = crate::picture::rgb(&picture.painting.image)?;
        self.detector()?.look(&image, &Program::for_method(layout, caption.as_deref(), method)?, None)
    }

    fn detector(&self) -> Result<&Arc<Detector>> {
        if let Some(detector) = self.opened_detector.get() {
            return Ok(detector);
        }
        let opened = open_detector(self.detector.as_deref().unwrap_or(sinopia_miniature::NAME))?;
        Ok(self.opened_detector.get_or_init(|| Arc::new(opened)))
    }
}

/// The name of the detector that looks at pictures of a model: what was asked for, or the built-in one for those of the built-in model.
///
/// # Errors
/// [`Error::NoDetector`] for other models.
pub fn detector_for<'a>(asked: Option<&'a str>, model: &str) -> Result<&'a str> {
    match asked {
        Some(name) => Ok(name),
        None if model == sinopia_miniature::NAME => Ok(sinopia_miniature::NAME),
        None => Err(Error::NoDetector { model: model.to_owned() }),
    }
}

/// The detector called `name`: the built-in one, or a folder of OWL-ViT or OWLv2 weights.
///
/// # Errors
/// [`Error::Detector`].
pub fn open_detector(name: &str) -> Result<Detector> {
    let opened = match name {
        sinopia_miniature::NAME => built_in::miniature_detector(),
        folder => Detector::open(Path::new(folder), Precision::Auto),
    };
    opened.map_err(|source| Error::Detector { name: name.to_owned(), source: Box::new(source) })
}

impl Painter for Studio {
    type Error = Error;
    type Details = Picture;

    fn paint(
        &self,
        spec: &PaintSpec,
        observer: &dyn Observer,
        cancellation: &CancellationToken,
    ) -> Result<Painted<Picture>> {
        let picture = self.paint_with(spec, observer, cancellation)?;
        Ok(Painted {
            png: picture.png.clone(),
            seed: Seed(spec.seed()),
            layout: picture.recipe.final_layout().cloned(),
            warnings: picture.painting.warnings.clone(),
            details: picture,
        })
    }
}
