//! What can be typed. Parsing does no work; [`super::settings`] turns it into what the program works with.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sinopia_diffusion::{Shortcuts, TextEncoderKind, TextEncoding};
use sinopia_layout::Canvas;
use sinopia_models::Precision;
use sinopia_models::ella::TextLength;
use sinopia_models::t5::StateRange;
use sinopia_nn::Arithmetic;
use sinopia_planner::Prices;

use super::eval::args::EvalArgs;
use super::failure::bad_request;

const EXAMPLES: &str = "\
Examples:
  Paint a layout with the built-in miniature, no network needed
      sinopia generate --layout examples/blue-dog-yellow-umbrella.json --seed 1 --out dog.png
  Take the layout from a cache of LLM answers
      sinopia generate \"A photo of a cat left of a dog\" --replay answers.json --out pets.png
  Have the built-in planner lay out the caption
      sinopia generate \"two red apples to the left of a sleeping cat, no dogs\" --out cat.png
  Let a language model lay out the caption
      sinopia generate \"two cats beside a red ball\" --llm-base-url ollama --llm-model qwen3:8b --out cats.png
  Plain Stable Diffusion from a folder of weights
      sinopia generate \"a lighthouse at dawn\" --method sd --model ./stable-diffusion-v1-5 --out dawn.png
  Make an image again, byte for byte
      sinopia generate --from dog.png --out same-dog.png

Defaults can be kept in ./sinopia.toml or in SINOPIA_METHOD, SINOPIA_MODEL, SINOPIA_STEPS, SINOPIA_GUIDANCE_SCALE,
SINOPIA_SCHEDULER, SINOPIA_PRECISION, SINOPIA_THREADS, SINOPIA_PLANNER, SINOPIA_LLM_MODEL and so on (every flag of
`sinopia plan` under \"Planning\") and SINOPIA_CONFIG; flags win. The key of a language model's server comes from
SINOPIA_LLM_API_KEY, or from OPENAI_API_KEY for api.openai.com.

Exit codes: 0 done; 1 something failed while working (network, language model, disk) or was cancelled;
2 what was typed or given (flags, captions, layouts, images, checkpoints) cannot be used.";

/// Text-to-image that obeys: a layout says what goes where, and a frozen diffusion model paints it.
#[derive(Debug, Parser)]
#[command(name = "sinopia", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an image from a caption, a layout, or an image made before
    Generate(Box<GenerateArgs>),
    /// Paint a layout file
    Paint(Box<PaintArgs>),
    /// Have a language model write the layout of a caption, change a layout, or lay out a file of captions
    Plan(Box<PlanArgs>),
    /// Read and write layouts in the formats of other programs
    Convert(ConvertArgs),
    /// Look at, clear, export and import remembered layouts
    Cache(CacheArgs),
    /// Plan and paint for a web page and for other programs
    Serve(Box<super::serve::ServeArgs>),
    /// Paint a ComfyUI graph
    Run(Box<super::comfyui::RunArgs>),
    /// Write a ComfyUI graph of a caption or a layout
    Export(Box<super::comfyui::ExportArgs>),
    /// Show how an image was made: its caption, layout, method, options, seed and model
    Inspect(InspectArgs),
    /// List, describe and fetch models
    Models(ModelsArgs),
    /// Measure how well pictures follow their captions: layouts, runs of images, reports
    Eval(EvalArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia generate \"A photo of a beach with a blue dog and a yellow umbrella\" \\
      --layout examples/blue-dog-yellow-umbrella.json --seed 1 --out dog.png --grid
  echo \"a red car\" | sinopia generate - --method sd --out - > car.png")]
pub(crate) struct GenerateArgs {
    /// What to paint; `-` reads it from stdin
    pub(crate) caption: Option<String>,

    #[command(flatten)]
    pub(crate) source: LayoutSource,

    /// Server that paints (and plans) in the place of this machine, as `sinopia serve` says its address; its token comes from SINOPIA_TOKEN
    #[arg(long, value_name = "URL", conflicts_with = "from")]
    pub(crate) server: Option<String>,

    #[command(flatten)]
    pub(crate) planner: PlannerArgs,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where the layout comes from.
#[derive(Debug, Args)]
pub(crate) struct LayoutSource {
    /// Layout to paint: JSON, or the text an LLM answered; `-` reads it from stdin
    #[arg(long, value_name = "FILE", help_heading = "Layout")]
    pub(crate) layout: Option<PathBuf>,

    /// Cache of LLM answers (JSON: caption to list of answers) to take the caption's layout from
    #[arg(long, value_name = "CACHE", help_heading = "Layout", conflicts_with = "layout")]
    pub(crate) replay: Option<PathBuf>,

    /// Image made by Sinopia: repeat it; flags given beside it change that one thing
    #[arg(long, value_name = "IMAGE", help_heading = "Layout")]
    pub(crate) from: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sinopia paint examples/cat-left-of-car.json --seed 7 --count 4 --out cat.png")]
pub(crate) struct PaintArgs {
    /// Layout to paint: JSON, or the text an LLM answered; `-` reads it from stdin
    pub(crate) layout: PathBuf,

    /// Caption to record with the image (and to paint from, with `--method sd`)
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What reads the prompts.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Text encoder")]
pub(crate) struct TextArgs {
    /// What reads the prompts: `clip`, `ella` (long captions; no attention guidance), or `ella+clip` (both: ELLA reads the caption, CLIP the words
    /// that are guided) [default: clip]
    #[arg(long, value_name = "KIND", value_parser = text_encoder)]
    pub(crate) text_encoder: Option<TextEncoderKind>,

    /// What reads the negative prompt [default: the same]
    #[arg(long, value_name = "KIND", value_parser = text_encoder, hide_short_help = true)]
    pub(crate) negative_encoder: Option<TextEncoderKind>,

    /// ELLA's language model: a folder of a T5 1.1 or FLAN-T5 (`config.json`, weights, `tokenizer.json` or `spiece.model`) [default: the miniature's]
    #[arg(long, value_name = "DIR")]
    pub(crate) t5: Option<String>,

    /// ELLA's connector: `ella-sd1.5-tsc-t5xl.safetensors`, or a folder with `config.json` [default: the miniature's]
    #[arg(long, value_name = "FILE")]
    pub(crate) ella: Option<String>,

    /// Tokens that the language model is given: `flexible`, all of a text, or `fixed`, 128 as ELLA was trained [default: flexible]
    #[arg(long, value_name = "KIND", hide_short_help = true)]
    pub(crate) t5_length: Option<LengthArg>,

    /// Range of the language model's states: `f16`, which ELLA was trained on, overflow included, or `f32` [default: f16]
    #[arg(long, value_name = "KIND", hide_short_help = true)]
    pub(crate) t5_range: Option<RangeArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LengthArg {
    /// As many tokens as the text has
    Flexible,
    /// 128, cut or padded
    Fixed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RangeArg {
    /// Rounded and clamped as half precision stores them
    F16,
    /// As computed
    F32,
}

fn text_encoder(name: &str) -> Result<TextEncoderKind, String> {
    let all = TextEncoderKind::ALL;
    let known = || all.map(TextEncoderKind::as_str).join(", ");
    all.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| format!("choose one of {}", known()))
}

impl TextArgs {
    /// `base` with what is given.
    pub(crate) fn encoding(&self, base: TextEncoding) -> TextEncoding {
        TextEncoding {
            encoder: self.text_encoder.unwrap_or(base.encoder),
            negative: self.negative_encoder.or(base.negative),
            length: match self.t5_length {
                Some(LengthArg::Flexible) => TextLength::Flexible,
                Some(LengthArg::Fixed) => TextLength::Fixed,
                None => base.length,
            },
        }
    }

    /// The range that is given.
    pub(crate) fn range(&self) -> Option<StateRange> {
        self.t5_range.map(|range| match range {
            RangeArg::F16 => StateRange::F16,
            RangeArg::F32 => StateRange::F32,
        })
    }
}

/// How to paint. What is not given comes from `SINOPIA_*`, `sinopia.toml`, then the method's defaults.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Painting")]
pub(crate) struct PaintingArgs {
    /// How the layout is obeyed: `lmd`, `boxdiff`, `backward-guidance` (boxes guide the attention), `multidiffusion` (a prompt for each
    /// region), `lmd-plus`, `gligen` (for models that are told of boxes) or `sd` (not at all) [default: lmd]
    #[arg(long, value_name = "NAME")]
    pub(crate) method: Option<String>,

    /// A method with its options set as someone else has them: `diffusers-lmd-plus`; `--set` still wins
    #[arg(long, value_name = "NAME")]
    pub(crate) preset: Option<String>,

    /// `miniature` (built in), a diffusers folder, a `.safetensors` file, or a Hub id such as `owner/name` [default: miniature]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,

    /// What outlines the objects of `lmd` and `lmd-plus`: a SAM, as a folder (`config.json`, `model.safetensors`) or a file of weights, `miniature`
    /// (built in, for the miniature's pictures) or `none` (attention and box alone) [default: none]
    #[arg(long, value_name = "SAM")]
    pub(crate) sam: Option<String>,

    /// Where the noise starts: same seed, same image (0 to 18446744073709551615) [default: 0]
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Denoising steps: more is finer and takes proportionally longer (1 to 1000) [default: 50]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) steps: Option<u32>,

    /// How strictly the picture follows the prompt; 1 turns classifier-free guidance off [default: 7.5; 3.5 for small models]
    #[arg(long, allow_negative_numbers = true, value_name = "X", value_parser = guidance_scale)]
    pub(crate) guidance_scale: Option<f64>,

    /// Classifier-free guidance in this share of the steps only, as `0.1..0.8`; the other steps cost half [default: 0..1]
    #[arg(long, value_name = "FROM..TO", value_parser = interval)]
    pub(crate) guidance_interval: Option<(f64, f64)>,

    /// Run the deep layers of the UNet in every Nth step only: faster, a little coarser (1 to 1000) [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) deep_every: Option<u32>,

    /// Self-attention on the finest grid looks at windows of N × N cells: faster at large sizes, a little blurrier; N divides width and height / 8 (1 to 8) [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) merge_tokens: Option<u32>,

    /// ddim, pndm, euler, euler-ancestral or dpm-solver++ [default: the model's own for sd, else ddim]
    #[arg(long, value_name = "NAME")]
    pub(crate) scheduler: Option<String>,

    #[command(flatten)]
    pub(crate) text: TextArgs,

    /// What must not be in the picture, in place of the default quality keywords; the layout's negative caption comes first
    #[arg(long, value_name = "TEXT")]
    pub(crate) negative: Option<String>,

    /// Leave the layout's negative caption out (the `sd` baseline that depends on no LLM)
    #[arg(long)]
    pub(crate) ignore_negative_prompt: bool,

    /// Width in pixels [default: the model's own]
    #[arg(long, allow_negative_numbers = true, value_name = "PX", value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub(crate) width: Option<u32>,

    /// Height in pixels [default: the model's own]
    #[arg(long, allow_negative_numbers = true, value_name = "PX", value_parser = clap::value_parser!(u32).range(8..=4096))]
    pub(crate) height: Option<u32>,

    /// What the networks compute in: `bf16` is faster where the processor has it and halves the memory [default: auto]
    #[arg(long, value_name = "KIND")]
    pub(crate) precision: Option<PrecisionArg>,

    /// Behave as published, known faults included, instead of with their mends; `--set` still wins
    #[arg(long, conflicts_with = "preset")]
    pub(crate) reference: bool,

    /// One option of the method, as `name=value`; `sinopia inspect` shows them all. Repeatable
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,

    /// Images to make, with seeds counting up from `--seed` (1 to 10000) [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) count: Option<u32>,

    /// Threads to compute with; the image does not depend on it [default: all cores]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) threads: Option<u32>,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PrecisionArg {
    /// bf16 where the processor multiplies it faster, else as stored
    Auto,
    /// As the checkpoint stores its weights
    Stored,
    /// 32-bit floats: the reference
    F32,
    /// 16-bit brain floats, sums in 32 bits: half the memory, about twice the speed with AVX-512 BF16
    Bf16,
}

impl PaintingArgs {
    /// `base` with what is given.
    pub(crate) fn shortcuts(&self, base: Shortcuts) -> Shortcuts {
        Shortcuts {
            guidance_interval: self.guidance_interval.unwrap_or(base.guidance_interval),
            deep_every: self.deep_every.map_or(base.deep_every, |n| n as usize),
            merge_tokens: self.merge_tokens.map_or(base.merge_tokens, |n| n as usize),
        }
    }
}

impl PrecisionArg {
    /// What to compute in on this machine: never [`Auto`](Self::Auto).
    pub(crate) fn resolved(self) -> Self {
        match self {
            Self::Auto if Arithmetic::fastest() == Arithmetic::Bf16 => Self::Bf16,
            Self::Auto => Self::Stored,
            other => other,
        }
    }

    /// The word on the command line and in recipes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stored => "stored",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Reads the word.
    pub(crate) fn parse(name: &str) -> anyhow::Result<Self> {
        let all = [Self::Auto, Self::Stored, Self::F32, Self::Bf16];
        all.into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| bad_request(format!("unknown precision `{name}`: choose one of auto, stored, f32, bf16")))
    }
}

impl From<PrecisionArg> for Precision {
    fn from(kind: PrecisionArg) -> Self {
        match kind {
            PrecisionArg::Auto | PrecisionArg::Stored => Self::Auto,
            PrecisionArg::F32 => Self::F32,
            PrecisionArg::Bf16 => Self::Bf16,
        }
    }
}

/// Where the result goes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Image to write (PNG); `-` writes it to stdout. With `--count`, a number is put before the ending
    #[arg(long, value_name = "FILE", default_value = "painting.png")]
    pub(crate) out: PathBuf,

    /// Also write a contact sheet beside it: the layout, each object on its own, the result
    #[arg(long)]
    pub(crate) grid: bool,

    /// Write where each guided phrase looks, layer by layer and step by step, as PNGs into this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) debug_maps: Option<PathBuf>,

    /// Show the picture in the terminal (Kitty, iTerm, Sixel, or coloured blocks)
    #[arg(long, conflicts_with = "json")]
    pub(crate) preview: bool,

    /// Print what was made as JSON on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// No progress and no layout on stderr, only warnings and errors
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Who lays out a caption, and how. What is not given comes from `SINOPIA_*`, `sinopia.toml`, then from the model's name.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Planning")]
pub(crate) struct PlannerArgs {
    /// Who plans [default: openai or gguf by the name of `--llm-model`, built-in without one]
    #[arg(long, value_name = "KIND")]
    pub(crate) planner: Option<PlannerKind>,

    /// The language model, by the name its server knows, or a GGUF file (llama, mistral, mixtral, qwen 2 and 3, gemma 3, phi 3)
    #[arg(long, value_name = "NAME|FILE.gguf")]
    pub(crate) llm_model: Option<String>,

    /// The server: an address such as `http://localhost:8000/v1`, or openai, vllm, llama.cpp, ollama or lm-studio [default: by model]
    #[arg(long, value_name = "URL")]
    pub(crate) llm_base_url: Option<String>,

    /// Ask for a chat message, for the continuation of a text, or by the Responses API [default: by model]
    #[arg(long, value_name = "KIND", hide_short_help = true)]
    pub(crate) llm_endpoint: Option<EndpointArg>,

    /// How the model writes a layout [default: by model]
    #[arg(long, value_name = "KIND", hide_short_help = true, conflicts_with = "template")]
    pub(crate) llm_format: Option<FormatArg>,

    /// Randomness of the model's answers, 0 to 2 [default: 0.25]
    #[arg(long, allow_negative_numbers = true, value_name = "X", value_parser = temperature, hide_short_help = true)]
    pub(crate) llm_temperature: Option<f64>,

    /// Longest answer in tokens (16 to 100000) [default: by model, 900 or more]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..=100_000), hide_short_help = true)]
    pub(crate) llm_max_tokens: Option<u32>,

    /// What a million tokens cost, read and written, as IN/OUT (such as `0.15/0.60`): reports then tell the cost
    #[arg(long, value_name = "IN/OUT", value_parser = prices, hide_short_help = true)]
    pub(crate) llm_price: Option<Prices>,

    /// Longest wait for one answer, in seconds [default: 120]
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) llm_timeout: Option<f64>,

    /// Longest time for a whole layout, pauses and repairs included, in seconds [default: 600]
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    pub(crate) plan_timeout: Option<f64>,

    /// Prompt template of your own (MiniJinja); it may extend `lmd-text`, `lmd-json` or `two-step`
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) template: Option<PathBuf>,

    /// Layouts to choose the best from (1 to 20) [default: 1; 16 from the built-in planner]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20))]
    pub(crate) candidates: Option<u32>,

    /// Canvas to lay out on, as WIDTHxHEIGHT in pixels [default: 512x512]
    #[arg(long, value_name = "SIZE", value_parser = canvas, allow_hyphen_values = true, hide_short_help = true)]
    pub(crate) canvas: Option<Canvas>,

    /// Take the best answer even if it fails a check
    #[arg(long, hide_short_help = true)]
    pub(crate) lenient: bool,

    /// File that remembers good layouts [default: sinopia/plans.sqlite in the user's cache folder]
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) plan_cache: Option<PathBuf>,

    /// Remember nothing and ask anew
    #[arg(long, hide_short_help = true, conflicts_with = "plan_cache")]
    pub(crate) no_plan_cache: bool,
}

/// Kinds of planners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PlannerKind {
    /// The small model inside the program: English captions, no network
    BuiltIn,
    /// A model file of your own, run in process
    Gguf,
    /// A server with OpenAI's protocol
    Openai,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EndpointArg {
    /// `chat/completions`
    Chat,
    /// `completions`
    Completions,
    /// `responses`
    Responses,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormatArg {
    /// The list of pairs of LLM-grounded Diffusion
    Text,
    /// JSON, held to a schema where the server can
    Json,
    /// JSON with boxes for the core of the picture only; the rest is told in words and placed by rules
    TwoStep,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\"                         # by the built-in planner
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\" --llm-model qwen3-4b.gguf --out cat.json
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\" --llm-base-url ollama --llm-model qwen3:8b --out cat.json
  sinopia plan --edit cat.json \"move the cat up\" --then \"add a hat\" --llm-base-url ollama --llm-model qwen3:8b --out cat2.json
  sinopia plan --batch captions.txt --jobs 4 --llm-model gpt-4o-mini --out answers.json     # for `--replay answers.json`
A batch that was stopped goes on where it was when it is started again.")]
pub(crate) struct PlanArgs {
    /// What to lay out (with `--edit`: what to change); `-` reads it from stdin
    #[arg(required_unless_present = "batch", conflicts_with = "batch")]
    pub(crate) caption: Option<String>,

    /// Layout to change, JSON or an LLM's answer
    #[arg(long, value_name = "FILE", conflicts_with_all = ["batch", "canvas"])]
    pub(crate) edit: Option<PathBuf>,

    /// A further change, made to the result of the one before. Repeatable
    #[arg(long, value_name = "TEXT", requires = "edit")]
    pub(crate) then: Vec<String>,

    /// File of captions, one a line; `-` reads it from stdin. `--out` becomes a cache of answers for `--replay`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["occurrence", "no_plan_cache"])]
    pub(crate) batch: Option<PathBuf>,

    /// Captions of a batch to ask for at once (1 to 64) [default: 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), requires = "batch")]
    pub(crate) jobs: Option<u32>,

    /// Which of several layouts for the same caption, counted from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) occurrence: u32,

    #[command(flatten)]
    pub(crate) planner: PlannerArgs,

    /// Layout to write; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Output")]
    pub(crate) out: PathBuf,

    /// Print a report as JSON on stdout: layout, findings, tokens
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// No progress on stderr, only warnings and errors
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia convert examples/blue-dog-white-bowl.json --to coco --out dog.coco.json
  sinopia convert canvas.py --canvas 1024x1024 --to json --out layout.json")]
pub(crate) struct ConvertArgs {
    /// Layout to read; `-` reads it from stdin
    pub(crate) layout: PathBuf,

    /// Format to write
    #[arg(long, value_name = "FORMAT")]
    pub(crate) to: LayoutFormat,

    /// Format to read [default: by what the file says]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) from: Option<LayoutFormat>,

    /// Canvas for formats that do not name one, as WIDTHxHEIGHT in pixels [default: 512x512]
    #[arg(long, value_name = "SIZE", value_parser = canvas, allow_hyphen_values = true)]
    pub(crate) canvas: Option<Canvas>,

    /// Image of a COCO file with several, by its id
    #[arg(long, value_name = "ID")]
    pub(crate) image: Option<u64>,

    /// Caption for formats that describe the whole picture [default: the background]
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,

    /// File to write; `-` is stdout
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,

    /// Only warnings and errors on stderr
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Formats of layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutFormat {
    /// Layout JSON
    Json,
    /// The text form of LLM-grounded Diffusion
    Text,
    /// COCO object detection
    Coco,
    /// Ideogram-style JSON caption
    Ideogram,
    /// Omost canvas (parsed, never executed)
    Omost,
    /// A drawing, to write only
    Svg,
}

#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    pub(crate) command: CacheCommand,

    /// Cache of plans [default: sinopia/plans.sqlite in the user's cache folder]
    #[arg(long, global = true, value_name = "FILE", id = "cache_file")]
    pub(crate) file: Option<PathBuf>,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Which remembered layouts are meant.
#[derive(Debug, Args)]
pub(crate) struct SelectionArgs {
    /// Only those of this language model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Only those whose caption contains this
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Remembered layouts
    List {
        #[command(flatten)]
        selection: SelectionArgs,
        /// Print as JSON, with the answers
        #[arg(long)]
        json: bool,
    },
    /// Forget layouts
    Clear {
        #[command(flatten)]
        selection: SelectionArgs,
        /// Forget all that are selected; needed if no model and no caption is given
        #[arg(long)]
        all: bool,
    },
    /// Write layouts as a JSON object from captions to answers, the form of the published caches and of `--replay`
    Export {
        /// File to write; `-` is stdout
        out: PathBuf,
        #[command(flatten)]
        selection: SelectionArgs,
    },
    /// Read such a file: its good answers count as answers of the planner that is configured
    Import {
        /// File to read
        file: PathBuf,
        #[command(flatten)]
        planner: Box<PlannerArgs>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Image made by Sinopia
    pub(crate) image: PathBuf,

    /// Print the recipe as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// Models at hand: the built-in ones and those in the Hub cache
    List {
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// What a model holds: family, parts, parameters, precision, size
    Info {
        /// `miniature`, a folder, a file or a Hub id
        #[arg(default_value = "miniature")]
        model: String,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model from the Hub into the cache
    Pull {
        /// Hub id, `owner/name`
        model: String,
    },
}

fn temperature(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=2.0).contains(&value) => Ok(value),
        _ => Err("a number from 0 to 2 is expected".to_owned()),
    }
}

pub(super) fn prices(text: &str) -> Result<Prices, String> {
    let price = |text: &str| text.trim().parse().ok().filter(|price| (0.0..=1e6).contains(price));
    let both = text.split_once('/').and_then(|(prompt, completion)| Some((price(prompt)?, price(completion)?)));
    let (prompt, completion) = both.ok_or("two prices of a million tokens are expected, as `0.15/0.60`")?;
    Ok(Prices { prompt, completion })
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=86_400.0).contains(&value) => Ok(value),
        _ => Err("a number of seconds, at most 86400, is expected".to_owned()),
    }
}

fn canvas(text: &str) -> Result<Canvas, String> {
    let sides =
        text.split_once(['x', '×']).and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    let (width, height) = sides.ok_or("WIDTHxHEIGHT in pixels is expected, such as 768x512")?;
    Canvas::new(width, height).map_err(|error| error.to_string())
}

/// Two rising shares, `0.1..0.8`.
fn interval(text: &str) -> Result<(f64, f64), String> {
    let share = |text: &str| text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
    let shares = text.split_once("..").and_then(|(first, end)| Some((share(first)?, share(end)?)));
    shares.filter(|(first, end)| first <= end).ok_or_else(|| "two rising numbers from 0 to 1, as `0.1..0.8`".to_owned())
}

fn guidance_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (1.0..=100.0).contains(&value) => Ok(value),
        _ => Err("a number from 1 to 100 is expected".to_owned()),
    }
}
