//! Everything that can go wrong between a caption and its layout.

use std::path::PathBuf;
use std::time::Duration;

use sinopia_layout::{Canvas, counted, excerpt};

use crate::provider::CallError;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Longest answer that a message repeats, in characters.
const SHOWN_ANSWER_CHARS: usize = 2000;

/// Longest caption that a message repeats, in characters.
const SHOWN_CAPTION_CHARS: usize = 80;

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
    #[error("{server} gave no answer ({} tried)", counted(*calls, "request"))]
    Call {
        /// Who was asked: the model, and behind it its server's address.
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
    /// A planner lays out on its own canvas only.
    #[error("{planner} lays out on {own} only, not on {asked}")]
    FixedCanvas {
        /// Which planner.
        planner: String,
        /// Its canvas.
        own: Canvas,
        /// The canvas of the task.
        asked: Canvas,
    },
    /// Nobody waits for the layout any more.
    #[error("the layout was called off")]
    Cancelled,
    /// A server is to be asked, and nobody said for which model.
    #[error("no language model is named")]
    NoModel,
    /// A model file is to be asked, and nobody said which.
    #[error("no model file is named")]
    NoModelFile,
    /// The built-in planner was given a prompt template or a form of answers.
    #[error("the built-in planner takes no template and no answer format")]
    NoTemplateTaken,
    /// A model file cannot be used.
    #[error(transparent)]
    Model(#[from] sinopia_llm::Error),
    /// The time for the whole plan is over.
    #[error("{planner} gave no layout after {} s, the time for a whole plan; the last thing that happened: {last}", limit.as_secs_f64())]
    OutOfTime {
        /// Who was asked.
        planner: String,
        /// The time that was allowed.
        limit: Duration,
        /// What it was spent on in the end.
        last: String,
    },
    /// The model answered, but never with a layout that is the caption's.
    #[error(
        "{planner} gave no usable layout in {} to `{}`; of the last one:\n{}\nthe last answer was:\n{}",
        counted(*answers, "answer"),
        excerpt(asked, SHOWN_CAPTION_CHARS),
        listed(problems),
        shown(last_answer)
    )]
    Unusable {
        /// Who was asked.
        planner: String,
        /// For what: the caption or the instruction.
        asked: String,
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

    /// Whether the fault is with what was given: settings, files, a caption that is beyond the planner. The rest failed while it was worked on.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Template { .. }
            | Error::TemplateFaults { .. }
            | Error::BaseUrl { .. }
            | Error::Key { .. }
            | Error::CacheFormat { .. }
            | Error::NotACache { .. }
            | Error::CacheFolder { .. }
            | Error::Unable { .. }
            | Error::FixedCanvas { .. }
            | Error::NoModel
            | Error::NoModelFile
            | Error::NoTemplateTaken
            | Error::Layout(_) => true,
            Error::Model(source) => source.is_bad_input(),
            Error::Call { .. }
            | Error::Cancelled
            | Error::OutOfTime { .. }
            | Error::Unusable { .. }
            | Error::Cache { .. } => false,
        }
    }

    /// Whether the caption is beyond the planner, so that asking again gives the same.
    pub fn is_of_caption(&self) -> bool {
        matches!(self, Error::Unable { .. } | Error::Layout(_))
    }

    /// Whether nobody waited any more.
    pub fn is_cancelled(&self) -> bool {
        match self {
            Error::Cancelled => true,
            Error::Model(source) => source.is_cancelled(),
            _ => false,
        }
    }

    /// Whether the planner was asked and has no layout to give, which another caption may change.
    pub fn has_no_plan(&self) -> bool {
        matches!(self, Error::Unable { .. } | Error::Unusable { .. })
    }

    /// The server that is not there, if that is what is wrong.
    pub fn unreachable(&self) -> Option<Unreachable<'_>> {
        match self {
            Error::Call { server, source: CallError::Connection(problem) | CallError::Absent(problem), .. } => {
                // Before the address stand the model and the kind of server.
                let address = server.split_whitespace().last().unwrap_or(server);
                Some(Unreachable { address, problem })
            }
            _ => None,
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
            Error::NoModel => Some(
                "name one with `--llm-model NAME` (or SINOPIA_LLM_MODEL, or `llm-model` in sinopia.toml), and its server with `--llm-base-url`:\nan address, or one of openai, vllm, llama.cpp, ollama, lm-studio".to_owned(),
            ),
            Error::NoModelFile => Some("name one with `--llm-model FILE.gguf`".to_owned()),
            Error::NoTemplateTaken => Some("name a language model for them with `--llm-model`".to_owned()),
            Error::OutOfTime { .. } => Some("`--plan-timeout SECONDS` allows more time".to_owned()),
            Error::Cache { path, .. } => {
                Some(format!("it can be deleted, `{}` holds nothing but answers; `--no-plan-cache` works without it", path.display()))
            }
            _ => None,
        }
    }
}

/// A server that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable<'a> {
    /// Its address.
    pub address: &'a str,
    /// What the system says.
    pub problem: &'a str,
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
            planner: "gpt-4".to_owned(),
            asked: "a cat".to_owned(),
            answers: 4,
            problems: vec!["there is no list".to_owned(), "no\nwords".to_owned()],
            last_answer: "I cannot\x1b[31m draw.\n".to_owned(),
        };
        insta::assert_snapshot!(error, @r"
        gpt-4 gave no usable layout in 4 answers to `a cat`; of the last one:
          - there is no list
          - no
            words
        the last answer was:
          I cannot [31m draw.
        ");
        assert!(shown(&"x".repeat(5000)).chars().count() < 2100);
    }
}
