//! The noise schedule that a diffusion model was trained with: β and ᾱ of its timesteps. Models trained by flow matching have none.

use std::f64::consts::FRAC_PI_2;

use sinopia_layout::brief;
use sinopia_models::checkpoint::PredictionType;

use super::config::{BetaSchedule, SchedulerConfig};
use crate::{Error, Result};

/// ᾱ of every training timestep, in `f64`.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f64>,
}

/// What diffusers sets the last ᾱ to under `rescale_betas_zero_snr` where σ must stay finite.
pub(super) const ALMOST_ZERO: f64 = 1.0 / (1u64 << 24) as f64;

/// `num_train_timesteps` of all of diffusers' classes.
const DEFAULT_TRAIN_TIMESTEPS: usize = 1000;
/// A hundred times what any model is trained with; tables of β are made of this many numbers.
const MAX_TRAIN_TIMESTEPS: usize = 100_000;

impl NoiseSchedule {
    /// The schedule of a config. `rescale_zero_snr` says whether the class reads `rescale_betas_zero_snr`.
    ///
    /// # Errors
    /// When β is outside (0, 1), there is no timestep, `trained_betas` are of another number than the timesteps, or the model was trained by flow
    /// matching.
    pub fn new(config: &SchedulerConfig, rescale_zero_snr: bool) -> Result<Self> {
        if config.prediction_type == Some(PredictionType::FlowPrediction) {
            return Err(Error::Setting {
                name: "prediction_type of the scheduler config",
                found: PredictionType::FlowPrediction.as_str().to_owned(),
                expected: "epsilon, v_prediction or sample, which have a schedule of betas; flow-match-euler takes it",
            });
        }
        let told = num_train_timesteps(config)?;
        let betas = betas(config);
        if betas.is_empty() || !betas.iter().all(|beta| (0.0..1.0).contains(beta)) {
            return Err(Error::Setting {
                name: "betas of the scheduler config",
                found: described(&betas),
                expected: "at least one value, all from 0 to 1",
            });
        }
        if betas.len() != told {
            return Err(Error::Setting {
                name: "trained_betas of the scheduler config",
                found: format!("{} for {told} timesteps", betas.len()),
                expected: "one for each of num_train_timesteps",
            });
        }
        let mut alphas_cumprod: Vec<f64> = betas
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        if rescale_zero_snr && config.rescale_betas_zero_snr.unwrap_or(false) {
            rescale_to_zero_snr(&mut alphas_cumprod);
        }
        Ok(Self { alphas_cumprod })
    }

    /// Timesteps of training, T.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// ᾱ at timestep `t`.
    pub fn alphas_cumprod(&self, t: usize) -> f64 {
        self.alphas_cumprod[t]
    }

    /// σ of every timestep, rising; an ᾱ of zero, which `rescale_betas_zero_snr` ends with, counts as 2⁻²⁴, as in diffusers.
    pub fn sigmas(&self) -> Vec<f64> {
        let sigma = |a: &f64| ((1.0 - a) / if *a == 0.0 { ALMOST_ZERO } else { *a }).sqrt();
        self.alphas_cumprod.iter().map(sigma).collect()
    }
}

/// Timesteps of training, T, as a config tells them.
///
/// # Errors
/// When there are more than any model has.
pub(super) fn num_train_timesteps(config: &SchedulerConfig) -> Result<usize> {
    let told = config.num_train_timesteps.unwrap_or(DEFAULT_TRAIN_TIMESTEPS);
    if told > MAX_TRAIN_TIMESTEPS {
        return Err(Error::Setting {
            name: "num_train_timesteps of the scheduler config",
            found: told.to_string(),
            expected: "at most 100000",
        });
    }
    Ok(told)
}

/// The values in short, by the first that is impossible.
fn described(betas: &[f64]) -> String {
    match betas.iter().position(|beta| !(0.0..1.0).contains(beta)) {
        Some(place) => format!("{} at timestep {place} of {}", brief(betas[place]), betas.len()),
        None => "empty".to_owned(),
    }
}

/// β of every timestep.
fn betas(config: &SchedulerConfig) -> Vec<f64> {
    if let Some(betas) = &config.trained_betas {
        return betas.clone();
    }
    let n = config.num_train_timesteps.unwrap_or(DEFAULT_TRAIN_TIMESTEPS);
    let (start, end) = (config.beta_start.unwrap_or(0.0001), config.beta_end.unwrap_or(0.02));
    match config.beta_schedule.unwrap_or(BetaSchedule::Linear) {
        BetaSchedule::Linear => linspace(start, end, n),
        BetaSchedule::ScaledLinear => {
            linspace(start.sqrt(), end.sqrt(), n).into_iter().map(|root| root * root).collect()
        }
        BetaSchedule::SquaredcosCapV2 => {
            let alpha_bar = |t: f64| ((t + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2);
            let beta = |i: usize| 1.0 - alpha_bar((i + 1) as f64 / n as f64) / alpha_bar(i as f64 / n as f64);
            (0..n).map(|i| beta(i).min(0.999)).collect()
        }
    }
}

/// `n` equally spaced values from `start` to `end`, both included: the last is `end` itself, as in NumPy, not what rounding makes of it.
pub(super) fn linspace(start: f64, end: f64, n: usize) -> Vec<f64> {
    let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
    (0..n).map(|i| if i > 0 && i + 1 == n { end } else { start + step * i as f64 }).collect()
}

/// Shifts and scales √ᾱ so that its first value stays and its last becomes zero: the last timestep is pure noise.
///
/// Source: Lin et al. 2023, arXiv 2305.08891, algorithm 1.
fn rescale_to_zero_snr(alphas_cumprod: &mut [f64]) {
    let (first, last) = (alphas_cumprod[0].sqrt(), alphas_cumprod[alphas_cumprod.len() - 1].sqrt());
    for a in alphas_cumprod {
        let root = (a.sqrt() - last) * first / (first - last);
        *a = root * root;
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise_level::NoiseLevel;
    use super::*;

    pub(crate) fn stable_diffusion() -> SchedulerConfig {
        SchedulerConfig {
            beta_start: Some(0.00085),
            beta_end: Some(0.012),
            beta_schedule: Some(BetaSchedule::ScaledLinear),
            ..SchedulerConfig::default()
        }
    }

    #[test]
    fn stable_diffusions_noise_levels_are_the_published_ones() -> Result<()> {
        let schedule = NoiseSchedule::new(&stable_diffusion(), true)?;
        let table = [
            (981, 0.005775, 0.997108, 13.1204),
            (881, 0.017185, 0.991370, 7.5624),
            (781, 0.043456, 0.978031, 4.6917),
            (581, 0.179863, 0.905614, 2.1354),
            (501, 0.274999, 0.851470, 1.6237),
            (401, 0.422881, 0.759683, 1.1682),
            (181, 0.782654, 0.466204, 0.5270),
            (1, 0.998296, 0.041279, 0.0413),
        ];
        for (t, alphas_cumprod, coefficient, sigma) in table {
            let level = NoiseLevel::variance_preserving(schedule.alphas_cumprod(t));
            let found = level.signal * level.signal;
            assert!((found - alphas_cumprod).abs() < 1e-6, "ᾱ at {t}: {found}");
            assert!((level.guidance_step() - coefficient).abs() < 1e-6, "√(1−ᾱ) at {t}: {}", level.guidance_step());
            assert!((level.noise / level.signal - sigma).abs() < 1e-4, "σ at {t}: {}", level.noise / level.signal);
        }
        assert!((schedule.alphas_cumprod(0) - 0.999150).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn rescaling_ends_in_pure_noise_and_keeps_the_start() -> Result<()> {
        let config = SchedulerConfig { rescale_betas_zero_snr: Some(true), ..stable_diffusion() };
        let schedule = NoiseSchedule::new(&config, true)?;
        assert_eq!(schedule.alphas_cumprod(999), 0.0);
        assert!((schedule.alphas_cumprod(0) - 0.999150).abs() < 1e-6);
        assert!((schedule.sigmas()[999] - 4096.0).abs() < 1e-6);
        let ignored = NoiseSchedule::new(&config, false)?;
        assert!(ignored.alphas_cumprod(999) > 0.004);
        Ok(())
    }

    #[test]
    fn impossible_betas_are_refused() {
        for betas in [vec![], vec![0.1, 1.5], vec![f64::NAN]] {
            let config = SchedulerConfig { trained_betas: Some(betas), ..SchedulerConfig::default() };
            assert!(NoiseSchedule::new(&config, true).is_err());
        }
        let message = |config| NoiseSchedule::new(&config, true).unwrap_err().to_string();
        let config = SchedulerConfig { num_train_timesteps: Some(0), ..stable_diffusion() };
        assert!(message(config).contains("`betas of the scheduler config` is empty, expected"));
        let config = SchedulerConfig { trained_betas: Some(vec![0.1, 1e300]), ..stable_diffusion() };
        assert!(message(config).contains("is 1e300 at timestep 1 of 2, expected"));
        let config = SchedulerConfig { trained_betas: Some(vec![0.1, 0.2]), ..stable_diffusion() };
        assert!(message(config).contains("is 2 for 1000 timesteps, expected one for each"));
        let config = SchedulerConfig { num_train_timesteps: Some(usize::MAX), ..stable_diffusion() };
        assert!(message(config).contains("expected at most 100000"));
        let config = SchedulerConfig { prediction_type: Some(PredictionType::FlowPrediction), ..stable_diffusion() };
        assert!(message(config).contains("flow_prediction, expected epsilon"));
    }

    #[test]
    fn a_cosine_ends_far_beyond_zero_snr() -> Result<()> {
        let config =
            SchedulerConfig { beta_schedule: Some(BetaSchedule::SquaredcosCapV2), ..SchedulerConfig::default() };
        // diffusers 0.42.1: EulerDiscreteScheduler(beta_schedule="squaredcos_cap_v2").sigmas[0]
        let sigma = NoiseSchedule::new(&config, true)?.sigmas()[999];
        assert!((sigma / 20291.303 - 1.0).abs() < 1e-4, "{sigma}");
        Ok(())
    }
}
