//! `sinopia eval image`: paints a benchmark into a run folder, resumable and shared between processes, then scores it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use sinopia_diffusion::methods::{self, Method};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{Cancellation, PaintRequest, Recipe, Run, Sampling, Shortcuts, TextEncoding};
use sinopia_eval::run::{self, LayoutsId, PaintError, Progress, Shard};
use sinopia_eval::{RunFolder, RunSettings, Sample, benchmarks, layouts};
use sinopia_layout::{Layout, Scene, repair};

use super::args::ImageArgs;
use super::{jobs, read_cache, report};
use crate::cli::args::{PaintingArgs, PrecisionArg};
use crate::cli::failure::bad_request;
use crate::cli::model::{self, EllaSource, Model};
use crate::cli::progress::{Bars, cancellation_on_interrupt};
use crate::cli::{job, painting_file, settings};

pub(super) fn run(args: ImageArgs) -> anyhow::Result<()> {
    refuse_single_image_flags(&args.painting)?;
    let shard: Option<Shard> = args.shard.as_deref().map(str::parse).transpose()?;
    let benchmark = benchmarks::open(&args.benchmark.benchmark)?;
    let limit = args.benchmark.limit.map(|limit| limit as usize);
    let samples = run::select(benchmark.as_ref(), args.benchmark.task.as_deref(), limit)?;
    let painting = settings::merge(args.painting.clone())?;
    job::set_threads(&painting)?;
    let info = methods::find(painting.method.as_deref().unwrap_or("lmd"))?;
    if info.needs_layout && args.layouts.is_none() {
        return Err(bad_request(format!(
            "the method `{}` paints layouts: give a cache of them with `--layouts`",
            info.name
        )));
    }
    let preset = job::preset_options(info.name, &painting)?.unwrap_or_default();
    let (layouts, layouts_id) = find_layouts(&args, &samples)?;
    let method = methods::build(info.name, Value::Object(job::method_options(info.name, preset, &painting)?))?;
    // Before hours of painting: can every caption be painted so, and is the detector one?
    check_object_weights(&method.options(), &samples, &layouts)?;
    let model_name = painting.model.as_deref().unwrap_or(sinopia_miniature::NAME);
    let eye = report::open_eye(benchmark.sight(), args.detector.as_deref(), model_name)?;

    let bars = Bars::new(args.quiet);
    let precision = painting.precision.unwrap_or(PrecisionArg::Auto).resolved();
    let model = model::open(model_name, job::sam_for(method.as_ref(), painting.sam.as_deref()), precision, &bars)?;
    let sampling = sampling(&painting, args.seed_offset, &model)?;
    let ella = EllaSource::new((&painting.text, None), &sampling.text_encoding, model_name)?;
    let model = model::with_ella(model, ella.as_ref(), precision)?;
    model.pipeline.latent_size(&sampling)?;
    let settings = RunSettings {
        benchmark: args.benchmark.benchmark.clone(),
        captions_sha256: run::captions_sha256(benchmark.as_ref()),
        method: method.name().to_owned(),
        options: method.options(),
        model: model.id.clone(),
        sam: model.sam.clone(),
        ella: model.ella.clone(),
        precision: precision.name().to_owned(),
        sampling,
        negative: painting.negative.clone(),
        layouts: layouts_id,
        repeats: args.repeats as usize,
    };
    let folder = RunFolder::begin(&args.out, &settings, samples.iter().map(|sample| sample.index))?;
    let ours = samples.iter().enumerate().filter(|(position, _)| shard.is_none_or(|shard| shard.holds(*position)));
    let ours: Vec<&Sample> = ours.map(|(_, sample)| *sample).collect();

    let threads = painting.threads.map_or_else(sinopia_nn::threads::num_threads, |threads| threads as usize);
    let channels = model.pipeline.vae().config().block_out_channels.first().copied().unwrap_or(1);
    let size = (settings.sampling.width, settings.sampling.height);
    let picture = jobs::picture_bytes(size, channels, info.needs_layout);
    let jobs = jobs::count(args.jobs, args.memory_budget, threads, ours.len(), model.is_small, picture, &bars)?;
    let cancellation = cancellation_on_interrupt(&bars)?;
    let painter =
        Painter { method, model, layouts, settings: &settings, bars: &bars, cancellation: cancellation.clone() };
    bars.line(&format!("{} captions into {}, {jobs} at once", ours.len(), args.out.display()));
    jobs::run(jobs, threads, &cancellation, || {
        folder.paint(&ours, &mut |sample, repeat| painter.paint(sample, repeat), &mut |progress| {
            bars.finish();
            bars.line(&progress_line(progress, jobs));
        })
    })?;
    bars.finish();
    match eye {
        Some(eye) => report::score_and_print(&folder, benchmark.as_ref(), eye.as_ref(), false, args.quiet),
        None => {
            bars.line("painted, not scored: `sinopia eval score` does that");
            Ok(())
        }
    }
}

/// Flags that make sense for one image: here captions decide.
fn refuse_single_image_flags(args: &PaintingArgs) -> anyhow::Result<()> {
    if args.seed.is_some() {
        return Err(bad_request("every caption has its own seed here: `--seed-offset` moves them all"));
    }
    if args.count.is_some() {
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

fn sampling(args: &PaintingArgs, seed_offset: u64, model: &Model) -> anyhow::Result<Sampling> {
    let native = model.pipeline.native_size();
    let width = args.width.map_or(native.0, |px| px as usize);
    let height = args.height.map_or(native.1, |px| px as usize);
    let published = Sampling::new(Seed(seed_offset), width, height);
    let scheduler = job::scheduler(args.scheduler.as_deref())?;
    Ok(Sampling {
        num_inference_steps: args.steps.map_or(published.num_inference_steps, |steps| steps as usize),
        guidance_scale: args.guidance_scale.unwrap_or(model.guidance_scale),
        shortcuts: args.shortcuts(Shortcuts::default()),
        text_encoding: args.text.encoding(TextEncoding::default()),
        scheduler: scheduler.map(|name| name.kind),
        sigmas: scheduler.and_then(|name| name.sigmas),
        ..published
    })
}

struct Painter<'a> {
    method: Box<dyn Method>,
    model: Model,
    layouts: HashMap<usize, Layout>,
    settings: &'a RunSettings,
    bars: &'a Bars,
    cancellation: Cancellation,
}

impl Painter<'_> {
    /// The PNG of a caption, with the recipe that makes it again.
    fn paint(&self, sample: &Sample, repeat: usize) -> Result<Vec<u8>, PaintError> {
        let offset = self.settings.sampling.seed.0;
        let request = PaintRequest {
            caption: Some(sample.caption.clone()),
            layout: self.layouts.get(&sample.index).cloned(),
            negative: self.settings.negative.clone(),
            sampling: Sampling {
                seed: Seed(run::seed(sample.index, repeat, offset)),
                ..self.settings.sampling.clone()
            },
        };
        let run = Run::new(self.bars, &self.cancellation);
        let painting = self.method.generate(&request, &self.model.pipeline, &run)?;
        let model = (self.model.id.clone(), self.settings.precision.as_str());
        let recipe = Recipe::new(&request, self.method.as_ref(), &painting, model);
        let recipe = recipe.with_sam(self.model.sam.clone(), &painting).with_ella(self.model.ella.clone());
        Ok(painting_file::encode(&job::rgb(&painting.image)?, &sample.caption, &recipe.to_json())?)
    }
}

fn progress_line(progress: &Progress, jobs: usize) -> String {
    let Progress { done, total, index, repeat, caption, took, left } = progress;
    let left = *left / jobs.min(total - done).max(1) as u32;
    let repeat = if *repeat > 0 { format!(" ({})", repeat + 1) } else { String::new() };
    format!("{done}/{total}, {} left: {index}{repeat} {caption}, {:.1} s", in_words(left), took.as_secs_f64())
}

/// `3 h 05 min`, `12 min`, `40 s`.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        3600.. => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        60.. => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_words() {
        for (seconds, expected) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3900, "1 h 05 min")] {
            assert_eq!(in_words(Duration::from_secs(seconds)), expected);
        }
    }
}
