//! Any text, as the answer of a language model: no panic, and what is read can be repaired, composed, drawn and written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_layout::{Canvas, Layout, Scene, lost_all, parse_answer_on, read_answer, repair, svg, write_answer};

fuzz_target!(|text: &str| {
    let _ = Layout::from_json(text);
    for canvas in [Canvas::PUBLISHED, Canvas::new(768, 448).expect("a canvas")] {
        let Ok(answer) = read_answer(text, canvas) else { continue };
        let is_lost = lost_all(&answer.layout).is_some();
        let (repaired, _) = repair(answer.layout);
        assert!(!is_lost || repaired.objects.is_empty());
        assert!(repaired.is_inside_canvas());
        Scene::compose(&repaired).expect("a repaired layout makes a scene");
        assert!(!svg::render(&repaired).is_empty());
        // Names may hold what ends a thought or a turn, and a box of one pixel may be a share.
        let is_large = repaired.objects.iter().all(|object| object.bbox.width() > 2.0 && object.bbox.height() > 2.0);
        if is_large && !text.contains(['<', '◁']) && !text.contains("THINK]") {
            let again = parse_answer_on(&write_answer(&repaired), repaired.canvas).expect("a written answer can be read");
            assert_eq!(again.objects, repaired.objects);
        }
    }
});
