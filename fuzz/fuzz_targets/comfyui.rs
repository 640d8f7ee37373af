//! Any text, as a graph of ComfyUI's: no panic, and circles end.

#![no_main]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the reader is part of the command line, of which only that is used here"
)]

#[path = "../../crates/sinopia/src/cli/mod.rs"]
mod cli;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = cli::comfyui::understands(text);
});
