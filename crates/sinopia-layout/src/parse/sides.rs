//! Four numbers as a box: in a list, as two points, or under a key each.

use super::keys::{find, is_one_of};
use super::measures::values;
use super::scale::{Form, Numbers, Scale};
use crate::literal::{Fault, Spanned, Value};

/// The keys of four numbers that have one each, and what they are then.
const SIDES: [[&[&str]; 4]; 4] = [
    [
        &["x1", "xmin", "x_min", "x0", "left"],
        &["y1", "ymin", "y_min", "y0", "top"],
        &["x2", "xmax", "x_max", "right"],
        &["y2", "ymax", "y_max", "bottom"],
    ],
    [&["x0"], &["y0"], &["x1"], &["y1"]],
    [&["x", "left"], &["y", "top"], &["width", "w"], &["height", "h"]],
    [&["cx", "x_center", "center_x", "xc"], &["cy", "y_center", "center_y", "yc"], &["width", "w"], &["height", "h"]],
];
const FORMS: [Form; 4] = [Form::Corners, Form::Corners, Form::Sides, Form::Centre];

/// Four numbers under a key each.
pub(super) fn under_keys(entries: &[(String, Spanned)]) -> Result<Option<Numbers>, Fault> {
    for (sides, form) in SIDES.iter().zip(FORMS) {
        let found: Vec<&Spanned> =
            sides.iter().filter_map(|names| find(entries, names)).map(|(_, value)| value).collect();
        if let [first, ..] = found[..]
            && found.len() == sides.len()
        {
            let (values, scale) = values(found.iter().copied(), first.offset)?;
            return Ok(Some(Numbers { values, form: Some(form), scale }));
        }
    }
    Ok(None)
}

/// Whether a key is that of one of the four numbers.
pub(super) fn is_key(key: &str) -> bool {
    SIDES.iter().flatten().any(|side| is_one_of(key, side))
}

/// The value of a box: four numbers in a list, two points, or a dict of sides.
pub(super) fn of(found: &Spanned, form: Option<Form>, scale: Option<Scale>) -> Result<Numbers, Fault> {
    match &found.value {
        Value::Dict(entries) => under_keys(entries)?.ok_or_else(|| not_numbers(found)),
        Value::List(points) => match points.as_slice() {
            [Spanned { value: Value::List(a), .. }, Spanned { value: Value::List(b), .. }]
                if a.len() == 2 && b.len() == 2 =>
            {
                let (values, unit) = values(a.iter().chain(b), found.offset)?;
                Ok(Numbers { values, form: form.or(Some(Form::Corners)), scale: scale.or(unit) })
            }
            [inner @ Spanned { value: Value::List(_), .. }] => in_list(inner, form, scale),
            _ => in_list(found, form, scale),
        },
        _ => Err(not_numbers(found)),
    }
}

fn not_numbers(found: &Spanned) -> Fault {
    Fault::new(found.offset, format!("expected [x, y, width, height], found {}", found.value.describe()))
}

/// Four numbers in a list.
pub(super) fn in_list(found: &Spanned, form: Option<Form>, scale: Option<Scale>) -> Result<Numbers, Fault> {
    match &found.value {
        Value::List(numbers) => {
            let (values, unit) = values(numbers.iter(), found.offset)?;
            Ok(Numbers { values, form, scale: scale.or(unit) })
        }
        _ => Err(not_numbers(found)),
    }
}
