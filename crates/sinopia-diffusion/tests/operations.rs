//! Operations on pictures of a tiny checkpoint with random weights: what an edit promises whatever the model paints.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../parity/fixture.rs"]
mod fixture;

use std::sync::{Arc, LazyLock, Mutex};

use candle_core::Tensor;
use serde_json::Value;
use sinopia_diffusion::methods::{self, METHODS, Method};
use sinopia_diffusion::noise::Seed;
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::{
    CancellationToken, Edit, EditSource, Edited, Error, Image, Observer, Operation, PaintRequest, Pipeline,
    PipelineParts, Result, Run, Sampling, StepReport, Trajectory, edit,
};
use sinopia_layout::{BBox, Canvas, Grid, Layout, LayoutObject};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::denoiser::{
    AttentionLayer, AttnKey, CallShape, Denoiser, DenoiserReply, DenoiserRequest, MapLoss, NetworkCost,
};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::UNet2DConditionModel;
use sinopia_models::vae::AutoencoderKl;

/// Steps of a picture.
const STEPS: usize = 5;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::load(&checkpoint("small")).unwrap());
/// With grounding adapters.
static GATED: LazyLock<Pipeline> = LazyLock::new(|| Pipeline::load(&checkpoint("gligen")).unwrap());

fn checkpoint(model: &str) -> Checkpoint {
    let source = ModelSource::parse(fixture::model_folder(model).to_str().unwrap()).unwrap();
    Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap()
}

/// A model that the method can paint with.
fn pipeline_of(method: &str) -> &'static Pipeline {
    if matches!(method, "lmd-plus" | "gligen") { &GATED } else { &PIPELINE }
}

fn bbox(x0: f64, y0: f64, x1: f64, y1: f64) -> BBox {
    BBox::new(x0, y0, x1, y1).unwrap()
}

fn layout(objects: &[(&str, BBox)]) -> Layout {
    let object = |(phrase, bbox): &(&str, BBox)| LayoutObject {
        phrase: (*phrase).to_owned(),
        bbox: bbox.to_pixels(Canvas::PUBLISHED),
    };
    Layout {
        canvas: Canvas::PUBLISHED,
        objects: objects.iter().map(object).collect(),
        background: "a photo of a beach".to_owned(),
        negative: String::new(),
    }
}

fn dog() -> (&'static str, BBox) {
    ("a blue dog", bbox(0.05, 0.1, 0.35, 0.45))
}

fn bowl() -> (&'static str, BBox) {
    ("a white bowl", bbox(0.6, 0.6, 0.9, 0.9))
}

/// A picture that was painted, and all that an edit of it needs.
struct Painted {
    image: Image,
    trajectory: Trajectory,
    sampling: Sampling,
    request: PaintRequest,
    method: Box<dyn Method>,
}

impl Painted {
    fn new(method: &str, scheduler: Option<SchedulerKind>, pipeline: &Pipeline) -> Self {
        let sampling = Sampling { num_inference_steps: STEPS, scheduler, ..Sampling::new(Seed(3), 128, 128) };
        Self::sampled(method, sampling, pipeline)
    }

    fn with_steps(method: &str, num_inference_steps: usize, pipeline: &Pipeline) -> Self {
        Self::sampled(method, Sampling { num_inference_steps, ..Sampling::new(Seed(3), 128, 128) }, pipeline)
    }

    fn sampled(method: &str, sampling: Sampling, pipeline: &Pipeline) -> Self {
        let request = PaintRequest {
            caption: Some("a blue dog and a white bowl on a beach".to_owned()),
            layout: Some(layout(&[dog(), bowl()])),
            negative: None,
            init: None,
            sampling,
        };
        let method = methods::build(method, Value::Null).unwrap();
        let painting = method.generate(&request, pipeline, &Run::silent().keeping_trajectory()).unwrap();
        let (image, trajectory, sampling) = (painting.image, painting.trajectory.unwrap(), painting.sampling);
        Self { image, trajectory, sampling, request, method }
    }

    fn by(method: &str) -> Self {
        Self::new(method, None, pipeline_of(method))
    }

    fn source(&self) -> EditSource<'_> {
        let Self { image, trajectory, sampling, request, method } = self;
        EditSource { image, trajectory, sampling, request, method: method.as_ref() }
    }

    fn edited(&self, change: &Edit, pipeline: &Pipeline, run: &Run) -> Result<Edited> {
        sinopia_nn::threads::on_worker(|| edit(&self.source(), change, pipeline, run))
    }
}

fn add() -> (Operation, Layout) {
    let (phrase, bbox) = ("a red cup", bbox(0.6, 0.05, 0.85, 0.35));
    (Operation::Add { phrase: phrase.to_owned(), bbox }, layout(&[dog(), bowl(), (phrase, bbox)]))
}

fn remove() -> (Operation, Layout) {
    (Operation::Remove { phrase: dog().0.to_owned(), bbox: dog().1 }, layout(&[bowl()]))
}

fn shift() -> (Operation, Layout) {
    let to = bbox(0.05, 0.6, 0.35, 0.95);
    let operation = Operation::Move { phrase: dog().0.to_owned(), from: dog().1, to };
    (operation, layout(&[(dog().0, to), bowl()]))
}

/// By its pixels.
fn resize() -> (Operation, Layout) {
    let to = bbox(0.05, 0.1, 0.42, 0.53);
    let operation = Operation::Move { phrase: dog().0.to_owned(), from: dog().1, to };
    (operation, layout(&[(dog().0, to), bowl()]))
}

/// Too much for its pixels.
fn enlarge() -> (Operation, Layout) {
    let to = bbox(0.0, 0.0, 0.5, 0.55);
    let operation = Operation::Move { phrase: dog().0.to_owned(), from: dog().1, to };
    (operation, layout(&[(dog().0, to), bowl()]))
}

fn recolour() -> (Operation, Layout) {
    let phrase = "a red dog";
    let operation = Operation::Recolour { phrase: phrase.to_owned(), bbox: dog().1, strength: 0.6 };
    (operation, layout(&[(phrase, dog().1), bowl()]))
}

fn replace() -> (Operation, Layout) {
    let phrase = "a fox";
    (Operation::Replace { phrase: phrase.to_owned(), bbox: dog().1 }, layout(&[(phrase, dog().1), bowl()]))
}

fn every_operation() -> [(Operation, Layout); 7] {
    [add(), remove(), shift(), resize(), enlarge(), recolour(), replace()]
}

fn change((operation, layout): (Operation, Layout)) -> Edit {
    Edit::new(vec![operation], layout, Seed(11))
}

fn bits(state: &Tensor) -> Vec<u32> {
    state.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

fn states(trajectory: &Trajectory) -> Vec<Vec<u32>> {
    trajectory.states().iter().map(bits).collect()
}

/// Outside the mask nothing is changed, inside something is.
#[track_caller]
fn assert_kept(before: &Painted, after: &Edited, what: &str) {
    let pixels = before.image.pixels().chunks_exact(3).zip(after.image.pixels().chunks_exact(3));
    let outside = pixels.zip(after.mask.alpha()).filter(|(_, alpha)| **alpha == 0);
    assert!(outside.clone().count() > 0, "{what}: all of it may change");
    assert!(outside.clone().all(|((old, new), _)| old == new), "{what}: a byte outside the mask");
    assert_ne!(before.image.pixels(), after.image.pixels(), "{what}: nothing was done");
    assert_eq!(before.trajectory.num_calls(), after.trajectory.num_calls(), "{what}");
    for (old, new) in states(&before.trajectory).iter().zip(states(&after.trajectory)) {
        let cells = old.chunks_exact(4).zip(new.chunks_exact(4)).zip(after.mask.cells().cells());
        assert!(cells.clone().all(|((old, new), inside)| *inside || old == new), "{what}: a state outside the mask");
    }
    assert!(after.seam.is_finite() && after.seam >= 0.0, "{what}");
}

#[test]
fn every_operation_on_a_picture_of_every_method_keeps_all_else_to_the_byte() {
    for info in METHODS {
        let painted = Painted::by(info.name);
        let before = states(&painted.trajectory);
        for (index, operation) in every_operation().into_iter().enumerate() {
            let what = format!("{} {index}: {:?}", info.name, operation.0);
            let after = painted.edited(&change(operation), pipeline_of(info.name), &Run::silent()).unwrap();
            assert_kept(&painted, &after, &what);
            // A try that nobody takes leaves no trace.
            assert_eq!(states(&painted.trajectory), before, "{what}");
        }
    }
}

#[test]
fn pictures_of_every_scheduler_are_edited() {
    for scheduler in SchedulerKind::ALL {
        let painted = Painted::new("sd", Some(scheduler), &PIPELINE);
        for operation in [add(), remove(), resize(), recolour()] {
            let what = format!("{scheduler}: {:?}", operation.0);
            let after = painted.edited(&change(operation), &PIPELINE, &Run::silent()).unwrap();
            assert_kept(&painted, &after, &what);
        }
    }
}

/// Of some 15 % of a picture, whatever painted it: the network sees a window around what changes, and what is removed by two calls with one beginning.
#[test]
fn the_work_of_an_edit_goes_with_what_changes() {
    let at = bbox(0.3125, 0.3125, 0.5625, 0.5); // 4 × 3 of 16 × 16 cells
    let (from, to) = (bbox(0.3125, 0.3125, 0.4375, 0.4375), bbox(0.3125, 0.5625, 0.4375, 0.6875)); // 2 × 2 cells
    let object = |phrase: &str, at: BBox| (phrase.to_owned(), layout(&[(phrase, at), bowl()]));
    let (fox, green) = (object("a fox", at), object("a green dog", at));
    let (gone, moved) = (("a blue dog".to_owned(), layout(&[bowl()])), object("a blue dog", to));
    let changes = [
        (Operation::Add { phrase: fox.0.clone(), bbox: at }, fox.1.clone()),
        (Operation::Remove { phrase: gone.0, bbox: at }, gone.1),
        (Operation::Move { phrase: moved.0, from, to }, moved.1),
        (Operation::Recolour { phrase: green.0, bbox: at, strength: 0.9 }, green.1),
        (Operation::Replace { phrase: fox.0, bbox: at }, fox.1),
    ];
    for method in ["sd", "gligen", "lmd", "lmd-plus"] {
        let painted = Painted::with_steps(method, 20, &GATED);
        let run = Run::silent();
        painted.method.generate(&painted.request, &GATED, &run).unwrap();
        let painting = run.work().total() as f64;
        for (operation, after) in changes.clone() {
            let run = Run::silent();
            let edited = painted.edited(&Edit::new(vec![operation.clone()], after, Seed(11)), &GATED, &run).unwrap();
            assert_kept(&painted, &edited, operation.name());
            let cells = edited.mask.cells();
            let changed = cells.count() as f64 / cells.grid().cells() as f64;
            assert!((0.1..0.25).contains(&changed), "{method}, {}: {changed} of the picture", operation.name());
            let share = run.work().total() as f64 / painting;
            // On this small network erasing is dearer than on others (0.48 on the miniature): both halves part early.
            let most = match operation {
                Operation::Remove { .. } => 0.62,
                Operation::Move { .. } => 0.75,
                _ => 0.6,
            };
            assert!((0.02..=most).contains(&share), "{method}, {}: {share} of a painting", operation.name());
        }
    }
}

#[test]
fn without_operations_the_picture_comes_back_and_nothing_is_computed() {
    let (painted, run) = (Painted::by("gligen"), Run::silent());
    let change = Edit::new(Vec::new(), layout(&[dog()]), Seed(11));
    let after = painted.edited(&change, &GATED, &run).unwrap();
    assert_eq!(after.image, painted.image);
    assert_eq!(states(&after.trajectory), states(&painted.trajectory));
    assert!(after.mask.region_is_empty() && after.seam == 0.0 && after.warnings.is_empty());
    assert!(run.work().total() == 0 && run.timings().is_empty());
}

#[test]
fn the_same_edit_gives_the_same_bytes_on_any_number_of_threads_and_another_attempt_others() {
    let painted = Painted::by("lmd-plus");
    let on = |threads: usize, change: &Edit| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let after = pool.install(|| edit(&painted.source(), change, &GATED, &Run::silent())).unwrap();
        (after.image, states(&after.trajectory))
    };
    for operation in [add(), remove(), resize(), replace()] {
        let first = change(operation);
        let alone = on(1, &first);
        assert_eq!(on(8, &first), alone, "{:?}", first.operations);
        let another = Edit { attempt: 1, ..first.clone() };
        assert_ne!(on(8, &another).0, alone.0, "{:?}", first.operations);
    }
}

/// What is removed goes first, and what is painted by itself where that is less than all that lies between.
#[test]
fn what_takes_away_and_what_paints_are_passes_of_their_own() {
    let painted = Painted::by("gligen");
    let recolour_bowl = Operation::Recolour { phrase: "a red bowl".to_owned(), bbox: bowl().1, strength: 0.6 };
    let after = layout(&[("a red bowl", bowl().1)]);
    let calls = |operations: Vec<Operation>| {
        let run = Run::silent();
        let edited = painted.edited(&Edit::new(operations, after.clone(), Seed(11)), &GATED, &run).unwrap();
        assert_kept(&painted, &edited, "several");
        let passes = run.timings().iter().filter(|timing| timing.stage == "painting the change").count();
        (passes, edited)
    };
    let (passes, both) = calls(vec![recolour_bowl.clone(), remove().0]);
    assert_eq!(passes, 2);
    let cells = |edited: &Edited| edited.mask.cells().clone();
    let (_, one) = calls(vec![recolour_bowl.clone()]);
    let (_, other) = calls(vec![remove().0]);
    assert_eq!(cells(&both), cells(&one).union(&cells(&other)).unwrap());
    let over = Operation::Add { phrase: "a cup".to_owned(), bbox: bbox(0.5, 0.5, 0.8, 0.8) };
    assert_eq!(calls(vec![over, recolour_bowl]).0, 2);
}

#[test]
fn what_is_moved_has_its_own_states_while_it_is_held() {
    let painted = Painted::by("gligen");
    let change = change(shift());
    let after = painted.edited(&change, &GATED, &Run::silent()).unwrap();
    let Grid { width, .. } = after.mask.cells().grid();
    // Half of the picture down, of sixteen cells; the middle of the dog's box.
    let cell = |row: usize, column: usize| (row * width + column) * 4;
    let (from, to) = (cell(4, 3), cell(12, 3));
    let held = 4; // of five steps
    for (index, (old, new)) in states(&painted.trajectory).iter().zip(states(&after.trajectory)).enumerate() {
        let is_moved = old[from..from + 4] == new[to..to + 4];
        if index == held {
            assert!(is_moved, "state {index}");
        } else if index == STEPS {
            assert!(!is_moved, "the last states go on with the whole picture");
        }
    }
}

/// Cancels after some steps.
struct Impatient(CancellationToken, Mutex<usize>);

impl Observer for Impatient {
    fn step(&self, _step: &StepReport) {
        let mut steps = self.1.lock().unwrap();
        *steps += 1;
        if *steps == 2 {
            self.0.cancel();
        }
    }
}

#[test]
fn a_cancelled_edit_ends() {
    let painted = Painted::by("gligen");
    for operation in every_operation() {
        let impatient = Impatient(CancellationToken::default(), Mutex::default());
        let run = Run::new(&impatient, &impatient.0);
        let result = painted.edited(&change(operation), &GATED, &run);
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert!(*impatient.1.lock().unwrap() <= 3);
    }
}

#[test]
fn pictures_that_do_not_belong_to_their_states_are_refused() {
    let (painted, run) = (Painted::by("sd"), Run::silent());
    let refused = |source: EditSource| match edit(&source, &change(remove()), &PIPELINE, &run) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was edited"),
    };
    let small = Sampling { width: 64, height: 64, ..painted.sampling.clone() };
    assert!(refused(EditSource { sampling: &small, ..painted.source() }).contains("states of the picture"));
    let fewer = Sampling { num_inference_steps: STEPS - 1, ..painted.sampling.clone() };
    assert!(refused(EditSource { sampling: &fewer, ..painted.source() }).contains("calls"));
    let open = Sampling { scheduler: None, ..painted.sampling.clone() };
    assert!(refused(EditSource { sampling: &open, ..painted.source() }).contains("scheduler"));
    assert_eq!(run.work().total(), 0);
}

#[test]
fn all_of_a_picture_cannot_be_removed() {
    let painted = Painted::by("sd");
    let all = Operation::Remove { phrase: "all".to_owned(), bbox: bbox(0.0, 0.0, 1.0, 1.0) };
    let error = painted.edited(&change((all, layout(&[]))), &PIPELINE, &Run::silent()).unwrap_err();
    assert!(error.to_string().contains("nothing is left") && error.is_bad_input(), "{error}");
}

/// What is told of the steps of changes: losses and latents.
#[derive(Default)]
struct Steps(Mutex<Vec<(Option<f32>, Vec<f32>)>>);

impl Observer for Steps {
    fn step(&self, step: &StepReport) {
        if step.stage.to_string() == "painting the change" {
            let latents = step.latents.flatten_all().unwrap().to_vec1().unwrap();
            self.0.lock().unwrap().push((step.loss, latents));
        }
    }
}

/// Boxes are widened to what was seen of the old object; the layout has the new one's.
#[test]
fn what_is_painted_in_a_wider_box_than_the_layouts_is_guided_too() {
    let painted = Painted::by("sd");
    let wide = bbox(0.0, 0.05, 0.42, 0.5);
    for operation in [
        Operation::Replace { phrase: "a fox".to_owned(), bbox: wide },
        Operation::Recolour { phrase: "a fox".to_owned(), bbox: wide, strength: 1.0 },
    ] {
        let steps = Steps::default();
        let run = Run::new(&steps, &CancellationToken::default());
        let what = format!("{operation:?}");
        painted.edited(&change((operation, replace().1)), &PIPELINE, &run).unwrap();
        assert!(steps.0.lock().unwrap().iter().any(|(loss, _)| loss.is_some()), "{what}: nothing was guided");
    }
}

#[test]
fn what_is_scaled_after_something_is_removed_from_it_has_nothing_of_that() {
    let painted = Painted::by("sd");
    let cup = Operation::Remove { phrase: "a cup".to_owned(), bbox: bbox(0.12, 0.2, 0.29, 0.38) };
    let (scale, layout) = resize();
    let change = Edit::new(vec![cup, scale], layout, Seed(11));
    let with_cup = |colour: [u8; 3]| {
        let size = painted.image.size();
        let mut pixels = painted.image.pixels().to_vec();
        for (pixel, rgb) in pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = (pixel % size.width, pixel / size.width);
            if (20..33).contains(&x) && (30..44).contains(&y) {
                rgb.copy_from_slice(&colour);
            }
        }
        let image = Image::from_pixels(size, pixels).unwrap();
        let source = EditSource { image: &image, ..painted.source() };
        let edited = edit(&source, &change, &PIPELINE, &Run::silent()).unwrap();
        (edited.image, states(&edited.trajectory))
    };
    assert!(with_cup([0, 255, 0]) == with_cup([255, 0, 255]), "the cup is still seen");
}

#[test]
fn an_edits_warnings_are_its_own_whatever_the_run_has_told_before() {
    let (painted, run) = (Painted::by("sd"), Run::silent());
    let edited = |run: &Run| painted.edited(&change(recolour()), &PIPELINE, run).unwrap().warnings;
    run.warn("the picture is large");
    let own = edited(&run);
    assert!(!own.is_empty(), "it does not fit the text encoder");
    assert!(!own.contains(&"the picture is large".to_owned()));
    assert_eq!(edited(&run), own, "told a second time");
    assert_eq!(run.warnings(), [vec!["the picture is large".to_owned()], own].concat());
    assert!(run.work().total() > 0 && !run.timings().is_empty());
}

/// Without a network the latents of two passes differ by what they began with, times one number, unless the scheduler's noise differs.
#[test]
fn rounds_of_an_edit_have_noise_of_their_own_from_the_scheduler() {
    let pipeline = pipeline_with(|unet| Network { unet, is_mute: true });
    let painted = Painted::new("sd", Some(SchedulerKind::EulerAncestral), &pipeline);
    let steps = Steps::default();
    let run = Run::new(&steps, &CancellationToken::default());
    let change = Edit::new(vec![remove().0, remove().0], remove().1, Seed(11));
    let cells = painted.edited(&change, &pipeline, &run).unwrap().mask.cells().clone();
    let latents: Vec<Vec<f32>> = steps.0.into_inner().unwrap().into_iter().map(|(_, latents)| latents).collect();
    let (first, second) = latents.split_at(latents.len() / 2);
    let difference = |index: usize| -> Vec<f64> {
        let pairs = first[index].chunks_exact(4).zip(second[index].chunks_exact(4)).zip(cells.cells());
        let inside = pairs.filter(|(_, inside)| **inside).flat_map(|((one, other), _)| one.iter().zip(other));
        inside.map(|(one, other)| f64::from(one - other)).collect()
    };
    let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
    let (begin, end) = (difference(0), difference(first.len() - 1));
    let cosine = dot(&begin, &end) / (dot(&begin, &begin) * dot(&end, &end)).sqrt();
    assert!(cosine.abs() < 0.9, "{cosine}");
}

/// A network that knows of no eraser.
#[derive(Debug)]
struct Network {
    unet: UNet2DConditionModel,
    /// Whether it predicts zeros.
    is_mute: bool,
}

impl Denoiser for Network {
    fn latent_channels(&self) -> usize {
        Denoiser::latent_channels(&self.unet)
    }

    fn native_hw(&self) -> Option<(usize, usize)> {
        Denoiser::native_hw(&self.unet)
    }

    fn text_width(&self) -> usize {
        self.unet.text_width()
    }

    fn attention_layers(&self, latents: Grid) -> Vec<AttentionLayer> {
        self.unet.attention_layers(latents)
    }

    fn guidance_keys(&self) -> Vec<AttnKey> {
        self.unet.guidance_keys()
    }

    fn object_mask_key(&self) -> AttnKey {
        self.unet.object_mask_key()
    }

    fn forward(&self, request: &DenoiserRequest) -> sinopia_models::Result<DenoiserReply> {
        assert!(request.eraser.is_none(), "it was told that this cannot be");
        let reply = self.unet.forward(request)?;
        let muted = reply.prediction.as_ref().filter(|_| self.is_mute).map(Tensor::zeros_like).transpose()?;
        Ok(DenoiserReply { prediction: muted.or(reply.prediction), ..reply })
    }

    fn input_gradient(&self, request: &DenoiserRequest, loss: &mut MapLoss) -> sinopia_models::Result<Option<Tensor>> {
        self.unet.input_gradient(request, loss)
    }

    fn forward_cost(&self, shape: &CallShape) -> sinopia_models::Result<NetworkCost> {
        self.unet.forward_cost(shape)
    }

    fn backward_cost(&self, shape: &CallShape) -> sinopia_models::Result<NetworkCost> {
        self.unet.backward_cost(shape)
    }
}

fn pipeline_with(network: impl FnOnce(UNet2DConditionModel) -> Network) -> Pipeline {
    let checkpoint = checkpoint("small");
    let Checkpoint { text_encoder, unet, vae, .. } = &checkpoint;
    Pipeline::new(PipelineParts {
        tokenizer: checkpoint.tokenizer.clone(),
        text_encoder: ClipTextModel::load(&text_encoder.config, &text_encoder.weights).unwrap(),
        denoiser: Arc::new(network(UNet2DConditionModel::load(&unet.config, &unet.weights).unwrap())),
        vae: AutoencoderKl::load(&vae.config, &vae.weights).unwrap(),
        scheduler_config: checkpoint.scheduler.clone(),
        device: unet.weights.device().clone(),
    })
    .unwrap()
}

#[test]
fn networks_that_cannot_erase_repaint_from_the_background() {
    let pipeline = pipeline_with(|unet| Network { unet, is_mute: false });
    let painted = Painted::new("sd", None, &pipeline);
    let after = painted.edited(&change(remove()), &pipeline, &Run::silent()).unwrap();
    assert_kept(&painted, &after, "without an eraser");
    let erased = painted.edited(&change(remove()), &PIPELINE, &Run::silent()).unwrap();
    assert_ne!(after.image, erased.image);
}
