//! Any bytes, as a GGUF file: no panic, and little memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_llm::LanguageModel;

fuzz_target!(|bytes: &[u8]| {
    let _ = LanguageModel::from_bytes(bytes, "any bytes");
});
