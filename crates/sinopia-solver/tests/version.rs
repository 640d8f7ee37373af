//! The solver's version is raised whenever captions are laid out otherwise.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use sha2::{Digest, Sha256};
use sinopia_english::read;
use sinopia_layout::Canvas;
use sinopia_solver::{SOLVER_VERSION, SolveOptions, solve};

/// A version, and the digest of its layouts.
struct Solver {
    version: u32,
    digest: &'static str,
}

const KNOWN: Solver = Solver { version: 1, digest: "375e6c428c02044e" };

const CAPTIONS: [&str; 12] = [
    "two red apples to the left of a sleeping cat, no dogs",
    "three cats and a dog in the snow, no people",
    "a man in a red shirt holding an umbrella",
    "two dogs chase cats",
    "a fork on a plate and a knife to its right",
    "several birds flying above a house by the sea",
    "a ball between two cups, all blue",
    "six eggs in a row",
    "a moon in the top left corner",
    "a horse bigger than the house behind it",
    "a street without cars in the rain",
    "",
];

fn digest() -> String {
    let mut hash = Sha256::new();
    for caption in CAPTIONS {
        let analysis = read(caption);
        for canvas in [Canvas::PUBLISHED, Canvas::new(768, 512).unwrap()] {
            for seed in 0..3 {
                hash.update(format!("{:?}\n", solve(caption, &analysis, &SolveOptions { canvas, seed })));
            }
        }
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn layouts_and_version_change_together() {
    let digest = digest();
    assert_eq!(
        (SOLVER_VERSION, digest.as_str()),
        (KNOWN.version, KNOWN.digest),
        "captions are laid out otherwise than by version {}: raise `SOLVER_VERSION` in `src/version.rs`, and write both here",
        KNOWN.version
    );
}
