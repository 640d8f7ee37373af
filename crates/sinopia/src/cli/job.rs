//! One request, from what was typed to the files it leaves: checked before any work, then painted once a seed.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RgbImage;
use serde_json::{Map, Value, json};
use sinopia_diffusion::methods::{self, Method};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::schedulers::{SchedulerKind, SchedulerName};
use sinopia_diffusion::{Image, PaintRequest, Painting, Pipeline, Recipe, Run, Sampling, Shortcuts, TextEncoding};
use sinopia_layout::{Layout, counted, names, says_something, svg};
use sinopia_models::checkpoint::Checkpoint;

use super::args::{OutputArgs, PaintingArgs, PrecisionArg};
use super::contact_sheet::{self, Panel};
use super::debug_maps::MapKeeper;
use super::failure::{bad_request, with_hint};
use super::model::{self, EllaSource, Model, NO_SAM};
use super::progress::{Bars, cancellation_on_interrupt};
use super::{output, painting_file, vocabulary};

/// What is to be painted, and how.
#[derive(Debug)]
pub(crate) struct Job {
    caption: Option<String>,
    layout: Option<Layout>,
    /// What had to be mended in the layout, in words.
    changes: Vec<String>,
    /// What may make the image another than expected.
    warning: Option<String>,
    negative: Option<String>,
    method: Box<dyn Method>,
    settings: Settings,
    model: String,
    sam: Option<String>,
    ella: Option<EllaSource>,
    /// The recipe to repeat, if the model must be the one it was made with.
    repeated: Option<Recipe>,
    precision: PrecisionArg,
    count: u32,
}

/// [`Sampling`] before the model, which knows its own size, is there.
#[derive(Debug)]
struct Settings {
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

impl Job {
    /// A job for a caption or a layout.
    pub(crate) fn new(
        caption: Option<String>,
        layout: Option<Layout>,
        changes: Vec<String>,
        args: PaintingArgs,
    ) -> anyhow::Result<Self> {
        set_threads(&args)?;
        let name = methods::find(args.method.as_deref().unwrap_or(methods::Lmd::NAME))?.name;
        check_seeds(args.seed.unwrap_or(0), args.count.unwrap_or(1))?;
        check_there_is_something(caption.as_deref(), layout.as_ref())?;
        let preset = preset_options(name, &args)?.unwrap_or_default();
        let method = methods::build(name, Value::Object(method_options(name, preset, &args)?))?;
        let shortcuts = args.shortcuts(Shortcuts::default());
        let text_encoding = args.text.encoding(TextEncoding::default());
        let model = args.model.unwrap_or_else(|| sinopia_miniature::NAME.to_owned());
        let ella = EllaSource::new((&args.text, None), &text_encoding, &model)?;
        Ok(Self {
            caption,
            layout,
            changes,
            warning: None,
            negative: args.negative,
            method,
            settings: Settings {
                seed: args.seed.unwrap_or(0),
                steps: args.steps.unwrap_or(50) as usize,
                guidance_scale: args.guidance_scale,
                guidance_rescale: 0.0,
                shortcuts,
                text_encoding,
                scheduler: scheduler(args.scheduler.as_deref())?,
                width: args.width.map(|px| px as usize),
                height: args.height.map(|px| px as usize),
            },
            model,
            sam: args.sam,
            ella,
            repeated: None,
            precision: args.precision.unwrap_or(PrecisionArg::Auto),
            count: args.count.unwrap_or(1),
        })
    }

    /// The job that made `image`, with what is given in `args` changed.
    pub(crate) fn again(
        recipe_json: &str,
        image: &Path,
        (caption, layout): (Option<String>, Option<Layout>),
        changes: Vec<String>,
        mut args: PaintingArgs,
    ) -> anyhow::Result<Self> {
        set_threads(&args)?;
        let recipe = Recipe::from_json(recipe_json).with_context(|| format!("cannot repeat `{}`", image.display()))?;
        if let Some(variant) = args.variant.take() {
            args.model = Some(model::with_variant(model::without_variant(&recipe.model.id), &variant)?);
        }
        let sampling = &recipe.sampling;
        let of_preset = args.preset.as_deref().map(methods::find_preset).transpose()?.map(|preset| preset.method);
        let info = methods::find(args.method.as_deref().or(of_preset).unwrap_or(&recipe.method))?;
        let name = info.name;
        let same_method = name == recipe.method;
        let options = match (preset_options(name, &args)?, recipe.options.clone()) {
            (Some(preset), _) => preset,
            (None, Value::Object(options)) if same_method => options,
            _ => Map::new(),
        };
        let layout = layout.or_else(|| recipe.layout.clone());
        if info.needs_layout && layout.is_none() {
            let message = format!("`{}` was painted without a layout, and `{name}` paints one", image.display());
            return Err(with_hint(bad_request(message), Some(NO_LAYOUT.to_owned())));
        }
        let caption = caption.or_else(|| recipe.caption.clone());
        check_there_is_something(caption.as_deref(), layout.as_ref())?;
        check_seeds(args.seed.unwrap_or(sampling.seed.0), args.count.unwrap_or(1))?;
        let method = methods::build(name, Value::Object(method_options(name, options, &args)?))?;
        // Another method or model brings its own scheduler, another model its own size.
        let same_model = args.model.as_ref().is_none_or(|model| *model == recipe.model.id);
        let recorded = sampling.scheduler_name().filter(|_| same_method && same_model);
        let side = |given: Option<u32>, recorded: usize| match given {
            Some(px) => Some(px as usize),
            None => same_model.then_some(recorded),
        };
        let shortcuts = args.shortcuts(sampling.shortcuts);
        let text_encoding = args.text.encoding(sampling.text_encoding);
        let model = args.model.clone().unwrap_or_else(|| recipe.model.id.clone());
        let ella = EllaSource::new(
            (&args.text, recipe.ella.as_ref().map(|ella| (ella, &recipe.model))),
            &text_encoding,
            &model,
        )?;
        // What is named on the command line is a choice; otherwise it must be the very same.
        let same_ella =
            args.text.t5.is_none() && args.text.ella.is_none() && args.text.t5_range.is_none() && ella.is_some();
        Ok(Self {
            caption,
            layout,
            changes,
            warning: newer_writer(&recipe.sinopia),
            negative: args.negative.or_else(|| recipe.negative.clone()),
            method,
            settings: Settings {
                seed: args.seed.unwrap_or(sampling.seed.0),
                steps: args.steps.map_or(sampling.num_inference_steps, |n| n as usize),
                guidance_scale: args.guidance_scale.or(same_model.then_some(sampling.guidance_scale)),
                guidance_rescale: sampling.guidance_rescale,
                shortcuts,
                text_encoding,
                scheduler: scheduler(args.scheduler.as_deref())?.or(recorded),
                width: side(args.width, sampling.width),
                height: side(args.height, sampling.height),
            },
            precision: match args.precision {
                Some(precision) => precision,
                None => PrecisionArg::parse(&recipe.precision)?,
            },
            count: args.count.unwrap_or(1),
            model,
            ella,
            sam: args.sam.clone().or_else(|| Some(recipe.sam.as_ref().map_or(NO_SAM, |sam| &sam.id).to_owned())),
            // A model named on the command line is a choice; otherwise it must be the very same. So with the SAM.
            repeated: args.model.is_none().then(|| Recipe {
                sam: recipe.sam.filter(|_| args.sam.is_none()),
                ella: recipe.ella.filter(|_| same_ella),
                ..recipe
            }),
        })
    }

    /// Whether its method paints a layout, and there is none yet.
    pub(crate) fn lacks_layout(&self) -> bool {
        self.layout.is_none() && methods::find(self.method.name()).is_ok_and(|info| info.needs_layout)
    }

    /// The same with a layout that was planned, and what had to be mended in it.
    pub(crate) fn with_layout(self, layout: Layout, changes: Vec<String>) -> Self {
        Self { layout: Some(layout), changes, ..self }
    }

    /// Refuses what a checkpoint cannot paint, as far as its files tell before its networks are loaded.
    fn check_model(&self, checkpoint: &Checkpoint) -> anyhow::Result<()> {
        let method = methods::find(self.method.name())?;
        if method.needs_adapters && !checkpoint.describe().has_grounding_adapters {
            return Err(sinopia_diffusion::Error::NoAdapters { method: method.name }.into());
        }
        let multiple = checkpoint.vae.config.scale_factor();
        let (height, width) = checkpoint.unet.config.sample_hw().unwrap_or((64, 64));
        let side = |given: Option<usize>, native: usize| given.unwrap_or(native * multiple);
        let size = (side(self.settings.width, width), side(self.settings.height, height));
        Pipeline::check_size(size, multiple)?;
        let is_plain = method.name == methods::Sd::NAME;
        let usual = (!is_plain).then_some(SchedulerName { kind: SchedulerKind::Ddim, sigmas: None });
        let scheduler = self.settings.scheduler.or(usual);
        Ok(Pipeline::check_scheduler(&checkpoint.scheduler, scheduler, self.settings.steps)?)
    }

    /// The sampling settings of image number `index`.
    fn sampling(&self, index: u32, model: &Model) -> Sampling {
        let native = model.pipeline.native_size();
        let settings = &self.settings;
        let seed = settings.seed + u64::from(index); // within range: the job was checked
        let (width, height) = (settings.width.unwrap_or(native.0), settings.height.unwrap_or(native.1));
        Sampling {
            num_inference_steps: settings.steps,
            guidance_scale: settings.guidance_scale.unwrap_or(model.guidance_scale),
            guidance_rescale: settings.guidance_rescale,
            shortcuts: settings.shortcuts,
            text_encoding: settings.text_encoding,
            scheduler: settings.scheduler.map(|name| name.kind),
            sigmas: settings.scheduler.and_then(|name| name.sigmas),
            ..Sampling::new(Seed(seed), width, height)
        }
    }

    /// What the method is asked for image number `index`.
    pub(super) fn request(&self, index: u32, model: &Model) -> PaintRequest {
        PaintRequest {
            caption: self.caption.clone(),
            layout: self.layout.clone(),
            negative: self.negative.clone(),
            sampling: self.sampling(index, model),
        }
    }

    /// The PNG of a painting, its recipe in it.
    pub(super) fn png(&self, request: &PaintRequest, painting: &Painting, model: &Model) -> anyhow::Result<Png> {
        let recipe =
            Recipe::new(request, self.method.as_ref(), painting, (model.id.clone(), self.precision.resolved().name()))
                .with_sam(model.sam.clone(), painting)
                .with_ella(model.ella.clone());
        let image = rgb(&painting.image)?;
        let caption = self.caption.as_deref().unwrap_or(&painting.prompts.overall);
        let bytes = painting_file::encode(&image, caption, &recipe.to_json())?;
        Ok(Png { recipe, image, bytes })
    }

    /// How it is painted.
    pub(super) fn method(&self) -> &dyn Method {
        self.method.as_ref()
    }

    /// Where the ELLA is that reads its prompts, if one does.
    pub(super) fn ella(&self) -> Option<&EllaSource> {
        self.ella.as_ref()
    }

    /// What the miniature does not know of it.
    pub(super) fn vocabulary_warning(&self) -> Option<String> {
        let is_miniature = self.model == sinopia_miniature::NAME;
        is_miniature.then(|| vocabulary::warning(self.caption.as_deref(), self.layout.as_ref())).flatten()
    }
}

/// A painting as a file.
pub(super) struct Png {
    pub(super) recipe: Recipe,
    pub(super) image: RgbImage,
    pub(super) bytes: Vec<u8>,
}

/// Refuses to paint nothing.
fn check_there_is_something(caption: Option<&str>, layout: Option<&Layout>) -> anyhow::Result<()> {
    if caption.is_some() {
        return Ok(());
    }
    match layout {
        None => Err(bad_request("there is no caption and no layout: say what to paint")),
        Some(layout) if layout.objects.is_empty() && !says_something(&layout.background) => {
            Err(bad_request("the layout is empty: it has neither objects nor a background, and there is no caption"))
        }
        Some(_) => Ok(()),
    }
}

/// A warning if an image was made by a version newer than this.
fn newer_writer(writer: &str) -> Option<String> {
    let this = env!("CARGO_PKG_VERSION");
    let is_newer = version(writer)? > version(this)?;
    is_newer.then(|| format!("the image was made by Sinopia {writer}, this is {this}: it may come out differently"))
}

/// `1.2.3` in numbers; what follows a `-` or `+` is left out.
fn version(text: &str) -> Option<Vec<u64>> {
    text.split(['-', '+']).next()?.split('.').map(|part| part.parse().ok()).collect()
}

fn check_seeds(first: u64, count: u32) -> anyhow::Result<()> {
    match first.checked_add(u64::from(count - 1)) {
        Some(_) => Ok(()),
        None => Err(bad_request("`--seed` plus `--count` goes beyond the largest seed")),
    }
}

const MOVED: &str = "the recipe's model or SAM is not where it was; say where with `--model` or `--sam`";
const NO_LAYOUT: &str = "\
give one with `--layout FILE` (JSON or an LLM's answer) or `--replay CACHE.json`,
or have the caption laid out anew: `sinopia generate \"CAPTION\"` without `--from`";

/// Paints the job and writes its files.
///
/// `inputs` are files it was read from: they are not written over.
pub(crate) fn run(job: Job, inputs: &[&Path], output: &OutputArgs) -> anyhow::Result<()> {
    let bars = Bars::new(output.quiet);
    let checkpoint = check(&job, inputs, output, &bars)?;
    paint(job, &checkpoint, output, &bars)
}

/// Refuses what can be refused before any work, and opens the model.
pub(crate) fn check(job: &Job, inputs: &[&Path], output: &OutputArgs, bars: &Bars) -> anyhow::Result<Checkpoint> {
    let to_stdout = output::is_stdout(&output.out);
    if to_stdout && (output.json || output.preview || output.grid || job.count > 1) {
        return Err(bad_request(
            "with `--out -` stdout holds one image: `--json`, `--preview`, `--grid` and `--count` need a file",
        ));
    }
    output::check_picture_name(&output.out)?;
    // With several images `--out` itself is not written, but it says in which folder.
    output::check_writable(&output.out)?;
    let files = files(job, output);
    output::check_all_writable(&files)?;
    output::refuse_inputs(&files, inputs)?;
    if let Some(folder) = output.debug_maps.as_deref().filter(|folder| folder.exists() && !folder.is_dir()) {
        return Err(bad_request(format!("`--debug-maps {}`: that is a file; name a folder", folder.display())));
    }
    let sam = sam_for(job.method.as_ref(), job.sam.as_deref()).map_or(Ok(()), model::check_sam);
    match &job.repeated {
        Some(_) => sam.context(MOVED)?,
        None => sam?,
    }
    job.ella.as_ref().map_or(Ok(()), EllaSource::check)?;
    let checkpoint = model::checkpoint(&job.model, job.precision, bars);
    let checkpoint = match &job.repeated {
        Some(_) => checkpoint.context(MOVED)?,
        None => checkpoint?,
    };
    job.check_model(&checkpoint)?;
    Ok(checkpoint)
}

/// Paints a job that was checked and writes its files.
pub(crate) fn paint(job: Job, checkpoint: &Checkpoint, output: &OutputArgs, bars: &Bars) -> anyhow::Result<()> {
    let to_stdout = output::is_stdout(&output.out);
    if let Some(warning) = &job.warning {
        bars.warn(warning);
    }
    bars.lines(&job.changes, "layout mended: ");
    if let Some(layout) = &job.layout {
        bars.show_layout(layout);
    }
    let sam = sam_for(job.method.as_ref(), job.sam.as_deref());
    let model = model::load((&job.model, checkpoint), sam, job.precision, bars);
    let model = match &job.repeated {
        Some(_) => model.context(MOVED)?,
        None => model?,
    };
    if let Some(recipe) = &job.repeated {
        recipe.check_model(&model.id.hash)?;
        recipe.check_sam(model.sam.as_ref())?;
    }
    let model = model::with_ella(model, job.ella.as_ref(), job.precision)?;
    if let Some(recipe) = &job.repeated {
        recipe.check_ella(model.ella.as_ref())?;
    }
    job.vocabulary_warning().iter().for_each(|warning| bars.warn(warning));
    let first = job.sampling(0, &model);
    warn_of_size(&first, &model, bars);
    // From here on Ctrl-C ends the run in an orderly way; before, it just ends the program.
    let cancellation = cancellation_on_interrupt(bars)?;
    model.pipeline.latent_size(&first)?;
    let steps = counted(job.settings.steps, "step");
    let seeds = match (first.seed.0, job.count) {
        (seed, 1) => format!("seed {seed}"),
        (seed, count) => format!("seeds {seed} to {}", seed + u64::from(count - 1)),
    };
    bars.line(&format!("painting with {} on {}, {steps}, {seeds}", job.method.name(), job.model));
    let mut made = Vec::new();
    for index in 0..job.count {
        let request = job.request(index, &model);
        let keeper = MapKeeper::new(bars, output.debug_maps.is_some());
        let run = Run::new(&keeper, &cancellation);
        let painting = job.method.generate(&request, &model.pipeline, &run)?;
        bars.finish();
        let path = image_file(&job, output, index);
        let mut description = deliver(&job, &request, &painting, &model, &path, output)?;
        description["unet_work"] = unet_work(&run)?;
        made.push(description);
        if let Some(folder) = &output.debug_maps {
            write_maps(&keeper, folder, request.sampling.seed, (bars, job.method.name()))?;
        }
        if output.preview {
            bars.preview(&painting);
        }
    }
    let svg = match &job.layout {
        Some(layout) if !to_stdout => {
            let path = drawing_file(output);
            output::write(&path, svg::render(layout).as_bytes())?;
            Some(path)
        }
        _ => None,
    };
    for image in &made {
        bars.line(&format!("wrote {}", image["file"].as_str().unwrap_or_default()));
    }
    if output.json {
        let svg = svg.map(|path| path.to_string_lossy().into_owned());
        let report = json!({ "images": made, "layout_svg": svg });
        output::print(&format!("{report:#}"))?;
    }
    Ok(())
}

/// Warns of pictures much larger than those that the model has learned from.
fn warn_of_size(sampling: &Sampling, model: &Model, bars: &Bars) {
    let (width, height) = model.pipeline.native_size();
    if sampling.width > width * 3 / 2 && sampling.height > height * 3 / 2 {
        bars.warn(&format!(
            "the model has learned from pictures of {width} × {height}; at {} × {} it tends to paint things several times",
            sampling.width, sampling.height
        ));
    }
}

/// The file of image number `index`.
fn image_file(job: &Job, output: &OutputArgs, index: u32) -> PathBuf {
    if job.count == 1 { output.out.clone() } else { output::numbered(&output.out, index + 1) }
}

/// The file of the drawn layout.
fn drawing_file(output: &OutputArgs) -> PathBuf {
    output.out.with_extension("layout.svg")
}

/// The file of an image's contact sheet.
fn grid_file(image: &Path) -> PathBuf {
    image.with_extension("grid.png")
}

/// Everything that the job will write, but for attention maps.
fn files(job: &Job, output: &OutputArgs) -> Vec<PathBuf> {
    if output::is_stdout(&output.out) {
        return Vec::new();
    }
    let mut files = Vec::new();
    for index in 0..job.count {
        let image = image_file(job, output, index);
        let grid = output.grid.then(|| grid_file(&image));
        files.push(image);
        files.extend(grid);
    }
    files.extend((job.layout.is_some() || job.lacks_layout()).then(|| drawing_file(output)));
    files
}

/// The UNet's work by purpose, and in all.
fn unet_work(run: &Run) -> anyhow::Result<Value> {
    let work = run.work();
    let mut description = serde_json::to_value(&work)?;
    description["multiply_accumulates"] = work.total().into();
    Ok(description)
}

/// Writes the attention maps of an image, or says why there are none.
fn write_maps(keeper: &MapKeeper, folder: &Path, seed: Seed, (bars, method): (&Bars, &str)) -> anyhow::Result<()> {
    match keeper.write(folder, &format!("seed-{}.", seed.0))? {
        0 => bars.line(&format!("`{method}` guided no attention here: nothing is written to `{}`", folder.display())),
        count => bars.line(&format!("wrote the attention of {count} phrases to `{}`", folder.display())),
    }
    Ok(())
}

/// Writes one image and what goes with it, and describes it.
fn deliver(
    job: &Job,
    request: &PaintRequest,
    painting: &Painting,
    model: &Model,
    path: &Path,
    output: &OutputArgs,
) -> anyhow::Result<Value> {
    let Png { recipe, image, bytes } = job.png(request, painting, model)?;
    output::write(path, &bytes)?;
    let grid = match output.grid {
        true => Some(write_contact_sheet(job, painting, &image, path)?),
        false => None,
    };
    Ok(json!({
        "file": path.to_string_lossy(),
        "grid": grid.map(|path| path.to_string_lossy().into_owned()),
        "seed": request.sampling.seed,
        "recipe": recipe,
        "prompts": painting.prompts,
        "guidance": painting.guidance,
        "warnings": painting.warnings,
        "timings": painting.timings,
    }))
}

fn write_contact_sheet(job: &Job, painting: &Painting, image: &RgbImage, path: &Path) -> anyhow::Result<PathBuf> {
    let mut panels = Vec::new();
    if let Some(layout) = &job.layout {
        panels.push(contact_sheet::layout_panel(layout, image.width(), image.height()));
    }
    for object in &painting.objects {
        if let Some(image) = &object.image {
            panels.push(Panel { image: rgb(image)?, label: object.name.clone() });
        }
    }
    let label = format!("{}, seed {}", job.method.name(), painting.sampling.seed.0);
    panels.push(Panel { image: image.clone(), label });
    let path = grid_file(path);
    let mut bytes = Vec::new();
    let sheet = contact_sheet::arrange(&panels);
    sheet.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    output::write(&path, &bytes)?;
    Ok(path)
}

pub(super) fn rgb(image: &Image) -> anyhow::Result<RgbImage> {
    let (width, height) = (image.width() as u32, image.height() as u32);
    RgbImage::from_raw(width, height, image.pixels().to_vec()).context("an image's pixels do not match its size")
}

/// What `--preset` sets, if it is given; it must be one of the method `name`.
pub(super) fn preset_options(name: &str, args: &PaintingArgs) -> anyhow::Result<Option<Map<String, Value>>> {
    let Some(preset) = args.preset.as_deref().map(methods::find_preset).transpose()? else { return Ok(None) };
    if preset.method != name {
        return Err(bad_request(format!(
            "`--preset {}` sets the method `{}`, `--method {name}` another: leave one of them out",
            preset.name, preset.method
        )));
    }
    Ok(preset.options().as_object().cloned())
}

/// `options`, or the published ones with `--reference`, with what `--set` and the flags that stand for options say.
pub(super) fn method_options(
    method: &str,
    mut options: Map<String, Value>,
    args: &PaintingArgs,
) -> anyhow::Result<Map<String, Value>> {
    if let (true, Value::Object(published)) = (args.reference, methods::reference_options(method)?) {
        options.extend(published);
    }
    let known = methods::build(method, Value::Null)?.options();
    let known: Vec<&str> =
        known.as_object().map(|known| known.keys().map(String::as_str).collect()).unwrap_or_default();
    for given in &args.set {
        let Some((name, value)) = given.split_once('=') else {
            return Err(bad_request(format!("`--set {given}`: `name=value` is expected")));
        };
        // A value that is not JSON is a word.
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        let name = name.trim();
        options.insert(names::find(name, known.iter().copied()).unwrap_or(name).to_owned(), value);
    }
    if args.ignore_negative_prompt {
        if method != methods::Sd::NAME {
            return Err(bad_request(format!(
                "`--ignore-negative-prompt` is for `--method sd` only: `{method}` has no such option"
            )));
        }
        options.insert("ignore_negative_prompt".to_owned(), Value::Bool(true));
    }
    Ok(options)
}

/// The SAM that was named, if the method has a use for it.
pub(super) fn sam_for<'a>(method: &dyn Method, sam: Option<&'a str>) -> Option<&'a str> {
    sam.filter(|_| method.options().get("mask_prompt").is_some())
}

/// The scheduler that was named, if one was.
pub(super) fn scheduler(name: Option<&str>) -> anyhow::Result<Option<SchedulerName>> {
    let scheduler: Option<SchedulerName> = name.map(str::parse).transpose()?;
    match scheduler {
        Some(SchedulerName { kind: SchedulerKind::Pndm, sigmas: Some(_) }) => Err(bad_request(format!(
            "`--scheduler {}`: pndm has noise levels of its own alone; take ddim, euler, euler-ancestral or dpm-solver++ with others",
            name.unwrap_or_default()
        ))),
        scheduler => Ok(scheduler),
    }
}

pub(super) fn set_threads(args: &PaintingArgs) -> anyhow::Result<()> {
    if let Some(threads) = args.threads {
        sinopia_nn::threads::set_num_threads(threads as usize)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_newer_versions_are_warned_of() {
        assert!(newer_writer("99.0.1").is_some_and(|warning| warning.contains("Sinopia 99.0.1")));
        assert!(newer_writer("99.0.0-rc.1").is_some());
        for known in [env!("CARGO_PKG_VERSION"), "0.0.1", "", "?", "one.two"] {
            assert_eq!(newer_writer(known), None, "{known}");
        }
        assert!(version("0.10.0") > version("0.9.9"));
    }
}
