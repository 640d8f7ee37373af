//! What a model says to whoever asked it: its answer without the thoughts before it, without channels, without what it wrote after the end of its turn.
//!
//! What is no part of the answer becomes blank, byte for byte, so that places stay where they are.

use std::borrow::Cow;
use std::ops::Range;

use crate::literal::Fault;

/// What stands around thoughts, by the models that write it: DeepSeek, Qwen and most others, Claude, Gemini, Mistral, Kimi, Seed.
const THOUGHTS: [(&str, &str); 9] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
];

/// What ends a model's turn; servers that do not know a model's template let it through, and what the model goes on to write.
const TURN_ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<end_of_turn>",
    "</s>",
];

/// Marks that stand around an answer or a part of it.
const MARKS: [&str; 9] = [
    "<answer>",
    "</answer>",
    "<output>",
    "</output>",
    "<|begin_of_box|>",
    "<|end_of_box|>",
    "<|begin_of_solution|>",
    "<|end_of_solution|>",
    "<s>",
];

/// Channels of gpt-oss: a name, and what is said in it.
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
/// What ends a message of a channel.
const MESSAGE_ENDS: [&str; 4] = ["<|end|>", "<|return|>", "<|call|>", "<|start|>"];
/// The last channel where the marks of all of them were lost.
const BARE_FINAL: &str = "assistantfinal";

/// The answer in a text, everything else blank.
///
/// # Errors
/// A fault if there are thoughts and nothing else.
pub(super) fn spoken(text: &str) -> Result<Cow<'_, str>, Fault> {
    let said = match channels(text) {
        Some(said) => said,
        None => Cow::Borrowed(text),
    };
    let said = one_turn(without_thoughts(said));
    if said.trim().is_empty() && !text.trim().is_empty() {
        return Err(Fault::new(
            0,
            "there are thoughts in it and no answer: it ends before the model has said anything else",
        ));
    }
    Ok(said)
}

/// The last message of the channel `final`; blank if there are channels, and not this one.
fn channels(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(CHANNEL) {
        let bare = text.trim_start().starts_with("analysis").then(|| text.rfind(BARE_FINAL)).flatten()?;
        return Some(only(text, bare + BARE_FINAL.len()..text.len()));
    }
    let mut last = 0..0;
    let mut start = 0;
    for section in text.split(CHANNEL) {
        let message = section.trim_start().starts_with("final").then(|| section.find(MESSAGE)).flatten();
        if let Some(message) = message.filter(|_| start > 0) {
            let said = message + MESSAGE.len();
            let end = MESSAGE_ENDS.iter().filter_map(|mark| section[said..].find(mark)).min();
            last = start + said..start + end.map_or(section.len(), |end| said + end);
        }
        start += section.len() + CHANNEL.len();
    }
    Some(only(text, last))
}

/// Thoughts are blank: what stands between their marks, before a mark that closes and was never opened, and after one that is never closed.
fn without_thoughts(text: Cow<'_, str>) -> Cow<'_, str> {
    let mut blanks = Vec::new();
    let mut thinking_since = None;
    let mut said_from = 0;
    for (offset, tag, is_open) in thought_marks(&text) {
        let behind = offset + tag.len();
        match (is_open, thinking_since) {
            (true, None) => thinking_since = Some(offset),
            (true, Some(_)) => {}
            (false, Some(start)) => {
                blanks.push(start..behind);
                thinking_since = None;
                said_from = behind;
            }
            // The template of the model has opened it; all that was said since the last thought was one, too.
            (false, None) => {
                blanks.push(said_from..behind);
                said_from = behind;
            }
        }
    }
    blanks.extend(thinking_since.map(|start| start..text.len()));
    blanked(text, &blanks)
}

/// The marks of thoughts in their order: where, which, and whether it opens.
fn thought_marks(text: &str) -> Vec<(usize, &'static str, bool)> {
    let mut marks = Vec::new();
    for (offset, _) in text.match_indices(['<', '[', '◁']) {
        let rest = &text[offset..];
        let mark = THOUGHTS.iter().find_map(|(open, close)| match () {
            () if rest.starts_with(open) => Some((*open, true)),
            () if rest.starts_with(close) => Some((*close, false)),
            () => None,
        });
        marks.extend(mark.map(|(tag, is_open)| (offset, tag, is_open)));
    }
    marks
}

/// What was said until the end of the turn; marks around it are blank.
fn one_turn(text: Cow<'_, str>) -> Cow<'_, str> {
    let mut blanks = Vec::new();
    let mut has_spoken = false;
    let mut seen = 0;
    for (offset, _) in text.match_indices('<') {
        has_spoken |= !text[seen..offset].trim().is_empty();
        seen = offset;
        let starts = |mark: &&&str| text[offset..].starts_with(**mark);
        if has_spoken && TURN_ENDS.iter().any(|mark| starts(&mark)) {
            blanks.push(offset..text.len());
            break;
        }
        match TURN_ENDS.iter().chain(&MARKS).find(starts) {
            Some(mark) => {
                seen = offset + mark.len();
                blanks.push(offset..seen);
            }
            None => has_spoken = true,
        }
    }
    blanked(text, &blanks)
}

/// Nothing but a range.
fn only(text: &str, range: Range<usize>) -> Cow<'_, str> {
    blanked(Cow::Borrowed(text), &[0..range.start, range.end..text.len()])
}

/// The text with these ranges blank: as many bytes, and the same lines.
fn blanked<'a>(text: Cow<'a, str>, ranges: &[Range<usize>]) -> Cow<'a, str> {
    if ranges.iter().all(Range::is_empty) {
        return text;
    }
    let mut said = String::with_capacity(text.len());
    let mut end = 0;
    for range in ranges {
        said.push_str(&text[end..range.start.max(end)]);
        said.extend(text[range.start.max(end)..range.end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        end = range.end;
    }
    said.push_str(&text[end..]);
    Cow::Owned(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let said = spoken(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!((said.trim(), said.len()), (expected, text.len()), "{text}");
    }

    #[test]
    fn thoughts_are_no_answer() {
        for text in [
            "yes",
            "<think>no</think>yes",
            "<think>\nno <think>no\n</think>\n\nyes",
            "no</think>yes",
            "<thinking>nö</thinking>yes<reflection>no</reflection>",
            "yes<think>no",
            "[THINK]no[/THINK] yes",
            "◁think▷no◁/think▷yes",
            "<think></think><answer>yes</answer>",
            "no</think>no</think>yes",
        ] {
            check(text, "yes");
        }
        check("yes<think>no</think>", "yes");
        check("a < b and <b>", "a < b and <b>");
        assert!(spoken("<think>no").unwrap_err().message.contains("thoughts"));
    }

    #[test]
    fn the_final_channel_is_the_answer() {
        for text in [
            "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>yes",
            "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>yes<|return|>",
            "<|channel|>final<|message|>no<|end|><|channel|>final<|message|>yes<|end|>no",
            "analysisThe user wants no.assistantfinalyes",
        ] {
            check(text, "yes");
        }
        assert!(spoken("<|channel|>analysis<|message|>no").is_err());
    }

    #[test]
    fn a_turn_ends_once() {
        check("yes<|im_end|>\n<|im_start|>user\nno", "yes");
        check("<|end|> yes</s></s>", "yes");
        check("<s>yes", "yes");
        assert_eq!(spoken("a\n<think>é\n</think>b").unwrap(), "a\n         \n        b");
    }

    #[test]
    fn many_marks_take_little_time() {
        for mark in ["<think>", "</think>", "<|channel|>final", "<|im_end|>", "<", "<|channel|>final<|message|>"] {
            let _ = spoken(&mark.repeat(200_000 / mark.len()));
        }
    }
}
