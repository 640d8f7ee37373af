//! DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095, algorithm 2): second order from the last two predictions.

use candle_core::Tensor;
use sinopia_models::checkpoint::PredictionType;

use super::config::{BetaSchedule, FinalSigmas, SchedulerConfig};
use super::noise_level::{NoiseLevel, Prediction};
use super::noise_schedule::NoiseSchedule;
use super::spacing::{Levels, SigmaRange};
use super::{Scheduler, SchedulerKind, combine, spacing};
use crate::noise::NoiseSource;
use crate::{Error, Result};

/// The multistep solver of the data prediction. Latents are variance preserving.
///
/// With α = 1/√(1+σ²), s = σ·α, λ = ln α − ln s and h = λ' − λ: first order `x' = s'/s·x − α'·(e^{−h} − 1)·x₀`; second order by the midpoint
/// replaces x₀ by `x₀ + (x₀ − x₀_prev)/(2r)`, r = (λ − λ_prev)/h; Heun's adds `α'·((e^{−h} − 1)/h + 1)·(x₀ − x₀_prev)/r`.
#[derive(Debug, Clone)]
pub struct DpmSolverPlusPlus2M {
    timesteps: Vec<f64>,
    /// σ before each step, and the last after it.
    sigmas: Vec<f64>,
    prediction_type: PredictionType,
    solver_order: usize,
    /// Whether second-order steps are Heun's and not by the midpoint.
    is_heun: bool,
    /// Whether the last step is of first order.
    is_first_order_last: bool,
    /// x₀ of the step before.
    previous: Option<Tensor>,
}

impl DpmSolverPlusPlus2M {
    /// diffusers' `DPMSolverMultistepScheduler` with its default algorithm, `dpmsolver++`.
    ///
    /// # Errors
    /// When the config asks for another algorithm, order 3, a predicted variance, or sigmas other than the trained, Karras' and Lu's.
    pub fn new(config: &SchedulerConfig, steps: usize) -> Result<Self> {
        refuse_unsupported(config)?;
        let levels = Levels::of(SchedulerKind::DpmSolverPlusPlus, config)?;
        let schedule = NoiseSchedule::new(config, true)?;
        let trained = schedule.sigmas();
        let range = SigmaRange { first: trained[trained.len() - 1], last: trained[0] }; // of the whole training, unlike Euler's
        spacing::check_steps(steps, trained.len())?;
        let spread = match levels {
            Some(levels) => Some(levels.spread(config, range, steps)),
            None => config.use_lu_lambdas.unwrap_or(false).then(|| spacing::even_in_log(range, steps)),
        };
        let (timesteps, mut sigmas): (Vec<f64>, Vec<f64>) = match spread {
            Some(sigmas) => {
                let timestep = |sigma: &f64| spacing::timestep_from_sigma(&trained, *sigma).round_ties_even();
                (sigmas.iter().map(timestep).collect(), sigmas)
            }
            None => {
                let timesteps = spacing::dpm_timesteps(config, &schedule, steps)?;
                let sigmas = spacing::interpolate(&trained, &timesteps);
                (timesteps, sigmas)
            }
        };
        sigmas.push(spacing::final_sigma(config, &trained));
        let ends_in_zero = config.final_sigmas_type.unwrap_or(FinalSigmas::Zero) == FinalSigmas::Zero;
        let is_short = config.lower_order_final.unwrap_or(true) && sigmas.len() - 1 < 15;
        Ok(Self {
            timesteps,
            sigmas,
            prediction_type: config.prediction_type.unwrap_or(PredictionType::Epsilon),
            solver_order: config.solver_order.unwrap_or(2),
            is_heun: config.solver_type.as_deref() == Some("heun"),
            is_first_order_last: ends_in_zero || is_short || config.euler_at_final.unwrap_or(false),
            previous: None,
        })
    }
}

fn refuse_unsupported(config: &SchedulerConfig) -> Result<()> {
    let kind = SchedulerKind::DpmSolverPlusPlus;
    let unsupported = [
        ("thresholding", config.thresholding),
        ("use_flow_sigmas", config.use_flow_sigmas),
        // diffusers cuts their timesteps off instead of rounding them: whether the first is 999 or 998 hangs on the last bit of a logarithm.
        ("use_exponential_sigmas", config.use_exponential_sigmas),
    ];
    SchedulerConfig::refuse(kind, &unsupported)?;
    let refused = |key, value: &str, hint| {
        Err(Error::UnsupportedScheduler { scheduler: kind.name(), key, value: value.to_owned(), hint })
    };
    // DEIS's and UniPC's words, which diffusers takes for the defaults here.
    match config.algorithm_type.as_deref() {
        None | Some("dpmsolver++" | "deis") => {}
        Some(other) => return refused("algorithm_type", other, "; it takes dpmsolver++"),
    }
    match config.solver_type.as_deref() {
        None | Some("midpoint" | "heun" | "logrho" | "bh1" | "bh2") => {}
        Some(other) => return refused("solver_type", other, "; it takes midpoint and heun"),
    }
    if let Some(learned @ ("learned" | "learned_range")) = config.variance_type.as_deref() {
        return refused("variance_type", learned, "");
    }
    let is_spread = config.use_karras_sigmas.unwrap_or(false) || config.use_lu_lambdas.unwrap_or(false);
    if is_spread && config.beta_schedule == Some(BetaSchedule::SquaredcosCapV2) {
        // diffusers cuts the timesteps off there, so that the first comes twice, and loses its place.
        return refused("beta_schedule", "squaredcos_cap_v2", " with the sigmas of Karras or Lu");
    }
    match config.solver_order {
        Some(order) if !(1..=2).contains(&order) => refused("solver_order", &order.to_string(), "; it takes 1 and 2"),
        _ => Ok(()),
    }
}

/// α and s of a level σ, and λ = ln(α/s) = −ln σ.
fn alpha_s_lambda(sigma: f64) -> (f64, f64, f64) {
    let alpha = 1.0 / sigma.hypot(1.0);
    (alpha, sigma * alpha, -sigma.ln())
}

impl Scheduler for DpmSolverPlusPlus2M {
    fn kind(&self) -> SchedulerKind {
        SchedulerKind::DpmSolverPlusPlus
    }

    fn prediction_type(&self) -> PredictionType {
        self.prediction_type
    }

    fn timesteps(&self) -> &[f64] {
        &self.timesteps
    }

    fn noise_level(&self, index: usize) -> NoiseLevel {
        NoiseLevel { latent_scale: 1.0, ..NoiseLevel::sigma_scaled(self.sigmas[index]) }
    }

    /// As a step of first order goes: its history knows nothing of a way back.
    fn noise_level_after(&self, index: usize) -> Option<NoiseLevel> {
        Some(self.noise_level(index + 1))
    }

    fn step(
        &mut self,
        model_output: &Tensor,
        index: usize,
        latents: &Tensor,
        _noise: &mut NoiseSource,
    ) -> Result<Tensor> {
        let p = Prediction::new(self.prediction_type, self.noise_level(index));
        let x0 = combine(&[(p.x0_latents, latents), (p.x0_output, model_output)])?;
        let previous = self.previous.replace(x0.clone());
        let is_last = index + 1 == self.timesteps.len();

        let (alpha, s, lambda) = alpha_s_lambda(self.sigmas[index + 1]);
        let (_, s_now, lambda_now) = alpha_s_lambda(self.sigmas[index]);
        let h = lambda - lambda_now; // infinite when no noise is left: e^{−h} is 0 and the step lands on x₀
        let gain = -alpha * (-h).exp_m1();
        match previous {
            // Without a step (h = 0, where the last level is the smallest and stays) there is nothing to correct.
            Some(previous)
                if index > 0 && h != 0.0 && self.solver_order == 2 && !(is_last && self.is_first_order_last) =>
            {
                let (_, _, lambda_previous) = alpha_s_lambda(self.sigmas[index - 1]);
                let r = (lambda_now - lambda_previous) / h;
                let slope = if self.is_heun { (alpha - gain / h) / r } else { 0.5 * gain / r };
                combine(&[(s / s_now, latents), (gain + slope, &x0), (-slope, &previous)])
            }
            _ => combine(&[(s / s_now, latents), (gain, &x0)]),
        }
    }
}
