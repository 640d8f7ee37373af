//! How far a UNet's predictions are from those in f32: `precision_error FOLDER [PRECISION…]`, where the folder is a checkpoint's and the precisions
//! are `bf16`, `int8` and `auto`. For each it tells the relative L2 error of the predictions for noise at four timesteps, how long loading
//! and the passes took, and the most memory that the process has held.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, Tensor};
use sinopia_models::testing::normal;
use sinopia_models::unet::{DenoiserRequest, TextConditioning, UNet2DConditionModel, UNetConfig};
use sinopia_models::{Precision, Weights};
use sinopia_nn::memory::{Allocator, keep_freed};
use sinopia_nn::threads::quiet_tensor_library;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const TIMESTEPS: [f64; 4] = [981.0, 601.0, 261.0, 21.0];

fn main() -> Result<()> {
    quiet_tensor_library();
    keep_freed();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, names @ ..] = arguments.as_slice() else {
        return Err("usage: precision_error FOLDER [bf16|int8|auto…]".into());
    };
    let folder = Path::new(folder).join("unet");
    let mut others = Vec::new();
    for name in names {
        let precision = match name.as_str() {
            "bf16" => Precision::Bf16,
            "int8" => Precision::Int8,
            "auto" => Precision::Auto,
            other => return Err(format!("unknown precision `{other}`").into()),
        };
        others.push((name, predictions(&folder, precision)?));
    }
    let exact = predictions(&folder, Precision::F32)?;
    for (name, found) in others {
        for ((found, exact), timestep) in found.iter().zip(&exact).zip(TIMESTEPS) {
            let error = length(&(found - exact)?)? / length(exact)?;
            println!("{name} at {timestep}: {:.3} %", 100.0 * error);
        }
    }
    Ok(())
}

/// What the network makes of noise at each timestep.
fn predictions(folder: &Path, precision: Precision) -> Result<Vec<Tensor>> {
    let config = UNetConfig::from_json(&std::fs::read_to_string(folder.join("config.json"))?)?;
    let start = Instant::now();
    let files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .filter(
            |path: &Result<PathBuf>| !matches!(path, Ok(path) if path.extension().is_none_or(|e| e != "safetensors")),
        )
        .collect::<Result<_>>()?;
    let unet = UNet2DConditionModel::load(&config, &Weights::open(&files, &Device::Cpu, precision)?)?;
    let loaded = start.elapsed().as_secs_f64();
    let text = TextConditioning::new(&normal(7, &[2, 77, unet.text_width()])?)?;
    let (height, width) = config.sample_hw().unwrap_or((64, 64));
    let mut predictions = Vec::new();
    for (seed, timestep) in (1..).zip(TIMESTEPS) {
        let latents = normal(seed, &[2, height, width, config.in_channels])?;
        let reply = unet.forward(&DenoiserRequest::new(&latents, timestep, &text))?;
        predictions.push(reply.prediction.ok_or("no prediction")?);
    }
    let all = start.elapsed().as_secs_f64() - loaded;
    println!(
        "{precision:?}: loaded in {loaded:.1} s, {:.2} s a pass; {}",
        all / TIMESTEPS.len() as f64,
        most_memory()?
    );
    Ok(predictions)
}

fn length(x: &Tensor) -> Result<f32> {
    Ok(x.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt())
}

/// The line of the system's report.
fn most_memory() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Ok(status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM unknown").replace('\t', " "))
}
