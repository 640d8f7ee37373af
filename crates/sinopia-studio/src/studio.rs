//! Caption to checked picture in one place, for programs that paint.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, Observer, Run, Silent};
use sinopia_eval::{Detector, Evaluator};
use sinopia_layout::Canvas;
use sinopia_models::Precision;
use sinopia_models::hub::NoProgress;
use sinopia_planner::{PlanContext, PlanTask, Planner, PlannerConfig};

use crate::models::{LoadedModel, ModelCache, OpenedModel, built_in};
use crate::painter::{Painted, Painter};
use crate::spec::AUTO;
use crate::{Error, PaintSettings, PaintSpec, Picture, ResolvedSpec, Result, Verdict, verdict};

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
        let no_layout = |method: &str| Error::NoLayout { method: method.to_owned() };
        let method = spec.method_name()?.unwrap_or(AUTO);
        let caption = spec.caption.as_deref().filter(|_| spec.is_planned).ok_or_else(|| no_layout(method))?;
        let task = PlanTask { canvas: self.canvas_for(spec)?, ..PlanTask::caption(caption) };
        let plan = self.planner.plan(&task, &PlanContext::default())?;
        Ok(PaintSpec { layout: Some(plan.layout), ..spec.clone() })
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
        let Some(layout) = &picture.recipe.layout else { return Ok(Verdict { objects: Vec::new() }) };
        let model = &picture.recipe.model.id;
        if self.detector.is_none() && model != sinopia_miniature::NAME {
            return Err(Error::NoDetector { model: model.clone() });
        }
        let image = crate::picture::rgb(&picture.painting.image)?;
        let detector: &dyn Evaluator = self.detector()?.as_ref();
        Ok(verdict::look(detector, &image, layout, None)?)
    }

    fn detector(&self) -> Result<&Arc<Detector>> {
        if let Some(detector) = self.opened_detector.get() {
            return Ok(detector);
        }
        let opened = open_detector(self.detector.as_deref().unwrap_or(sinopia_miniature::NAME))?;
        Ok(self.opened_detector.get_or_init(|| Arc::new(opened)))
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
            layout: picture.recipe.layout.clone(),
            warnings: picture.painting.warnings.clone(),
            details: picture,
        })
    }
}
