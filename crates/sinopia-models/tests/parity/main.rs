//! Every model against its reference library, on tiny random weights. `parity/` has the scripts that write the fixtures.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

#[path = "../../../../parity/fixture.rs"]
mod fixture;

mod cancellation;
mod clip;
mod clip_pair;
mod ella;
mod eraser;
mod gligen;
mod owlvit;
mod preprocessing;
mod sam;
mod single_file;
mod t5;
mod tokenizer;
mod unet;
mod vae;
