//! Everything that can go wrong between a caption file and a report.

use std::path::PathBuf;

use sinopia_layout::names;

use crate::benchmark::ImageSize;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was wrong, where, and where there is one the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder that the system will not read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file that cannot be written: disk full, no permission.
    #[error("cannot write `{}`; what was finished before is kept, and the same command goes on from there", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Text that is not the JSON that belongs there.
    #[error("cannot understand `{}`", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        #[source]
        source: serde_json::Error,
    },
    /// A line of a caption file that is not of its benchmark.
    #[error("line {line} of the captions `{}`: {problem}", path.display())]
    Caption {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A caption file without a caption.
    #[error("`{}` holds no captions", path.display())]
    NoCaptions {
        /// The file.
        path: PathBuf,
    },
    /// A benchmark nobody here knows.
    #[error("unknown benchmark `{name}`: {choice}")]
    UnknownBenchmark {
        /// What was asked for.
        name: String,
        /// Which there are, and which was probably meant.
        choice: String,
    },
    /// Edits, where a benchmark of captions was expected.
    #[error("`edits` is no benchmark of captions: `sinopia eval edit` paints it, scores it and tells its rates")]
    RunOfEdits,
    /// A task that the benchmark does not have.
    #[error("the benchmark {benchmark} has no task `{task}`: {}", names::choice(task, &known.split(", ").collect::<Vec<_>>()))]
    UnknownTask {
        /// The benchmark.
        benchmark: String,
        /// What was asked for.
        task: String,
        /// Its tasks.
        known: String,
    },
    /// A cache that lacks layouts for captions that are to be painted or judged.
    #[error("the cache lacks layouts for {missing} of {wanted} captions; the first is number {index}: {first}")]
    LayoutsMissing {
        /// How many are missing.
        missing: usize,
        /// How many are wanted.
        wanted: usize,
        /// The first caption's number in the benchmark, from 0.
        index: usize,
        /// What the cache says about it.
        #[source]
        first: sinopia_layout::Error,
    },
    /// An answer in the cache that is no layout.
    #[error("the layout of caption {index}, `{caption}`, cannot be used")]
    Layout {
        /// The caption's number in the benchmark, from 0.
        index: usize,
        /// The caption.
        caption: String,
        /// What is wrong with it.
        #[source]
        source: sinopia_layout::Error,
    },
    /// A shard that is not one.
    #[error("`{text}` is not a shard: write 2/8 for the second of eight")]
    Shard {
        /// What was given.
        text: String,
    },
    /// A folder that holds no run.
    #[error("`{}` is not a run folder: it has no run.json", folder.display())]
    NotARun {
        /// The folder.
        folder: PathBuf,
    },
    /// A folder with other things in it, where a run was to begin.
    #[error("`{}` holds files but no run.json: a run begins in an empty or new folder", folder.display())]
    ForeignFolder {
        /// The folder.
        folder: PathBuf,
    },
    /// A run folder written by another format or version.
    #[error("the run in `{}` was made by Sinopia {writer} (format {found}), this is {version} (format {known}): go on with that version, or begin a new folder", folder.display())]
    RunVersion {
        /// The folder.
        folder: PathBuf,
        /// Format number in it.
        found: u32,
        /// The version that wrote it.
        writer: String,
        /// The format of this build.
        known: u32,
        /// This version.
        version: &'static str,
    },
    /// A run folder that was made with other options than are asked for now.
    #[error("the run in `{}` was made with other options: {}; use those, or begin a new folder", folder.display(), differences.join("; "))]
    RunDiffers {
        /// The folder.
        folder: PathBuf,
        /// `steps was 50, now 20` and so on.
        differences: Vec<String>,
    },
    /// A file that should be an image.
    #[error("the image `{}` cannot be read: {problem}; delete it and run the same `sinopia eval image` again to paint it anew", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// An image of another size than the run's.
    #[error("the image `{}` has {found} pixels, the run paints {expected}: it was not made by this run; delete it and run again", path.display())]
    ImageSize {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: ImageSize,
        /// The size that the run paints.
        expected: ImageSize,
    },
    /// Two runs of different benchmarks in one report.
    #[error("the runs `{first}` and `{second}` are of different benchmarks: make a report for each")]
    MixedRuns {
        /// A run.
        first: String,
        /// Another one.
        second: String,
    },
    /// A network refused its input.
    #[error(transparent)]
    Model(#[from] sinopia_models::Error),
    /// A benchmark that wants to know what this evaluator cannot tell.
    #[error("the benchmark {benchmark} is judged by {needed}; `{evaluator}` is {found}")]
    OtherCapability {
        /// The benchmark.
        benchmark: &'static str,
        /// What it needs.
        needed: &'static str,
        /// What was given.
        evaluator: String,
        /// What that is.
        found: &'static str,
    },
    /// A question about an image that got no answer.
    #[error(
        "there is no answer to `{question}`; what was scored before is kept, and the same command goes on from there"
    )]
    Answer {
        /// The question.
        question: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What paints an image failed.
    #[error("cannot paint caption {index}, `{caption}`")]
    Painting {
        /// The caption's number in the benchmark, from 0.
        index: usize,
        /// The caption.
        caption: String,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Whether the fault is with what was given: captions, folders, names. The rest failed while it was worked on.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Write { .. } | Error::Painting { .. } | Error::Answer { .. } => false,
            Error::Model(error) => error.is_bad_input(),
            Error::Read { .. }
            | Error::Json { .. }
            | Error::Caption { .. }
            | Error::NoCaptions { .. }
            | Error::UnknownBenchmark { .. }
            | Error::RunOfEdits
            | Error::UnknownTask { .. }
            | Error::LayoutsMissing { .. }
            | Error::Layout { .. }
            | Error::Shard { .. }
            | Error::NotARun { .. }
            | Error::ForeignFolder { .. }
            | Error::RunVersion { .. }
            | Error::RunDiffers { .. }
            | Error::Image { .. }
            | Error::ImageSize { .. }
            | Error::MixedRuns { .. }
            | Error::OtherCapability { .. } => true,
        }
    }

    /// Whether somebody asked for the end.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Error::Model(error) if error.is_cancelled())
    }

    /// What to do about it, if something is known to help.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Model(error) => error.hint(),
            _ => None,
        }
    }
}
