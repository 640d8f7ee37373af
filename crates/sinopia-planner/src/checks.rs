//! Whether a layout is one that the caption asked for: what is found goes back to the model, word for word.

use std::fmt;

use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, nouns};

use crate::caption::{self, Claim, Noun, Side};
use crate::words;

/// How far a box may leave the canvas and simply be cut, as a share of the canvas side.
const CUT_SHARE: f64 = 0.02;

/// Overlap (intersection over union) from which two boxes are the same place.
const SAME_PLACE_IOU: f64 = 0.9;

/// Overlap (intersection over union) from which two boxes get in each other's way.
const OVERLAP_IOU: f64 = 0.3;

/// The shortest side of a box that can be painted well, as a share of the canvas side: half a cell of the attention grid.
const TINY_SHARE: f64 = 1.0 / 32.0;

/// How far into the wrong half a box may reach when the caption names a half, as a share of the canvas side.
const HALF_SLACK: f64 = 0.05;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The layout can be used, though a better one is possible.
    Remark,
    /// The layout must not be used: it is not what the caption says.
    Fault,
}

/// Something about a layout that should be otherwise. The text of it is a sentence for the model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// A box has no width or no height.
    NoArea(LayoutObject),
    /// A box leaves the canvas by more than can be cut.
    Outside(LayoutObject, Canvas),
    /// A box leaves the canvas a little; it will be cut.
    Cut(LayoutObject, Canvas),
    /// A box covers the whole canvas.
    CoversCanvas(LayoutObject),
    /// A box is so small that nothing can be painted in it.
    Tiny(LayoutObject, Canvas),
    /// A box has no name.
    Unnamed(PixelBox),
    /// One box stands for several things.
    SeveralInOne(String),
    /// Two boxes lie in the same place.
    SamePlace(LayoutObject, LayoutObject),
    /// Two boxes overlap widely.
    Overlap(LayoutObject, LayoutObject),
    /// The number of boxes is not the caption's.
    Count {
        /// What is counted.
        noun: Noun,
        /// What the caption says.
        expected: usize,
        /// How many boxes there are.
        found: usize,
    },
    /// There are fewer boxes than the caption's things.
    TooFew {
        /// The caption's word.
        word: String,
        /// What the caption says.
        expected: usize,
        /// How many boxes there are in all.
        found: usize,
    },
    /// Something excluded is not in the negative prompt.
    NotInNegative(Noun),
    /// Something excluded has a box.
    ExcludedBox(Noun, LayoutObject),
    /// Something excluded is in the background prompt.
    ExcludedBackground(Noun),
    /// Something that stands somewhere is nowhere in the layout.
    Missing(Noun),
    /// Two things stand the wrong way round.
    Relation {
        /// What stands somewhere.
        subject: Noun,
        /// Where it should stand.
        side: Side,
        /// What it should stand there of.
        object: Noun,
    },
    /// Something stands in the wrong half.
    Place {
        /// What stands somewhere.
        subject: Noun,
        /// In which half it should.
        side: Side,
    },
    /// No box of this noun has the caption's colour.
    Color {
        /// The thing.
        noun: Noun,
        /// Its colour.
        color: String,
    },
    /// Something the caption mentions is nowhere in the layout.
    Unmentioned(Noun),
    /// The background prompt names something that has a box.
    BackgroundRepeats(String),
    /// The background prompt is empty.
    NoBackground,
    /// The layout is for a canvas of another size.
    OtherCanvas {
        /// The canvas asked for.
        expected: Canvas,
        /// The layout's.
        found: Canvas,
    },
}

impl Finding {
    /// Whether the layout can be used all the same.
    pub fn severity(&self) -> Severity {
        match self {
            Finding::Cut(..)
            | Finding::Tiny(..)
            | Finding::Overlap(..)
            | Finding::Unmentioned(_)
            | Finding::BackgroundRepeats(_)
            | Finding::NoBackground => Severity::Remark,
            _ => Severity::Fault,
        }
    }

    /// Whether this is a fault.
    pub fn is_fault(&self) -> bool {
        self.severity() == Severity::Fault
    }
}

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
    let mut findings = check_boxes(layout);
    let mentions = caption::mentions(caption);
    for claim in caption::claims(caption) {
        // The sky above everything needs no box.
        let needs_box = |finding: &Finding| !matches!(finding, Finding::Missing(noun) if words::SURROUNDINGS.contains(&noun.head.as_str()));
        findings.extend(check_claim(&claim, layout, &mentions).into_iter().filter(needs_box));
    }
    for mention in mentions {
        let known = [words::PICTURE, words::UNCOUNTED, words::COLLECTIVE, words::PRONOUNS, words::COLORS];
        let is_thing = !known.iter().any(|list| list.contains(&mention.head.as_str()));
        let told = findings.iter().any(|finding| matches!(finding, Finding::Missing(noun) | Finding::Count { noun, .. } if noun.head == mention.head));
        if is_thing && !told && !is_anywhere(&mention, layout) {
            findings.push(Finding::Unmentioned(mention));
        }
    }
    findings
}

/// What is wrong with a layout whatever its caption says.
pub fn check_boxes(layout: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    let canvas = layout.canvas;
    for object in &layout.objects {
        findings.extend(check_box(object, canvas));
    }
    for (index, a) in layout.objects.iter().enumerate() {
        for b in &layout.objects[index + 1..] {
            let overlap = intersection_over_union(&a.bbox, &b.bbox);
            if overlap > SAME_PLACE_IOU {
                findings.push(Finding::SamePlace(a.clone(), b.clone()));
            } else if overlap > OVERLAP_IOU {
                findings.push(Finding::Overlap(a.clone(), b.clone()));
            }
        }
    }
    if layout.background.trim().is_empty() {
        findings.push(Finding::NoBackground);
    }
    let background = nouns_of(&layout.background);
    for object in &layout.objects {
        let head = head_of(&object.phrase);
        let repeated = Finding::BackgroundRepeats(head.clone());
        if background.contains(&head) && !findings.contains(&repeated) {
            findings.push(repeated);
        }
    }
    findings
}

fn check_box(object: &LayoutObject, canvas: Canvas) -> Vec<Finding> {
    let (width, height) = (f64::from(canvas.width()), f64::from(canvas.height()));
    let bbox = &object.bbox;
    let mut findings = Vec::new();
    if object.phrase.trim().is_empty() {
        findings.push(Finding::Unnamed(*bbox));
    }
    if stands_for_several(&object.phrase) {
        findings.push(Finding::SeveralInOne(object.phrase.clone()));
    }
    if !bbox.has_area() {
        findings.push(Finding::NoArea(object.clone()));
        return findings;
    }
    if bbox.width() >= width && bbox.height() >= height {
        findings.push(Finding::CoversCanvas(object.clone()));
        return findings;
    }
    let beyond_x = (-bbox.x()).max(bbox.right() - width) / width;
    let beyond_y = (-bbox.y()).max(bbox.bottom() - height) / height;
    let beyond = beyond_x.max(beyond_y);
    if beyond > CUT_SHARE {
        findings.push(Finding::Outside(object.clone(), canvas));
    } else if beyond > 0.0 {
        findings.push(Finding::Cut(object.clone(), canvas));
    }
    if bbox.width() < width * TINY_SHARE || bbox.height() < height * TINY_SHARE {
        findings.push(Finding::Tiny(object.clone(), canvas));
    }
    findings
}

fn check_claim(claim: &Claim, layout: &Layout, mentions: &[Noun]) -> Vec<Finding> {
    match claim {
        Claim::Count { noun, count } => check_count(noun, *count, layout).into_iter().collect(),
        Claim::AtLeast { word, count } => {
            // `two dogs and three birds`: the dogs are not among the three.
            let head = words::singular(word);
            let is_other = |object: &&LayoutObject| {
                mentions.iter().any(|mention| mention.head != head && mention.head == head_of(&object.phrase))
            };
            let found = layout.objects.iter().filter(|object| !is_other(object)).count();
            let too_few = Finding::TooFew { word: word.clone(), expected: *count, found };
            (found < *count).then_some(too_few).into_iter().collect()
        }
        Claim::Excluded(noun) => check_exclusion(noun, layout),
        Claim::Relation { subject, side, object } => {
            check_relation(subject, *side, object, layout).into_iter().collect()
        }
        Claim::Place { subject, side } => check_place(subject, *side, layout).into_iter().collect(),
        Claim::Colored { noun, color } => check_color(noun, color, layout).into_iter().collect(),
    }
}

fn check_count(noun: &Noun, expected: usize, layout: &Layout) -> Option<Finding> {
    let boxes = boxes_of(noun, layout);
    let described = with_adjectives(&boxes, noun).len();
    // Either all boxes of the noun, or those that are described as the caption does.
    let right = boxes.len() == expected || described == expected;
    let found = if described > 0 { described } else { boxes.len() };
    (!right).then(|| Finding::Count { noun: noun.clone(), expected, found })
}

fn check_exclusion(noun: &Noun, layout: &Layout) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !nouns_of(&layout.negative).contains(&noun.head) {
        findings.push(Finding::NotInNegative(noun.clone()));
    }
    let by_head: Vec<&LayoutObject> =
        layout.objects.iter().filter(|object| head_of(&object.phrase) == noun.head).collect();
    if let Some(&object) = with_adjectives(&by_head, noun).first() {
        findings.push(Finding::ExcludedBox(noun.clone(), object.clone()));
    }
    let background = nouns_of(&layout.background);
    if background.contains(&noun.head) && noun.adjectives.iter().all(|adjective| background.contains(adjective)) {
        findings.push(Finding::ExcludedBackground(noun.clone()));
    }
    findings
}

fn check_relation(subject: &Noun, side: Side, object: &Noun, layout: &Layout) -> Option<Finding> {
    let same_noun = subject.head == object.head;
    let find = |noun: &Noun| {
        let boxes = boxes_of(noun, layout);
        let described = with_adjectives(&boxes, noun);
        // Two things of one noun are only told apart by their adjectives.
        if same_noun || !described.is_empty() { described } else { boxes }
    };
    let (subjects, objects) = (find(subject), find(object));
    if same_noun && (subjects.is_empty() || objects.is_empty()) {
        return None;
    }
    for (noun, boxes) in [(subject, &subjects), (object, &objects)] {
        if boxes.is_empty() {
            return (!is_anywhere(noun, layout)).then(|| Finding::Missing(noun.clone()));
        }
    }
    let share_a_box = subjects.iter().any(|a| objects.iter().any(|b| std::ptr::eq(*a, *b)));
    let (a, b) = (middle(&subjects, side), middle(&objects, side));
    let holds = match side {
        Side::Left | Side::Above => a < b,
        Side::Right | Side::Below => a > b,
    };
    (!holds && !share_a_box).then(|| Finding::Relation { subject: subject.clone(), side, object: object.clone() })
}

fn check_place(subject: &Noun, side: Side, layout: &Layout) -> Option<Finding> {
    let boxes = boxes_of(subject, layout);
    let described = with_adjectives(&boxes, subject);
    let boxes = if described.is_empty() { boxes } else { described };
    if boxes.is_empty() {
        return (!is_anywhere(subject, layout)).then(|| Finding::Missing(subject.clone()));
    }
    let length = match side {
        Side::Left | Side::Right => f64::from(layout.canvas.width()),
        Side::Above | Side::Below => f64::from(layout.canvas.height()),
    };
    // With several of them it is enough that one stands there.
    let stands = |object: &LayoutObject| {
        let share = middle(&[object], side) / length;
        match side {
            Side::Left | Side::Above => share <= 0.5 + HALF_SLACK,
            Side::Right | Side::Below => share >= 0.5 - HALF_SLACK,
        }
    };
    let holds = boxes.iter().any(|object| stands(object));
    (!holds).then(|| Finding::Place { subject: subject.clone(), side })
}

fn check_color(noun: &Noun, color: &str, layout: &Layout) -> Option<Finding> {
    let boxes = boxes_of(noun, layout);
    let has_color = |object: &&LayoutObject| nouns_of(&object.phrase).iter().any(|word| same_color(word, color));
    let wrong = !boxes.is_empty() && !boxes.iter().any(has_color);
    wrong.then(|| Finding::Color { noun: noun.clone(), color: color.to_owned() })
}

fn same_color(a: &str, b: &str) -> bool {
    let spelled = |color: &str| color.replace("grey", "gray").replace("golden", "gold");
    spelled(a) == spelled(b)
}

/// The boxes of a noun: those it is the head of, or else those that contain it.
pub(crate) fn boxes_of<'a>(noun: &Noun, layout: &'a Layout) -> Vec<&'a LayoutObject> {
    let by_head: Vec<_> = layout.objects.iter().filter(|object| head_of(&object.phrase) == noun.head).collect();
    if !by_head.is_empty() {
        return by_head;
    }
    layout.objects.iter().filter(|object| nouns_of(&object.phrase).contains(&noun.head)).collect()
}

/// The boxes whose names have all adjectives of the noun.
fn with_adjectives<'a>(boxes: &[&'a LayoutObject], noun: &Noun) -> Vec<&'a LayoutObject> {
    let described = |object: &&&LayoutObject| {
        let words = words_of(&object.phrase);
        noun.adjectives
            .iter()
            .all(|adjective| words.iter().any(|word| word == adjective || same_color(word, adjective)))
    };
    boxes.iter().filter(described).copied().collect()
}

fn is_anywhere(noun: &Noun, layout: &Layout) -> bool {
    let said = |text: &str| nouns_of(text).contains(&noun.head);
    said(&layout.background) || said(&layout.negative) || layout.objects.iter().any(|object| said(&object.phrase))
}

fn words_of(text: &str) -> Vec<String> {
    let words = text.to_lowercase();
    words
        .split(|c: char| !c.is_alphanumeric() && c != '-' && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The words of a text, nouns in the singular.
fn nouns_of(text: &str) -> Vec<String> {
    words_of(text).iter().map(|word| words::singular(word)).collect()
}

fn head_of(phrase: &str) -> String {
    let head = nouns::head(phrase).to_lowercase();
    words::singular(head.trim_matches(|c: char| !c.is_alphanumeric()))
}

/// `two chairs` in one box.
fn stands_for_several(phrase: &str) -> bool {
    let first = phrase.split_whitespace().next().unwrap_or_default().to_lowercase();
    let words = words::Words::of(&first);
    words.number(0).is_some_and(|number| number > 1) && words::is_plural(&nouns::head(phrase).to_lowercase())
}

/// Mean centre of the boxes on the axis of `side`, in pixels.
fn middle(boxes: &[&LayoutObject], side: Side) -> f64 {
    let center = |object: &&LayoutObject| match side {
        Side::Left | Side::Right => object.bbox.x() + object.bbox.width() / 2.0,
        Side::Above | Side::Below => object.bbox.y() + object.bbox.height() / 2.0,
    };
    boxes.iter().map(center).sum::<f64>() / boxes.len().max(1) as f64
}

fn intersection_over_union(a: &PixelBox, b: &PixelBox) -> f64 {
    let width = (a.right().min(b.right()) - a.x().max(b.x())).max(0.0);
    let height = (a.bottom().min(b.bottom()) - a.y().max(b.y())).max(0.0);
    let intersection = width * height;
    let area = |bbox: &PixelBox| bbox.width().max(0.0) * bbox.height().max(0.0);
    let union = area(a) + area(b) - intersection;
    if union > 0.0 { intersection / union } else { 0.0 }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NoArea(LayoutObject { phrase, bbox }) => {
                write!(f, "the box {bbox} of `{phrase}` needs a width and a height above zero")
            }
            Finding::Outside(LayoutObject { phrase, bbox }, canvas) => {
                write!(
                    f,
                    "the box {bbox} of `{phrase}` leaves the canvas of {canvas}: its right edge is at {} and its lower edge at {}",
                    bbox.right(),
                    bbox.bottom()
                )
            }
            Finding::Cut(LayoutObject { phrase, bbox }, canvas) => {
                write!(f, "the box {bbox} of `{phrase}` leaves the canvas of {canvas} by a little")
            }
            Finding::CoversCanvas(LayoutObject { phrase, .. }) => {
                write!(
                    f,
                    "the box of `{phrase}` covers the whole canvas: make it smaller, or put it into the background prompt"
                )
            }
            Finding::Tiny(LayoutObject { phrase, bbox }, _) => {
                write!(f, "the box {bbox} of `{phrase}` is too small to paint")
            }
            Finding::Unnamed(bbox) => write!(f, "the box {bbox} has no name"),
            Finding::SeveralInOne(phrase) => {
                write!(
                    f,
                    "the box `{phrase}` stands for several things: give each its own box with a name in the singular"
                )
            }
            Finding::SamePlace(a, b) => {
                write!(f, "`{}` and `{}` have the same box {}: move them apart", a.phrase, b.phrase, b.bbox)
            }
            Finding::Overlap(a, b) => write!(f, "the boxes of `{}` and `{}` overlap widely", a.phrase, b.phrase),
            Finding::Count { noun, expected, found } => {
                let (are, boxes) = if *found == 1 { ("is", "box") } else { ("are", "boxes") };
                write!(
                    f,
                    "the caption says {expected} × {noun}, but there {are} {found} {boxes} for it: draw one box for each"
                )
            }
            Finding::TooFew { word, expected, found } => {
                write!(f, "the caption says {expected} {word}, but there are only {found} boxes")
            }
            Finding::NotInNegative(noun) => {
                write!(f, "the caption excludes `{noun}`, which must be in the negative prompt")
            }
            Finding::ExcludedBox(noun, LayoutObject { phrase, .. }) => {
                write!(f, "the caption excludes `{noun}`, so `{phrase}` must not have a box")
            }
            Finding::ExcludedBackground(noun) => {
                write!(f, "the caption excludes `{noun}`, so the background prompt must not name it")
            }
            Finding::Missing(noun) => write!(f, "the caption says where `{noun}` stands, but no box is named so"),
            Finding::Relation { subject, side, object } => {
                write!(f, "the caption puts `{subject}` {side} `{object}`, but the boxes do not")
            }
            Finding::Place { subject, side } => {
                write!(f, "the caption puts `{subject}` {side} the middle, but its box is not there")
            }
            Finding::Color { noun, color } => {
                write!(f, "the caption says that the {} is {color}, but no box is named so", noun.head)
            }
            Finding::Unmentioned(noun) => write!(f, "the caption mentions `{noun}`, but the layout does not"),
            Finding::BackgroundRepeats(noun) => {
                write!(f, "`{noun}` has a box, so the background prompt should not name it")
            }
            Finding::OtherCanvas { expected, found } => {
                write!(f, "the canvas is {expected}, but the layout is for one of {found}")
            }
            Finding::NoBackground => f.write_str("the background prompt is empty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinopia_layout::{LayoutCache, parse_answer};

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
        check_told("two red apples", two, &[]);
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
        // A remark, no fault.
        check_told(
            "two apples, the sky above them is clear",
            two,
            &["the caption mentions `sky`, but the layout does not"],
        );
        check_told("four people", two, &["the caption says 4 people, but there are only 2 boxes"]);
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
            &["the caption excludes `bird`, which must be in the negative prompt"],
        );
        check_told(
            "a cat, no dogs",
            "[('a cat', [10, 10, 90, 90]), ('a brown dog', [200, 10, 90, 90])]",
            &["the caption excludes `dog`, so `a brown dog` must not have a box"],
        );
    }

    #[test]
    fn places_are_compared_by_centres() {
        let cat_left = "[('a cat', [10, 200, 90, 90]), ('a white cup', [300, 10, 90, 90])]";
        check_told("a cat to the left of a cup", cat_left, &[]);
        check_told("a cup above a cat", cat_left, &[]);
        check_told(
            "a cat to the right of a cup",
            cat_left,
            &["the caption puts `cat` right of `cup`, but the boxes do not"],
        );
        check_told(
            "a cat on the right",
            cat_left,
            &["the caption puts `cat` right of the middle, but its box is not there"],
        );
        check_told(
            "a cat to the left of a lamp",
            cat_left,
            &["the caption says where `lamp` stands, but no box is named so"],
        );
        check_told(
            "a red cube above a blue cube",
            "[('a red cube', [10, 300, 90, 90]), ('a blue cube', [10, 100, 90, 90])]",
            &["the caption puts `red cube` above `blue cube`, but the boxes do not"],
        );
    }

    #[test]
    fn colours_and_mentions() {
        check_told(
            "a red book and a car",
            "[('a book', [10, 300, 90, 90])]",
            &[
                "the caption says that the book is red, but no box is named so",
                "the caption mentions `car`, but the layout does not",
            ],
        );
        check_told("a grey cat", "[('a gray cat', [10, 300, 90, 90])]", &[]);
    }

    #[test]
    fn faults_weigh_more_than_remarks() {
        let answer = "[('a cat', [10, 10, 90, 90])]\nBackground prompt: A cat\nNegative prompt: ";
        let findings = check("two cats", &parse_answer(answer).unwrap());
        assert_eq!(findings.iter().map(Finding::is_fault).collect::<Vec<_>>(), [false, true]);
        assert!((penalty(&findings) - 1.1).abs() < 1e-9);
    }

    /// Answers of real models to captions of a benchmark, among them the known bad ones.
    #[test]
    fn recorded_answers_are_judged_as_people_would() {
        let cache = LayoutCache::from_json(include_str!("../../sinopia-layout/tests/data/answers.json")).unwrap();
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
}
