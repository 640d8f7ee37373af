//! Whether a layout is one that the caption asked for: what is found goes back to the model, word for word.

use std::collections::HashSet;
use std::fmt;

use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, limits, nouns};

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
    /// There is more to be said than [`limits::FINDINGS`] sentences.
    More {
        /// How many findings are not told.
        count: usize,
        /// How bad the worst of them is.
        severity: Severity,
    },
}

impl Finding {
    /// Whether the layout can be used all the same.
    pub fn severity(&self) -> Severity {
        match self {
            Finding::More { severity, .. } => *severity,
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
    Said::of(caption).check(layout)
}

/// What is wrong with a layout whatever its caption says.
pub fn check_boxes(layout: &Layout) -> Vec<Finding> {
    few(boxes(&Reading::of(layout)))
}

/// What a caption says, read once for all layouts that are held to it.
pub(crate) struct Said {
    claims: Vec<Claim>,
    mentions: Vec<Noun>,
}

impl Said {
    pub(crate) fn of(caption: &str) -> Self {
        Self { claims: caption::claims(caption), mentions: caption::mentions(caption) }
    }

    /// As [`check`].
    pub(crate) fn check(&self, layout: &Layout) -> Vec<Finding> {
        let reading = Reading::of(layout);
        let mut findings = boxes(&reading);
        for claim in &self.claims {
            // The sky above everything needs no box.
            let needs_box = |finding: &Finding| !matches!(finding, Finding::Missing(noun) if words::SURROUNDINGS.contains(&noun.head.as_str()));
            findings.extend(check_claim(claim, &reading, &self.mentions).into_iter().filter(needs_box));
        }
        // What is told already, so that it need not be searched for.
        let told: HashSet<String> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Missing(noun) | Finding::Count { noun, .. } => Some(noun.head.clone()),
                _ => None,
            })
            .collect();
        for mention in &self.mentions {
            let known = [words::PICTURE, words::UNCOUNTED, words::COLLECTIVE, words::PRONOUNS, words::COLORS];
            let is_thing = !known.iter().any(|list| list.contains(&mention.head.as_str()));
            if is_thing && !told.contains(&mention.head) && !reading.is_anywhere(mention) {
                findings.push(Finding::Unmentioned(mention.clone()));
            }
        }
        few(findings)
    }
}

/// A layout and its words, each text read once: a caption makes a hundred claims, and each is held against every text.
pub(crate) struct Reading<'a> {
    layout: &'a Layout,
    objects: Vec<Named<'a>>,
    background: HashSet<String>,
    negative: HashSet<String>,
}

/// A box and the words of its name.
struct Named<'a> {
    object: &'a LayoutObject,
    /// The noun that the name is about, in the singular.
    head: String,
    words: HashSet<String>,
    /// The words in the singular.
    nouns: HashSet<String>,
}

impl<'a> Reading<'a> {
    pub(crate) fn of(layout: &'a Layout) -> Self {
        let named = |object: &'a LayoutObject| Named {
            object,
            head: head_of(&object.phrase),
            words: words_of(&object.phrase).into_iter().collect(),
            nouns: nouns_of(&object.phrase),
        };
        Self {
            layout,
            objects: layout.objects.iter().map(named).collect(),
            background: nouns_of(&layout.background),
            negative: nouns_of(&layout.negative),
        }
    }

    /// The boxes of a noun: those it is the head of, or else those that contain it.
    pub(crate) fn boxes_of(&self, noun: &Noun) -> Vec<&'a LayoutObject> {
        self.named(noun).iter().map(|named| named.object).collect()
    }

    fn named(&self, noun: &Noun) -> Vec<&Named<'a>> {
        let by_head = self.by_head(noun);
        if !by_head.is_empty() {
            return by_head;
        }
        self.objects.iter().filter(|named| named.nouns.contains(&noun.head)).collect()
    }

    fn by_head(&self, noun: &Noun) -> Vec<&Named<'a>> {
        self.objects.iter().filter(|named| named.head == noun.head).collect()
    }

    fn is_anywhere(&self, noun: &Noun) -> bool {
        let is_named = |named: &Named<'_>| named.nouns.contains(&noun.head);
        self.background.contains(&noun.head) || self.negative.contains(&noun.head) || self.objects.iter().any(is_named)
    }
}

/// At most [`limits::FINDINGS`]; of the others, how many they are.
fn few(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() > limits::FINDINGS {
        let others = findings.split_off(limits::FINDINGS - 1);
        let severity = others.iter().map(Finding::severity).max().unwrap_or(Severity::Remark);
        findings.push(Finding::More { count: others.len(), severity });
    }
    findings
}

fn boxes(reading: &Reading<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Layout { canvas, objects, background, .. } = reading.layout;
    for object in objects {
        findings.extend(check_box(object, *canvas));
    }
    for (index, a) in objects.iter().enumerate() {
        for b in &objects[index + 1..] {
            let overlap = a.bbox.iou(&b.bbox);
            if overlap > SAME_PLACE_IOU {
                findings.push(Finding::SamePlace(a.clone(), b.clone()));
            } else if overlap > OVERLAP_IOU {
                findings.push(Finding::Overlap(a.clone(), b.clone()));
            }
        }
    }
    if background.trim().is_empty() {
        findings.push(Finding::NoBackground);
    }
    let mut repeated = HashSet::new();
    for Named { head, .. } in &reading.objects {
        if reading.background.contains(head) && repeated.insert(head) {
            findings.push(Finding::BackgroundRepeats(head.clone()));
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

fn check_claim(claim: &Claim, reading: &Reading<'_>, mentions: &[Noun]) -> Vec<Finding> {
    match claim {
        Claim::Count { noun, count } => check_count(noun, *count, reading).into_iter().collect(),
        Claim::AtLeast { word, count } => {
            // `two dogs and three birds`: the dogs are not among the three.
            let head = words::singular(word);
            let others: HashSet<&String> =
                mentions.iter().map(|mention| &mention.head).filter(|of| **of != head).collect();
            let found = reading.objects.iter().filter(|named| !others.contains(&named.head)).count();
            let too_few = Finding::TooFew { word: word.clone(), expected: *count, found };
            (found < *count).then_some(too_few).into_iter().collect()
        }
        Claim::Excluded(noun) => check_exclusion(noun, reading),
        Claim::Relation { subject, side, object } => {
            check_relation(subject, *side, object, reading).into_iter().collect()
        }
        Claim::Place { subject, side } => check_place(subject, *side, reading).into_iter().collect(),
        Claim::Colored { noun, color } => check_color(noun, color, reading).into_iter().collect(),
    }
}

fn check_count(noun: &Noun, expected: usize, reading: &Reading<'_>) -> Option<Finding> {
    let boxes = reading.named(noun);
    let described = with_adjectives(&boxes, noun).len();
    // Either all boxes of the noun, or those that are described as the caption does.
    let right = boxes.len() == expected || described == expected;
    let found = if described > 0 { described } else { boxes.len() };
    (!right).then(|| Finding::Count { noun: noun.clone(), expected, found })
}

fn check_exclusion(noun: &Noun, reading: &Reading<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !reading.negative.contains(&noun.head) {
        findings.push(Finding::NotInNegative(noun.clone()));
    }
    if let Some(named) = with_adjectives(&reading.by_head(noun), noun).first() {
        findings.push(Finding::ExcludedBox(noun.clone(), named.object.clone()));
    }
    let background = &reading.background;
    if background.contains(&noun.head) && noun.adjectives.iter().all(|adjective| background.contains(adjective)) {
        findings.push(Finding::ExcludedBackground(noun.clone()));
    }
    findings
}

fn check_relation(subject: &Noun, side: Side, object: &Noun, reading: &Reading<'_>) -> Option<Finding> {
    let same_noun = subject.head == object.head;
    let find = |noun: &Noun| {
        let boxes = reading.named(noun);
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
            return (!reading.is_anywhere(noun)).then(|| Finding::Missing(noun.clone()));
        }
    }
    let places: HashSet<*const LayoutObject> = objects.iter().map(|named| std::ptr::from_ref(named.object)).collect();
    let share_a_box = subjects.iter().any(|named| places.contains(&std::ptr::from_ref(named.object)));
    let (a, b) = (middle(&subjects, side), middle(&objects, side));
    let holds = match side {
        Side::Left | Side::Above => a < b,
        Side::Right | Side::Below => a > b,
    };
    (!holds && !share_a_box).then(|| Finding::Relation { subject: subject.clone(), side, object: object.clone() })
}

fn check_place(subject: &Noun, side: Side, reading: &Reading<'_>) -> Option<Finding> {
    let boxes = reading.named(subject);
    let described = with_adjectives(&boxes, subject);
    let boxes = if described.is_empty() { boxes } else { described };
    if boxes.is_empty() {
        return (!reading.is_anywhere(subject)).then(|| Finding::Missing(subject.clone()));
    }
    let length = match side {
        Side::Left | Side::Right => f64::from(reading.layout.canvas.width()),
        Side::Above | Side::Below => f64::from(reading.layout.canvas.height()),
    };
    // With several of them it is enough that one stands there.
    let stands = |named: &Named<'_>| {
        let share = middle(&[named], side) / length;
        match side {
            Side::Left | Side::Above => share <= 0.5 + HALF_SLACK,
            Side::Right | Side::Below => share >= 0.5 - HALF_SLACK,
        }
    };
    let holds = boxes.iter().any(|named| stands(named));
    (!holds).then(|| Finding::Place { subject: subject.clone(), side })
}

fn check_color(noun: &Noun, color: &str, reading: &Reading<'_>) -> Option<Finding> {
    let boxes = reading.named(noun);
    let has_color = |named: &&Named<'_>| has_word(&named.nouns, color);
    let wrong = !boxes.is_empty() && !boxes.iter().any(has_color);
    wrong.then(|| Finding::Color { noun: noun.clone(), color: color.to_owned() })
}

/// Whether a word is among others, colours in any spelling.
fn has_word(words: &HashSet<String>, wanted: &str) -> bool {
    words.contains(wanted) || (is_spelled_in_ways(wanted) && words.iter().any(|word| same_color(word, wanted)))
}

/// Whether [`same_color`] may find another word than this very one.
fn is_spelled_in_ways(word: &str) -> bool {
    ["grey", "gray", "gold"].iter().any(|spelling| word.contains(spelling))
}

fn same_color(a: &str, b: &str) -> bool {
    let spelled = |color: &str| color.replace("grey", "gray").replace("golden", "gold");
    spelled(a) == spelled(b)
}

/// The boxes whose names have all adjectives of the noun.
fn with_adjectives<'r, 'a>(boxes: &[&'r Named<'a>], noun: &Noun) -> Vec<&'r Named<'a>> {
    let described = |named: &&&Named<'_>| noun.adjectives.iter().all(|adjective| has_word(&named.words, adjective));
    boxes.iter().filter(described).copied().collect()
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
fn nouns_of(text: &str) -> HashSet<String> {
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
fn middle(boxes: &[&Named<'_>], side: Side) -> f64 {
    let center = |Named { object: LayoutObject { bbox, .. }, .. }: &&Named<'_>| match side {
        Side::Left | Side::Right => bbox.center().0,
        Side::Above | Side::Below => bbox.center().1,
    };
    boxes.iter().map(center).sum::<f64>() / boxes.len().max(1) as f64
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
            Finding::More { count, .. } => write!(f, "there are {count} further findings"),
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
        assert!(findings.iter().any(|finding| matches!(finding, Finding::More { .. })), "{}", findings.len());
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
