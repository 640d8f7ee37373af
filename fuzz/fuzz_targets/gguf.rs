//! Any bytes, as a GGUF file, of a language model or of a network that paints: no panic, and little memory.

#![no_main]

use std::io::Write;

use candle_core::Device;
use libfuzzer_sys::fuzz_target;
use sinopia_llm::LanguageModel;
use sinopia_models::{Precision, Weights};

fuzz_target!(|bytes: &[u8]| {
    let _ = LanguageModel::from_bytes(bytes, "any bytes");
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a scratch file");
    file.write_all(bytes).expect("room for it");
    if let Ok(weights) = Weights::open(&[file.path().to_owned()], &Device::Cpu, Precision::Auto) {
        for name in weights.names() {
            let shape = weights.shape(&name).unwrap_or_default();
            let _ = (weights.parameter(&name, &shape), weights.get(&name, &shape));
        }
    }
});
