//! What can be typed. Parsing does no work; [`super::settings`] turns it into what the program works with.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use sinopia_layout::{Canvas, names};
use sinopia_studio::models::NO_SAM;
use sinopia_studio::{CheckSettings, Error, InitSettings, MachineSettings, PaintSettings, PlannerSettings};

use super::eval::args::EvalArgs;
use super::flags::{Flags, Selected, Selection};

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
  Have a detector look at it, and what is wrong repaired
      sinopia generate \"five red apples and a blue bowl\" --attempts 4 --repair --out apples.png
  Go on from an image, or paint anew what a mask shows white
      sinopia generate \"a red cat on a chair\" --init photo.jpg --mask hole.png --out cat.png
  Make an image again, byte for byte
      sinopia generate --from dog.png --out same-dog.png

Defaults can be kept in ./sinopia.toml or in SINOPIA_METHOD, SINOPIA_MODEL, SINOPIA_STEPS, SINOPIA_GUIDANCE_SCALE,
SINOPIA_SCHEDULER, SINOPIA_PRECISION, SINOPIA_THREADS, SINOPIA_PLANNER, SINOPIA_LLM_MODEL and so on (every flag of
`sinopia plan` under \"Planning\") and SINOPIA_CONFIG; flags win. The key of a language model's server comes from
SINOPIA_LLM_API_KEY, or from OPENAI_API_KEY for api.openai.com. SINOPIA_MAX_CPU_ISA=avx2 hides what a processor has beyond
AVX2; the other names are portable, avx-vnni, avx512, avx512-vnni and avx512-bf16.

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
    /// Change a finished picture in one place and keep the rest
    Edit(Box<super::edit::args::EditArgs>),
    /// Lay out a caption, by the built-in planner or a language model; change a layout; lay out a file of captions
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
    /// Look whether images show what was asked for: what is missing, too much, elsewhere or of another colour
    Check(CheckArgs),
    /// List, describe and fetch models
    Models(ModelsArgs),
    /// Measure how well pictures follow their captions: layouts, runs of images, reports
    Eval(EvalArgs),
    /// Measure how fast this machine computes: products of matrices, the parts of a picture, memory
    Bench(Box<super::bench::args::BenchArgs>),
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
    pub(crate) check: Flags<CheckSettings>,

    #[command(flatten)]
    pub(crate) init: Flags<InitSettings>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Where the layout comes from.
#[derive(Debug, Args)]
pub(crate) struct LayoutSource {
    /// Layout to paint: JSON, the text an LLM answered, or another program's format; `-` reads it from stdin
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
    /// Layout to paint: JSON, the text an LLM answered, or another program's format; `-` reads it from stdin
    pub(crate) layout: PathBuf,

    /// Caption to record with the image (and to paint from, with `--method sd`)
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    #[command(flatten)]
    pub(crate) check: Flags<CheckSettings>,

    #[command(flatten)]
    pub(crate) init: Flags<InitSettings>,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// How to paint. What is not given comes from `SINOPIA_*`, `sinopia.toml`, then the method's defaults.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PaintingArgs {
    /// Every setting that a picture has.
    #[command(flatten)]
    flags: Flags<PaintSettings>,

    #[command(flatten)]
    rest: PaintingRest,

    #[command(flatten)]
    machine: Flags<MachineSettings>,
}

/// What is typed in another way than as a setting with a value.
#[derive(Debug, Clone, Default, Args)]
struct PaintingRest {
    /// Which edition of the model's weights, `bf16` for files named `….bf16.safetensors`; `--model MODEL#bf16` is the same [default: full precision if it
    /// is there, else fp16, else bf16]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    variant: Option<String>,

    /// Width and height at once, as WIDTHxHEIGHT in pixels
    #[arg(long, value_name = "SIZE", value_parser = picture_size, conflicts_with_all = ["width", "height"], help_heading = "Sampling")]
    size: Option<(u32, u32)>,

    /// Leave the layout's negative caption out (the `sd` baseline that depends on no LLM)
    #[arg(long, help_heading = "Prompts")]
    ignore_negative_prompt: bool,

    /// Behave as published, known faults included; `--set` still wins
    #[arg(long, conflicts_with = "preset", help_heading = "Model")]
    reference: bool,

    /// One option of the method, as `name=value`; docs/options.md has them all. Repeatable
    #[arg(long = "set", value_name = "NAME=VALUE", help_heading = "Model")]
    set: Vec<String>,

    /// Images to make, with seeds counting up from `--seed` (1 to 10000) [default: 1]
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000), help_heading = "Output")]
    count: Option<u32>,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    config: Option<PathBuf>,
}

/// The preset that `--reference` stands for.
const FAITHFUL: &str = "faithful";

/// How to paint, as it was typed, in the words of settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Painting {
    /// What was said of the picture.
    pub(crate) settings: PaintSettings,
    /// What was said of the machine.
    pub(crate) machine: MachineSettings,
    /// Which edition of a model's weights that is named elsewhere.
    pub(crate) variant: Option<String>,
    /// Images to make.
    pub(crate) count: Option<u32>,
    /// The settings file.
    pub(crate) config: Option<PathBuf>,
}

impl PaintingArgs {
    /// What was typed, with everything that stands for something else as that: `--size` as width and height, `--variant` as a part of the model's name, our own words as
    /// we write them. A variant stays where no model is named: which one is meant shows later.
    pub(crate) fn painting(self) -> anyhow::Result<Painting> {
        let PaintingRest { variant, size, ignore_negative_prompt, reference, set, count, config } = self.rest;
        let mut settings = self.flags.0;
        if let Some((width, height)) = size {
            (settings.width, settings.height) = (Some(width), Some(height));
        }
        if ignore_negative_prompt {
            settings.options.insert("ignore_negative_prompt".to_owned(), true.into());
        }
        if reference {
            settings.preset = Some(FAITHFUL.to_owned());
        }
        settings.set = set;
        Painting { settings: with_own_words(settings), machine: self.machine.0, variant, count, config }.with_variant()
    }
}

impl Painting {
    /// With the variant in the model's name, if a model is named.
    pub(crate) fn with_variant(mut self) -> anyhow::Result<Self> {
        if self.settings.model.is_some()
            && let Some(variant) = self.variant.take()
        {
            self.settings = self.settings.with_variant(&variant)?;
        }
        Ok(self)
    }
}

/// The same, our own words as we write them.
pub(super) fn with_own_words(settings: PaintSettings) -> PaintSettings {
    PaintSettings {
        model: settings.model.map(own_model),
        sam: settings.sam.map(own_sam),
        t5: settings.t5.map(own_model),
        ella: settings.ella.map(own_model),
        ..settings
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

/// The settings of a planner whose values are no names of files: those need not be text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NoFiles;

impl Selection for NoFiles {
    fn selects(name: &str) -> bool {
        !["template", "plan_cache"].contains(&name)
    }
}

/// Who lays out a caption, and how. What is not given comes from `SINOPIA_*`, `sinopia.toml`, then from the model's name.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlannerArgs {
    /// Every setting that a planner has, but for files.
    #[command(flatten)]
    flags: Selected<PlannerSettings, NoFiles>,

    /// Prompt template of your own (MiniJinja); it may extend `lmd-text`, `lmd-json` or `two-step`
    #[arg(long, value_name = "FILE", hide_short_help = true, conflicts_with = "llm_format", help_heading = "Planning")]
    template: Option<PathBuf>,

    /// File that remembers good layouts [default: sinopia/plans.sqlite in the user's cache folder]
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Planning")]
    plan_cache: Option<PathBuf>,

    /// Take the best answer even if it fails a check
    #[arg(long, hide_short_help = true, help_heading = "Planning")]
    pub(crate) lenient: bool,

    /// Remember nothing and ask anew
    #[arg(long, hide_short_help = true, conflicts_with = "plan_cache", help_heading = "Planning")]
    pub(crate) no_plan_cache: bool,
}

/// Who plans, and how, once flags, variables and the settings file have said what they say.
#[derive(Debug, Clone, Default)]
pub(crate) struct PlannerChoice {
    /// What was said of the planner.
    pub(crate) settings: PlannerSettings,
    /// Take the best answer even if it fails a check.
    pub(crate) lenient: bool,
    /// Remember nothing and ask anew.
    pub(crate) no_plan_cache: bool,
}

impl PlannerChoice {
    /// The same; unless a canvas was named, it has the shape of the picture.
    pub(crate) fn shaped_like(&self, width: u32, height: u32) -> Self {
        let shape = Canvas::shaped_like(width, height);
        let canvas = self.settings.canvas.clone().or_else(|| Some(shape.to_string()));
        Self { settings: PlannerSettings { canvas, ..self.settings.clone() }, ..self.clone() }
    }
}

impl PlannerArgs {
    /// What was said of the planner.
    pub(crate) fn settings(&self) -> PlannerSettings {
        let (template, plan_cache) = (self.template.clone(), self.plan_cache.clone());
        PlannerSettings { template, plan_cache, ..self.flags.settings().clone() }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\"                         # by the built-in planner
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\" --llm-model qwen3-4b.gguf --out cat.json
  sinopia plan \"two red apples to the left of a sleeping cat, no dogs\" --llm-base-url ollama --llm-model qwen3:8b --out cat.json
  sinopia plan --edit cat.json \"move the cat up\" --then \"add a hat\" --llm-base-url ollama --llm-model qwen3:8b --out cat2.json
  sinopia plan --batch captions.txt --jobs 4 --llm-model gpt-4o-mini --out answers.json     # for `--replay answers.json`
A batch with a language model that was stopped goes on where it was when it is started again: its layouts are remembered. The built-in planner needs no memory.")]
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

    /// File of captions, one a line; `-` reads it from stdin, a line that begins with `# ` is a comment. `--out` becomes a cache of answers for `--replay`
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

    /// Say what each box is there for: which of its kind it is, in which colour, where it stands to others
    #[arg(long, conflicts_with = "batch", help_heading = "Output")]
    pub(crate) explain: bool,

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
    /// Layout to read, in any format; `-` reads it from stdin
    pub(crate) layout: PathBuf,

    /// Format to write
    #[arg(long, value_name = "FORMAT", ignore_case = true)]
    pub(crate) to: LayoutFormat,

    /// Format to read [default: by what the file says]
    #[arg(long, value_name = "FORMAT", ignore_case = true, value_parser = readable_format())]
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

/// The formats that can be read.
fn readable_format() -> impl TypedValueParser<Value = LayoutFormat> {
    let readable = LayoutFormat::value_variants().iter().filter(|format| **format != LayoutFormat::Svg);
    let names: Vec<PossibleValue> = readable.filter_map(ValueEnum::to_possible_value).collect();
    PossibleValuesParser::new(names).try_map(|name| LayoutFormat::from_str(&name, true))
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
    /// Prompt of FLUX 3 Image with a table of boxes
    Flux3,
    /// Layout of MOSS-Image; it is for one canvas
    Moss,
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

    /// Only those that another version's reading of their captions judged, and that are used no more
    #[arg(long)]
    pub(crate) stale: bool,
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
#[command(after_help = "\
Examples:
  sinopia check dog.png
  sinopia check photo.jpg --layout wanted.json --detector ./owlv2-base-patch16-ensemble --json")]
pub(crate) struct CheckArgs {
    /// Images (PNG, JPEG, WebP). Those made by Sinopia say what they should show
    #[arg(required = true, value_name = "IMAGE")]
    pub(crate) images: Vec<PathBuf>,

    /// What they should show instead: a layout in any format that is read
    #[arg(long, value_name = "FILE")]
    pub(crate) layout: Option<PathBuf>,

    /// What they should show in words, wherever it stands; beside `--layout`, what the caption says of its objects is looked for too
    #[arg(long, value_name = "TEXT")]
    pub(crate) caption: Option<String>,

    /// What looks: `miniature` (the default for its pictures), or a folder of OWL-ViT or OWLv2 weights
    #[arg(long, value_name = "DETECTOR", conflicts_with = "llm_model")]
    pub(crate) detector: Option<String>,

    /// A vision model that is asked questions in the place of a detector, by the name its server knows; it sees no places
    #[arg(long, value_name = "NAME")]
    pub(crate) llm_model: Option<String>,

    /// Its server: an address such as `http://localhost:8000/v1`, or openai, vllm, llama.cpp, ollama or lm-studio [default: by model]
    #[arg(long, value_name = "URL", requires = "llm_model")]
    pub(crate) llm_base_url: Option<String>,

    /// Print the verdicts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    pub(crate) command: ModelsCommand,
}

/// What is packed, or removed.
#[derive(Debug, Clone, Args)]
pub(crate) struct PrepareArgs {
    /// A folder, a file or a Hub id; `MODEL#bf16` for one edition of its weights
    #[arg(required_unless_present = "clear")]
    pub(crate) model: Option<String>,

    /// Remove what was packed of MODEL, or of every model if none is named; with `--precision` what was packed for that
    #[arg(long)]
    pub(crate) clear: bool,

    #[command(flatten)]
    pub(crate) paint: Selected<PaintSettings, PackedFor>,

    #[command(flatten)]
    pub(crate) machine: Selected<MachineSettings, PackingSettings>,

    /// Settings file [default: ./sinopia.toml, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) config: Option<PathBuf>,
}

/// What weights are packed for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PackedFor;

impl Selection for PackedFor {
    fn selects(name: &str) -> bool {
        name == "precision"
    }
}

/// What packing needs of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PackingSettings;

impl Selection for PackingSettings {
    fn selects(name: &str) -> bool {
        ["threads", "pack_cache_size"].contains(&name)
    }
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
    /// Pack a model's weights into a file from which it is loaded at once
    Prepare(Box<PrepareArgs>),
}

fn canvas(text: &str) -> Result<Canvas, String> {
    sinopia_studio::parse_canvas(text).map_err(|error| match error {
        Error::Canvas { source } => source.to_string(),
        _ => A_SIZE.to_owned(),
    })
}

const A_SIZE: &str = "WIDTHxHEIGHT in pixels is expected, such as 768x512";

fn picture_size(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = sinopia_studio::parse_size(text).map_err(|_| A_SIZE.to_owned())?;
    match [width, height].iter().all(|side| (8..=4096).contains(side)) {
        true => Ok((width, height)),
        false => Err("width and height are from 8 to 4096 pixels".to_owned()),
    }
}

/// A seed that nobody chose, short enough to be typed again.
pub(super) fn drawn_seed() -> u64 {
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use sinopia_diffusion::TextEncoderKind;
    use sinopia_studio::PrecisionChoice;

    use super::*;
    use crate::cli::eval::args::EvalCommand;

    fn painting(flags: &[&str]) -> Result<Painting, String> {
        let cli = Cli::try_parse_from([&["sinopia", "generate", "a cat"], flags].concat());
        match cli.map_err(|error| error.to_string())?.command {
            Command::Generate(args) => args.painting.painting().map_err(|error| error.to_string()),
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
            let settings = painting(&["--size", size]).unwrap().settings;
            assert_eq!((settings.width, settings.height), (Some(sides.0), Some(sides.1)), "{size}");
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
            let painting = match Cli::try_parse_from(typed).unwrap().command {
                Command::Generate(args) => args.painting,
                Command::Paint(args) => args.painting,
                Command::Run(args) => args.painting,
                Command::Export(args) => args.painting,
                Command::Eval(EvalArgs { command: EvalCommand::Image(args) }) => args.painting,
                other => panic!("{other:?}"),
            };
            let Painting { settings, variant, .. } = painting.painting().unwrap();
            assert_eq!((settings.width, settings.height), (Some(128), Some(96)), "{command:?}");
            assert_eq!((settings.model.as_deref(), variant), (Some("owner/name#bf16"), None), "{command:?}");
            assert_eq!(settings.t5.as_deref(), Some("miniature"), "{command:?}");
        }
        assert!(
            painting(&["--model", "a#fp16", "--variant", "bf16"]).unwrap_err().contains("names an edition already")
        );
        assert_eq!(painting(&["--variant", "bf16"]).unwrap().variant.as_deref(), Some("bf16"));
    }

    #[test]
    fn a_seed_is_a_number_or_drawn() {
        assert_eq!(painting(&["--seed", "18446744073709551615"]).unwrap().settings.seed, Some(u64::MAX));
        let drawn: Vec<u64> = (0..8).filter_map(|_| painting(&["--seed", "Random"]).unwrap().settings.seed).collect();
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
        let args = args.unwrap().settings;
        assert_eq!((args.scheduler.as_deref(), args.guidance_scale), (Some("euler_a"), Some(5.0)));
        assert_eq!((args.negative.as_deref(), args.steps), (Some("dogs"), Some(9)));
        assert_eq!((args.precision, args.model.as_deref()), (Some(PrecisionChoice::Bf16), Some("miniature")));
        assert_eq!((args.sam.as_deref(), args.text_encoder), (Some("none"), Some(TextEncoderKind::EllaAndClip)));
    }
}
