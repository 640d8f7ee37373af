//! What of a caption is no English grammar: commands, negative prompts, quoted text, other scripts, line ends.

use crate::analysis::{Control, Exclusion, Language, Span};
use crate::rules::negatives::Negative;
use crate::rules::{controls, foreign, language, negatives, quotes};

/// What is no English grammar, and is kept from the parser.
pub(crate) struct Unread {
    pub(crate) controls: Vec<Control>,
    pub(crate) quotes: Vec<Span>,
    pub(crate) negatives: Vec<Negative>,
    foreign: Vec<foreign::Run>,
    /// Line ends and what marks the items of a list; in another language its small words, so that nouns stand alone.
    gaps: Vec<Span>,
}

impl Unread {
    pub(crate) fn find(text: &str, language: Language) -> Self {
        let mut gaps = controls::bullets(text);
        if language == Language::OtherWords {
            gaps.extend(language::small_foreign_words(text));
        }
        let negatives = negatives::find(text);
        let is_read = |span: &Span| !negatives.iter().any(|negative| is_within(span, &negative.span));
        let controls = controls::find(text).into_iter().filter(|control| is_read(&control.span)).collect();
        let mut quotes: Vec<Span> = quotes::find(text).into_iter().filter(is_read).collect();
        if let [quote] = &quotes[..]
            && text[..quote.start].trim().is_empty()
            && text[quote.end..].trim().is_empty()
        {
            // A caption that stands in quotation marks is no text in a picture.
            gaps.extend(marks(text, quote));
            quotes.clear();
        }
        Self { controls, quotes, negatives, foreign: foreign::find(text), gaps }
    }

    /// What pasted negative prompts list.
    pub(crate) fn exclusions(&self, text: &str) -> Vec<Exclusion> {
        self.negatives.iter().flat_map(|negative| negative.exclusions(text)).collect()
    }

    /// Words of another script outside of quotes and commands.
    pub(crate) fn foreign_words(&self) -> Vec<Span> {
        let mut known: Vec<Span> =
            self.controls.iter().map(|control| control.span.clone()).chain(self.quotes.iter().cloned()).collect();
        known.extend(self.negatives.iter().map(|negative| negative.span.clone()));
        known.sort_by_key(|span| span.start);
        let is_known = |run: &Span| {
            let after = known.partition_point(|span| span.start <= run.start);
            after > 0 && known[after - 1].end >= run.end
        };
        let words = self.foreign.iter().filter(|run| run.is_word).map(|run| run.span.clone());
        words.filter(|run| !is_known(run)).collect()
    }

    /// All of them in order and apart.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let controls = self.controls.iter().map(|control| control.span.clone());
        let foreign = self.foreign.iter().map(|run| run.span.clone());
        let negatives = self.negatives.iter().map(|negative| negative.span.clone());
        let mut spans: Vec<Span> = controls
            .chain(negatives)
            .chain(foreign)
            .chain(self.quotes.iter().cloned())
            .chain(self.gaps.iter().cloned())
            .collect();
        spans.sort_by_key(|span| span.start);
        spans.dedup_by(|next, before| {
            let overlaps = next.start < before.end;
            before.end = if overlaps { before.end.max(next.end) } else { before.end };
            overlaps
        });
        spans
    }
}

fn is_within(span: &Span, of: &Span) -> bool {
    span.start >= of.start && span.end <= of.end
}

/// The first and the last letter of a quote.
fn marks(text: &str, quote: &Span) -> [Span; 2] {
    let len = |letter: Option<char>| letter.map_or(0, char::len_utf8);
    let inner = &text[quote.clone()];
    [quote.start..quote.start + len(inner.chars().next()), quote.end - len(inner.chars().next_back())..quote.end]
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn a_caption_in_quotation_marks_is_a_caption() {
        check("\"a red ball\"", &["1 ball"]);
        check("“a cat and a dog”", &["1 cat", "1 dog"]);
    }
}
