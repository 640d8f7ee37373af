//! That a start in common is no more than work saved.

use super::tests::{Inputs, eraser, gated, grounding, one_level, three_levels, two_levels, unet, values};
use super::*;
use sinopia_layout::Grid;

/// A picture with two texts, as the halves of guidance are.
fn halves(unet: &UNet2DConditionModel) -> (Inputs, TextConditioning) {
    let one = Inputs::new(unet, 1, 8, 6);
    let two = Inputs::new(unet, 2, 8, 6);
    (one, two.text)
}

fn bits(x: &candle_core::Tensor) -> Vec<u32> {
    values(x).into_iter().map(f32::to_bits).collect()
}

#[test]
fn texts_that_share_a_start_give_the_bits_of_calls_of_their_own() {
    for config in [two_levels(), three_levels(), one_level(), gated()] {
        let unet = unet(&config);
        let (one, texts) = halves(&unet);
        let boxes = unet.has_grounding_adapters().then(|| grounding(&unet, 2));
        let record = Recording { batch: BatchPart::Conditional, ..Recording::new(unet.attention_keys()) };
        for merge_tokens in [1, 2] {
            let alone = DenoiserRequest { merge_tokens, ..one.request(None, None) };
            let start = unet.shared_start(&alone, Parting::Text).unwrap().unwrap();
            let twice = candle_core::Tensor::cat(&[&one.latents, &one.latents], 0).unwrap();
            let whole = DenoiserRequest {
                latents: &twice,
                text: &texts,
                grounding: boxes.as_ref(),
                record: Some(&record),
                ..alone
            };
            let expected = unet.forward(&whole).unwrap();
            let shared = DenoiserRequest { latents: &one.latents, start: Some(&start), ..whole };
            let found = unet.forward(&shared).unwrap();
            assert_eq!(bits(&found.prediction.unwrap()), bits(&expected.prediction.unwrap()), "{config:?}");
            assert_eq!(bits(&found.deep.unwrap()), bits(&expected.deep.unwrap()));
            for (key, map) in found.maps {
                assert_eq!(bits(&map), bits(&expected.maps[&key]), "{key}");
            }
        }
    }
}

#[test]
fn calls_with_and_without_an_eraser_share_the_way_down() {
    for config in [two_levels(), three_levels()] {
        let unet = unet(&config);
        let (one, _) = halves(&unet);
        let plain = one.request(None, None);
        let eraser = eraser(Grid::new(8, 6), 0.3, |cell| cell % 5 == 0);
        let start = unet.shared_start(&plain, Parting::Eraser).unwrap().unwrap();
        for eraser in [None, Some(&eraser)] {
            let alone = unet.forward(&DenoiserRequest { eraser, ..plain }).unwrap().prediction.unwrap();
            let shared = DenoiserRequest { eraser, start: Some(&start), ..plain };
            assert_eq!(bits(&unet.forward(&shared).unwrap().prediction.unwrap()), bits(&alone));
        }
        // The plain call would merge, the other one not.
        let merging = DenoiserRequest { merge_tokens: 2, ..plain };
        assert!(unet.shared_start(&merging, Parting::Eraser).unwrap().is_none());
    }
}

#[test]
fn a_start_of_something_else_is_refused() {
    let unet = unet(&two_levels());
    let (one, texts) = halves(&unet);
    let request = one.request(None, None);
    let start = unet.shared_start(&request, Parting::Text).unwrap().unwrap();
    let shared = DenoiserRequest { start: Some(&start), text: &texts, ..request };
    assert!(unet.forward(&shared).is_ok());
    let refused = |request: DenoiserRequest| unet.forward(&request).unwrap_err().to_string();
    assert!(refused(DenoiserRequest { timestep: 3.0, ..shared }).contains("the start of a call"));
    assert!(refused(DenoiserRequest { merge_tokens: 2, ..shared }).contains("the start of a call"));
    // As large, but not the same; and no less the same for being equal.
    let other = one.latents.affine(1.0, 1.0).unwrap();
    assert!(refused(DenoiserRequest { latents: &other, ..shared }).contains("that of another call"));
    assert!(unet.forward(&DenoiserRequest { latents: &one.latents.clone(), ..shared }).is_ok());
    let wide = Inputs::new(&unet, 1, 8, 8);
    assert!(refused(DenoiserRequest { latents: &wide.latents, ..shared }).contains("the start of a call"));
    assert!(refused(DenoiserRequest { start: None, ..shared }).contains("as many as latents, 1"));
    let erasing = unet.shared_start(&request, Parting::Eraser).unwrap().unwrap();
    assert!(refused(DenoiserRequest { start: Some(&erasing), ..shared }).contains("that of another call"));
    let deep = unet.forward(&request).unwrap().deep.unwrap();
    let shallow = DenoiserRequest { deep: Some(&deep), text: &one.text, ..shared };
    assert!(refused(shallow).contains("no start"));
}

#[test]
fn a_start_that_has_seen_text_and_boxes_serves_no_others() {
    let unet = unet(&gated());
    let (one, _) = halves(&unet);
    let boxes = [1, 2].map(|_| grounding(&unet, 1));
    let request = DenoiserRequest { grounding: Some(&boxes[0]), ..one.request(None, None) };
    let start = unet.shared_start(&request, Parting::Eraser).unwrap().unwrap();
    let shared = DenoiserRequest { start: Some(&start), ..request };
    assert!(unet.forward(&shared).is_ok());
    let refused = |request: DenoiserRequest| unet.forward(&request).unwrap_err().to_string();
    let other = Inputs::new(&unet, 1, 8, 6);
    assert!(refused(DenoiserRequest { text: &other.text, ..shared }).contains("that of another call"));
    assert!(refused(DenoiserRequest { grounding: Some(&boxes[1]), ..shared }).contains("that of another call"));
    assert!(refused(DenoiserRequest { grounding: None, ..shared }).contains("that of another call"));
}

#[test]
fn maps_of_layers_before_a_start_are_refused() {
    let unet = unet(&two_levels());
    let (one, _) = halves(&unet);
    let plain = one.request(None, None);
    let start = unet.shared_start(&plain, Parting::Eraser).unwrap().unwrap();
    let all = Recording::new(unet.attention_keys());
    let refused = |request: DenoiserRequest| unet.forward(&request).unwrap_err().to_string();
    let first = unet.attention_keys()[0];
    for asked in [DenoiserRequest { record: Some(&all), ..plain }, DenoiserRequest { last_key: Some(first), ..plain }] {
        let message = refused(DenoiserRequest { start: Some(&start), ..asked });
        assert!(message.contains(&format!("past {first}")), "{message}");
    }
    let last = Recording::new([*unet.attention_keys().last().unwrap()]);
    let behind = DenoiserRequest { record: Some(&last), start: Some(&start), ..plain };
    assert_eq!(unet.forward(&behind).unwrap().maps.len(), 1);
}

#[test]
fn an_empty_batch_is_refused_with_a_start_too() {
    let unet = unet(&two_levels());
    let (one, texts) = halves(&unet);
    let request = one.request(None, None);
    let start = unet.shared_start(&request, Parting::Text).unwrap().unwrap();
    let none = one.latents.narrow(0, 0, 0).unwrap();
    let empty = DenoiserRequest { latents: &none, text: &texts, start: Some(&start), ..request };
    assert!(unet.forward(&empty).unwrap_err().to_string().contains("latents"));
    assert!(unet.shared_start(&DenoiserRequest { start: None, ..empty }, Parting::Text).is_err());
}

#[test]
fn parts_of_a_pass_are_counted_as_what_they_leave_of_the_whole() {
    for config in [two_levels(), three_levels(), one_level(), gated()] {
        let shape = CallShape { batch: 2, ..CallShape::new(Grid::new(8, 6), 7) };
        let work = |shape: CallShape| config.forward_cost(&shape).unwrap().total();
        let boxes = GroundingShape { num_slots: 5, projects_slots: true, wiring: GroundingWiring::default() };
        for grounding in [None, Some(boxes).filter(|_| config.is_gated())] {
            for parting in [Parting::Text, Parting::Eraser] {
                let shape = CallShape { grounding, ..shape };
                let start = work(CallShape { part: CallPart::Start(parting), ..shape });
                let after = work(CallShape { part: CallPart::After(parting), ..shape });
                assert_eq!(start + after, work(shape), "{parting:?}");
                assert!(start > 0 && after > start / 100);
                let unboxed = CallShape { grounding: None, ..shape };
                let of_text = parting == Parting::Text;
                assert!(!of_text || start == work(CallShape { part: CallPart::Start(parting), ..unboxed }));
            }
        }
    }
    // Stable Diffusion 1.5 at 512 × 512: the first residual block and the first self-attention, 2.6 % of a guided step.
    let config = UNetConfig::from_json(r#"{"cross_attention_dim": 768, "sample_size": 64}"#).unwrap();
    let shape = CallShape { projects_text: false, ..CallShape::new(Grid::new(64, 64), 77) };
    let start = CallShape { part: CallPart::Start(Parting::Text), ..shape };
    let start = config.forward_cost(&start).unwrap().total() as f64 / 1e9;
    let whole = config.forward_cost(&shape).unwrap().total() as f64 / 1e9;
    assert!((start - 20.5).abs() < 0.3, "{start}");
    assert!((start / (2.0 * whole) - 0.0256).abs() < 5e-4, "{}", start / (2.0 * whole));
    let down = CallShape { part: CallPart::Start(Parting::Eraser), ..shape };
    let down = config.forward_cost(&down).unwrap().total() as f64 / 1e9;
    assert!((0.3..0.4).contains(&(down / whole)), "{}", down / whole);
}
