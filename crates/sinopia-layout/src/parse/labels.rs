//! Finds the labels of an answer (`Objects:`, `Background prompt:`, `Negative prompt:`) in any case and any markup.
//!
//! All labels of a text are found at once, so that an answer with many drafts takes no longer than one of the same length with one.

/// A label and where its value starts, as bytes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    /// First byte of the label, its markup included.
    pub(super) start: usize,
    /// First byte after the colon and the markup that closes there.
    pub(super) value_start: usize,
}

const BACKGROUND: &[&str] =
    &["background prompt", "background_prompt", "background", "背景提示词", "背景提示", "背景描述", "背景"];
const NEGATIVE: &[&str] =
    &["negative prompt", "negative_prompt", "negative", "负面提示词", "负面提示", "负向提示词", "反向提示词", "负面"];
/// What stands before a further example of the model's own.
const CAPTION: &[&str] = &["caption", "标题"];
/// What stands before a list of boxes.
const OBJECTS: &[&str] = &["objects", "对象", "物体"];

/// The labels of a text, each kind in order.
#[derive(Debug, Default)]
pub(super) struct Labels {
    background: Found,
    negative: Found,
    captions: Vec<Label>,
    objects: Vec<Label>,
    /// Captions and objects.
    examples: Vec<Label>,
}

/// Labels of one kind: those at the start of a line are meant, and a long name in the middle of a line where there is none.
#[derive(Debug, Default)]
struct Found {
    lines: Vec<Label>,
    anywhere: Vec<Label>,
}

impl Labels {
    pub(super) fn of(text: &str) -> Self {
        let mut labels = Self::default();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let at_start = |names| label_at(line, start, names);
            labels.background.lines.extend(at_start(BACKGROUND));
            labels.negative.lines.extend(at_start(NEGATIVE));
            let (caption, objects) = (at_start(CAPTION), at_start(OBJECTS));
            labels.captions.extend(caption);
            labels.objects.extend(objects);
            labels.examples.extend(caption.or(objects));
            start += line.len();
        }
        labels.background.anywhere = anywhere(text, BACKGROUND[0]);
        labels.negative.anywhere = anywhere(text, NEGATIVE[0]);
        labels
    }

    /// The first background label of a part of the text.
    pub(super) fn background(&self, text: &str, from: usize, end: usize) -> Option<Label> {
        self.background.first(text, from, end)
    }

    /// The first background label at the start of a line.
    pub(super) fn background_line(&self, text: &str, from: usize, end: usize) -> Option<Label> {
        first(&self.background.lines, text, from, end)
    }

    /// The first negative label of a part of the text.
    pub(super) fn negative(&self, text: &str, from: usize, end: usize) -> Option<Label> {
        self.negative.first(text, from, end)
    }

    /// The first negative label at the start of a line.
    pub(super) fn negative_line(&self, text: &str, from: usize, end: usize) -> Option<Label> {
        first(&self.negative.lines, text, from, end)
    }

    /// The last `Objects:` before a place.
    pub(super) fn objects(&self, before: usize) -> Option<Label> {
        let index = self.objects.partition_point(|label| label.value_start <= before);
        index.checked_sub(1).and_then(|index| self.objects.get(index)).copied()
    }

    /// Where the line ends, if a place in it is a part of a caption.
    pub(super) fn end_of_caption(&self, text: &str, offset: usize) -> Option<usize> {
        let kinds = [self.background.meant(), self.negative.meant()];
        let before = |labels: &[Label]| {
            let index = labels.partition_point(|label| label.value_start <= offset);
            index.checked_sub(1).and_then(|index| labels.get(index)).map(|label| label.value_start)
        };
        let value_start = kinds.into_iter().filter_map(before).max()?;
        let end = value_start + text[value_start..].find('\n').unwrap_or(text.len() - value_start);
        let is_behind_objects = before_objects(&text[..offset]) != offset;
        (offset < end && !is_behind_objects).then_some(end)
    }

    /// Where a model goes on with another example of its own, if it does.
    pub(super) fn next_example(&self, text: &str, from: usize) -> Option<usize> {
        first(&self.examples, text, from, text.len()).map(|label| label.start)
    }

    /// The first `Caption:` behind a place.
    pub(super) fn next_caption(&self, text: &str, from: usize) -> Option<usize> {
        first(&self.captions, text, from, text.len()).map(|label| label.start)
    }
}

/// Where the label of a list of boxes begins that a text ends with, which may stand on the line of a caption; the text's end if there is none.
pub(super) fn before_objects(text: &str) -> usize {
    let before = text.trim_end().trim_end_matches([':', '：', '*']);
    let start = OBJECTS.iter().find_map(|name| {
        let start = before.len().checked_sub(name.len())?;
        before.get(start..).filter(|end| end.eq_ignore_ascii_case(name)).map(|_| start)
    });
    start.filter(|_| text.trim_end().ends_with([':', '：', '*'])).unwrap_or(text.len())
}

impl Found {
    /// Those that are meant.
    fn meant(&self) -> &[Label] {
        if self.lines.is_empty() { &self.anywhere } else { &self.lines }
    }

    fn first(&self, text: &str, from: usize, end: usize) -> Option<Label> {
        first(&self.lines, text, from, end).or_else(|| {
            let index = self.anywhere.partition_point(|label| label.start < from);
            self.anywhere.get(index).copied().filter(|label| label.value_start <= end)
        })
    }
}

/// The first of some labels of lines that begin behind `from`; the line of `from` counts if only blanks stand before it.
fn first(labels: &[Label], text: &str, from: usize, end: usize) -> Option<Label> {
    let line = text[..from].trim_end_matches([' ', '\t', '\r']);
    let from = if line.is_empty() || line.ends_with('\n') { line.len() } else { from };
    let index = labels.partition_point(|label| label.start < from);
    labels.get(index).copied().filter(|label| label.value_start <= end)
}

/// The label at the start of a line that begins at byte `start`: behind blanks, bold marks, list marks and a number.
fn label_at(line: &str, start: usize, names: &[&str]) -> Option<Label> {
    let markup = |c: char| c == ' ' || c == '\t' || "*_#>-`".contains(c);
    let unmarked = line.trim_start_matches(markup);
    let numberless = unmarked.trim_start_matches(|c: char| c.is_ascii_digit());
    let unnumbered = match numberless.strip_prefix(['.', ')']) {
        Some(rest) if numberless.len() < unmarked.len() => rest.trim_start_matches(markup),
        _ => unmarked,
    };
    let value = names.iter().find_map(|name| after_name(unnumbered, name, &[':', '：', '=']))?;
    let is_marked = line[..line.len() - unnumbered.len()].contains(['*', '_', '`']);
    let value = if is_marked { value.trim_start_matches(['*', '_', '`']) } else { value };
    Some(Label { start, value_start: start + line.len() - value.len() })
}

/// `name:` wherever it stands, with the bold marks around it.
fn anywhere(text: &str, name: &str) -> Vec<Label> {
    let first = name.chars().next().unwrap_or_default();
    let mut labels = Vec::new();
    for (start, _) in text.match_indices([first, first.to_ascii_uppercase()]) {
        if let Some(value) = after_name(&text[start..], name, &[':', '：']) {
            let before = text[..start].trim_end_matches('*');
            let is_marked = before.len() < start;
            let value = if is_marked { value.trim_start_matches('*') } else { value };
            labels.push(Label { start: before.len(), value_start: text.len() - value.len() });
        }
    }
    labels
}

/// What follows `name`, closing bold marks and one of the colons.
fn after_name<'a>(text: &'a str, name: &str, colons: &[char]) -> Option<&'a str> {
    let head = text.get(..name.len())?;
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    text[name.len()..].trim_start_matches([' ', '*', '_', '`']).strip_prefix(colons)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let value = Labels::of(text).background(text, 0, text.len()).map(|label| text[label.value_start..].trim());
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
        check("Background prompt：a beach", Some("a beach"));
        check("background_prompt = a beach", Some("a beach"));
        check("背景提示：田野", Some("田野"));
        check("a background: a beach", None);
        check("no label", None);
        check("", None);
    }

    #[test]
    fn a_line_start_is_better_than_the_middle_of_a_line() {
        check("the background prompt: is below\nBackground prompt: a beach", Some("a beach"));
    }

    #[test]
    fn a_label_is_looked_for_in_a_part_of_the_text() {
        let text = "Background: a\n  Background: b\n[] Background prompt: c\nCaption: d\nObjects: []";
        let labels = Labels::of(text);
        let value = |from: usize, end: usize| {
            labels.background(text, from, end).map(|label| text[label.value_start..].trim_start().chars().next())
        };
        assert_eq!(value(0, text.len()), Some(Some('a')));
        assert_eq!(value(13, text.len()), Some(Some('b')));
        assert_eq!(value(15, text.len()), Some(Some('b')), "only blanks before it");
        assert_eq!(value(18, text.len()), Some(Some('c')));
        assert_eq!(value(0, 5), None);
        assert_eq!(labels.next_example(text, 20), text.find("Caption"));
        assert_eq!(labels.next_caption(text, 20), text.find("Caption"));
    }
}
