//! Schedulers against diffusers' (`parity/make_schedulers.py`): timesteps, initial sigma and the latents after every step.

use crate::fixture::{Fixture, assert_close};
use candle_core::{Device, Tensor};
use serde_json::Value;
use sinopia_diffusion::noise::{NoiseSource, Seed};
use sinopia_diffusion::schedulers::{SchedulerConfig, SchedulerKind};

/// diffusers keeps its tables in f32 and ours are f64, so a coefficient differs by up to 1e-7 of itself, fifty times over.
const TOLERANCE: f64 = 1e-5;

fn to_channels_last(x: &Tensor) -> Tensor {
    x.permute((0, 2, 3, 1)).unwrap().contiguous().unwrap()
}

/// Runs the fixture's stand-in for a model, `0.3 · input + output[i]`, and compares.
fn check(fixture: &Fixture, name: &str, case: &Value) {
    let kind = SchedulerKind::from_class_name(case["class"].as_str().unwrap()).unwrap();
    let config = SchedulerConfig::from_json(&case["config"]).unwrap();
    let mut scheduler = kind.build(&config, case["steps"].as_u64().unwrap() as usize).unwrap();

    let timesteps = Tensor::new(scheduler.timesteps(), &Device::Cpu).unwrap();
    assert_close(&format!("timesteps of {name}"), &timesteps, &fixture.get(&format!("timesteps.{name}")), TOLERANCE);
    let sigma = case["init_noise_sigma"].as_f64().unwrap();
    assert!((scheduler.init_noise_sigma() / sigma - 1.0).abs() < TOLERANCE, "initial sigma of {name}: {sigma}");

    let outputs = fixture.get("output");
    let expected = fixture.get(&format!("states.{name}"));
    let kept: Vec<u64> = serde_json::from_value(case["kept"].clone()).unwrap();
    let mut noise = NoiseSource::new(Seed(fixture.header("noise_seed").as_u64().unwrap()));
    let mut latents = (to_channels_last(&fixture.get("start")) * sigma).unwrap();
    for index in 0..scheduler.timesteps().len() {
        let input = scheduler.scale_model_input(&latents, index).unwrap();
        let output = ((input * 0.3).unwrap() + to_channels_last(&outputs.get(index).unwrap())).unwrap();
        latents = scheduler.step(&output, index, &latents, &mut noise).unwrap();
        if let Some(row) = kept.iter().position(|kept| *kept == index as u64) {
            let expected = to_channels_last(&expected.get(row).unwrap());
            assert_close(&format!("{name} after call {index}"), &latents, &expected, TOLERANCE);
        }
    }
}

/// Checks the cases of one class; the rest of the name says prediction, spacing and steps.
#[track_caller]
fn check_class(class: &str, cases: usize) {
    let fixture = Fixture::open("schedulers/schedulers.safetensors");
    let header = fixture.header("cases");
    let of_class = header.as_object().unwrap().iter().filter(|(name, _)| name.split('.').next() == Some(class));
    let mut count = 0;
    for (name, case) in of_class {
        check(&fixture, name, case);
        count += 1;
    }
    assert_eq!(count, cases, "cases of {class}");
}

#[test]
fn ddim_is_diffusers() {
    check_class("DDIM", 20);
}

#[test]
fn pndm_is_diffusers() {
    check_class("PNDM", 15);
}

#[test]
fn euler_is_diffusers() {
    check_class("EulerDiscrete", 21);
}

#[test]
fn euler_ancestral_is_diffusers() {
    check_class("EulerAncestralDiscrete", 16);
}

#[test]
fn dpm_solver_plus_plus_is_diffusers() {
    check_class("DPMSolverMultistep", 26);
}

#[test]
fn flow_match_euler_is_diffusers() {
    check_class("FlowMatchEulerDiscrete", 9);
}
