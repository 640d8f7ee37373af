//! Prompts with weights, as the web UIs and ComfyUI read them: `(word:1.2)` is a word that counts more. Here all words count the same.

/// A prompt in plain words, and what was taken out of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plain {
    pub(super) text: String,
    /// Whether a word had a weight.
    pub(super) had_weights: bool,
    /// Tags such as `<lora:name:0.8>`.
    pub(super) tags: Vec<String>,
}

/// Whose brackets a prompt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Syntax {
    /// The web UIs': parentheses, square brackets, tags.
    #[default]
    WebUi,
    /// ComfyUI's: parentheses alone; the others are text.
    ComfyUi,
}

/// Takes weights and tags out of `prompt`. Brackets that are part of the text (`\(`) stay.
pub(super) fn plain(prompt: &str, syntax: Syntax) -> Plain {
    let is_web_ui = syntax == Syntax::WebUi;
    let mut plain = Plain::default();
    let mut rest = prompt;
    // How many of each bracket are open: one that was never opened is part of the text.
    let mut open: Vec<char> = Vec::new();
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        match next {
            '\\' if after.starts_with(['(', ')']) || is_web_ui && after.starts_with(['[', ']', '\\']) => {
                plain.text.push_str(&after[..1]);
                rest = &after[1..];
                continue;
            }
            '(' => open.push(')'),
            // `[a:b:0.5]` and `[a|b]` change in the course of the steps; they stay as they are.
            '[' if is_web_ui && is_weakened(after) => open.push(']'),
            ')' | ']' if open.last() == Some(&next) => {
                open.pop();
                plain.had_weights = true;
            }
            ':' if open.last() == Some(&')') && weight_length(after).is_some() => {
                rest = &after[weight_length(after).unwrap_or_default()..];
                continue;
            }
            '<' if is_web_ui && tag_length(rest).is_some() => {
                let (tag, after) = rest.split_at(tag_length(rest).unwrap_or(1));
                plain.tags.push(tag.to_owned());
                rest = after;
                continue;
            }
            _ => plain.text.push(next),
        }
        rest = after;
    }
    plain.text = tidy(&plain.text);
    plain
}

/// Whether the bracket that opened before `text` closes around plain words.
fn is_weakened(text: &str) -> bool {
    near(text).split_once(']').is_some_and(|(inside, _)| !inside.contains([':', '|']))
}

/// Bytes of the number that ends at a closing bracket, if `text` begins with one.
fn weight_length(text: &str) -> Option<usize> {
    let (number, _) = near(text).split_once(')')?;
    number.trim().parse::<f64>().is_ok().then_some(number.len())
}

/// Bytes of the tag that `text` begins with, as in `<lora:name:0.8>`.
fn tag_length(text: &str) -> Option<usize> {
    let kinds = ["<lora:", "<lyco:", "<hypernet:"];
    kinds.iter().any(|kind| text.starts_with(kind)).then(|| near(text).find('>').map(|end| end + 1)).flatten()
}

/// The next characters of `text`: weights, tags and weakened words are short, and each bracket of a long text looks for its other end.
fn near(text: &str) -> &str {
    const CHARS: usize = 200;
    text.char_indices().nth(CHARS).map_or(text, |(end, _)| &text[..end])
}

/// Without doubled blanks and commas, which tags leave behind.
fn tidy(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let parts: Vec<&str> = words.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_go_and_words_stay() {
        for (prompt, expected) in [
            ("a red car, (green apple:1.2), in a field", "a red car, green apple, in a field"),
            ("((masterpiece)), [blurry] (a (big:1.1) dog:0.9)", "masterpiece, blurry a big dog"),
            (r"a cat \(sitting\)", "a cat (sitting)"),
            ("a smile :) and more", "a smile :) and more"),
            ("at 10:30 (a clock: round)", "at 10:30 a clock: round"),
            ("[a cat:a dog:0.5] runs", "[a cat:a dog:0.5] runs"),
            ("a dog <lora:fluffy:0.8>, <3 , ,sun", "a dog, <3, sun"),
            ("(unclosed", "unclosed"),
            ("", ""),
        ] {
            assert_eq!(plain(prompt, Syntax::WebUi).text, expected, "{prompt}");
        }
        let found = plain("(a:1.3) <lora:x:1> <hypernet:y:1>", Syntax::WebUi);
        assert!(found.had_weights && found.tags == ["<lora:x:1>", "<hypernet:y:1>"], "{found:?}");
        assert!(!plain("a :) b", Syntax::WebUi).had_weights);
        let literal = r"[blurry] <lora:x:1> \[a\] (b)";
        assert_eq!(plain(&format!("{literal} (c:2)"), Syntax::ComfyUi).text, literal.replace("(b)", "b c"));
    }
}
