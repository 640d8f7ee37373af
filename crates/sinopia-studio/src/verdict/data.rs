//! The verdict as data.

use serde::{Deserialize, Serialize};
use sinopia_english::RelationKind;
use sinopia_eval::evaluators::EvaluatorId;
use sinopia_layout::PixelBox;

use super::Thresholds;
use super::json::{StoredObject, StoredVerdict, sides};

/// What an evaluator sees in a picture of what was wanted. Boxes are in pixels of the layout's canvas.
///
/// Written as JSON it also says whether it is [right](Self::is_right) and its [summary](Self::summary).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredVerdict", into = "StoredVerdict")]
pub struct Verdict {
    /// Who looked; without a name in verdicts of versions that did not say.
    pub evaluator: EvaluatorId,
    /// By which thresholds scores became states.
    pub thresholds: Thresholds,
    /// Each object of the layout, in its order.
    pub objects: Vec<ObjectVerdict>,
    /// Surely seen things of wanted kinds that are more than were wanted, by descending score.
    pub extra: Vec<SeenThing>,
    /// Surely seen things that must not be there, by descending score.
    pub excluded: Vec<SeenThing>,
    /// How objects stand to each other, as far as the caption says how.
    pub relations: Vec<RelationVerdict>,
    /// What was wanted and the evaluator cannot tell, in words: things that it has no word for, what it has no eye for.
    pub unknown: Vec<String>,
}

/// What was seen of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "StoredObject", into = "StoredObject")]
pub struct ObjectVerdict {
    /// The object in words.
    pub phrase: String,
    /// Where the layout wants it.
    pub bbox: PixelBox,
    /// What became of it.
    pub state: ObjectState,
    /// How sure the evaluator is that what it saw there is what was wanted, 0..=1; 0 if it saw nothing of the kind.
    pub score: f64,
    /// Where that is; nothing if nothing was seen, or the evaluator sees no boxes.
    pub detected: Option<PixelBox>,
    /// Intersection over union of the two boxes, 0..=1.
    pub iou: f64,
    /// What it looks like instead, with a [wrong attribute](ObjectState::WrongAttribute): `a green apple`.
    pub seen_as: Option<String>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// It is there, where and as it was wanted.
    Right,
    /// It may be.
    Unsure,
    /// Nothing of the kind is there.
    Missing,
    /// The thing is there and has another colour.
    WrongAttribute,
    /// It is there, and elsewhere or of another size.
    Misplaced,
}

/// Something that was seen and not wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenThing {
    /// What it is.
    pub phrase: String,
    /// Where; of an evaluator without boxes the whole picture.
    #[serde(rename = "box", with = "sides")]
    pub bbox: PixelBox,
    /// How sure the evaluator is, 0..=1.
    pub score: f64,
}

/// Whether one object stands to another as the caption says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RelationVerdict {
    /// Who stands so: an index of [`Verdict::objects`].
    pub subject: usize,
    /// How.
    pub relation: RelationKind,
    /// To whom: an index of [`Verdict::objects`].
    pub object: usize,
    /// Whether it does.
    pub state: RelationState,
}

/// Whether a relation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationState {
    /// Clearly.
    Pass,
    /// Neither clearly so nor clearly otherwise, or one of the two was not seen.
    Unsure,
    /// It is the other way round.
    Fail,
}

impl Verdict {
    /// Of a picture of which nothing was wanted, by nobody.
    pub fn of_nothing(thresholds: Thresholds) -> Self {
        Self {
            evaluator: EvaluatorId::default(),
            thresholds,
            objects: Vec::new(),
            extra: Vec::new(),
            excluded: Vec::new(),
            relations: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Whether all that was wanted is there, and nothing that was not. What is unsure of an object is not right; an unsure relation of objects in their places is no fault.
    pub fn is_right(&self) -> bool {
        self.num_right() == self.objects.len()
            && self.extra.is_empty()
            && self.excluded.is_empty()
            && self.relations.iter().all(|relation| relation.state != RelationState::Fail)
    }

    /// How many objects are right.
    pub fn num_right(&self) -> usize {
        self.objects.iter().filter(|object| object.is_right()).count()
    }
}

impl ObjectVerdict {
    /// Whether it gets its tick.
    pub fn is_right(&self) -> bool {
        self.state == ObjectState::Right
    }
}

impl ObjectState {
    /// Whether it is surely wrong; what is unsure is neither right nor wrong.
    pub fn is_wrong(self) -> bool {
        matches!(self, Self::Missing | Self::WrongAttribute | Self::Misplaced)
    }
}
