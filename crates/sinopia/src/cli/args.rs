//! What can be typed. Parsing does no work; [`super::settings`] turns it into what the program works with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sinopia_diffusion::{Shortcuts, TextEncoderKind, TextEncoding};
use sinopia_layout::{Canvas, names};
use sinopia_models::Precision;
use sinopia_models::ella::TextLength;
use sinopia_models::t5::StateRange;
use sinopia_nn::Arithmetic;
use sinopia_planner::Prices;

use super::eval::args::{EvalArgs, EvalCommand};
use super::failure::bad_request;
use super::model::{self, NO_SAM};

const EXAMPLES: &str = "\
Examples:
  Paint a layout with the built-in miniature, no network needed
      sinopia generate --layout examples/blue-dog-yellow-umbrella.json --seed 1 --out dog.png
  Take the layout from a cache of LLM answers
      sinopia generate \"A photo of a cat left of a dog\" --replay answers.json --out pets.png
  Have the built-in planner lay out the caption
      sinopia generate \"two red apples to the left of a sleeping cat, no dogs\" -o cat.png
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

impl Command {
    /// The same with [`PaintingArgs::plain`] flags: whoever asks whether something was typed, asks of these.
    pub(crate) fn plain(mut self) -> anyhow::Result<Self> {
        let painting = match &mut self {
            Self::Generate(args) => &mut args.painting,
            Self::Paint(args) => &mut args.painting,
            Self::Run(args) => &mut args.painting,
            Self::Export(args) => &mut args.painting,
            Self::Eval(EvalArgs { command: EvalCommand::Image(args) }) => &mut args.painting,
            Self::Serve(args) => {
                args.make_plain();
                return Ok(self);
            }
            Self::Eval(_) | Self::Plan(_) | Self::Convert(_) | Self::Cache(_) => return Ok(self),
            Self::Inspect(_) | Self::Models(_) | Self::Completions { .. } => return Ok(self),
        };
        *painting = std::mem::take(painting).plain()?;
        Ok(self)
    }
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

    /// Image made by Sinopia: repeat it; flags given beside it change that one thing. Of a PNG that another program made, caption, negative,
    /// seed, size, steps and guidance scale are taken over, and the rest is told
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

    /// ELLA's language model: a folder of a T5 1.1 or FLAN-T5 (`config.json`, weights, `tokenizer.json` or `spiece.model`), or `miniature` [default: the miniature's]
    #[arg(long, value_name = "DIR")]
    pub(crate) t5: Option<String>,

    /// ELLA's connector: `ella-sd1.5-tsc-t5xl.safetensors`, a folder with `config.json`, or `miniature` [default: the miniature's]
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
    let known = all.map(TextEncoderKind::as_str);
    let found = names::find(name, known);
    all.into_iter().find(|kind| found == Some(kind.as_str())).ok_or_else(|| names::choice(name, &known))
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

    /// Which edition of the model's weights, `bf16` for files named `….bf16.safetensors`; `--model MODEL#bf16` is the same [default: full precision if it
    /// is there, else fp16, else bf16]
    #[arg(long, value_name = "NAME")]
    pub(crate) variant: Option<String>,

    /// What outlines the objects of `lmd` and `lmd-plus`: a SAM, as a folder (`config.json`, `model.safetensors`) or a file of weights, `miniature`
    /// (built in, for the miniature's pictures) or `none` (attention and box alone) [default: none]
    #[arg(long, value_name = "SAM")]
    pub(crate) sam: Option<String>,

    /// Where the noise starts: same seed, same image (0 to 18446744073709551615, or `random`: one is drawn and told) [default: 0]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = seed)]
    pub(crate) seed: Option<u64>,

    /// Denoising steps: more is finer and takes proportionally longer (1 to 1000) [default: 50]
    #[arg(long, alias = "num-inference-steps", allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) steps: Option<u32>,

    /// How strictly the picture follows the prompt; 1 turns classifier-free guidance off [default: 7.5; 3.5 for small models]
    #[arg(long, aliases = ["cfg-scale", "cfg"], allow_negative_numbers = true, value_name = "X", value_parser = guidance_scale)]
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

    /// ddim, pndm, euler, euler-ancestral or dpm-solver++ [default: the model's own for sd, else ddim]. Behind all but pndm may stand `-karras`,
    /// `-exponential`, `-normal`, `-simple`, `-sgm-uniform`, `-ddim-uniform` or `-kl-optimal` for ComfyUI's noise levels of that name in place of the model's own
    #[arg(long, alias = "sampler", value_name = "NAME")]
    pub(crate) scheduler: Option<String>,

    #[command(flatten)]
    pub(crate) text: TextArgs,

    /// What must not be in the picture, in place of the default quality keywords; the layout's negative caption comes first
    #[arg(long, alias = "negative-prompt", value_name = "TEXT")]
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

    /// Width and height at once, as WIDTHxHEIGHT in pixels
    #[arg(long, value_name = "SIZE", value_parser = picture_size, conflicts_with_all = ["width", "height"])]
    pub(crate) size: Option<(u32, u32)>,

    /// What the networks compute in: `bf16` is faster where the processor has it and halves the memory [default: auto]
    #[arg(long, value_name = "KIND", ignore_case = true)]
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
    #[value(aliases = ["fp32", "float32"])]
    F32,
    /// 16-bit brain floats, sums in 32 bits: half the memory, about twice the speed with AVX-512 BF16
    #[value(alias = "bfloat16")]
    Bf16,
}

impl PaintingArgs {
    /// What stands for something else, as that: `--size` as width and height, `--variant` as a part of the model's name, our own words as we write
    /// them. A variant stays where no model is named: which one is meant shows later.
    pub(crate) fn plain(self) -> anyhow::Result<Self> {
        let (width, height) = self.size.unzip();
        let (model, variant) = match (self.model.map(own_model), self.variant) {
            (Some(model), Some(variant)) => (Some(model::with_variant(&model, &variant)?), None),
            named => named,
        };
        Ok(Self {
            width: self.width.or(width),
            height: self.height.or(height),
            size: None,
            model,
            variant,
            sam: self.sam.map(own_sam),
            text: TextArgs { t5: self.text.t5.map(own_model), ella: self.text.ella.map(own_model), ..self.text },
            ..self
        })
    }

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
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "painting.png")]
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
    #[arg(long, value_name = "KIND", ignore_case = true)]
    pub(crate) planner: Option<PlannerKind>,

    /// The language model, by the name its server knows, or a GGUF file (llama, mistral, mixtral, qwen 2 and 3, gemma 3, phi 3)
    #[arg(long, value_name = "NAME|FILE.gguf")]
    pub(crate) llm_model: Option<String>,

    /// The server: an address such as `http://localhost:8000/v1`, or openai, vllm, llama.cpp, ollama or lm-studio [default: by model]
    #[arg(long, value_name = "URL")]
    pub(crate) llm_base_url: Option<String>,

    /// Ask for a chat message, for the continuation of a text, or by the Responses API [default: by model]
    #[arg(long, value_name = "KIND", ignore_case = true, hide_short_help = true)]
    pub(crate) llm_endpoint: Option<EndpointArg>,

    /// How the model writes a layout [default: by model]
    #[arg(long, value_name = "KIND", ignore_case = true, hide_short_help = true, conflicts_with = "template")]
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
    #[value(alias = "builtin")]
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
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "-", help_heading = "Output")]
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
    #[arg(long, value_name = "FORMAT", ignore_case = true)]
    pub(crate) to: LayoutFormat,

    /// Format to read [default: by what the file says]
    #[arg(long, value_name = "FORMAT", ignore_case = true)]
    pub(crate) from: Option<LayoutFormat>,

    /// Canvas for formats that do not name one, as WIDTHxHEIGHT in pixels [default: 512x512; detections and labelme files without a size need it]
    #[arg(long, value_name = "SIZE", value_parser = canvas, allow_hyphen_values = true)]
    pub(crate) canvas: Option<Canvas>,

    /// Image of a COCO file with several, by its id
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) image: Option<String>,

    /// Caption for formats that describe the whole picture [default: the background]
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,

    /// File to write; `-` is stdout
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "-")]
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
    /// Omost canvas (parsed, never executed); ComfyUI_omost's JSON is read too
    Omost,
    /// labelme annotation
    Labelme,
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
    /// Image made by Sinopia, or a PNG of another program that writes how it was made (Stable Diffusion web UI, ComfyUI, InvokeAI, NovelAI, Fooocus,
    /// SwarmUI, Draw Things, Easy Diffusion)
    pub(crate) image: PathBuf,

    /// Print it as JSON
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
        /// `miniature`, a folder, a file or a Hub id; `MODEL#bf16` for one edition of its weights
        #[arg(default_value = "miniature")]
        model: String,
        /// Print as JSON
        #[arg(long)]
        json: bool,
    },
    /// Fetch a model from the Hub into the cache
    Pull {
        /// Hub id, `owner/name`, or `owner/name#bf16` for one edition of its weights
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
    let (width, height) = sides(text)?;
    Canvas::new(width, height).map_err(|error| error.to_string())
}

fn picture_size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = sides(text)?;
    match [width, height].iter().all(|side| (8..=4096).contains(side)) {
        true => Ok((width, height)),
        false => Err("width and height are from 8 to 4096 pixels".to_owned()),
    }
}

/// `768x512`, or one number for a square.
fn sides(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| text.trim().parse().ok();
    let sides = match text.split_once(['x', 'X', '×', '*']) {
        Some((width, height)) => side(width).zip(side(height)),
        None => side(text).map(|side| (side, side)),
    };
    sides.ok_or_else(|| "WIDTHxHEIGHT in pixels is expected, such as 768x512".to_owned())
}

fn seed(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(seed) => Ok(seed),
        Err(_) if text.eq_ignore_ascii_case("random") => Ok(drawn_seed()),
        Err(_) => Err("a whole number from 0 to 18446744073709551615 is expected, or `random`".to_owned()),
    }
}

/// A seed that nobody chose, short enough to be typed again.
fn drawn_seed() -> u64 {
    // The keys of a hash map come from the system's random numbers.
    let drawn = RandomState::new().build_hasher().finish();
    drawn % (1 << 32)
}

/// A model's name, the built-in one's as we write it.
pub(super) fn own_model(typed: String) -> String {
    own_word(typed, &[sinopia_miniature::NAME])
}

/// A SAM's name, our own words as we write them.
pub(super) fn own_sam(typed: String) -> String {
    own_word(typed, &[sinopia_miniature::NAME, NO_SAM])
}

/// The one of `known` that was typed in another spelling, unless a file is called so.
fn own_word(typed: String, known: &[&str]) -> String {
    match names::find(&typed, known.iter().copied()) {
        Some(word) if !Path::new(&typed).exists() => word.to_owned(),
        _ => typed,
    }
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    fn painting(flags: &[&str]) -> Result<PaintingArgs, String> {
        let cli = Cli::try_parse_from([&["sinopia", "generate", "a cat"], flags].concat());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Generate(args) => args.painting.plain().map_err(|error| error.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_size_is_a_width_and_a_height() {
        for (size, sides) in
            [("768x512", (768, 512)), ("768X512", (768, 512)), ("64 × 32", (64, 32)), ("128", (128, 128))]
        {
            let args = painting(&["--size", size]).unwrap();
            assert_eq!((args.width, args.height), (Some(sides.0), Some(sides.1)), "{size}");
        }
        for (size, words) in [("big", "such as 768x512"), ("512x", "such as 768x512"), ("0x8", "from 8 to 4096")] {
            let error = painting(&["--size", size]).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert!(painting(&["--size", "64x64", "--width", "64"]).unwrap_err().contains("cannot be used with"));
    }

    #[test]
    fn flags_are_plain_for_every_command_that_paints() {
        for command in [
            &["generate", "a cat"][..],
            &["paint", "x.json"],
            &["run", "x.json"],
            &["export", "a cat", "--comfyui"],
            &["eval", "image", "--out", "run"],
        ] {
            let flags = ["--size", "128x96", "--model", "owner/name", "--variant", "bf16", "--t5", "MINIATURE"];
            let typed = [&["sinopia"], command, &flags].concat();
            let painting = match Cli::try_parse_from(typed).unwrap().command.plain().unwrap() {
                Command::Generate(args) => args.painting,
                Command::Paint(args) => args.painting,
                Command::Run(args) => args.painting,
                Command::Export(args) => args.painting,
                Command::Eval(EvalArgs { command: EvalCommand::Image(args) }) => args.painting,
                other => panic!("{other:?}"),
            };
            assert_eq!((painting.width, painting.height, painting.size), (Some(128), Some(96), None), "{command:?}");
            assert_eq!((painting.model.as_deref(), painting.variant), (Some("owner/name#bf16"), None), "{command:?}");
            assert_eq!(painting.text.t5.as_deref(), Some("miniature"), "{command:?}");
        }
        assert!(
            painting(&["--model", "a#fp16", "--variant", "bf16"]).unwrap_err().contains("names an edition already")
        );
        assert_eq!(painting(&["--variant", "bf16"]).unwrap().variant.as_deref(), Some("bf16"));
    }

    #[test]
    fn a_seed_is_a_number_or_drawn() {
        assert_eq!(painting(&["--seed", "18446744073709551615"]).unwrap().seed, Some(u64::MAX));
        let drawn: Vec<u64> = (0..8).filter_map(|_| painting(&["--seed", "Random"]).unwrap().seed).collect();
        assert!(drawn.iter().any(|seed| *seed != drawn[0]) && drawn.iter().all(|seed| *seed < 1 << 32), "{drawn:?}");
        for seed in ["-1", "one", "18446744073709551616"] {
            assert!(painting(&["--seed", seed]).unwrap_err().contains("or `random`"));
        }
    }

    #[test]
    fn what_other_programs_call_it_is_understood() {
        let args = painting(&[
            "--sampler",
            "euler_a",
            "--cfg-scale",
            "5",
            "--negative-prompt",
            "dogs",
            "--num-inference-steps",
            "9",
            "--precision",
            "BFloat16",
            "--model",
            "Miniature",
            "--sam",
            "None",
            "--text-encoder",
            "ELLA_plus_CLIP",
        ]);
        let args = args.unwrap();
        assert_eq!((args.scheduler.as_deref(), args.guidance_scale), (Some("euler_a"), Some(5.0)));
        assert_eq!((args.negative.as_deref(), args.steps), (Some("dogs"), Some(9)));
        assert_eq!((args.precision, args.model.as_deref()), (Some(PrecisionArg::Bf16), Some("miniature")));
        assert_eq!((args.sam.as_deref(), args.text.text_encoder), (Some("none"), Some(TextEncoderKind::EllaAndClip)));
    }
}
