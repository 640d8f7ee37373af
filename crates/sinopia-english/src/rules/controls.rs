//! Commands among the words: `(x:1.2)`, `((x))`, `x++`, `x::2`, `<lora:…>`, `embedding:x`, `--ar 16:9`, `BREAK`, `Steps: 20, …`. They are taken off; the words that they weigh stay.

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
            ')' | ']' => 1 + factor(&rest[1..]),
            '(' | '[' | '{' | '}' => 1,
            '（' | '）' | '【' | '】' => letter.len_utf8(),
            ':' => weight(rest),
            '-' if starts_word(caption, at) => option(rest),
            '+' | '-' => emphasis(caption, at, letter),
            'e' if starts_word(caption, at) || caption[..at].ends_with('(') => embedding(rest),
            'S' if starts_word(caption, at) => parameters(rest),
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

/// Line ends, with the signs and numbers that mark the items of a list: `- a cat`, `2. a dog`, `• a bird`.
pub(crate) fn bullets(caption: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in caption.split_inclusive('\n') {
        let text = line.trim_start();
        let mark = start + line.len() - text.len();
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let numbered =
            (1..3).contains(&digits) && text[digits..].starts_with([')', '.']) && text[digits + 1..].starts_with(' ');
        let sign = text.chars().next().filter(|sign| "-*•–".contains(*sign)).map_or(0, char::len_utf8);
        let len = if numbered { digits + 1 } else { sign };
        if len > 0 && (numbered || text[len..].starts_with(' ')) {
            found.push(mark..mark + len);
        }
        start += line.len();
        if line.ends_with('\n') {
            found.push(start - 1..start);
        }
    }
    found
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

/// `1.3` right behind a closing bracket.
fn factor(rest: &str) -> usize {
    let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let is_number =
        digits > 1 && rest[..digits].contains('.') && rest.starts_with(|letter: char| letter.is_ascii_digit());
    if is_number && !rest[..digits].ends_with('.') { digits } else { 0 }
}

/// `++` and `--` behind a word.
fn emphasis(caption: &str, at: usize, sign: char) -> usize {
    let run = caption[at..].bytes().take_while(|byte| *byte == sign as u8).count();
    let follows_word =
        caption[..at].chars().next_back().is_some_and(|letter| letter.is_alphanumeric() || letter == ')');
    let ends =
        caption[at + run..].chars().next().is_none_or(|letter| letter.is_whitespace() || ",.;)]".contains(letter));
    if follows_word && ends && (sign == '+' || run > 1) { run } else { 0 }
}

/// `Steps: 20, Sampler: Euler a, CFG scale: 7, …`: what programs write below a picture's prompt, to the end of the line.
fn parameters(rest: &str) -> usize {
    let Some(number) = rest.strip_prefix("Steps: ") else { return 0 };
    let is_number = number.starts_with(|letter: char| letter.is_ascii_digit());
    if is_number { rest.find('\n').unwrap_or(rest.len()) } else { 0 }
}

/// `embedding:EasyNegative`.
fn embedding(rest: &str) -> usize {
    const NAME: &str = "embedding:";
    let Some(name) = rest.strip_prefix(NAME) else { return 0 };
    let letters = name.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)).count();
    if letters > 0 { NAME.len() + letters } else { 0 }
}

/// `:1.3` before a closing bracket, `::2` and `::` behind a word.
fn weight(rest: &str) -> usize {
    if let Some(parts) = rest.strip_prefix("::") {
        let sign = usize::from(parts.starts_with('-'));
        return 2 + sign + parts[sign..].bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    }
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
        assert_eq!(texts("cat++, a dog--, (tree)1.3"), ["++", "--", "(", ")1.3"]);
        assert_eq!(texts("a cat::2 a dog::-1"), ["::2", "::-1"]);
        assert_eq!(
            texts("(embedding:bad-hands:1.2), embedding:x"),
            ["(", "embedding:bad-hands", ":1.2", ")", "embedding:x"]
        );
        assert!(texts("a table: a cup - 3 < 4 BREAKFAST, a man (1 + 1) b".replace(['(', ')'], "").as_str()).is_empty());
    }
}
