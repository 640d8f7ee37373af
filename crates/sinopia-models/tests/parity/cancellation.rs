//! Every network checks its cancellation token before each of its layers, and gives up at whichever check finds it cancelled.

use crate::fixture::model_folder;
use candle_core::Device;
use sinopia_models::clip_pair::ClipPair;
use sinopia_models::ella::{Ella, EllaOptions, TextLength};
use sinopia_models::image::Pixels;
use sinopia_models::owlvit::OwlVit;
use sinopia_models::sam::{Prompt, Sam};
use sinopia_models::t5::StateRange;
use sinopia_models::{CancellationToken, Error, Precision, Result};

/// Runs `work` with a token that is never cancelled, then with one that is at each check there was. There must be `least` of them.
fn check<T>(what: &str, least: usize, work: impl Fn(Option<&CancellationToken>) -> Result<T>) {
    let counting = CancellationToken::counting();
    work(Some(&counting)).unwrap();
    assert!(counting.num_checks() >= least, "{what}: {} checks, expected {least}", counting.num_checks());
    for at in 1..=counting.num_checks() {
        let token = CancellationToken::cancelled_at_check(at);
        let error = work(Some(&token)).err().unwrap_or_else(|| panic!("{what} went on at check {at}"));
        assert!(matches!(error, Error::Cancelled), "{what}: {error}");
        assert_eq!(token.num_checks(), at, "{what} checked again");
    }
}

const IMAGE: [u8; 3 * 6 * 4] = [90; 3 * 6 * 4];

fn image() -> Pixels<'static> {
    Pixels::new(6, 4, &IMAGE).unwrap()
}

#[test]
fn sam_gives_up_between_layers() {
    let sam = Sam::open(&model_folder("sam"), &Device::Cpu, Precision::F32).unwrap();
    let config = sam.config();
    let layers = config.vision_config.num_hidden_layers;
    check("the image encoder", layers + 1, |cancellation| sam.encode_cancellable(image(), cancellation));
    let (encoded, prompt) = (sam.encode(image()).unwrap(), Prompt::point(2.0, 1.0));
    let layers = config.mask_decoder_config.num_hidden_layers;
    check("the mask decoder", layers + 1, |cancellation| sam.segment_cancellable(&encoded, &prompt, cancellation));
}

#[test]
fn detectors_give_up_between_layers() {
    for model in ["owlvit", "owlv2"] {
        let detector = OwlVit::open(&model_folder(model), &Device::Cpu, Precision::F32).unwrap();
        let config = detector.config();
        check(model, config.text_config.num_hidden_layers, |cancellation| {
            detector.encode_queries_cancellable(&["a cat"], cancellation)
        });
        check(model, config.vision_config.num_hidden_layers, |cancellation| {
            detector.encode_images_cancellable(&[image()], cancellation)
        });
    }
}

#[test]
fn clip_gives_up_between_layers() {
    let clip = ClipPair::open(&model_folder("clip"), &Device::Cpu, Precision::F32).unwrap();
    let config = clip.config();
    check("texts", config.text_config.num_hidden_layers, |cancellation| {
        clip.encode_texts_cancellable(&["a cat"], cancellation)
    });
    check("images", config.vision_config.num_hidden_layers, |cancellation| {
        clip.encode_images_cancellable(&[image()], cancellation)
    });
}

#[test]
fn t5_gives_up_between_layers() {
    let options = EllaOptions { precision: Precision::F32, range: StateRange::F32, ..EllaOptions::default() };
    let ella = Ella::open(&model_folder("t5"), &model_folder("ella"), &options).unwrap();
    check("T5", 2, |cancellation| ella.read_cancellable("a cat", TextLength::Flexible, cancellation));
}
