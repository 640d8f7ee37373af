//! Verdicts in files and on the wire: boxes as left, top, width, height, `found` beside `state`; what older versions wrote is read.

use serde::{Deserialize, Serialize};
use sinopia_eval::evaluators::EvaluatorId;
use sinopia_layout::PixelBox;

use super::{ObjectState, ObjectVerdict, RelationVerdict, SeenThing, Thresholds, Verdict};

/// A verdict as it is written. What older versions did not say is empty.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredVerdict {
    /// For readers; what is read is judged anew.
    #[serde(default, skip_deserializing)]
    right: bool,
    #[serde(default, skip_deserializing)]
    summary: String,
    evaluator: Option<EvaluatorId>,
    thresholds: Option<Thresholds>,
    objects: Vec<ObjectVerdict>,
    #[serde(default)]
    extra: Vec<SeenThing>,
    #[serde(default)]
    excluded: Vec<SeenThing>,
    #[serde(default)]
    relations: Vec<RelationVerdict>,
    #[serde(default)]
    unknown: Vec<String>,
}

impl From<Verdict> for StoredVerdict {
    fn from(verdict: Verdict) -> Self {
        let (right, summary) = (verdict.is_right(), verdict.summary());
        let Verdict { evaluator, thresholds, objects, extra, excluded, relations, unknown } = verdict;
        let is_known = !evaluator.id.is_empty();
        let (evaluator, thresholds) = (is_known.then_some(evaluator), is_known.then_some(thresholds));
        Self { right, summary, evaluator, thresholds, objects, extra, excluded, relations, unknown }
    }
}

impl From<StoredVerdict> for Verdict {
    fn from(stored: StoredVerdict) -> Self {
        let StoredVerdict { evaluator, thresholds, objects, extra, excluded, relations, unknown, .. } = stored;
        Self {
            evaluator: evaluator.unwrap_or_default(),
            thresholds: thresholds.unwrap_or(Thresholds::OWL_VIT),
            objects,
            extra,
            excluded,
            relations,
            unknown,
        }
    }
}

/// An object as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredObject {
    phrase: String,
    #[serde(rename = "box", with = "sides")]
    bbox: PixelBox,
    /// Whether it is right; all that older versions said.
    found: bool,
    state: Option<ObjectState>,
    score: f64,
    #[serde(default, with = "some_sides")]
    detected_box: Option<PixelBox>,
    iou: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seen_as: Option<String>,
}

impl From<ObjectVerdict> for StoredObject {
    fn from(object: ObjectVerdict) -> Self {
        Self {
            found: object.is_right(),
            phrase: object.phrase,
            bbox: object.bbox,
            state: Some(object.state),
            score: object.score,
            detected_box: object.detected,
            iou: Some(object.iou),
            seen_as: object.seen_as,
        }
    }
}

impl From<StoredObject> for ObjectVerdict {
    fn from(stored: StoredObject) -> Self {
        let detected = stored.detected_box;
        let iou = stored.iou.unwrap_or_else(|| detected.map_or(0.0, |detected| stored.bbox.iou(&detected)));
        let state = stored.state.unwrap_or(state_of_before(stored.found, detected.is_some(), iou));
        Self {
            phrase: stored.phrase,
            bbox: stored.bbox,
            state,
            score: stored.score,
            detected,
            iou,
            seen_as: stored.seen_as,
        }
    }
}

/// The least overlap of what older versions found.
const MIN_IOU_OF_BEFORE: f64 = 0.3;

/// What was not found and seen in its place was faint.
fn state_of_before(found: bool, is_seen: bool, iou: f64) -> ObjectState {
    match () {
        () if found => ObjectState::Right,
        () if !is_seen => ObjectState::Missing,
        () if iou >= MIN_IOU_OF_BEFORE => ObjectState::Unsure,
        () => ObjectState::Misplaced,
    }
}

/// A box as left, top, width, height.
pub(super) mod sides {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use sinopia_layout::PixelBox;

    pub(in super::super) fn serialize<S: Serializer>(bbox: &PixelBox, serializer: S) -> Result<S::Ok, S::Error> {
        [bbox.x(), bbox.y(), bbox.width(), bbox.height()].serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PixelBox, D::Error> {
        let [x, y, width, height] = <[f64; 4]>::deserialize(deserializer)?;
        PixelBox::new(x, y, width, height).map_err(D::Error::custom)
    }
}

/// The same, or `null`.
mod some_sides {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use sinopia_layout::PixelBox;

    pub(super) fn serialize<S: Serializer>(bbox: &Option<PixelBox>, serializer: S) -> Result<S::Ok, S::Error> {
        bbox.map(|bbox| [bbox.x(), bbox.y(), bbox.width(), bbox.height()]).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PixelBox>, D::Error> {
        let sides = Option::<[f64; 4]>::deserialize(deserializer)?;
        sides.map(|[x, y, width, height]| PixelBox::new(x, y, width, height)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"{"objects": [
        {"phrase": "a cat", "box": [0.0, 0.0, 100.0, 100.0], "found": true, "score": 0.9, "detected_box": [5.0, 5.0, 90.0, 90.0]},
        {"phrase": "a dog", "box": [0.0, 0.0, 100.0, 100.0], "found": false, "score": 0.3, "detected_box": [5.0, 5.0, 90.0, 90.0]},
        {"phrase": "a cup", "box": [0.0, 0.0, 100.0, 100.0], "found": false, "score": 0.9, "detected_box": [300.0, 5.0, 90.0, 90.0]},
        {"phrase": "a car", "box": [0.0, 0.0, 100.0, 100.0], "found": false, "score": 0.0, "detected_box": null}]}"#;

    #[test]
    fn verdicts_of_older_versions_are_read() {
        let verdict: Verdict = serde_json::from_str(BEFORE).unwrap();
        let states: Vec<ObjectState> = verdict.objects.iter().map(|object| object.state).collect();
        use ObjectState::*;
        assert_eq!(states, [Right, Unsure, Misplaced, Missing]);
        assert!((verdict.objects[0].iou - 0.81).abs() < 1e-9);
        assert_eq!((verdict.evaluator.id.as_str(), verdict.thresholds), ("", Thresholds::OWL_VIT));
    }

    #[test]
    fn what_is_written_is_read_again_and_still_says_found() {
        let verdict: Verdict = serde_json::from_str(BEFORE).unwrap();
        let json = serde_json::to_value(&verdict).unwrap();
        assert_eq!((&json["right"], &json["evaluator"]), (&false.into(), &serde_json::Value::Null));
        assert_eq!(json["summary"], "1 of 4 right: no car; the cup elsewhere; the dog unsure");
        assert_eq!(json["objects"][0]["found"], true);
        assert_eq!(json["objects"][1]["state"], "unsure");
        assert_eq!(json["objects"][3]["detected_box"], serde_json::Value::Null);
        assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
        let evaluator = EvaluatorId { id: "miniature".to_owned(), hash: "1".to_owned() };
        let new = Verdict { evaluator, thresholds: Thresholds::OWLV2, unknown: vec!["an elk".to_owned()], ..verdict };
        let json = serde_json::to_string(&new).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), new);
    }

    #[test]
    fn boxes_that_are_none_are_refused() {
        let far = BEFORE.replace("300.0", "1e300");
        assert!(serde_json::from_str::<Verdict>(&far).is_err());
    }
}
