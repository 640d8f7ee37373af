//! Whether a layout is one that the caption asked for: what is found goes back to the model, word for word.
//!
//! The caption is read once ([`sinopia_english::read`]), each box is joined to the thing that it shows (`matching.rs`), and then a file an idea asks what is wrong: `boxes.rs`, `things.rs`,
//! `exclusions.rs`, `background.rs`, `relations.rs`. What rests on an unsure reading is a remark and never a fault.

mod background;
mod bindings;
mod boxes;
mod exclusions;
mod finding;
mod matching;
mod naming;
mod relations;
mod things;

use std::collections::HashSet;

use sinopia_english::{CaptionAnalysis, read};
use sinopia_layout::{Layout, limits};

pub use bindings::{Bindings, BoxDescription, BoxRelation, ExcludedKind, bindings};
pub use finding::{
    BackgroundProblem, BoxProblem, ExclusionProblem, Finding, Problem, Range, RelationProblem, Severity, ThingProblem,
};
use matching::{Matching, Wanted};
use naming::Named;
use relations::Relations;
use things::Things;

/// How far a layout is from a perfect one: 0 is perfect, each fault counts 1, each remark a tenth.
pub fn penalty(findings: &[Finding]) -> f64 {
    findings.iter().map(|finding| if finding.is_fault() { 1.0 } else { 0.1 }).sum()
}

/// Everything that is wrong with `layout` as a layout of `caption`, faults and remarks, boxes first.
///
/// ```
/// use sinopia_layout::parse_answer;
/// use sinopia_planner::checks::check;
///
/// let layout = parse_answer("[('a cat', [10, 10, 200, 200])]\nBackground prompt: A room\nNegative prompt: ")?;
/// let findings = check("two cats in a room", &layout);
/// assert_eq!(findings[0].to_string(), "the caption says 2 × cat, but there is 1 box for it: draw one box for each");
/// # Ok::<(), sinopia_layout::Error>(())
/// ```
pub fn check(caption: &str, layout: &Layout) -> Vec<Finding> {
    check_reading(caption, &read(caption), layout)
}

/// The same of a caption that was read already: `analysis` is what [`read`] made of `caption`.
pub fn check_reading(caption: &str, analysis: &CaptionAnalysis, layout: &Layout) -> Vec<Finding> {
    let layout = &Named::new(layout);
    let wanted = &Wanted::all(analysis)[..];
    let matching = &Matching::new(wanted, layout);
    let relations = Relations::new(analysis, wanted, matching, layout);

    let mut of_caption = Things { caption, analysis, wanted, matching, layout }.find();
    of_caption.extend(exclusions::find(analysis, wanted, matching, layout));
    of_caption.extend(relations.find());
    of_caption.extend(background::lacks(analysis, layout));
    if !analysis.is_english() {
        // Of another language only some nouns are known.
        of_caption.iter_mut().for_each(|finding| finding.severity = Severity::Remark);
    }
    let mut findings = of_boxes(layout, &relations.may_overlap());
    findings.extend(of_caption);
    few(findings)
}

/// What is wrong with a layout whatever its caption says.
pub fn check_boxes(layout: &Layout) -> Vec<Finding> {
    few(of_boxes(&Named::new(layout), &HashSet::new()))
}

fn of_boxes(layout: &Named<'_>, may_overlap: &HashSet<(usize, usize)>) -> Vec<Finding> {
    let mut findings = boxes::find(layout);
    findings.extend(boxes::find_overlaps(layout, may_overlap));
    findings.extend(background::repeats(layout));
    findings
}

/// At most [`limits::FINDINGS`]; of the others, how many they are.
fn few(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > limits::FINDINGS {
        let others = findings.split_off(limits::FINDINGS - 1);
        let severity = others.iter().map(Finding::severity).max().unwrap_or(Severity::Remark);
        findings.push(Finding { severity, problem: Problem::More { count: others.len() } });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinopia_layout::{Canvas, LayoutCache, LayoutObject, PixelBox, parse_answer};

    fn told(caption: &str, answer: &str) -> Vec<String> {
        let layout =
            parse_answer(&format!("{answer}\nBackground prompt: A realistic scene\nNegative prompt: dogs")).unwrap();
        check(caption, &layout).iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn check_told(caption: &str, answer: &str, expected: &[&str]) {
        assert_eq!(told(caption, answer), expected, "{caption}");
    }

    #[test]
    fn counts_are_boxes() {
        let two = "[('a red apple', [10, 10, 90, 90]), ('an apple', [200, 10, 90, 90])]";
        check_told("two apples", two, &[]);
        check_told(
            "two red apples",
            two,
            &["the caption says that the apple is red: put the colour into the name of `an apple`"],
        );
        check_told(
            "three apples",
            two,
            &["the caption says 3 × apple, but there are 2 boxes for it: draw one box for each"],
        );
        check_told(
            "two chairs",
            "[('two chairs', [10, 10, 90, 90])]",
            &[
                "the box `two chairs` stands for several things: give each its own box with a name in the singular",
                "the caption says 2 × chair, but there is 1 box for it: draw one box for each",
            ],
        );
        // Remarks, no faults.
        check_told(
            "two apples under a clear sky",
            two,
            &["the caption says `under clear sky`, which belongs into the background prompt"],
        );
        check_told(
            "birds",
            "[('a bird', [10, 10, 90, 90])]",
            &["the caption says 2 to 5 × bird, but there is 1 box for it: draw one box for each"],
        );
    }

    #[test]
    fn a_number_in_a_name_is_not_always_a_count() {
        for name in [
            "a pair of shoes",
            "a two-story house",
            "a four-poster bed",
            "a 1960s car",
            "several pigeons",
            "a man with two dogs",
            "number 7 bus",
            "size 10 shoes",
        ] {
            let findings = told("", &format!("[('{name}', [10, 10, 90, 90])]"));
            assert!(findings.is_empty(), "{name}: {findings:?}");
        }
    }

    #[test]
    fn members_of_a_plural_go_by_their_own_names() {
        let three =
            "[('a man', [10, 100, 90, 300]), ('a nurse', [160, 100, 90, 300]), ('a girl', [300, 200, 90, 200])]";
        check_told("three people", three, &[]);
        check_told(
            "four people",
            three,
            &["the caption says 4 × person, but there are 3 boxes for it: draw one box for each"],
        );
        check_told("a man, a woman and a girl", three, &[]);
        check_told(
            "three objects",
            "[('a cup', [10, 10, 90, 90]), ('a mug', [110, 10, 90, 90]), ('a hat', [210, 10, 90, 90])]",
            &[],
        );
        check_told(
            "three animals: a cat, a cow and a pig",
            "[('a cat', [10, 10, 90, 90]), ('a cow', [110, 10, 90, 90]), ('a pig', [210, 10, 90, 90])]",
            &[],
        );
    }

    #[test]
    fn boxes_stay_inside_and_apart() {
        check_told(
            "",
            "[('a cat', [400, 10, 150, 90]), ('a hat', [410, 10, 104, 90]), ('a cow', [0, 0, 512, 512])]",
            &[
                "the box [400, 10, 150, 90] of `a cat` leaves the canvas of 512×512: its right edge is at 550 and its lower edge at 100",
                "the box [410, 10, 104, 90] of `a hat` leaves the canvas of 512×512 by a little",
                "the box of `a cow` covers the whole canvas: make it smaller, or put it into the background prompt",
                "the boxes of `a cat` and `a hat` overlap widely",
            ],
        );
        check_told(
            "",
            "[('a cat', [10, 10, 90, 90]), ('a hat', [10, 10, 91, 90]), ('a pin', [300, 300, 9, 9]), ('a line', [9, 300, 0, 9])]",
            &[
                "the box [300, 300, 9, 9] of `a pin` is too small to paint",
                "the box [9, 300, 0, 9] of `a line` needs a width and a height above zero",
                "`a cat` and `a hat` have the same box [10, 10, 91, 90]: move them apart",
            ],
        );
    }

    #[test]
    fn exclusions_go_to_the_negative_prompt_only() {
        check_told("a cat without dogs", "[('a cat', [10, 10, 90, 90])]", &[]);
        check_told(
            "a cat without birds",
            "[('a cat', [10, 10, 90, 90])]",
            &["the caption excludes `birds`, which must be in the negative prompt"],
        );
        check_told(
            "a cat, no dogs",
            "[('a cat', [10, 10, 90, 90]), ('a brown dog', [200, 10, 90, 90])]",
            &["the caption excludes `dogs`, so `a brown dog` must not have a box"],
        );
        check_told(
            "a man without a hat beside a man with a hat",
            "[('a man', [10, 10, 90, 90]), ('a man with a hat', [200, 10, 90, 90])]",
            &["the caption excludes `hat`, which must be in the negative prompt"],
        );
    }

    #[test]
    fn things_stand_where_the_caption_puts_them() {
        let cat_left = "[('a cat', [10, 200, 90, 90]), ('a white cup', [150, 10, 90, 90])]";
        check_told("a cat to the left of a cup", cat_left, &[]);
        check_told("a cup above a cat", cat_left, &[]);
        check_told(
            "a cat to the right of a cup",
            cat_left,
            &["the caption has `cat` to the right of `cup`, but the boxes have not: move or resize one of them"],
        );
        check_told(
            "a cat on the right",
            cat_left,
            &["the caption has `cat` on the right, but its box is not there: move it"],
        );
        check_told(
            "a red cube above a blue cube",
            "[('a red cube', [10, 300, 90, 90]), ('a blue cube', [10, 100, 90, 90])]",
            &["the caption has `red cube` above `blue cube`, but the boxes have not: move or resize one of them"],
        );
        // Both are in the left half, but one is left of the other.
        check_told("a cat on the left and a cup on the right", cat_left, &[]);
    }

    #[test]
    fn of_two_relations_that_cannot_both_be_neither_is_a_fault() {
        let cat_left = "[('a cat', [10, 200, 90, 90]), ('a cup', [300, 200, 90, 90])]";
        check_told(
            "a cat to the left of a cup, the cup is to the left of the cat",
            cat_left,
            &[
                "the caption says `cat to the left of cup` and `cup to the left of cat`, which cannot both be: either will do",
            ],
        );
    }

    #[test]
    fn nothing_that_the_caption_names_is_lost_in_silence() {
        check_told(
            "a red book and a car",
            "[('a book', [10, 300, 90, 90])]",
            &[
                "the caption says that the book is red: put the colour into the name of `a book`",
                "the caption names `car`, but no box is named so: draw a box for it",
            ],
        );
        check_told("a grey cat", "[('a gray cat', [10, 300, 90, 90])]", &[]);
        check_told(
            "a man in a red shirt in the snow beside a sign that says \"OPEN\"",
            "[('a man', [10, 100, 90, 300]), ('a sign', [200, 100, 90, 300])]",
            &[
                "the caption says that `man` has `red shirt`, but its box is not named so",
                "the caption wants the text \"OPEN\", which no box has in its name",
                "the caption says `in snow`, which belongs into the background prompt",
            ],
        );
    }

    #[test]
    fn what_rests_on_an_unsure_reading_is_a_remark() {
        for (caption, answer) in [
            ("three xyzzies", "[('a cat', [10, 300, 90, 90])]"),
            ("a xyzzy left of a cat", "[('a cat', [10, 300, 90, 90]), ('a xyzzy', [300, 300, 90, 90])]"),
            ("zwei Katzen auf dem Sofa mit einer Lampe", "[('a cat', [10, 300, 90, 90])]"),
        ] {
            let layout = parse_answer(&format!("{answer}\nBackground prompt: A room\nNegative prompt: ")).unwrap();
            let findings = check(caption, &layout);
            assert!(!findings.is_empty() && !findings.iter().any(Finding::is_fault), "{caption}: {findings:?}");
        }
    }

    #[test]
    fn faults_weigh_more_than_remarks() {
        let answer = "[('a cat', [10, 10, 90, 90])]\nBackground prompt: A cat\nNegative prompt: ";
        let findings = check("two cats", &parse_answer(answer).unwrap());
        assert_eq!(findings.iter().map(Finding::is_fault).collect::<Vec<_>>(), [false, true]);
        assert!((penalty(&findings) - 1.1).abs() < 1e-9);
    }

    #[test]
    fn what_is_told_of_many_boxes_has_an_end() {
        let answer =
            format!("[{}]\nBackground prompt: A room\nNegative prompt: ", "('a cat', [10, 10, 90, 90]),".repeat(200));
        let findings = check_boxes(&parse_answer(&answer).unwrap());
        assert_eq!(findings.len(), limits::FINDINGS);
        assert_eq!(findings.last().unwrap().to_string(), "there are 19701 further findings"); // of 200 · 199 / 2
        assert!(findings.last().unwrap().is_fault(), "a fault that is not told is a fault");
    }

    /// A caption of claims only, on many boxes with long names: what takes time that grows with all of them is found here, as it would take minutes.
    #[test]
    fn the_largest_layout_under_the_longest_caption_is_read_once() {
        let caption: String =
            "two red balls left of three blue cats and ".chars().cycle().take(limits::CAPTION_CHARS).collect();
        let phrase: String = "red ball blue cat of grey stone ".chars().cycle().take(limits::PHRASE_CHARS).collect();
        let boxes: String = (0..limits::BOXES)
            .map(|i| format!("('{phrase}', [{}, {}, 9, 9]),", 10 * (i % 20), 10 * (i / 20)))
            .collect();
        let layout = parse_answer(&format!("[{boxes}]\nBackground prompt: A room\nNegative prompt: ")).unwrap();
        let findings = check(&caption, &layout);
        assert!(findings.iter().any(|finding| matches!(finding.problem, Problem::More { .. })), "{}", findings.len());
    }

    /// Names that are all different: each is read.
    #[test]
    fn many_long_names_are_read_in_time() {
        let boxes: String = (0..limits::BOXES)
            .map(|i| {
                let phrase: String =
                    format!("cat {i} on a red sofa in a ").chars().cycle().take(limits::PHRASE_CHARS).collect();
                format!("('{phrase}', [{}, {}, 9, 9]),", 10 * (i % 20), 10 * (i / 20))
            })
            .collect();
        let text: String =
            "two red balls left of three blue cats and ".chars().cycle().take(limits::CAPTION_CHARS).collect();
        let answer = format!("[{boxes}]\nBackground prompt: {text}\nNegative prompt: {text}");
        let layout = parse_answer(&answer).unwrap();
        let start = std::time::Instant::now();
        assert!(!check(&text, &layout).is_empty());
        // Some 0.8 s on a busy machine without optimisation; what grows with the square takes minutes.
        assert!(start.elapsed().as_secs() < 30, "{:?}", start.elapsed());
    }

    /// Answers of real models to captions of a benchmark, among them the known bad ones.
    #[test]
    fn recorded_answers_are_judged_as_people_would() {
        let cache = LayoutCache::from_json(include_str!("../../../sinopia-layout/tests/data/answers.json")).unwrap();
        let mut faulty = Vec::new();
        for (caption, answers) in cache.iter() {
            for answer in answers {
                let findings = check(caption, &parse_answer(answer).unwrap());
                let faults: Vec<String> =
                    findings.iter().filter(|finding| finding.is_fault()).map(ToString::to_string).collect();
                if !faults.is_empty() {
                    faulty.push(format!("{caption}\n    {}", faults.join("\n    ")));
                }
            }
        }
        insta::assert_snapshot!("recorded_answers", faulty.join("\n"));
    }

    proptest::proptest! {
        #[test]
        fn no_words_in_any_order_make_it_panic(caption in words(20), names in proptest::collection::vec(words(5), 0..6), background in words(8), negative in words(5)) {
            let object = |(i, phrase): (usize, String)| {
                let at = i as f64 * 70.0;
                LayoutObject { phrase, bbox: PixelBox::new(at - 60.0, 300.0 - at, at, 90.0).unwrap() }
            };
            let objects = names.into_iter().enumerate().map(object).collect();
            let layout = Layout { canvas: Canvas::PUBLISHED, objects, background, negative };
            let findings = check(&caption, &layout);
            proptest::prop_assert!(findings.iter().all(|finding| !finding.to_string().is_empty()));
        }
    }

    fn words(count: usize) -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::strategy::Strategy;
        const WORDS: [&str; 32] = [
            "two", "a", "the", "pair", "of", "cats", "dog", "red", "no", "without", "or", ",", "left", "between", "on",
            "top", "people", "man", "in", "shirt", "above", "both", "and", "middle", "snow", "riding", "bigger",
            "than", "\"x\"", "Über", "🐱", ".",
        ];
        proptest::collection::vec(0..WORDS.len(), 0..count)
            .prop_map(|indices| indices.into_iter().map(|index| WORDS[index]).collect::<Vec<_>>().join(" "))
    }
}
