//! What is in a pack's place and is none.

use std::fmt;

/// Why a file is not used as a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPack {
    /// Neither name nor contents are those of a pack: it is somebody else's.
    Foreign,
    /// A later version of this program wrote it, in a format that this one does not know.
    Newer,
    /// It is ours, and not as it was written: in words, what is wrong.
    Damaged(String),
    /// The system does not let it be read now: in words, why. That says nothing of what is in it.
    Unreadable(String),
}

impl fmt::Display for NoPack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str("it is no pack"),
            Self::Newer => f.write_str("a later version of Sinopia wrote it"),
            Self::Damaged(problem) => write!(f, "it is damaged: {problem}"),
            Self::Unreadable(problem) => write!(f, "it could not be read: {problem}"),
        }
    }
}
