//! `sinopia eval image`: paints a benchmark into a run folder, resumable and shared between processes, then scores it.

use std::collections::HashMap;
use std::time::Instant;

use serde_json::Value;
use sinopia_diffusion::Run;
use sinopia_diffusion::methods::MethodInfo;
use sinopia_eval::run::{self, LayoutsId, PaintError, Shard};
use sinopia_eval::{Painted, PictureRecord, RunFolder, RunSettings, Sample, benchmarks, layouts};
use sinopia_layout::{Layout, Scene, repair};
use sinopia_studio::models::LoadedModel;
use sinopia_studio::{PaintSettings, PaintSpec, ResolvedSpec};

use super::args::ImageArgs;
use super::checks::{Checks, Eyes};
use super::jobs::Workshop;
use super::{read_cache, report};
use crate::cli::args::Painting;
use crate::cli::failure::bad_request;
use crate::cli::progress::{Bars, cancellation_on_interrupt};
use crate::cli::{models, settings};

pub(super) fn run(mut args: ImageArgs) -> anyhow::Result<()> {
    let typed = std::mem::take(&mut args.painting).painting()?;
    refuse_single_image_flags(&typed)?;
    let shard: Option<Shard> = args.shard.as_deref().map(str::parse).transpose()?;
    let benchmark = benchmarks::open(&args.benchmark.benchmark)?;
    let limit = args.benchmark.limit.map(|limit| limit as usize);
    let samples = run::select(benchmark.as_ref(), args.benchmark.task.as_deref(), limit)?;
    let painting = settings::merge(typed)?;
    painting.machine.apply()?;
    let bars = Bars::new(args.quiet);
    let spec = PaintSpec { is_planned: args.layouts.is_some(), ..PaintSpec::new("") }
        .with(PaintSettings { seed: Some(args.seed_offset), ..painting.settings });
    let (resolved, opened) = models::resolve(&spec, &bars)?;
    check_layouts(resolved.method_info(), &args)?;
    let (layouts, layouts_id) = find_layouts(&args, &samples)?;
    // Before hours of painting: can every caption be painted so, and is the detector one?
    check_object_weights(&resolved.method().options(), &samples, &layouts)?;
    let eyes = Eyes::open(&args, benchmark.capability(), spec.model_name())?;
    let model = models::load(&resolved, &opened, &bars)?;
    model.pipeline.latent_size(&resolved.sampling(&model))?;
    let settings = RunSettings {
        benchmark: args.benchmark.benchmark.clone(),
        captions_sha256: run::captions_sha256(benchmark.as_ref()),
        layouts: layouts_id,
        repeats: args.repeats as usize,
        check: eyes.checks().map(Checks::id),
        ..run_settings(&spec, &resolved, &model)
    };
    let folder = RunFolder::begin(&args.out, &settings, samples.iter().map(|sample| sample.index))?;
    let ours = samples.iter().enumerate().filter(|(position, _)| shard.is_none_or(|shard| shard.holds(*position)));
    let ours: Vec<&Sample> = ours.map(|(_, sample)| *sample).collect();
    let cancellation = cancellation_on_interrupt(&bars)?;
    let workshop = Workshop {
        model: &model,
        resolved: &resolved,
        wanted: args.jobs,
        threads: painting.machine.threads,
        bars: &bars,
        cancellation: &cancellation,
    };
    let painter = CaptionPainter {
        spec: of_known_method(spec, &resolved),
        workshop: &workshop,
        layouts,
        checks: eyes.checks(),
        seed_offset: args.seed_offset,
    };
    workshop.paint_all(&folder, &ours, || |sample: &Sample, repeat| painter.paint(sample, repeat))?;
    match eyes.scorer(benchmark.capability()) {
        Some(evaluator) => report::score_and_print(&folder, benchmark.as_ref(), evaluator, false, args.quiet),
        None => {
            bars.line("painted, not scored: `sinopia eval score` does that");
            Ok(())
        }
    }
}

/// The spec with the method that it came to: the model is not asked again which it is.
pub(super) fn of_known_method(spec: PaintSpec, resolved: &ResolvedSpec) -> PaintSpec {
    let method = Some(resolved.method_info().name.to_owned());
    PaintSpec { settings: PaintSettings { method, ..spec.settings.clone() }, ..spec }
}

/// Refuses a method that paints layouts, if there are none.
fn check_layouts(method: &MethodInfo, args: &ImageArgs) -> anyhow::Result<()> {
    match method.needs_layout && args.layouts.is_none() {
        true => Err(bad_request(format!(
            "the method `{}` paints layouts: give a cache of them with `--layouts`",
            method.name
        ))),
        false => Ok(()),
    }
}

/// How the captions are painted, as a run folder remembers it; what it says of the benchmark is left open.
pub(super) fn run_settings(spec: &PaintSpec, resolved: &ResolvedSpec, model: &LoadedModel) -> RunSettings {
    RunSettings {
        benchmark: String::new(),
        captions_sha256: String::new(),
        method: resolved.method_info().name.to_owned(),
        options: resolved.method().options(),
        model: model.id.clone(),
        sam: model.sam.clone(),
        ella: model.ella.clone(),
        precision: model.precision.as_str().to_owned(),
        sampling: resolved.sampling(model),
        negative: spec.settings.negative.clone(),
        layouts: None,
        repeats: 1,
        check: None,
    }
}

/// Flags that make sense for one image: here captions decide.
pub(super) fn refuse_single_image_flags(typed: &Painting) -> anyhow::Result<()> {
    if typed.settings.seed.is_some() {
        return Err(bad_request("every caption has its own seed here: `--seed-offset` moves them all"));
    }
    if typed.count.is_some() {
        return Err(bad_request("`--repeats` says how many images a caption gets here"));
    }
    Ok(())
}

/// The layout of every sample by its number, repaired, and what the cache was.
fn find_layouts(args: &ImageArgs, samples: &[&Sample]) -> anyhow::Result<(HashMap<usize, Layout>, Option<LayoutsId>)> {
    let Some(path) = &args.layouts else { return Ok((HashMap::new(), None)) };
    let (cache, bytes) = read_cache(path)?;
    let found = layouts::find_all(&cache, samples)?;
    let repaired = found.into_iter().map(|(sample, layout)| (sample.index, repair(layout).0));
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((repaired.collect(), Some(LayoutsId { file, sha256: run::sha256(&bytes) })))
}

/// Weights of single objects name phrases, which a layout without them refuses.
fn check_object_weights(options: &Value, samples: &[&Sample], layouts: &HashMap<usize, Layout>) -> anyhow::Result<()> {
    let Some(weights) = options.get("object_weights").and_then(Value::as_object) else { return Ok(()) };
    for sample in samples {
        let Some(layout) = layouts.get(&sample.index) else { continue };
        let scene = Scene::compose(layout)?;
        let is_missing = |phrase: &&String| !scene.objects().iter().any(|object| object.name() == phrase.as_str());
        if let Some(phrase) = weights.keys().find(is_missing) {
            let (index, caption) = (sample.index, &sample.caption);
            return Err(bad_request(format!(
                "`object_weights` names `{phrase}`, which the layout of caption {index} (`{caption}`) has not; in a benchmark every layout needs it"
            )));
        }
    }
    Ok(())
}

/// Paints captions.
struct CaptionPainter<'a> {
    /// Of every caption, without the caption.
    spec: PaintSpec,
    workshop: &'a Workshop<'a>,
    layouts: HashMap<usize, Layout>,
    checks: Option<&'a Checks>,
    seed_offset: u64,
}

impl CaptionPainter<'_> {
    /// The PNG of a caption, with the recipe that makes it again, and what it cost.
    fn paint(&self, sample: &Sample, repeat: usize) -> Result<Painted, PaintError> {
        let spec = PaintSpec {
            caption: Some(sample.caption.clone()),
            layout: self.layouts.get(&sample.index).cloned(),
            ..self.spec.with_seed(run::seed(sample.index, repeat, self.seed_offset))
        };
        let (resolved, workshop) = (spec.resolve()?, self.workshop);
        if let Some(checks) = self.checks {
            return checks.paint(&resolved, workshop);
        }
        let (start, run) = (Instant::now(), workshop.run());
        let picture = resolved.paint(workshop.model, &run)?;
        Ok(Painted { png: picture.png, record: painted_once(&run, start) })
    }
}

/// The record of a picture that took one painting.
pub(super) fn painted_once(run: &Run, start: Instant) -> PictureRecord {
    let (seconds, work) = (start.elapsed().as_secs_f64(), run.work().total());
    PictureRecord { seconds, work, first_painting: work, attempts: 1, ..PictureRecord::default() }
}
