//! How things carry others, and what a verb does with its object: `assets/carriers.tsv` and `assets/verbs.tsv`.

use std::collections::HashMap;
use std::sync::OnceLock;

use sinopia_english::{NounClass, Nouns, verb_stem};
use strum::EnumString;

use crate::group::Carrier;
use crate::sizes::ends_of;

/// What somebody does to something, as geometry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Deed {
    /// Sits on it: riding.
    Ride,
    /// Is inside: driving.
    Enter,
    /// Has it in the hands, or at the mouth.
    Hold,
    /// Has it at the end of a string.
    Fly,
    /// Touches it at its side: pushing, hugging.
    Touch,
    /// Comes after it at some distance: chasing.
    Chase,
    /// Faces it at some distance: watching, fighting.
    Face,
}

fn rows(file: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    file.lines().skip(1).map(|line| line.split('\t').collect())
}

/// What the verb of an action does; a verb without a row leaves its ends side by side.
pub(crate) fn deed(words: &str) -> Option<Deed> {
    static VERBS: OnceLock<HashMap<String, Deed>> = OnceLock::new();
    let verbs = VERBS.get_or_init(|| {
        let rows = rows(include_str!("../assets/verbs.tsv"));
        rows.filter_map(|cells| Some((verb_stem(cells.first()?), cells.get(1)?.parse().ok()?))).collect()
    });
    words.split_whitespace().find_map(|word| verbs.get(verb_stem(&word.to_lowercase()).as_str()).copied())
}

/// How a thing of that name and class carries others: the nearest row of its name, of what it is a kind of, of its class.
pub(crate) fn carrier(name: &str, class: NounClass) -> Carrier {
    static CARRIERS: OnceLock<HashMap<&'static str, Carrier>> = OnceLock::new();
    let carriers = CARRIERS.get_or_init(|| {
        let rows = rows(include_str!("../assets/carriers.tsv"));
        rows.filter_map(|cells| Some((*cells.first()?, parse(&cells)?))).collect()
    });
    let name = name.to_lowercase();
    let nouns = Nouns::embedded();
    let of_kind = |end: &str| nouns.hypernyms(end, class).find_map(|kind| carriers.get(kind));
    let own = ends_of(&name).find_map(|end| carriers.get(end)).or_else(|| ends_of(&name).find_map(of_kind));
    let class: &'static str = class.into();
    let of_class = || carriers.get(format!("*{class}").as_str());
    let plain = Carrier {
        seat: 0.08,
        is_stretchable: false,
        is_roof: false,
        is_flat: false,
        is_backdrop: false,
        is_open: false,
    };
    own.or_else(of_class).copied().unwrap_or(plain)
}

fn parse(cells: &[&str]) -> Option<Carrier> {
    let marks = cells.get(2)?;
    Some(Carrier {
        seat: cells.get(1)?.parse().ok()?,
        is_stretchable: marks.contains("stretches"),
        is_roof: marks.contains("roof"),
        is_flat: marks.contains("flat"),
        is_backdrop: marks.contains("backdrop"),
        is_open: marks.contains("open"),
    })
}
