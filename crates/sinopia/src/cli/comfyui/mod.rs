//! ComfyUI's graphs, both ways: `sinopia run` paints one, `sinopia export --comfyui` writes one.
//!
//! The formats are described from their files and nodes; none of ComfyUI's code is here.
//!
//! Two steps lead from a file to a picture: [`editor`] makes the API's form of a graph out of what the editor saves, [`painting`] follows that form
//! backwards from the image.

mod conditioning;
mod editor;
mod graph;
mod nodes;
mod painting;
mod prompt;
mod reader;
mod sampling;
mod writing;

use std::path::PathBuf;

use clap::Args;

use super::args::{OutputArgs, PaintingArgs};
use super::failure::{bad_request, with_hint};
use super::job::{self, Job};
use super::kinds::{self, Kind};
use super::progress::Bars;
use super::{input, output, settings};
use graph::Graph;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sinopia run workflow.json --model ./stable-diffusion-v1-5 --out picture.png

Nodes that are understood: CheckpointLoaderSimple, CLIPTextEncode, ConditioningConcat, EmptyLatentImage, KSampler, VAEDecode, VAELoader (told
of, not loaded), SaveImage, PreviewImage, GLIGENLoader, GLIGENTextBoxApply, BasicScheduler, and of ComfyUI-ELLA: ELLALoader,
T5TextEncoderLoader, T5TextEncode, SetEllaTimesteps, EllaEncode, EllaTextEncode, EllaApply, EllaCombineEmbeds, CombineClipEllaEmbeds. Links go
through Reroute, Primitive nodes, subgraphs, group nodes, muted and bypassed nodes as in ComfyUI. Of KSampler: euler, euler_ancestral, ddim and
dpmpp_2m, with normal, simple, sgm_uniform, ddim_uniform, karras, exponential and kl_optimal. What a flag says is not read from the graph.")]
pub(crate) struct RunArgs {
    /// A graph in ComfyUI's API format or as its editor saves it, or a PNG that ComfyUI made
    pub(crate) workflow: PathBuf,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,

    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The caption; with `--layout` it is what ELLA reads
    pub(crate) caption: Option<String>,

    /// Layout whose boxes become GLIGEN's: JSON, or the text an LLM answered
    #[arg(long, value_name = "FILE")]
    pub(crate) layout: Option<PathBuf>,

    /// Write a graph in ComfyUI's API format
    #[arg(long, required = true)]
    pub(crate) comfyui: bool,

    /// GLIGEN's file in ComfyUI's folder
    #[arg(long, value_name = "FILE", default_value = "gligen_sd14_textbox_pruned.safetensors")]
    pub(crate) gligen: String,

    /// File to write; `-` is stdout
    #[arg(short, long, alias = "output", value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,
}

/// `sinopia run`: paints a graph. Flags win over what its nodes say, and its nodes over settings files and the environment.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    if args.painting.method.is_some() || args.painting.preset.is_some() {
        return Err(bad_request("a graph says how it is painted: leave `--method` and `--preset` out"));
    }
    let graph = Graph::read(&args.workflow);
    let graph = graph.map_err(|error| with_hint(error, kinds::hint(&args.workflow, Kind::Graph)))?;
    let wanted = painting::read(&graph, &args.painting)?;
    let bars = Bars::new(args.output.quiet);
    wanted.notes.iter().for_each(|note| bars.warn(note));
    let painting = settings::merge(painting::merged(wanted.args, args.painting))?;
    let job = Job::new(wanted.caption, wanted.layout, wanted.changes, painting)?;
    job::run(job, &[&args.workflow], &args.output)
}

/// Whether [`run`] would paint a graph, given as text.
pub(crate) fn understands(graph: &str) -> bool {
    Graph::parse(graph).is_ok_and(|graph| painting::read(&graph, &PaintingArgs::default()).is_ok())
}

/// `sinopia export`: writes the graph of what `generate` would paint.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    output::check_text(&args.out, &args.layout.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let layout = args.layout.as_deref().map(input::layout).transpose()?.map(|(layout, _)| layout);
    let painting = settings::merge(args.painting.clone())?;
    let graph = writing::graph(caption.as_deref(), layout.as_ref(), &painting, &args.gligen)?;
    let text = format!("{:#}\n", graph.to_json());
    match output::is_stdout(&args.out) {
        true => output::print(text.trim_end()),
        false => output::write(&args.out, text.as_bytes()),
    }
}
