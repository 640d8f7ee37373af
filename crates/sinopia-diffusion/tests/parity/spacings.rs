//! Timesteps and noise levels at every number of steps from 1 to 1000 against diffusers (`parity/make_spacings.py`).

use crate::fixture::Fixture;
use candle_core::DType;
use sinopia_diffusion::schedulers::{Scheduler, SchedulerConfig, SchedulerKind};

const COUNTS: usize = 1000;
/// diffusers keeps its tables in f32: σ of a timestep is off by up to 3e-5 of itself near timestep 0, all that one step of `linspace` has.
const TOLERANCE: f64 = 3e-5;
/// A cosine's last β is near 1, and what is left of 1 in f32 has lost digits.
const COSINE_TOLERANCE: f64 = 1e-4;
/// Whole timesteps that follow from levels round to the other side where a level lies half-way between two: diffusers' f32 table is off by 2e-6 of σ,
/// 4e-4 of a timestep, twice of which is the share of half a million that may differ (348 do with Karras' levels).
const MAX_FLIPS: usize = 400;

/// As the script's: the bits of every timestep, in order.
fn hash(timesteps: &[f64]) -> u32 {
    let next = |hash: u32, timestep: &f64| hash.wrapping_mul(16_777_619).wrapping_add((*timestep as f32).to_bits());
    timesteps.iter().fold(1, next)
}

/// Σ σ / (i + 1).
fn weighed_levels(scheduler: &dyn Scheduler) -> f64 {
    let calls = 0..scheduler.timesteps().len();
    let sigma = |index| {
        let level = scheduler.noise_level(index);
        level.noise / level.signal
    };
    calls.map(|index| sigma(index) / (index + 1) as f64).sum()
}

fn values(fixture: &Fixture, name: &str) -> Vec<f64> {
    fixture.get(name).to_dtype(DType::F64).unwrap().to_vec1().unwrap()
}

/// Fails unless two numbers are the same up to a share of them.
#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance * expected.abs(), "{what}: {found}, diffusers {expected}");
}

#[track_caller]
fn check_case(fixture: &Fixture, name: &str, kind: SchedulerKind, config: &SchedulerConfig) {
    let names = fixture.names_after("");
    let column = |key: &str| {
        let tensor = format!("{key}.{name}");
        names.contains(&tensor).then(|| values(fixture, &tensor))
    };
    let hashes = values(fixture, &format!("hash.{name}"));
    let (sums, levels, initial) = (column("timesteps"), column("sigmas"), column("init"));
    let tolerance = if name.contains("cosine") { COSINE_TOLERANCE } else { TOLERANCE };
    let mut flips = 0;
    for steps in 1..=COUNTS {
        let what = format!("{name} in {steps} steps");
        let row = steps - 1;
        let built = kind.build(config, steps);
        if hashes[row] == 0.0 {
            // Where there is no room for Runge-Kutta steps ours go without, and diffusers raises.
            assert!(built.is_err() || (name.contains("runge_kutta") && steps < 4), "{what}: diffusers cannot paint it");
            continue;
        }
        let scheduler = built.unwrap_or_else(|error| panic!("{what}: {error}"));
        match &sums {
            None => assert_eq!(f64::from(hash(scheduler.timesteps()) as i32), hashes[row], "{what}: timesteps"),
            Some(sums) => {
                let sum: f64 = scheduler.timesteps().iter().sum();
                let is_whole = scheduler.timesteps().iter().all(|timestep| timestep.fract() == 0.0);
                if is_whole && kind == SchedulerKind::DpmSolverPlusPlus {
                    flips += (sum - sums[row]).abs() as usize;
                } else {
                    // One more than the sum: it may be 0.
                    assert_near(&format!("{what}: timesteps"), sum + 1.0, sums[row] + 1.0, TOLERANCE);
                }
            }
        }
        if let Some(levels) = &levels {
            assert_near(&format!("{what}: levels"), weighed_levels(scheduler.as_ref()), levels[row], tolerance);
        }
        if let Some(initial) = &initial {
            assert_near(&format!("{what}: initial sigma"), scheduler.init_noise_sigma(), initial[row], tolerance);
        }
    }
    println!("{name}: {flips} timesteps rounded to the other side");
    assert!(flips <= MAX_FLIPS, "{name}: {flips} timesteps differ");
}

#[track_caller]
fn check_class(class: &str, cases: usize) {
    let fixture = Fixture::open("schedulers/spacings.safetensors");
    let header = fixture.header("cases");
    let of_class = header.as_object().unwrap().iter().filter(|(_, case)| case["class"] == class);
    let mut count = 0;
    for (name, case) in of_class {
        let kind = SchedulerKind::from_class_name(class).unwrap();
        check_case(&fixture, name, kind, &SchedulerConfig::from_json(&case["config"]).unwrap());
        count += 1;
    }
    assert_eq!(count, cases, "cases of {class}");
}

#[test]
fn ddim_visits_diffusers_timesteps_at_every_count() {
    check_class("DDIMScheduler", 3);
}

#[test]
fn pndm_visits_diffusers_timesteps_at_every_count() {
    check_class("PNDMScheduler", 6);
}

#[test]
fn euler_visits_diffusers_timesteps_at_every_count() {
    check_class("EulerDiscreteScheduler", 9);
}

#[test]
fn euler_ancestral_visits_diffusers_timesteps_at_every_count() {
    check_class("EulerAncestralDiscreteScheduler", 3);
}

#[test]
fn dpm_solver_plus_plus_visits_diffusers_timesteps_at_every_count() {
    check_class("DPMSolverMultistepScheduler", 11);
}
