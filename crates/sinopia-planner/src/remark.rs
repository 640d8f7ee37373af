//! What the reader of a plan should know beside its layout: what of the caption was left out, and why.

use std::fmt;

use sinopia_layout::excerpt;

/// Longest part of a caption that a remark repeats, in characters.
const SHOWN_CHARS: usize = 80;

/// Something about a plan that is no fault of its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanRemark {
    /// The caption is probably not English: what it says beside its nouns is lost.
    NotEnglish,
    /// The caption is longer than what is read of it.
    Cut {
        /// Characters that were read.
        read: usize,
    },
    /// Commands to a program, such as `<lora:…>` and `--ar 16:9`, which are nothing to be seen.
    Controls(Vec<String>),
    /// Words that no rule understood: whatever they name is not in the layout.
    NotUnderstood(Vec<String>),
    /// What the caption says and the layout cannot show.
    LeftOut(sinopia_solver::Remark),
}

impl fmt::Display for PlanRemark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanRemark::NotEnglish => f.write_str(
                "the caption is read as English, and looks like another language: only what it names was kept; a language model, `--llm-model NAME`, reads others",
            ),
            PlanRemark::Cut { read } => write!(f, "the caption was read up to character {read}, where the limit is"),
            PlanRemark::Controls(commands) => {
                write!(f, "{} left out: commands to a program, nothing to be seen", quoted(commands))
            }
            PlanRemark::NotUnderstood(words) => {
                write!(f, "{} not understood, and not in the layout", quoted(words))
            }
            PlanRemark::LeftOut(remark) => write!(f, "{remark}"),
        }
    }
}

/// Parts of a caption with their verb: `` `x` was ``, `` `x` and `y` were ``.
fn quoted(parts: &[String]) -> String {
    let shown: Vec<String> = parts.iter().map(|part| format!("`{}`", excerpt(part.trim(), SHOWN_CHARS))).collect();
    match shown.split_last() {
        None => String::new(),
        Some((only, [])) => format!("{only} was"),
        Some((last, others)) => format!("{} and {last} were", others.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_are_sentences() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        for (remark, told) in [
            (
                PlanRemark::Controls(words(&["--ar 16:9"])),
                "`--ar 16:9` was left out: commands to a program, nothing to be seen",
            ),
            (
                PlanRemark::NotUnderstood(words(&["grue ", "bleen", "x"])),
                "`grue`, `bleen` and `x` were not understood, and not in the layout",
            ),
            (PlanRemark::Cut { read: 4000 }, "the caption was read up to character 4000, where the limit is"),
        ] {
            assert_eq!(remark.to_string(), told);
        }
    }
}
