//! What is promised of changing a part of a finished picture, over a tiny checkpoint with random weights.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../parity/fixture.rs"]
mod fixture;

use std::sync::{Arc, LazyLock};

use candle_core::Tensor;
use proptest::prelude::*;
use serde_json::Value;
use sinopia_diffusion::conditioning::PromptText;
use sinopia_diffusion::methods::{self, METHODS};
use sinopia_diffusion::noise::{NoiseSource, Seed};
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::{
    ChangeMask, Image, ImageSize, Init, MaskFrame, MaskedPass, PaintRequest, Painting, Pipeline, PixelMask, Run,
    Sampling, Stage, Trajectory, View, paste,
};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};
use sinopia_models::checkpoint::{Checkpoint, Constructor, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| load("small"));
/// With grounding adapters.
static GATED: LazyLock<Pipeline> = LazyLock::new(|| load("gligen"));

fn load(model: &str) -> Pipeline {
    let source = ModelSource::Folder(fixture::model_folder(model));
    Pipeline::load(&Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap()).unwrap()
}

/// A model that the method can paint with.
fn pipeline_of(method: &str) -> &'static Pipeline {
    if matches!(method, "lmd-plus" | "gligen") { &GATED } else { &PIPELINE }
}

const STEPS: usize = 4;

fn request(scheduler: Option<SchedulerKind>) -> PaintRequest {
    let bbox = PixelBox::new(40.0, 150.0, 200.0, 260.0).unwrap();
    let layout = Layout {
        canvas: Canvas::PUBLISHED,
        objects: vec![LayoutObject { phrase: "a blue dog".to_owned(), bbox }],
        background: "a photo of a beach".to_owned(),
        negative: String::new(),
    };
    PaintRequest {
        caption: Some("a blue dog on a beach".to_owned()),
        layout: Some(layout),
        negative: None,
        init: None,
        sampling: Sampling { num_inference_steps: STEPS, scheduler, ..Sampling::new(Seed(3), 64, 64) },
    }
}

fn paint(method: &str, run: &Run, scheduler: Option<SchedulerKind>) -> Painting {
    let built = methods::build(method, Value::Null).unwrap();
    built.generate(&request(scheduler), pipeline_of(method), run).unwrap()
}

fn values(state: &Tensor) -> Vec<f32> {
    state.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn every_method_hands_over_all_states_of_its_picture_and_paints_the_same() {
    for info in METHODS {
        let plain = paint(info.name, &Run::silent(), None);
        assert!(plain.trajectory.is_none(), "{}: states were kept for nobody", info.name);
        let run = Run::silent().keeping_trajectory();
        let kept = paint(info.name, &run, None);
        assert_eq!(kept.image, plain.image, "{}", info.name);
        let trajectory = kept.trajectory.unwrap();
        let pipeline = pipeline_of(info.name);
        assert_eq!(trajectory.size(), pipeline.latent_size(&kept.sampling).unwrap(), "{}", info.name);
        let constructor = methods::build(info.name, Value::Null).unwrap().constructor();
        let noise = NoiseSource::new(Seed(0));
        let sampler = pipeline.sampler_as(constructor, &kept.sampling, noise, &run).unwrap();
        assert_eq!(trajectory.num_calls(), sampler.num_calls(), "{}", info.name);
        let decoded = Image::from_tensor(&pipeline.vae().decode(trajectory.last()).unwrap()).unwrap();
        assert_eq!(decoded, [kept.image], "{}: the last state is not the picture's", info.name);
        let distinct = trajectory.states().windows(2).filter(|pair| values(&pair[0]) != values(&pair[1])).count();
        assert_eq!(distinct, trajectory.num_calls(), "{}: a state was kept twice", info.name);
        assert!(run.take_trajectory().unwrap().is_none(), "{}: states are left over", info.name);
    }
}

/// Denoises a part of a picture anew, and pastes it.
fn change(painting: &Painting, mask: &ChangeMask, strength: f64, constructor: Constructor) -> (Trajectory, Image) {
    let run = Run::silent();
    let source = painting.trajectory.as_ref().unwrap();
    let pipeline = if constructor == Constructor::Gligen { &*GATED } else { &*PIPELINE };
    let prompt = [PromptText::new("a red cat")];
    let text = pipeline.encode_pairs(&prompt, "rain", &painting.sampling, &run).unwrap().swap_remove(0);
    let first = pipeline.first_call(constructor, &painting.sampling, strength).unwrap();
    let sampler = pipeline.sampler_as(constructor, &painting.sampling, NoiseSource::new(Seed(8)), &run).unwrap();
    let noise = NoiseSource::new(Seed(7)).draw(source.size(), pipeline.device()).unwrap();
    let inside = sampler.noise_level(first).noised(source.last(), &noise).unwrap();
    let pass = MaskedPass {
        pipeline,
        sampling: &painting.sampling,
        constructor,
        views: vec![View::whole(source.size().grid(), &text)],
        source,
        cells: mask.cells(),
        first,
        inside,
        noise: NoiseSource::new(Seed(9)),
        frozen: None,
        removal: None,
        stage: Stage::Picture,
    };
    let changed = pass.run(&run).unwrap();
    let decoded = Image::from_tensor(&pipeline.vae().decode(changed.last()).unwrap()).unwrap().swap_remove(0);
    (changed, paste(&painting.image, &decoded, mask).unwrap().image)
}

fn mask_frame(painting: &Painting) -> MaskFrame {
    let latent = painting.trajectory.as_ref().unwrap().size().grid();
    MaskFrame { latent, size: painting.image.size(), dilate_cells: 0, feather_pixels: 4 }
}

static PAINTED: LazyLock<Vec<Painting>> = LazyLock::new(|| {
    let kept = || Run::silent().keeping_trajectory();
    SchedulerKind::ALL.into_iter().map(|kind| paint("sd", &kept(), Some(kind))).collect()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Pixels outside the region and states outside the cells are what they were, to the bit, whatever the mask and the scheduler.
    #[test]
    fn what_is_outside_stays_to_the_bit(
        cells in prop::collection::vec(prop::bool::weighted(0.3), 64), painted in 0usize..5, strength in 0.3f64..=1.0,
    ) {
        let painting = &PAINTED[painted];
        let frame = mask_frame(painting);
        let cells = sinopia_layout::GridMask::from_cells(frame.latent, cells).unwrap();
        let mask = ChangeMask::of_cells(&cells, &frame).unwrap();
        let (changed, image) = change(painting, &mask, strength, Constructor::StableDiffusion);
        for (new, old) in changed.states().iter().zip(painting.trajectory.as_ref().unwrap().states()) {
            let (new, old) = (values(new), values(old));
            for (cell, (new, old)) in new.chunks(4).zip(old.chunks(4)).enumerate() {
                prop_assert!(cells.cells()[cell] || new == old, "cell {cell}");
            }
        }
        for ((new, old), alpha) in image.pixels().chunks(3).zip(painting.image.pixels().chunks(3)).zip(mask.alpha()) {
            prop_assert!(*alpha > 0 || new == old);
        }
        if mask.region_is_empty() {
            prop_assert_eq!(&image, &painting.image);
        }
    }
}

#[test]
fn the_same_change_gives_the_same_bytes_on_any_number_of_threads() {
    for (method, constructor) in [("sd", Constructor::StableDiffusion), ("gligen", Constructor::Gligen)] {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let painting = paint(method, &Run::silent().keeping_trajectory(), Some(SchedulerKind::EulerAncestral));
                let boxes = [sinopia_layout::BBox::new(0.2, 0.3, 0.6, 0.9).unwrap()];
                let mask = ChangeMask::of_boxes(&boxes, &mask_frame(&painting)).unwrap();
                let (changed, image) = change(&painting, &mask, 0.8, constructor);
                (changed.states().iter().map(values).collect::<Vec<_>>(), image, painting.image)
            })
        };
        let (alone, many) = (on(1), on(8));
        assert_eq!(alone, many, "{method}");
        assert_ne!(alone.1, alone.2, "{method}: nothing was changed");
    }
}

/// A picture and what of it changes: a soft-edged square.
fn init(strength: f64) -> Init {
    let size = ImageSize { width: 64, height: 64 };
    let ramp = |at: usize| (at / 3 % 64 * 2 + at / 192 + 40 * (at % 3)) as u8;
    let image = Image::from_pixels(size, (0..3 * 64 * 64).map(ramp).collect()).unwrap();
    let level = |at: usize| match (at / 64, at % 64) {
        (20..40, 20..40) => 255,
        (18..42, 18..42) => 100,
        _ => 0,
    };
    let mask = PixelMask::new(size, (0..64 * 64).map(level).collect()).unwrap();
    Init { image: Arc::new(image), strength, mask: Some(Arc::new(mask)) }
}

fn paint_from(method: &str, init: Init, run: &Run) -> sinopia_diffusion::Result<Painting> {
    let request = PaintRequest { init: Some(init), ..request(None) };
    methods::build(method, Value::Null).unwrap().generate(&request, pipeline_of(method), run)
}

#[test]
fn every_method_that_denoises_one_picture_goes_on_from_another() {
    let init = init(0.5);
    for info in METHODS {
        let run = Run::silent().keeping_trajectory();
        let painted = paint_from(info.name, init.clone(), &run);
        if !info.takes_init {
            let message = painted.unwrap_err().to_string();
            assert!(message.contains(info.name) && message.contains("--method sd"), "{message}");
            continue;
        }
        let painting = painted.unwrap();
        let (old, mask) = (init.image.pixels(), init.mask.as_ref().unwrap().levels());
        let pixels = || painting.image.pixels().chunks(3).zip(old.chunks(3)).zip(mask);
        assert!(pixels().all(|((new, old), level)| *level > 0 || new == old), "{}", info.name);
        assert!(pixels().any(|((new, old), level)| *level == 255 && new != old), "{}: nothing is new", info.name);
        let trajectory = painting.trajectory.unwrap();
        let plain = paint(info.name, &Run::silent().keeping_trajectory(), None).trajectory.unwrap();
        assert_eq!(trajectory.num_calls(), plain.num_calls(), "{}: as long as any other", info.name);

        // Without a mask all of it changes.
        let whole = Init { mask: None, ..init.clone() };
        let all = paint_from(info.name, whole.clone(), &Run::silent()).unwrap().image;
        assert!(all.pixels()[..192] != old[..192], "{}: the first row is old", info.name);
        assert_eq!(paint_from(info.name, whole, &Run::silent()).unwrap().image, all, "{}: twice", info.name);
    }
}

#[test]
fn half_the_strength_is_half_the_calls() {
    for (strength, calls) in [(1.0, 4), (0.5, 2), (0.25, 1)] {
        let request = PaintRequest { init: Some(init(strength)), ..request(Some(SchedulerKind::Ddim)) };
        let run = Run::silent();
        methods::build("sd", Value::Null).unwrap().generate(&request, &PIPELINE, &run).unwrap();
        assert_eq!(run.work().sampling.calls, calls, "{strength}");
    }
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let good = init(0.5);
    let refused = |init: Init| match paint_from("sd", init, &Run::silent()) {
        Err(error) if error.is_bad_input() => error.to_string(),
        other => panic!("{other:?}"),
    };
    for strength in [0.0, -0.1, 1.1, f64::NAN] {
        assert!(refused(Init { strength, ..good.clone() }).contains("`strength`"));
    }
    // Five calls of PNDM, of which none is left.
    assert!(refused(Init { strength: 0.1, ..good.clone() }).contains("less than one"));
    let other = ImageSize { width: 32, height: 64 };
    let small = Arc::new(Image::from_pixels(other, vec![0; 3 * 32 * 64]).unwrap());
    assert!(refused(Init { image: small, ..good.clone() }).contains("the picture to begin with: 32 × 64"));
    let narrow = Some(Arc::new(PixelMask::new(other, vec![9; 32 * 64]).unwrap()));
    assert!(refused(Init { mask: narrow, ..good }).contains("the mask: 32 × 64 pixels, expected 64 × 64"));
    let black = PixelMask::new(other, vec![0; 32 * 64]).unwrap_err().to_string();
    assert!(black.contains("black everywhere") && black.contains("white"), "{black}");
    assert!(PixelMask::new(other, vec![1; 5]).unwrap_err().to_string().contains("5 pixels"));
}
