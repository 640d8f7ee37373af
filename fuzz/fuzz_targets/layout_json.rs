//! Any text, as layout JSON: no panic, and what is read is written and read again the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_layout::{Layout, Scene, repair, svg};

fuzz_target!(|text: &str| {
    let Ok(layout) = Layout::from_json(text) else { return };
    assert_eq!(Layout::from_json(&layout.to_json()).as_ref(), Ok(&layout));
    let (repaired, _) = repair(layout);
    assert!(repaired.is_inside_canvas());
    Scene::compose(&repaired).expect("a repaired layout makes a scene");
    assert!(!svg::render(&repaired).is_empty());
});
