//! Masked self-attention against one written out in PyTorch, in f32 and bf16; fixtures by `parity/make_eraser.py`.

use candle_core::{Device, Tensor};
use sinopia_layout::{Grid, GridMask};
use sinopia_models::unet::{DenoiserRequest, Eraser, TextConditioning, UNet2DConditionModel, UNetConfig};
use sinopia_models::{Precision, Weights};

use crate::fixture::{Fixture, assert_close, model_folder};

/// f32 sums in another order, through some forty layers.
const TOLERANCE: f64 = 1e-4;

/// Relative L2 in bf16, as multiples of what the same network's rounding makes of the same input with nothing erased: 1.5 to 3 % in these, whose weights are random.
const TOLERANCE_BF16: f64 = 1.5;

fn load(name: &str, precision: Precision) -> UNet2DConditionModel {
    let folder = model_folder(name).join("unet");
    let config = UNetConfig::from_json(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    let file = folder.join("diffusion_pytorch_model.safetensors");
    UNet2DConditionModel::load(&config, &Weights::open(&[file], &Device::Cpu, precision).unwrap()).unwrap()
}

fn eraser(fixture: &Fixture, case: &str) -> Eraser {
    let mask = fixture.get(&format!("mask.{case}"));
    let (height, width) = mask.dims2().unwrap();
    let cells: Vec<u8> = mask.flatten_all().unwrap().to_vec1().unwrap();
    let cells = cells.into_iter().map(|cell| cell == 1).collect();
    let scale = fixture.header("scales")[case].as_f64().unwrap();
    Eraser::new(GridMask::from_cells(Grid::new(height, width), cells).unwrap(), scale).unwrap()
}

/// The noise of a case, with its cells erased or not.
fn noise(fixture: &Fixture, case: &str, unet: &UNet2DConditionModel, eraser: Option<&Eraser>) -> Tensor {
    let text = TextConditioning::new(&fixture.get(&format!("text.{case}"))).unwrap();
    let latents = fixture.get_channels_last(&format!("latents.{case}"));
    let timestep = fixture.header("timesteps")[case].as_f64().unwrap();
    let request = DenoiserRequest { eraser, ..DenoiserRequest::new(&latents, timestep, &text) };
    unet.forward(&request).unwrap().prediction.unwrap()
}

fn network(fixture: &Fixture, case: &str, precision: Precision) -> UNet2DConditionModel {
    load(fixture.header("networks")[case].as_str().unwrap(), precision)
}

fn expected(fixture: &Fixture, case: &str) -> Tensor {
    fixture.get_channels_last(&format!("noise.{case}"))
}

/// Relative L2.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    let norm = |x: &Tensor| f64::from(x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap()).sqrt();
    norm(&(found - expected).unwrap()) / norm(expected)
}

#[test]
fn masked_self_attention_on_the_way_up() {
    let fixture = Fixture::open("unet/eraser.safetensors");
    for case in fixture.names_after("latents.") {
        let unet = network(&fixture, &case, Precision::F32);
        let found = noise(&fixture, &case, &unet, Some(&eraser(&fixture, &case)));
        assert_close(&case, &found, &expected(&fixture, &case), TOLERANCE);
    }
}

#[test]
fn in_bf16_erasing_adds_no_error_to_that_of_rounding() {
    let fixture = Fixture::open("unet/eraser.safetensors");
    for case in fixture.names_after("latents.") {
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| network(&fixture, &case, precision));
        let plain = error(&noise(&fixture, &case, &rounded, None), &noise(&fixture, &case, &exact, None));
        let found = noise(&fixture, &case, &rounded, Some(&eraser(&fixture, &case)));
        let erased = error(&found, &expected(&fixture, &case));
        println!("{case} in bf16: {erased:.2e} erased, {plain:.2e} plain (relative L2)");
        assert!(erased <= TOLERANCE_BF16 * plain, "{case}: {erased} against {plain}");
    }
}
