//! Schedulers: which noise levels a picture passes through, and how a model output takes it from one to the next.
//!
//! Each is built from a diffusers `scheduler_config.json`, of its own class or another's, and agrees with diffusers' class of that name. All
//! coefficients are `f64`; latents are `f32`. Steps are counted by **index**, never looked up by timestep, because PNDM visits one twice.

mod config;
mod ddim;
mod dpm_solver;
mod euler;
mod euler_ancestral;
mod noise_schedule;
mod pndm;
mod spacing;

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use config::{BetaSchedule, FinalSigmas, PredictionType, SchedulerConfig, TimestepSpacing};
pub use ddim::Ddim;
pub use dpm_solver::DpmSolverPlusPlus2M;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use noise_schedule::{NoiseLevel, NoiseSchedule};
pub use pndm::Pndm;

use crate::noise::NoiseSource;
use crate::{Error, Result};

/// One trajectory from noise to a picture.
///
/// A caller runs the network once for each of [`timesteps`](Scheduler::timesteps), on [`scale_model_input`](Scheduler::scale_model_input) of its
/// latents, and hands the output to [`step`](Scheduler::step), with indices 0, 1, 2, …. Index 0 starts over.
///
/// The multistep schedulers (PNDM, DPM-Solver++) carry a history of model outputs. Latents that are changed between the steps, by guidance or by
/// a frozen foreground, do not change that history; first-order DDIM is the choice where that matters.
pub trait Scheduler: Send {
    /// Which one this is.
    fn kind(&self) -> SchedulerKind;

    /// The timestep of every model call, in order. PNDM calls the model once more than it has steps; `linspace` Euler has fractions.
    fn timesteps(&self) -> &[f64];

    /// Standard deviation of the latents to start with.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// How noisy the latents are before step `index`.
    fn noise_level(&self, index: usize) -> NoiseLevel;

    /// The latents as the network wants to see them: variance preserving.
    ///
    /// # Errors
    /// When the device has no room.
    fn scale_model_input(&self, latents: &Tensor, index: usize) -> Result<Tensor> {
        match self.noise_level(index).latent_scale {
            1.0 => Ok(latents.clone()),
            scale => Ok((latents / scale)?),
        }
    }

    /// Leaves calls out: `kept` are the indices of those that stay, rising from 0. A step then goes to the noise level of the next that stays, and the
    /// last one to the end.
    ///
    /// # Errors
    /// [`Error::Setting`] for schedulers whose steps do not stand alone.
    fn keep_calls(&mut self, _kept: &[usize]) -> Result<()> {
        Err(Error::Setting { name: "fast_schedule", found: self.kind().to_string(), expected: "the scheduler ddim" })
    }

    /// One step: latents (B, H, W, C) before step `index` and the model's output on them give the latents after it.
    ///
    /// # Errors
    /// When shapes disagree.
    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        noise: &mut NoiseSource,
    ) -> Result<Tensor>;
}

/// The schedulers, by the names of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SchedulerKind {
    /// [`Ddim`].
    Ddim,
    /// [`Pndm`], in its PLMS form.
    Pndm,
    /// [`Euler`].
    Euler,
    /// [`EulerAncestral`].
    EulerAncestral,
    /// [`DpmSolverPlusPlus2M`].
    #[serde(rename = "dpm-solver++")]
    DpmSolverPlusPlus,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ddim, Self::Pndm, Self::Euler, Self::EulerAncestral, Self::DpmSolverPlusPlus];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-ancestral",
            Self::DpmSolverPlusPlus => "dpm-solver++",
        }
    }

    /// diffusers' class.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::Pndm => "PNDMScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::EulerAncestral => "EulerAncestralDiscreteScheduler",
            Self::DpmSolverPlusPlus => "DPMSolverMultistepScheduler",
        }
    }

    /// The scheduler that implements a diffusers class.
    pub fn from_class_name(class_name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.class_name() == class_name)
    }

    /// Builds this scheduler for `steps` steps from a config of any class, as diffusers' `from_config` does.
    ///
    /// # Errors
    /// When the config asks for something unsupported, or cannot be divided into `steps`.
    pub fn build(self, config: &SchedulerConfig, steps: usize) -> Result<Box<dyn Scheduler>> {
        Ok(match self {
            Self::Ddim => Box::new(Ddim::new(config, steps)?),
            Self::Pndm => Box::new(Pndm::new(config, steps)?),
            Self::Euler => Box::new(Euler::new(config, steps)?),
            Self::EulerAncestral => Box::new(EulerAncestral::new(config, steps)?),
            Self::DpmSolverPlusPlus => Box::new(DpmSolverPlusPlus2M::new(config, steps)?),
        })
    }
}

impl fmt::Display for SchedulerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for SchedulerKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| Error::UnknownScheduler { name: name.to_owned() })
    }
}

/// The picture x₀ that a model output on latents of a noise level, in the scheduler's scale, stands for.
///
/// # Errors
/// When shapes disagree.
pub fn predicted_original(
    prediction_type: PredictionType,
    model_output: &Tensor,
    level: NoiseLevel,
    latents: &Tensor,
) -> Result<Tensor> {
    let p = noise_schedule::Prediction::new(prediction_type, level.alphas_cumprod);
    combine(&[(p.x0_latents / level.latent_scale, latents), (p.x0_output, model_output)])
}

/// `Σ factor · tensor`, in order.
fn combine(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
    let mut sum: Option<Tensor> = None;
    for (factor, tensor) in terms.iter().filter(|(factor, _)| *factor != 0.0) {
        let term = (*tensor * *factor)?;
        sum = Some(match sum {
            None => term,
            Some(sum) => (sum + term)?,
        });
    }
    match (sum, terms) {
        (Some(sum), _) => Ok(sum),
        (None, [(_, tensor), ..]) => Ok(tensor.zeros_like()?),
        (None, []) => Err(candle_core::Error::Msg("a combination of no tensors".to_owned()).into()),
    }
}
