//! Guidance losses against PyTorch's autograd over the published formulas (`parity/make_losses.py`): values, gradients with respect to the
//! attention maps, and gradients with respect to the latents through whole UNets.

use std::collections::BTreeMap;

use crate::fixture::{Fixture, assert_close, model_folder};
use candle_core::{Device, Tensor, Var};
use serde_json::Value;
use sinopia_diffusion::Error;
use sinopia_diffusion::losses::{
    AttentionTransfer, BoxLoss, BoxLossOptions, GroundedTokens, GuidanceLoss, KeyGrids, LossSum, OverHeads,
    ReferenceMaps, TokenSet, TransferOptions,
};
use sinopia_layout::{BBox, Grid, GridRounding};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;
use sinopia_models::unet::{
    AttnKey, AttnMaps, DenoiserRequest, Grounding, Recording, TextConditioning, TokenColumns, UNet2DConditionModel,
};

/// Values are sums of a few hundred probabilities in f32.
const VALUE_TOLERANCE: f64 = 1e-4;
/// Gradients pass back through a whole UNet, whose every norm and softmax was summed in another order.
const GRADIENT_TOLERANCE: f64 = 1e-3;

/// The objects, grids and references that a fixture's header describes.
struct Scene {
    fixture: Fixture,
    objects: Vec<GroundedTokens>,
    whole: Vec<GroundedTokens>,
    grids: KeyGrids,
}

impl Scene {
    fn open(name: &str) -> Self {
        let fixture = Fixture::open(&format!("losses/{name}.safetensors"));
        let grids = fixture.header("grids");
        let grids = grids.as_object().unwrap().iter().map(|(key, grid)| {
            let side = |i: usize| grid[i].as_u64().unwrap() as usize;
            (key.parse().unwrap(), Grid::new(side(0), side(1)))
        });
        Self {
            objects: objects(&fixture.header("objects")),
            whole: objects(&fixture.header("whole")),
            grids: grids.collect(),
            fixture,
        }
    }

    /// The loss that the fixture calls `name`, over the columns of `tokens`.
    fn loss(&self, name: &str, tokens: &TokenSet) -> LossSum<'static> {
        let box_loss = |objects: &[GroundedTokens], over_heads| {
            let options = BoxLossOptions { over_heads, rounding: GridRounding::Published, ..BoxLossOptions::default() };
            BoxLoss::new(objects, tokens, &self.grids, options)
        };
        let sum = LossSum::default();
        match name {
            "box" => sum.plus(box_loss(&self.objects, OverHeads::Sum)),
            "mean8" => sum.plus(box_loss(&self.objects, OverHeads::MeanOf8)),
            "whole" => sum.plus(box_loss(&self.whole, OverHeads::Sum)),
            "transfer" => sum.plus(self.transfer(tokens)),
            "box_and_transfer" => sum.plus(box_loss(&self.objects, OverHeads::Sum)).plus(self.transfer(tokens)),
            other => panic!("no loss `{other}`"),
        }
    }

    fn transfer(&self, tokens: &TokenSet) -> AttentionTransfer {
        let weight = self.fixture.header("transfer_weight").as_f64().unwrap();
        let mut references = Vec::new();
        for (o, object) in self.objects.iter().enumerate() {
            for b in 0..object.bboxes.len() {
                // (heads, HW, 1) to (heads, HW)
                let map = |key: &AttnKey| self.fixture.get(&format!("reference.{o}.{b}.{key}")).squeeze(2).unwrap();
                let maps: BTreeMap<AttnKey, Tensor> = self.grids.keys().map(|key| (*key, map(key))).collect();
                references.push(ReferenceMaps { steps: vec![maps] });
            }
        }
        let options = TransferOptions { rounding: GridRounding::Published, weight };
        AttentionTransfer::new(references, tokens, &self.grids, options, &Device::Cpu).unwrap()
    }

    fn check_value(&self, what: &str, name: &str, found: f32) {
        let found = Tensor::new(&[found], &Device::Cpu).unwrap();
        assert_close(&format!("{what} {name}"), &found, &self.fixture.get(name), VALUE_TOLERANCE);
    }
}

fn objects(header: &Value) -> Vec<GroundedTokens> {
    let object = |object: &Value| {
        let boxes: Vec<[f64; 4]> = serde_json::from_value(object["boxes"].clone()).unwrap();
        GroundedTokens {
            phrase: "it".to_owned(),
            positions: serde_json::from_value(object["tokens"].clone()).unwrap(),
            word: object["word"].as_u64().unwrap() as usize,
            bboxes: boxes.into_iter().map(|[x0, y0, x1, y1]| BBox::new(x0, y0, x1, y1).unwrap()).collect(),
        }
    };
    header.as_array().unwrap().iter().map(object).collect()
}

/// The columns of a whole map (heads, HW, L) that a recording of `tokens` keeps: (1, heads, HW, L').
fn columns_of(map: &Tensor, tokens: &TokenSet) -> Tensor {
    let TokenColumns::Some(columns) = tokens.columns() else { panic!("a token set has columns") };
    let columns: Vec<u32> = columns.into_iter().map(|column| column as u32).collect();
    map.index_select(&Tensor::new(columns, &Device::Cpu).unwrap(), 2).unwrap().unsqueeze(0).unwrap()
}

#[test]
fn losses_and_their_gradients_by_the_maps_are_autograds() {
    let scene = Scene::open("maps");
    for name in ["box", "mean8", "transfer", "whole"] {
        let tokens = TokenSet::of(if name == "whole" { &scene.whole } else { &scene.objects });
        let whole: BTreeMap<AttnKey, Var> = scene
            .grids
            .keys()
            .map(|key| (*key, Var::from_tensor(&scene.fixture.get(&format!("map.{key}"))).unwrap()))
            .collect();
        let maps: AttnMaps = whole.iter().map(|(key, map)| (*key, columns_of(map.as_tensor(), &tokens))).collect();

        let loss = scene.loss(name, &tokens).loss(0, &maps).unwrap();
        scene.check_value("maps", name, loss.to_scalar::<f32>().unwrap());
        let gradients = loss.backward().unwrap();
        for (key, map) in &whole {
            let tensor = format!("{name}.gradient.{key}");
            let found = gradients.get(map).unwrap_or_else(|| panic!("{tensor}: no gradient"));
            assert_close(&format!("maps {tensor}"), found, &scene.fixture.get(&tensor), GRADIENT_TOLERANCE);
        }
    }
}

#[track_caller]
fn check_latents(model: &str) {
    let source = ModelSource::Folder(model_folder(model));
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap();
    let unet = UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights).unwrap();
    let scene = Scene::open(model);
    let latents = scene.fixture.get_channels_last("latents");
    let (_, h, w, _) = latents.dims4().unwrap();
    let text = TextConditioning::new(&scene.fixture.get("text")).unwrap();

    let keys = unet.guidance_keys();
    let grids: KeyGrids = keys.iter().map(|key| (*key, unet.attention_grid(*key, Grid::new(h, w)))).collect();
    assert_eq!(grids, scene.grids, "guidance keys and grids of {model}");

    let tokens = TokenSet::of(&scene.objects);
    let recording = Recording { tokens: tokens.columns(), ..Recording::new(keys) };
    let timestep = scene.fixture.header("timestep").as_f64().unwrap();
    let request = DenoiserRequest { record: Some(&recording), ..DenoiserRequest::new(&latents, timestep, &text) };
    for name in ["box", "mean8", "transfer", "box_and_transfer"] {
        let loss = scene.loss(name, &tokens);
        let (value, gradient) = unet.gradient::<Error>(&request, &mut |maps| loss.loss(0, maps)).unwrap();
        scene.check_value(model, name, value);
        let expected = scene.fixture.get_channels_last(&format!("{name}.gradient"));
        assert_close(&format!("{model} {name}.gradient"), &gradient, &expected, GRADIENT_TOLERANCE);
    }
}

#[test]
fn gradients_through_the_stable_diffusion_1_shape_are_autograds() {
    check_latents("sd1");
}

#[test]
fn gradients_through_the_stable_diffusion_2_shape_are_autograds() {
    check_latents("sd2");
}

#[test]
fn gradients_through_the_two_level_shape_are_autograds() {
    check_latents("small");
}

/// Through the network that is conditioned on boxes (`parity/make_gligen.py`).
#[test]
fn the_box_losss_gradient_through_grounding_adapters_is_autograds() {
    let fixture = Fixture::open("gligen/unet.safetensors");
    let source = ModelSource::Folder(model_folder("gligen"));
    let checkpoint = Checkpoint::open(&source, &OpenOptions::default(), &NoProgress).unwrap();
    let unet = UNet2DConditionModel::load(&checkpoint.unet.config, &checkpoint.unet.weights).unwrap();
    let latents = fixture.get_channels_last("guided.latents");
    let (_, h, w, _) = latents.dims4().unwrap();
    let text = TextConditioning::new(&fixture.get("guided.text")).unwrap();
    let (boxes, phrases, mask) = (fixture.get("boxes"), fixture.get("phrases"), fixture.get("mask"));
    let grounding = Grounding::new(&boxes, &phrases, &mask).unwrap().last().unwrap();

    let objects = objects(&fixture.header("objects"));
    let tokens = TokenSet::of(&objects);
    let grids: KeyGrids =
        unet.guidance_keys().iter().map(|key| (*key, unet.attention_grid(*key, Grid::new(h, w)))).collect();
    let options =
        BoxLossOptions { over_heads: OverHeads::Sum, rounding: GridRounding::Published, ..BoxLossOptions::default() };
    let loss = BoxLoss::new(&objects, &tokens, &grids, options);
    let recording = Recording { tokens: tokens.columns(), ..Recording::new(unet.guidance_keys()) };
    let timestep = fixture.header("timestep").as_f64().unwrap();
    let request = DenoiserRequest {
        record: Some(&recording),
        grounding: Some(&grounding),
        ..DenoiserRequest::new(&latents, timestep, &text)
    };
    let (value, gradient) = unet.gradient::<Error>(&request, &mut |maps| loss.loss(0, maps)).unwrap();
    let value = Tensor::new(&[value], &Device::Cpu).unwrap();
    assert_close("gated box", &value, &fixture.get("box"), VALUE_TOLERANCE);
    let expected = fixture.get_channels_last("box.gradient");
    assert_close("gated box.gradient", &gradient, &expected, GRADIENT_TOLERANCE);
}
