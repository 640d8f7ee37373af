//! Verdicts as clients read them.

use sinopia_layout::PixelBox;
use sinopia_server::wire;
use sinopia_studio::verdict::{
    ObjectState, ObjectVerdict, RelationState, RelationVerdict, SeenThing, Thresholds, Verdict,
};

/// A verdict on the wire: what `--json` writes of it.
pub(super) fn verdict(verdict: &Verdict) -> wire::Verdict {
    let Thresholds { present, sure, min_iou, elsewhere_iou, margin } = verdict.thresholds;
    let is_known = !verdict.evaluator.id.is_empty();
    let named = || wire::EvaluatorDoc { id: verdict.evaluator.id.clone(), hash: verdict.evaluator.hash.clone() };
    wire::Verdict {
        right: verdict.is_right(),
        summary: verdict.summary(),
        evaluator: is_known.then(named),
        thresholds: is_known.then_some(wire::Thresholds { present, sure, min_iou, elsewhere_iou, margin }),
        objects: verdict.objects.iter().map(object).collect(),
        extra: verdict.extra.iter().map(seen).collect(),
        excluded: verdict.excluded.iter().map(seen).collect(),
        relations: verdict.relations.iter().map(relation).collect(),
        unknown: verdict.unknown.clone(),
    }
}

fn object(object: &ObjectVerdict) -> wire::ObjectVerdict {
    wire::ObjectVerdict {
        phrase: object.phrase.clone(),
        r#box: sides(&object.bbox),
        found: object.is_right(),
        state: match object.state {
            ObjectState::Right => wire::ObjectState::Right,
            ObjectState::Unsure => wire::ObjectState::Unsure,
            ObjectState::Missing => wire::ObjectState::Missing,
            ObjectState::WrongAttribute => wire::ObjectState::WrongAttribute,
            ObjectState::Misplaced => wire::ObjectState::Misplaced,
        },
        score: object.score,
        detected_box: object.detected.as_ref().map(sides),
        iou: object.iou,
        seen_as: object.seen_as.clone(),
    }
}

fn seen(seen: &SeenThing) -> wire::SeenThing {
    wire::SeenThing { phrase: seen.phrase.clone(), r#box: sides(&seen.bbox), score: seen.score }
}

fn relation(relation: &RelationVerdict) -> wire::RelationVerdict {
    wire::RelationVerdict {
        subject: relation.subject,
        relation: relation.relation.name().to_owned(),
        object: relation.object,
        state: match relation.state {
            RelationState::Pass => wire::RelationState::Pass,
            RelationState::Unsure => wire::RelationState::Unsure,
            RelationState::Fail => wire::RelationState::Fail,
        },
    }
}

/// Left, top, width, height.
pub(super) fn sides(bbox: &PixelBox) -> [f64; 4] {
    [bbox.x(), bbox.y(), bbox.width(), bbox.height()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state, what is too much, a relation, and an evaluator.
    const WRITTEN: &str = r#"{
        "evaluator": {"id": "miniature", "hash": "12"}, "thresholds": {"present": 0.1, "sure": 0.5, "min_iou": 0.3, "elsewhere_iou": 0.2, "margin": 0.1},
        "objects": [
            {"phrase": "a cat", "box": [0.0, 0.0, 9.0, 9.0], "found": true, "state": "right", "score": 0.9, "detected_box": [0.0, 0.0, 9.0, 8.0], "iou": 0.9},
            {"phrase": "a red cup", "box": [0.0, 0.0, 9.0, 9.0], "found": false, "state": "wrong_attribute", "score": 0.2, "detected_box": [0.0, 0.0, 9.0, 8.0], "iou": 0.9, "seen_as": "a blue cup"},
            {"phrase": "a dog", "box": [0.0, 0.0, 9.0, 9.0], "found": false, "state": "missing", "score": 0.0, "detected_box": null, "iou": 0.0},
            {"phrase": "a car", "box": [0.0, 0.0, 9.0, 9.0], "found": false, "state": "misplaced", "score": 0.9, "detected_box": [9.0, 9.0, 9.0, 8.0], "iou": 0.0},
            {"phrase": "a bowl", "box": [0.0, 0.0, 9.0, 9.0], "found": false, "state": "unsure", "score": 0.3, "detected_box": null, "iou": 0.0}
        ],
        "extra": [{"phrase": "a cat", "box": [1.0, 2.0, 3.0, 4.0], "score": 0.8}],
        "excluded": [{"phrase": "a fish", "box": [1.0, 2.0, 3.0, 4.0], "score": 0.7}],
        "relations": [{"subject": 0, "relation": "left_of", "object": 1, "state": "fail"}],
        "unknown": ["an elk"]}"#;

    #[test]
    fn the_wire_says_what_files_say() {
        let read: Verdict = serde_json::from_str(WRITTEN).unwrap();
        let file: serde_json::Value = serde_json::to_value(&read).unwrap();
        let mut wire = serde_json::to_value(verdict(&read)).unwrap();
        // Files leave out what is not there.
        for object in wire["objects"].as_array_mut().unwrap() {
            if object["seen_as"].is_null() {
                object.as_object_mut().unwrap().remove("seen_as");
            }
        }
        assert_eq!(wire, file);
        assert_eq!((&wire["right"], &wire["objects"][1]["found"]), (&false.into(), &false.into()));
    }

    #[test]
    fn one_side_reads_what_the_other_writes() {
        let read: Verdict = serde_json::from_str(WRITTEN).unwrap();
        let wire: wire::Verdict = serde_json::from_str(&serde_json::to_string(&read).unwrap()).unwrap();
        assert_eq!(wire, verdict(&read));
        assert_eq!(serde_json::from_value::<Verdict>(serde_json::to_value(&wire).unwrap()).unwrap(), read);
    }

    #[test]
    fn verdicts_of_before_are_read_by_one_rule() {
        for (found, seen) in [
            (true, "[5.0, 5.0, 90.0, 90.0]"),
            (false, "[5.0, 5.0, 90.0, 90.0]"),
            (false, "[80.0, 80.0, 90.0, 90.0]"),
            (false, "null"),
        ] {
            let text = format!(
                r#"{{"objects": [{{"phrase": "a cat", "box": [0.0, 0.0, 100.0, 100.0], "found": {found}, "score": 0.5, "detected_box": {seen}}}]}}"#
            );
            let (file, wire): (Verdict, wire::Verdict) =
                (serde_json::from_str(&text).unwrap(), serde_json::from_str(&text).unwrap());
            assert_eq!(wire.objects, verdict(&file).objects, "{text}");
        }
    }
}
