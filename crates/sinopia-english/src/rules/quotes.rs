//! Text in quotation marks: `a sign that says "OPEN"`. It is no grammar, so the parser does not see it.

use std::ops::Range;

/// Most bytes between quotation marks.
const LONGEST: usize = 200;

/// The quoted texts of a caption with their marks, in order and apart.
pub(crate) fn find(caption: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut open: Option<(usize, &str)> = None;
    let mut before = ' ';
    let mut letters = caption.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let after = letters.peek().map_or(' ', |(_, letter)| *letter);
        match open {
            // An apostrophe within a word does not close.
            Some((start, closing))
                if closing.contains(letter) && !(is_apostrophe(letter) && after.is_alphanumeric()) =>
            {
                if at > start + caption[start..].chars().next().map_or(0, char::len_utf8)
                    && !is_contraction(&caption[start..at])
                {
                    found.push(start..at + letter.len_utf8());
                }
                open = None;
            }
            Some((start, _)) if at - start > LONGEST => open = None,
            None => open = closing_of(letter, before, &caption[at..]).map(|closing| (at, closing)),
            _ => {}
        }
        before = letter;
    }
    found
}

fn is_apostrophe(letter: char) -> bool {
    matches!(letter, '\'' | '’' | '‘')
}

/// The marks that close what `letter` opens. An apostrophe opens only before a word that begins with it, and no decade (`'90s`).
fn closing_of(letter: char, before: char, rest: &str) -> Option<&'static str> {
    let mut inner = rest.chars().skip(1);
    let (first, second) = (inner.next().unwrap_or(' '), inner.next().unwrap_or(' '));
    let opens_word =
        !before.is_alphanumeric() && first.is_alphanumeric() && !(first.is_ascii_digit() && second.is_ascii_digit());
    Some(match letter {
        '"' => "\"”",
        '“' => "”\"",
        '„' => "“”\"",
        '«' => "»",
        '»' => "«",
        '‹' => "›",
        '「' => "」",
        '『' => "』",
        '《' => "》",
        '‚' => "‘’",
        '`' if opens_word => "`'",
        '‘' if opens_word => "’'",
        '’' if opens_word => "’",
        '\'' if opens_word => "'",
        _ => return None,
    })
}

/// `rock 'n' roll`.
fn is_contraction(opened: &str) -> bool {
    matches!(opened.trim_start_matches(is_apostrophe), "n" | "N")
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_are_found_and_apostrophes_are_none() {
        let texts =
            |caption: &'static str| super::find(caption).into_iter().map(|span| &caption[span]).collect::<Vec<_>>();
        assert_eq!(texts("a sign \"OPEN\" and “x y”"), ["\"OPEN\"", "“x y”"]);
        assert_eq!(texts("a 'SALE' sign"), ["'SALE'"]);
        assert_eq!(
            texts("‘OPEN’, „ZU“, «VIDE», 「開」, it’s ‘Joe’s bar’"),
            ["‘OPEN’", "„ZU“", "«VIDE»", "「開」", "‘Joe’s bar’"]
        );
        assert!(texts("rock 'n' roll of the '90s and '80s").is_empty());
        assert!(texts("the bird's nest of the dogs' owner").is_empty());
    }
}
