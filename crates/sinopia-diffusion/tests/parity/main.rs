//! Schedulers, noise, losses and whole pictures against PyTorch and diffusers. `parity/` has the scripts that write the fixtures.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

#[path = "../../../../parity/fixture.rs"]
mod fixture;

mod baselines;
mod init;
mod inversion;
mod losses;
mod noise;
mod pipelines;
mod schedulers;
mod spacings;
