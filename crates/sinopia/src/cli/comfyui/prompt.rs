//! What ComfyUI reads out of a prompt before its text encoder does: weights in parentheses, choices in braces, comments.

/// A prompt for CLIP without its markup.
#[derive(Debug, PartialEq)]
pub(super) struct Plain {
    pub(super) text: String,
    /// Whether parts of it had a weight, which counts for nothing here.
    pub(super) is_weighted: bool,
}

/// Takes the weights out of a prompt: `(a car:1.2)` and `(a car)` are `a car`, `\(` is a parenthesis. What does not close stays as it is.
pub(super) fn unweighted(prompt: &str) -> Plain {
    let (mut text, mut is_weighted) = (String::with_capacity(prompt.len()), false);
    let mut open: Vec<usize> = Vec::new();
    let mut chars = prompt.chars().peekable();
    while let Some(char) = chars.next() {
        match (char, open.last()) {
            ('\\', _) if matches!(chars.peek(), Some('(' | ')')) => text.extend(chars.next()),
            ('(', _) => open.push(text.len()),
            (')', Some(start)) => {
                let weight = text[*start..].rsplit_once(':').filter(|(_, weight)| weight.trim().parse::<f64>().is_ok());
                let end = weight.map(|(words, _)| start + words.len());
                text.truncate(end.unwrap_or(text.len()));
                open.pop();
                is_weighted = true;
            }
            (char, _) => text.push(char),
        }
    }
    restore(&mut text, &open, '(');
    Plain { text, is_weighted }
}

/// A prompt that ComfyUI reads as it is: its parentheses are no weights.
pub(super) fn escaped(prompt: &str) -> String {
    prompt.replace('(', r"\(").replace(')', r"\)")
}

/// A text as the page hands it on, with the first of each choice, and whether there was any: `{a|b} car // later` is `a car`.
pub(super) fn chosen(text: &str) -> (String, bool) {
    let text = uncommented(text);
    let (mut out, mut has_choice) = (String::with_capacity(text.len()), false);
    // Where each open brace stands in `out`, and where its first alternative ends.
    let mut open: Vec<(usize, Option<usize>)> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let length = out.len();
        match (char, open.last_mut()) {
            ('\\', _) if matches!(chars.peek(), Some('{' | '}')) => out.extend(chars.next()),
            ('{', _) => open.push((length, None)),
            ('|', Some((_, end @ None))) => {
                *end = Some(length);
                out.push('|');
            }
            ('}', Some((_, end))) => {
                has_choice |= end.is_some();
                out.truncate(end.unwrap_or(length));
                open.pop();
            }
            (char, _) => out.push(char),
        }
    }
    restore(&mut out, &open.iter().map(|(start, _)| *start).collect::<Vec<_>>(), '{');
    (out, has_choice)
}

/// Puts back what was opened and never closed.
fn restore(text: &mut String, open: &[usize], char: char) {
    if open.is_empty() {
        return;
    }
    let mut restored = String::with_capacity(text.len() + open.len());
    let mut from = 0;
    for start in open {
        restored.push_str(&text[from..*start]);
        restored.push(char);
        from = *start;
    }
    restored.push_str(&text[from..]);
    *text = restored;
}

/// Without `/* … */` and `// …`.
fn uncommented(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('/') {
        let (before, comment) = rest.split_at(start);
        let end = match comment.as_bytes().get(1) {
            Some(b'/') => Some(comment.find('\n').unwrap_or(comment.len())),
            Some(b'*') => comment[2..].find("*/").map(|end| end + 4),
            _ => None,
        };
        out.push_str(before);
        match end {
            Some(end) => rest = &comment[end..],
            None => {
                out.push('/');
                rest = &comment[1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_taken_out() {
        for (prompt, expected, is_weighted) in [
            ("a red car", "a red car", false),
            ("(masterpiece), (full body:1.2),chibi", "masterpiece, full body,chibi", true),
            ("((a cat:1.3) in a hat:0.5)", "a cat in a hat", true),
            (r"a car \(old\)", "a car (old)", false),
            ("at 10:30 (sunset: red)", "at 10:30 sunset: red", true),
            ("a (b", "a (b", false),
            ("a) b (c) (d", "a) b c (d", true),
            ("ein (größerer: 1.1 ) Hund", "ein größerer Hund", true),
        ] {
            assert_eq!(unweighted(prompt), Plain { text: expected.to_owned(), is_weighted }, "{prompt}");
        }
    }

    #[test]
    fn what_is_escaped_is_read_as_it_was() {
        for prompt in ["a car (old)", "(a (b:1.2)", r"a \ b"] {
            assert_eq!(unweighted(&escaped(prompt)), Plain { text: prompt.to_owned(), is_weighted: false });
        }
    }

    #[test]
    fn the_first_of_each_choice_is_taken_and_comments_are_not_read() {
        for (text, expected, has_choice) in [
            ("a {red|blue} car", "a red car", true),
            ("a {big {red|green}|small} car", "a big red car", true),
            ("a {red} car", "a red car", false),
            (r"a \{red|blue\} car", "a {red|blue} car", false),
            ("a | b {c", "a | b {c", false),
            ("a car // not a bus\non a /* long */ road", "a car \non a  road", false),
            ("and/or /* open", "and/or /* open", false),
        ] {
            assert_eq!(chosen(text), (expected.to_owned(), has_choice), "{text}");
        }
    }

    #[test]
    fn much_markup_ends() {
        let deep = "(".repeat(100_000) + &"{".repeat(100_000) + &"|".repeat(100_000);
        assert_eq!(unweighted(&deep).text, deep);
        assert_eq!(chosen(&deep).0, deep);
    }
}
