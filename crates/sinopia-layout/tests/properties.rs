//! What holds for every layout and for every text.

#![allow(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use proptest::prelude::*;
use sinopia_layout::exchange::{self, Format, Hints, Imported, coco, ideogram, labelme, omost};
use sinopia_layout::{
    Canvas, Layout, LayoutCache, LayoutObject, PixelBox, RepairMode, Scene, locate_phrases, parse_answer,
    parse_answer_on, repair_with, svg, write_answer,
};

/// Pieces of other programs' formats in any order.
const OF_OTHERS: &str = "(?s)(canvas|\\.add_local_description|\\(|location=|'on the left'|,|\\)|=|\\{|\\[|\\]|\\}|:|7|NaN|```|\"images\"|\"annotations\"|\"bbox\"|\"elements\"|\"desc\"|\"shapes\"|\"points\"|\"rect\"|\"prefixes\"|\"image_id\"|.){0,40}";

/// A caption as answers hold it: one trimmed line, and neither the word for no caption nor a code fence.
fn caption() -> impl Strategy<Value = String> {
    "[ -~é猫'\"]{0,40}"
        .prop_map(|text| text.trim().to_owned())
        .prop_filter("not `None`", |text| !text.trim_end_matches('.').eq_ignore_ascii_case("none"))
        .prop_filter("not a fence", |text| !text.starts_with("```"))
}

fn layouts() -> impl Strategy<Value = Layout> {
    let coordinate = prop_oneof![-600i32..1200, Just(0), Just(512)].prop_flat_map(|whole| {
        prop_oneof![3 => Just(f64::from(whole)), 1 => (0.0..1.0).prop_map(move |part: f64| f64::from(whole) + part)]
    });
    let side = prop_oneof![8 => 1e-3..700.0, 1 => -5.0..=0.0, 3 => (1u32..600).prop_map(f64::from), 1 => Just(512.0)];
    let object = ("(?s).{0,30}", coordinate.clone(), coordinate, side.clone(), side).prop_map(
        |(phrase, x, y, width, height)| LayoutObject { phrase, bbox: PixelBox::new(x, y, width, height).unwrap() },
    );
    let canvas = prop_oneof![3 => Just(Canvas::PUBLISHED), 1 => (1u32..900, 1u32..900).prop_map(|(w, h)| Canvas::new(w, h).unwrap())];
    (canvas, prop::collection::vec(object, 0..8), caption(), caption())
        .prop_map(|(canvas, objects, background, negative)| Layout { canvas, objects, background, negative })
}

/// Texts that look like answers gone wrong: pieces of the grammar in any order.
fn almost_answers() -> impl Strategy<Value = String> {
    let pieces = [
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        "'",
        "\"",
        "‘",
        "”",
        ",",
        ":",
        "\\",
        "\\u",
        "\\ud83d",
        "12",
        "-",
        ".",
        "1e9",
        "None",
        "#",
        "\n",
        "\r\n",
        " ",
        "a dog",
        "é",
        "猫",
        "('a dog', [1, 2, 3, 4])",
        "Objects:",
        "objects",
        "Background prompt:",
        "**Background prompt:**",
        "Negative prompt: ",
        "```",
        "Caption: ",
        "no objects",
        "\"objects\":",
        "\"bbox\":",
        "\u{2028}",
        "\0",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|pieces| pieces.concat())
}

/// A tokenizer good enough for prompts: a token a word or mark.
fn encode(text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    for word in text.split_whitespace() {
        for piece in word.split_inclusive(|c: char| !c.is_alphanumeric()) {
            ids.push(piece.bytes().fold(17, |hash: u32, byte| hash.wrapping_mul(31).wrapping_add(byte.into())));
        }
    }
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Of a layout whose boxes leave the canvas that is not certain: they may be taken for thousandths of it.
    #[test]
    fn a_written_answer_is_read_back(layout in layouts()) {
        let (layout, _) = repair_with(layout, RepairMode::Clip);
        let answer = write_answer(&layout);
        prop_assert_eq!(parse_answer_on(&answer, layout.canvas), Ok(layout), "{}", answer);
    }

    #[test]
    fn repaired_layouts_are_inside_the_canvas(layout in layouts(), published: bool, scale: bool) {
        let mode = if published { RepairMode::Published { scale } } else { RepairMode::Clip };
        let (repaired, _) = repair_with(layout, mode);
        prop_assert!(repaired.is_inside_canvas(), "{:?}", repaired);
        let scene = Scene::compose(&repaired);
        prop_assert!(scene.is_ok(), "{:?}", scene);
    }

    #[test]
    fn a_clipped_layout_needs_no_more_repair(layout in layouts()) {
        let (repaired, _) = repair_with(layout, RepairMode::Clip);
        let covers = |object: &LayoutObject| {
            object.bbox.width() >= f64::from(repaired.canvas.width()) && object.bbox.height() >= f64::from(repaired.canvas.height())
        };
        if !repaired.objects.iter().any(covers) {
            let (again, report) = repair_with(repaired.clone(), RepairMode::Clip);
            prop_assert_eq!(again, repaired, "{}", report);
        }
    }

    #[test]
    fn json_is_read_back(layout in layouts()) {
        let (repaired, _) = repair_with(layout, RepairMode::Clip);
        prop_assert_eq!(Layout::from_json(&repaired.to_json()), Ok(repaired));
    }

    #[test]
    fn no_answer_panics(text in "(?s).{0,200}") {
        let _ = parse_answer(&text);
        let _ = Layout::from_json(&text);
        let _ = LayoutCache::from_json(&text);
    }

    #[test]
    fn other_formats_give_boxes_back(layout in layouts()) {
        let (repaired, _) = repair_with(layout, RepairMode::Clip);
        let hints = Hints::default();
        prop_assert_eq!(coco::read(&coco::write(&repaired), &hints), Ok(Imported { layout: repaired.clone(), notes: Vec::new() }));
        let back = labelme::read(&labelme::write(&repaired), &hints).unwrap();
        prop_assert!(back.layout.objects.len() <= repaired.objects.len() && (back.layout.background == repaired.background));
        let canvas = repaired.canvas;
        let phrases = |layout: &Layout| layout.objects.iter().map(|object| object.phrase.clone()).collect::<Vec<_>>();
        let back = ideogram::read(&ideogram::write(&repaired, "").unwrap(), canvas).unwrap().layout;
        prop_assert!(back.objects.iter().all(|object| object.bbox.has_area() && object.bbox.is_inside(canvas)));
        prop_assert_eq!(back.objects.len(), repaired.objects.len());
        let written = omost::write(&repaired);
        if let Ok(back) = omost::read(&written, canvas) {
            // What Omost has words for stays as it is.
            prop_assert_eq!(phrases(&omost::read(&omost::write(&back.layout), canvas).unwrap().layout), phrases(&back.layout));
        }
    }

    #[test]
    fn no_text_of_another_format_panics(text in OF_OTHERS) {
        let hints = Hints { canvas: Some(Canvas::PUBLISHED), image: None };
        let formats = [Format::Json, Format::Text, Format::Coco, Format::Ideogram, Format::Omost, Format::Labelme];
        for format in formats.map(Some).into_iter().chain([None]) {
            let _ = exchange::read(&text, format, &hints);
        }
    }

    #[test]
    fn what_is_read_of_others_is_written_in_few_digits(y in 0..900, x in 0..900, height in 1..100, width in 1..100, side in 1u32..2000) {
        let bbox = format!("[{y}, {x}, {}, {}]", y + height, x + width);
        let text = format!(r#"{{"background": "", "elements": [{{"bbox": {bbox}, "desc": "a cat"}}]}}"#);
        let hints = Hints { canvas: Some(Canvas::new(side, 777).unwrap()), image: None };
        let layout = exchange::read(&text, None, &hints).unwrap().layout;
        let json = layout.to_json();
        prop_assert!(json.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= 4), "{}", json);
        prop_assert!(layout.is_inside_canvas());
    }

    #[test]
    fn no_almost_answer_panics(text in almost_answers()) {
        match parse_answer(&text) {
            Ok(layout) => {
                let (repaired, _) = repair_with(layout, RepairMode::Clip);
                prop_assert!(repaired.is_inside_canvas());
                prop_assert!(!svg::render(&repaired).is_empty());
            }
            Err(error) => {
                if let Some(fault) = error.fault() {
                    prop_assert!(fault.line() >= 1 && fault.column() >= 1 && fault.snippet("answer").contains('^'));
                }
            }
        }
        let _ = Layout::from_json(&text);
    }

    #[test]
    fn drawings_have_only_our_own_markup(layout in layouts()) {
        let svg = svg::render(&layout);
        let tags = svg.split('<').skip(1).map(|tag| tag.split([' ', '>', '/']).find(|name| !name.is_empty()).unwrap_or_default());
        for tag in tags {
            prop_assert!(["svg", "rect", "text"].contains(&tag), "{}", tag);
        }
        prop_assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
        prop_assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
        prop_assert!(!svg.chars().any(|c| c.is_control() && c != '\n'));
    }

    #[test]
    fn located_phrases_are_where_they_say_and_share_no_token(layout in layouts()) {
        let (repaired, _) = repair_with(layout, RepairMode::Clip);
        let scene = Scene::compose(&repaired).unwrap();
        if let Ok(located) = locate_phrases(scene.overall(), encode, 1000) {
            let ids = encode(&located.text);
            let mut taken = vec![false; ids.len() + 1];
            for (phrase, tokens) in scene.overall().phrases.iter().zip(&located.phrases) {
                prop_assert_eq!(&ids[tokens.range.start - 1..tokens.range.end - 1], &encode(&phrase.text)[..]);
                prop_assert!(tokens.range.contains(&tokens.word));
                for position in tokens.range.clone() {
                    prop_assert!(!std::mem::replace(&mut taken[position], true));
                }
            }
        }
    }
}
