//! How the run of one picture begins: with noise, or with another picture: image to image, and inpainting with a model of four channels.
//!
//! Meng et al. 2021, arXiv 2108.01073 (SDEdit); the order of random numbers and the held outside are diffusers'.

use candle_core::Tensor;
use sinopia_layout::brief;
use sinopia_models::checkpoint::Constructor;

use crate::change::{ChangeMask, paste};
use crate::init::Init;
use crate::noise::NoiseSource;
use crate::observer::{Run, Stage};
use crate::painting::{Image, PaintRequest};
use crate::pipeline::{FinishedStep, Pipeline, Sampler, SamplingPlan};
use crate::trajectory::CellSelect;
use crate::{Error, Result};

/// Refuses a picture to begin with where a method cannot.
pub(crate) fn refuse_init(request: &PaintRequest, method: &'static str) -> Result<()> {
    if request.init.is_none() { Ok(()) } else { Err(Error::NoInit { method }) }
}

/// The picture of final latents; with a mask, with the old pixels pasted back outside of it.
pub(crate) fn decode(request: &PaintRequest, latents: &Tensor, pipeline: &Pipeline, run: &Run) -> Result<Image> {
    let painted = pipeline.decode_one(latents, run)?;
    let Some((init, mask)) = request.init.as_ref().and_then(|init| Some((init, init.mask.as_ref()?))) else {
        return Ok(painted);
    };
    let mask = ChangeMask::of_levels(mask, pipeline.latent_size(&request.sampling)?.grid())?;
    Ok(paste(&init.image, &painted, &mask)?.image)
}

/// The run of one picture, about to begin: with noise or with noised latents of another picture.
pub(crate) struct Beginning<'a> {
    pub(crate) sampler: Sampler<'a>,
    /// What the picture is noised with, of unit variance: (1, H, W, C).
    pub(crate) noise: Tensor,
    first: usize,
    /// Before the first call, in the scheduler's scale: (1, H, W, C).
    latents: Tensor,
    original: Option<Original>,
}

/// What is begun with.
struct Original {
    z0: Tensor,
    /// The cells that change, if not all do.
    select: Option<CellSelect>,
}

impl<'a> Beginning<'a> {
    /// Draws the noise, and encodes what is begun with. Random numbers are drawn in diffusers' order: of the encoder, of the picture's noise, with a mask once more of
    /// the encoder, for the masked picture (which a model of four channels never sees), then of the scheduler.
    pub(crate) fn new(
        request: &PaintRequest,
        plan: &SamplingPlan,
        constructor: Constructor,
        pipeline: &'a Pipeline,
        run: &Run,
    ) -> Result<Self> {
        let mut source = NoiseSource::new(plan.sampling.seed);
        let Some(init) = &request.init else {
            let noise = source.draw(plan.size, pipeline.device())?; // (1, H, W, C)
            let sampler = pipeline.sampler_as(constructor, &plan.sampling, source, run)?;
            let latents = sampler.scale_noise(&noise)?;
            return Ok(Self { sampler, noise, first: 0, latents, original: None });
        };
        init.check(plan.sampling.size())?;
        let posterior = pipeline.posterior(&init.image, run)?;
        let z0 = posterior.sample(&source.draw(plan.size, pipeline.device())?)?;
        let z0 = pipeline.vae().scale(&z0)?;
        let noise = source.draw(plan.size, pipeline.device())?; // (1, H, W, C)
        let select = match &init.mask {
            None => None,
            Some(mask) => {
                source.draw(plan.size, pipeline.device())?;
                Some(CellSelect::new(ChangeMask::of_levels(mask, plan.size.grid())?.cells(), pipeline.device())?)
            }
        };
        let mut sampler = pipeline.sampler_as(constructor, &plan.sampling, source, run)?;
        let first = first_call(init, &sampler)?;
        sampler.begin_at(first)?;
        let latents = match (&select, init.strength) {
            (Some(_), 1.0) => sampler.scale_noise(&noise)?, // nothing is left inside the mask of what was there
            _ => sampler.noise_level(first).noised(&z0, &noise)?,
        };
        Ok(Self { sampler, noise, first, latents, original: Some(Original { z0, select }) })
    }

    /// Makes the calls, within a stage of the run: `step` makes one of latents before it, and says its loss. What is outside a mask is held after each of them.
    pub(crate) fn walk(
        mut self,
        run: &Run,
        mut step: impl FnMut(Tensor, usize, &mut Sampler) -> Result<(Tensor, Option<f32>)>,
    ) -> Result<Tensor> {
        self.keep_earlier_states(run)?;
        let mut latents = self.latents.clone();
        run.keep_state(&latents);
        for index in self.first..self.sampler.num_calls() {
            run.check()?;
            let (after, loss) = step(latents, index, &mut self.sampler)?;
            latents = self.hold(after, index + 1)?;
            run.keep_state(&latents);
            let step = FinishedStep { stage: &Stage::Picture, index, loss, latents: &latents };
            self.sampler.report(&step, run)?;
        }
        Ok(latents)
    }

    /// The latents before call `index`, outside the mask those of what was begun with.
    fn hold(&self, latents: Tensor, index: usize) -> Result<Tensor> {
        match &self.original {
            Some(Original { z0, select: Some(select) }) => select.of(&latents, &self.noised(z0, index)?),
            _ => Ok(latents),
        }
    }

    /// z₀ as noisy as latents are before call `index`; after the last without noise.
    fn noised(&self, z0: &Tensor, index: usize) -> Result<Tensor> {
        match index < self.sampler.num_calls() {
            true => self.sampler.noise_level(index).noised(z0, &self.noise),
            false => Ok(z0.clone()),
        }
    }

    /// Keeps the states before the first call, if states are kept: what was begun with, ever less noisy.
    fn keep_earlier_states(&self, run: &Run) -> Result<()> {
        if let Some(original) = self.original.as_ref().filter(|_| run.keeps_states()) {
            for index in 0..self.first {
                run.keep_state(&self.noised(&original.z0, index)?);
            }
        }
        Ok(())
    }
}

/// The first call that is made.
fn first_call(init: &Init, sampler: &Sampler) -> Result<usize> {
    let first = sampler.first_call(init.strength);
    if first < sampler.num_calls() {
        return Ok(first);
    }
    let found = format!("{} of {} steps, less than one", brief(init.strength), sampler.num_calls());
    Err(Error::Setting { name: "strength", found, expected: "a share that is a step at least, or more steps" })
}
