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
    assert!(analysis.things.iter().all(|thing| !thing.head.is_empty() && !thing.description().trim().is_empty()));
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
        "*****s in front",
        "to its left",
    ] {
        assert_sound(caption, &read(caption));
    }
}

/// Names of the things, and the texts of what was not understood, of commands and of quotes.
fn summary(caption: &str) -> (Vec<String>, Vec<&str>, Vec<String>, Vec<String>) {
    let analysis = read(caption);
    assert_sound(caption, &analysis);
    (
        analysis.things.iter().map(|thing| thing.name.clone()).collect(),
        analysis.not_understood.iter().map(|span| &caption[span.clone()]).collect(),
        analysis.controls.into_iter().map(|control| control.text).collect(),
        analysis.quotes.into_iter().map(|quote| quote.text).collect(),
    )
}

fn names(caption: &str) -> Vec<String> {
    summary(caption).0
}

#[test]
fn little_is_read_of_little() {
    assert_eq!(read(""), CaptionAnalysis::default());
    assert_eq!(names("cat"), ["cat"]);
    assert_eq!(summary("running"), (vec![], vec!["running"], vec![], vec![]));
    assert!(names("no").is_empty() && names("two").is_empty() && names("of the").is_empty());
    let nothing = read("no no cats");
    assert!(nothing.things.is_empty() && nothing.exclusions.len() == 1);
}

#[test]
fn other_scripts_are_told_and_known_nouns_kept() {
    let mixed = read("猫 cat と sofa");
    assert_eq!(names("猫 cat と sofa"), ["cat", "sofa"]);
    assert_eq!(mixed.not_understood.len(), 2);
    assert!(mixed.is_english(), "more Latin letters than others");
    for caption in ["猫が二匹", "две кошки на диване", "قطة سوداء على كرسي", "一只猫 cat", "חתול"]
    {
        let analysis = read(caption);
        assert!(!analysis.is_english() && !analysis.not_understood.is_empty(), "{caption}");
        assert!(analysis.things.iter().all(|thing| thing.certainty == sinopia_english::Certainty::Unsure), "{caption}");
    }
    assert!(!read("une femme avec un chat noir").is_english());
    assert_eq!(names("una pizza con el gato"), ["pizza"]);
}

#[test]
fn commands_are_kept_beside_the_names() {
    let caption = "(masterpiece:1.2), ((red car)), [blue dog], <lora:foo:0.8>, embedding:bad-hands, a girl BREAK a tree++ --ar 16:9";
    let (things, _, controls, _) = summary(caption);
    assert_eq!(things, ["car", "dog", "girl", "tree"]);
    for control in [":1.2", "<lora:foo:0.8>", "embedding:bad-hands", "BREAK", "++", "--ar 16:9"] {
        assert!(controls.iter().any(|found| found == control), "{control}");
    }
    assert_eq!(names("a cat::2 a dog::-0.5"), ["cat", "dog"]);
    assert_eq!(names("[cat|dog] on a sofa"), ["cat", "dog", "sofa"]);
    assert_eq!(names("a (cat:-1.5) and a {dog}"), ["cat", "dog"]);
}

#[test]
fn quotes_of_all_kinds_are_texts() {
    for caption in [
        "a sign ‘OPEN’",
        "a sign “OPEN”",
        "a sign „OPEN“",
        "a sign «OPEN»",
        "a sign 'OPEN'",
        "a sign 「OPEN」",
        "a sign \"OPEN\"",
        "a sign ‹OPEN›",
    ] {
        let (things, _, _, quotes) = summary(caption);
        assert_eq!((things, quotes), (vec!["sign".to_owned()], vec!["OPEN".to_owned()]), "{caption}");
    }
    assert!(summary("the dogs' bowl and the cat's toy, the boys’ ball").3.is_empty());
}

#[test]
fn odd_letters_do_not_hide_words() {
    assert_eq!(names("🐱 on a 🛋️, a dog 🐶 and a 👩‍👧 cat"), ["dog", "cat"]);
    assert_eq!(names("a\u{200b}cat and a d\u{200d}og\u{feff}"), ["cat", "dog"]);
    assert_eq!(names("\u{202e}a cat\u{202c} on a sofa"), ["cat", "sofa"]);
    assert_eq!(names("a cat， a dog。a bird"), ["cat", "dog", "bird"]);
    assert_eq!(names("A RED CAR AND A BLUE DOG"), ["car", "dog"]);
    assert_eq!(names("A Red Car And A Blue Dog"), ["car", "dog"]);
    assert_eq!(read("A RED CAR").things[0].colours, ["red"]);
    let typo = read("a catt on a sofaa");
    assert_eq!(typo.things.len(), 2);
    assert!(typo.things.iter().all(|thing| thing.certainty == sinopia_english::Certainty::Unsure));
    assert_eq!(names("aredcarandabluedog").len(), 1);
    let long = format!("a {} and a cat", "x".repeat(2000));
    assert_eq!(names(&long).len(), 2);
}

#[test]
fn lists_of_all_kinds_are_read() {
    assert_eq!(names("a table: a cup; a plate; two forks"), ["table", "cup", "plate", "fork"]);
    assert_eq!(read("a table: a cup; a plate; two forks").relations.len(), 3);
    assert_eq!(names("- a cat\n- a dog\n2. a bird\n• a fish\n"), ["cat", "dog", "bird", "fish"]);
    assert_eq!(names("a cat | a dog / a bird"), ["cat", "dog", "bird"]);
}

#[test]
fn relations_that_contradict_are_both_kept() {
    let analysis = read("a cat left of a dog, the dog left of the cat");
    assert_eq!(analysis.things.len(), 2);
    let ends: Vec<_> = analysis.relations.iter().map(|relation| (relation.subject, relation.object)).collect();
    assert_eq!(ends, [(End::Thing(0), End::Thing(1)), (End::Thing(1), End::Thing(0))]);
}

/// What is read twice as long takes about twice as long; the slowest kinds are lists, pronouns and plurals.
#[test]
fn reading_takes_time_in_proportion() {
    let time = |caption: &str| {
        let start = std::time::Instant::now();
        std::hint::black_box(read(caption));
        start.elapsed()
    };
    time("a cat");
    for part in [
        "a cat and ",
        "it is on them, ",
        "two dogs, one is red, ",
        "holding a ",
        "the cat of the ",
        "a man holding a ",
        "both on each of ",
        "((",
        "'x ",
        "1. \n",
        "a:",
    ] {
        let best = |times: usize| {
            let caption = part.repeat(times);
            (0..3).map(|_| time(&caption)).min().unwrap_or_default()
        };
        let (short, long) = (best(40), best(160));
        assert!(long < short * 12 + std::time::Duration::from_millis(100), "{part:?}: {short:?}, {long:?}");
    }
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
