//! `sinopia eval edit`: paints layouts, changes one thing of each picture, and asks a detector what is done and what is kept.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use image::RgbImage;
use serde_json::json;
use sinopia_diffusion::edit::{EditSource, Edited, edit};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::{Edit, Image, Operation, Run};
use sinopia_eval::edits::{self, AFTER, BEFORE, EditRecord, EditScore, EditScores, EditTask};
use sinopia_eval::run::{self, CheckId, LayoutsId, PaintError};
use sinopia_eval::{Benchmark, Detector, Evaluator, Painted, RunFolder, RunSettings, Sample, benchmarks, layouts};
use sinopia_layout::repair;
use sinopia_nn::threads;
use sinopia_studio::editing::{Cell, DetectorSearch, EditContext, ObjectSearch, plan_layout};
use sinopia_studio::verdict::{Look, ObjectState, Program, Verdict};
use sinopia_studio::{PaintSettings, PaintSpec, Picture, ResolvedSpec, detector_for, encode_png, open_detector, rgb};

use super::args::EditArgs;
use super::jobs::Workshop;
use super::{image as captions, read_cache, report};
use crate::cli::failure::bad_request;
use crate::cli::progress::{Bars, cancellation_on_interrupt};
use crate::cli::{models, output, settings};

pub(super) fn run(mut args: EditArgs) -> anyhow::Result<()> {
    let typed = std::mem::take(&mut args.painting).painting()?;
    captions::refuse_single_image_flags(&typed)?;
    let (tasks, layouts_id) = tasks(&args)?;
    let painting = settings::merge(typed)?;
    painting.machine.apply()?;
    let bars = Bars::new(args.quiet);
    let spec = PaintSpec { is_planned: true, ..PaintSpec::new("") }
        .with(PaintSettings { seed: Some(args.seed_offset), ..painting.settings });
    let (resolved, opened) = models::resolve(&spec, &bars)?;
    // Before an hour of painting: is the detector one?
    let detector = open_detector_of(&args, spec.model_name())?;
    let model = models::load(&resolved, &opened, &bars)?;
    model.pipeline.latent_size(&resolved.sampling(&model))?;
    let settings = RunSettings {
        benchmark: edits::NAME.to_owned(),
        captions_sha256: edits::tasks_sha256(&tasks)?,
        layouts: Some(layouts_id),
        repeats: AFTER + 1,
        check: detector.as_ref().map(|detector| CheckId {
            attempts: 1,
            repair: false,
            evaluator: detector.id().clone(),
        }),
        ..captions::run_settings(&spec, &resolved, &model)
    };
    let folder = RunFolder::begin(&args.out, &settings, tasks.iter().map(|task| task.index))?;
    edits::write_tasks(&folder, &tasks)?;
    let samples: Vec<Sample> = tasks.iter().map(EditTask::sample).collect();
    let samples: Vec<&Sample> = samples.iter().collect();
    let cancellation = cancellation_on_interrupt(&bars)?;
    let workshop = Workshop {
        model: &model,
        resolved: &resolved,
        wanted: args.jobs,
        threads: painting.machine.threads,
        bars: &bars,
        cancellation: &cancellation,
    };
    let desk = Desk {
        spec: captions::of_known_method(spec, &resolved),
        workshop: &workshop,
        tasks: &tasks,
        folder: &folder,
        detector: detector.as_ref(),
        seed_offset: args.seed_offset,
    };
    workshop.paint_all(&folder, &samples, || {
        let mut editor = Editor { desk: &desk, painted: None };
        move |sample: &Sample, repeat| editor.paint(sample, repeat)
    })?;
    match &detector {
        Some(detector) => score_and_print(&folder, &tasks, detector, args.json, &bars),
        None => {
            bars.line("painted, not scored: nobody looks");
            Ok(())
        }
    }
}

/// Who looks: for what is changed, whose box is widened to where it was painted, and at what became of it.
fn open_detector_of(args: &EditArgs, model: &str) -> anyhow::Result<Option<Detector>> {
    match args.detector.as_deref() {
        Some(report::NONE) => Ok(None),
        asked => Ok(Some(open_detector(detector_for(asked, model)?)?)),
    }
}

/// The edits of the benchmark's layouts, and what cache they come from.
fn tasks(args: &EditArgs) -> anyhow::Result<(Vec<EditTask>, LayoutsId)> {
    let benchmark = benchmarks::Lmd::new();
    let samples: Vec<&Sample> = benchmark.samples().iter().collect();
    let (cache, bytes) = read_cache(&args.layouts)?;
    let found = layouts::find_all(&cache, &samples)?;
    let repaired: Vec<_> = found.into_iter().map(|(sample, layout)| (sample, repair(layout).0)).collect();
    let tasks = edits::tasks(&repaired, args.count as usize);
    if tasks.is_empty() {
        return Err(bad_request(format!("no layout of `{}` has things that can be changed", args.layouts.display())));
    }
    let file = args.layouts.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((tasks, LayoutsId { file, sha256: run::sha256(&bytes) }))
}

/// What all who paint have in common.
struct Desk<'a> {
    /// Of every picture, without caption and layout.
    spec: PaintSpec,
    workshop: &'a Workshop<'a>,
    tasks: &'a [EditTask],
    folder: &'a RunFolder,
    detector: Option<&'a Detector>,
    seed_offset: u64,
}

/// Paints a picture and edits it. The picture is kept for its edit, which comes next; a run that was stopped between the two paints it again.
struct Editor<'a> {
    desk: &'a Desk<'a>,
    painted: Option<Original>,
}

/// A picture before its edit.
struct Original {
    index: usize,
    resolved: ResolvedSpec,
    picture: Picture,
}

impl Editor<'_> {
    fn paint(&mut self, sample: &Sample, repeat: usize) -> Result<Painted, PaintError> {
        let start = Instant::now();
        let desk = self.desk;
        let task = desk.tasks.iter().find(|task| task.index == sample.index).ok_or("there is no such edit")?;
        let run = desk.workshop.run().keeping_trajectory();
        if repeat == BEFORE {
            let original = desk.original(task, &run)?;
            let png = original.picture.png.clone();
            self.painted = Some(original);
            return Ok(Painted { png, record: captions::painted_once(&run, start) });
        }
        let original = match self.painted.take().filter(|original| original.index == task.index) {
            Some(original) => original,
            None => desk.original(task, &run)?,
        };
        let run = desk.workshop.run();
        let (png, record) = desk.edited(task, &original, &run)?;
        record.write(desk.folder, task.index)?;
        Ok(Painted { png, record: captions::painted_once(&run, start) })
    }
}

impl Desk<'_> {
    fn original(&self, task: &EditTask, run: &Run) -> Result<Original, PaintError> {
        let spec = PaintSpec {
            caption: Some(task.caption.clone()),
            layout: Some(task.before.clone()),
            ..self.spec.with_seed(self.seed(task))
        };
        let resolved = spec.resolve()?;
        let picture = resolved.paint(self.workshop.model, run)?;
        Ok(Original { index: task.index, resolved, picture })
    }

    fn seed(&self, task: &EditTask) -> u64 {
        run::seed(task.index, 0, self.seed_offset)
    }

    /// The PNG of the edited picture, and what the edit reached.
    fn edited(&self, task: &EditTask, original: &Original, run: &Run) -> Result<(Vec<u8>, EditRecord), PaintError> {
        let painting = &original.picture.painting;
        let source = EditSource {
            image: &painting.image,
            trajectory: painting.trajectory.as_ref().ok_or("the picture's states were not kept")?,
            sampling: &painting.sampling,
            request: &original.picture.recipe.request(),
            method: original.resolved.method(),
        };
        let change = Edit::new(self.operations(task, original)?, task.after.clone(), Seed(self.seed(task)));
        let edited = threads::on_worker(|| edit(&source, &change, &self.workshop.model.pipeline, run))?;
        let recipe = original.picture.recipe.clone().with_edits(vec![change]);
        let png = encode_png(&rgb(&edited.image)?, &task.caption, &recipe.to_json())?;
        Ok((png, record_of(&painting.image, &edited)))
    }

    /// What makes the picture one of the other layout, as `sinopia edit --layout` does it.
    fn operations(&self, task: &EditTask, original: &Original) -> Result<Vec<Operation>, PaintError> {
        let image = rgb(&original.picture.painting.image)?;
        let cancellation = Some(self.workshop.cancellation);
        let look = self
            .detector
            .map(|detector| move |image: &RgbImage, program: &Program| detector.look(image, program, cancellation));
        let search = look.as_ref().map(|look| DetectorSearch { look, image: &image });
        let grid = self.workshop.model.pipeline.latent_size(&original.picture.recipe.sampling)?;
        let context = EditContext {
            layout: &task.before,
            cell: Cell { across: 1.0 / grid.width as f64, down: 1.0 / grid.height as f64 },
            search: search.as_ref().map(|search| search as &dyn ObjectSearch),
        };
        Ok(plan_layout(&task.after, context, Operation::RECOLOUR_STRENGTH)?.operations)
    }
}

fn record_of(before: &Image, edited: &Edited) -> EditRecord {
    let alpha = edited.mask.alpha();
    let pixels = before.pixels().chunks_exact(3).zip(edited.image.pixels().chunks_exact(3));
    let outside = pixels.zip(alpha).filter(|(_, alpha)| **alpha == 0);
    EditRecord {
        region: alpha.iter().filter(|alpha| **alpha > 0).count() as f64 / alpha.len().max(1) as f64,
        changed_outside: outside.filter(|((old, new), _)| old != new).count(),
        seam: edited.seam,
    }
}

// ---------------------------------------------------------------- scoring

/// Scores what is not scored yet and prints rates.
fn score_and_print(
    folder: &RunFolder,
    tasks: &[EditTask],
    evaluator: &dyn Evaluator,
    as_json: bool,
    bars: &Bars,
) -> anyhow::Result<()> {
    let mut known = EditScores::load(folder, evaluator.id())?;
    let mut by_index: BTreeMap<usize, EditScore> = known.scores.drain(..).map(|score| (score.index, score)).collect();
    for task in tasks {
        if let Entry::Vacant(unscored) = by_index.entry(task.index) {
            unscored.insert(judge(folder, task, evaluator)?);
        }
    }
    known.scores = by_index.into_values().collect();
    known.save(folder)?;
    bars.line(&format!("{} edits seen by {}", known.scores.len(), evaluator.id().id));
    let tallies = edits::tally(&known.scores);
    output::print(&if as_json {
        format!("{:#}", json!({ "evaluator": known.evaluator, "rates": tallies, "scores": known.scores }))
    } else {
        edits::markdown(&tallies)
    })
}

/// What became of an edit. It is done if what is new is right, what is gone is not seen where it was, and no more things are there too much than before.
fn judge(folder: &RunFolder, task: &EditTask, evaluator: &dyn Evaluator) -> anyhow::Result<EditScore> {
    let picture = |repeat| -> anyhow::Result<RgbImage> {
        let path = folder.image(task.index, repeat);
        Ok(sinopia_eval::picture(&path, &std::fs::read(&path)?)?.into_rgb8())
    };
    let (before, after) = (picture(BEFORE)?, picture(AFTER)?);
    let [was, is] = [&task.before, &task.after].map(|layout| Program::compile(layout, None));
    let (seen_before, seen_after) = (evaluator.look(&before, &was, None)?, evaluator.look(&after, &is, None)?);
    let is_right = |verdict: &Verdict, index: usize| verdict.objects[index].state == ObjectState::Right;
    let is_gone = match task.gone {
        Some(gone) => {
            let state = evaluator.look(&after, &was, None)?.objects[gone].state;
            !matches!(state, ObjectState::Right | ObjectState::Unsure)
        }
        None => true,
    };
    let is_there = task.new.is_none_or(|new| is_right(&seen_after, new));
    let kept = task.kept().into_iter().filter(|(old, _)| is_right(&seen_before, *old));
    let kept: Vec<bool> = kept.map(|(_, new)| is_right(&seen_after, new)).collect();
    Ok(EditScore {
        index: task.index,
        change: task.change,
        done: is_there && is_gone && seen_after.extra.len() <= seen_before.extra.len(),
        right_before: kept.len(),
        still_right: kept.iter().filter(|right| **right).count(),
        same_outside: EditRecord::load(folder, task.index)?.changed_outside == 0,
    })
}
