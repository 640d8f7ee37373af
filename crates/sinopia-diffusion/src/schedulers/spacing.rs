//! Which timesteps are visited, and the noise levels of the schedulers that work in σ.

use super::SchedulerKind;
use super::config::{FinalSigmas, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{NoiseSchedule, linspace};
use crate::{Error, Result};

/// The descending timesteps of DDIM, PNDM and Euler (before rounding: `linspace` gives fractions).
///
/// `trailing` may end with −1 and so have one more than `steps`; `leading` may begin with T.
///
/// # Errors
/// When there are more steps than timesteps.
pub(super) fn timesteps(
    config: &SchedulerConfig,
    default: TimestepSpacing,
    schedule: &NoiseSchedule,
    steps: usize,
) -> Result<Vec<f64>> {
    let spacing = config.timestep_spacing.unwrap_or(default);
    let total = schedule.num_train_timesteps();
    check_steps(steps, total)?;
    Ok(match spacing {
        TimestepSpacing::Leading => {
            let (ratio, offset) = (total / steps, steps_offset(config, total)?);
            (0..steps).rev().map(|k| (k * ratio + offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing(total, total, steps),
        TimestepSpacing::Linspace => linspace(0.0, (total - 1) as f64, steps).into_iter().rev().collect(),
    })
}

/// The timesteps of schedulers that look ᾱ up by them, rounded.
///
/// # Errors
/// As [`timesteps`]; when one of them is no timestep of training.
pub(super) fn whole_timesteps(
    kind: SchedulerKind,
    config: &SchedulerConfig,
    schedule: &NoiseSchedule,
    steps: usize,
) -> Result<Vec<f64>> {
    let timesteps = timesteps(config, TimestepSpacing::Leading, schedule, steps)?;
    let total = schedule.num_train_timesteps();
    if timesteps.first().is_some_and(|first| *first > (total - 1) as f64) {
        return Err(Error::Steps { steps, max: total - 1 });
    }
    if timesteps.last().is_some_and(|last| *last < 0.0) {
        // diffusers takes it for the last timestep of training: it treats a nearly clean picture as pure noise.
        return Err(Error::UnsupportedScheduler {
            scheduler: kind.name(),
            key: "timestep_spacing",
            value: format!("trailing in {steps} steps"),
            hint: ": rounding makes diffusers' last timestep −1; take one step more or less",
        });
    }
    Ok(timesteps.into_iter().map(f64::round_ties_even).collect())
}

/// The descending timesteps of DPM-Solver++, which leaves room for one more step at the end. They begin at the last one that
/// `lambda_min_clipped` leaves; with `trailing` there may be fewer than `steps`.
///
/// # Errors
/// As [`timesteps`]; when no timestep is left, or fewer than steps.
pub(super) fn dpm_timesteps(config: &SchedulerConfig, schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
    let total = schedule.num_train_timesteps();
    check_steps(steps, total)?;
    let lambda_min = config.lambda_min_clipped.unwrap_or(f64::NEG_INFINITY);
    let left = schedule.sigmas().iter().filter(|sigma| -sigma.ln() >= lambda_min).count();
    let too_many = Error::Steps { steps, max: left.saturating_sub(1) };
    match spacing {
        TimestepSpacing::Linspace if steps < left => {
            let all = linspace(0.0, (left - 1) as f64, steps + 1);
            Ok(all[1..].iter().rev().map(|t| t.round_ties_even()).collect())
        }
        TimestepSpacing::Leading if steps < left => {
            let (ratio, offset) = (left / (steps + 1), steps_offset(config, total)?);
            match steps * ratio + offset < total {
                true => Ok((1..=steps).rev().map(|k| (k * ratio + offset) as f64).collect()),
                // The first two would have the last level both, and a step of no length has no slope.
                false => Err(Error::Steps { steps, max: steps - 1 }),
            }
        }
        TimestepSpacing::Trailing if left > 0 => Ok(trailing(left, total, steps)),
        _ => Err(too_many),
    }
}

/// Equal steps of `total / steps` down from `start`, rounded, minus one, as NumPy's `arange` counts them: it adds multiples of the *rounded*
/// difference of the first two, which may be a hair less, so that a value falls to the other side or one more is above 0.
fn trailing(start: usize, total: usize, steps: usize) -> Vec<f64> {
    let (start, ratio) = (start as f64, total as f64 / steps as f64);
    let len = (start / ratio).ceil() as usize;
    let difference = (start - ratio) - start;
    (0..len).map(|k| (start + k as f64 * difference).round_ties_even() - 1.0).collect()
}

/// What is added to every timestep: fewer than there are.
fn steps_offset(config: &SchedulerConfig, total: usize) -> Result<usize> {
    let offset = config.steps_offset.unwrap_or(0);
    if offset >= total {
        let problem = format!("it is {offset}, and there are {total} timesteps");
        return Err(Error::SchedulerKey { key: "steps_offset".to_owned(), problem });
    }
    Ok(offset)
}

/// Refuses calls of the model that are none of so many.
pub(super) fn check_kept(kept: &[usize], calls: usize) -> Result<()> {
    match kept.iter().find(|index| **index >= calls) {
        None => Ok(()),
        Some(outside) => {
            let found = outside.to_string();
            Err(Error::Setting { name: "kept call", found, expected: "below the number of steps" })
        }
    }
}

/// σ_down and σ_up of an ancestral step from one σ to the next: σ'² = σ_down² + σ_up².
pub(super) fn ancestral_step(from: f64, to: f64) -> (f64, f64) {
    let up = (to * to * (from * from - to * to) / (from * from)).sqrt();
    ((to * to - up * up).sqrt(), up)
}

/// Refuses no steps, and more than there are timesteps.
pub(super) fn check_steps(steps: usize, total: usize) -> Result<()> {
    if steps == 0 || steps > total { Err(Error::Steps { steps, max: total }) } else { Ok(()) }
}

/// σ at (fractional) timesteps, by linear interpolation between the trained ones; beyond them, of the first or last.
pub(super) fn interpolate(sigmas: &[f64], timesteps: &[f64]) -> Vec<f64> {
    let last = sigmas.len() - 1;
    let at = |t: &f64| {
        let t = t.clamp(0.0, last as f64);
        let low = t.floor() as usize;
        let high = (low + 1).min(last);
        sigmas[low] + (sigmas[high] - sigmas[low]) * (t - t.floor())
    };
    timesteps.iter().map(at).collect()
}

/// Noise levels that are spread between two ends by a formula, without regard to timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Levels {
    /// Karras et al. 2022 (arXiv 2206.00364, equation 5, ρ = 7).
    Karras,
    /// Even in log σ.
    Exponential,
}

impl Levels {
    /// What a config asks for, if anything.
    ///
    /// # Errors
    /// For the beta distribution, for two at once, and for ends that are no levels.
    pub(super) fn of(kind: SchedulerKind, config: &SchedulerConfig) -> Result<Option<Self>> {
        SchedulerConfig::refuse(kind, &[("use_beta_sigmas", config.use_beta_sigmas)])?;
        let levels = match (config.use_karras_sigmas.unwrap_or(false), config.use_exponential_sigmas.unwrap_or(false)) {
            (false, false) => return Ok(None),
            (true, false) => Self::Karras,
            (false, true) => Self::Exponential,
            (true, true) => {
                return Err(Error::UnsupportedScheduler {
                    scheduler: kind.name(),
                    key: "use_exponential_sigmas",
                    value: "true".to_owned(),
                    hint: " together with `use_karras_sigmas`",
                });
            }
        };
        for (key, end) in [("sigma_min", config.sigma_min), ("sigma_max", config.sigma_max)] {
            if let Some(sigma) = end.filter(|sigma| *sigma <= 0.0) {
                let (scheduler, value) = (kind.name(), sigma.to_string());
                return Err(Error::UnsupportedScheduler { scheduler, key, value, hint: "; it takes numbers above 0" });
            }
        }
        Ok(Some(levels))
    }

    /// `steps` levels from the largest to the smallest: the config's own ends, or else those of `range`.
    pub(super) fn spread(self, config: &SchedulerConfig, range: SigmaRange, steps: usize) -> Vec<f64> {
        let first = config.sigma_max.unwrap_or(range.first);
        let last = config.sigma_min.unwrap_or(range.last);
        match self {
            Self::Karras => karras(SigmaRange { first, last }, steps),
            Self::Exponential => even_in_log(SigmaRange { first, last }, steps),
        }
    }
}

/// The first and the last of falling levels.
#[derive(Debug, Clone, Copy)]
pub(super) struct SigmaRange {
    pub(super) first: f64,
    pub(super) last: f64,
}

/// `n` levels over a range (Karras et al. 2022, arXiv 2206.00364, equation 5, ρ = 7).
pub(super) fn karras(range: SigmaRange, n: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let (first, last) = (range.first.powf(1.0 / RHO), range.last.powf(1.0 / RHO));
    linspace(0.0, 1.0, n).into_iter().map(|ramp| (first + ramp * (last - first)).powf(RHO)).collect()
}

/// `n` levels over a range, even in log σ.
pub(super) fn even_in_log(range: SigmaRange, n: usize) -> Vec<f64> {
    linspace(range.first.ln(), range.last.ln(), n).into_iter().map(f64::exp).collect()
}

/// The (fractional) timestep at which the trained levels reach `sigma`, interpolated in log σ.
pub(super) fn timestep_from_sigma(sigmas: &[f64], sigma: f64) -> f64 {
    let log_sigma = sigma.max(1e-10).ln();
    let above = sigmas.partition_point(|s| s.ln() <= log_sigma);
    let low = above.saturating_sub(1).min(sigmas.len().saturating_sub(2));
    let high = (low + 1).min(sigmas.len() - 1);
    let (log_low, log_high) = (sigmas[low].ln(), sigmas[high].ln());
    let weight = ((log_low - log_sigma) / (log_low - log_high)).clamp(0.0, 1.0);
    low as f64 + weight * (high - low) as f64
}

/// σ after the last step.
pub(super) fn final_sigma(config: &SchedulerConfig, sigmas: &[f64]) -> f64 {
    match config.final_sigmas_type.unwrap_or(FinalSigmas::Zero) {
        FinalSigmas::Zero => 0.0,
        FinalSigmas::SigmaMin => sigmas[0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected values of this module are diffusers 0.42.1's.

    fn config(spacing: TimestepSpacing) -> SchedulerConfig {
        SchedulerConfig { timestep_spacing: Some(spacing), steps_offset: Some(1), ..SchedulerConfig::default() }
    }

    fn message(result: Result<Box<dyn super::super::Scheduler>>) -> String {
        result.map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn thirty_steps_from_end_to_end_begin_at_the_last_timestep() -> Result<()> {
        let scheduler = SchedulerKind::Euler.build(&config(TimestepSpacing::Linspace), 30)?;
        assert_eq!((scheduler.timesteps().len(), scheduler.timesteps()[0]), (30, 999.0));
        Ok(())
    }

    #[test]
    fn trailing_timesteps_round_as_numpy_counts() {
        assert_eq!(trailing(1000, 1000, 48)[..3], [999.0, 978.0, 957.0]);
        let timesteps = trailing(1000, 1000, 61);
        assert_eq!((timesteps.len(), timesteps[60], timesteps[61]), (62, 15.0, -1.0));
    }

    #[test]
    fn what_diffusers_spoils_is_refused() {
        let trailing = config(TimestepSpacing::Trailing);
        for kind in [SchedulerKind::Ddim, SchedulerKind::Pndm] {
            let message = message(kind.build(&trailing, 61));
            assert!(message.contains("`timestep_spacing` = trailing in 61 steps"), "{message}");
        }
        assert!(SchedulerKind::Euler.build(&trailing, 61).is_ok());
        for (spacing, steps) in
            [(TimestepSpacing::Linspace, 1000), (TimestepSpacing::Leading, 999), (TimestepSpacing::Leading, 1000)]
        {
            let message = message(SchedulerKind::DpmSolverPlusPlus.build(&config(spacing), steps));
            assert!(message.contains("the scheduler takes 1 to"), "{message}");
        }
    }

    #[test]
    fn an_offset_beyond_all_timesteps_is_refused() {
        for offset in [1000, usize::MAX] {
            let config = SchedulerConfig { steps_offset: Some(offset), ..config(TimestepSpacing::Leading) };
            for kind in SchedulerKind::ALL {
                let message = message(kind.build(&config, 10));
                assert!(
                    message.contains("`steps_offset`") && message.contains(&offset.to_string()),
                    "{kind}: {message}"
                );
            }
        }
        // No other spacing reads it.
        let config = SchedulerConfig { steps_offset: Some(usize::MAX), ..config(TimestepSpacing::Linspace) };
        assert!(SchedulerKind::Euler.build(&config, 10).is_ok());
    }

    #[test]
    fn words_of_other_solvers_are_taken_and_others_refused() {
        let solver = |config: SchedulerConfig| message(SchedulerKind::DpmSolverPlusPlus.build(&config, 10));
        let of_type = |name: &str| SchedulerConfig { solver_type: Some(name.into()), ..SchedulerConfig::default() };
        for name in ["midpoint", "heun", "bh1", "bh2", "logrho"] {
            assert_eq!(solver(of_type(name)), "", "{name}");
        }
        assert!(solver(of_type("rk4")).contains("`solver_type` = rk4"));
        let learned = SchedulerConfig { variance_type: Some("learned_range".into()), ..SchedulerConfig::default() };
        assert!(solver(learned).contains("`variance_type` = learned_range"));
        let fixed = SchedulerConfig { variance_type: Some("fixed_small".into()), ..SchedulerConfig::default() };
        assert_eq!(solver(fixed), "");
        let clipped = |lambda| SchedulerConfig { lambda_min_clipped: Some(lambda), ..SchedulerConfig::default() };
        assert_eq!(solver(clipped(f64::NEG_INFINITY)), "");
        assert!(solver(clipped(f64::INFINITY)).contains("the scheduler takes 1 to 0"));
    }

    #[test]
    fn two_kinds_of_levels_and_impossible_ends_are_refused() {
        let both = SchedulerConfig {
            use_karras_sigmas: Some(true),
            use_exponential_sigmas: Some(true),
            ..SchedulerConfig::default()
        };
        assert!(message(SchedulerKind::Euler.build(&both, 10)).contains("together with `use_karras_sigmas`"));
        let ends =
            SchedulerConfig { use_karras_sigmas: Some(true), sigma_min: Some(0.0), ..SchedulerConfig::default() };
        assert!(message(SchedulerKind::Euler.build(&ends, 10)).contains("`sigma_min` = 0"));
    }

    #[test]
    fn the_initial_noise_has_the_largest_level() -> Result<()> {
        let karras = SchedulerConfig {
            use_karras_sigmas: Some(true),
            sigma_max: Some(10.0),
            ..config(TimestepSpacing::Trailing)
        };
        assert!((SchedulerKind::Euler.build(&karras, 10)?.init_noise_sigma() - 10.0).abs() < 1e-9);
        Ok(())
    }
}
