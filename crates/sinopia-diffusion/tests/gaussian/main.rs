//! Whole runs of a denoiser that is no network: pictures whose latents are normally distributed, so that the best prediction, its attention and every
//! gradient have closed forms. What methods, samplers and schedulers make of it is compared with those, computed here in f64.

#![allow(clippy::unwrap_used, reason = "these are tests")]

#[path = "../../../../parity/fixture.rs"]
mod fixture;
mod masked;

use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor, Var};
use serde_json::{Value, json};
use sinopia_diffusion::conditioning::PromptText;
use sinopia_diffusion::inversion::{Inversion, InversionOptions, Inverted};
use sinopia_diffusion::methods::{self, METHODS};
use sinopia_diffusion::noise::{NoiseSource, Seed};
use sinopia_diffusion::schedulers::{PredictionType, SchedulerKind};
use sinopia_diffusion::{
    CancellationToken, Observer, PaintRequest, Painting, Pipeline, PipelineParts, Run, Sampling, StepReport,
};
use sinopia_layout::scene::GroundedPrompt;
use sinopia_layout::{Canvas, Grid, GridMask, GridRounding, Layout, LayoutObject, PixelBox, Scene, locate_phrases};
use sinopia_models::checkpoint::{Checkpoint, Constructor, ModelSource, OpenOptions};
use sinopia_models::clip::ClipTextModel;
use sinopia_models::denoiser::{
    AttentionLayer, AttnKey, AttnMaps, BatchPart, CallShape, Denoiser, DenoiserReply, DenoiserRequest, MapLoss,
    NetworkCost, NetworkPart, TokenColumns,
};
use sinopia_models::hub::NoProgress;
use sinopia_models::vae::AutoencoderKl;
use sinopia_models::{Error, Result};

const CHANNELS: usize = 4;
const TEXT_WIDTH: usize = 16;
/// Standard deviation of the pictures around their mean.
const SPREAD: f64 = 0.5;
/// How sharply each attention head tells tokens apart.
const SHARPNESS: [f64; 2] = [1.0, 0.5];
const KEY: AttnKey = AttnKey::block(0);

/// How the model was trained, and which of its outputs a scheduler reads.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Training {
    /// Variance preserving, with Stable Diffusion's betas.
    Diffusion(PredictionType),
    /// By flow matching.
    Flow,
}

/// The factors of picture and noise in what the model sees.
#[derive(Debug, Clone, Copy)]
struct Level {
    alpha: f64,
    sigma: f64,
}

impl Training {
    /// The level at a timestep of 1000.
    fn level(self, timestep: f64) -> Level {
        match self {
            Self::Flow => Level { alpha: 1.0 - timestep / 1000.0, sigma: timestep / 1000.0 },
            Self::Diffusion(_) => {
                let root = |t: f64| 0.00085f64.sqrt() + (0.012f64.sqrt() - 0.00085f64.sqrt()) * t / 999.0;
                let alphas_cumprod: f64 = (0..=timestep as usize).map(|t| 1.0 - root(t as f64).powi(2)).product();
                Level { alpha: alphas_cumprod.sqrt(), sigma: (1.0 - alphas_cumprod).sqrt() }
            }
        }
    }

    /// The timesteps of a run of first order, and at the end the picture.
    fn levels(self, steps: usize) -> Vec<Level> {
        let timesteps: Vec<f64> = match self {
            // Leading, with an offset of 1.
            Self::Diffusion(_) => (0..steps).rev().map(|step| (step * (1000 / steps) + 1) as f64).collect(),
            Self::Flow => (0..steps)
                .map(|step| {
                    let sigma = 1.0 - step as f64 / steps as f64;
                    1000.0 * 3.0 * sigma / (1.0 + 2.0 * sigma)
                })
                .collect(),
        };
        let picture = Level { alpha: 1.0, sigma: 0.0 };
        timesteps.into_iter().map(|timestep| self.level(timestep)).chain([picture]).collect()
    }

    fn scheduler_config(self) -> Value {
        match self {
            Self::Diffusion(prediction) => json!({
                "_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                "num_train_timesteps": 1000, "prediction_type": prediction, "clip_sample": false, "set_alpha_to_one": true,
                "steps_offset": 1
            }),
            Self::Flow => json!({
                "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0
            }),
        }
    }

    /// What the model answers, of picture and noise.
    fn output(self, level: Level, x0: f64, eps: f64) -> f64 {
        match self {
            Self::Diffusion(PredictionType::VPrediction) => level.alpha * eps - level.sigma * x0,
            Self::Diffusion(_) => eps,
            Self::Flow => eps - x0,
        }
    }
}

/// The most likely picture and noise in latents `z`.
fn posterior(z: f64, mean: f64, Level { alpha, sigma }: Level) -> (f64, f64) {
    let variance = alpha * alpha * SPREAD * SPREAD + sigma * sigma;
    let offset = (z - alpha * mean) / variance;
    (mean + alpha * SPREAD * SPREAD * offset, sigma * offset)
}

/// Pictures that are normally distributed around the mean of their text's states.
#[derive(Debug)]
struct Gaussian {
    training: Training,
    /// What its output is multiplied by: 1, or how much more steeply than a good model it answers.
    gain: f64,
}

/// A text's states (L, D), one row a token.
struct Tokens(Vec<Vec<f64>>);

impl Tokens {
    /// Of row `index` of states (B, L, D).
    fn of(states: &Tensor, index: usize) -> Self {
        let rows = states.get(index).unwrap().to_vec2::<f32>().unwrap();
        Self(rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect())
    }

    /// The mean of channel `c`.
    fn mean(&self, c: usize) -> f64 {
        self.0.iter().map(|token| token[c]).sum::<f64>() / self.0.len() as f64
    }

    /// How much a cell attends to each token.
    fn attention(&self, cell: &[f64], sharpness: f64) -> Vec<f64> {
        let scores = self.0.iter().map(|token| sharpness * cell.iter().zip(token).map(|(z, e)| z * e).sum::<f64>());
        let scores: Vec<f64> = scores.collect();
        let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
        scores.iter().map(|score| (score - highest).exp() / total).collect()
    }

    /// Adds to a cell's gradient what comes back from its attention: `κ Σ_j g_j p_j (e_j − Σ_i p_i e_i)`.
    fn pull(&self, cell: &[f64], sharpness: f64, of_tokens: &[f64], gradient: &mut [f64]) {
        let shares = self.attention(cell, sharpness);
        for (c, gradient) in gradient.iter_mut().enumerate() {
            let mean: f64 = shares.iter().zip(&self.0).map(|(p, token)| p * token[c]).sum();
            let terms = of_tokens.iter().zip(&shares).zip(&self.0);
            *gradient += sharpness * terms.map(|((g, p), token)| g * p * (token[c] - mean)).sum::<f64>();
        }
    }
}

/// The cells of row `index` of latents (B, H, W, C).
fn cells(latents: &Tensor, index: usize) -> Vec<Vec<f64>> {
    let rows = latents.get(index).unwrap().reshape(((), CHANNELS)).unwrap().to_vec2::<f32>().unwrap();
    rows.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect()
}

fn tensor(cells: &[Vec<f64>], shape: &[usize]) -> Result<Tensor> {
    let values: Vec<f32> = cells.iter().flatten().map(|x| *x as f32).collect();
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

impl Gaussian {
    /// The recorded columns of a request's text.
    fn columns(request: &DenoiserRequest) -> Vec<usize> {
        match request.record.map(|record| &record.tokens) {
            Some(TokenColumns::Some(columns)) => columns.clone(),
            _ => (0..request.text.num_tokens()).collect(),
        }
    }

    /// The recorded maps: (B', heads, HW, L').
    fn maps(request: &DenoiserRequest) -> Result<AttnMaps> {
        let Some(record) = request.record.filter(|record| record.keys.contains(&KEY)) else {
            return Ok(AttnMaps::new());
        };
        let (b, h, w, _) = request.latents.dims4()?;
        let first = if record.batch == BatchPart::Conditional { b / 2 } else { 0 };
        let columns = Self::columns(request);
        let mut values = Vec::new();
        for index in first..b {
            let text = Tokens::of(request.text.embeds(), index);
            for sharpness in SHARPNESS {
                for cell in cells(request.latents, index) {
                    let shares = text.attention(&cell, sharpness);
                    values.extend(columns.iter().map(|column| shares[*column] as f32));
                }
            }
        }
        let shape = (b - first, SHARPNESS.len(), h * w, columns.len());
        Ok(AttnMaps::from([(KEY, Tensor::from_vec(values, shape, &Device::Cpu)?)]))
    }
}

impl Denoiser for Gaussian {
    fn latent_channels(&self) -> usize {
        CHANNELS
    }

    fn native_hw(&self) -> Option<(usize, usize)> {
        Some((8, 8))
    }

    fn text_width(&self) -> usize {
        TEXT_WIDTH
    }

    fn attention_layers(&self, latents: Grid) -> Vec<AttentionLayer> {
        vec![AttentionLayer { key: KEY, grid: latents, num_heads: SHARPNESS.len() }]
    }

    fn guidance_keys(&self) -> Vec<AttnKey> {
        vec![KEY]
    }

    fn object_mask_key(&self) -> AttnKey {
        KEY
    }

    fn forward(&self, request: &DenoiserRequest) -> Result<DenoiserReply> {
        if request.grounding.is_some() || request.deep.is_some() || request.merge_tokens != 1 {
            let (expected, found) = ("latents and text alone".to_owned(), "more".to_owned());
            return Err(Error::Input { what: "a call of a Gaussian", expected, found });
        }
        let level = self.training.level(request.timestep);
        let mut predicted = Vec::new();
        for index in 0..request.latents.dim(0)? {
            let text = Tokens::of(request.text.embeds(), index);
            for cell in cells(request.latents, index) {
                let predict = |(c, z): (usize, &f64)| {
                    let (x0, eps) = posterior(*z, text.mean(c), level);
                    self.gain * self.training.output(level, x0, eps)
                };
                predicted.push(cell.iter().enumerate().map(predict).collect());
            }
        }
        let prediction = Some(tensor(&predicted, request.latents.dims())?);
        Ok(DenoiserReply { prediction, maps: Self::maps(request)?, deep: None })
    }

    fn input_gradient(&self, request: &DenoiserRequest, loss: &mut MapLoss) -> Result<Option<Tensor>> {
        let maps = Self::maps(request)?;
        let leaf = Var::from_tensor(&maps[&KEY])?;
        let Some(loss) = loss(&AttnMaps::from([(KEY, leaf.as_tensor().clone())]))? else { return Ok(None) };
        let cotangent = loss.backward()?.remove(&leaf).unwrap().squeeze(0)?.to_vec3::<f32>()?; // (heads, HW, L')
        let text = Tokens::of(request.text.embeds(), 0);
        let columns = Self::columns(request);
        let mut gradient = Vec::new();
        for (place, cell) in cells(request.latents, 0).iter().enumerate() {
            let mut of_cell = vec![0.0; CHANNELS];
            for (head, sharpness) in SHARPNESS.into_iter().enumerate() {
                let mut of_tokens = vec![0.0; text.0.len()];
                for (column, value) in columns.iter().zip(&cotangent[head][place]) {
                    of_tokens[*column] = f64::from(*value);
                }
                text.pull(cell, sharpness, &of_tokens, &mut of_cell);
            }
            gradient.push(of_cell);
        }
        Ok(Some(tensor(&gradient, request.latents.dims())?))
    }

    fn forward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        let mut cost = NetworkCost::default();
        let cells = shape.batch * shape.latents.cells();
        cost.add(NetworkPart::Block(0), (SHARPNESS.len() * cells * shape.num_tokens * CHANNELS) as u64);
        Ok(cost)
    }

    fn backward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        self.forward_cost(shape)
    }
}

/// The Gaussian behind the smallest checkpoint's text encoder and autoencoder.
fn pipeline(training: Training) -> Pipeline {
    pipeline_of(Gaussian { training, gain: 1.0 }, training.scheduler_config())
}

fn pipeline_of(gaussian: Gaussian, scheduler_config: Value) -> Pipeline {
    let options = OpenOptions::default();
    let source = ModelSource::Folder(fixture::model_folder("small"));
    let Checkpoint { text_encoder, vae, tokenizer, .. } = Checkpoint::open(&source, &options, &NoProgress).unwrap();
    Pipeline::new(PipelineParts {
        tokenizer,
        text_encoder: ClipTextModel::load(&text_encoder.config, &text_encoder.weights).unwrap(),
        denoiser: Arc::new(gaussian),
        vae: AutoencoderKl::load(&vae.config, &vae.weights).unwrap(),
        scheduler_config,
        device: Device::Cpu,
    })
    .unwrap()
}

const TRAININGS: [Training; 3] =
    [Training::Diffusion(PredictionType::Epsilon), Training::Diffusion(PredictionType::VPrediction), Training::Flow];

const NEGATIVE: &str = "rain";

fn request(layout: Option<Layout>, steps: usize) -> PaintRequest {
    PaintRequest {
        caption: Some("a blue dog on a beach".to_owned()),
        layout,
        negative: Some(NEGATIVE.to_owned()),
        init: None,
        sampling: Sampling { num_inference_steps: steps, guidance_scale: 3.0, ..Sampling::new(Seed(3), 64, 64) },
    }
}

fn one_dog() -> Layout {
    let bbox = PixelBox::new(40.0, 150.0, 200.0, 260.0).unwrap();
    Layout {
        canvas: Canvas::PUBLISHED,
        objects: vec![LayoutObject { phrase: "a blue dog".to_owned(), bbox }],
        background: "a photo of a beach".to_owned(),
        negative: String::new(),
    }
}

/// Keeps the latents of the last step.
#[derive(Default)]
struct Last(Mutex<Option<Tensor>>);

impl Observer for Last {
    fn step(&self, step: &StepReport) {
        *self.0.lock().unwrap() = Some(step.latents.clone());
    }
}

/// The painting, and its picture's final latents.
fn paint(method: &str, options: Value, request: &PaintRequest, pipeline: &Pipeline) -> (Painting, Vec<Vec<f64>>) {
    let last = Last::default();
    let run = Run::new(&last, &CancellationToken::default());
    let painting = methods::build(method, options).unwrap().generate(request, pipeline, &run).unwrap();
    let latents = last.0.into_inner().unwrap().unwrap();
    (painting, cells(&latents, 0))
}

/// The initial noise, and the states of a prompt and of the negative one.
fn inputs(prompt: &str, request: &PaintRequest, pipeline: &Pipeline) -> (Vec<Vec<f64>>, [Tokens; 2]) {
    let size = pipeline.latent_size(&request.sampling).unwrap();
    let noise = NoiseSource::new(request.sampling.seed).draw(size, &Device::Cpu).unwrap();
    let states = pipeline.encode(&[prompt, NEGATIVE], &Run::silent()).unwrap();
    (cells(&noise, 0), [Tokens::of(&states, 0), Tokens::of(&states, 1)])
}

/// The mean of what classifier-free guidance samples: a Gaussian too, of the same spread.
fn guided_mean(texts: &[Tokens; 2], guidance_scale: f64, c: usize) -> f64 {
    let (conditional, unconditional) = (texts[0].mean(c), texts[1].mean(c));
    unconditional + guidance_scale * (conditional - unconditional)
}

/// One step of first order: the picture and the noise that are most likely, mixed anew.
fn denoise(cell: &mut [f64], mean: impl Fn(usize) -> f64, now: Level, next: Level) {
    for (c, z) in cell.iter_mut().enumerate() {
        let (x0, eps) = posterior(*z, mean(c), now);
        *z = next.alpha * x0 + next.sigma * eps;
    }
}

#[track_caller]
fn assert_near(what: &str, found: &[Vec<f64>], expected: &[Vec<f64>], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().flatten().zip(expected.iter().flatten());
    let (largest, difference) = pairs.fold((0.0f64, 0.0f64), |(largest, difference), (found, expected)| {
        (largest.max(expected.abs()), difference.max((found - expected).abs()))
    });
    assert!(difference <= tolerance * largest, "{what}: {difference:e} of {largest}");
}

#[test]
fn a_whole_run_is_its_closed_form() {
    for training in TRAININGS {
        let (pipeline, request) = (pipeline(training), request(None, 10));
        let (_, found) = paint("sd", Value::Null, &request, &pipeline);
        let (mut expected, texts) = inputs(request.caption.as_deref().unwrap(), &request, &pipeline);
        let mean = |c| guided_mean(&texts, request.sampling.guidance_scale, c);
        for levels in training.levels(10).windows(2) {
            expected.iter_mut().for_each(|cell| denoise(cell, mean, levels[0], levels[1]));
        }
        assert_near(&format!("{training:?}"), &found, &expected, 1e-4);
    }
}

/// Along the exact trajectory `(z − α·mean)/√(α²·spread² + σ²)` stays what it is.
#[test]
fn many_steps_come_near_the_exact_trajectory() {
    for training in TRAININGS {
        let (pipeline, request) = (pipeline(training), request(None, 500));
        let (_, found) = paint("sd", Value::Null, &request, &pipeline);
        let (mut expected, texts) = inputs(request.caption.as_deref().unwrap(), &request, &pipeline);
        let Level { alpha, sigma } = training.levels(500)[0];
        for cell in &mut expected {
            for (c, z) in cell.iter_mut().enumerate() {
                let mean = guided_mean(&texts, request.sampling.guidance_scale, c);
                let deviation = (*z - alpha * mean) / (alpha * SPREAD).hypot(sigma);
                *z = mean + SPREAD * deviation;
            }
        }
        assert_near(&format!("{training:?}"), &found, &expected, 0.01);
    }
}

/// The ratio loss `mean_j mean_h (1 − Σ_in/Σ)²` of the phrase's tokens, and its gradient with respect to the latents.
fn ratio_loss(latents: &[Vec<f64>], text: &Tokens, positions: &[usize], mask: &[bool]) -> (f64, Vec<Vec<f64>>) {
    let (mut loss, mut gradient) = (0.0, vec![vec![0.0; CHANNELS]; latents.len()]);
    let share = 1.0 / (positions.len() * SHARPNESS.len()) as f64;
    for sharpness in SHARPNESS {
        let attention: Vec<Vec<f64>> = latents.iter().map(|cell| text.attention(cell, sharpness)).collect();
        let mut of_cells = vec![vec![0.0; text.0.len()]; latents.len()];
        for j in positions {
            let total: f64 = attention.iter().map(|shares| shares[*j]).sum();
            let inside: f64 =
                attention.iter().zip(mask).filter(|(_, inside)| **inside).map(|(shares, _)| shares[*j]).sum();
            let outside_share = 1.0 - inside / total;
            loss += share * outside_share * outside_share;
            for (of_cell, is_inside) in of_cells.iter_mut().zip(mask) {
                let of_ratio = if *is_inside { 1.0 / total } else { 0.0 } - inside / (total * total);
                of_cell[*j] = -2.0 * share * outside_share * of_ratio;
            }
        }
        for ((cell, of_tokens), gradient) in latents.iter().zip(&of_cells).zip(&mut gradient) {
            text.pull(cell, sharpness, of_tokens, gradient);
        }
    }
    (loss, gradient)
}

#[test]
fn a_guided_run_is_its_closed_form() {
    const STEPS: usize = 10;
    let (loss_scale, loss_threshold, max_iter, guided_steps) = (30.0, 0.05, 3, 6);
    let options = json!({
        "loss_scale": loss_scale, "loss_threshold": loss_threshold, "max_iter": [max_iter],
        "max_index_step": guided_steps, "stretch_schedule": false,
    });
    for training in TRAININGS {
        let (pipeline, request) = (pipeline(training), request(Some(one_dog()), STEPS));
        let (painting, found) = paint("backward-guidance", options.clone(), &request, &pipeline);

        let scene = Scene::compose(&one_dog()).unwrap();
        let prompt: &GroundedPrompt = scene.overall();
        let encode = |text: &str| pipeline.tokenizer().encode_unpadded(text).unwrap();
        let located = locate_phrases(prompt, encode, usize::MAX).unwrap();
        let positions = located.phrases[0].positions();
        let grid = pipeline.latent_size(&request.sampling).unwrap().grid();
        let mask = GridMask::from_bbox(scene.objects()[0].bbox(), grid, GridRounding::AtLeastOneCell);

        let (mut expected, texts) = inputs(&located.text, &request, &pipeline);
        let mean = |c| guided_mean(&texts, request.sampling.guidance_scale, c);
        let (mut updates, mut unguided) = (0, expected.clone());
        for (index, levels) in training.levels(STEPS).windows(2).enumerate() {
            for _ in 0..if index < guided_steps { max_iter } else { 0 } {
                let (loss, gradient) = ratio_loss(&expected, &texts[0], &positions, mask.cells());
                if loss <= loss_threshold {
                    break;
                }
                let moved = expected.iter_mut().flatten().zip(gradient.iter().flatten());
                moved.for_each(|(z, gradient)| *z -= levels[0].sigma * loss_scale * gradient);
                updates += 1;
            }
            expected.iter_mut().for_each(|cell| denoise(cell, mean, levels[0], levels[1]));
            unguided.iter_mut().for_each(|cell| denoise(cell, mean, levels[0], levels[1]));
        }
        assert_near(&format!("{training:?}"), &found, &expected, 1e-3);
        let report = &painting.guidance[0];
        assert_eq!(report.updates, updates, "{training:?}");
        assert!(updates > 0 && report.last_loss < report.first_loss, "{report:?}");
        let moved = expected.iter().flatten().zip(unguided.iter().flatten()).map(|(a, b)| (a - b).abs());
        assert!(moved.fold(0.0, f64::max) > 0.05, "{training:?}: guidance moves the picture");
    }
}

/// Methods ask nothing of a denoiser but what its trait promises.
#[test]
fn every_method_paints_with_it() {
    for training in [TRAININGS[0], TRAININGS[2]] {
        let pipeline = pipeline(training);
        for info in METHODS {
            let request = request(Some(one_dog()), 5);
            let method = methods::build(info.name, Value::Null).unwrap();
            let painting = method.generate(&request, &pipeline, &Run::silent());
            if info.needs_adapters {
                let message = painting.unwrap_err().to_string();
                assert!(message.contains("grounding adapters"), "{}: {message}", info.name);
                continue;
            }
            let painting = painting.unwrap();
            assert_eq!((painting.image.width(), painting.image.height()), (64, 64), "{}", info.name);
            assert!(painting.guidance.iter().all(|report| report.first_loss.is_some()), "{}", info.name);
            assert!(info.name != "lmd" || painting.guidance.len() == 2, "the dog alone, then the picture");
        }
    }
}

/// How a picture of the Gaussian's is inverted.
#[derive(Clone, Copy)]
struct Way {
    kind: SchedulerKind,
    steps: usize,
    iterations: usize,
}

const CAPTION: &str = "a blue dog on a beach";

/// Latents of a picture, which are not those that the seed would lead to.
fn picture_latents() -> Tensor {
    let noise = NoiseSource::new(Seed(11))
        .draw(sinopia_diffusion::noise::LatentSize { height: 8, width: 8, channels: CHANNELS }, &Device::Cpu);
    (noise.unwrap() * SPREAD).unwrap()
}

fn sampling_of(way: Way) -> Sampling {
    let Way { kind, steps, .. } = way;
    Sampling {
        num_inference_steps: steps,
        guidance_scale: 1.0,
        scheduler: Some(kind),
        ..Sampling::new(Seed(3), 64, 64)
    }
}

fn inverted(pipeline: &Pipeline, way: Way) -> sinopia_diffusion::Result<Inverted> {
    let options = InversionOptions { max_iterations: way.iterations, tolerance: 1e-7 };
    let sampling = sampling_of(way);
    let constructor = Constructor::StableDiffusion;
    let inversion = Inversion { pipeline, sampling: &sampling, constructor, caption: CAPTION, options };
    inversion.of_latents(&picture_latents(), &Run::silent())
}

/// How far the picture painted from the inverted noise is from the one that was inverted, as a share of its size.
fn round_trip_error(pipeline: &Pipeline, way: Way) -> f64 {
    let inverted = inverted(pipeline, way).unwrap();
    let (sampling, run) = (sampling_of(way), Run::silent());
    let text = pipeline.encode_pairs(&[PromptText::new(CAPTION)], "", &sampling, &run).unwrap().swap_remove(0);
    let mut sampler = pipeline.sampler(way.kind, &sampling, NoiseSource::new(Seed(0)), &run).unwrap();
    assert_eq!(inverted.trajectory.num_calls(), sampler.num_calls());
    let mut latents = inverted.trajectory.states()[0].clone();
    for index in 0..sampler.num_calls() {
        latents = sampler.denoise(&latents, index, &text, None).unwrap().latents;
    }
    let size = |x: &Tensor| f64::from(x.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    size(&(latents - picture_latents()).unwrap()) / size(&picture_latents())
}

#[test]
fn plain_inversion_is_off_by_the_length_of_a_step_and_iterations_are_not() {
    for training in TRAININGS {
        let pipeline = pipeline(training);
        let kind = if training == Training::Flow { SchedulerKind::FlowMatchEuler } else { SchedulerKind::Ddim };
        let error = |steps, iterations| round_trip_error(&pipeline, Way { kind, steps, iterations });
        let (coarse, fine) = (error(10, 0), error(40, 0));
        assert!(fine < 0.45 * coarse && coarse > 0.01, "{training:?}: {coarse} with 10 steps, {fine} with 40");
        let iterated = error(10, 30);
        assert!(iterated < 1e-3, "{training:?}: {iterated} after iterations, {coarse} before");
        let few = error(10, 2);
        assert!(few < 0.5 * coarse, "{training:?}: {few} after two iterations, {coarse} before");
    }
}

#[test]
fn schedulers_that_take_the_same_way_forth_take_it_back() {
    for training in &TRAININGS[..2] {
        let pipeline = pipeline(*training);
        let euler = Way { kind: SchedulerKind::Euler, steps: 12, iterations: 30 };
        assert!(round_trip_error(&pipeline, euler) < 1e-3, "{training:?}");
    }
}

#[test]
fn a_solver_with_a_history_is_followed_back_along_its_levels() {
    let way = Way { kind: SchedulerKind::DpmSolverPlusPlus, steps: 40, iterations: 5 };
    for training in &TRAININGS[..2] {
        let pipeline = pipeline(*training);
        let trajectory = inverted(&pipeline, way).unwrap().trajectory;
        assert_eq!(trajectory.num_calls(), 40);
        let run = Run::silent();
        let sampler = pipeline.sampler(way.kind, &sampling_of(way), NoiseSource::new(Seed(0)), &run).unwrap();
        let Level { alpha, sigma } = training.level(sampler.timestep(0));
        let text = Tokens::of(&pipeline.encode(&[CAPTION], &run).unwrap(), 0);
        // Along the exact trajectory a value keeps its share of the spread.
        let noise =
            |(c, x): (usize, &f64)| alpha * text.mean(c) + (alpha * SPREAD).hypot(sigma) * (x - text.mean(c)) / SPREAD;
        let exact: Vec<Vec<f64>> =
            cells(&picture_latents(), 0).iter().map(|cell| cell.iter().enumerate().map(noise).collect()).collect();
        assert_near(&format!("noise of {training:?}"), &cells(&trajectory.states()[0], 0), &exact, 0.1);
    }
}

#[test]
fn iterations_that_go_apart_end_and_the_nearest_state_is_kept() {
    let training = Training::Diffusion(PredictionType::Epsilon);
    let steep = pipeline_of(Gaussian { training, gain: 6.0 }, training.scheduler_config());
    let way = |iterations| Way { kind: SchedulerKind::Ddim, steps: 4, iterations };
    let (plain, iterated) = (inverted(&steep, way(0)).unwrap(), inverted(&steep, way(40)).unwrap());
    assert!(iterated.steps.iter().any(|step| step.has_diverged && step.calls < 41), "{:?}", iterated.steps);
    assert!(plain.steps.iter().all(|step| step.calls == 1 && step.residual.is_none() && !step.has_diverged));
    let states = iterated.trajectory.states();
    assert!(states.iter().all(|state| state.sum_all().unwrap().to_scalar::<f32>().unwrap().is_finite()));
    // A good model's iterations come together.
    let good = inverted(&pipeline(training), Way { kind: SchedulerKind::Ddim, steps: 20, iterations: 40 }).unwrap();
    assert!(good.steps.iter().all(|step| !step.has_diverged && step.residual.unwrap() < 1e-6), "{:?}", good.steps);
}

#[test]
fn what_cannot_be_run_backwards_is_refused() {
    let training = Training::Diffusion(PredictionType::Epsilon);
    for kind in [SchedulerKind::Pndm, SchedulerKind::EulerAncestral] {
        let error = inverted(&pipeline(training), Way { kind, steps: 10, iterations: 0 }).unwrap_err();
        assert!(error.is_bad_input() && error.to_string().contains("take ddim"), "{error}");
    }
    // Pure noise: x₀ and ε are divided by the share of the picture there, a velocity is not.
    let zero_snr = |prediction: &str| {
        let mut config = training.scheduler_config();
        config["rescale_betas_zero_snr"] = true.into();
        config["timestep_spacing"] = "trailing".into();
        config["prediction_type"] = prediction.into();
        config
    };
    let way = Way { kind: SchedulerKind::Ddim, steps: 10, iterations: 2 };
    let of =
        |prediction, config| pipeline_of(Gaussian { training: Training::Diffusion(prediction), gain: 1.0 }, config);
    let error = inverted(&of(PredictionType::Epsilon, zero_snr("sample")), way).unwrap_err();
    assert!(error.to_string().contains("pure noise"), "{error}");
    let reached = inverted(&of(PredictionType::VPrediction, zero_snr("v_prediction")), way).unwrap();
    assert_eq!(reached.trajectory.num_calls(), 10);
    let error =
        inverted(&of(PredictionType::VPrediction, zero_snr("v_prediction")), Way { steps: 1, ..way }).unwrap_err();
    assert!(error.to_string().contains("take more steps"), "{error}");
}

#[test]
fn what_the_model_predicts_makes_no_difference_to_where_a_picture_comes_from() {
    let way = Way { kind: SchedulerKind::Ddim, steps: 15, iterations: 40 };
    let [noise, velocity] = [PredictionType::Epsilon, PredictionType::VPrediction]
        .map(|prediction| inverted(&pipeline(Training::Diffusion(prediction)), way).unwrap().trajectory);
    for (index, (noise, velocity)) in noise.states().iter().zip(velocity.states()).enumerate() {
        assert_near(&format!("state {index}"), &cells(noise, 0), &cells(velocity, 0), 1e-3);
    }
}
