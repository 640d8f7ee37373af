//! What an import tells: a sentence for each thing that is lost or changed, and no more sentences than a person reads.

/// Most sentences of an import; a file of thousands of broken boxes is told by its first ones and their number.
const MAX_NOTES: usize = 40;

/// Sentences, and how many more there were.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lines: Vec<String>,
    more: usize,
}

impl Notes {
    pub(super) fn add(&mut self, line: impl Into<String>) {
        self.add_with(|| line.into());
    }

    /// Adds a sentence that takes work to write, if it is kept.
    pub(super) fn add_with(&mut self, line: impl FnOnce() -> String) {
        if self.lines.len() < MAX_NOTES {
            self.lines.push(line());
        } else {
            self.more += 1;
        }
    }

    pub(super) fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more of this kind", self.more));
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted() {
        let mut notes = Notes::default();
        (0..MAX_NOTES + 3).for_each(|number| notes.add(format!("note {number}")));
        let lines = notes.into_lines();
        assert_eq!((lines.len(), lines.last().map(String::as_str)), (MAX_NOTES + 1, Some("and 3 more of this kind")));
    }
}
