//! Layouts of the reader's gold captions: what a careful person sees has its boxes, and they stand as the caption says.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod scoring;

use std::path::Path;

use scoring::{gold, report};
use sinopia_english::read;
use sinopia_layout::{Canvas, Layout};
use sinopia_solver::{SolveOptions, solve};

/// The captions that the reader's rules were made with, and those that were kept apart.
const GOLD: [&str; 2] = ["development.json", "blind.json"];

fn report(file: &str, options: &SolveOptions) -> report::Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sinopia-english/tests/data");
    let gold = gold::open(&folder.join(file), None).unwrap();
    assert_eq!(gold.lost, [""; 0]);
    let lay_out = |caption: &str| -> Result<Layout, String> {
        let solution = solve(caption, &read(caption), options);
        solution.map(|solution| solution.layout).map_err(|error| error.to_string())
    };
    let layouts: Vec<_> = gold.rows.iter().map(|row| lay_out(&row.caption)).collect();
    report::score(&gold, &layouts)
}

#[test]
fn things_backgrounds_and_exclusions_of_gold_captions_are_in_the_layouts() {
    for (file, whole) in GOLD.into_iter().zip([38, 34]) {
        let report = report(file, &SolveOptions::default());
        let told = format!("{file}\n{report}\n{}", report.failures.join("\n"));
        assert!(report.layouts.captions >= 36 && report.layouts.whole >= whole, "{told}");
        let gold = &report.layouts.gold;
        assert!(100 * gold.hold >= 85 * (gold.hold + gold.doubtful + gold.broken) && gold.broken <= 1, "{told}");
    }
}

#[test]
fn on_every_seed_and_canvas_all_things_have_boxes_that_stand_as_read() {
    let canvases = [(512, 512), (1344, 768), (640, 1536)];
    for (seed, (width, height)) in (0..6).zip(canvases.into_iter().cycle()) {
        let options = SolveOptions { canvas: Canvas::new(width, height).unwrap(), seed };
        for file in GOLD {
            let report = report(file, &options);
            let layouts = &report.layouts;
            let wrong = layouts.without_layout + layouts.outside + layouts.overlaps + layouts.lost;
            let told = format!("{file}, seed {seed}, {width}×{height}\n{report}\n{}", report.failures.join("\n"));
            assert!(wrong == 0 && layouts.reading.hold > 30, "{told}");
            // A dozen roses do not always have their feet in one vase.
            assert!(layouts.reading.broken <= 1, "{told}");
        }
    }
}
