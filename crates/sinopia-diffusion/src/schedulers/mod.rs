//! Schedulers: which noise levels a picture passes through, and how a model output takes it from one to the next.
//!
//! Each is built from a diffusers `scheduler_config.json`, of its own class or another's, and agrees with diffusers' class of that name. All
//! coefficients are `f64`; latents are `f32`. Steps are counted by **index**, never looked up by timestep, because PNDM visits one twice.

mod config;
mod ddim;
mod dpm_solver;
mod euler;
mod euler_ancestral;
mod flow_match_euler;
mod noise_level;
mod noise_schedule;
mod pndm;
mod sigma_sampler;
mod sigma_schedule;
mod spacing;
mod strength;

use std::fmt;
use std::str::FromStr;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sinopia_layout::names;

pub use config::{BetaSchedule, FinalSigmas, SchedulerConfig, TimestepSpacing};
pub use ddim::Ddim;
pub use dpm_solver::DpmSolverPlusPlus2M;
pub use euler::Euler;
pub use euler_ancestral::EulerAncestral;
pub use flow_match_euler::FlowMatchEuler;
pub use noise_level::NoiseLevel;
pub(crate) use noise_level::Prediction;
pub use noise_schedule::NoiseSchedule;
pub use pndm::Pndm;
pub use sigma_sampler::SigmaSampler;
pub use sigma_schedule::SigmaSchedule;
pub use sinopia_models::checkpoint::PredictionType;
pub use strength::first_call;

use crate::noise::NoiseSource;
use crate::{Error, Result};

/// The number of steps that published settings and the step numbers of methods are written for.
pub const PUBLISHED_STEPS: usize = 50;

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

    /// What the model's outputs are.
    fn prediction_type(&self) -> PredictionType;

    /// The timestep of every model call, in order. PNDM calls the model once more than it has steps; `linspace` Euler has fractions; `trailing` spacing
    /// may end with one call more, at −1, or with `lambda_min_clipped` have fewer (docs/fidelity.md).
    fn timesteps(&self) -> &[f64];

    /// Standard deviation of the latents to start with.
    fn init_noise_sigma(&self) -> f64 {
        1.0
    }

    /// How noisy the latents are before step `index`.
    fn noise_level(&self, index: usize) -> NoiseLevel;

    /// How noisy the latents are after step `index`, if that follows from the latents before it and the model's output alone: what can be run backwards
    /// ([`inversion`](crate::inversion)). `None` where a step adds noise or hangs on calls before it in more than its history.
    fn noise_level_after(&self, _index: usize) -> Option<NoiseLevel> {
        None
    }

    /// The latents as the network wants to see them: the picture and the noise in the shares of the level.
    ///
    /// # Errors
    /// When the device has no room.
    fn scale_model_input(&self, latents: &Tensor, index: usize) -> Result<Tensor> {
        match self.noise_level(index).latent_scale {
            1.0 => Ok(latents.clone()),
            scale => Ok((latents / scale)?),
        }
    }

    /// The last call, at or before `index`, that a run can begin with: some schedulers make one step of several calls.
    fn entry(&self, index: usize) -> usize {
        index
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
    /// [`FlowMatchEuler`], for models that were trained by flow matching.
    FlowMatchEuler,
}

impl SchedulerKind {
    /// Those that can be chosen for a diffusion model. A model trained by flow matching comes with its own.
    pub const ALL: [Self; 5] = [Self::Ddim, Self::Pndm, Self::Euler, Self::EulerAncestral, Self::DpmSolverPlusPlus];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler-ancestral",
            Self::DpmSolverPlusPlus => "dpm-solver++",
            Self::FlowMatchEuler => "flow-match-euler",
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
            Self::FlowMatchEuler => "FlowMatchEulerDiscreteScheduler",
        }
    }

    /// Every name that it goes by: ours, diffusers' class, and what other programs call it.
    fn all_names(self) -> impl Iterator<Item = &'static str> {
        let elsewhere: &[&str] = match self {
            Self::Ddim | Self::FlowMatchEuler => &[],
            Self::Pndm => &["plms"],
            Self::Euler => &["k_euler", "euler discrete"],
            Self::EulerAncestral => &["euler a", "k_euler_a", "k_euler_ancestral"],
            Self::DpmSolverPlusPlus => &["dpm++", "dpmpp", "dpm++ 2m", "dpmpp_2m", "k_dpmpp_2m", "dpm-solver++ 2m"],
        };
        [self.name(), self.class_name()].into_iter().chain(elsewhere.iter().copied())
    }

    /// The scheduler that implements a diffusers class.
    pub fn from_class_name(class_name: &str) -> Option<Self> {
        Self::known().find(|kind| kind.class_name() == class_name)
    }

    /// Every one that has a name.
    fn known() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::FlowMatchEuler])
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
            Self::FlowMatchEuler => Box::new(FlowMatchEuler::new(config, steps)?),
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

    /// Reads a name, however it is written, of ours or another program's: `DPM++ 2M`, `euler_a`, `DDIMScheduler`.
    fn from_str(name: &str) -> Result<Self> {
        let is_called = |kind: &Self| names::find(name, kind.all_names()).is_some();
        Self::known().find(is_called).ok_or_else(|| Error::UnknownScheduler { name: name.to_owned() })
    }
}

/// A scheduler with or without the name of its noise levels, as it is typed: `euler`, `dpm-solver++-karras`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchedulerName {
    /// The scheduler.
    pub kind: SchedulerKind,
    /// Its noise levels; `None` leaves them to the model's config.
    pub sigmas: Option<SigmaSchedule>,
}

impl SchedulerName {
    /// Every name: the schedulers, then each of them along each of the noise levels (PNDM has its own alone).
    pub fn all() -> Vec<Self> {
        let with =
            |sigmas: Option<SigmaSchedule>| SchedulerKind::ALL.into_iter().map(move |kind| Self { kind, sigmas });
        let along = SigmaSchedule::ALL.into_iter().flat_map(|sigmas| with(Some(sigmas)));
        with(None).chain(along.filter(|name| name.kind != SchedulerKind::Pndm)).collect()
    }

    /// Builds it for `steps` steps.
    ///
    /// # Errors
    /// As [`SchedulerKind::build`] and [`SigmaSampler::new`].
    pub fn build(self, config: &SchedulerConfig, steps: usize) -> Result<Box<dyn Scheduler>> {
        Ok(match self.sigmas {
            Some(sigmas) => Box::new(SigmaSampler::new(self.kind, sigmas, config, steps)?),
            None => self.kind.build(config, steps)?,
        })
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sigmas {
            None => f.pad(self.kind.name()),
            Some(sigmas) => write!(f, "{}-{sigmas}", self.kind),
        }
    }
}

impl FromStr for SchedulerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = match name.parse() {
            Ok(kind) => return Ok(Self { kind, sigmas: None }),
            Err(unknown) => unknown,
        };
        let plain = name.trim().to_ascii_lowercase().replace(['_', ' '], "-");
        let named = SigmaSchedule::ALL.into_iter().find_map(|sigmas| {
            let kind = plain.strip_suffix(sigmas.name())?.strip_suffix('-')?;
            Some(Self { kind: kind.parse().ok()?, sigmas: Some(sigmas) })
        });
        named.ok_or(unknown)
    }
}

/// What to say of a name that is no scheduler's.
pub(crate) fn choice(name: &str) -> String {
    let of_all = SchedulerKind::ALL.iter().flat_map(|kind| kind.all_names());
    // A slip of another program's name is answered with ours.
    let near = names::nearest(name, of_all).and_then(|near| near.parse::<SchedulerKind>().ok());
    names::choice(near.map_or(name, |kind| kind.name()), &SchedulerKind::ALL.map(SchedulerKind::name))
}

/// The picture x₀ that a model output at call `index` of a scheduler, on latents in its scale, stands for.
///
/// # Errors
/// When shapes disagree.
pub fn predicted_original(
    scheduler: &dyn Scheduler,
    model_output: &Tensor,
    index: usize,
    latents: &Tensor,
) -> Result<Tensor> {
    let level = scheduler.noise_level(index);
    let p = Prediction::new(scheduler.prediction_type(), level);
    combine(&[(p.x0_latents / level.latent_scale, latents), (p.x0_output, model_output)])
}

/// `Σ factor · tensor`, in order.
pub(crate) fn combine(terms: &[(f64, &Tensor)]) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_schedulers_may_end_in_their_noise_levels() {
        let parsed = |name: &str| name.parse::<SchedulerName>();
        let all = SchedulerName::all();
        assert_eq!(all.len(), 5 + 4 * 7);
        all.into_iter().for_each(|name| assert_eq!(parsed(&name.to_string()).unwrap(), name));
        let karras = parsed("dpm-solver++ Karras").unwrap();
        assert_eq!(karras.to_string(), "dpm-solver++-karras");
        for unknown in ["karras", "-karras", "heun-karras", "euler-ays", ""] {
            assert!(parsed(unknown).unwrap_err().to_string().contains("euler-karras"), "{unknown}");
        }
    }

    #[test]
    fn schedulers_are_known_by_other_programs_names() {
        for (name, kind) in [
            ("DDIM", SchedulerKind::Ddim),
            ("DDIMScheduler", SchedulerKind::Ddim),
            ("PLMS", SchedulerKind::Pndm),
            ("Euler", SchedulerKind::Euler),
            ("EulerDiscreteScheduler", SchedulerKind::Euler),
            ("Euler a", SchedulerKind::EulerAncestral),
            ("euler_ancestral", SchedulerKind::EulerAncestral),
            ("DPM++ 2M", SchedulerKind::DpmSolverPlusPlus),
            ("dpmpp_2m", SchedulerKind::DpmSolverPlusPlus),
            ("dpm_solver_plus_plus", SchedulerKind::DpmSolverPlusPlus),
            ("FlowMatchEulerDiscreteScheduler", SchedulerKind::FlowMatchEuler),
        ] {
            assert_eq!(name.parse::<SchedulerKind>().unwrap(), kind, "{name}");
        }
        // DPM-Solver and DPM++ SDE are other algorithms.
        for (name, words) in [
            ("dpm-solver", "did you mean `dpm-solver++`?"),
            ("DPM++ SDE", "did you mean `dpm-solver++`?"),
            ("eular", "did you mean `euler`?"),
            ("heun", "choose one of ddim, "),
        ] {
            let message = name.parse::<SchedulerKind>().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
