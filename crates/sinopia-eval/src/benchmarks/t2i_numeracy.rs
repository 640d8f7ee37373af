//! T2I-CompBench++'s numeracy: "three dogs and two cats".
//!
//! Huang et al. 2025, arXiv 2307.06350 (second version). The captions are the user's copy of `numeracy_val.txt`, one a line. Published figures are by
//! UniDet; here the judge is an OWL-ViT detector.

use std::path::Path;

use super::lines::numbered_lines;
use crate::benchmark::{Benchmark, ImageSize, Prediction, Protocol, Query, Sample, Verdict};
use crate::names::with_article;
use crate::{Error, Result};

const NUMBERS: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
/// Articles count one where a thing is listed: at the start, behind a comma or behind "and".
const ARTICLES: [&str; 2] = ["a", "an"];
/// What stands for every mark between words.
const PAUSE: &str = ",";
/// Words that end the phrase behind a number.
const BOUNDARIES: [&str; 25] = [
    "and", "or", "with", "on", "in", "at", "of", "by", "near", "next", "under", "over", "beside", "behind", "around",
    "are", "is", "were", "was", "to", "from", "up", "the", "for", PAUSE,
];
/// Verbs that end it, too; the regular ones are known by their ending.
const VERBS: [&str; 22] = [
    "ate", "flew", "grew", "had", "has", "have", "held", "hung", "lay", "lit", "made", "ran", "rang", "rode", "sang",
    "sat", "shone", "slept", "stood", "swam", "took", "wore",
];
/// Words that a participle may follow within a phrase: "a small striped cat".
const ADJECTIVES: [&str; 22] = [
    "big", "small", "little", "large", "tiny", "huge", "tall", "short", "old", "young", "new", "red", "orange",
    "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray",
];
/// Boxes of one class that overlap more are the same thing.
const SAME_IOU: f64 = 0.9;
/// So is a box that lies in another by this share of itself.
const SAME_SHARE: f64 = 0.9;

/// So many of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Counted {
    count: usize,
    kind: String,
}

/// The benchmark over a file of captions.
#[derive(Debug)]
pub struct T2iNumeracy {
    samples: Vec<Sample>,
    truths: Vec<Vec<Counted>>,
}

impl T2iNumeracy {
    /// The name on the command line, before the file.
    pub const NAME: &'static str = "t2i-numeracy";

    /// Reads captions, one a line; `path` stands for the file in messages.
    ///
    /// # Errors
    /// [`Error::Caption`] for a line that counts nothing, [`Error::NoCaptions`] if there is none.
    pub fn from_lines(path: &Path, text: &str) -> Result<Self> {
        let lines = numbered_lines(path, text)?;
        let read = |(line, caption): &(usize, &str)| match truth(caption) {
            counted if counted.is_empty() => Err(Error::Caption {
                path: path.to_owned(),
                line: *line,
                problem: format!(
                    "`{caption}` counts nothing: a number word from one to ten is expected, or things such as `a cup, a dog`"
                ),
            }),
            counted => Ok(counted),
        };
        let truths = lines.iter().map(read).collect::<Result<_>>()?;
        let samples = Sample::number(lines.iter().map(|(_, caption)| ("numeracy".to_owned(), (*caption).to_owned())));
        Ok(Self { samples, truths })
    }
}

/// The numbers of a caption and the nouns they count.
fn truth(caption: &str) -> Vec<Counted> {
    let words = words(caption);
    let mut counted = Vec::new();
    for at in 0..words.len() {
        let Some(count) = count_at(&words, at) else { continue };
        let phrase = phrase(&words[at + 1..]);
        let is_plural = |word: &&&String| pluralizer::pluralize(word, 2, false) == ***word;
        // Behind "three" the counted noun is the first plural; behind "one" only the end of the phrase tells.
        let noun = if count > 1 { phrase.iter().find(is_plural).or(phrase.last()) } else { phrase.last() };
        if let Some(noun) = noun {
            counted.push(Counted { count, kind: pluralizer::pluralize(noun, 1, false) });
        }
    }
    counted
}

/// The words of a caption in lower case, and its marks.
fn words(caption: &str) -> Vec<String> {
    let marks = caption.replace([',', ';', ':', '.', '!', '?'], " , ");
    let words = marks.split(|c: char| !c.is_alphanumeric() && c != ',').filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// How many the word at a place says.
fn count_at(words: &[String], at: usize) -> Option<usize> {
    let word = words[at].as_str();
    if let Some(number) = NUMBERS.iter().position(|number| *number == word) {
        return Some(number + 1);
    }
    let is_listed = at == 0 || ["and", PAUSE].contains(&words[at - 1].as_str());
    (ARTICLES.contains(&word) && is_listed).then_some(1)
}

/// The words that name a thing: up to the next number, article, boundary or verb.
fn phrase(words: &[String]) -> Vec<&String> {
    let ends = |at: usize| {
        let word = words[at].as_str();
        let is_regular_verb =
            word.len() > 3 && word.ends_with("ed") && at > 0 && !ADJECTIVES.contains(&words[at - 1].as_str());
        is_regular_verb || [&NUMBERS[..], &ARTICLES, &BOUNDARIES, &VERBS].iter().any(|known| known.contains(&word))
    };
    (0..words.len()).take_while(|at| !ends(*at)).map(|at| &words[at]).collect()
}

fn query_text(kind: &str) -> String {
    format!("a photo of {}", with_article(kind))
}

/// Whether two boxes of one class are the same thing seen twice.
fn is_same(a: &Prediction, b: &Prediction) -> bool {
    let smaller = a.bbox.area().min(b.bbox.area());
    a.bbox.iou(&b.bbox) > SAME_IOU || a.bbox.intersection(&b.bbox) > SAME_SHARE * smaller
}

fn count(seen: &[Prediction], kind: &str) -> usize {
    let mut kept: Vec<&Prediction> = Vec::new();
    for thing in seen.iter().filter(|thing| thing.label == query_text(kind)) {
        if !kept.iter().any(|other| is_same(thing, other)) {
            kept.push(thing);
        }
    }
    kept.len()
}

impl Benchmark for T2iNumeracy {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn note(&self) -> &'static str {
        "T2I-CompBench++'s numeracy captions (arXiv 2307.06350) scored by its rule on what an OWL-ViT detector sees: not comparable with \
         published figures, which are by UniDet."
    }

    fn samples(&self) -> &[Sample] {
        &self.samples
    }

    fn queries(&self, sample: &Sample, _protocol: Protocol) -> Vec<Query> {
        let kinds = self.truths[sample.index].iter().map(|counted| &counted.kind);
        kinds.enumerate().map(|(group, kind)| Query { text: query_text(kind), group }).collect()
    }

    /// Each counted kind has an equal part of the point: half for being there, half for the right number. Strictly, all or nothing.
    fn judge(&self, sample: &Sample, seen: &[Prediction], _size: ImageSize, protocol: Protocol) -> Verdict {
        let wanted = &self.truths[sample.index];
        let part = 1.0 / wanted.len() as f64;
        let (mut score, mut exact, mut reasons) = (0.0, 0, Vec::new());
        for Counted { count: expected, kind } in wanted {
            let found = count(seen, kind);
            let right = found == *expected;
            score += part * (f64::from(u8::from(found > 0)) + f64::from(u8::from(right))) / 2.0;
            exact += usize::from(right);
            reasons.push(format!("{found} × {kind}, {expected} expected"));
        }
        let reason = reasons.join("; ");
        match protocol {
            Protocol::Published if exact == wanted.len() => Verdict::new(true, reason),
            Protocol::Published => Verdict { score, reason },
            Protocol::Strict => Verdict::new(exact == wanted.len(), reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use sinopia_layout::PixelBox;

    use super::*;

    #[track_caller]
    fn counts(caption: &str, expected: &[(usize, &str)]) {
        let expected: Vec<Counted> =
            expected.iter().map(|(count, kind)| Counted { count: *count, kind: (*kind).to_owned() }).collect();
        assert_eq!(truth(caption), expected, "{caption}");
    }

    #[test]
    fn numbers_and_their_nouns_are_found() {
        counts("three dogs and two cats", &[(3, "dog"), (2, "cat")]);
        counts("four apples, one big bowl and two red knives", &[(4, "apple"), (1, "bowl"), (2, "knife")]);
        counts("Six children playing in the park with one dog.", &[(6, "child"), (1, "dog")]);
        counts("five sheep", &[(5, "sheep")]);
        counts("one small striped cat and one striped dog", &[(1, "cat"), (1, "dog")]);
        let error = T2iNumeracy::from_lines(Path::new("n.txt"), "some dogs").unwrap_err().to_string();
        assert!(error.contains("line 1") && error.contains("some dogs"), "{error}");
    }

    /// Lines as the file has them: things in the singular without a number word among others, and alone; and sentences.
    #[test]
    fn listed_things_count_one() {
        counts(
            "a kettle, a lantern, and a parrot were in the workshop",
            &[(1, "kettle"), (1, "lantern"), (1, "parrot")],
        );
        counts(
            "two ladders, an owl, three carpets, and a piano crowded the hall",
            &[(2, "ladder"), (1, "owl"), (3, "carpet"), (1, "piano")],
        );
        counts("one parrot perched on a branch", &[(1, "parrot")]);
        counts("one lantern lit up three tents", &[(1, "lantern"), (3, "tent")]);
        counts("six women met for a picnic", &[(6, "woman")]);
        counts("four goldfish swam next to one shrimp", &[(4, "goldfish"), (1, "shrimp")]);
        counts("three violins, one harp played a slow tune", &[(3, "violin"), (1, "harp")]);
        let text = "five owls\na kettle, a lantern, and a parrot were in the workshop\n";
        assert_eq!(T2iNumeracy::from_lines(Path::new("numeracy.txt"), text).unwrap().samples().len(), 2);
    }

    #[test]
    fn presence_and_count_share_the_point() {
        let benchmark = T2iNumeracy::from_lines(Path::new("n.txt"), "three dogs and two cats").unwrap();
        let thing = |kind: &str, x: f64| Prediction {
            label: query_text(kind),
            score: 0.5,
            bbox: PixelBox::new(x, 0.0, 50.0, 50.0).unwrap(),
        };
        let score = |things: &[Prediction], protocol| {
            benchmark.judge(&benchmark.samples()[0], things, (512, 512).into(), protocol).score
        };
        let (dogs, cats) = ([0.0, 100.0, 200.0].map(|x| thing("dog", x)), [300.0, 400.0].map(|x| thing("cat", x)));
        let all = [&dogs[..], &cats[..]].concat();
        assert_eq!(score(&all, Protocol::Published), 1.0);
        assert_eq!(score(&all, Protocol::Strict), 1.0);
        assert_eq!(score(&dogs, Protocol::Published), 0.5);
        assert_eq!(score(&all[1..], Protocol::Published), 0.75);
        assert_eq!(score(&all[1..], Protocol::Strict), 0.0);
        let twice = [&all[..], &[thing("dog", 1.0)]].concat(); // the first dog again
        assert_eq!(score(&twice, Protocol::Published), 1.0);
    }
}
