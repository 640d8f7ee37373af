//! Text from elsewhere, made fit for a terminal.
//!
//! Captions, layouts, answers and recipes come from files, servers and other people's images. An escape sequence in one could move the cursor,
//! colour the rest of the session or pretend to be a message of this program.

use std::io::Write;

/// Longest line of a message. What is longer was not written to be read.
const MAX_LINE_CHARS: usize = 4000;

/// `text` with its lines kept and everything else that a terminal would obey written out, as in JSON: `\u001b`. JSON stays the same value.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| if c == '\n' { shown.push(c) } else { push_visible(&mut shown, c) });
    shown
}

/// The same on one line: line breaks are written out too.
pub(crate) fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|c| push_visible(&mut shown, c));
    shown
}

/// A message of any number of lines: escaped, and no line endless.
pub(crate) fn message(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(|line| sinopia_layout::excerpt(line, MAX_LINE_CHARS)).collect();
    escaped(&lines.join("\n"))
}

/// A line on stderr. If nobody reads it any more, it is lost, and no work ends for that.
pub(crate) fn tell(line: &str) {
    writeln!(std::io::stderr().lock(), "{line}").ok();
}

fn push_visible(shown: &mut String, c: char) {
    match c {
        '\n' => shown.push_str("\\n"),
        '\t' => shown.push(' '),
        c if is_obeyed(c) => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => shown.push(c),
    }
}

/// Control characters, and those that turn the direction of writing, which can make a text look like another.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(escaped("a\u{1b}[31mred\u{7}\n\tcat\r"), "a\\u001b[31mred\\u0007\n cat\\u000d");
        assert_eq!(one_line("a\nb \u{9b}2J \u{202e}c"), "a\\nb \\u009b2J \\u202ec");
        assert_eq!(escaped("ein Hund – 犬 👩\u{200d}🚀"), "ein Hund – 犬 👩\u{200d}🚀");
    }

    #[test]
    fn json_keeps_its_value() {
        let value = serde_json::json!({ "caption": "a\u{7f}\u{9b}\u{202e}\u{1b}\tcat\n" });
        let shown = escaped(&format!("{value:#}"));
        assert!(!shown.contains(['\u{7f}', '\u{9b}', '\u{202e}']), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn no_line_of_a_message_is_endless() {
        let shown = message(&format!("one\n{}\nthree", "x".repeat(100_000)));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!((lines[0], lines[1].chars().count(), lines[2]), ("one", MAX_LINE_CHARS, "three"));
    }
}
