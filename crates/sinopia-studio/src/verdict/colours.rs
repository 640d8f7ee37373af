//! Colours that can be mistaken for each other, and those that cannot.

/// Colours by which a thing of another colour is told: Berlin and Kay's eleven (Basic Color Terms, 1969), which the built-in models know by name.
pub(super) const BASIC: [&str; 11] =
    ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray"];

/// Colours of other names, and the basic ones that they may be called too.
const SHADES: [(&str, &[&str]); 32] = [
    ("amber", &["orange", "yellow", "brown"]),
    ("aqua", &["blue", "green"]),
    ("beige", &["brown", "white", "yellow"]),
    ("blond", &["yellow", "brown"]),
    ("bronze", &["brown", "orange"]),
    ("burgundy", &["red", "purple", "brown"]),
    ("copper", &["orange", "brown", "red"]),
    ("coral", &["orange", "pink", "red"]),
    ("cream", &["white", "yellow"]),
    ("crimson", &["red"]),
    ("cyan", &["blue", "green"]),
    ("gold", &["yellow", "orange", "brown"]),
    ("indigo", &["blue", "purple"]),
    ("ivory", &["white", "yellow"]),
    ("khaki", &["brown", "green", "yellow"]),
    ("lavender", &["purple", "pink"]),
    ("lilac", &["purple", "pink"]),
    ("lime", &["green", "yellow"]),
    ("magenta", &["pink", "purple", "red"]),
    ("maroon", &["red", "brown"]),
    ("mauve", &["purple", "pink"]),
    ("mint", &["green", "blue"]),
    ("navy", &["blue", "black"]),
    ("olive", &["green", "brown"]),
    ("peach", &["orange", "pink"]),
    ("rose", &["pink", "red"]),
    ("scarlet", &["red"]),
    ("silver", &["gray", "white"]),
    ("tan", &["brown", "orange"]),
    ("teal", &["green", "blue"]),
    ("turquoise", &["blue", "green"]),
    ("violet", &["purple", "blue"]),
];

/// Whether a word is a colour.
pub(crate) fn is_colour(word: &str) -> bool {
    BASIC.contains(&word) || SHADES.iter().any(|(shade, _)| *shade == word)
}

/// Whether a thing that has the one colour has surely not the other.
pub(super) fn are_rivals(a: &str, b: &str) -> bool {
    let names = |colour: &str| SHADES.iter().find(|(shade, _)| *shade == colour).map(|(_, basic)| *basic);
    a != b && !names(a).is_some_and(|basic| basic.contains(&b)) && !names(b).is_some_and(|basic| basic.contains(&a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shade_is_no_rival_of_what_it_is_a_shade_of() {
        assert!(are_rivals("red", "blue") && are_rivals("navy", "green") && are_rivals("navy", "teal"));
        assert!(!are_rivals("navy", "blue") && !are_rivals("gray", "silver") && !are_rivals("red", "red"));
        assert!(is_colour("gray") && is_colour("lilac") && !is_colour("wooden"));
        assert!(SHADES.iter().all(|(_, basic)| basic.iter().all(|basic| BASIC.contains(basic))));
    }
}
