//! What a UNet must do whatever its weights are.

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor, Var};
use sinopia_layout::{Grid, GridMask};

use super::*;
use crate::testing::normal;
use crate::{CancellationToken, Error, Weights};

/// Two levels, attention at the finer one and in the middle: the miniature's shape.
pub(super) fn two_levels() -> UNetConfig {
    config(
        r#"{"block_out_channels": [8, 16], "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"], "layers_per_block": 2, "norm_num_groups": 4,
            "cross_attention_dim": 12, "attention_head_dim": 2}"#,
    )
}

/// Three levels with everything different at each, attention where it is least expected, several layers in a transformer.
pub(super) fn three_levels() -> UNetConfig {
    config(
        r#"{"block_out_channels": [4, 12, 8],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"], "layers_per_block": [1, 2, 1],
            "norm_num_groups": 2, "cross_attention_dim": 6, "attention_head_dim": [1, 3, 4], "in_channels": 3, "out_channels": 5,
            "transformer_layers_per_block": [1, 1, 2], "use_linear_projection": true, "flip_sin_to_cos": false, "freq_shift": 1}"#,
    )
}

pub(super) fn one_level() -> UNetConfig {
    config(
        r#"{"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D"],
            "layers_per_block": 1, "norm_num_groups": 4, "cross_attention_dim": 6, "attention_head_dim": 2}"#,
    )
}

/// [`two_levels`] with grounding adapters.
pub(super) fn gated() -> UNetConfig {
    let mut config = two_levels();
    config.other.insert("attention_type".into(), "gated".into());
    config
}

pub(super) fn grounding(unet: &UNet2DConditionModel, b: usize) -> Grounding {
    let width = unet.text_width();
    let mask: Vec<f32> = (0..b * 5).map(|slot| if slot % 5 < 2 { 1.0 } else { 0.0 }).collect();
    let mask = Tensor::from_vec(mask, (b, 5), &candle_core::Device::Cpu).unwrap();
    let boxes = (normal(5, (b, 5, 4)).unwrap().abs().unwrap() * 0.3).unwrap();
    Grounding::new(&boxes, &normal(6, (b, 5, width)).unwrap(), &mask).unwrap()
}

/// Erases the cells that `is_erased` says, counted row by row.
pub(super) fn eraser(grid: Grid, query_scale: f64, is_erased: impl Fn(usize) -> bool) -> Eraser {
    let mask = GridMask::from_cells(grid, (0..grid.cells()).map(is_erased).collect()).unwrap();
    Eraser::new(mask, query_scale).unwrap()
}

fn config(json: &str) -> UNetConfig {
    UNetConfig::from_json(json).unwrap()
}

pub(super) fn unet(config: &UNetConfig) -> UNet2DConditionModel {
    UNet2DConditionModel::load(config, &Weights::random(1)).unwrap()
}

/// Latents and a text for a network.
pub(super) struct Inputs {
    pub(super) latents: Tensor,
    pub(super) text: TextConditioning,
}

impl Inputs {
    pub(super) fn new(unet: &UNet2DConditionModel, b: usize, h: usize, w: usize) -> Self {
        let text = normal(3, (b, 7, unet.text_width())).unwrap();
        Self {
            latents: normal(2, (b, h, w, unet.config().in_channels)).unwrap(),
            text: TextConditioning::new(&text).unwrap(),
        }
    }

    pub(super) fn request<'a>(
        &'a self,
        record: Option<&'a Recording>,
        last_key: Option<AttnKey>,
    ) -> DenoiserRequest<'a> {
        DenoiserRequest { record, last_key, ..DenoiserRequest::new(&self.latents, 321.5, &self.text) }
    }
}

pub(super) fn values(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest difference in parts of the largest value.
#[track_caller]
fn assert_near(found: &Tensor, expected: &Tensor, tolerance: f32) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(f32::MIN_POSITIVE, |scale, x| scale.max(x.abs()));
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    assert!(worst <= tolerance, "largest difference {worst:e} of the largest value {scale}");
}

#[test]
fn noise_has_the_grid_of_the_latents_whatever_it_is() {
    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        for (b, (h, w)) in [(1, (8, 8)), (2, (9, 7)), (3, (5, 12)), (1, (1, 1)), (1, (2, 3))] {
            let inputs = Inputs::new(&unet, b, h, w);
            let noise = unet.forward(&inputs.request(None, None)).unwrap().prediction.unwrap();
            assert_eq!(noise.dims(), [b, h, w, config.out_channels]);
            assert!(values(&noise).iter().all(|x| x.is_finite()) && values(&noise).iter().any(|x| x.abs() > 1e-3));
        }
    }
}

#[test]
fn maps_are_probabilities_on_the_keys_grid() {
    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        let inputs = Inputs::new(&unet, 2, 9, 7);
        let record = Recording::new(unet.attention_keys());
        let maps = unet.forward(&inputs.request(Some(&record), None)).unwrap().maps;
        assert_eq!(maps.keys().copied().collect::<Vec<_>>(), unet.attention_keys());
        for (key, map) in maps {
            let cells = unet.attention_grid(key, Grid::new(9, 7)).cells();
            assert_eq!(map.dims(), [2, unet.num_heads(key).unwrap(), cells, 7], "{key}");
            let rows = values(&map.sum(3).unwrap());
            assert!(rows.iter().all(|sum| (sum - 1.0).abs() < 1e-5) && values(&map).iter().all(|p| *p >= 0.0), "{key}");
        }
    }
}

#[test]
fn recording_does_not_change_the_noise() {
    let unet = unet(&three_levels());
    let inputs = Inputs::new(&unet, 2, 8, 6);
    let record = Recording::new(unet.attention_keys());
    let plain = unet.forward(&inputs.request(None, None)).unwrap();
    let recorded = unet.forward(&inputs.request(Some(&record), None)).unwrap();
    assert!(plain.maps.is_empty());
    assert_near(&recorded.prediction.unwrap(), &plain.prediction.unwrap(), 1e-5);
}

#[test]
fn deep_features_of_the_same_call_give_the_same_noise_and_others_another() {
    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        let inputs = Inputs::new(&unet, 2, 9, 7);
        let request = inputs.request(None, None);
        let full = unet.forward(&request).unwrap();
        let deep = full.deep.unwrap();
        let shallow = unet.forward(&DenoiserRequest { deep: Some(&deep), ..request }).unwrap();
        assert_near(&shallow.prediction.unwrap(), full.prediction.as_ref().unwrap(), 1e-6);
        let other = (&deep * 0.5).unwrap();
        let changed = unet.forward(&DenoiserRequest { deep: Some(&other), ..request }).unwrap().prediction.unwrap();
        let difference = (changed - full.prediction.unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(difference.to_scalar::<f32>().unwrap() > 1e-3);

        let shape = CallShape { batch: 2, projects_text: false, ..CallShape::new(Grid::new(9, 7), 7) };
        let (all, few) = (config.forward_cost(&shape).unwrap(), CallShape { is_shallow: true, ..shape });
        let few = config.forward_cost(&few).unwrap();
        assert!(few.total() < all.total() && few.of(NetworkPart::Mid) == 0, "{few:?}");
        assert_eq!(
            (few.of(NetworkPart::In), few.of(NetworkPart::Out)),
            (all.of(NetworkPart::In), all.of(NetworkPart::Out))
        );
        let record = Recording::new(unet.attention_keys());
        let refused = DenoiserRequest { deep: Some(&deep), ..inputs.request(Some(&record), None) };
        assert!(unet.forward(&refused).unwrap_err().to_string().contains("no keys to record"));
    }
}

#[test]
fn self_attention_looks_at_means_of_windows_where_asked_and_spares_what_is_counted() {
    let config = two_levels();
    let unet = unet(&config);
    let inputs = Inputs::new(&unet, 2, 8, 6);
    let request = inputs.request(None, None);
    let plain = unet.forward(&request).unwrap().prediction.unwrap();
    let merged = |side| unet.forward(&DenoiserRequest { merge_tokens: side, ..request }).unwrap().prediction.unwrap();
    let difference = |other: &Tensor| (other - &plain).unwrap().abs().unwrap().max_all().unwrap();
    assert!(difference(&merged(2)).to_scalar::<f32>().unwrap() > 1e-4);
    assert_near(&merged(4), &plain, 0.0); // 4 does not divide the six columns
    let shape = CallShape { projects_text: false, ..CallShape::new(Grid::new(8, 6), 7) };
    let work = |merge_tokens| config.forward_cost(&CallShape { merge_tokens, ..shape }).unwrap().total();
    assert!(work(2) < work(1) && work(4) == work(1));

    let windows = super::conditions::Windows::new(Grid::new(2, 4), 2).unwrap();
    let pixels = Tensor::new(&[1_f32, 1.0, 2.0, 4.0, 1.0, 1.0, 6.0, 8.0], &Device::Cpu).unwrap();
    let pixels = pixels.reshape((1, 8, 1)).unwrap();
    assert_eq!(values(&windows.merge(&pixels).unwrap()), [1.0, 5.0]);
    let coarser = pixels.narrow(1, 0, 4).unwrap();
    assert_eq!(values(&windows.merge(&coarser).unwrap()), values(&coarser));
}

#[test]
fn an_early_exit_gives_the_same_maps_and_no_noise() {
    let unet = unet(&three_levels());
    let inputs = Inputs::new(&unet, 1, 8, 6);
    let keys = unet.attention_keys();
    let full = unet.forward(&inputs.request(Some(&Recording::new(keys.clone())), None)).unwrap();
    for (index, last) in keys.iter().enumerate() {
        let record = Recording::new(&keys[..=index]);
        let early = unet.forward(&inputs.request(Some(&record), Some(*last))).unwrap();
        assert!(early.prediction.is_none());
        assert_eq!(early.maps.len(), index + 1);
        for (key, map) in &early.maps {
            assert_near(map, &full.maps[key], 1e-5);
        }
    }
}

#[test]
fn columns_and_half_batches_are_parts_of_the_whole_map() {
    let unet = unet(&two_levels());
    let inputs = Inputs::new(&unet, 4, 6, 6);
    let whole = Recording::new([AttnKey::mid(0)]);
    let part = Recording { tokens: TokenColumns::Some(vec![5, 2]), batch: BatchPart::Conditional, ..whole.clone() };
    let whole = &unet.forward(&inputs.request(Some(&whole), None)).unwrap().maps[&AttnKey::mid(0)];
    for last_key in [None, Some(AttnKey::mid(0))] {
        let part = &unet.forward(&inputs.request(Some(&part), last_key)).unwrap().maps[&AttnKey::mid(0)];
        let half = whole.narrow(0, 2, 2).unwrap();
        let expected = Tensor::cat(&[half.narrow(3, 5, 1).unwrap(), half.narrow(3, 2, 1).unwrap()], 3).unwrap();
        assert_near(part, &expected, 1e-6);
    }
}

#[test]
fn a_text_serves_several_calls_and_networks() {
    let (first, second) =
        (unet(&two_levels()), UNet2DConditionModel::load(&two_levels(), &Weights::random(9)).unwrap());
    let inputs = Inputs::new(&first, 2, 4, 4);
    let run = |unet: &UNet2DConditionModel| unet.forward(&inputs.request(None, None)).unwrap().prediction.unwrap();
    let (a, b) = (run(&first), run(&second));
    assert_eq!(values(&run(&first)), values(&a));
    assert_eq!(values(&run(&second)), values(&b));
    assert_ne!(values(&a), values(&b));
}

#[test]
fn the_batch_is_a_row_of_independent_images() {
    let unet = unet(&three_levels());
    let both = Inputs::new(&unet, 2, 6, 4);
    let together = unet.forward(&both.request(None, None)).unwrap().prediction.unwrap();
    let second = Inputs {
        latents: both.latents.narrow(0, 1, 1).unwrap().contiguous().unwrap(),
        text: both.text.narrow(1, 1).unwrap(),
    };
    let alone = unet.forward(&second.request(None, None)).unwrap().prediction.unwrap();
    assert_near(&together.narrow(0, 1, 1).unwrap(), &alone, 1e-5);
}

/// A loss in which every entry of every map counts differently.
fn loss(maps: &BTreeMap<AttnKey, Tensor>) -> crate::Result<Tensor> {
    let mut total = Tensor::new(0_f32, &candle_core::Device::Cpu)?;
    for (index, map) in maps.values().enumerate() {
        let weights = normal(40 + index as u64, map.dims())?;
        total = (total + (map.sqr()? * weights)?.sum_all()?)?;
    }
    Ok(total)
}

/// The same gradient by one graph over the whole network.
fn gradient_of_whole_graph(unet: &UNet2DConditionModel, request: &DenoiserRequest) -> (f32, Tensor) {
    let latents = Var::from_tensor(request.latents).unwrap();
    let maps = unet.forward(&DenoiserRequest { latents: latents.as_tensor(), ..*request }).unwrap().maps;
    let value = loss(&maps).unwrap();
    let gradient = value.backward().unwrap().remove(latents.as_tensor()).unwrap();
    (value.to_scalar().unwrap(), gradient)
}

#[test]
fn the_gradient_is_that_of_the_whole_graph() {
    for (config, b, (h, w)) in [(two_levels(), 1, (8, 8)), (three_levels(), 2, (9, 7)), (one_level(), 3, (4, 5))] {
        let unet = unet(&config);
        let inputs = Inputs::new(&unet, b, h, w);
        let keys = unet.attention_keys();
        let few = vec![keys[0], keys[keys.len() - 2]];
        for (keys, last_key) in [(keys.clone(), None), (unet.guidance_keys(), None), (few, keys.last().copied())] {
            let record = Recording::new(keys);
            let request = inputs.request(Some(&record), last_key);
            for merge_tokens in [1, 2] {
                let request = DenoiserRequest { merge_tokens, ..request };
                let (value, gradient) = unet.gradient(&request, &mut loss).unwrap();
                let (expected_value, expected) = gradient_of_whole_graph(&unet, &request);
                assert!((value - expected_value).abs() <= 1e-5 * expected_value.abs(), "{value} {expected_value}");
                assert_near(&gradient, &expected, 1e-5);
            }
        }
    }
}

#[test]
fn the_gradient_is_that_of_parts_of_maps_too() {
    let unet = unet(&two_levels());
    let inputs = Inputs::new(&unet, 2, 6, 6);
    for words_from in [0, 1] {
        let record = Recording {
            tokens: TokenColumns::Some(vec![1, 4]),
            batch: BatchPart::Conditional,
            words_from,
            ..Recording::new(unet.guidance_keys())
        };
        let request = inputs.request(Some(&record), None);
        let (_, gradient) = unet.gradient(&request, &mut loss).unwrap();
        assert_near(&gradient, &gradient_of_whole_graph(&unet, &request).1, 1e-5);
        let unconditional = values(&gradient.narrow(0, 0, 1).unwrap());
        assert!(unconditional.iter().all(|x| *x == 0.0), "the half that is not recorded has no influence");
    }
}

#[test]
fn columns_of_words_are_what_attention_would_be_without_the_others() {
    let unet = unet(&two_levels());
    let inputs = Inputs::new(&unet, 1, 6, 6);
    let maps = |words_from| {
        let record = Recording { words_from, ..Recording::new(unet.guidance_keys()) };
        unet.forward(&inputs.request(Some(&record), None)).unwrap().maps
    };
    for (key, words) in maps(2) {
        let all = maps(0).remove(&key).unwrap();
        let num_tokens = all.dim(3).unwrap();
        let part = |map: &Tensor| map.narrow(3, 2, num_tokens - 2).unwrap();
        let ones = part(&words).sum(3).unwrap();
        assert_near(&ones, &ones.ones_like().unwrap(), 1e-5);
        let shares = part(&all).broadcast_div(&part(&all).sum_keepdim(3).unwrap()).unwrap();
        assert_near(&part(&words), &shares, 1e-5);
    }
    let record = Recording { words_from: 1000, ..Recording::new(unet.guidance_keys()) };
    let message = unet.forward(&inputs.request(Some(&record), None)).unwrap_err().to_string();
    assert!(message.contains("the first column of words"), "{message}");
}

#[test]
fn the_gradient_is_that_of_finite_differences() {
    for (config, b, (h, w)) in [(two_levels(), 1, (8, 8)), (three_levels(), 2, (5, 6))] {
        let unet = unet(&config);
        let inputs = Inputs::new(&unet, b, h, w);
        let record = Recording::new(unet.guidance_keys());
        let (_, gradient) = unet.gradient(&inputs.request(Some(&record), None), &mut loss).unwrap();
        let value_at = |latents: Tensor| -> f64 {
            let request = DenoiserRequest { latents: &latents, ..inputs.request(Some(&record), None) };
            loss_in_f64(&unet.forward(&request).unwrap().maps)
        };
        let norm: f64 = values(&gradient).iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        for seed in 0..4 {
            let direction = normal(70 + seed, gradient.dims()).unwrap();
            let expected = slope_by_differences(&inputs.latents, &direction, value_at);
            let slope: f64 = values(&(&direction * &gradient).unwrap()).iter().map(|x| f64::from(*x)).sum();
            // Rounding of f32 in the maps is about a tenth of this.
            assert!((expected - slope).abs() < 2e-3 * norm, "{slope}, by finite differences {expected}; norm {norm}");
        }
    }
}

/// Central differences at two steps, combined so that the third derivative cancels (Richardson).
fn slope_by_differences(at: &Tensor, direction: &Tensor, value_at: impl Fn(Tensor) -> f64) -> f64 {
    let slope = |step: f64| {
        let step_tensor = (direction * step).unwrap();
        (value_at((at + &step_tensor).unwrap()) - value_at((at - &step_tensor).unwrap())) / (2.0 * step)
    };
    (4.0 * slope(2e-3) - slope(4e-3)) / 3.0
}

fn loss_in_f64(maps: &BTreeMap<AttnKey, Tensor>) -> f64 {
    let term = |(index, map): (usize, &Tensor)| {
        let weights = values(&normal(40 + index as u64, map.dims()).unwrap());
        values(map).iter().zip(weights).map(|(p, w)| f64::from(*p).powi(2) * f64::from(w)).sum::<f64>()
    };
    maps.values().enumerate().map(term).sum()
}

#[test]
fn a_loss_that_ignores_the_maps_has_no_gradient() {
    let unet = unet(&two_levels());
    let inputs = Inputs::new(&unet, 1, 4, 4);
    let record = Recording::new([AttnKey::mid(0)]);
    let mut constant = |_: &BTreeMap<AttnKey, Tensor>| -> crate::Result<Tensor> {
        Ok(Tensor::new(2.5_f32, &candle_core::Device::Cpu)?)
    };
    let (value, gradient) = unet.gradient(&inputs.request(Some(&record), None), &mut constant).unwrap();
    assert_eq!(value, 2.5);
    assert_eq!(gradient.dims(), inputs.latents.dims());
    assert!(values(&gradient).iter().all(|x| *x == 0.0));
}

#[test]
fn guidance_looks_where_it_does_in_stable_diffusion() {
    let stable = config(
        r#"{"block_out_channels": [4, 4, 4, 4], "norm_num_groups": 2, "attention_head_dim": 2, "cross_attention_dim": 4}"#,
    );
    let unet = unet(&stable);
    let texts = |keys: Vec<AttnKey>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(unet.guidance_keys()), ["mid.0", "up.1.0", "up.1.1", "up.1.2"]);
    assert_eq!(unet.object_mask_key().to_string(), "down.2.1");
    assert_eq!(unet.attention_keys().len(), 16);
    let grids = ["down.0.1", "down.2.1", "mid.0", "up.1.0", "up.3.2"];
    let grids = grids.map(|key| unet.attention_grid(key.parse().unwrap(), Grid::new(64, 64)).height);
    assert_eq!(grids, [64, 16, 8, 16, 64]);
    assert_eq!(unet.num_heads(AttnKey::up(1, 0)), Some(2));
    assert_eq!(unet.num_heads(AttnKey::up(0, 0)), None);
}

#[test]
fn requests_that_do_not_fit_are_answered() {
    let unet = unet(&two_levels());
    let good = Inputs::new(&unet, 1, 4, 4);
    let grounding = grounding(&unet, 1);
    let (three, two) = (normal(0, (1, 4, 4, 3)).unwrap(), normal(0, (2, 4, 4, 4)).unwrap());
    let wide = TextConditioning::new(&normal(0, (1, 7, 16)).unwrap()).unwrap();
    let recording = |key: &str| Recording::new([key.parse::<AttnKey>().unwrap()]);
    let (unknown, late, first) = (recording("up.0.0"), recording("up.1.1"), recording("down.0.0"));
    let outside = Recording { tokens: TokenColumns::Some(vec![7]), ..first.clone() };
    let none = Recording { tokens: TokenColumns::Some(vec![]), ..first.clone() };
    let erased_elsewhere = eraser(Grid::new(4, 5), 0.3, |_| false);
    let half = Recording { batch: BatchPart::Conditional, ..first.clone() };
    let request = good.request(None, None);
    let check = |request: DenoiserRequest, parts: &[&str]| {
        let message = unet.forward(&request).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    check(DenoiserRequest { latents: &three, ..request }, &["latents", "(batch, height, width, 4)", "[1, 4, 4, 3]"]);
    check(DenoiserRequest { latents: &two, ..request }, &["text embeddings", "as many as latents, 2", "found 1"]);
    check(DenoiserRequest { text: &wide, ..request }, &["text embeddings", "width 12", "width 16"]);
    check(DenoiserRequest { timestep: f64::NAN, ..request }, &["timestep", "NaN"]);
    check(DenoiserRequest { grounding: Some(&grounding), ..request }, &["no grounding adapters"]);
    let (gated, fits) = (super::UNet2DConditionModel::load(&gated(), &Weights::random(1)).unwrap(), &grounding);
    let wide = self::grounding(&self::unet(&three_levels()), 1);
    let several = self::grounding(&gated, 2);
    for (grounding, part) in [(&wide, "width 12"), (&several, "as many images as texts, 1")] {
        let message =
            gated.forward(&DenoiserRequest { grounding: Some(grounding), ..request }).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    assert!(gated.forward(&DenoiserRequest { grounding: Some(fits), ..request }).is_ok());
    let erased = DenoiserRequest { eraser: Some(&erased_elsewhere), ..request };
    check(erased, &["the eraser's mask", "the latents' grid, 4×4", "found 4×5"]);
    check(good.request(Some(&unknown), None), &["attention key", "down.0.0, down.0.1, mid.0, up.1.0", "found up.0.0"]);
    check(good.request(None, Some(AttnKey::mid(1))), &["attention key", "found mid.1"]);
    check(good.request(Some(&late), Some(AttnKey::mid(0))), &["at or before the last key, mid.0", "found up.1.1"]);
    check(good.request(Some(&outside), None), &["token positions", "below the 7", "found 7"]);
    check(good.request(Some(&none), None), &["token positions", "found none"]);
    check(good.request(Some(&half), None), &["conditional half", "even number", "found 1"]);

    let message = unet.gradient(&request, &mut loss).unwrap_err().to_string();
    assert!(message.contains("at least one attention key"), "{message}");
    let mut vector =
        |maps: &BTreeMap<AttnKey, Tensor>| -> crate::Result<Tensor> { Ok(maps[&AttnKey::down(0, 0)].clone()) };
    let message = unet.gradient(&good.request(Some(&first), None), &mut vector).unwrap_err().to_string();
    assert!(message.contains("loss") && message.contains("a scalar"), "{message}");
    assert!(TextConditioning::new(&three).is_err());
}

#[test]
fn boxes_change_the_noise_and_no_boxes_are_the_plain_network() {
    let (plain, gated) = (unet(&two_levels()), unet(&gated()));
    assert!(gated.has_grounding_adapters() && !plain.has_grounding_adapters());
    let inputs = Inputs::new(&gated, 2, 6, 4);
    let grounding = grounding(&gated, 2);
    let noise = |unet: &UNet2DConditionModel, grounding: Option<&Grounding>| {
        let reply = unet.forward(&DenoiserRequest { grounding, ..inputs.request(None, None) }).unwrap();
        values(&reply.prediction.unwrap())
    };
    let off = noise(&gated, None);
    assert_eq!(off, noise(&plain, None), "the same weights under the same names");
    let on = noise(&gated, Some(&grounding));
    assert_ne!(on, off);
    assert_eq!(on, noise(&gated, Some(&grounding)), "with the tokens kept from the first call");
    let emptied = grounding.emptied().unwrap();
    assert_ne!(noise(&gated, Some(&emptied)), on);
    assert_ne!(noise(&gated, Some(&emptied)), off, "empty slots are attended to");
    let parallel = grounding.wired(GroundingWiring::Parallel);
    assert_ne!(noise(&gated, Some(&parallel)), on);
}

#[test]
fn a_grounding_serves_several_networks() {
    let (first, second) = (unet(&gated()), UNet2DConditionModel::load(&gated(), &Weights::random(9)).unwrap());
    let inputs = Inputs::new(&first, 1, 4, 4);
    let shared = grounding(&first, 1);
    let run = |unet: &UNet2DConditionModel, grounding: &Grounding| {
        let request = DenoiserRequest { grounding: Some(grounding), ..inputs.request(None, None) };
        values(&unet.forward(&request).unwrap().prediction.unwrap())
    };
    let a = run(&first, &shared);
    assert_eq!(run(&second, &shared), run(&second, &grounding(&second, 1)));
    assert_eq!(run(&first, &shared), a);
}

#[test]
fn gradients_pass_through_the_adapters() {
    let unet = unet(&gated());
    let inputs = Inputs::new(&unet, 2, 8, 6);
    for wiring in [GroundingWiring::Sequential, GroundingWiring::Parallel] {
        let grounding = grounding(&unet, 2).wired(wiring);
        for keys in [unet.attention_keys(), unet.guidance_keys()] {
            let record = Recording::new(keys);
            let plain = inputs.request(Some(&record), None);
            let request = DenoiserRequest { grounding: Some(&grounding), ..plain };
            let (_, gradient) = unet.gradient(&request, &mut loss).unwrap();
            assert_near(&gradient, &gradient_of_whole_graph(&unet, &request).1, 1e-5);
            assert_ne!(values(&gradient), values(&unet.gradient(&plain, &mut loss).unwrap().1));
        }
    }
}

#[test]
fn an_early_exit_of_a_grounded_call_gives_the_same_maps() {
    let unet = unet(&gated());
    let inputs = Inputs::new(&unet, 1, 6, 6);
    let keys = unet.attention_keys();
    for wiring in [GroundingWiring::Sequential, GroundingWiring::Parallel] {
        let grounding = grounding(&unet, 1).wired(wiring);
        let maps = |record: &Recording, last_key| {
            let request = DenoiserRequest { grounding: Some(&grounding), ..inputs.request(Some(record), last_key) };
            unet.forward(&request).unwrap().maps
        };
        let full = maps(&Recording::new(keys.clone()), None);
        for (index, last) in keys.iter().enumerate() {
            for (key, map) in maps(&Recording::new(&keys[..=index]), Some(*last)) {
                assert_near(&map, &full[&key], 1e-5);
            }
        }
    }
}

#[test]
fn adapters_are_found_by_their_tensors_and_must_be_whole() {
    let load = |config: &UNetConfig, tensors: &HashMap<String, Tensor>| {
        UNet2DConditionModel::load(config, &Weights::from_tensors("tiny", tensors.clone()))
    };
    let tensors = checkpoint(&gated());
    for (name, shape) in [
        ("position_net.linears.0.weight", &[512, 76][..]),
        ("position_net.linears.4.bias", &[12]),
        ("position_net.null_positive_feature", &[12]),
        ("position_net.null_position_feature", &[64]),
        ("mid_block.attentions.0.transformer_blocks.0.fuser.linear.weight", &[16, 12]),
        ("mid_block.attentions.0.transformer_blocks.0.fuser.alpha_attn", &[]),
        ("up_blocks.1.attentions.2.transformer_blocks.0.fuser.ff.net.0.proj.weight", &[64, 8]),
    ] {
        assert_eq!(tensors.get(name).unwrap_or_else(|| panic!("{name}")).dims(), shape, "{name}");
    }
    assert!(load(&two_levels(), &tensors).unwrap().has_grounding_adapters(), "the configuration need not say it");
    let announced = load(&gated(), &checkpoint(&two_levels())).unwrap_err();
    assert!(matches!(announced, Error::MissingTensor { tensor, .. } if tensor.contains(".fuser.")));
    let mut incomplete = tensors.clone();
    let missing = "down_blocks.0.attentions.1.transformer_blocks.0.fuser.alpha_dense";
    incomplete.remove(missing);
    let error = load(&two_levels(), &incomplete).unwrap_err();
    assert!(matches!(error, Error::MissingTensor { tensor, .. } if tensor == missing));
    let mut with_images = tensors;
    let weight = with_images["position_net.linears.0.weight"].clone();
    with_images.insert("position_net.linears_text.0.weight".into(), weight);
    let message = load(&two_levels(), &with_images).unwrap_err().to_string();
    assert!(message.contains("texts and images"), "{message}");
}

/// A complete checkpoint for `config`.
fn checkpoint(config: &UNetConfig) -> HashMap<String, Tensor> {
    let weights = Weights::random(1);
    UNet2DConditionModel::load(config, &weights).unwrap();
    weights.made_up()
}

#[test]
fn tensors_are_asked_for_by_the_checkpoints_names() {
    let names = checkpoint(&two_levels());
    for (name, shape) in [
        ("conv_in.weight", &[8, 4, 3, 3][..]),
        ("time_embedding.linear_2.weight", &[32, 32]),
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k.weight", &[8, 12]),
        ("down_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj.weight", &[64, 8]),
        ("down_blocks.0.downsamplers.0.conv.weight", &[8, 8, 3, 3]),
        ("down_blocks.1.resnets.0.conv_shortcut.weight", &[16, 8, 1, 1]),
        ("mid_block.attentions.0.proj_in.weight", &[16, 16]),
        ("up_blocks.0.resnets.2.norm1.weight", &[24]),
        ("up_blocks.0.upsamplers.0.conv.bias", &[16]),
        ("up_blocks.1.resnets.0.conv1.weight", &[8, 24, 3, 3]),
        ("up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_out.0.bias", &[8]),
        ("conv_norm_out.weight", &[8]),
        ("conv_out.weight", &[4, 8, 3, 3]),
    ] {
        assert_eq!(names.get(name).unwrap_or_else(|| panic!("{name}")).dims(), shape, "{name}");
    }
}

#[test]
fn a_wrong_checkpoint_is_refused_by_tensor_and_shape() {
    let mut tensors = checkpoint(&two_levels());
    assert!(UNet2DConditionModel::load(&two_levels(), &Weights::from_tensors("tiny", tensors.clone())).is_ok());
    let name = "up_blocks.1.resnets.0.conv1.weight";
    tensors.insert(name.to_owned(), normal(0, (8, 16, 3, 3)).unwrap());
    let load = |tensors: &HashMap<String, Tensor>| {
        UNet2DConditionModel::load(&two_levels(), &Weights::from_tensors("tiny", tensors.clone())).unwrap_err()
    };
    assert!(matches!(load(&tensors), Error::TensorShape { tensor, found, expected, .. }
        if tensor == name && found == [8, 16, 3, 3] && expected == [8, 24, 3, 3]));
    tensors.remove(name);
    assert!(matches!(load(&tensors), Error::MissingTensor { tensor, .. } if tensor == name));
}

/// The unit list that costs are counted from is the one that networks are built of.
#[test]
fn costs_are_counted_over_the_units_that_are_there() {
    use super::cost::{ShapeKind, unit_shapes};
    use super::unit::UnitKind;

    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        let shapes = unit_shapes(&config, Grid::new(9, 7)).unwrap();
        assert_eq!(shapes.len(), unet.units.len());
        for (unit, shape) in unet.units.iter().zip(&shapes) {
            let is_same = match (&unit.kind, shape.kind) {
                (UnitKind::ConvIn(_), ShapeKind::ConvIn { .. })
                | (UnitKind::Resnet(_), ShapeKind::Resnet { .. })
                | (UnitKind::Downsample(_), ShapeKind::Downsample { .. })
                | (UnitKind::Upsample(_), ShapeKind::Upsample { .. })
                | (UnitKind::Out { .. }, ShapeKind::Out { .. }) => true,
                (UnitKind::Transformer(transformer), ShapeKind::Transformer { key, num_layers, .. }) => {
                    transformer.keys().eq((0..num_layers).map(|layer| key.with_layer(layer)))
                }
                _ => false,
            };
            assert!(is_same, "{:?} is counted as {:?}", unit.kind, shape.kind);
            assert_eq!(unit.kept_between(17), shape.kept_between(17));
        }
        let last_key = unet.guidance_keys().last().copied();
        let whole = CallShape::new(Grid::new(9, 7), 7);
        let part = config.forward_cost(&CallShape { last_key, ..whole }).unwrap();
        let whole = config.forward_cost(&whole).unwrap();
        assert!(part.total() < whole.total() && part.of(NetworkPart::Down(0)) == whole.of(NetworkPart::Down(0)));
    }
}

#[test]
fn a_call_is_given_up_between_two_parts() {
    let unet = unet(&three_levels());
    let inputs = Inputs::new(&unet, 1, 8, 8);
    let record = Recording::new(unet.attention_keys());
    let token = CancellationToken::new();
    let request = DenoiserRequest { cancellation: Some(&token), ..inputs.request(Some(&record), None) };
    assert!(unet.forward(&request).is_ok());
    // Cancelled between the way to the maps and the way back.
    let back = unet.gradient::<Error>(&request, &mut |maps| {
        token.cancel();
        Ok(maps.values().next().unwrap().sum_all()?)
    });
    assert!(matches!(back, Err(Error::Cancelled)), "{back:?}");
    assert!(matches!(unet.forward(&request), Err(Error::Cancelled)));
}

#[test]
fn an_eraser_of_nothing_changes_nothing_and_one_of_something_does() {
    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        assert!(unet.can_erase());
        let inputs = Inputs::new(&unet, 2, 9, 7);
        let request = inputs.request(None, None);
        let noise = |eraser: Option<&Eraser>| {
            values(&unet.forward(&DenoiserRequest { eraser, ..request }).unwrap().prediction.unwrap())
        };
        let plain = noise(None);
        assert_eq!(noise(Some(&eraser(Grid::new(9, 7), 0.3, |_| false))), plain);
        let some = noise(Some(&eraser(Grid::new(9, 7), 0.3, |cell| cell % 7 < 3)));
        let largest = some.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest > 1e-3, "{largest}");
    }
}

#[test]
fn a_batch_is_erased_as_its_pictures_are() {
    let unet = unet(&two_levels());
    let both = Inputs::new(&unet, 2, 8, 8);
    let erased = eraser(Grid::new(8, 8), 0.3, |cell| cell / 8 < 4);
    let request = DenoiserRequest { eraser: Some(&erased), ..both.request(None, None) };
    let noise = unet.forward(&request).unwrap().prediction.unwrap();
    for picture in 0..2 {
        let (latents, text) = (both.latents.narrow(0, picture, 1).unwrap(), both.text.narrow(picture, 1).unwrap());
        let request = DenoiserRequest { latents: &latents, text: &text, ..request };
        let alone = unet.forward(&request).unwrap().prediction.unwrap();
        assert_near(&alone, &noise.narrow(0, picture, 1).unwrap(), 1e-5);
    }
}

#[test]
fn nothing_is_ever_left_without_keys() {
    // One cell of 64 is left, and no cell of the coarse grids is wholly free.
    for config in [two_levels(), three_levels(), one_level()] {
        let unet = unet(&config);
        let inputs = Inputs::new(&unet, 1, 8, 8);
        let erased = eraser(Grid::new(8, 8), 0.0, |cell| cell != 27);
        let request = DenoiserRequest { eraser: Some(&erased), ..inputs.request(None, None) };
        let noise = unet.forward(&request).unwrap().prediction.unwrap();
        assert!(values(&noise).iter().all(|x| x.is_finite()));
    }
}

#[test]
fn nothing_is_merged_while_something_is_erased() {
    let unet = unet(&two_levels());
    let inputs = Inputs::new(&unet, 1, 8, 8);
    let erased = eraser(Grid::new(8, 8), 0.3, |cell| cell == 9);
    let request = DenoiserRequest { eraser: Some(&erased), ..inputs.request(None, None) };
    let noise =
        |merge_tokens| values(&unet.forward(&DenoiserRequest { merge_tokens, ..request }).unwrap().prediction.unwrap());
    assert_eq!(noise(2), noise(1));
}
