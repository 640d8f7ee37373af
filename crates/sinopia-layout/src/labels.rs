//! Finds the labels of an answer (`Objects:`, `Background prompt:`, `Negative prompt:`) in any case and any markup.

/// A label and where its value starts, as bytes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label {
    /// First byte of the label, its markup included.
    pub(crate) start: usize,
    /// First byte after the colon and the markup that closes there.
    pub(crate) value_start: usize,
}

const BACKGROUND: &[&str] = &["background prompt", "background"];
const NEGATIVE: &[&str] = &["negative prompt", "negative"];

/// The first `Objects:` at the start of a line.
pub(crate) fn objects(text: &str) -> Option<Label> {
    at_line_start(text, 0, &["objects"])
}

/// The first background label from `from` on: best at the start of a line, else `Background prompt:` anywhere.
pub(crate) fn background(text: &str, from: usize) -> Option<Label> {
    background_line(text, from).or_else(|| anywhere(text, from, BACKGROUND[0]))
}

/// The first background label at the start of a line.
pub(crate) fn background_line(text: &str, from: usize) -> Option<Label> {
    at_line_start(text, from, BACKGROUND)
}

/// The first negative label from `from` on: best at the start of a line, else `Negative prompt:` anywhere.
pub(crate) fn negative(text: &str, from: usize) -> Option<Label> {
    negative_line(text, from).or_else(|| anywhere(text, from, NEGATIVE[0]))
}

/// The first negative label at the start of a line.
pub(crate) fn negative_line(text: &str, from: usize) -> Option<Label> {
    at_line_start(text, from, NEGATIVE)
}

/// Where a model goes on with another example of its own, if it does.
pub(crate) fn next_example(text: &str, from: usize) -> Option<usize> {
    at_line_start(text, from, &["objects", "caption"]).map(|label| label.start)
}

/// Lines that begin behind `from`, and the rest of the line of `from` if only blanks stand before it.
fn at_line_start(text: &str, from: usize, names: &[&str]) -> Option<Label> {
    let mut start = match text[..from].rfind('\n') {
        Some(newline) if text[newline..from].trim().is_empty() => newline + 1,
        None if text[..from].trim().is_empty() => 0,
        _ => from + text[from..].find('\n')? + 1,
    };
    loop {
        if let Some(label) = names.iter().find_map(|name| label_at(text, start, name)) {
            return Some(label);
        }
        start += text[start..].find('\n')? + 1;
    }
}

/// The label `name:` at `start`, behind blanks, bold marks, list marks and a number.
fn label_at(text: &str, start: usize, name: &str) -> Option<Label> {
    let line = text[start..].lines().next()?;
    let markup = |c: char| c == ' ' || c == '\t' || "*_#>-`".contains(c);
    let unmarked = line.trim_start_matches(markup);
    let numberless = unmarked.trim_start_matches(|c: char| c.is_ascii_digit());
    let unnumbered = match numberless.strip_prefix(['.', ')']) {
        Some(rest) if numberless.len() < unmarked.len() => rest.trim_start_matches(markup),
        _ => unmarked,
    };
    let value = after_name(unnumbered, name)?;
    let is_marked = line[..line.len() - unnumbered.len()].contains(['*', '_', '`']);
    let value = if is_marked { value.trim_start_matches(['*', '_', '`']) } else { value };
    Some(Label { start, value_start: start + line.len() - value.len() })
}

/// `name:` wherever it first stands, with the bold marks around it.
fn anywhere(text: &str, from: usize, name: &str) -> Option<Label> {
    let starts = text[from..].char_indices().map(|(offset, _)| from + offset);
    for start in starts {
        if let Some(value) = after_name(&text[start..], name) {
            let before = text[..start].trim_end_matches('*');
            let is_marked = before.len() < start;
            let value = if is_marked { value.trim_start_matches('*') } else { value };
            return Some(Label { start: before.len().max(from), value_start: text.len() - value.len() });
        }
    }
    None
}

/// What follows `name`, closing bold marks and a colon.
fn after_name<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let head = text.get(..name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    text[name.len()..].trim_start_matches([' ', '*', '_', '`']).strip_prefix(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let value = background(text, 0).map(|label| text[label.value_start..].trim());
        assert_eq!(value, expected, "{text}");
    }

    #[test]
    fn labels_in_any_dress() {
        check("Background prompt: a beach", Some("a beach"));
        check("BACKGROUND PROMPT : a beach", Some("a beach"));
        check("[]\n  **Background prompt:** a beach", Some("a beach"));
        check("**Background prompt**: a beach", Some("a beach"));
        check("### Background: a beach", Some("a beach"));
        check("2. Background prompt: a beach", Some("a beach"));
        check("[] Background prompt: a beach", Some("a beach"));
        check("[] **Background prompt:** a beach", Some("a beach"));
        check("Background prompt: *a* beach", Some("*a* beach"));
        check("a background: a beach", None);
        check("no label", None);
        check("", None);
    }

    #[test]
    fn a_line_start_is_better_than_the_middle_of_a_line() {
        check("the background prompt: is below\nBackground prompt: a beach", Some("a beach"));
    }
}
