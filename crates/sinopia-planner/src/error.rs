//! Everything that can go wrong between a caption and its layout.

use std::path::PathBuf;
use std::time::Duration;

use crate::provider::CallError;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Longest answer that a message repeats, in characters.
const SHOWN_ANSWER_CHARS: usize = 2000;

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A template is not MiniJinja, or failed while it was filled in.
    #[error("the prompt template `{name}` does not work")]
    Template {
        /// Its name or path.
        name: String,
        /// What was wrong, with its line.
        #[source]
        source: Box<minijinja::Error>,
    },
    /// A template that cannot be used.
    #[error("the prompt template `{name}` cannot be used:\n{}", listed(faults))]
    TemplateFaults {
        /// Its name or path.
        name: String,
        /// Everything that is wrong with it.
        faults: Vec<String>,
    },
    /// The address of a server cannot be used.
    #[error("the server address `{url}` cannot be used: {problem}")]
    BaseUrl {
        /// The address, without any password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A key has characters that no key has.
    #[error(
        "the key in `{variable}` has characters that cannot be sent; it was probably copied with something around it"
    )]
    Key {
        /// The environment variable.
        variable: String,
    },
    /// A server could not be asked, or did not answer with an answer.
    #[error("the planner at {server} gave no answer ({calls} tried)", calls = calls_in_words(*calls))]
    Call {
        /// The server's address.
        server: String,
        /// How often it was asked.
        calls: usize,
        /// What happened the last time.
        #[source]
        source: CallError,
    },
    /// A planner cannot lay out this caption at all.
    #[error("{planner} cannot do this: {problem}")]
    Unable {
        /// Which planner.
        planner: String,
        /// What is beyond it.
        problem: String,
    },
    /// A model file cannot be used.
    #[error(transparent)]
    Model(#[from] sinopia_llm::Error),
    /// The time for the whole plan is over.
    #[error("no layout after {} s, the time for a whole plan; the last thing that happened: {last}", limit.as_secs_f64())]
    OutOfTime {
        /// The time that was allowed.
        limit: Duration,
        /// What it was spent on in the end.
        last: String,
    },
    /// The model answered, but never with a layout that is the caption's.
    #[error(
        "the model gave no usable layout in {answers} answers; of the last one:\n{}\nthe last answer was:\n{}",
        listed(problems),
        shown(last_answer)
    )]
    Unusable {
        /// How many answers were read.
        answers: usize,
        /// What was wrong with the last one.
        problems: Vec<String>,
        /// The last one.
        last_answer: String,
    },
    /// The cache of plans cannot be used.
    #[error("the cache of plans `{}` cannot be used", path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What the database says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is something else than a cache of plans.
    #[error("`{}` is no cache of plans: {problem}", path.display())]
    NotACache {
        /// The file.
        path: PathBuf,
        /// What it is.
        problem: &'static str,
    },
    /// The folder of the cache cannot be made.
    #[error("cannot make the folder of the cache of plans `{}`", path.display())]
    CacheFolder {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The cache was written by a newer version.
    #[error("the cache of plans `{}` has format {found}, but this version reads format {known}: use another file, or a newer version", path.display())]
    CacheFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The format of this version.
        known: i64,
    },
    /// An answer that is not a layout, where one is needed.
    #[error(transparent)]
    Layout(#[from] sinopia_layout::Error),
}

impl Error {
    /// Whether every other caption would fail in the same way, so that it is no use to go on.
    pub fn is_permanent(&self) -> bool {
        match self {
            Error::Call { source, .. } => source.concerns_all_captions(),
            Error::OutOfTime { .. } | Error::Unusable { .. } | Error::Unable { .. } | Error::Layout(_) => false,
            _ => true,
        }
    }

    /// What to do about it, if something is known to help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Call { source, .. } => source.hint(),
            Error::Unusable { .. } => Some(
                "a larger `--candidates` asks more often, `--lenient` takes an answer that fails a check, `--layout FILE` takes a layout of your own".to_owned(),
            ),
            Error::Unable { .. } => Some(
                "a language model can: name one with `--llm-model NAME` and its server with `--llm-base-url`, or a file of your own, `--llm-model FILE.gguf`".to_owned(),
            ),
            Error::NotACache { .. } => Some(
                "`--plan-cache FILE` names a cache, and makes one where there is none; `--no-plan-cache` works without".to_owned(),
            ),
            Error::OutOfTime { .. } => Some("`--plan-timeout SECONDS` allows more time".to_owned()),
            Error::Cache { path, .. } => {
                Some(format!("it can be deleted, `{}` holds nothing but answers; `--no-plan-cache` works without it", path.display()))
            }
            _ => None,
        }
    }
}

fn calls_in_words(calls: usize) -> String {
    if calls == 1 { "1 request".to_owned() } else { format!("{calls} requests") }
}

fn listed(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("  - {}", problem.replace('\n', "\n    "))).collect::<Vec<_>>().join("\n")
}

/// An answer for a terminal: control characters gone, not longer than [`SHOWN_ANSWER_CHARS`].
fn shown(answer: &str) -> String {
    let printable = answer.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
    let mut text: String = printable.take(SHOWN_ANSWER_CHARS).collect();
    if text.is_empty() {
        text.push_str("(nothing)");
    }
    if answer.trim().chars().count() > SHOWN_ANSWER_CHARS {
        text.push('…');
    }
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_stands_at_the_end_without_escapes() {
        let error = Error::Unusable {
            answers: 4,
            problems: vec!["there is no list".to_owned(), "no\nwords".to_owned()],
            last_answer: "I cannot\x1b[31m draw.\n".to_owned(),
        };
        insta::assert_snapshot!(error, @r"
        the model gave no usable layout in 4 answers; of the last one:
          - there is no list
          - no
            words
        the last answer was:
          I cannot [31m draw.
        ");
        assert!(shown(&"x".repeat(5000)).chars().count() < 2100);
    }
}
