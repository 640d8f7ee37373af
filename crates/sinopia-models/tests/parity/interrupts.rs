//! Every network looks at its switch before each of its layers, and gives up at whichever look finds it thrown.

use crate::fixture::model_folder;
use candle_core::Device;
use sinopia_models::clip_pair::ClipPair;
use sinopia_models::ella::{Ella, TextLength};
use sinopia_models::image::Pixels;
use sinopia_models::owlvit::OwlVit;
use sinopia_models::sam::{Prompt, Sam};
use sinopia_models::t5::StateRange;
use sinopia_models::testing::Fuse;
use sinopia_models::{Error, Interrupt, Precision, Result};

/// Runs `work` with a switch that is never thrown, then with one that is thrown at each look there was. There must be `least` of them.
fn check<T>(what: &str, least: usize, work: impl Fn(Interrupt) -> Result<T>) {
    let counting = Fuse::counting();
    work(Some(&counting)).unwrap();
    assert!(counting.looks() >= least, "{what}: {} looks, expected {least}", counting.looks());
    for at in 1..=counting.looks() {
        let fuse = Fuse::at(at);
        let error = work(Some(&fuse)).err().unwrap_or_else(|| panic!("{what} went on at look {at}"));
        assert!(matches!(error, Error::Interrupted), "{what}: {error}");
        assert_eq!(fuse.looks(), at, "{what} looked again");
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
    check("the image encoder", layers + 1, |interrupt| sam.encode_unless(image(), interrupt));
    let (encoded, prompt) = (sam.encode(image()).unwrap(), Prompt::point(2.0, 1.0));
    let layers = config.mask_decoder_config.num_hidden_layers;
    check("the mask decoder", layers + 1, |interrupt| sam.segment_unless(&encoded, &prompt, interrupt));
}

#[test]
fn detectors_give_up_between_layers() {
    for model in ["owlvit", "owlv2"] {
        let detector = OwlVit::open(&model_folder(model), &Device::Cpu, Precision::F32).unwrap();
        let config = detector.config();
        check(model, config.text_config.num_hidden_layers, |interrupt| {
            detector.encode_queries_unless(&["a cat"], interrupt)
        });
        check(model, config.vision_config.num_hidden_layers, |interrupt| {
            detector.encode_images_unless(&[image()], interrupt)
        });
    }
}

#[test]
fn clip_gives_up_between_layers() {
    let clip = ClipPair::open(&model_folder("clip"), &Device::Cpu, Precision::F32).unwrap();
    let config = clip.config();
    check("texts", config.text_config.num_hidden_layers, |interrupt| clip.encode_texts_unless(&["a cat"], interrupt));
    check("images", config.vision_config.num_hidden_layers, |interrupt| {
        clip.encode_images_unless(&[image()], interrupt)
    });
}

#[test]
fn t5_gives_up_between_layers() {
    let device = (&Device::Cpu, Precision::F32);
    let ella = Ella::open(&model_folder("t5"), &model_folder("ella"), device, StateRange::F32).unwrap();
    check("T5", 2, |interrupt| ella.read_unless("a cat", TextLength::Flexible, interrupt));
}
