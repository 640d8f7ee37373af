//! A picture or several, from a spec to the files that they leave: checked before any work, then painted once a seed.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{CancellationToken, DenoiserWork, ImageSize, Run};
use sinopia_layout::{Layout, counted, svg};
use sinopia_nn::threads::{num_threads, taking_turns};
use sinopia_studio::models::{LoadedModel, OpenedModel};
use sinopia_studio::{Error, PaintSpec, Picture, ResolvedSpec, rgb};

use super::args::OutputArgs;
use super::checking::{CheckRequest, CheckedPicture, Checking};
use super::contact_sheet::{self, Panel};
use super::debug_maps::{MapKeeper, Wanted};
use super::failure::bad_request;
use super::progress::{Bars, SeedBars, cancellation_on_interrupt};
use super::{models, output};

/// What is to be painted, and how often.
#[derive(Debug)]
pub(crate) struct PaintJob {
    pub(crate) spec: PaintSpec,
    /// Lines that tell of the layout: what was understood, what was repaired.
    pub(crate) told: Vec<String>,
    /// What may make the image another than expected.
    pub(crate) warnings: Vec<String>,
    /// Images to make.
    pub(crate) count: u32,
    /// Who looks at them, if somebody does.
    pub(crate) check: Option<CheckRequest>,
}

/// A job that was checked, and the model that paints it.
#[derive(Debug)]
pub(crate) struct CheckedJob {
    job: PaintJob,
    resolved: ResolvedSpec,
    opened: OpenedModel,
    /// The model's networks, if they were loaded already.
    loaded: Option<sinopia_studio::Result<LoadedModel>>,
}

impl PaintJob {
    pub(crate) fn new(
        spec: PaintSpec,
        told: Vec<String>,
        count: Option<u32>,
        check: Option<CheckRequest>,
    ) -> anyhow::Result<Self> {
        let job = Self { spec, told, warnings: Vec::new(), count: count.unwrap_or(1), check };
        let seeds = u64::from(job.count) * job.seeds_a_picture();
        job.spec.seed().checked_add(seeds - 1).ok_or(Error::SeedRange)?;
        Ok(job)
    }

    /// How many seeds each image may take: its attempts have the next ones, so that no two images share one.
    pub(super) fn seeds_a_picture(&self) -> u64 {
        self.check.as_ref().map_or(1, |check| check.options.seeds_a_picture())
    }

    /// The first seed of image number `index`.
    pub(super) fn seed_of(&self, index: u32) -> u64 {
        self.spec.seed() + u64::from(index) * self.seeds_a_picture() // within range: the job was checked
    }

    /// Whether its pictures are looked at, and what they have to show is not known yet.
    pub(crate) fn lacks_wanted(&self) -> anyhow::Result<bool> {
        let PaintSpec { caption, layout, .. } = &self.spec;
        let is_known = layout.is_some() || self.spec.lacks_layout()?;
        Ok(self.check.is_some() && !is_known && caption.is_some())
    }

    /// The seeds in words.
    fn seeds(&self) -> String {
        match (self.spec.seed(), self.count) {
            (seed, 1) => format!("seed {seed}"),
            (seed, count) if self.seeds_a_picture() == 1 => format!("seeds {seed} to {}", self.seed_of(count - 1)),
            (seed, count) => {
                let seeds = self.seeds_a_picture();
                format!("seeds {seed} to {}, {seeds} an image", self.seed_of(count - 1) + seeds - 1)
            }
        }
    }

    /// Checks, paints and writes the job. `inputs` are files it was read from: they are not written over.
    pub(crate) fn run(self, inputs: &[&Path], output: &OutputArgs) -> anyhow::Result<()> {
        let bars = Bars::new(output.quiet);
        self.check(inputs, output, &bars)?.paint(output, &bars)
    }

    /// Refuses what can be refused before any work, and opens the model.
    pub(crate) fn check(self, inputs: &[&Path], output: &OutputArgs, bars: &Bars) -> anyhow::Result<CheckedJob> {
        self.check_output(output, inputs)?;
        let (resolved, opened) = models::resolve(&self.spec, bars)?;
        Ok(CheckedJob { job: self, resolved, opened, loaded: None })
    }

    /// How many images are painted side by side. Small networks leave threads waiting for each other at every layer, and have room in memory; images do not
    /// depend on what is painted beside them.
    fn painted_together(&self, model: &LoadedModel, output: &OutputArgs) -> usize {
        let is_one_by_one = self.check.is_some() || output.debug_maps.is_some() || !model.is_small;
        if is_one_by_one { 1 } else { num_threads() }
    }

    /// Refuses places that cannot be written to.
    fn check_output(&self, output: &OutputArgs, inputs: &[&Path]) -> anyhow::Result<()> {
        let to_stdout = output::is_stdout(&output.out);
        if to_stdout && (output.json || output.preview || output.grid || self.count > 1) {
            return Err(bad_request(
                "with `--out -` stdout holds one image: `--json`, `--preview`, `--grid` and `--count` need a file",
            ));
        }
        output::check_picture_name(&output.out)?;
        // With several images `--out` itself is not written, but it says in which folder.
        output::check_writable(&output.out)?;
        let files = self.files(output)?;
        output::check_all_writable(&files)?;
        output::refuse_inputs(&files, inputs)?;
        if output.debug_maps.is_some() && self.check.is_some() {
            return Err(bad_request(
                "`--debug-maps` shows the attention of one painting: leave `--attempts` and `--repair` out",
            ));
        }
        if let Some(folder) = output.debug_maps.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
            return Err(bad_request(format!("`--debug-maps {}`: that is a file; name a folder", folder.display())));
        }
        Ok(())
    }

    /// The file of image number `index`.
    pub(super) fn image_file(&self, output: &OutputArgs, index: u32) -> PathBuf {
        if self.count == 1 { output.out.clone() } else { output::numbered(&output.out, index + 1) }
    }

    /// Everything that will be written, but for attention maps.
    fn files(&self, output: &OutputArgs) -> anyhow::Result<Vec<PathBuf>> {
        if output::is_stdout(&output.out) {
            return Ok(Vec::new());
        }
        let mut files = Vec::new();
        for index in 0..self.count {
            let image = self.image_file(output, index);
            let grid = output.grid.then(|| grid_file(&image));
            files.push(image);
            files.extend(grid);
        }
        files.extend((self.spec.layout.is_some() || self.spec.lacks_layout()?).then(|| drawing_file(output)));
        Ok(files)
    }
}

impl CheckedJob {
    /// The same with a layout that was planned, and the lines that tell of it.
    pub(crate) fn with_layout(self, layout: Layout, told: Vec<String>) -> Self {
        let spec = PaintSpec { layout: Some(layout.clone()), ..self.job.spec };
        Self { job: PaintJob { spec, told, ..self.job }, resolved: self.resolved.with_layout(layout), ..self }
    }

    /// The same with what its pictures have to show, which they are not painted from.
    pub(crate) fn with_wanted(self, wanted: Layout) -> Self {
        let check = self.job.check.map(|check| check.of_wanted(wanted));
        Self { job: PaintJob { check, ..self.job }, ..self }
    }

    /// Whether somebody looks at its pictures.
    pub(crate) fn is_looked_at(&self) -> bool {
        self.job.check.is_some()
    }

    /// Loads the model while `beside` runs. What is wrong with the model is told when it paints.
    pub(crate) fn loading<T>(self, beside: impl FnOnce() -> T) -> (Self, T) {
        let (loaded, result) = std::thread::scope(|scope| {
            let loading = scope.spawn(|| self.resolved.load(&self.opened));
            let result = beside();
            (loading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), result)
        });
        (Self { loaded: Some(loaded), ..self }, result)
    }

    /// What its pictures show, in words.
    pub(crate) fn caption(&self) -> Option<&str> {
        self.job.spec.caption.as_deref()
    }

    /// The size of its pictures.
    pub(crate) fn picture_size(&self) -> ImageSize {
        self.resolved.size(self.opened.native_size())
    }

    /// Paints the job and writes its files.
    pub(crate) fn paint(self, output: &OutputArgs, bars: &Bars) -> anyhow::Result<()> {
        let Self { job, resolved, opened, loaded } = self;
        job.warnings.iter().for_each(|warning| bars.warn(warning));
        bars.lines(&job.told, "");
        resolved.scaling(opened.native_size()).iter().for_each(|line| bars.line(line));
        if let Some(layout) = resolved.final_layout() {
            bars.show_layout(layout);
        }
        again(&resolved).iter().for_each(|line| bars.line(line));
        let model = match loaded {
            Some(loaded) => {
                let model = loaded?;
                models::tell(&model, &resolved, &opened, bars);
                model
            }
            None => models::load(&resolved, &opened, bars)?,
        };
        resolved.vocabulary_warning().iter().for_each(|warning| bars.warn(warning));
        resolved.size_warning(&model).iter().for_each(|warning| bars.warn(warning));
        // From here on Ctrl-C ends the run in an orderly way; before, it just ends the program.
        let cancellation = cancellation_on_interrupt(bars)?;
        let (steps, seeds) = (counted(resolved.steps(), "step"), job.seeds());
        let checks = job.check.as_ref().map(CheckRequest::words).unwrap_or_default();
        let method = resolved.method().name();
        bars.line(&format!("painting with {method} on {}, {steps}, {seeds}{checks}", model.id.id));
        let checking = job.check.clone().map(CheckRequest::open).transpose()?;
        let painter = Painter { resolved, model, checking, cancellation, bars, wants_object_images: output.grid };
        let together = job.painted_together(&painter.model, output);
        let mut made = Vec::new();
        let mut is_cancelled = false;
        for first in (0..job.count).step_by(together) {
            let indices: Vec<u32> = (first..job.count).take(together).collect();
            let seeds: Vec<u64> = indices.iter().map(|index| job.seed_of(*index)).collect();
            let keeper =
                MapKeeper::new(bars, Wanted { attention: output.debug_maps.is_some(), object_images: output.grid });
            let painted = match *seeds {
                [seed] => vec![painter.paint(seed, &keeper)?],
                _ => painter.paint_side_by_side(&seeds)?,
            };
            bars.finish();
            for (index, painted) in indices.into_iter().zip(painted) {
                made.push(describe(&painted, &job.image_file(output, index), output, bars)?);
                if let Some(folder) = &output.debug_maps {
                    write_maps(&keeper, folder, &painted.picture, bars)?;
                }
                is_cancelled |= painted.is_cancelled;
            }
            if is_cancelled {
                break;
            }
        }
        let resolved = painter.resolved;
        report(&made, resolved.final_layout(), output, bars)?;
        // What was painted before is there; whoever waited for more is told that it is not.
        if is_cancelled { Err(sinopia_diffusion::Error::Cancelled.into()) } else { Ok(()) }
    }
}

/// What will be done again to a picture that was edited or repaired, a line if anything.
fn again(resolved: &ResolvedSpec) -> Option<String> {
    let operations = resolved.edits().iter().flat_map(|edit| &edit.operations);
    let done: Vec<String> = operations.map(|done| format!("{} {}", done.name(), done.phrase())).collect();
    (!done.is_empty()).then(|| format!("what was done to the image is done again: {}", done.join(", ")))
}

/// What paints the images of a job.
struct Painter<'a> {
    resolved: ResolvedSpec,
    model: LoadedModel,
    /// Who looks at them, if somebody does.
    checking: Option<Checking>,
    cancellation: CancellationToken,
    bars: &'a Bars,
    /// For a contact sheet.
    wants_object_images: bool,
}

impl Painter<'_> {
    fn paint(&self, seed: u64, keeper: &MapKeeper<'_>) -> anyhow::Result<CheckedPicture> {
        let resolved = self.resolved.clone().with_seed(seed);
        match &self.checking {
            Some(checking) => checking.paint(&resolved, &self.model, keeper, &self.cancellation, self.bars),
            None => painted(&resolved, &self.model, &Run::new(keeper, &self.cancellation)),
        }
    }

    /// Images at which nobody looks, each with its share of the threads.
    fn paint_side_by_side(&self, seeds: &[u64]) -> anyhow::Result<Vec<CheckedPicture>> {
        let observers: Vec<SeedBars<'_>> =
            seeds.iter().map(|seed| SeedBars::new(self.bars, *seed, self.wants_object_images)).collect();
        let painted = taking_turns(seeds.len(), |index, _| {
            let resolved = self.resolved.clone().with_seed(seeds[index]);
            painted(&resolved, &self.model, &Run::new(&observers[index], &self.cancellation))
        })?;
        self.bars.finish();
        observers.into_iter().for_each(SeedBars::tell_warnings);
        painted
    }
}

/// A picture at which nobody looks.
fn painted(resolved: &ResolvedSpec, model: &LoadedModel, run: &Run) -> anyhow::Result<CheckedPicture> {
    let picture = resolved.paint(model, run)?;
    Ok(CheckedPicture { picture, seen: Value::Null, work: run.work(), is_cancelled: false })
}

/// Writes an image's files, and says what `--json` says of it.
fn describe(painted: &CheckedPicture, file: &Path, output: &OutputArgs, bars: &Bars) -> anyhow::Result<Value> {
    let mut description = deliver(&painted.picture, file, output)?;
    description["unet_work"] = unet_work(&painted.work)?;
    if let (Value::Object(description), Value::Object(seen)) = (&mut description, &painted.seen) {
        description.extend(seen.clone());
    }
    if output.preview {
        bars.preview(&painted.picture.painting);
    }
    Ok(description)
}

/// Draws the layout beside the images, and says what was written.
fn report(made: &[Value], layout: Option<&Layout>, output: &OutputArgs, bars: &Bars) -> anyhow::Result<()> {
    let svg = match layout {
        Some(layout) if !output::is_stdout(&output.out) => {
            let path = drawing_file(output);
            output::write(&path, svg::render(layout).as_bytes())?;
            Some(path)
        }
        _ => None,
    };
    for image in made {
        bars.line(&format!("wrote {}", image["file"].as_str().unwrap_or_default()));
    }
    if output.json {
        let svg = svg.map(|path| path.to_string_lossy().into_owned());
        output::print(&format!("{:#}", json!({ "images": made, "layout_svg": svg })))?;
    }
    Ok(())
}

/// The file of the drawn layout.
pub(super) fn drawing_file(output: &OutputArgs) -> PathBuf {
    output.out.with_extension("layout.svg")
}

/// The file of an image's contact sheet.
fn grid_file(image: &Path) -> PathBuf {
    image.with_extension("grid.png")
}

/// The UNet's work by purpose, and in all.
fn unet_work(work: &DenoiserWork) -> anyhow::Result<Value> {
    let mut description = serde_json::to_value(work)?;
    description["multiply_accumulates"] = work.total().into();
    Ok(description)
}

/// Writes the attention maps of an image, or says why there are none.
fn write_maps(keeper: &MapKeeper, folder: &Path, picture: &Picture, bars: &Bars) -> anyhow::Result<()> {
    let (seed, method) = (picture.recipe.sampling.seed, &picture.recipe.method);
    match keeper.write(folder, &format!("seed-{}.", seed.0))? {
        0 => bars.line(&format!("`{method}` guided no attention here: nothing is written to `{}`", folder.display())),
        count => bars.line(&format!("wrote the attention of {count} phrases to `{}`", folder.display())),
    }
    Ok(())
}

/// Writes one image and what goes with it, and describes it.
fn deliver(picture: &Picture, path: &Path, output: &OutputArgs) -> anyhow::Result<Value> {
    output::write(path, &picture.png)?;
    let grid = match output.grid {
        true => Some(write_contact_sheet(picture, path)?),
        false => None,
    };
    let Picture { painting, recipe, .. } = picture;
    Ok(json!({
        "file": path.to_string_lossy(),
        "grid": grid.map(|path| path.to_string_lossy().into_owned()),
        "seed": recipe.sampling.seed,
        "recipe": recipe,
        "prompts": painting.prompts,
        "guidance": painting.guidance,
        "warnings": painting.warnings,
        "timings": painting.timings,
    }))
}

fn write_contact_sheet(picture: &Picture, path: &Path) -> anyhow::Result<PathBuf> {
    let Picture { painting, recipe, .. } = picture;
    let image: RgbImage = rgb(&painting.image)?;
    let mut panels = Vec::new();
    if let Some(layout) = &recipe.layout {
        panels.push(contact_sheet::layout_panel(layout, image.width(), image.height()));
    }
    for object in &painting.objects {
        if let Some(image) = &object.image {
            panels.push(Panel { image: rgb(image)?, label: object.name.clone() });
        }
    }
    let Seed(seed) = recipe.sampling.seed;
    panels.push(Panel { image, label: format!("{}, seed {seed}", recipe.method) });
    let path = grid_file(path);
    let mut bytes = Vec::new();
    let sheet = contact_sheet::arrange(&panels);
    sheet.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    output::write(&path, &bytes)?;
    Ok(path)
}
