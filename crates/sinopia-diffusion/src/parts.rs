//! The parts of a generation, each alone and at the model's own size: what benchmarks time.

use candle_core::{DType, Device, Tensor};
use sinopia_models::CancellationToken;
use sinopia_models::denoiser::{AttnMaps, DenoiserRequest, Recording, TextConditioning};
use sinopia_nn::threads::on_worker;

use crate::noise::{LatentSize, NoiseSource, Seed};
use crate::{Error, ImageSize, Pipeline, Result};

/// A caption of an ordinary length.
const CAPTION: &str = "a realistic photo of a red dog and a white bowl on a table";
/// The first timestep of published schedules of fifty steps.
const TIMESTEP: f64 = 981.0;
/// The tokens behind the first one: some that a method would guide.
const GUIDED_TOKENS: std::ops::Range<usize> = 1..5;

/// Something that a generation does again and again, or once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// One pass of the denoiser over a batch of two, as classifier-free guidance wants it.
    Step,
    /// A pass to the last guidance key and the gradient of a loss on the maps with respect to the latents.
    Guidance,
    /// Latents to pixels.
    Decode,
    /// The caption and the empty text to embeddings.
    Encode,
}

impl Part {
    /// All, the costliest first.
    pub const ALL: [Self; 4] = [Self::Step, Self::Guidance, Self::Decode, Self::Encode];

    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Guidance => "guidance",
            Self::Decode => "decode",
            Self::Encode => "encode",
        }
    }

    /// The part with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.as_str() == name)
    }
}

/// The parts of a checkpoint and inputs for them.
#[derive(Debug)]
pub struct Parts<'a> {
    pipeline: &'a Pipeline,
    /// (1, H, W, C)
    latents: Tensor,
    /// Unconditional, conditional.
    both: TextConditioning,
    conditional: TextConditioning,
}

impl<'a> Parts<'a> {
    /// Inputs of the model's own size.
    ///
    /// # Errors
    /// When the text encoder refuses.
    pub fn new(pipeline: &'a Pipeline) -> Result<Self> {
        let ImageSize { width, height } = pipeline.native_size();
        let factor = pipeline.vae().scale_factor();
        let channels = pipeline.denoiser().latent_channels();
        let size = LatentSize { height: height / factor, width: width / factor, channels };
        let latents = NoiseSource::new(Seed(1)).draw(size, &Device::Cpu)?;
        let embeds = embeds(pipeline, None)?;
        Ok(Self {
            pipeline,
            latents,
            both: TextConditioning::new(&embeds)?,
            conditional: TextConditioning::new(&embeds.narrow(0, 1, 1)?)?,
        })
    }

    /// Runs a part once, on a worker thread as methods paint.
    ///
    /// # Errors
    /// What its network returns; [`Error::NotFinite`] for a result that means nothing, and so may have cost nothing; [`Error::Cancelled`].
    pub fn run(&self, part: Part, cancellation: Option<&CancellationToken>) -> Result<()> {
        let result = on_worker(|| self.result(part, cancellation))?;
        check_finite(part, &result)
    }

    fn result(&self, part: Part, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        match part {
            Part::Step => self.step(cancellation),
            Part::Guidance => self.guidance(cancellation),
            Part::Decode => {
                self.pipeline.make_room(self.pipeline.native_size());
                Ok(self.pipeline.vae().decode_cancellable(&self.latents, cancellation)?)
            }
            Part::Encode => embeds(self.pipeline, cancellation),
        }
    }

    /// The prediction, (2, H, W, C).
    fn step(&self, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let latents = Tensor::cat(&[&self.latents, &self.latents], 0)?;
        let request = DenoiserRequest { cancellation, ..DenoiserRequest::new(&latents, TIMESTEP, &self.both) };
        let reply = self.pipeline.denoiser().forward(&request)?;
        reply.prediction.ok_or(Error::NotFinite { what: "prediction", step: 0, timestep: TIMESTEP })
    }

    /// The gradient, (1, H, W, C).
    fn guidance(&self, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
        let denoiser = self.pipeline.denoiser();
        let recording = Recording::new(denoiser.guidance_keys());
        let request = DenoiserRequest {
            record: Some(&recording),
            cancellation,
            ..DenoiserRequest::new(&self.latents, TIMESTEP, &self.conditional)
        };
        let gradient = denoiser.input_gradient(&request, &mut |maps| Ok(Some(mean_squares(maps)?)))?;
        gradient.ok_or(Error::NotFinite { what: "gradient", step: 0, timestep: TIMESTEP })
    }
}

/// A loss that every map counts in: the sum of the means of their squares at the guided tokens.
fn mean_squares(maps: &AttnMaps) -> candle_core::Result<Tensor> {
    let mut total = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    for map in maps.values() {
        let guided = map.narrow(3, GUIDED_TOKENS.start, GUIDED_TOKENS.len())?; // (1, heads, HW, tokens)
        total = (total + guided.sqr()?.mean_all()?)?;
    }
    Ok(total)
}

/// Text embeddings of the empty text and the caption, (2, L, D).
fn embeds(pipeline: &Pipeline, cancellation: Option<&CancellationToken>) -> Result<Tensor> {
    let ids = |text: &str| Ok::<_, Error>(pipeline.tokenizer().encode(text)?.ids);
    let ids = [ids("")?, ids(CAPTION)?];
    Ok(pipeline.text_encoder().forward_cancellable(&ids, cancellation)?.last_hidden_state)
}

fn check_finite(part: Part, x: &Tensor) -> Result<()> {
    match x.sum_all()?.to_scalar::<f32>()?.is_finite() {
        true => Ok(()),
        false => Err(Error::NotFinite { what: part.as_str(), step: 0, timestep: TIMESTEP }),
    }
}
