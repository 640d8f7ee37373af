//! How large things are in the world: `assets/sizes.tsv`, inherited down WordNet's kinds.

use std::collections::HashMap;
use std::sync::OnceLock;

use sinopia_english::{NounClass, Nouns, Thing};
use strum::{EnumString, VariantArray};

/// What a thing rests on if the caption says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Support {
    Ground,
    Surface,
    Wall,
    Air,
    Water,
    Sky,
}

/// As a picture usually shows it, from the side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Size {
    /// Metres.
    pub(crate) height: f64,
    /// Metres.
    pub(crate) width: f64,
    pub(crate) support: Support,
}

/// What adjectives do to a size: height and width are multiplied.
const ADJECTIVES: &[(&[&str], f64, f64)] = &[
    (&["tiny", "miniature", "mini", "microscopic"], 0.5, 0.5),
    (&["small", "little", "young", "short"], 0.75, 0.75),
    (&["big", "large", "oversized"], 1.4, 1.4),
    (&["huge", "giant", "enormous", "gigantic", "massive", "colossal"], 2.0, 2.0),
    (&["tall", "high", "towering"], 1.35, 1.0),
    (&["long", "wide", "broad"], 1.0, 1.35),
    (&["thin", "narrow", "slender"], 1.0, 0.75),
    (&["baby"], 0.5, 0.5),
];

/// Classes that say little of a size.
const LOOSE: &[NounClass] = {
    use NounClass::*;
    &[Artifact, Object, Container, Group, Device, Substance, Place, Room, Picture, Shape, Communication, Other]
};

/// Toys of everything are about as large, in metres.
const TOY: f64 = 0.25;

struct Sizes {
    /// By noun and class: a satellite is a device, and what the moon is a kind of.
    nouns: HashMap<(&'static str, &'static str), Size>,
    /// By class alone.
    classes: HashMap<&'static str, Size>,
    /// The first row of each noun.
    named: HashMap<&'static str, Size>,
}

impl Sizes {
    fn embedded() -> &'static Self {
        static SIZES: OnceLock<Sizes> = OnceLock::new();
        SIZES.get_or_init(|| {
            let mut sizes = Self { nouns: HashMap::new(), classes: HashMap::new(), named: HashMap::new() };
            for row in rows() {
                let [noun, class, size] = row;
                let Some(size) = parse(size) else { continue };
                if noun == "*" {
                    sizes.classes.insert(class, size);
                } else {
                    sizes.nouns.insert((noun, class), size);
                    sizes.named.entry(noun).or_insert(size);
                }
            }
            sizes
        })
    }
}

/// Noun, class and the rest of each row.
fn rows() -> impl Iterator<Item = [&'static str; 3]> {
    let lines = include_str!("../assets/sizes.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let mut cells = line.splitn(3, '\t');
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

fn parse(cells: &str) -> Option<Size> {
    let mut cells = cells.split('\t');
    let mut number = || cells.next()?.parse().ok();
    let (height, width) = (number()?, number()?);
    Some(Size { height, width, support: cells.next()?.parse().ok()? })
}

/// The size of a thing with its adjectives.
pub(crate) fn size_of(thing: &Thing) -> Size {
    let mut size = heap_of(thing).unwrap_or_else(|| plain_size(&thing.name, thing.class));
    if thing.name.starts_with("toy ") || thing.adjectives.iter().any(|adjective| adjective == "toy") {
        let scale = TOY / size.height.max(size.width);
        size = Size { height: size.height * scale, width: size.width * scale, support: Support::Surface };
    }
    for adjective in &thing.adjectives {
        let adjective = adjective.to_lowercase();
        if let Some((_, height, width)) = ADJECTIVES.iter().find(|(words, ..)| words.contains(&adjective.as_str())) {
            size.height *= height;
            size.width *= width;
        }
    }
    size
}

/// A stack or a pile is as large as what it is of makes it: slender or broad, of some five.
fn heap_of(thing: &Thing) -> Option<Size> {
    let (across, up) = match thing.head.as_str() {
        "stack" => (1.0, 5.0),
        "pile" | "heap" => (3.0, 2.5),
        "bunch" | "cluster" | "bundle" => (2.0, 2.0),
        _ => return None,
    };
    let contents = sinopia_layout::nouns::singular(thing.contents.as_deref()?);
    let class = Nouns::embedded().class(contents.rsplit(' ').next()?)?;
    let one = plain_size(&contents, class);
    let height = if one.height > one.width { 1.5 * one.height } else { up * one.height };
    Some(Size { height, width: across * one.width, support: Support::Surface })
}

/// The nearest row: of the name, of the shorter names at its end, of what it is a kind of, of its class.
pub(crate) fn plain_size(name: &str, class: NounClass) -> Size {
    let sizes = Sizes::embedded();
    let name = name.to_lowercase();
    let own_class: &'static str = class.into();
    let named = ends_of(&name).find_map(|end| sizes.nouns.get(&(end, own_class)).or_else(|| sizes.named.get(end)));
    // A pirate is a person, whatever pirate ships are; a thing of a loose class is rather what else its noun means.
    let others = NounClass::VARIANTS.iter().copied().filter(|_| LOOSE.contains(&class));
    let classes = [class].into_iter().chain(others);
    let of_kind = || classes.clone().find_map(|class| ends_of(&name).find_map(|end| inherited(end, class)));
    let own = named.or_else(of_kind);
    let fallback = Size { height: 0.5, width: 0.5, support: Support::Ground };
    own.or_else(|| sizes.classes.get(own_class)).copied().unwrap_or(fallback)
}

/// `red fire truck`, `fire truck`, `truck`.
pub(crate) fn ends_of(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once(' ').map(|(_, end)| end))
}

/// The nearest row of what the noun is a kind of, in its meaning of that class.
fn inherited(noun: &str, class: NounClass) -> Option<&'static Size> {
    let sizes = Sizes::embedded();
    let name: &'static str = class.into();
    let mut kinds = Nouns::embedded().hypernyms(noun, class);
    kinds.find_map(|kind| sizes.nouns.get(&(kind, name))).filter(|_| class.is_visible())
}
