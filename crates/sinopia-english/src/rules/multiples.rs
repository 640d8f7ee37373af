//! `three children, each holding a cone`: as many cones as children.

use super::phrase::Determiner;
use super::subjects;
use crate::analysis::Count;
use crate::reading::{Reading, Role};

/// Multiplies what each of several has one of.
pub(crate) fn multiply(reading: &mut Reading) {
    for entry in 0..reading.entries.len() {
        let found = &reading.entries[entry];
        let Some(link) = found.governor.filter(|_| found.role == Role::Thing) else { continue };
        let start = reading.links[link].words.start;
        let before = reading.sentence.before(start);
        // `each plate has a fish`
        let is_of_each = start.checked_sub(1).and_then(|at| reading.entry_of_word[at]).is_some_and(|named| {
            let named = &reading.entries[named].phrase;
            named.is_pronoun && reading.sentence.lower(named.words.start) == "each"
        });
        let is_one_each = found.phrase.determiner == Determiner::Indefinite
            && found.phrase.count.max == 1
            && (is_of_each || before.is_some_and(|before| before.lower() == "each"));
        if !is_one_each {
            continue;
        }
        let (subjects, _) = subjects::of_link(reading, link);
        let counts: Vec<Count> = subjects.iter().map(|subject| reading.entries[*subject].phrase.count).collect();
        let sum = |number: fn(&Count) -> u32| counts.iter().map(number).sum::<u32>();
        if !counts.is_empty() {
            reading.entries[entry].phrase.count = Count {
                min: sum(|count| count.min),
                max: sum(|count| count.max),
                is_written: counts.iter().all(|count| count.is_written),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::check;

    #[test]
    fn each_has_one() {
        check(
            "three children, each holding an ice cream cone",
            &["3 child", "3 ice cream cone", "child Holding ice cream cone"],
        );
        check("three plates, each plate has a fish", &["3 plate", "3 fish", "fish On plate"]);
        check("a man and a woman, each with a dog", &["1 man", "1 woman", "2 dog", "man With dog", "woman With dog"]);
    }
}
