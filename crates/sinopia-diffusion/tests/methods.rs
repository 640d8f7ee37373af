//! The methods over a tiny checkpoint with random weights: what they promise whatever the model paints.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../parity/fixture.rs"]
mod fixture;

use std::sync::{Arc, LazyLock, Mutex};

use candle_core::Tensor;
use serde_json::{Value, json};
use sinopia_diffusion::collage::Shift;
use sinopia_diffusion::conditioning::PromptText;
use sinopia_diffusion::masks::{MaskRequest, MaskSource};
use sinopia_diffusion::methods::{self, Lmd, LmdOptions, METHODS, Method};
use sinopia_diffusion::noise::{NoiseSource, Seed};
use sinopia_diffusion::pipeline::GuidedText;
use sinopia_diffusion::schedulers::SchedulerKind;
use sinopia_diffusion::work::WorkCount;
use sinopia_diffusion::{
    AttentionReport, CancellationToken, Error, ModelId, Observer, PaintRequest, Painting, Pipeline, Recipe, Result,
    Run, Sampling, Shortcuts, Silent, Stage, StepReport,
};
use sinopia_layout::{Canvas, GridMask, GridRounding, Layout, LayoutObject, PixelBox, Scene};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::NetworkPart;
use sinopia_models::weights::Precision;
use sinopia_nn::threads;

static PIPELINE: LazyLock<Pipeline> = LazyLock::new(|| load("small"));
/// With grounding adapters.
static GATED: LazyLock<Pipeline> = LazyLock::new(|| load("gligen"));

fn load(model: &str) -> Pipeline {
    load_with(model, &OpenOptions::default())
}

fn load_with(model: &str, options: &OpenOptions) -> Pipeline {
    let source = ModelSource::parse(fixture::model_folder(model).to_str().unwrap()).unwrap();
    Pipeline::load(&Checkpoint::open(&source, options, &NoProgress).unwrap()).unwrap()
}

/// A model that the method can paint with.
fn pipeline_of(method: &str) -> &'static Pipeline {
    if matches!(method, "lmd-plus" | "gligen") { &GATED } else { &PIPELINE }
}

/// Boxes `[x, y, width, height]` on a canvas of 512 × 512.
fn layout(objects: &[(&str, [f64; 4])]) -> Layout {
    let object = |(phrase, [x, y, width, height]): &(&str, [f64; 4])| LayoutObject {
        phrase: (*phrase).to_owned(),
        bbox: PixelBox::new(*x, *y, *width, *height).unwrap(),
    };
    Layout {
        canvas: Canvas::PUBLISHED,
        objects: objects.iter().map(object).collect(),
        background: "a photo of a beach".to_owned(),
        negative: "rain".to_owned(),
    }
}

fn dog_and_bowls() -> Layout {
    layout(&[
        ("a white bowl", [300.0, 300.0, 150.0, 120.0]),
        ("a blue dog", [40.0, 150.0, 200.0, 260.0]),
        ("a white bowl", [320.0, 40.0, 120.0, 120.0]),
    ])
}

fn request(layout: Option<Layout>, steps: usize) -> PaintRequest {
    PaintRequest {
        caption: Some("a blue dog and two white bowls on a beach".to_owned()),
        layout,
        negative: None,
        init: None,
        sampling: Sampling { num_inference_steps: steps, ..Sampling::new(Seed(3), 64, 64) },
    }
}

fn paint(method: &str, options: Value, request: &PaintRequest) -> Result<Painting> {
    methods::build(method, options)?.generate(request, pipeline_of(method), &Run::silent())
}

#[track_caller]
fn refused(method: &str, options: Value, request: &PaintRequest) -> String {
    paint(method, options, request).unwrap_err().to_string()
}

/// Notes stages, steps and warnings; cancels at a given number of steps.
#[derive(Default)]
struct Diary {
    entries: Mutex<Vec<String>>,
    cancellation: CancellationToken,
    cancel_at: Option<usize>,
}

impl Diary {
    fn note(&self, entry: String) {
        let mut entries = self.entries.lock().unwrap();
        entries.push(entry);
        if self.cancel_at == Some(entries.iter().filter(|entry| entry.starts_with("step")).count()) {
            self.cancellation.cancel();
        }
    }
}

impl Observer for Diary {
    fn stage(&self, stage: &Stage) {
        self.note(stage.to_string());
    }

    fn step(&self, step: &StepReport) {
        assert_eq!(step.latents.dims(), [1, 8, 8, 4]);
        self.note(format!("step {} of {}, {}", step.index + 1, step.count, step.stage));
    }

    fn warning(&self, warning: &str) {
        self.note(format!("warning: {warning}"));
    }
}

#[test]
fn the_same_request_gives_the_same_bytes_on_any_number_of_threads() {
    let request = request(Some(dog_and_bowls()), 4);
    for info in METHODS {
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| paint(info.name, Value::Null, &request).unwrap())
        };
        let (first, again, alone) = (on(3), on(3), on(1));
        assert_eq!(first.image.pixels(), again.image.pixels(), "{}: twice", info.name);
        assert_eq!(first.image.pixels(), alone.image.pixels(), "{}: one thread", info.name);
        let mut other = request.clone();
        other.sampling.seed = Seed(4);
        assert_ne!(first.image, paint(info.name, Value::Null, &other).unwrap().image, "{}: another seed", info.name);
    }
}

#[test]
fn in_bf16_too_the_number_of_threads_changes_no_byte() {
    let bf16 = OpenOptions { precision: Precision::Bf16, ..OpenOptions::default() };
    let pipeline = load_with("gligen", &bf16);
    let request = request(Some(dog_and_bowls()), 3);
    for info in METHODS {
        let method = methods::build(info.name, Value::Null).unwrap();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| method.generate(&request, &pipeline, &Run::silent()).unwrap().image)
        };
        let image = on(3);
        assert_eq!(image.pixels(), on(1).pixels(), "{}", info.name);
        let of_f32 = method.generate(&request, &GATED, &Run::silent()).unwrap().image;
        assert_ne!(image.pixels(), of_f32.pixels(), "{}: these are f32's bytes", info.name);
    }
}

#[test]
fn a_recipe_paints_the_same_picture() {
    let request = request(Some(dog_and_bowls()), 3);
    let model = ModelId { id: "small".to_owned(), hash: "0".to_owned() };
    let options = |name: &str| match name {
        "sd" => json!({"ignore_negative_prompt": true}),
        "multidiffusion" => json!({"bootstrapping": 30, "guidance_scale": 3.3}),
        "backward-guidance" => json!({"loss_scale": 3.7, "max_iter": [2, 1]}),
        "boxdiff" => json!({"refine": true, "controlled_tokens": "word"}),
        "lmd" => json!({"frozen_step_ratio": 0.7, "fg_seed_start": 7}),
        "lmd-plus" => json!({"reground": true, "frozen_step_ratio": 0.7, "slot_phrase": "overall_phrase"}),
        "gligen" => json!({"gligen_scheduled_sampling_beta": 0.7, "reground": true}),
        _ => Value::Null,
    };
    for info in METHODS {
        let (options, pipeline) = (options(info.name), pipeline_of(info.name));
        let method = methods::build(info.name, options).unwrap();
        let painting = method.generate(&request, pipeline, &Run::silent()).unwrap();
        let recipe = Recipe::new(&request, method.as_ref(), &painting, model.clone(), "auto");
        let recipe = Recipe::from_json(&recipe.to_json()).unwrap();
        assert!(recipe.sampling.scheduler.is_some());
        let again = recipe.build_method().unwrap().generate(&recipe.request(), pipeline, &Run::silent()).unwrap();
        assert_eq!(again.image, painting.image, "{}", info.name);
    }
}

#[test]
fn lmd_tells_how_it_goes() {
    let diary = Diary::default();
    let lmd = methods::build("lmd", Value::Null).unwrap();
    let run = Run::new(&diary, &diary.cancellation);
    let painting = lmd.generate(&request(Some(dog_and_bowls()), 2), &PIPELINE, &run).unwrap();
    let entries = diary.entries.lock().unwrap();
    let entries: Vec<&str> = entries.iter().map(String::as_str).filter(|entry| !entry.starts_with("warning")).collect();
    let stages = [
        "reading the prompts",
        "painting a blue dog (1 of 3)",
        "painting a white bowl (2 of 3)",
        "painting a white bowl (3 of 3)",
        "painting the picture",
        "decoding",
    ];
    // Objects may be painted side by side, so their entries may be mixed; each object's own are in order, and all come before the picture's.
    let of_stage = |stage: &str| entries.iter().copied().filter(|entry| entry.ends_with(stage)).collect::<Vec<_>>();
    for stage in &stages[1..5] {
        assert_eq!(of_stage(stage), [*stage, &format!("step 1 of 2, {stage}"), &format!("step 2 of 2, {stage}")]);
    }
    assert_eq!((entries.len(), entries[0], entries[10]), (14, stages[0], stages[4]));
    assert_eq!(entries[13], stages[5]);
    assert_eq!(painting.timings.iter().map(|timing| timing.stage.as_str()).collect::<Vec<_>>(), stages);
    assert_eq!(painting.guidance.len(), 4);
    assert!(painting.guidance.iter().all(|report| report.first_loss.is_some()), "{:?}", painting.guidance);
    assert_eq!(painting.prompts.overall, "a photo of a beach with a blue dog, two white bowls");
    assert_eq!(painting.prompts.objects[1], "a photo of a beach with a white bowl");
    assert!(painting.prompts.overall_negative.starts_with("rain, artifacts"));
    assert!(painting.prompts.object_negative.ends_with("border, collate"));
    assert_eq!(painting.objects.len(), 3);
    for object in &painting.objects {
        assert_eq!(object.image.as_ref().map(|image| (image.width(), image.height())), Some((64, 64)));
        assert!(!object.mask.is_empty());
    }
}

#[test]
fn a_cancelled_run_ends_between_steps() {
    for info in METHODS {
        let diary = Diary { cancel_at: Some(2), ..Diary::default() };
        let run = Run::new(&diary, &diary.cancellation);
        let method = methods::build(info.name, Value::Null).unwrap();
        let result = method.generate(&request(Some(dog_and_bowls()), 20), pipeline_of(info.name), &run);
        assert!(matches!(result, Err(Error::Cancelled)), "{}: {result:?}", info.name);
        let entries = diary.entries.lock().unwrap();
        // Of three objects side by side each may have had a step under way.
        let num_steps = entries.iter().filter(|entry| entry.starts_with("step")).count();
        assert!((2..=4).contains(&num_steps), "{}: {num_steps} steps", info.name);
    }
}

#[test]
fn pictures_painted_beside_others_are_those_painted_alone() {
    for info in METHODS {
        let painted = |seed: u64| {
            let plain = request(Some(dog_and_bowls()), 3);
            let sampling = Sampling { seed: Seed(seed), ..plain.sampling.clone() };
            paint(info.name, Value::Null, &PaintRequest { sampling, ..plain })
        };
        let alone: Vec<Painting> =
            [3, 4, 5].map(|seed| threads::with_own_threads(1, || painted(seed)).unwrap().unwrap()).into();
        // An own thread for each and a spare one; fewer threads than pictures; as many as pictures, objects still side by side.
        for num_threads in [4, 2, 6] {
            let all = || threads::taking_turns(alone.len(), |index, _| painted(3 + index as u64));
            let beside = threads::with_own_threads(num_threads, all).unwrap().unwrap().unwrap();
            for (alone, beside) in alone.iter().zip(&beside) {
                let seed = alone.sampling.seed;
                assert!(alone.image == beside.image, "{}, {seed:?}, {num_threads} threads", info.name);
                assert_eq!(alone.guidance, beside.guidance, "{}, {seed:?}, {num_threads} threads", info.name);
            }
        }
        assert!(alone[0].image != alone[1].image, "{}: seeds make no difference", info.name);
    }
}

#[test]
fn plain_stable_diffusion_paints_a_layout_without_caption_in_words() {
    let layout = dog_and_bowls();
    let words = Scene::compose(&layout).unwrap().overall().text.clone();
    let mut spoken = request(Some(layout), 2);
    spoken.caption = Some(words.clone());
    let silent = PaintRequest { caption: None, ..spoken.clone() };
    let painting = paint("sd", Value::Null, &silent).unwrap();
    assert_eq!(painting.prompts.overall, words);
    assert!(words.contains("a blue dog"), "{words}");
    assert_eq!(painting.image, paint("sd", Value::Null, &spoken).unwrap().image);
}

/// Cancels in the middle of the first guided step, when attention is shown, and counts steps that end afterwards.
#[derive(Default)]
struct Impatient(CancellationToken, Mutex<usize>);

impl Observer for Impatient {
    fn wants_attention(&self) -> bool {
        true
    }

    fn attention(&self, _: &AttentionReport) {
        self.0.cancel();
    }

    fn step(&self, step: &StepReport) {
        *self.1.lock().unwrap() += usize::from(*step.stage == Stage::Picture);
    }
}

#[test]
fn a_cancelled_run_ends_within_a_step() {
    for method in ["backward-guidance", "boxdiff", "lmd-plus"] {
        let impatient = Impatient::default();
        let run = Run::new(&impatient, &impatient.0);
        let built = methods::build(method, Value::Null).unwrap();
        let result = built.generate(&request(Some(dog_and_bowls()), 4), pipeline_of(method), &run);
        assert!(matches!(result, Err(Error::Cancelled)), "{method}: {result:?}");
        assert_eq!(*impatient.1.lock().unwrap(), 0, "{method}: the step was finished first");
    }
}

/// Small models run the halves of guidance side by side; several pictures, and all of a large model's, are a batch.
#[test]
fn every_way_of_predicting_sees_the_cancellation() {
    let cancellation = CancellationToken::default();
    let run = Run::new(&Silent, &cancellation);
    let sampling = request(None, 4).sampling;
    let mut noise = NoiseSource::new(sampling.seed);
    let one = noise.draw(PIPELINE.latent_size(&sampling).unwrap(), PIPELINE.device()).unwrap(); // (1, H, W, C)
    let texts = PIPELINE.encode_pairs(&["a dog", "a bowl"].map(PromptText::new), "", &sampling, &run).unwrap();
    let both = GuidedText::batch(&[&texts[0], &texts[1]]).unwrap();
    let two = Tensor::cat(&[&one, &one], 0).unwrap();
    let mut sampler = PIPELINE.sampler(SchedulerKind::Ddim, &sampling, noise, &run).unwrap();
    for is_cancelled in [false, true] {
        for (latents, text) in [(&one, &texts[0]), (&two, &both)] {
            let result = sampler.predict(latents, 0, text, None);
            match is_cancelled {
                true => assert!(matches!(result, Err(Error::Cancelled)), "{:?}: {result:?}", latents.dims()),
                false => assert_eq!(result.unwrap().prediction.dims(), latents.dims()),
            }
        }
        let preview = PIPELINE.preview(&one, &cancellation);
        match is_cancelled {
            true => assert!(matches!(preview, Err(Error::Cancelled)), "{preview:?}"),
            false => assert_eq!((preview.as_ref().unwrap().width(), preview.unwrap().height()), (64, 64)),
        }
        cancellation.cancel();
    }
}

#[test]
fn without_boxes_guidance_is_stable_diffusion_with_the_background() {
    let mut background = request(Some(layout(&[])), 3);
    background.sampling.scheduler = Some(SchedulerKind::Ddim);
    let mut caption = background.clone();
    caption.caption = Some("a photo of a beach".to_owned());
    let sd = paint("sd", Value::Null, &caption).unwrap();
    for method in ["lmd", "backward-guidance", "boxdiff"] {
        let painting = paint(method, Value::Null, &background).unwrap();
        assert_eq!(painting.image, sd.image, "{method}");
        assert!(painting.objects.is_empty());
    }
    // MultiDiffusion has keywords of its own for what a background should not be.
    let painting = paint("multidiffusion", Value::Null, &background).unwrap();
    caption.negative = Some(painting.prompts.overall_negative["rain, ".len()..].to_owned());
    assert_eq!(painting.image, paint("sd", Value::Null, &caption).unwrap().image);
}

#[test]
fn one_box_and_thirty_any_size_and_any_number_of_steps() {
    let names: Vec<String> = (0..30).map(|i| format!("a thing {i}")).collect();
    let many: Vec<(&str, [f64; 4])> = names
        .iter()
        .enumerate()
        .map(|(i, name)| (name.as_str(), [15.0 * i as f64, 13.0 * i as f64, 9.0 + i as f64, 4.0]))
        .collect();
    let mut run = request(Some(layout(&many)), 1);
    (run.sampling.width, run.sampling.height) = (96, 40);
    for info in METHODS.iter().filter(|info| info.needs_layout) {
        let painting = paint(info.name, Value::Null, &run).unwrap();
        assert_eq!((painting.image.width(), painting.image.height()), (96, 40), "{}", info.name);
        let warns = |words: &str| painting.warnings.iter().any(|warning| warning.contains(words));
        assert!(warns("stretched"), "{}: {:?}", info.name, painting.warnings);
        // One prompt with thirty phrases is longer than the text encoder's window; a prompt a region is not, and slots are phrases alone.
        let guides_one_prompt = !["multidiffusion", "gligen"].contains(&info.name);
        assert_eq!(warns("is not guided"), guides_one_prompt, "{}: {:?}", info.name, painting.warnings);
        if info.name == "lmd" {
            assert_eq!(painting.objects.len(), 30);
        }
    }
}

#[test]
fn overlapping_and_full_canvas_boxes_are_painted() {
    let whole = layout(&[("a dog", [0.0, 0.0, 512.0, 512.0])]);
    let heap = layout(&[
        ("a cat", [100.0, 100.0, 300.0, 300.0]),
        ("a dog", [100.0, 100.0, 300.0, 300.0]),
        ("a cat", [0.0, 0.0, 512.0, 512.0]),
    ]);
    for info in METHODS.iter().filter(|info| info.needs_layout) {
        for boxes in [&whole, &heap] {
            for options in [Value::Null, methods::reference_options(info.name).unwrap()] {
                let painting = paint(info.name, options, &request(Some(boxes.clone()), 2)).unwrap();
                assert_eq!(painting.image.width(), 64, "{}", info.name);
            }
        }
    }
    let hidden = paint("multidiffusion", Value::Null, &request(Some(heap), 2)).unwrap();
    assert!(hidden.warnings.iter().any(|warning| warning.contains("`a dog` has no cell")), "{:?}", hidden.warnings);
}

#[test]
fn any_script_is_painted_and_a_phrase_beyond_the_window_is_told() {
    let names = layout(&[("синяя собака", [40.0, 150.0, 200.0, 260.0]), ("犬", [300.0, 300.0, 150.0, 120.0])]);
    let long = format!("a {} dog", "very ".repeat(90));
    let long = layout(&[(long.trim(), [40.0, 150.0, 200.0, 260.0])]);
    for info in METHODS.iter().filter(|info| info.needs_layout) {
        let painting = paint(info.name, Value::Null, &request(Some(names.clone()), 2)).unwrap();
        assert!(painting.prompts.overall.contains("犬") || painting.prompts.objects.contains(&"犬".to_owned()));
        let painting = paint(info.name, Value::Null, &request(Some(long.clone()), 2)).unwrap();
        assert!(
            painting.warnings.iter().any(|warning| warning.contains("77 tokens")),
            "{}: {:?}",
            info.name,
            painting.warnings
        );
    }
}

#[test]
fn every_scheduler_paints() {
    let mut pictures = Vec::new();
    for kind in SchedulerKind::ALL {
        for info in METHODS {
            let mut request = request(Some(layout(&[("a dog", [100.0, 100.0, 200.0, 300.0])])), 5);
            request.sampling.scheduler = Some(kind);
            let painting = paint(info.name, Value::Null, &request).unwrap();
            assert_eq!(painting.sampling.scheduler, Some(kind));
            pictures.push(painting.image);
        }
    }
    for (i, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..i].contains(picture), "picture {i} is painted twice");
    }
}

/// Paints with one option changed at a time.
#[track_caller]
fn check_options_change_the_picture(method: &str, base: Value, options: Value, request: &PaintRequest) {
    let plain = paint(method, base.clone(), request).unwrap().image;
    let mut without_effect = Vec::new();
    for (option, value) in options.as_object().unwrap() {
        let mut changed = base.clone();
        changed[option] = value.clone();
        let changed = paint(method, changed, request).unwrap();
        assert_eq!(changed.options[option], *value);
        if changed.image == plain {
            without_effect.push(option);
        }
    }
    assert!(without_effect.is_empty(), "{without_effect:?}");
}

#[test]
fn every_option_of_backward_guidance_changes_the_picture() {
    let small = layout(&[("a panda bear", [20.0, 150.0, 20.0, 20.0]), ("a panda bear", [280.0, 60.0, 150.0, 350.0])]);
    let options = json!({
        "loss_scale": 9.0, "loss_threshold": 1.0, "max_iter": [1], "max_index_step": 30, "overall_prompt": "a panda bear",
        "keep_small_boxes": false, "stretch_schedule": false, "mend_plurals": false,
    });
    let request = request(Some(small), 5);
    check_options_change_the_picture("backward-guidance", json!({}), options, &request);
    // Whether the loss is looked at afresh matters once it was low.
    let first = paint("backward-guidance", json!({}), &request).unwrap().guidance[0].first_loss.unwrap();
    let base = json!({"loss_threshold": f64::from(first) * 0.999, "max_index_step": 50, "loss_scale": 200.0});
    check_options_change_the_picture("backward-guidance", base, json!({"refresh_loss": false}), &request);
}

#[test]
fn every_option_of_boxdiff_changes_the_picture() {
    let small = layout(&[("a panda bear", [20.0, 150.0, 10.0, 10.0]), ("a panda bear", [280.0, 60.0, 150.0, 350.0])]);
    let mut request = request(Some(small), 3);
    (request.sampling.width, request.sampling.height) = (128, 128);
    let options = json!({
        "scale_factor": 9.0, "scale_range_end": 0.0, "max_index_step": 5, "top_p": 0.9, "corner_reach": 3,
        "controlled_tokens": "word", "normalize_eot": true, "refine": true, "overall_prompt": "a panda bear",
        "keep_small_boxes": false, "stretch_schedule": false, "mend_plurals": false,
    });
    check_options_change_the_picture("boxdiff", json!({}), options, &request);
    let refined = json!({"refinement_thresholds": {"0": 0.9, "20": 0.9}, "max_refinement_steps": 2});
    check_options_change_the_picture(
        "boxdiff",
        json!({"refine": true, "refinement_thresholds": {"0": 0.8}}),
        refined,
        &request,
    );
    // A box of one cell chooses none of them in the published form.
    request.layout = Some(layout(&[("a panda bear", [20.0, 150.0, 20.0, 20.0])]));
    check_options_change_the_picture("boxdiff", json!({}), json!({"choose_a_cell": false}), &request);
}

#[test]
fn every_option_of_multidiffusion_changes_the_picture() {
    let small = layout(&[
        ("a cat", [20.0, 150.0, 20.0, 20.0]),
        ("a dog", [150.0, 60.0, 150.0, 350.0]),
        ("a bowl", [200.0, 60.0, 250.0, 150.0]),
    ]);
    let options = json!({
        "bootstrapping": 0, "guidance_scale": 3.0, "first_on_top": true, "keep_boxes": false, "keep_small_boxes": false,
        "stretch_schedule": false,
    });
    let request = request(Some(small), 5);
    check_options_change_the_picture("multidiffusion", json!({}), options, &request);
    // Batches are a matter of memory: but for rounding the picture stays.
    let of_batch =
        |max_batch: usize| paint("multidiffusion", json!({ "max_batch": max_batch }), &request).unwrap().image;
    let (small, large) = (of_batch(1), of_batch(64));
    let differs = small.pixels().iter().zip(large.pixels()).filter(|(a, b)| a.abs_diff(**b) > 2).count();
    assert!(differs * 100 < small.pixels().len(), "{differs} of {} bytes", small.pixels().len());
}

#[test]
fn every_option_of_lmd_changes_the_picture() {
    let small = layout(&[("a panda bear", [20.0, 150.0, 30.0, 30.0]), ("a panda bear", [280.0, 60.0, 150.0, 350.0])]);
    let request = request(Some(small), 5);
    let options = json!({
        "frozen_step_ratio": 0.0, "loss_scale": 9.0, "loss_threshold": 100.0, "max_iter": [1], "max_index_step": 5,
        "fg_top_p": 0.9, "bg_top_p": 0.9, "fg_weight": 3.0, "bg_weight": 0.0,
        "overall_loss_scale": 9.0, "overall_loss_threshold": 100.0, "overall_max_iter": [1], "overall_max_index_step": 5,
        "overall_fg_top_p": 0.9, "overall_bg_top_p": 0.9, "overall_fg_weight": 3.0, "overall_bg_weight": 0.0,
        "use_ref_ca": false, "ref_ca_loss_weight": 9.0, "so_center_box": false, "so_horizontal_center_only": true,
        "so_vertical_placement": "centered", "so_floor_padding": 0.0, "align_with_overall_bboxes": false,
        "horizontal_shift_only": true, "fg_blending_ratio": 0.9, "gaussian_sigma": 0.2, "mask_threshold": 0.9,
        "attention_aggregation_start": 45, "fg_seed_start": 5, "overall_prompt": "a panda bear",
        "over_heads": "sum", "keep_small_boxes": false, "stretch_schedule": false, "alignment_step_cells": 4,
        "mend_plurals": false,
    });
    check_options_change_the_picture("lmd", json!({}), options, &request);
}

#[test]
fn every_option_of_the_adapters_changes_the_picture() {
    let request = request(Some(dog_and_bowls()), 5);
    let of_lmd_plus = json!({
        "so_gligen_scheduled_sampling_beta": 0.0, "overall_gligen_scheduled_sampling_beta": 1.0,
        "guidance_grounding": "none", "slot_phrase": "overall_phrase", "reground": true, "max_index_step": 10,
        "caption_as_prompt": true, "boxes_as_objects": true, "bare_negative": true,
    });
    let of_gligen = json!({
        "gligen_scheduled_sampling_beta": 1.0, "slot_phrase": "object_prompt", "reground": true,
        "overall_prompt": "two white bowls",
    });
    // Guidance as a trained model needs it; a random one is content at once.
    let threshold = |name: &str| if name == "lmd-plus" { json!({"overall_loss_threshold": 0.0}) } else { json!({}) };
    for (method, options) in [("lmd-plus", of_lmd_plus), ("gligen", of_gligen)] {
        let plain = paint(method, threshold(method), &request).unwrap().image;
        for (option, value) in options.as_object().unwrap() {
            let mut changed = threshold(method);
            changed[option] = value.clone();
            if option == "max_index_step" {
                changed["loss_threshold"] = json!(0.0);
            }
            let painting = paint(method, changed, &request).unwrap();
            assert_eq!(painting.options[option], *value);
            assert!(painting.image != plain, "{method}: {option} has no effect");
        }
    }
    let guided = |grounding: &str| {
        let options = json!({"overall_loss_threshold": 0.0, "guidance_grounding": grounding});
        paint("lmd-plus", options, &request).unwrap().image
    };
    assert!(guided("conditional") != guided("unconditional") && guided("unconditional") != guided("none"));
}

#[test]
fn a_model_without_adapters_is_refused_with_the_names_of_those_that_have_them() {
    let request = request(Some(dog_and_bowls()), 2);
    for name in ["lmd-plus", "gligen"] {
        let method = methods::build(name, Value::Null).unwrap();
        let error = method.generate(&request, &PIPELINE, &Run::silent()).unwrap_err();
        assert!(matches!(error, Error::NoAdapters { method } if method == name), "{error}");
        let message = error.to_string();
        assert!(message.contains(name) && message.contains("masterful/gligen-1-4-generation-text-box"), "{message}");
    }
    // The other way round all is well: adapters that nobody uses change nothing.
    assert!(methods::build("lmd", Value::Null).unwrap().generate(&request, &GATED, &Run::silent()).is_ok());
}

#[test]
fn without_boxes_lmd_plus_is_gligen_with_empty_slots() {
    let mut background = request(Some(layout(&[])), 3);
    let lmd_plus = paint("lmd-plus", Value::Null, &background).unwrap();
    assert!(lmd_plus.objects.is_empty());
    assert_eq!(paint("gligen", Value::Null, &background).unwrap().image, lmd_plus.image);
    let off = json!({"overall_gligen_scheduled_sampling_beta": 0.0});
    assert_ne!(paint("lmd-plus", off.clone(), &background).unwrap().image, lmd_plus.image);
    background.caption = Some("a photo of a beach".to_owned());
    background.sampling.scheduler = Some(SchedulerKind::Ddim);
    let sd = methods::build("sd", Value::Null).unwrap().generate(&background, &GATED, &Run::silent()).unwrap();
    assert_eq!(paint("lmd-plus", off, &background).unwrap().image, sd.image, "the adapters are the only difference");
}

#[test]
fn adapters_have_thirty_slots_and_more_boxes_are_told() {
    let names: Vec<String> = (10..41).map(|i| format!("a thing {i}")).collect();
    let boxed = |(i, name): (usize, &'static str)| (name, [16.0 * i as f64, 8.0, 16.0, 300.0]);
    let names: Vec<&'static str> = names.into_iter().map(|name| &*name.leak()).collect();
    let objects: Vec<_> = names.iter().copied().enumerate().map(boxed).collect();
    for method in ["lmd-plus", "gligen"] {
        let painting = paint(method, Value::Null, &request(Some(layout(&objects)), 1)).unwrap();
        let told: Vec<&String> = painting.warnings.iter().filter(|w| w.contains("30 boxes")).collect();
        assert!(told.len() == 1 && told[0].contains("`a thing 40`") && !told[0].contains("39"), "{told:?}");
        let painting = paint(method, Value::Null, &request(Some(layout(&objects[..30])), 1)).unwrap();
        assert!(!painting.warnings.iter().any(|w| w.contains("30 boxes")), "{:?}", painting.warnings);
    }
}

#[test]
fn a_phrase_longer_than_the_text_encoder_reads_is_told() {
    let long: &'static str = "a red dog and ".repeat(30).leak();
    for method in ["lmd-plus", "gligen"] {
        let mut request = request(Some(layout(&[(long, [40.0, 150.0, 200.0, 260.0])])), 2);
        request.negative = Some(String::new()); // the keywords are too long for this model's vocabulary
        let painting = paint(method, Value::Null, &request).unwrap();
        let cut = painting.warnings.iter().filter(|w| w.contains("reads 77 tokens") && w.contains("red dog"));
        // The slot's phrase, and the prompts that hold it.
        assert_eq!(cut.count(), 2, "{method}: {:?}", painting.warnings);
        assert_eq!(painting.objects.len(), usize::from(method == "lmd-plus"));
    }
}

#[test]
fn lmd_plus_paints_objects_in_their_boxes_without_guidance() {
    let painting = paint("lmd-plus", Value::Null, &request(Some(dog_and_bowls()), 2)).unwrap();
    assert_eq!(painting.objects.len(), 3);
    for object in &painting.objects {
        assert_eq!(object.shift, Shift::default());
    }
    assert_eq!(painting.objects[0].bbox.corners(), (40.0 / 512.0, 150.0 / 512.0, 240.0 / 512.0, 410.0 / 512.0));
    let updates: Vec<usize> = painting.guidance.iter().map(|report| report.updates).collect();
    assert_eq!(updates[..3], [0, 0, 0], "objects alone are not guided");
}

#[test]
fn a_caption_as_prompt_must_be_there() {
    let mut request = request(Some(dog_and_bowls()), 2);
    request.caption = None;
    let message = refused(
        "lmd-plus",
        Value::Object(methods::find_preset("diffusers-lmd-plus").unwrap().options(methods::find("lmd-plus").unwrap())),
        &request,
    );
    assert!(message.contains("lmd-plus") && message.contains("caption"), "{message}");
}

#[test]
fn what_nobody_needs_is_not_painted() {
    let request = request(Some(dog_and_bowls()), 2);
    let options = json!({"use_ref_ca": false, "frozen_step_ratio": 0.0});
    let painting = paint("lmd", options, &request).unwrap();
    assert!(painting.objects.is_empty() && painting.prompts.objects.is_empty());
    let painting = paint("lmd", json!({"object_images": false}), &request).unwrap();
    assert!(painting.objects.iter().all(|object| object.image.is_none()));
}

/// Looks at the picture alone.
struct Unconcerned;

impl Observer for Unconcerned {
    fn wants_object_images(&self) -> bool {
        false
    }
}

#[test]
fn objects_own_pictures_are_finished_for_those_who_look() {
    for (method, frozen) in [("lmd", 0.5), ("lmd-plus", 0.5), ("lmd-plus", 0.9)] {
        let request = request(Some(dog_and_bowls()), 10);
        let paint = |observer: &dyn Observer| {
            let run = Run::new(observer, &CancellationToken::default());
            let method = methods::build(method, json!({"frozen_step_ratio": frozen})).unwrap();
            let painting = method.generate(&request, pipeline_of(method.name()), &run).unwrap();
            (painting, run.work().sampling)
        };
        let (looked_at, all) = paint(&Silent);
        let (painting, work) = paint(&Unconcerned);
        assert!(painting.image == looked_at.image, "{method}: what nobody looks at changes nothing");
        assert_eq!(painting.options, looked_at.options);
        for (object, seen) in painting.objects.iter().zip(&looked_at.objects) {
            assert!(object.image.is_none() && seen.image.is_some());
            assert_eq!((&object.mask, object.shift), (&seen.mask, seen.shift));
        }
        // The last call for attention alone ends with it; a last call for a state is whole.
        assert_eq!(work.calls, all.calls);
        assert_eq!(work.multiply_accumulates < all.multiply_accumulates, frozen == 0.5, "{method}, {frozen}");
    }
}

#[test]
fn the_published_behaviour_is_another() {
    let request = request(Some(dog_and_bowls()), 5);
    for info in METHODS {
        let painting = paint(info.name, methods::reference_options(info.name).unwrap(), &request).unwrap();
        let differs = painting.image != paint(info.name, Value::Null, &request).unwrap().image;
        assert_eq!(differs, info.name != "sd", "{}", info.name);
    }
}

#[test]
fn the_foreground_is_that_of_the_objects_own_pictures() {
    // Frozen to the end, the one object that fills the canvas is the picture.
    let options = json!({"frozen_step_ratio": 1.0, "align_with_overall_bboxes": false, "so_center_box": false});
    let lmd = Lmd::new(serde_json::from_value::<LmdOptions>(options).unwrap()).unwrap().with_masks(Arc::new(WholeBox));
    let request = request(Some(layout(&[("a dog", [0.0, 0.0, 512.0, 512.0])])), 3);
    let painting = lmd.generate(&request, &PIPELINE, &Run::silent()).unwrap();
    assert_eq!(painting.objects[0].image.as_ref(), Some(&painting.image));
}

/// Every cell of the box.
#[derive(Debug)]
struct WholeBox;

impl MaskSource for WholeBox {
    fn wants_image(&self) -> bool {
        true
    }

    fn mask(&self, request: &MaskRequest) -> Result<GridMask> {
        assert_eq!(request.phrase, "a dog");
        assert!(request.image.is_some());
        Ok(GridMask::from_bbox(request.bbox, request.latent_grid, GridRounding::AtLeastOneCell))
    }
}

#[test]
fn guidance_lowers_the_loss() {
    let request = request(Some(layout(&[("a dog", [0.0, 0.0, 256.0, 256.0])])), 1);
    let options = |updates: usize| json!({"max_iter": [updates], "loss_threshold": 0.0, "loss_scale": 1.0});
    let reports = paint("lmd", options(8), &request).unwrap().guidance;
    let (first, last) = (reports[0].first_loss.unwrap(), reports[0].last_loss.unwrap());
    assert_eq!(reports[0].updates, 8);
    assert!(last < first, "{first} to {last}");
}

#[test]
fn backward_guidance_and_boxdiff_lower_their_loss() {
    let request = request(Some(layout(&[("a dog", [0.0, 0.0, 256.0, 256.0])])), 1);
    for (method, options) in [
        ("backward-guidance", json!({"max_iter": [8], "loss_threshold": 0.0, "loss_scale": 2.0})),
        ("boxdiff", json!({"refine": true, "refinement_thresholds": {"0": 1.0}, "scale_factor": 0.05})),
    ] {
        let reports = paint(method, options, &request).unwrap().guidance;
        let (first, last) = (reports[0].first_loss.unwrap(), reports[0].last_loss.unwrap());
        assert!(reports[0].updates >= 8 && last < first, "{method}: {:?}", reports[0]);
    }
}

#[test]
fn the_unets_work_is_counted() {
    let request = request(Some(dog_and_bowls()), 4);
    let work_of = |method: &str, options: Value| {
        let run = Run::silent();
        let painting = methods::build(method, options).unwrap().generate(&request, &PIPELINE, &run).unwrap();
        (run.work(), painting)
    };
    let (sd, _) = work_of("sd", Value::Null);
    assert_eq!((sd.sampling.calls, sd.guidance_forward.calls, sd.guidance_backward.calls), (4, 0, 0));
    assert_eq!(sd.sampling.parts.values().sum::<u64>(), sd.sampling.multiply_accumulates);
    assert_eq!(sd.total(), sd.sampling.multiply_accumulates);

    let (guided, painting) =
        work_of("backward-guidance", json!({"max_iter": [2], "loss_threshold": 0.0, "max_index_step": 50}));
    assert_eq!(painting.guidance[0].updates, 8);
    assert_eq!((guided.guidance_forward.calls, guided.guidance_backward.calls), (8, 8));
    assert_eq!(guided.sampling, sd.sampling);
    // Guidance ends before the last units, and comes back through all that it used; so small a model is traced.
    let (forward, backward) = (&guided.guidance_forward, &guided.guidance_backward);
    assert!(forward.multiply_accumulates < sd.sampling.multiply_accumulates);
    let ratio = backward.multiply_accumulates as f64 / forward.multiply_accumulates as f64;
    assert!((0.9..1.5).contains(&ratio), "{ratio}");
    assert!(!forward.parts.contains_key(&NetworkPart::Out) && sd.sampling.parts.contains_key(&NetworkPart::Out));

    // The background and three objects, two halves each.
    let (regions, _) = work_of("multidiffusion", json!({"max_batch": 4}));
    assert_eq!(regions.sampling.calls, 8);
    // Those that see the picture itself share their start too.
    let ratio = regions.sampling.multiply_accumulates as f64 / sd.sampling.multiply_accumulates as f64;
    assert!((3.6..4.1).contains(&ratio), "{ratio}");
    let (lmd, _) = work_of("lmd", Value::Null);
    // Each of three objects alone ends a step before the whole picture.
    assert_eq!(lmd.sampling.calls, 13);
}

#[test]
fn the_work_of_adapters_is_counted_while_they_are_on() {
    let request = request(Some(dog_and_bowls()), 4);
    let work_of = |method: &str, options: Value| {
        let run = Run::silent();
        methods::build(method, options).unwrap().generate(&request, &GATED, &run).unwrap();
        run.work()
    };
    let gligen = |beta: f64| work_of("gligen", json!({"gligen_scheduled_sampling_beta": beta})).sampling;
    let (off, once, twice, always) = (gligen(0.0), gligen(0.25), gligen(0.5), gligen(1.0));
    assert_eq!(off.calls, always.calls);
    let added = |from: &WorkCount, to: &WorkCount| to.multiply_accumulates - from.multiply_accumulates;
    // The first call makes tokens of the boxes, the others find them.
    assert!(added(&off, &once) > added(&once, &twice));
    assert_eq!(added(&once, &always), 3 * added(&once, &twice));

    let guided = |grounding: &str| {
        let options = json!({"overall_loss_threshold": 0.0, "overall_max_iter": [1], "guidance_grounding": grounding});
        work_of("lmd-plus", options)
    };
    let (conditional, none) = (guided("conditional"), guided("none"));
    assert_eq!(conditional.sampling, none.sampling);
    assert!(added(&none.guidance_forward, &conditional.guidance_forward) > 0);
    assert!(added(&none.guidance_backward, &conditional.guidance_backward) > 0);
}

#[test]
fn shortcuts_spare_work_and_are_off_by_default() {
    let plain = request(Some(dog_and_bowls()), 10);
    let with = |shortcuts: Shortcuts, method: &str| {
        let mut request = plain.clone();
        request.sampling.shortcuts = shortcuts;
        let run = Run::silent();
        let painting =
            methods::build(method, Value::Null).unwrap().generate(&request, pipeline_of(method), &run).unwrap();
        (painting.image, run.work().sampling.multiply_accumulates as f64)
    };
    for method in ["sd", "lmd", "gligen", "multidiffusion"] {
        let (image, work) = with(Shortcuts::default(), method);
        let (half_guided, less) = with(Shortcuts { guidance_interval: (0.0, 0.5), ..Shortcuts::default() }, method);
        assert_ne!(half_guided, image, "{method}");
        assert!((0.65..0.9).contains(&(less / work)), "{method}: {less} of {work}");
        let (shallow, less) = with(Shortcuts { deep_every: 3, ..Shortcuts::default() }, method);
        assert!(shallow != image && less < 0.9 * work, "{method}: {less} of {work}");
        let (merged, less) = with(Shortcuts { merge_tokens: 2, ..Shortcuts::default() }, method);
        assert!(merged != image && less < work, "{method}: {less} of {work}");
    }
    let mut wrong = plain.clone();
    wrong.sampling.shortcuts.guidance_interval = (0.6, 0.5);
    assert!(paint("sd", Value::Null, &wrong).unwrap_err().to_string().contains("guidance_interval"));
    wrong.sampling.shortcuts = Shortcuts { deep_every: 0, ..Shortcuts::default() };
    assert!(paint("sd", Value::Null, &wrong).unwrap_err().to_string().contains("deep_every"));
}

#[test]
fn a_step_after_guidance_uses_the_deep_features_of_its_conditional_half() {
    // Halves of their own, and a batch of both; boxes would be read anew for the conditional half.
    for (method, options) in [("sd", Value::Null), ("gligen", json!({"gligen_scheduled_sampling_beta": 0.0}))] {
        let work = |end: f64| {
            let mut request = request(Some(dog_and_bowls()), 10);
            request.sampling.scheduler = Some(SchedulerKind::Ddim); // a call a step
            request.sampling.shortcuts =
                Shortcuts { guidance_interval: (0.0, end), deep_every: 5, ..Shortcuts::default() };
            let run = Run::silent();
            methods::build(method, options.clone()).unwrap().generate(&request, pipeline_of(method), &run).unwrap();
            run.work().sampling.multiply_accumulates
        };
        // Guided whole steps are the first alone in both; a step between has half the work without guidance.
        let [less, more, all] = [0.3, 0.5, 1.0].map(work);
        assert!(less < more && more - less < all / 8, "{method}: {less} and {more} of {all}");
    }
}

#[test]
fn steps_without_deep_layers_have_no_guidance() {
    for method in ["lmd", "lmd-plus", "boxdiff"] {
        let calls = |deep_every: usize| {
            let mut request = request(Some(dog_and_bowls()), 10);
            request.sampling.shortcuts = Shortcuts { deep_every, ..Shortcuts::default() };
            let run = Run::silent();
            let painting =
                methods::build(method, Value::Null).unwrap().generate(&request, pipeline_of(method), &run).unwrap();
            let reports: Vec<usize> = painting.guidance.iter().map(|report| report.updates).collect();
            (run.work().guidance_forward.calls, reports)
        };
        let (all, _) = calls(1);
        let (fewer, updates) = calls(2);
        assert!(fewer > 0 && fewer < 2 * all / 3 + 1, "{method}: {fewer} of {all}, {updates:?}");
        // Nothing but the first step.
        let (first, _) = calls(10);
        assert!(first > 0 && first < fewer, "{method}: {first} of {fewer}");
    }
}

#[test]
fn guidance_starts_late_and_weighs_objects_where_asked() {
    let request = request(Some(dog_and_bowls()), 10);
    let painted = |options: Value| {
        let run = Run::silent();
        let painting = methods::build("lmd", options).unwrap().generate(&request, pipeline_of("lmd"), &run).unwrap();
        let updates: usize = painting.guidance.iter().map(|report| report.updates).sum();
        (painting.image, updates)
    };
    let always = json!({ "overall_loss_threshold": 0, "loss_threshold": 0 });
    let with = |more: Value| {
        let mut options = always.as_object().unwrap().clone();
        options.extend(more.as_object().unwrap().clone());
        painted(Value::Object(options))
    };
    let (image, updates) = with(json!({}));
    let (late, fewer) = with(json!({ "overall_min_index_step": 10 }));
    // Steps 0 and 1 of ten stand for the first ten of fifty, with four updates and three.
    assert!(late != image && fewer == updates - 7, "{fewer} of {updates}");
    let (weighed, same) = with(json!({ "object_weights": { "a blue dog": 3.0 } }));
    assert!(weighed != image && same == updates);
    assert_eq!(with(json!({ "object_weights": { "a blue dog": 1.0 } })).0, image);
    let unknown = paint("lmd", json!({ "object_weights": { "a horse": 2.0 } }), &request).unwrap_err().to_string();
    assert!(unknown.contains("`a horse`") && unknown.contains("phrases of the layout"), "{unknown}");
    let negative = methods::build("lmd", json!({ "object_weights": { "a dog": -1.0 } })).unwrap_err().to_string();
    assert!(negative.contains("object_weights"), "{negative}");
}

#[test]
fn objects_alone_take_fewer_steps_once_nothing_but_their_mask_is_wanted() {
    let request = request(Some(dog_and_bowls()), 50);
    let painted = |options: Value| {
        let run = Run::silent();
        let painting = methods::build("lmd", options).unwrap().generate(&request, pipeline_of("lmd"), &run).unwrap();
        assert!(painting.objects.iter().all(|object| object.image.is_some() && !object.mask.is_empty()));
        (painting.image, run.work().sampling.calls)
    };
    let (all, calls) = painted(json!({ "stop_objects_early": false }));
    let (_, early) = painted(json!({}));
    let (fast_image, fast) = painted(json!({ "stop_objects_early": false, "fast_schedule": true }));
    assert_eq!(calls - early, 3 * 20, "20 of 50 steps of each object");
    assert_eq!(calls - fast, 3 * 10, "10 of 50 steps of each object");
    assert_ne!(fast_image, all);
    let euler = PaintRequest {
        sampling: Sampling { scheduler: Some(SchedulerKind::Euler), ..request.sampling.clone() },
        ..request.clone()
    };
    let options = json!({ "stop_objects_early": false, "fast_schedule": true });
    let refused = paint("lmd", options, &euler).unwrap_err().to_string();
    assert!(refused.contains("fast_schedule") && refused.contains("ddim"), "{refused}");
}

#[test]
fn with_the_same_masks_fewer_steps_of_the_objects_change_no_byte() {
    // What is pasted and transferred was seen before the steps that are left out; only a mask can tell them apart.
    let request =
        request(Some(layout(&[("a dog", [40.0, 150.0, 200.0, 260.0]), ("a dog", [280.0, 60.0, 180.0, 200.0])])), 20);
    let painted = |options: Value| {
        let options = serde_json::from_value::<LmdOptions>(options).unwrap();
        let run = Run::silent();
        let lmd = Lmd::new(options).unwrap().with_masks(Arc::new(WholeBox));
        (lmd.generate(&request, &PIPELINE, &run).unwrap().image, run.work().sampling.calls)
    };
    let (all, calls) = painted(json!({ "stop_objects_early": false }));
    let (early, fewer) = painted(json!({}));
    let (fast, halved) = painted(json!({ "stop_objects_early": false, "fast_schedule": true }));
    assert!(fewer < calls && halved < calls, "{fewer} and {halved} of {calls}");
    assert!(early == all, "the early end");
    assert!(fast == all, "the fast schedule");
}

/// Keeps what is shown of the attention.
#[derive(Default)]
struct Onlooker(Mutex<Vec<(usize, String, String)>>);

impl Observer for Onlooker {
    fn wants_attention(&self) -> bool {
        true
    }

    fn attention(&self, report: &AttentionReport) {
        assert!(report.map.values().iter().all(|p| (0.0..=1.0).contains(p)) && !report.bboxes.is_empty());
        self.0.lock().unwrap().push((report.index, report.key.to_string(), report.phrase.to_owned()));
    }
}

#[test]
fn guided_attention_is_shown_to_those_who_want_it() {
    let request = request(Some(dog_and_bowls()), 4);
    for (method, keys) in [("backward-guidance", 4), ("boxdiff", 5), ("lmd", 4), ("lmd-plus", 4)] {
        let onlooker = Onlooker::default();
        let run = Run::new(&onlooker, &CancellationToken::default());
        let built = methods::build(method, Value::Null).unwrap();
        let watched = built.generate(&request, pipeline_of(method), &run).unwrap();
        let seen = onlooker.0.into_inner().unwrap();
        let dogs: Vec<_> = seen.iter().filter(|(_, _, phrase)| phrase == "a blue dog").collect();
        let first = dogs.iter().filter(|(index, ..)| *index == 0).count();
        // Once a step and layer, however many updates there are; lmd also paints the dog alone.
        assert_eq!(first, if method == "lmd" { 2 * keys } else { keys }, "{method}: {seen:?}");
        assert!(seen.iter().any(|(_, _, phrase)| phrase == "two white bowls"), "{method}");
        // One object after the other, however many threads there are.
        let mut phrases: Vec<&str> = seen.iter().map(|(_, _, phrase)| phrase.as_str()).collect();
        phrases.dedup();
        if method == "lmd" {
            assert_eq!(phrases[..2], ["a blue dog", "a white bowl"]);
            assert!(!phrases[2..].contains(&"a white bowl"), "{phrases:?}");
        }
        assert_eq!(
            watched.image,
            paint(method, Value::Null, &request).unwrap().image,
            "{method}: looking changes nothing"
        );
    }
}

#[test]
fn settings_that_no_picture_can_have_are_refused() {
    let change = |change: fn(&mut PaintRequest)| {
        let mut request = request(Some(dog_and_bowls()), 2);
        change(&mut request);
        request
    };
    let cases: [(&str, PaintRequest, &str); 9] = [
        ("sd", change(|r| (r.caption, r.layout) = (None, None)), "there is none"),
        ("lmd", change(|r| r.layout = None), "--layout"),
        ("sd", change(|r| r.sampling.width = 60), "multiples of 8"),
        ("lmd", change(|r| r.sampling.height = 0), "multiples of 8"),
        ("sd", change(|r| r.sampling.width = 1 << 20), "4096"),
        ("sd", change(|r| r.sampling.num_inference_steps = 0), "0 steps: the scheduler takes 1 to 1000"),
        ("lmd", change(|r| r.sampling.num_inference_steps = 1001), "1001 steps"),
        ("sd", change(|r| r.sampling.guidance_scale = f64::NAN), "guidance_scale"),
        ("lmd", change(|r| r.sampling.guidance_rescale = 2.0), "guidance_rescale"),
    ];
    for (method, request, expected) in cases {
        let message = refused(method, Value::Null, &request);
        assert!(message.contains(expected), "{message}");
    }
    for (option, value) in [
        ("frozen_step_ratio", json!(1.5)),
        ("fg_top_p", json!(0.0)),
        ("loss_scale", json!(-1.0)),
        ("gaussian_sigma", json!(0.0)),
        ("max_iter", json!([4, 1_000_000])),
        ("overall_max_iter", json!([1001])),
        ("max_iter", json!("many")),
        ("over_heads", json!("max")),
    ] {
        let error = methods::build("lmd", json!({ option: value })).unwrap_err().to_string();
        assert!(error.contains(option) || error.contains("lmd"), "{error}");
    }
    for (method, option, value) in [
        ("backward-guidance", "loss_scale", json!(-1.0)),
        ("backward-guidance", "loss_threshold", json!(-0.1)),
        ("boxdiff", "scale_factor", json!(-20)),
        ("boxdiff", "top_p", json!(1.5)),
        ("boxdiff", "max_refinement_steps", json!(5000)),
        ("backward-guidance", "max_iter", json!([1_000_000])),
        ("boxdiff", "scale_range_end", json!(2)),
        ("boxdiff", "refinement_thresholds", json!({"0": 7.0})),
        ("multidiffusion", "max_batch", json!(0)),
        ("multidiffusion", "bootstrapping", json!(5000)),
    ] {
        let error = methods::build(method, json!({ option: value })).unwrap_err().to_string();
        assert!(error.contains(option), "{error}");
    }
    let message = refused("multidiffusion", json!({"guidance_scale": -3.0}), &request(Some(dog_and_bowls()), 2));
    assert!(message.contains("guidance_scale"), "{message}");
    for method in ["multidiffusion", "backward-guidance", "boxdiff"] {
        assert!(refused(method, Value::Null, &request(None, 2)).contains("--layout"));
    }
}

#[test]
fn guidance_that_runs_away_names_the_step() {
    let request = request(Some(dog_and_bowls()), 2);
    for (method, option) in [("lmd", "loss_scale"), ("backward-guidance", "loss_scale"), ("boxdiff", "scale_factor")] {
        let message = refused(method, json!({ option: 1e300 }), &request);
        assert!(message.contains("not finite at step 0 (timestep 501)"), "{method}: {message}");
    }
}
