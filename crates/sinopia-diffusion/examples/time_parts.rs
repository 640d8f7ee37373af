//! Times the parts of a generation on a checkpoint folder, one part a line of standard input: for `benches/peers/compare.py`, which takes turns
//! with the reference libraries. Usage: `time_parts MODEL f32|bf16|int8|stored [THREADS]`, MODEL being a folder or a file; then lines `step`, `guidance`, `decode`, `encode`. Each is
//! answered by its seconds; the first line, unasked, has those of loading, then which instructions the kernels use and what is multiplied in.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use sinopia_diffusion::Pipeline;
use sinopia_diffusion::parts::{Part, Parts};
use sinopia_models::Precision;
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;
use sinopia_nn::instructions;
use sinopia_nn::memory::{Allocator, keep_freed};
use sinopia_nn::threads::quiet_tensor_library;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

const USAGE: &str = "usage: time_parts MODEL f32|bf16|int8|stored [THREADS]";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    quiet_tensor_library();
    keep_freed();
    instructions::check_limit()?;
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, precision, rest @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    if let [threads] = rest {
        sinopia_nn::threads::set_num_threads(threads.parse()?)?;
    }
    let start = Instant::now();
    let pipeline = load(PathBuf::from(model), precision)?;
    let parts = Parts::new(&pipeline)?;
    let instructions = instructions::instructions();
    let used = if precision == "int8" { instructions.used_in_8_bits } else { instructions.used };
    say(&format!("{:.4} {used} {precision}", start.elapsed().as_secs_f64()))?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let part = Part::named(&line).ok_or_else(|| format!("unknown part `{line}`"))?;
        let start = Instant::now();
        parts.run(part, None)?;
        say(&format!("{:.4}", start.elapsed().as_secs_f64()))?;
    }
    Ok(())
}

fn load(model: PathBuf, precision: &str) -> Result<Pipeline> {
    let precision = match precision {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        "int8" => Precision::Int8,
        "stored" => Precision::Auto,
        _ => return Err(USAGE.into()),
    };
    let source = if model.is_dir() { ModelSource::Folder(model) } else { ModelSource::File(model) };
    let options = OpenOptions { precision, ..OpenOptions::default() };
    Ok(Pipeline::load(&Checkpoint::open(&source, &options, &NoProgress)?)?)
}

/// A line that is read at once.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
