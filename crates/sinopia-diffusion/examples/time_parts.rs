//! Times the parts of a generation on a checkpoint folder, one part a line of standard input: for `benches/peers/compare.py`, which takes turns
//! with the reference libraries. Usage: `time_parts FOLDER f32|bf16 [THREADS]`, then lines `step`, `guidance`, `decode`, `encode`; each is
//! answered by its seconds.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use candle_core::{Device, Tensor};
use sinopia_diffusion::{ImageSize, Pipeline, noise};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::denoiser::{DenoiserRequest, Recording, TextConditioning};
use sinopia_models::hub::NoProgress;
use sinopia_models::{Error, Precision};
use sinopia_nn::memory::{Allocator, keep_freed};
use sinopia_nn::threads::quiet_tensor_library;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    quiet_tensor_library();
    keep_freed();
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, precision, rest @ ..] = arguments.as_slice() else {
        return Err("usage: time_parts FOLDER f32|bf16 [THREADS]".into());
    };
    if let [threads] = rest {
        sinopia_nn::threads::set_num_threads(threads.parse()?)?;
    }
    let start = Instant::now();
    let precision = if precision == "bf16" { Precision::Bf16 } else { Precision::F32 };
    let options = OpenOptions { precision, ..OpenOptions::default() };
    let checkpoint = Checkpoint::open(&ModelSource::Folder(PathBuf::from(folder)), &options, &NoProgress)?;
    let parts = Parts::new(Pipeline::load(&checkpoint)?)?;
    answer(start)?;
    for line in std::io::stdin().lock().lines() {
        let start = Instant::now();
        match line?.as_str() {
            "step" => parts.step()?,
            "guidance" => parts.guidance()?,
            "decode" => parts.decode()?,
            "encode" => parts.encode()?,
            other => return Err(format!("unknown part `{other}`").into()),
        }
        answer(start)?;
    }
    Ok(())
}

fn answer(start: Instant) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:.4}", start.elapsed().as_secs_f64())?;
    Ok(out.flush()?)
}

/// The parts of a checkpoint and inputs for them.
struct Parts {
    pipeline: Pipeline,
    /// (1, H, W, C)
    latents: Tensor,
    both: TextConditioning,
    conditional: TextConditioning,
}

impl Parts {
    fn new(pipeline: Pipeline) -> Result<Self> {
        let ImageSize { width, height } = pipeline.native_size();
        let factor = pipeline.vae().scale_factor();
        let channels = pipeline.denoiser().latent_channels();
        let size = noise::LatentSize { height: height / factor, width: width / factor, channels };
        let latents = noise::NoiseSource::new(noise::Seed(1)).draw(size, &Device::Cpu)?;
        let embeds = embeds(&pipeline)?;
        Ok(Self {
            both: TextConditioning::new(&embeds)?,
            conditional: TextConditioning::new(&embeds.narrow(0, 1, 1)?)?,
            latents,
            pipeline,
        })
    }

    /// One pass over a batch of two, as classifier-free guidance wants it.
    fn step(&self) -> Result<()> {
        let latents = Tensor::cat(&[&self.latents, &self.latents], 0)?;
        let reply = self.pipeline.denoiser().forward(&DenoiserRequest::new(&latents, 981.0, &self.both))?;
        finite(&reply.prediction.ok_or("no prediction")?)
    }

    /// Forward to the last guidance key and the gradient of a loss on the maps with respect to the latents.
    fn guidance(&self) -> Result<()> {
        let denoiser = self.pipeline.denoiser();
        let recording = Recording::new(denoiser.guidance_keys());
        let request = DenoiserRequest {
            record: Some(&recording),
            ..DenoiserRequest::new(&self.latents, 981.0, &self.conditional)
        };
        let gradient = denoiser.input_gradient(&request, &mut |maps| {
            let mut total = Tensor::zeros((), candle_core::DType::F32, &Device::Cpu)?;
            for map in maps.values() {
                total = (total + map.narrow(3, 1, 4)?.sqr()?.mean_all()?)?;
            }
            Ok(Some(total))
        })?;
        finite(&gradient.ok_or("no gradient")?)
    }

    fn decode(&self) -> Result<()> {
        let image = self.pipeline.vae().decode(&self.latents)?;
        finite(&image)
    }

    fn encode(&self) -> Result<()> {
        finite(&embeds(&self.pipeline)?)
    }
}

/// Text embeddings of a prompt and the empty one, (2, L, D).
fn embeds(pipeline: &Pipeline) -> Result<Tensor> {
    let ids = |text: &str| Ok::<_, Error>(pipeline.tokenizer().encode(text)?.ids);
    let ids = [ids("")?, ids("a realistic photo of a red dog and a white bowl on a table")?];
    Ok(pipeline.text_encoder().forward(&ids)?.last_hidden_state)
}

/// Refuses results that cost nothing because they mean nothing.
fn finite(x: &Tensor) -> Result<()> {
    let sum = x.sum_all()?.to_scalar::<f32>()?;
    if sum.is_finite() { Ok(()) } else { Err("the result is not finite".into()) }
}
