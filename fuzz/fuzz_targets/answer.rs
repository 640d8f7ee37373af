//! Any text, as the answer of a language model: no panic, and what is read can be repaired, composed, drawn and written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_layout::{Layout, Scene, parse_answer, parse_answer_on, repair, svg, write_answer};

fuzz_target!(|text: &str| {
    let _ = Layout::from_json(text);
    let Ok(layout) = parse_answer(text) else { return };
    let again = parse_answer_on(&write_answer(&layout), layout.canvas).expect("a written answer can be read");
    assert_eq!(again.objects, layout.objects);
    let (repaired, _) = repair(layout);
    assert!(repaired.is_inside_canvas());
    Scene::compose(&repaired).expect("a repaired layout makes a scene");
    assert!(!svg::render(&repaired).is_empty());
});
