//! Whatever is given is answered: no panic, and every span lies on the caption's characters.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use proptest::prelude::*;
use sinopia_english::{CaptionAnalysis, End, read};

fn assert_sound(caption: &str, analysis: &CaptionAnalysis) {
    let json = serde_json::to_value(analysis).unwrap();
    let mut left = vec![&json];
    while let Some(value) = left.pop() {
        if let (Some(start), Some(end)) = (value.get("start"), value.get("end")) {
            let (start, end) = (start.as_u64().unwrap() as usize, end.as_u64().unwrap() as usize);
            assert!(
                start <= end && caption.is_char_boundary(start) && caption.is_char_boundary(end),
                "{start}..{end} of {caption:?}"
            );
        }
        left.extend(value.as_object().into_iter().flat_map(|object| object.values()));
        left.extend(value.as_array().into_iter().flatten());
    }
    for relation in &analysis.relations {
        for end in [relation.subject, relation.object] {
            assert!(match end {
                End::Thing(i) => i < analysis.things.len(),
                End::Place(i) => i < analysis.places.len(),
            });
        }
    }
    assert!(analysis.positions.iter().all(|position| position.thing < analysis.things.len()));
    assert!(analysis.things.iter().all(|thing| thing.count.min <= thing.count.max && !thing.name.is_empty()));
}

/// Words that the rules turn on, in any order.
fn words() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "a",
        "two",
        "no",
        "not",
        "and",
        "or",
        ",",
        ":",
        ".",
        "-",
        "cat",
        "cats",
        "sofa",
        "on",
        "on top of",
        "with",
        "without",
        "of",
        "pair",
        "it",
        "both",
        "its",
        "to its left",
        "in a row",
        "each",
        "glasses",
        "wearing",
        "hat",
        "is",
        "running",
        "the",
        "red",
        "all",
        "(",
        ")",
        "\"",
        "'s",
        "n't",
        "dozen",
        "at least",
        "photo",
        "snow",
        "12",
        "1girl",
        "--ar",
        "<lora:x:1>",
        "head",
        "their",
        "back",
        "between",
        "than",
        "neither",
        "nor",
        "nobody",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(caption in any::<String>()) {
        assert_sound(&caption, &read(&caption));
    }

    #[test]
    fn any_order_of_words_is_answered(caption in words()) {
        assert_sound(&caption, &read(&caption));
    }
}

#[test]
fn odd_captions_are_answered() {
    for caption in [
        "",
        " ",
        "no",
        "cat",
        "run",
        ".",
        "...",
        "\"",
        "\"\"",
        "''",
        "a",
        "two",
        "of",
        "with",
        "a of a",
        "()",
        "((((",
        "<lora:",
        "--",
        "--ar",
        "猫が二匹",
        "две кошки",
        "🐱🐶",
        "a 🐱 and a dog",
        "é",
        "a\u{0}b",
        "1girl",
        "a cat left of a dog, the dog left of the cat",
        "it",
        "both",
        "each of the",
        "a pair of",
        "in front of",
        "to its left",
    ] {
        assert_sound(caption, &read(caption));
    }
    let unknown = read("猫が二匹");
    assert!(unknown.things.iter().all(|thing| thing.certainty == sinopia_english::Certainty::Unsure));
}

#[test]
fn a_long_caption_is_read_up_to_the_limit() {
    let long = "a cat and a dog on a sofa, ".repeat(4000);
    let analysis = read(&long);
    assert_sound(&long, &analysis);
    assert!(analysis.is_cut && analysis.things.len() > 100);
    let lists = "a cat and ".repeat(390);
    assert_sound(&lists, &read(&lists));
    assert!(!read("a cat").is_cut);
}
