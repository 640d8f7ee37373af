//! An edit from a file to a file: read, planned, painted.

use image::RgbImage;
use sinopia_diffusion::inversion::{Inversion, InversionOptions};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{
    CancellationToken, DenoiserWork, Edit, EditOptions, Image, ImageSize, InvertedSource, Observer, Operation,
    PaintRequest, Painting, Prompts, Recipe, Run, Sampling, Timing,
};
use sinopia_layout::Layout;

use super::context::{Cell, EditContext, ObjectSearch};
use super::plan::{DEFAULT_STRENGTH, EditPlan, plan, plan_layout};
use super::rescale::scaled_into;
use super::{Change, EditError, Source};
use crate::models::LoadedModel;
use crate::picture::rgb;
use crate::repeat::of_machine;
use crate::spec::AUTO;
use crate::{PaintSettings, PaintSpec, Picture, ResolvedSpec, Result, vocabulary};

/// What somebody wants done to a picture.
#[derive(Debug, Clone)]
pub struct EditSpec {
    /// The picture.
    pub source: Source,
    /// What is to become of it.
    pub wanted: Wanted,
    /// What it shows, in words. `None` is what its file says; of a picture that says nothing, nothing.
    pub caption: Option<String>,
    /// Share of the steps that are taken again of what is recoloured, above 0, at most 1. `None` is [`DEFAULT_STRENGTH`].
    pub strength: Option<f64>,
    /// Everything else. The seed is that of the change. What is not said is as in the picture's recipe, if it has one.
    pub settings: PaintSettings,
}

/// What is to become of a picture.
#[derive(Debug, Clone)]
pub enum Wanted {
    /// Some changes, in people's words.
    Changes(Vec<Change>),
    /// A picture of this layout. Repaired: every box inside its canvas.
    Layout(Layout),
    /// What was done to the same picture before, as the recipe of the result has it.
    Again(Box<Recipe>),
}

impl EditSpec {
    /// Some changes of a picture.
    pub fn new(source: Source, changes: impl IntoIterator<Item = Change>) -> Self {
        let wanted = Wanted::Changes(changes.into_iter().collect());
        Self { source, wanted, caption: None, strength: None, settings: PaintSettings::default() }
    }
}

/// An edit that was looked through, and waits for its model.
#[derive(Debug)]
pub struct EditJob {
    spec: EditSpec,
    paint: PaintSpec,
    /// What it showed before.
    layout: Layout,
    caption: Option<String>,
    /// Whether it can be painted again with the settings that were asked for.
    is_repeated: bool,
    /// Why a picture with a recipe is not painted again.
    note: Option<&'static str>,
}

/// A picture that was edited.
#[derive(Debug, Clone)]
pub struct EditedPicture {
    /// The result. Its recipe repeats it.
    pub picture: Picture,
    /// What it was made of, at the size at which it was changed.
    pub before: RgbImage,
    /// What was done.
    pub operations: Vec<Operation>,
    /// Whether its states were found by inversion: it was not painted here, or could not be painted again.
    pub is_inverted: bool,
    /// How far old and new are from each other where they meet, in levels of 255: above 6 an edge is seen.
    pub seam: f64,
    /// What whoever asked should know, in words.
    pub notes: Vec<String>,
    /// What the model had to do.
    pub work: DenoiserWork,
    /// What of that is not painting the picture again or following it back, which whoever keeps its states is spared.
    pub own_work: DenoiserWork,
    /// How long the stages of the change itself took.
    pub timings: Vec<Timing>,
}

impl EditedPicture {
    /// The share of pixels that are other than before.
    pub fn changed_share(&self) -> f64 {
        let pixels = |bytes: &[u8]| bytes.chunks_exact(3).map(|rgb| [rgb[0], rgb[1], rgb[2]]).collect::<Vec<_>>();
        let (before, after) = (pixels(self.before.as_raw()), pixels(self.picture.painting.image.pixels()));
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        changed as f64 / before.len().max(1) as f64
    }
}

impl EditJob {
    /// Finds out how the picture's states come to be known, and refuses what cannot be.
    ///
    /// # Errors
    /// Those of [`PaintSpec::repeat`]; [`EditError::AnotherSource`].
    pub fn new(spec: EditSpec) -> Result<Self> {
        if let Wanted::Again(recipe) = &spec.wanted {
            return Self::again(recipe.as_ref().clone(), spec);
        }
        let caption = spec.caption.clone().or_else(|| spec.source.caption().map(str::to_owned));
        let layout = spec.source.layout(caption.as_deref());
        // The seed is that of what is new.
        let settings = PaintSettings { seed: None, ..spec.settings.clone() };
        let is_recaptioned = spec.caption.is_some() && spec.caption.as_deref() != spec.source.caption();
        match spec.source.recipe() {
            Some(recipe) => {
                let recipe = Recipe { inverted: None, init: None, ..recipe.clone() };
                let repeated = |settings: PaintSettings| {
                    let changes = PaintSpec { settings, ..PaintSpec::default() };
                    PaintSpec::repeat(recipe.clone(), spec.source.name(), changes)
                };
                let (asked, plain) = (repeated(settings.clone())?, repeated(of_machine(&settings))?);
                // What is said as the recipe has it already makes no other picture.
                let is_same = !is_recaptioned && asked.settings == plain.settings;
                let note = spec.source.why_not_painted_again().or((!is_same).then_some(OTHERWISE));
                let is_repeated = note.is_none();
                let paint = if is_repeated { plain } else { Self::to_invert(asked, &settings, caption.as_ref()) };
                Ok(Self { spec, paint, layout, caption, is_repeated, note })
            }
            None => {
                let method = settings.method_of_preset().map_or_else(|| AUTO.to_owned(), str::to_owned);
                let settings = PaintSettings { method: Some(settings.method.clone().unwrap_or(method)), ..settings };
                let caption_or_none = Some(caption.clone().unwrap_or_default());
                let paint = PaintSpec {
                    caption: caption_or_none,
                    layout: Some(layout.clone()),
                    settings,
                    ..PaintSpec::default()
                };
                Ok(Self { spec, paint, layout, caption, is_repeated: false, note: None })
            }
        }
    }

    /// What was done to the picture before, done again.
    fn again(recipe: Recipe, spec: EditSpec) -> Result<Self> {
        let Some(inverted) = &recipe.inverted else { return Err(EditError::NotOfASource.into()) };
        if inverted.sha256 != spec.source.sha256() {
            let (found, expected) = (spec.source.sha256().to_owned(), inverted.sha256.clone());
            return Err(EditError::AnotherSource { found, expected }.into());
        }
        let plain = Recipe { inverted: None, edits: Vec::new(), ..recipe.clone() };
        let changes =
            PaintSpec { settings: PaintSettings { seed: None, ..spec.settings.clone() }, ..PaintSpec::default() };
        let paint = PaintSpec::repeat(plain, spec.source.name(), changes)?;
        let layout = recipe.layout.clone().unwrap_or_else(|| spec.source.layout(recipe.caption.as_deref()));
        let caption = recipe.caption.clone();
        Ok(Self { spec, paint, layout, caption, is_repeated: false, note: None })
    }

    /// What paints a picture whose states have to be found: a scheduler with a history is not run backwards, unless somebody asks for it.
    fn to_invert(paint: PaintSpec, typed: &PaintSettings, caption: Option<&String>) -> PaintSpec {
        let settings = PaintSettings { scheduler: typed.scheduler.clone(), ..paint.settings };
        let caption = Some(caption.cloned().unwrap_or_default());
        PaintSpec { caption, settings, edits: Vec::new(), checked: None, ..paint }
    }

    /// What paints it: the model is this one's.
    pub fn paint_spec(&self) -> &PaintSpec {
        &self.paint
    }

    /// Whether the picture is painted again, to know its states.
    pub fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// The picture at the size at which it is changed.
    pub fn image(&self) -> &RgbImage {
        self.spec.source.image()
    }

    /// The same for a model that was opened: a picture that was not painted here is scaled to what it paints, unless a size was asked for.
    #[must_use]
    pub fn fitted(self, native: ImageSize, multiple: usize) -> Self {
        if self.is_repeated {
            return self;
        }
        let fitting = self.spec.source.size_for(native, multiple);
        let settings = &self.paint.settings;
        let size = ImageSize {
            width: settings.width.map_or(fitting.width, |width| width as usize),
            height: settings.height.map_or(fitting.height, |height| height as usize),
        };
        let settings = PaintSettings {
            width: Some(size.width as u32),
            height: Some(size.height as u32),
            ..self.paint.settings.clone()
        };
        let source = self.spec.source.clone().scaled(size);
        let paint = PaintSpec { settings, ..self.paint.clone() };
        Self { spec: EditSpec { source, ..self.spec.clone() }, paint, ..self }
    }

    /// What will be done; `multiple` is how many pixels a latent cell of the model takes along each side. Who looks for what the layout does not name is asked only then.
    ///
    /// # Errors
    /// [`EditError`] for what cannot be done; those of who looks.
    pub fn plan(&self, multiple: usize, search: Option<&dyn ObjectSearch>) -> Result<EditPlan> {
        let (width, height) = self.image().dimensions();
        let share = |side: u32| multiple as f64 / f64::from(side);
        let cell = Cell { across: share(width), down: share(height) };
        let context = EditContext { layout: &self.layout, cell, search };
        let strength = self.spec.strength.unwrap_or(DEFAULT_STRENGTH);
        let mut plan = match &self.spec.wanted {
            Wanted::Changes(changes) => plan(changes, context, strength)?,
            Wanted::Layout(layout) => plan_layout(layout, context, strength)?,
            Wanted::Again(recipe) => {
                let operations = recipe.edits.iter().flat_map(|edit| edit.operations.clone()).collect();
                let layout = recipe.final_layout().unwrap_or(&self.layout).clone();
                EditPlan { operations, layout, notes: Vec::new() }
            }
        };
        plan.notes.extend(self.unknown_things(&plan));
        Ok(plan)
    }

    /// What is to be painted and the built-in model has never seen, in words.
    pub fn unknown_things(&self, plan: &EditPlan) -> Option<String> {
        let is_painted = |phrase: &str| {
            let anew = plan.operations.iter().filter(|operation| !matches!(operation, Operation::Remove { .. }));
            anew.into_iter().any(|operation| operation.phrase() == phrase)
        };
        let objects = plan.layout.objects.iter().filter(|object| is_painted(&object.phrase)).cloned().collect();
        let painted = Layout { objects, ..plan.layout.clone() };
        let is_miniature = self.paint.model_name() == sinopia_miniature::NAME;
        is_miniature.then(|| vocabulary::warning(None, Some(&painted))).flatten()
    }

    /// Does what was planned, with the loaded model of [`paint_spec`](Self::paint_spec).
    ///
    /// # Errors
    /// Those of painting and of [`edit`](sinopia_diffusion::edit::edit); cancelled.
    pub fn run(&self, plan: EditPlan, with: EditResources) -> Result<EditedPicture> {
        let mut notes: Vec<String> = self.spec.source.notes().to_vec();
        notes.extend(self.note.map(str::to_owned));
        let mut work = DenoiserWork::default();
        let painted = if self.is_repeated { self.painted_again(with, &mut work)? } else { None };
        let is_inverted = painted.is_none();
        if self.is_repeated && is_inverted {
            notes.push(NOT_THE_SAME.to_owned());
        }
        let mut picture = match painted {
            Some(picture) => picture,
            None => self.inverted(with, &mut work)?,
        };
        notes.extend(plan.notes.iter().cloned());
        let edits = match &self.spec.wanted {
            Wanted::Again(recipe) => recipe.edits.clone(),
            _ => {
                let attempt = next_attempt(&picture.recipe.edits);
                vec![Edit { attempt, ..Edit::new(plan.operations.clone(), plan.layout, self.seed(&picture.recipe)) }]
            }
        };
        let run = Run::new(with.observer, with.cancellation);
        let mut seam = 0.0f64;
        for edit in &edits {
            let edited = with.resolved.edited(&picture, edit, with.model, &run)?;
            (picture, seam) = (edited.picture, seam.max(edited.seam));
        }
        let (own_work, timings) = (run.work(), run.timings());
        work.join(&own_work);
        if seam > EditOptions::SEEN_SEAM {
            notes.push(format!("old and new differ by {seam:.0} of 255 where they meet: an edge may be seen; another `--seed` may do better"));
        }
        let before = self.image().clone();
        let operations = plan.operations;
        Ok(EditedPicture { picture, before, operations, is_inverted, seam, notes, work, own_work, timings })
    }

    /// The edited picture as large as the one that was read, where the model paints another size: what is new is scaled into it, and all else keeps its bytes.
    /// Its states are those of the scaled picture, and are left out.
    ///
    /// # Errors
    /// [`crate::Error::Encode`].
    pub fn at_full_size(&self, edited: EditedPicture) -> Result<EditedPicture> {
        let Some(full) = self.spec.source.as_read() else { return Ok(edited) };
        let after = rgb(&edited.picture.painting.image)?;
        let image = image_of(&scaled_into(full, &edited.before, &after))?;
        let painting = Painting { image, trajectory: None, ..edited.picture.painting };
        let picture = Picture::new(painting, edited.picture.recipe)?;
        Ok(EditedPicture { picture, before: full.clone(), ..edited })
    }

    /// Where the noise of what is new starts.
    fn seed(&self, recipe: &Recipe) -> Seed {
        self.spec.settings.seed.map_or(recipe.sampling.seed, Seed)
    }

    /// The picture painted again from its recipe, its states kept; nothing if that is another picture.
    fn painted_again(&self, with: EditResources, work: &mut DenoiserWork) -> Result<Option<Picture>> {
        let run = Run::new(with.observer, with.cancellation).keeping_trajectory();
        let picture = with.resolved.paint(with.model, &run)?;
        work.join(&run.work());
        let is_same = picture.painting.image.pixels() == self.image().as_raw().as_slice();
        Ok(is_same.then_some(picture))
    }

    /// The picture with the states that inversion finds.
    fn inverted(&self, with: EditResources, work: &mut DenoiserWork) -> Result<Picture> {
        let EditResources { resolved, model, observer, cancellation } = with;
        let image = image_of(self.image())?;
        let options = match &self.spec.wanted {
            Wanted::Again(recipe) => {
                recipe.inverted.as_ref().map_or_else(InversionOptions::default, InvertedSource::options)
            }
            _ => InversionOptions::default(),
        };
        let sampling = resolved.sampling(model);
        // A picture that was painted by a scheduler with a history is inverted by one without.
        let named = sampling.scheduler.filter(|_| !self.is_repeated);
        let scheduler = Some(named.unwrap_or(model.pipeline.first_order_scheduler()));
        let sampling = Sampling { scheduler, ..sampling };
        let method = resolved.method();
        let run = Run::new(observer, cancellation);
        let inversion = Inversion {
            pipeline: &model.pipeline,
            sampling: &sampling,
            constructor: method.constructor(),
            caption: self.caption.as_deref().unwrap_or_default(),
            options,
        };
        let inverted = sinopia_nn::threads::on_worker(|| inversion.run(&image, &run))?;
        work.join(&run.work());
        let request =
            PaintRequest { layout: Some(self.layout.clone()), sampling: sampling.clone(), ..resolved.request(model)? };
        let painting = Painting {
            image,
            objects: Vec::new(),
            prompts: Prompts { overall: self.caption.clone().unwrap_or_default(), ..Prompts::default() },
            sampling,
            options: method.options(),
            guidance: Vec::new(),
            warnings: run.warnings(),
            timings: run.timings(),
            trajectory: Some(inverted.trajectory),
        };
        let source = InvertedSource::new(self.spec.source.sha256(), options);
        let recipe = Recipe::new(&request, method, &painting, model.id.clone(), model.precision.as_str());
        Picture::new(painting, recipe.with_ella(model.ella.clone()).with_inverted(Some(source)))
    }
}

/// What an edit is painted with.
#[derive(Clone, Copy)]
pub struct EditResources<'a> {
    /// The job's [`paint_spec`](EditJob::paint_spec), resolved.
    pub resolved: &'a ResolvedSpec,
    /// Its model.
    pub model: &'a LoadedModel,
    /// Who is told how it goes.
    pub observer: &'a dyn Observer,
    /// Who may end it.
    pub cancellation: &'a CancellationToken,
}

/// The number of the edit after some others: those of one picture draw noise of their own each.
fn next_attempt(edits: &[Edit]) -> u32 {
    edits.iter().map(|edit| edit.attempt.saturating_add(1)).max().unwrap_or(0)
}

const OTHERWISE: &str =
    "with what is asked for, its recipe gives another picture: it is taken as any other picture is, by inversion";
const NOT_THE_SAME: &str = "painted again, its recipe gives another picture (its pixels were changed since, or another build or processor painted it): \
    it is taken as any other picture is, by inversion";

/// The same picture as methods have it.
fn image_of(image: &RgbImage) -> Result<Image> {
    let size = ImageSize { width: image.width() as usize, height: image.height() as usize };
    Ok(Image::from_pixels(size, image.as_raw().clone())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_of_one_picture_have_noise_of_their_own() {
        let edit = |attempt| {
            let layout = Layout {
                canvas: sinopia_layout::Canvas::PUBLISHED,
                objects: Vec::new(),
                background: String::new(),
                negative: String::new(),
            };
            Edit { attempt, ..Edit::new(Vec::new(), layout, Seed(1)) }
        };
        assert_eq!(next_attempt(&[]), 0);
        assert_eq!(next_attempt(&[edit(0)]), 1);
        assert_eq!(next_attempt(&[edit(4), edit(2)]), 5); // A repair that came later was not kept.
    }
}
