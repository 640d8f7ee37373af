//! Which timesteps are visited, and the noise levels of the schedulers that work in σ.

use super::config::{FinalSigmas, SchedulerConfig, TimestepSpacing};
use super::noise_schedule::{NoiseSchedule, linspace};
use crate::{Error, Result};

/// The descending timesteps of DDIM, PNDM and Euler (before rounding: `linspace` gives fractions).
///
/// # Errors
/// When there are more steps than timesteps, or the offset pushes the first one out of the schedule.
pub(super) fn timesteps(
    config: &SchedulerConfig,
    default: TimestepSpacing,
    schedule: &NoiseSchedule,
    steps: usize,
) -> Result<Vec<f64>> {
    let spacing = config.timestep_spacing.unwrap_or(default);
    let (total, offset) = (schedule.num_train_timesteps(), config.steps_offset.unwrap_or(0));
    check_steps(steps, total)?;
    let timesteps: Vec<f64> = match spacing {
        TimestepSpacing::Leading => {
            let ratio = total / steps;
            (0..steps).rev().map(|k| (k * ratio + offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing(total, total, steps),
        TimestepSpacing::Linspace => linspace(0.0, (total - 1) as f64, steps).into_iter().rev().collect(),
    };
    check_first(&timesteps, total, steps)?;
    Ok(timesteps)
}

/// The descending timesteps of DPM-Solver++, which leaves room for one more step at the end.
///
/// # Errors
/// As [`timesteps`].
pub(super) fn dpm_timesteps(config: &SchedulerConfig, schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
    let (total, offset) = (schedule.num_train_timesteps(), config.steps_offset.unwrap_or(0));
    check_steps(steps, total)?;
    let timesteps: Vec<f64> = match spacing {
        TimestepSpacing::Linspace => {
            linspace(0.0, (total - 1) as f64, steps + 1)[1..].iter().rev().map(|t| t.round_ties_even()).collect()
        }
        TimestepSpacing::Leading => {
            let ratio = total / (steps + 1);
            if ratio == 0 {
                return Err(Error::Steps { steps, max: total - 1 });
            }
            (1..=steps).rev().map(|k| (k * ratio + offset) as f64).collect()
        }
        TimestepSpacing::Trailing => trailing(total, total, steps),
    };
    check_first(&timesteps, total, steps)?;
    Ok(timesteps)
}

/// Equal steps of `total / steps` down from `start`, rounded, minus one.
fn trailing(start: usize, total: usize, steps: usize) -> Vec<f64> {
    let ratio = total as f64 / steps as f64;
    (0..steps).map(|k| (start as f64 - k as f64 * ratio).round_ties_even() - 1.0).collect()
}

fn check_steps(steps: usize, total: usize) -> Result<()> {
    if steps == 0 || steps > total { Err(Error::Steps { steps, max: total }) } else { Ok(()) }
}

/// With all T steps and an offset the first timestep would be T.
fn check_first(timesteps: &[f64], total: usize, steps: usize) -> Result<()> {
    match timesteps.first() {
        Some(first) if *first > (total - 1) as f64 => Err(Error::Steps { steps, max: total - 1 }),
        _ => Ok(()),
    }
}

/// σ at (fractional) timesteps, by linear interpolation between the trained ones.
pub(super) fn interpolate(sigmas: &[f64], timesteps: &[f64]) -> Vec<f64> {
    let at = |t: &f64| {
        let low = (t.floor() as usize).min(sigmas.len() - 1);
        let high = (low + 1).min(sigmas.len() - 1);
        sigmas[low] + (sigmas[high] - sigmas[low]) * (t - t.floor())
    };
    timesteps.iter().map(at).collect()
}

/// The levels of Karras et al. 2022 (arXiv 2206.00364, equation 5, ρ = 7) from `max` to `min`.
pub(super) fn karras(config: &SchedulerConfig, (max, min): (f64, f64), steps: usize) -> Vec<f64> {
    const RHO: f64 = 7.0;
    let max = config.sigma_max.unwrap_or(max).powf(1.0 / RHO);
    let min = config.sigma_min.unwrap_or(min).powf(1.0 / RHO);
    linspace(0.0, 1.0, steps).into_iter().map(|ramp| (max + ramp * (min - max)).powf(RHO)).collect()
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
