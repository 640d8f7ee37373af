//! Any text, as a layout of each program and of none in particular: no panic, and what is read can be repaired and written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sinopia_layout::exchange::{self, Format, Hints, coco, flux3, ideogram, labelme, moss, omost};
use sinopia_layout::{LayoutCache, repair};

const FORMATS: [Format; 7] =
    [Format::Json, Format::Text, Format::Coco, Format::Ideogram, Format::Omost, Format::Labelme, Format::Moss];

fuzz_target!(|text: &str| {
    let _ = LayoutCache::from_json(text);
    for format in FORMATS.map(Some).into_iter().chain([None]) {
        let Ok(imported) = exchange::read(text, format, &Hints::default()) else { continue };
        let (layout, _) = repair(imported.layout);
        assert!(layout.is_inside_canvas());
        let _ =
            (coco::write(&layout), ideogram::write(&layout, "a scene"), omost::write(&layout), labelme::write(&layout));
        let _ = (flux3::write(&layout, "a scene"), moss::write(&layout, "a scene"));
    }
});
