//! Pictures from weights in GGUF's blocks: close to those of the weights that they were made of, and the same as those of the numbers that they stand for.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests, and their figures are worth seeing")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{DType, Device};
use tempfile::TempDir;

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

/// The miniature in a folder, its UNet in blocks of one type.
struct Model {
    folder: TempDir,
}

impl Model {
    fn new(kind: GgmlDType) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in sinopia_miniature::FILES {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match *name == WEIGHTS {
                true => quantise(bytes, kind, &folder.path().join("unet/miniature.gguf")),
                false => std::fs::write(path, bytes).unwrap(),
            }
        }
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("unet/miniature.gguf")
    }

    /// Runs the program within the folder.
    fn run(&self, arguments: &[&str], isa: Option<&str>) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sinopia"));
        command.args(arguments).current_dir(self.folder.path()).env("HF_HUB_OFFLINE", "1");
        isa.map(|isa| command.env("SINOPIA_MAX_CPU_ISA", isa));
        command.output().unwrap()
    }

    /// The values of a picture's pixels.
    fn paint(&self, model: &str, precision: &str, isa: Option<&str>) -> Vec<u8> {
        let out = format!("{precision}-{}.png", isa.unwrap_or("any"));
        let request = ["generate", "a red ball", "--method", "sd", "--steps", "4", "--seed", "3", "--model", model];
        let output = self.run(&[&request[..], &["--precision", precision, "--out", &out]].concat(), isa);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        image::open(self.folder.path().join(out)).unwrap().to_rgb8().into_raw()
    }
}

/// Writes tensors of a safetensors file as ComfyUI's converter does: weights in rows of 256 numbers, their shapes in the metadata.
fn quantise(weights: &[u8], kind: GgmlDType, to: &Path) {
    let tensors = candle_core::safetensors::load_buffer(weights, &Device::Cpu).unwrap();
    let (mut blocks, mut shapes) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let tensor = tensor.to_dtype(DType::F32).unwrap();
        let is_reshaped = tensor.rank() > 1 && tensor.elem_count().is_multiple_of(256);
        let stored = match is_reshaped {
            true => QTensor::quantize(&tensor.reshape(((), 256)).unwrap(), kind),
            false => QTensor::quantize(&tensor, GgmlDType::F32),
        };
        if is_reshaped {
            let shape = tensor.dims().iter().map(|&size| gguf_file::Value::I32(size as i32)).collect();
            shapes.push((format!("comfy.gguf.orig_shape.{name}"), gguf_file::Value::Array(shape)));
        }
        blocks.push((name, stored.unwrap()));
    }
    let blocks: Vec<(&str, &QTensor)> = blocks.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let shapes: Vec<(&str, &gguf_file::Value)> = shapes.iter().map(|(key, value)| (key.as_str(), value)).collect();
    gguf_file::write(&mut File::create(to).unwrap(), &shapes, &blocks).unwrap();
}

/// Peak signal to noise of two pictures, in dB.
fn psnr(found: &[u8], expected: &[u8]) -> f64 {
    let squares = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
    10.0 * (255.0 * 255.0 * found.len() as f64 / squares.sum::<f64>().max(1e-9)).log10()
}

#[test]
fn pictures_are_near_those_of_the_weights_and_those_of_their_numbers() {
    for (kind, name, bound) in [(GgmlDType::Q8_0, "Q8_0", 30.0), (GgmlDType::Q4K, "Q4_K", 15.0)] {
        let model = Model::new(kind);
        let found = model.paint(".", "auto", None);
        let distance = psnr(&found, &model.paint("miniature", "f32", None));
        println!("{name}: {distance:.1} dB from f32");
        assert!(distance > bound, "{name}: {distance:.1} dB");
        // In f32 blocks and the numbers that they stand for go through the same products.
        let (blocks, numbers) = (model.paint(".", "stored", Some("avx2")), model.paint(".", "f32", Some("avx2")));
        assert!(psnr(&blocks, &numbers) > 60.0, "{name}: {:.1} dB from its own numbers", psnr(&blocks, &numbers));

        let about = model.run(&["models", "info", "."], None);
        let about = String::from_utf8(about.stdout).unwrap();
        assert!(about.contains(name), "{about}");
    }
}

#[test]
fn a_unet_alone_is_told_where_it_belongs() {
    let model = Model::new(GgmlDType::Q8_0);
    let file = model.file();
    let refused = model.run(&["generate", "a red ball", "--method", "sd", "--model", file.to_str().unwrap()], None);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{told}");
    assert!(
        told.contains("a UNet alone") && told.contains("put it into the `unet/` of a whole one's folder"),
        "{told}"
    );
    let planned = model.run(&["plan", "a red ball", "--llm-model", file.to_str().unwrap()], None);
    let told = String::from_utf8(planned.stderr).unwrap();
    assert_eq!(planned.status.code(), Some(2), "{told}");
    assert!(told.contains("a model that paints (give it to `--model`)"), "{told}");
    let inspected = model.run(&["inspect", file.to_str().unwrap()], None);
    let told = String::from_utf8(inspected.stderr).unwrap();
    assert!(told.contains("holds a model"), "{told}");
}
