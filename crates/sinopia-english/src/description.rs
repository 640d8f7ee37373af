//! A thing as a short phrase for painting it alone: `sleeping cat with blue eyes`, `man wearing a red shirt`.

use crate::analysis::{PartKind, Thing};
use crate::words::Words;

impl Thing {
    /// One of it in English without an article, with what it does, is made of, has and wears: `man playing football wearing a red shirt`.
    pub fn description(&self) -> String {
        let mut words = self.singular_phrase();
        for said in self.colours.iter().chain(&self.adjectives).rev() {
            if !has_word(&words, said) && !has_word(&self.phrase, said) {
                // `many` is how the list spells what has several.
                let said = if said == "many" { "colorful" } else { said };
                words = format!("{said} {words}");
            }
        }
        match &self.doing {
            Some(doing) if doing.contains(' ') => words = format!("{words} {doing}"),
            Some(doing) => words = format!("{doing} {words}"),
            None => {}
        }
        for (kind, usual) in [(PartKind::Is, ""), (PartKind::Has, "with"), (PartKind::Wears, "wearing")] {
            words.push_str(&self.parts_of(kind, usual));
        }
        words
    }

    /// Its phrase as written with its noun in the singular: `red balloon` for `red balloons`.
    fn singular_phrase(&self) -> String {
        let of = self.phrase.find(" of ").filter(|_| self.contents.is_some());
        let (front, contents) = self.phrase.split_at(of.unwrap_or(self.phrase.len()));
        let is_hyphenated = self.head.contains('-');
        let starts = |letter: char| letter == ' ' || letter == '-' && !is_hyphenated;
        let start = front.rfind(starts).map_or(0, |space| space + 1);
        let is_singular = front[start..].to_lowercase() == self.head;
        let head = if is_singular { &front[start..] } else { &self.head };
        format!("{}{head}{contents}", &front[..start])
    }

    /// ` with a long beard and blue eyes`; likenesses and materials have words of their own each.
    fn parts_of(&self, kind: PartKind, usual: &str) -> String {
        let mut text = String::new();
        let mut before: Option<&str> = None;
        for part in self.parts.iter().filter(|part| part.kind == kind) {
            let words = if kind == PartKind::Is { part.words.as_str() } else { usual };
            let joint = match before {
                Some(before) if before == words => " and".to_owned(),
                _ if words.is_empty() => continue,
                _ => format!(" {words}"),
            };
            text.push_str(&format!("{joint} {}", part.counted));
            before = Some(words);
        }
        text
    }
}

/// Whether a phrase says a word: itself, in a compound (`rainbow-colored`), or as another spelling of the colour (`grey`).
fn has_word(phrase: &str, word: &str) -> bool {
    let (phrase, word) = (phrase.to_lowercase(), word.to_lowercase());
    let is_same = |found: &str| found == word || Words::embedded().get("colour", found) == Some(word.as_str());
    phrase.split([' ', ',', '-']).any(is_same) || word.contains('-') && phrase.contains(&word)
}

#[cfg(test)]
mod tests {
    use crate::read;

    #[test]
    fn one_of_it_with_all_that_belongs_to_it() {
        for (caption, expected) in [
            ("three red balloons", "red balloon"),
            ("a cat sleeping", "sleeping cat"),
            ("two bowls of ramen", "bowl of ramen"),
            ("two statues of a king", "statue of a king"),
            ("a cat with blue eyes", "cat with blue eyes"),
            ("a man in a red shirt with a long beard", "man with a long beard wearing a red shirt"),
            ("a woman wearing her straw hat", "woman wearing a straw hat"),
            ("a castle made of cheese", "castle made of cheese"),
            ("The cat is black.", "black cat"),
            ("children playing football", "child playing football"),
            ("a bird flies over a house", "flying bird"),
            ("a gray sofa", "gray sofa"),
            ("two grey sofas", "grey sofa"),
            ("a golden retriever", "golden retriever"),
            ("a colourful house", "colourful house"),
            ("The house is colourful.", "colorful house"),
            ("a blonde woman", "blonde woman"),
            ("a dark grey elephant", "dark grey elephant"),
            ("a rainbow-colored umbrella", "rainbow-colored umbrella"),
            ("three t-shirts", "t-shirt"),
            ("a glass half full of water", "glass half full of water"),
            ("half a watermelon", "half watermelon"),
            ("a pizza with a slice missing", "pizza with a slice missing"),
        ] {
            assert_eq!(read(caption).things[0].description(), expected, "{caption}");
        }
    }
}
