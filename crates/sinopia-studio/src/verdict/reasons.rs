//! Why a layout has the boxes that it has, in a line each.

use sinopia_layout::nouns::plural;

use super::Program;
use super::answers::{definite, relation_words};

impl Program {
    /// What each box is there for, in the layout's order, then what is left out: `a red apple: 1 of 2 apples, red; to the left of the cat`. It tells of what the caption and the layout
    /// say, whoever planned it.
    pub fn reasons(&self) -> Vec<String> {
        let boxes = self.objects().iter().enumerate().map(|(index, object)| {
            let mut why = vec![self.count_words(index)];
            if !object.colours.is_empty() {
                why.push(object.colours.join(" or "));
            }
            let stands = self.relations().iter().filter(|relation| relation.subject == index).filter_map(|relation| {
                let to = self.objects().get(relation.object)?;
                Some(format!("{} {}", relation_words(relation.relation)?, definite(&to.phrase)))
            });
            let mut stands: Vec<String> = stands.collect();
            stands.dedup();
            let stands = if stands.is_empty() { String::new() } else { format!("; {}", stands.join(", ")) };
            format!("{}: {}{stands}", object.phrase, why.join(", "))
        });
        let excluded = self.excluded().iter().map(|thing| format!("left out: {}", thing.phrase));
        boxes.chain(excluded).collect()
    }

    /// `1 of 2 apples`, `the one cat`: which of its kind a box is.
    fn count_words(&self, index: usize) -> String {
        let object = &self.objects()[index];
        let name = &self.kinds()[object.kind].name;
        let alike = || self.objects().iter().enumerate().filter(|(_, other)| other.kind == object.kind);
        match (object.is_several, alike().count()) {
            (true, _) => format!("several {}", plural(name)),
            (false, 1) => format!("the one {name}"),
            (false, all) => {
                let number = alike().filter(|(other, _)| *other <= index).count();
                format!("{number} of {all} {}", plural(name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_box_says_what_it_is_there_for() {
        let layout = sinopia_layout::parse_answer(
            "[('a red apple', [10, 200, 90, 90]), ('a red apple', [120, 200, 90, 90]), ('a cat', [300, 100, 150, 200])]\n\
             Background prompt: A room\nNegative prompt: ",
        )
        .unwrap();
        let program = Program::compile(&layout, Some("two red apples to the left of a cat, no dogs"));
        assert_eq!(
            program.reasons(),
            [
                "a red apple: 1 of 2 apples, red; to the left of the cat",
                "a red apple: 2 of 2 apples, red; to the left of the cat",
                "a cat: the one cat",
                "left out: dogs",
            ]
        );
    }
}
