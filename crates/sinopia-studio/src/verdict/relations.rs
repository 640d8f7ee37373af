//! Whether one box stands to another as it should: surely so, surely otherwise, or neither.

use sinopia_english::RelationKind;
use sinopia_layout::{Canvas, PixelBox};
use sinopia_solver::geometry::{self, holds};

use super::RelationState;

/// Share of both sizes by which GenEval shortens an offset of centres.
const SLACK: f64 = 0.1;
/// Share of the offset's length that its shortened part along the direction must exceed.
const DIRECTION: f64 = 0.5;

/// Whether `subject` stands so to `object`. Directions hold by the rule of GenEval (djghosh13/geneval@af4902f:evaluation/evaluate_images.py) and fail where LMD's does not hold, which looks at
/// the sign of the centres' offset alone; everything else is judged as layouts are. What was not seen is unsure.
pub(super) fn judge(
    relation: RelationKind,
    subject: Option<PixelBox>,
    object: Option<PixelBox>,
    canvas: Canvas,
) -> RelationState {
    use RelationKind::*;
    let Some((subject, object)) = subject.zip(object) else { return RelationState::Unsure };
    match relation {
        LeftOf => direction(&subject, &object, Axis::Across),
        RightOf => direction(&object, &subject, Axis::Across),
        Above => direction(&subject, &object, Axis::Down),
        Below => direction(&object, &subject, Axis::Down),
        _ => match holds(relation, &subject, &object, canvas) {
            geometry::Verdict::Holds => RelationState::Pass,
            geometry::Verdict::Doubtful => RelationState::Unsure,
            geometry::Verdict::Broken => RelationState::Fail,
        },
    }
}

#[derive(Clone, Copy)]
enum Axis {
    Across,
    Down,
}

/// Whether `first` lies before `second`: left of it, above it.
fn direction(first: &PixelBox, second: &PixelBox, axis: Axis) -> RelationState {
    let ((ax, ay), (bx, by)) = (first.center(), second.center());
    let (offset, sizes) = match axis {
        Axis::Across => (bx - ax, first.width() + second.width()),
        Axis::Down => (by - ay, first.height() + second.height()),
    };
    let length = (bx - ax).hypot(by - ay);
    let shortened = (offset - SLACK * sizes).max(0.0);
    match () {
        () if offset <= 0.0 => RelationState::Fail,
        () if shortened / length > DIRECTION => RelationState::Pass,
        () => RelationState::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RelationKind::*;

    #[track_caller]
    fn check(relation: RelationKind, subject: [f64; 4], object: [f64; 4], expected: RelationState) {
        let bbox = |[x, y, w, h]: [f64; 4]| PixelBox::new(x, y, w, h).ok();
        assert_eq!(judge(relation, bbox(subject), bbox(object), Canvas::PUBLISHED), expected, "{relation:?}");
    }

    #[test]
    fn directions_pass_by_genevals_rule_and_fail_by_the_sign_of_lmds() {
        let (left, right, below) =
            ([0.0, 200.0, 100.0, 100.0], [300.0, 200.0, 100.0, 100.0], [20.0, 400.0, 100.0, 100.0]);
        check(LeftOf, left, right, RelationState::Pass);
        check(RightOf, right, left, RelationState::Pass);
        check(RightOf, left, right, RelationState::Fail);
        check(LeftOf, left, left, RelationState::Fail);
        check(LeftOf, left, below, RelationState::Unsure); // mostly above it
        check(Above, left, below, RelationState::Pass);
        check(Below, below, left, RelationState::Pass);
        check(Below, left, below, RelationState::Fail);
        check(LeftOf, left, [15.0, 200.0, 100.0, 100.0], RelationState::Unsure); // less than a tenth of both widths
    }

    #[test]
    fn what_lies_on_another_thing_is_judged_as_in_a_layout() {
        let (cat, table) = ([200.0, 150.0, 100.0, 90.0], [100.0, 220.0, 300.0, 200.0]);
        check(On, cat, table, RelationState::Pass);
        check(Under, cat, table, RelationState::Fail);
        check(BiggerThan, table, cat, RelationState::Pass);
        check(NextTo, [0.0, 0.0, 9.0, 9.0], [500.0, 500.0, 9.0, 9.0], RelationState::Fail);
    }

    #[test]
    fn what_was_not_seen_is_unsure() {
        let bbox = PixelBox::new(0.0, 0.0, 9.0, 9.0).ok();
        assert_eq!(judge(LeftOf, None, bbox, Canvas::PUBLISHED), RelationState::Unsure);
        assert_eq!(judge(On, bbox, None, Canvas::PUBLISHED), RelationState::Unsure);
    }
}
