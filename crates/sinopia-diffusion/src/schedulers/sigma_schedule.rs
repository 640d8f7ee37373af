//! Noise levels by name, laid over what the model was trained with whatever its config says of spacing: the choices of k-diffusion and ComfyUI.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::noise_schedule::linspace;
use super::spacing::{SigmaRange, check_steps, even_in_log, karras};
use crate::{Error, Result};

/// Which noise levels the steps go through. Every one ends without noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SigmaSchedule {
    /// Equal steps of the timestep from the last to the first, both included.
    Normal,
    /// Every (T/N)th trained level from the last down.
    Simple,
    /// Equal steps of the timestep, the last of which ends below the first timestep.
    SgmUniform,
    /// Every ⌊T/N⌋th trained level from the second up. Where N does not divide T there are more steps than N.
    DdimUniform,
    /// Karras et al. 2022 (arXiv 2206.00364, equation 5, ρ = 7), over all that was trained.
    Karras,
    /// Equal steps of ln σ.
    Exponential,
    /// Equal steps of arctan σ: ComfyUI's `kl_optimal`.
    KlOptimal,
}

impl SigmaSchedule {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Normal,
        Self::Simple,
        Self::SgmUniform,
        Self::DdimUniform,
        Self::Karras,
        Self::Exponential,
        Self::KlOptimal,
    ];

    /// The name behind a scheduler's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Simple => "simple",
            Self::SgmUniform => "sgm-uniform",
            Self::DdimUniform => "ddim-uniform",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::KlOptimal => "kl-optimal",
        }
    }

    /// σ before each of `steps` steps and, 0, after the last; `trained` are the levels of all timesteps, rising.
    ///
    /// # Errors
    /// [`Error::Steps`] for no steps, for more than there are timesteps, and for a schedule that has no level of so few timesteps.
    pub(super) fn sigmas(self, trained: &[f64], steps: usize) -> Result<Vec<f64>> {
        let total = trained.len();
        check_steps(steps, total)?;
        let (min, max) = (trained[0], trained[total - 1]);
        let last = (total - 1) as f64;
        let along = |values: Vec<f64>, sigma: &dyn Fn(f64) -> f64| values.into_iter().map(sigma).collect::<Vec<f64>>();
        let mut sigmas = match self {
            Self::Normal => along(linspace(last, 0.0, steps), &|t| at_timestep(trained, t)),
            Self::SgmUniform => {
                let mut timesteps = linspace(last, 0.0, steps + 1);
                timesteps.pop();
                along(timesteps, &|t| at_timestep(trained, t))
            }
            Self::Simple => {
                let stride = total as f64 / steps as f64;
                (0..steps).map(|step| trained[total - 1 - (step as f64 * stride) as usize]).collect()
            }
            Self::DdimUniform => {
                let mut rising: Vec<f64> = trained.iter().skip(1).step_by((total / steps).max(1)).copied().collect();
                rising.reverse();
                rising
            }
            Self::Karras => karras(SigmaRange { first: max, last: min }, steps),
            Self::Exponential => even_in_log(SigmaRange { first: max, last: min }, steps),
            Self::KlOptimal => along(linspace(max.atan(), min.atan(), steps), &f64::tan),
        };
        if sigmas.is_empty() {
            return Err(Error::Steps { steps, max: 0 });
        }
        sigmas.push(0.0);
        Ok(sigmas)
    }
}

impl fmt::Display for SigmaSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// σ at a (fractional) timestep, between the trained ones in ln σ.
fn at_timestep(trained: &[f64], timestep: f64) -> f64 {
    let low = (timestep.floor() as usize).min(trained.len() - 1);
    let high = (low + 1).min(trained.len() - 1);
    let weight = timestep - timestep.floor();
    ((1.0 - weight) * trained[low].ln() + weight * trained[high].ln()).exp()
}

/// The trained timestep whose level is nearest to `sigma` in ln σ: what the network sees.
pub(super) fn nearest_timestep(trained: &[f64], sigma: f64) -> usize {
    let above = trained.partition_point(|level| *level < sigma).min(trained.len() - 1);
    let below = above.saturating_sub(1);
    let distance = |timestep: usize| (trained[timestep].ln() - sigma.ln()).abs();
    if distance(below) <= distance(above) { below } else { above }
}

#[cfg(test)]
mod tests {
    use super::super::config::{BetaSchedule, SchedulerConfig};
    use super::super::noise_schedule::NoiseSchedule;
    use super::*;

    fn stable_diffusion() -> Vec<f64> {
        let config = SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            ..SchedulerConfig::default()
        };
        NoiseSchedule::new(&config, true).unwrap().sigmas()
    }

    /// Levels and timesteps of six steps, by ComfyUI's formulas in NumPy.
    #[test]
    fn levels_are_comfyuis() {
        use SigmaSchedule::*;
        let expected: [(SigmaSchedule, &[f64], &[usize]); 7] = [
            (Normal, &[14.614641, 5.092408, 2.27973, 1.162865, 0.571189, 0.029167, 0.0], &[999, 799, 599, 400, 200, 0]),
            (
                Simple,
                &[14.614641, 5.96313, 2.918307, 1.612886, 0.932358, 0.492409, 0.0],
                &[999, 833, 666, 499, 333, 166],
            ),
            (
                SgmUniform,
                &[14.614641, 5.948899, 2.918307, 1.61558, 0.932358, 0.493552, 0.0],
                &[999, 832, 666, 499, 333, 166],
            ),
            (
                DdimUniform,
                &[14.438569, 5.906449, 2.907121, 1.612886, 0.932358, 0.494697, 0.041314, 0.0],
                &[997, 831, 665, 499, 333, 167, 1],
            ),
            (Karras, &[14.614641, 6.082149, 2.232155, 0.69257, 0.169757, 0.029167, 0.0], &[999, 837, 594, 249, 30, 0]),
            (
                Exponential,
                &[14.614641, 4.215114, 1.215712, 0.350632, 0.101128, 0.029167, 0.0],
                &[999, 757, 413, 103, 11, 0],
            ),
            (
                KlOptimal,
                &[14.614641, 2.632888, 1.294767, 0.711627, 0.335637, 0.029167, 0.0],
                &[999, 639, 432, 256, 96, 0],
            ),
        ];
        let trained = stable_diffusion();
        for (schedule, sigmas, timesteps) in expected {
            let found = schedule.sigmas(&trained, 6).unwrap();
            assert_eq!(found.len(), sigmas.len(), "{schedule}");
            for (found, expected) in found.iter().zip(sigmas) {
                assert!((found - expected).abs() < 1e-5 * expected.max(1.0), "{schedule}: {found} for {expected}");
            }
            let found: Vec<usize> =
                found[..timesteps.len()].iter().map(|sigma| nearest_timestep(&trained, *sigma)).collect();
            assert_eq!(found, timesteps, "{schedule}");
        }
        assert_eq!(DdimUniform.sigmas(&trained, 30).unwrap().len(), 32, "31 steps");
    }

    #[test]
    fn a_schedule_without_a_level_is_refused() {
        for schedule in SigmaSchedule::ALL {
            match schedule.sigmas(&[0.5], 1) {
                Ok(sigmas) => {
                    assert!((sigmas[0] - 0.5).abs() < 1e-12 && sigmas[1..] == [0.0], "{schedule}: {sigmas:?}")
                }
                Err(error) => {
                    assert_eq!(schedule, SigmaSchedule::DdimUniform);
                    assert!(matches!(error, Error::Steps { steps: 1, max: 0 }), "{error}");
                }
            }
        }
    }

    #[test]
    fn every_count_of_steps_falls_to_nothing() {
        let trained = stable_diffusion();
        for schedule in SigmaSchedule::ALL {
            for steps in (1..=50).chain([333, 999, 1000]) {
                let sigmas = schedule.sigmas(&trained, steps).unwrap();
                assert!(sigmas.windows(2).all(|pair| pair[0] > pair[1]), "{schedule} in {steps} steps: {sigmas:?}");
                assert_eq!(sigmas.last(), Some(&0.0));
            }
            for steps in [0, 1001] {
                assert!(schedule.sigmas(&trained, steps).is_err());
            }
        }
    }
}
