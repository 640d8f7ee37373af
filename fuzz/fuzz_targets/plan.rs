//! Any text as a caption, laid out and checked, and any answer of a language model checked against it: `CAPTION`, a line `---`, `ANSWER`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_english::read;
use sinopia_layout::{Canvas, parse_answer};
use sinopia_planner::checks::{Finding, check};
use sinopia_solver::{SolveOptions, solve};

fuzz_target!(|text: &str| {
    let (caption, answer) = text.split_once("\n---\n").unwrap_or((text, ""));
    let seed = text.len() as u64 % 5;
    let sizes = [(512, 512), (1024, 576), (128, 384)];
    let (width, height) = sizes[text.len() % sizes.len()];
    let Ok(canvas) = Canvas::new(width, height) else { return };
    let analysis = read(caption);
    if let Ok(solution) = solve(caption, &analysis, &SolveOptions { canvas, seed }) {
        assert!(solution.layout.is_inside_canvas(), "{:?}", solution.layout);
        assert_eq!(solution.boxes.len(), analysis.things.len());
        // However odd the caption is, boxes that are solved for are boxes.
        let is_no_box = |finding: &Finding| format!("{finding}").contains("leaves the canvas");
        assert!(!check(caption, &solution.layout).iter().any(is_no_box));
    }
    if let Ok(layout) = parse_answer(answer) {
        let _ = check(caption, &layout);
    }
});
