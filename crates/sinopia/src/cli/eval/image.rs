//! `sinopia eval image`: paints a benchmark into a run folder, resumable and shared between processes, then scores it.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use sinopia_diffusion::methods::MethodInfo;
use sinopia_diffusion::{CancellationToken, Run};
use sinopia_eval::run::{self, LayoutsId, PaintError, Progress, Shard};
use sinopia_eval::{RunFolder, RunSettings, Sample, benchmarks, layouts};
use sinopia_layout::{Layout, Scene, repair};
use sinopia_studio::models::{LoadedModel, memory::PictureMemory};
use sinopia_studio::{PaintSettings, PaintSpec, ResolvedSpec};

use super::args::ImageArgs;
use super::{jobs, read_cache, report};
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
    let evaluator = report::open_evaluator(benchmark.capability(), args.detector.as_deref(), spec.model_name())?;
    let model = models::load(&resolved, &opened, &bars)?;
    model.pipeline.latent_size(&resolved.sampling(&model))?;
    let settings = RunSettings {
        benchmark: args.benchmark.benchmark.clone(),
        captions_sha256: run::captions_sha256(benchmark.as_ref()),
        layouts: layouts_id,
        repeats: args.repeats as usize,
        ..run_settings(&spec, &resolved, &model)
    };
    let folder = RunFolder::begin(&args.out, &settings, samples.iter().map(|sample| sample.index))?;
    let ours = samples.iter().enumerate().filter(|(position, _)| shard.is_none_or(|shard| shard.holds(*position)));
    let ours: Vec<&Sample> = ours.map(|(_, sample)| *sample).collect();
    // The method is known now, and the model is not asked again which it is.
    let method = Some(resolved.method_info().name.to_owned());
    let spec = PaintSpec { settings: PaintSettings { method, ..spec.settings.clone() }, ..spec };
    let cancellation = cancellation_on_interrupt(&bars)?;
    let painter = CaptionPainter { spec, model, layouts, seed_offset: args.seed_offset, bars: &bars, cancellation };
    let share = jobs::Wanted { jobs: args.jobs, budget_gb: args.memory_budget };
    painter.paint_all(&folder, &ours, share, painting.machine.threads, &resolved)?;
    match evaluator {
        Some(evaluator) => report::score_and_print(&folder, benchmark.as_ref(), evaluator.as_ref(), false, args.quiet),
        None => {
            bars.line("painted, not scored: `sinopia eval score` does that");
            Ok(())
        }
    }
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
fn run_settings(spec: &PaintSpec, resolved: &ResolvedSpec, model: &LoadedModel) -> RunSettings {
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
    }
}

/// Flags that make sense for one image: here captions decide.
fn refuse_single_image_flags(typed: &Painting) -> anyhow::Result<()> {
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

struct CaptionPainter<'a> {
    /// Of every caption, without the caption.
    spec: PaintSpec,
    model: LoadedModel,
    layouts: HashMap<usize, Layout>,
    seed_offset: u64,
    bars: &'a Bars,
    cancellation: CancellationToken,
}

impl CaptionPainter<'_> {
    /// Paints captions into a run folder, several at once where that is wanted or worth while.
    fn paint_all(
        &self,
        folder: &RunFolder,
        samples: &[&Sample],
        wanted: jobs::Wanted,
        threads: Option<u32>,
        resolved: &ResolvedSpec,
    ) -> anyhow::Result<()> {
        let threads = threads.map_or_else(sinopia_nn::threads::num_threads, |threads| threads as usize);
        let sampling = resolved.sampling(&self.model);
        let picture = PictureMemory {
            width: sampling.width,
            height: sampling.height,
            finest_channels: self.model.finest_channels(),
            is_guided: resolved.method_info().needs_layout,
        };
        let jobs = wanted.count(threads, samples.len(), self.model.is_small, picture, self.bars);
        self.bars.line(&format!("{} captions into {}, {jobs} at once", samples.len(), folder.path().display()));
        jobs::run(jobs, threads, &self.cancellation, || {
            folder.paint(samples, &mut |sample, repeat| self.paint(sample, repeat), &mut |progress| {
                self.bars.finish();
                self.bars.line(&progress_line(progress, jobs));
            })
        })?;
        self.bars.finish();
        Ok(())
    }

    /// The PNG of a caption, with the recipe that makes it again.
    fn paint(&self, sample: &Sample, repeat: usize) -> Result<Vec<u8>, PaintError> {
        let spec = PaintSpec {
            caption: Some(sample.caption.clone()),
            layout: self.layouts.get(&sample.index).cloned(),
            ..self.spec.with_seed(run::seed(sample.index, repeat, self.seed_offset))
        };
        let run = Run::new(self.bars, &self.cancellation);
        Ok(spec.resolve()?.paint(&self.model, &run)?.png)
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
