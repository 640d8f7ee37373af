//! Forms of verbs: their stem, and the participle that describes who does it.

use crate::words::Words;

/// What all forms of a verb begin with: `chas` of chase, chases, chasing, chased.
pub fn verb_stem(verb: &str) -> String {
    let verb = verb.to_lowercase();
    let cut =
        ["ing", "ed", "es", "s"].iter().find_map(|ending| verb.strip_suffix(ending).filter(|stem| stem.len() > 2));
    let stem = cut.unwrap_or(&verb).trim_end_matches('e');
    let mut letters = stem.chars().rev();
    match (letters.next(), letters.next()) {
        (Some(last), Some(before)) if last == before && cut.is_some() && !"aeiousl".contains(last) => {
            stem[..stem.len() - last.len_utf8()].to_owned()
        }
        _ => stem.to_owned(),
    }
}

/// The present participle: `sits`, `sat` and `sit` are `sitting`. A past participle that tells a posture stays itself: `perched`.
pub(crate) fn participle(verb: &str, tag: &str) -> String {
    if let Some(listed) = Words::embedded().get("doing", verb) {
        return listed.to_owned();
    }
    if tag == "VBG" {
        return verb.to_owned();
    }
    if tag == "VBD"
        && let Some(stem) = verb.strip_suffix("ed")
    {
        return match stem.strip_suffix('i') {
            Some(stem) => format!("{stem}ying"),
            None => format!("{stem}ing"),
        };
    }
    from_base(&if tag == "VBZ" { base_of_third_person(verb) } else { verb.to_owned() })
}

fn base_of_third_person(verb: &str) -> String {
    if let Some(stem) = verb.strip_suffix("ies").filter(|stem| stem.len() > 1) {
        return format!("{stem}y");
    }
    let long = ["ches", "shes", "sses", "xes", "zes", "oes"].iter().any(|ending| verb.ends_with(ending));
    verb.strip_suffix(if long { "es" } else { "s" }).unwrap_or(verb).to_owned()
}

fn from_base(base: &str) -> String {
    let is_vowel = |letter: char| "aeiou".contains(letter);
    let letters: Vec<char> = base.chars().collect();
    let doubles = match letters.as_slice() {
        [start @ .., before, vowel, last] => {
            is_vowel(*vowel)
                && !is_vowel(*before)
                && !is_vowel(*last)
                && !"wxyh".contains(*last)
                && !start.iter().any(|letter| is_vowel(*letter))
        }
        _ => false,
    };
    if let Some(stem) = base.strip_suffix("ie") {
        format!("{stem}ying")
    } else if let Some(stem) = base.strip_suffix('e').filter(|stem| !stem.ends_with(['e', 'o', 'y'])) {
        format!("{stem}ing")
    } else if doubles {
        let last = letters.last().copied().unwrap_or_default();
        format!("{base}{last}ing")
    } else {
        format!("{base}ing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_verb_have_one_stem() {
        for forms in [["chase", "chases", "chasing"], ["run", "runs", "running"], ["hold", "holds", "holding"]] {
            assert!(forms.iter().all(|form| verb_stem(form) == verb_stem(forms[0])), "{forms:?}");
        }
    }

    #[test]
    fn participles_are_spelled() {
        for (verb, tag, expected) in [
            ("sits", "VBZ", "sitting"),
            ("sat", "VBD", "sitting"),
            ("run", "VBP", "running"),
            ("flies", "VBZ", "flying"),
            ("watches", "VBZ", "watching"),
            ("dances", "VBZ", "dancing"),
            ("smiled", "VBD", "smiling"),
            ("eats", "VBZ", "eating"),
            ("lies", "VBZ", "lying"),
            ("perched", "VBN", "perched"),
            ("sleeping", "VBG", "sleeping"),
        ] {
            assert_eq!(participle(verb, tag), expected);
        }
    }
}
