//! Commands among the words: `(x:1.2)`, `((x))`, `<lora:…>`, `--ar 16:9`, `BREAK`. They are taken off; the words that they weigh stay.

use std::ops::Range;

use crate::analysis::Control;

/// The commands of a caption, in order and apart.
pub(crate) fn find(caption: &str) -> Vec<Control> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    while let Some(letter) = caption[at..].chars().next() {
        let rest = &caption[at..];
        let len = match letter {
            '<' => angle(rest),
            '(' | ')' | '[' | ']' | '{' | '}' => 1,
            ':' => weight(rest),
            '-' if starts_word(caption, at) => option(rest),
            'B' if starts_word(caption, at) && rest.starts_with("BREAK") => ends_word(rest, "BREAK".len()),
            _ => 0,
        };
        if len > 0 {
            found.push(at..at + len);
            at += len;
        } else {
            at += letter.len_utf8();
        }
    }
    found.into_iter().map(|span| Control { text: caption[span.clone()].to_owned(), span }).collect()
}

fn starts_word(caption: &str, at: usize) -> bool {
    caption[..at].chars().next_back().is_none_or(|letter| letter.is_whitespace() || letter == ',')
}

fn ends_word(rest: &str, len: usize) -> usize {
    if rest[len..].chars().next().is_none_or(|letter| !letter.is_alphanumeric()) { len } else { 0 }
}

/// `<lora:name:0.6>`, at most 100 bytes.
fn angle(rest: &str) -> usize {
    let end = rest.bytes().take(100).position(|byte| byte == b'>').map_or(0, |end| end + 1);
    if rest[1..].starts_with(|letter: char| letter.is_ascii_alphabetic()) { end } else { 0 }
}

/// `:1.3` before a closing bracket.
fn weight(rest: &str) -> usize {
    let digits = rest[1..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    if digits > 0 && rest[1 + digits..].starts_with([')', ']']) { 1 + digits } else { 0 }
}

/// `--ar 16:9`, `--no text`: the option and one value.
fn option(rest: &str) -> usize {
    let Some(name) = rest.strip_prefix("--") else { return 0 };
    let letters = name.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'-').count();
    if letters == 0 {
        return 0;
    }
    let value = &name[letters..];
    let taken = value.strip_prefix(' ').map_or(0, |value| {
        let len = value.bytes().take_while(|byte| !byte.is_ascii_whitespace() && *byte != b',' && *byte < 128).count();
        if len > 0 && !value.starts_with('-') { len + 1 } else { 0 }
    });
    2 + letters + taken
}

#[cfg(test)]
mod tests {
    #[test]
    fn commands_are_found_and_words_stay() {
        let texts = |caption| super::find(caption).into_iter().map(|control| control.text).collect::<Vec<_>>();
        assert_eq!(texts("(a red car:1.3), <lora:x:0.6> --ar 16:9"), ["(", ":1.3", ")", "<lora:x:0.6>", "--ar 16:9"]);
        assert_eq!(texts("a cat BREAK a dog"), ["BREAK"]);
        assert!(texts("a table: a cup - 3 < 4 BREAKFAST").is_empty());
    }
}
