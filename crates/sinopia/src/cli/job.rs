//! A picture or several, from a spec to the files that they leave: checked before any work, then painted once a seed.

use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Value, json};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{ImageSize, Run};
use sinopia_layout::{Layout, counted, svg};
use sinopia_studio::models::OpenedModel;
use sinopia_studio::{Error, PaintSpec, Picture, ResolvedSpec, rgb};

use super::args::OutputArgs;
use super::contact_sheet::{self, Panel};
use super::debug_maps::MapKeeper;
use super::failure::bad_request;
use super::progress::{Bars, cancellation_on_interrupt};
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
}

/// A job that was checked, and the model that paints it.
#[derive(Debug)]
pub(crate) struct CheckedJob {
    job: PaintJob,
    resolved: ResolvedSpec,
    opened: OpenedModel,
}

impl PaintJob {
    pub(crate) fn new(spec: PaintSpec, told: Vec<String>, count: Option<u32>) -> anyhow::Result<Self> {
        let count = count.unwrap_or(1);
        let last = spec.seed().checked_add(u64::from(count - 1));
        last.ok_or(Error::SeedRange)?;
        Ok(Self { spec, told, warnings: Vec::new(), count })
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
        Ok(CheckedJob { job: self, resolved, opened })
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

    /// The size of its pictures.
    pub(crate) fn picture_size(&self) -> ImageSize {
        self.resolved.size(self.opened.native_size())
    }

    /// Paints the job and writes its files.
    pub(crate) fn paint(self, output: &OutputArgs, bars: &Bars) -> anyhow::Result<()> {
        let Self { job, resolved, opened } = self;
        job.warnings.iter().for_each(|warning| bars.warn(warning));
        bars.lines(&job.told, "");
        if let Some(layout) = resolved.layout() {
            bars.show_layout(layout);
        }
        let model = models::load(&resolved, &opened, bars)?;
        resolved.vocabulary_warning().iter().for_each(|warning| bars.warn(warning));
        resolved.size_warning(&model).iter().for_each(|warning| bars.warn(warning));
        // From here on Ctrl-C ends the run in an orderly way; before, it just ends the program.
        let cancellation = cancellation_on_interrupt(bars)?;
        let steps = counted(resolved.steps(), "step");
        let seeds = match (job.spec.seed(), job.count) {
            (seed, 1) => format!("seed {seed}"),
            (seed, count) => format!("seeds {seed} to {}", seed + u64::from(count - 1)),
        };
        bars.line(&format!("painting with {} on {}, {steps}, {seeds}", resolved.method().name(), model.id.id));
        let mut made = Vec::new();
        let mut resolved = resolved;
        for index in 0..job.count {
            resolved = resolved.with_seed(job.spec.seed() + u64::from(index)); // within range: the job was checked
            let keeper = MapKeeper::new(bars, output.debug_maps.is_some());
            let run = Run::new(&keeper, &cancellation);
            let picture = resolved.paint(&model, &run)?;
            bars.finish();
            let mut description = deliver(&picture, &job.image_file(output, index), output)?;
            description["unet_work"] = unet_work(&run)?;
            made.push(description);
            if let Some(folder) = &output.debug_maps {
                write_maps(&keeper, folder, &picture, bars)?;
            }
            if output.preview {
                bars.preview(&picture.painting);
            }
        }
        report(&made, resolved.layout(), output, bars)
    }
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
fn unet_work(run: &Run) -> anyhow::Result<Value> {
    let work = run.work();
    let mut description = serde_json::to_value(&work)?;
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
