//! Every operation at the shapes of Stable Diffusion 1's UNet (batch of two, 64 × 64 latents), named after where they occur.
//!
//! `cargo bench -p sinopia-nn [PART OF A NAME]` tells the median, the least and the most of ten runs; `cargo test` runs each once.

#![expect(clippy::print_stdout, reason = "its figures are what it is for")]

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use sinopia_nn::{
    Arithmetic, Conv2d, Conv2dOptions, GroupNorm, LayerNorm, Linear, Padding, Result, activation, attention, upsample,
    vjp,
};

fn random(shape: &[usize]) -> Tensor {
    // The device has room for a few megabytes.
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

/// How often an operation runs when it is timed.
const RUNS: usize = 10;

fn run(name: &str, f: impl Fn() -> Result<Tensor>) {
    // What cargo passes to a bench: `--bench`, and the parts of names that the user wants.
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (flags, wanted): (Vec<_>, Vec<_>) = args.iter().partition(|arg| arg.starts_with('-'));
    if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
        return;
    }
    let once = || {
        let start = Instant::now();
        f().unwrap_or_else(|error| panic!("{name}: {error}"));
        start.elapsed().as_secs_f64() * 1e3
    };
    let warm_up = once();
    if !flags.iter().any(|flag| *flag == "--bench") {
        return println!("{name}: {warm_up:.2} ms, once");
    }
    let mut times: Vec<f64> = (0..RUNS).map(|_| once()).collect();
    times.sort_by(f64::total_cmp);
    println!("{name}: {:.2} ms ({:.2}–{:.2})", times[RUNS / 2], times[0], times[RUNS - 1]);
}

/// How layers multiply.
const ARITHMETICS: [Arithmetic; 3] = [Arithmetic::F32, Arithmetic::Bf16, Arithmetic::Int8];

/// A weight from which a layer is made that multiplies so.
fn weight(shape: &[usize], arithmetic: Arithmetic) -> Tensor {
    let dtype = if arithmetic == Arithmetic::Bf16 { DType::BF16 } else { DType::F32 };
    random(shape).to_dtype(dtype).unwrap_or_else(|error| panic!("{error}"))
}

fn linear() {
    for (place, rows, inputs, outputs) in
        [("down.0 to_q", 4096, 320, 320), ("down.0 ff proj", 4096, 320, 2560), ("up.1 ff out", 256, 5120, 1280)]
    {
        let x = random(&[2, rows, inputs]);
        for arithmetic in ARITHMETICS {
            let weight = weight(&[outputs, inputs], arithmetic);
            let layer = match arithmetic {
                Arithmetic::Int8 => Linear::int8(&weight, None),
                _ => Linear::new(&weight, None),
            };
            let layer = layer.unwrap_or_else(|error| panic!("{error}"));
            run(&format!("linear/{place}/{arithmetic:?}"), || layer.forward(&x));
        }
    }
}

fn conv2d() {
    let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
    for (place, side, inputs, outputs) in
        [("down.0 conv1", 64, 320, 320), ("up.2 conv1", 32, 1280, 640), ("mid conv1", 8, 1280, 1280)]
    {
        let x = random(&[2, side, side, inputs]);
        for arithmetic in ARITHMETICS {
            let weight = weight(&[outputs, inputs, 3, 3], arithmetic);
            let layer = match arithmetic {
                Arithmetic::Int8 => Conv2d::int8(&weight, None, options),
                _ => Conv2d::new(&weight, None, options),
            };
            let layer = layer.unwrap_or_else(|error| panic!("{error}"));
            run(&format!("conv2d/{place}/{arithmetic:?}"), || layer.forward(&x));
            if side == 32 {
                let grad = [Some(random(&[2, side, side, outputs]))];
                let pull = || Ok(vjp(std::slice::from_ref(&x), |x| Ok(vec![layer.forward(&x[0])?]), &grad)?.remove(0));
                run(&format!("conv2d gradient/{place}/{arithmetic:?}"), pull);
            }
        }
    }
}

fn attend() {
    for (place, queries, keys, width) in
        [("down.0 attn1", 4096, 4096, 320), ("down.0 attn2", 4096, 77, 320), ("up.1 attn1", 256, 256, 1280)]
    {
        let (q, k, v) = (random(&[2, queries, width]), random(&[2, keys, width]), random(&[2, keys, width]));
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
            let name = format!("attention/{place}/{arithmetic:?}");
            run(&name, || attention::attention_with(&q, &k, &v, 8, arithmetic));
        }
    }
}

fn rows() {
    let (scale, image) = (random(&[320]), random(&[2, 64, 64, 320]));
    let tokens = random(&[2, 4096, 320]);
    let group_norm = GroupNorm::new(&scale, &scale, 32, 1e-5).unwrap_or_else(|error| panic!("{error}"));
    let layer_norm = LayerNorm::new(&scale, &scale, 1e-5).unwrap_or_else(|error| panic!("{error}"));
    let wide = random(&[2, 4096, 2560]);
    run("group_norm and silu/down.0", || group_norm.forward_silu(&image));
    run("layer_norm/down.0", || layer_norm.forward(&tokens));
    run("geglu/down.0", || activation::geglu(&wide));
    run("silu/down.0", || activation::silu(&image));
    let coarse = random(&[2, 32, 32, 640]);
    run("upsample/up.2", || upsample::nearest_2x(&coarse));
}

fn main() {
    linear();
    conv2d();
    attend();
    rows();
}
