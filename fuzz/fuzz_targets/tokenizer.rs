//! Any bytes, as each of a tokenizer's files: no panic, and what is read encodes a text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_models::Tokenizer;
use sinopia_models::t5::T5Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, content)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().expect("a scratch folder");
    let put = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("room for it");
    match choice % 4 {
        0 => put("spiece.model", content),
        1 => put("tokenizer.json", content),
        2 => {
            put("vocab.json", br#"{"<|startoftext|>": 0, "<|endoftext|>": 1, "c": 2, "a": 3, "t</w>": 4, "ca": 5}"#);
            put("merges.txt", content);
        }
        _ => {
            put("vocab.json", content);
            put("merges.txt", b"#version: 0.2\nc a\nca t</w>\n");
        }
    }
    if choice % 4 < 2 {
        if let Ok(tokenizer) = T5Tokenizer::from_folder(folder.path()) {
            let _ = tokenizer.encode("a red car, na\u{ef}ve \u{72ac}");
        }
    }
    if let Ok(tokenizer) = Tokenizer::from_folder(folder.path()) {
        let _ = tokenizer.encode("a red car, na\u{ef}ve \u{72ac}");
    }
});
