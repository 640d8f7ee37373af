//! Numbers as models and people write them: plain, as a text, with their unit, as percentages.

use super::scale::Scale;
use crate::literal::{Fault, Spanned, Value};

/// Four numbers make a box, of shares if they are percentages; none at all make a box without area, which repair drops.
pub(super) fn values<'a>(
    items: impl Iterator<Item = &'a Spanned>,
    offset: usize,
) -> Result<([f64; 4], Option<Scale>), Fault> {
    let measure = |item: &'a Spanned| measure_of(item).ok_or_else(|| no_number(item));
    let measures: Vec<Measure> = items.map(measure).collect::<Result<_, _>>()?;
    let percentages = measures.iter().filter(|measure| measure.is_percentage).count();
    let are_others_zero = || measures.iter().all(|measure| measure.is_percentage || measure.value == 0.0);
    if percentages > 0 && !are_others_zero() {
        return Err(Fault::new(offset, "expected four percentages or four numbers of pixels, found both"));
    }
    let scale = (percentages > 0).then_some(Scale::Shares);
    match measures[..] {
        [] => Ok(([0.0; 4], None)),
        [a, b, c, d] => Ok(([a, b, c, d].map(|measure| measure.value), scale)),
        _ => {
            let message = format!("expected four numbers [x, y, width, height], found {}", measures.len());
            Err(Fault::new(offset, message))
        }
    }
}

/// A number, or a percentage as a share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) value: f64,
    pub(super) is_percentage: bool,
}

/// A number, also one that was written as a text or with its unit.
pub(super) fn measure_of(item: &Spanned) -> Option<Measure> {
    match &item.value {
        Value::Number(number) => Some(Measure { value: *number, is_percentage: false }),
        Value::Text(text) => {
            let text = text.trim();
            let (digits, is_percentage) = match text.strip_suffix('%') {
                Some(digits) => (digits, true),
                None => (text.trim_end_matches("px"), false),
            };
            let number = digits.trim_end().parse().ok().filter(|number: &f64| number.is_finite())?;
            Some(Measure { value: if is_percentage { number / 100.0 } else { number }, is_percentage })
        }
        _ => None,
    }
}

fn no_number(item: &Spanned) -> Fault {
    Fault::new(item.offset, format!("expected a number of pixels, found {}", item.value.describe()))
}
