//! Checked and edited pictures: what they begin with, what is done to them, what was tried.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Size, Verdict};

/// A change of a finished picture; everything else of it stays as it is, to the byte. Boxes are left, top, right, bottom in shares of the picture, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "op", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Operation {
    /// Paints a thing where there was none.
    Add {
        /// The thing in words.
        #[schema(min_length = 1, max_length = 300)]
        phrase: String,
        /// Where it is to stand.
        #[schema(min_items = 4, max_items = 4)]
        bbox: [f64; 4],
    },
    /// Takes a thing out; what was behind it is painted.
    Remove {
        /// What it is called.
        #[schema(min_length = 1, max_length = 300)]
        phrase: String,
        /// Where it is seen.
        #[schema(min_items = 4, max_items = 4)]
        bbox: [f64; 4],
    },
    /// Puts a thing elsewhere, in another size perhaps.
    Move {
        /// What it is called.
        #[schema(min_length = 1, max_length = 300)]
        phrase: String,
        /// Where it is seen.
        #[schema(min_items = 4, max_items = 4)]
        from: [f64; 4],
        /// Where it is to stand.
        #[schema(min_items = 4, max_items = 4)]
        to: [f64; 4],
    },
    /// Gives a thing another colour or material; its shape stays.
    Recolour {
        /// The thing as it is to be.
        #[schema(min_length = 1, max_length = 300)]
        phrase: String,
        /// Where it stands.
        #[schema(min_items = 4, max_items = 4)]
        bbox: [f64; 4],
        /// How far it may change, above 0, at most 1; by default what is far enough for a colour and not for a shape.
        #[schema(minimum = 0, maximum = 1)]
        #[serde(default, skip_serializing_if = "Option::is_none")]
        strength: Option<f64>,
    },
    /// Puts another thing in a thing's place, or paints it anew.
    Replace {
        /// The new thing in words.
        #[schema(min_length = 1, max_length = 300)]
        phrase: String,
        /// Where the old one stands and the new one is to.
        #[schema(min_items = 4, max_items = 4)]
        bbox: [f64; 4],
    },
}

impl Operation {
    /// The words of all of them, as `op` has them.
    pub const NAMES: [&str; 5] = ["add", "remove", "move", "recolour", "replace"];

    /// The thing in words.
    pub fn phrase(&self) -> &str {
        match self {
            Self::Add { phrase, .. }
            | Self::Remove { phrase, .. }
            | Self::Move { phrase, .. }
            | Self::Recolour { phrase, .. }
            | Self::Replace { phrase, .. } => phrase,
        }
    }

    /// Its boxes.
    pub fn boxes(&self) -> Vec<[f64; 4]> {
        match self {
            Self::Add { bbox, .. }
            | Self::Remove { bbox, .. }
            | Self::Recolour { bbox, .. }
            | Self::Replace { bbox, .. } => vec![*bbox],
            Self::Move { from, to, .. } => vec![*from, *to],
        }
    }
}

/// What is to be changed of a picture that is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PictureEdit {
    /// The job whose picture it is; that stays as it is, and what comes out is this job's.
    pub job: String,
    /// What to change, 1 to 50 operations.
    #[schema(min_items = 1, max_items = 50)]
    pub operations: Vec<Operation>,
}

/// A picture that painting begins with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InitImage {
    /// A job that has a picture, or an upload. It is scaled to the size of the picture to paint.
    pub image: String,
    /// How far the picture may go from it: above 0; 1 keeps nothing but what the mask protects. By default 0.8.
    #[schema(minimum = 0, maximum = 1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strength: Option<f64>,
    /// An upload of the same size that says what may change: its transparent pixels, or where it has none its white ones. Everything else stays as it is. By default everything may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

/// One of the pictures that were made on the way to a checked one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Where its noise started.
    pub seed: u64,
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    #[serde(default)]
    pub seed_text: String,
    /// What was seen in it.
    pub verdict: Option<Verdict>,
    /// What was changed of the best picture until then; empty for a picture of its own.
    #[serde(default)]
    pub operations: Vec<Operation>,
    /// Whether it was better than the best until then, so that what followed began with it.
    pub accepted: bool,
    /// What was done and seen, in a line for people.
    #[serde(default)]
    pub summary: String,
    /// Work, in paintings of the whole picture.
    pub work: f64,
    /// Where the picture is.
    #[serde(default)]
    pub image: Option<String>,
}

impl Attempt {
    /// Most of them that are kept of a job.
    pub const MAX: usize = 64;

    /// How many of these places are for those that were accepted.
    pub const FOR_ACCEPTED: usize = 16;
}

/// What a finding of a verdict is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// One of its `objects`.
    Object,
    /// One of its `extra` things.
    Extra,
    /// One of its `excluded` things.
    Excluded,
    /// One of its `relations`.
    Relation,
}

/// What somebody who looked at the picture says of a finding: it is fine as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// What the finding is about.
    pub about: Subject,
    /// Which of them, from 0.
    pub index: u32,
    /// Whether it is fine; false takes that back.
    #[serde(default = "yes")]
    pub fine: bool,
}

fn yes() -> bool {
    true
}

impl Decision {
    /// Most of them that are kept of a job: a verdict has no more findings.
    pub const MAX: usize = 1000;

    /// Adds it to those of a picture: the last one about a thing counts, and none is kept of what is not fine.
    pub fn add_to(self, decisions: &mut Vec<Self>) {
        decisions.retain(|other| (other.about, other.index) != (self.about, self.index));
        if self.fine {
            decisions.push(self);
        }
    }
}

impl Verdict {
    /// How many findings it has about things of a kind.
    pub fn count(&self, about: Subject) -> usize {
        match about {
            Subject::Object => self.objects.len(),
            Subject::Extra => self.extra.len(),
            Subject::Excluded => self.excluded.len(),
            Subject::Relation => self.relations.len(),
        }
    }
}

/// A picture that was sent, and is kept for jobs that begin with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Upload {
    /// Its name, for `init`.
    pub id: String,
    /// Its size.
    pub size: Size,
    /// Whether some of it is transparent, so that it can be a mask.
    pub transparent: bool,
}

/// What can be changed of pictures that are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Editing {
    /// The operations of `edit`.
    pub operations: Vec<String>,
    /// Models whose pictures somebody here can look at, for `attempts`, `repair` and `judge`.
    pub checked_models: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn operations_are_read_and_written_by_their_names() {
        let operations = [
            json!({"op": "add", "phrase": "a hat", "bbox": [0.0, 0.0, 0.5, 0.5]}),
            json!({"op": "remove", "phrase": "a hat", "bbox": [0.0, 0.0, 0.5, 0.5]}),
            json!({"op": "move", "phrase": "a hat", "from": [0.0, 0.0, 0.5, 0.5], "to": [0.5, 0.0, 1.0, 0.5]}),
            json!({"op": "recolour", "phrase": "a red hat", "bbox": [0.0, 0.0, 0.5, 0.5], "strength": 0.5}),
            json!({"op": "replace", "phrase": "a cap", "bbox": [0.0, 0.0, 0.5, 0.5]}),
        ];
        for (operation, name) in operations.into_iter().zip(Operation::NAMES) {
            assert_eq!(operation["op"], name);
            let read: Operation = from_value(operation.clone()).unwrap();
            assert_eq!(json!(read), operation);
        }
        let recolour = json!({"op": "recolour", "phrase": "a red hat", "bbox": [0.0, 0.0, 0.5, 0.5]});
        assert!(matches!(from_value(recolour).unwrap(), Operation::Recolour { strength: None, .. }));
        assert!(from_value::<Operation>(json!({"op": "explode", "phrase": "a hat"})).is_err());
    }

    #[test]
    fn the_last_decision_about_a_thing_counts() {
        let mut decisions = Vec::new();
        let about = |about, index, fine| Decision { about, index, fine };
        for decision in [
            about(Subject::Object, 0, true),
            about(Subject::Extra, 0, true),
            about(Subject::Object, 0, true),
            about(Subject::Extra, 0, false),
        ] {
            decision.add_to(&mut decisions);
        }
        assert_eq!(decisions, [about(Subject::Object, 0, true)]);
    }
}
