//! Where the ground of a picture is, by its place.

use sinopia_english::{CaptionAnalysis, NounClass, Nouns, Setting};

/// Horizontal lines of a picture, as shares of its height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scene {
    /// Where what stands farthest away touches the ground.
    pub(crate) horizon: f64,
    /// Where what stands nearest touches the ground.
    pub(crate) front: f64,
    /// Whether things need no ground: in the sky, under water.
    pub(crate) is_floating: bool,
    /// Whether what is in it fills it: a portrait, a close-up.
    pub(crate) is_close: bool,
}

/// Places without a ground to stand on.
const WITHOUT_GROUND: &[&str] = &["sky", "air", "space", "outer space", "underwater", "aquarium", "cloud"];

/// Places that are seen over water, where the horizon is high.
const WATERS: &[&str] = &["body of water", "sea", "ocean", "lake", "river", "pond", "bay", "harbor", "pool"];

/// The scene of a caption; `is_small` says that everything in it fits on a table.
pub(crate) fn scene_of(analysis: &CaptionAnalysis, is_small: bool) -> Scene {
    let places = &analysis.places;
    let is_any = |kinds: &[&str]| places.iter().any(|place| is_kind(place, kinds));
    let can_be = |class| places.iter().any(|place| Nouns::embedded().class(&place.name) == Some(class));
    let floating = places.iter().any(|place| {
        is_kind(place, WITHOUT_GROUND)
            && matches!(place.preposition.as_str(), "in" | "through" | "" | "into" | "across")
    });
    let is_close = analysis.styles.iter().any(|style| {
        let phrase = style.phrase.to_lowercase();
        style.name == "portrait"
            || ["close-up", "closeup", "close up", "macro", "headshot"].iter().any(|word| phrase.contains(word))
    });
    match () {
        () if floating => Scene { horizon: 0.5, front: 0.9, is_floating: true, is_close },
        () if is_any(WATERS) => Scene { horizon: 0.42, front: 0.88, is_floating: false, is_close },
        () if can_be(NounClass::Room) => Scene { horizon: 0.62, front: 0.93, is_floating: false, is_close },
        () if places.is_empty() && is_small => Scene { horizon: 0.5, front: 0.86, is_floating: false, is_close },
        () => Scene { horizon: 0.55, front: 0.92, is_floating: false, is_close },
    }
}

fn is_kind(place: &Setting, kinds: &[&str]) -> bool {
    let nouns = Nouns::embedded();
    let name = place.name.to_lowercase();
    let is_named = |kind: &&str| name == **kind || name.ends_with(&format!(" {kind}"));
    kinds.iter().any(is_named)
        || [NounClass::Place, NounClass::Object]
            .iter()
            .any(|class| nouns.hypernyms(&name, *class).any(|kind| kinds.contains(&kind)))
}
