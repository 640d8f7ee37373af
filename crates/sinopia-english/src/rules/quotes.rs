//! Text in quotation marks: `a sign that says "OPEN"`. It is no grammar, so the parser does not see it.

use std::ops::Range;

/// Most bytes between quotation marks.
const LONGEST: usize = 200;

/// The quoted texts of a caption with their marks, in order and apart.
pub(crate) fn find(caption: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Option<(usize, char)> = None;
    let mut before = ' ';
    let mut letters = caption.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let after = letters.peek().map_or(' ', |(_, letter)| *letter);
        match open {
            Some((start, closing)) if letter == closing && (closing != '\'' || !after.is_alphanumeric()) => {
                if at > start + 1 {
                    found.push(start..at + letter.len_utf8());
                }
                open = None;
            }
            Some((start, _)) if at - start > LONGEST => open = None,
            None => {
                let closing = match letter {
                    '"' => Some('"'),
                    '“' | '„' => Some('”'),
                    '«' => Some('»'),
                    '\'' if !before.is_alphanumeric() && after.is_alphanumeric() => Some('\''),
                    _ => None,
                };
                open = closing.map(|closing| (at, closing));
            }
            _ => {}
        }
        before = letter;
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_are_found_and_apostrophes_are_none() {
        let texts =
            |caption: &'static str| super::find(caption).into_iter().map(|span| &caption[span]).collect::<Vec<_>>();
        assert_eq!(texts("a sign \"OPEN\" and “x y”"), ["\"OPEN\"", "“x y”"]);
        assert_eq!(texts("a 'SALE' sign"), ["'SALE'"]);
        assert!(texts("the bird's nest of the dogs' owner").is_empty());
    }
}
