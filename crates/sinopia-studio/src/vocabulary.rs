//! What the built-in model has never seen, told before it paints something else.

use sinopia_layout::{Layout, nouns};
use sinopia_miniature::{BACKDROPS, COLORS, KINDS};

/// Things of a layout, or of a caption without one, that the miniature cannot paint; as a warning, if there are any.
pub fn warning(caption: Option<&str>, layout: Option<&Layout>) -> Option<String> {
    let what = match layout {
        Some(layout) => {
            let mut unknown: Vec<&str> = layout
                .objects
                .iter()
                .map(|object| nouns::head(&object.phrase))
                .filter(|noun| !is_known(noun))
                .collect();
            unknown.sort_unstable();
            unknown.dedup();
            let quoted: Vec<String> = unknown.iter().map(|noun| format!("`{noun}`")).collect();
            (!unknown.is_empty()).then(|| quoted.join(", "))
        }
        None => {
            let caption = caption.unwrap_or_default();
            let mut words = caption.split(|letter: char| !letter.is_alphabetic());
            (!words.any(is_known)).then(|| "anything of this caption".to_owned())
        }
    }?;
    Some(format!(
        "the miniature does not know {what} and paints something else; it knows {}; in {}; on backdrops of {}. `--model` takes a real checkpoint",
        KINDS.join(", "),
        COLORS.join(", "),
        BACKDROPS.join(", ")
    ))
}

fn is_known(word: &str) -> bool {
    let word = word.to_lowercase();
    KINDS.iter().any(|kind| *kind == word || nouns::plural(kind) == word)
}

/// Other names of its things that its detector has learned too (`training/detector.py`).
const SYNONYMS: [(&str, &[&str]); 10] = [
    ("backpack", &["rucksack", "schoolbag"]),
    ("ball", &["sports ball", "football", "soccer ball"]),
    ("bottle", &["wine bottle"]),
    ("car", &["automobile"]),
    ("cat", &["kitten"]),
    ("cup", &["mug"]),
    ("dog", &["puppy"]),
    ("flower", &["sunflower"]),
    ("laptop", &["laptop computer", "notebook computer"]),
    ("umbrella", &["parasol"]),
];

/// Whether its detector has a word for a thing, named in the singular: `cat`, `alarm clock`. The last word decides, as in a `school bus`.
pub fn is_thing(name: &str) -> bool {
    let name = name.to_lowercase();
    let last = name.rsplit(' ').next().unwrap_or_default();
    let synonyms = || SYNONYMS.iter().filter(|(kind, _)| KINDS.contains(kind)).flat_map(|(_, synonyms)| *synonyms);
    is_known(last) || synonyms().any(|synonym| *synonym == name || *synonym == last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(phrases: &[&str]) -> Layout {
        let boxes: Vec<String> = phrases.iter().map(|phrase| format!("('{phrase}', [0, 0, 90, 90])")).collect();
        sinopia_layout::parse_answer(&format!("[{}]\nBackground prompt: A beach", boxes.join(", "))).unwrap()
    }

    #[test]
    fn things_it_has_never_seen_are_named_once() {
        assert_eq!(warning(None, Some(&layout(&["a blue dog", "two Cats", "three birds"]))), None);
        let told = warning(None, Some(&layout(&["a purple elephant", "a dog", "an elephant", "a star"]))).unwrap();
        assert!(told.contains("does not know `elephant`, `star` and"), "{told}");
    }

    #[test]
    fn a_caption_without_a_layout_needs_one_thing_that_it_knows() {
        assert_eq!(warning(Some("two red Apples, and a unicorn"), None), None);
        assert!(warning(Some("a sunset by Turner"), None).unwrap().contains("anything of this caption"));
    }
}
