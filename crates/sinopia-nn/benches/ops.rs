//! Every operation at the shapes of Stable Diffusion 1's UNet (batch of two, 64 × 64 latents), named after where they occur.
//!
//! `cargo bench -p sinopia-nn`; with `--test` each runs once, which is what `cargo test` does.

use candle_core::{DType, Device, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use sinopia_nn::{
    Arithmetic, Conv2d, Conv2dOptions, GroupNorm, LayerNorm, Linear, Padding, Result, activation, attention, upsample,
    vjp,
};

fn random(shape: &[usize]) -> Tensor {
    // The device has room for a few megabytes.
    Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap_or_else(|error| panic!("{error}"))
}

fn run(criterion: &mut Criterion, name: &str, f: impl Fn() -> Result<Tensor>) {
    criterion.bench_function(name, |bencher| {
        bencher.iter(|| f().unwrap_or_else(|error| panic!("{name}: {error}")));
    });
}

fn linear(criterion: &mut Criterion) {
    for (place, rows, inputs, outputs) in
        [("down.0 to_q", 4096, 320, 320), ("down.0 ff proj", 4096, 320, 2560), ("up.1 ff out", 256, 5120, 1280)]
    {
        let x = random(&[2, rows, inputs]);
        for dtype in [DType::F32, DType::BF16] {
            let weight = random(&[outputs, inputs]).to_dtype(dtype);
            let layer = weight.map_err(Into::into).and_then(|weight| Linear::new(&weight, None));
            let layer = layer.unwrap_or_else(|error| panic!("{error}"));
            run(criterion, &format!("linear/{place}/{dtype:?}"), || layer.forward(&x));
        }
    }
}

fn conv2d(criterion: &mut Criterion) {
    let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
    for (place, side, inputs, outputs) in
        [("down.0 conv1", 64, 320, 320), ("up.2 conv1", 32, 1280, 640), ("mid conv1", 8, 1280, 1280)]
    {
        let x = random(&[2, side, side, inputs]);
        for dtype in [DType::F32, DType::BF16] {
            let weight = random(&[outputs, inputs, 3, 3]).to_dtype(dtype);
            let layer = weight.map_err(Into::into).and_then(|weight| Conv2d::new(&weight, None, options));
            let layer = layer.unwrap_or_else(|error| panic!("{error}"));
            run(criterion, &format!("conv2d/{place}/{dtype:?}"), || layer.forward(&x));
            if side == 32 {
                let grad = [Some(random(&[2, side, side, outputs]))];
                let pull = || Ok(vjp(std::slice::from_ref(&x), |x| Ok(vec![layer.forward(&x[0])?]), &grad)?.remove(0));
                run(criterion, &format!("conv2d gradient/{place}/{dtype:?}"), pull);
            }
        }
    }
}

fn attend(criterion: &mut Criterion) {
    for (place, queries, keys, width) in
        [("down.0 attn1", 4096, 4096, 320), ("down.0 attn2", 4096, 77, 320), ("up.1 attn1", 256, 256, 1280)]
    {
        let (q, k, v) = (random(&[2, queries, width]), random(&[2, keys, width]), random(&[2, keys, width]));
        for arithmetic in [Arithmetic::F32, Arithmetic::Bf16] {
            let name = format!("attention/{place}/{arithmetic:?}");
            run(criterion, &name, || attention::attention_with(&q, &k, &v, 8, arithmetic));
        }
    }
}

fn rows(criterion: &mut Criterion) {
    let (scale, image) = (random(&[320]), random(&[2, 64, 64, 320]));
    let tokens = random(&[2, 4096, 320]);
    let group_norm = GroupNorm::new(&scale, &scale, 32, 1e-5).unwrap_or_else(|error| panic!("{error}"));
    let layer_norm = LayerNorm::new(&scale, &scale, 1e-5).unwrap_or_else(|error| panic!("{error}"));
    let wide = random(&[2, 4096, 2560]);
    run(criterion, "group_norm and silu/down.0", || group_norm.forward_silu(&image));
    run(criterion, "layer_norm/down.0", || layer_norm.forward(&tokens));
    run(criterion, "geglu/down.0", || activation::geglu(&wide));
    run(criterion, "silu/down.0", || activation::silu(&image));
    let coarse = random(&[2, 32, 32, 640]);
    run(criterion, "upsample/up.2", || upsample::nearest_2x(&coarse));
}

criterion_group! {
    name = ops;
    config = Criterion::default().sample_size(10);
    targets = linear, conv2d, attend, rows
}
criterion_main!(ops);
