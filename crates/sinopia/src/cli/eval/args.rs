//! What can be typed behind `sinopia eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use sinopia_studio::CheckSettings;

use crate::cli::args::PaintingArgs;
use crate::cli::flags::{Selected, Selection};

#[derive(Debug, Args)]
pub(crate) struct EvalArgs {
    #[command(subcommand)]
    pub(crate) command: EvalCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EvalCommand {
    /// Stage 1: are the layouts right? Needs no model
    Layout(LayoutArgs),
    /// Stage 2: paint a benchmark's captions into a run folder, and score them with a detector
    Image(Box<ImageArgs>),
    /// Paint layouts, change one thing of each picture, and score what is done and what is kept
    Edit(Box<EditArgs>),
    /// Score the images of a run folder with a detector
    Score(ScoreArgs),
    /// Tables, data and a web page of one or more runs
    Report(ReportArgs),
}

/// Which captions.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchmarkArgs {
    /// `lmd` or `dense` (built in), or a file of captions: `geneval:FILE`, `t2i-spatial:FILE`, `t2i-numeracy:FILE`, `dpg:FILE`, `clipscore:FILE`
    #[arg(long, value_name = "NAME", default_value = "lmd")]
    pub(crate) benchmark: String,

    /// Only this task, such as `spatial`
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,

    /// At most so many captions of each task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sinopia eval layout --layouts answers.json --strict")]
pub(crate) struct LayoutArgs {
    /// Cache of LLM answers: JSON, caption to list of answers
    #[arg(long, value_name = "CACHE")]
    pub(crate) layouts: PathBuf,

    #[command(flatten)]
    pub(crate) benchmark: BenchmarkArgs,

    /// Whole words and nothing extra, instead of the published rules
    #[arg(long)]
    pub(crate) strict: bool,

    /// Print rates and failures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is tried for an image; who looks is the detector that scores.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tries;

impl Selection for Tries {
    fn selects(name: &str) -> bool {
        matches!(name, "attempts" | "repair")
    }
}

/// How many images are painted at once.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct JobsArgs {
    /// Images painted at once, each with its part of the threads; fewer if memory is short (1 to 1024) [default: as many as threads for the
    /// miniature and its like, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) jobs: Option<u32>,

    /// Memory in GB that loaded weights and images under way may take together [default: what is free now, where Linux tells]
    #[arg(long, value_name = "GB", value_parser = gigabytes)]
    pub(crate) memory_budget: Option<f64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The same command again goes on where it was stopped, however it was; several at once share the work.

Examples:
  Ten captions of each task with the built-in miniature
      sinopia eval image --method lmd --layouts answers.json --out runs/lmd --limit 10 --steps 25
  The published baseline, which depends on no language model
      sinopia eval image --method sd --ignore-negative-prompt --layouts answers.json --out runs/sd --detector ./owlvit-base-patch32
  The best of four attempts for each caption, what is wrong with it repaired
      sinopia eval image --method lmd-plus --layouts answers.json --out runs/repaired --attempts 4 --repair
  The second of eight machines on one shared folder
      sinopia eval image --layouts answers.json --out runs/lmd --shard 2/8")]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    pub(crate) benchmark: BenchmarkArgs,

    /// Cache of LLM answers with a layout for every caption
    #[arg(long, value_name = "CACHE")]
    pub(crate) layouts: Option<PathBuf>,

    /// Run folder: new, or one that was made with the same options
    #[arg(short, long, alias = "output", value_name = "FOLDER")]
    pub(crate) out: PathBuf,

    /// Paint part 2 of 8 only
    #[arg(long, value_name = "2/8")]
    pub(crate) shard: Option<String>,

    #[command(flatten)]
    pub(crate) jobs: JobsArgs,

    /// Images a caption (1 to 100)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeats: u32,

    /// Added to every seed; a caption's seed is its number plus 6789 for each repeat
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed_offset: u64,

    /// What to score with, and with `--attempts` or `--repair` to choose by: `miniature` (the default for its pictures), a folder of OWL-ViT or OWLv2
    /// weights, or `none` to paint only
    #[arg(long, value_name = "DETECTOR")]
    pub(crate) detector: Option<String>,

    #[command(flatten)]
    pub(crate) check: Selected<CheckSettings, Tries>,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Each edit adds, removes, moves, resizes, recolours or replaces one object of a layout of the benchmark `lmd`. The same command again goes on where it was stopped.

Example:
  sinopia eval edit --method lmd-plus --layouts answers.json --out runs/edits --steps 20")]
pub(crate) struct EditArgs {
    /// Cache of LLM answers with a layout for every caption of the benchmark `lmd`
    #[arg(long, value_name = "CACHE")]
    pub(crate) layouts: PathBuf,

    /// Run folder: new, or one that was made with the same options
    #[arg(short, long, alias = "output", value_name = "FOLDER")]
    pub(crate) out: PathBuf,

    /// How many edits, spread evenly over the captions
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) count: u32,

    #[command(flatten)]
    pub(crate) jobs: JobsArgs,

    /// Added to every seed; the seed of an edit's picture is its number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed_offset: u64,

    /// What to score with: `miniature` (the default for its pictures), a folder of OWL-ViT or OWLv2 weights, or `none` to paint only
    #[arg(long, value_name = "DETECTOR")]
    pub(crate) detector: Option<String>,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    /// Print rates and scores as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Who answers questions about pictures, for benchmarks that ask some.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct VqaArgs {
    /// A vision model that answers a benchmark's questions (`dpg`), by the name its server knows
    #[arg(long, value_name = "NAME")]
    pub(crate) llm_model: Option<String>,

    /// Its server: an address such as `http://localhost:8000/v1`, or openai, vllm, llama.cpp, ollama or lm-studio [default: by model]
    #[arg(long, value_name = "URL")]
    pub(crate) llm_base_url: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Run folder
    pub(crate) run: PathBuf,

    /// `miniature` (the default for pictures of the miniature), or a folder of OWL-ViT or OWLv2 weights, such as a download of
    /// `google/owlvit-base-patch32`; for `clipscore` a folder of CLIP weights, such as `openai/clip-vit-base-patch32`
    #[arg(long, value_name = "DETECTOR")]
    pub(crate) detector: Option<String>,

    #[command(flatten)]
    pub(crate) vqa: VqaArgs,

    /// Print the report as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sinopia eval report runs/* --out report          # report.md, report.json, report.html")]
pub(crate) struct ReportArgs {
    /// Run folders of one benchmark
    #[arg(required = true)]
    pub(crate) runs: Vec<PathBuf>,

    /// Where to write, without the ending
    #[arg(short, long, alias = "output", value_name = "PATH", default_value = "report")]
    pub(crate) out: PathBuf,
}

fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(gigabytes) if gigabytes > 0.0 && gigabytes.is_finite() => Ok(gigabytes),
        _ => Err("expected a number of GB above 0, such as 6.5".to_owned()),
    }
}
