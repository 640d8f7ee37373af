//! The parts that benchmarks time, on a tiny checkpoint.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;

use sinopia_diffusion::parts::{Part, Parts};
use sinopia_diffusion::{CancellationToken, Error, Pipeline};
use sinopia_models::checkpoint::{Checkpoint, ModelSource, OpenOptions};
use sinopia_models::hub::NoProgress;

#[test]
fn every_part_runs_alone_and_can_be_cancelled() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/models/small");
    let checkpoint = Checkpoint::open(&ModelSource::Folder(folder), &OpenOptions::default(), &NoProgress).unwrap();
    let pipeline = Pipeline::load(&checkpoint).unwrap();
    let parts = Parts::new(&pipeline).unwrap();
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    for part in Part::ALL {
        parts.run(part, None).unwrap();
        assert!(matches!(parts.run(part, Some(&cancelled)), Err(Error::Cancelled)), "{part:?}");
        assert_eq!(Part::named(part.as_str()), Some(part));
    }
    assert_eq!(Part::named("nothing"), None);
}
