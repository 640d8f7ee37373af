//! What an autoencoder must do whatever its weights are.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::*;
use crate::testing::normal;

fn config() -> VaeConfig {
    VaeConfig::from_json(
        r#"{"block_out_channels": [4, 8, 8], "down_block_types": ["DownEncoderBlock2D", "DownEncoderBlock2D", "DownEncoderBlock2D"],
            "up_block_types": ["UpDecoderBlock2D", "UpDecoderBlock2D", "UpDecoderBlock2D"], "layers_per_block": 1,
            "norm_num_groups": 2, "latent_channels": 4}"#,
    )
    .unwrap()
}

fn vae() -> AutoencoderKl {
    AutoencoderKl::load(&config(), &Weights::random(5)).unwrap()
}

fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    values(a).iter().zip(values(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn shapes_follow_the_scale_factor() {
    let vae = vae();
    assert_eq!(vae.scale_factor(), 4);
    let posterior = vae.encode(&normal(1, (2, 12, 20, 3)).unwrap()).unwrap();
    assert_eq!(posterior.mean.dims(), [2, 3, 5, 4]);
    assert_eq!(posterior.logvar.dims(), [2, 3, 5, 4]);
    assert_eq!(vae.decode(&normal(2, (2, 3, 5, 4)).unwrap()).unwrap().dims(), [2, 12, 20, 3]);
}

#[test]
fn inputs_that_do_not_fit_are_answered() {
    let vae = vae();
    let message = vae.encode(&normal(1, (1, 10, 12, 3)).unwrap()).unwrap_err().to_string();
    assert!(message.contains("divisible by 4") && message.contains("[1, 10, 12, 3]"), "{message}");
    let message = vae.decode(&normal(1, (1, 4, 4, 3)).unwrap()).unwrap_err().to_string();
    assert!(message.contains("(batch, height, width, 4)") && message.contains("[1, 4, 4, 3]"), "{message}");
}

#[test]
fn a_sample_is_mean_plus_noise_times_deviation() {
    let tensor = |values: [f32; 2]| Tensor::new(&values, &Device::Cpu).unwrap().reshape((1, 1, 1, 2)).unwrap();
    let posterior = Posterior { mean: tensor([1.0, -1.0]), logvar: tensor([0.0, 4.0_f32.ln()]) };
    let sample = posterior.sample(&tensor([0.5, 1.5])).unwrap();
    assert!(largest_difference(&sample, &tensor([1.5, 2.0])) < 1e-6);
}

#[test]
fn log_variances_are_clamped() {
    let image = (normal(1, (1, 8, 8, 3)).unwrap() * 10.0).unwrap();
    let weights = Weights::random(5);
    AutoencoderKl::load(&config(), &weights).unwrap();
    let mut tensors = weights.made_up();
    let conv = (tensors["quant_conv.weight"].clone() * 1e4).unwrap();
    tensors.insert("quant_conv.weight".to_owned(), conv);
    let vae = AutoencoderKl::load(&config(), &Weights::from_tensors("tiny", tensors)).unwrap();
    let logvar = values(&vae.encode(&image).unwrap().logvar);
    assert!(logvar.contains(&-30.0) && logvar.contains(&20.0) && logvar.iter().all(|x| (-30.0..=20.0).contains(x)));
}

#[test]
fn scaling_is_by_one_factor_and_is_undone() {
    let config = VaeConfig { scaling_factor: 0.5, ..config() };
    let vae = AutoencoderKl::load(&config, &Weights::random(5)).unwrap();
    let ones = Tensor::ones((1, 1, 1, 4), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(values(&vae.scale(&ones).unwrap()), [0.5; 4]);
    assert_eq!(values(&vae.unscale(&ones).unwrap()), [2.0; 4]);
}

/// Slow waves, as images have them.
fn smooth(h: usize, w: usize) -> Tensor {
    let wave = |i: usize, j: usize, c: usize| (i as f32 * 0.11 + j as f32 * 0.07 + c as f32).sin() * 0.1;
    let cells: Vec<f32> = (0..h * w * 4).map(|index| wave(index / (4 * w), index / 4 % w, index % 4)).collect();
    Tensor::from_vec(cells, (1, h, w, 4), &Device::Cpu).unwrap()
}

#[test]
fn small_latents_are_decoded_whole() {
    let tiled = vae().with_tiling(Tiling { above: 12, tile: 8, overlap: 2 }).unwrap();
    let whole = vae().with_tiling(Tiling::OFF).unwrap();
    let latents = smooth(12, 12);
    assert_eq!(values(&tiled.decode(&latents).unwrap()), values(&whole.decode(&latents).unwrap()));
}

#[test]
fn tiles_are_blended_into_nearly_the_same_image() {
    let latents = smooth(21, 30);
    let whole = vae().with_tiling(Tiling::OFF).unwrap().decode(&latents).unwrap();
    let tiled = vae().with_tiling(Tiling { above: 12, tile: 12, overlap: 4 }).unwrap().decode(&latents).unwrap();
    let span = values(&whole).iter().fold(0.0_f32, |span, x| span.max(x.abs()));
    let difference: f32 =
        values(&whole).iter().zip(values(&tiled)).map(|(a, b)| (a - b).abs()).sum::<f32>() / whole.elem_count() as f32;
    assert_eq!(tiled.dims(), whole.dims());
    assert!(difference < 0.1 * span, "mean difference {difference} of {span}");
}

#[test]
fn decoding_is_given_up_when_it_is_cancelled() {
    let tiled = vae().with_tiling(Tiling { above: 12, tile: 12, overlap: 4 }).unwrap();
    let token = CancellationToken::new();
    assert!(tiled.decode_cancellable(&smooth(21, 14), Some(&token)).is_ok());
    token.cancel();
    assert!(matches!(tiled.decode_cancellable(&smooth(21, 14), Some(&token)), Err(Error::Cancelled)));
}

/// Layers of the decoder of [`config`]: the middle block, two resnets a level, an upsampler between levels.
const DECODER_LAYERS: usize = 3 + 3 * 2 + 2;
/// Layers of the encoder of [`config`]: a resnet a level, a downsampler between levels, the middle block.
const ENCODER_LAYERS: usize = 3 + 2 + 3;

#[test]
fn decoding_and_encoding_check_the_token_before_every_layer() {
    let whole = vae().with_tiling(Tiling::OFF).unwrap();
    let token = CancellationToken::counting();
    whole.decode_cancellable(&smooth(64, 64), Some(&token)).unwrap();
    assert_eq!(token.num_checks(), DECODER_LAYERS + 1, "and before the last convolution");

    let (token, tiled) =
        (CancellationToken::counting(), vae().with_tiling(Tiling { above: 8, tile: 8, overlap: 2 }).unwrap());
    tiled.decode_cancellable(&smooth(8, 14), Some(&token)).unwrap();
    assert_eq!(token.num_checks(), 2 * (DECODER_LAYERS + 1), "in each of two tiles");

    let (token, image) = (CancellationToken::counting(), normal(1, (1, 16, 16, 3)).unwrap());
    whole.encode_cancellable(&image, Some(&token)).unwrap();
    assert_eq!(token.num_checks(), ENCODER_LAYERS + 1);

    for at in 1..=2 * (DECODER_LAYERS + 1) {
        let token = CancellationToken::cancelled_at_check(at);
        assert!(matches!(tiled.decode_cancellable(&smooth(8, 14), Some(&token)), Err(Error::Cancelled)));
        assert_eq!(token.num_checks(), at, "nothing is done afterwards");
    }
    for at in 1..=ENCODER_LAYERS + 1 {
        let token = CancellationToken::cancelled_at_check(at);
        assert!(matches!(whole.encode_cancellable(&image, Some(&token)), Err(Error::Cancelled)));
        assert_eq!(token.num_checks(), at);
    }
}

#[test]
fn old_names_of_the_attention_are_read() {
    let weights = Weights::random(5);
    let new = AutoencoderKl::load(&config(), &weights).unwrap();
    let old_name = |name: &str| {
        [(".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."), (".to_out.0.", ".proj_attn.")]
            .iter()
            .fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    };
    let tensors: HashMap<String, Tensor> =
        weights.made_up().into_iter().map(|(name, t)| (old_name(&name), t)).collect();
    assert!(tensors.contains_key("decoder.mid_block.attentions.0.proj_attn.bias"));
    let old = AutoencoderKl::load(&config(), &Weights::from_tensors("old", tensors)).unwrap();
    let latents = smooth(4, 4);
    assert_eq!(values(&old.decode(&latents).unwrap()), values(&new.decode(&latents).unwrap()));
}
