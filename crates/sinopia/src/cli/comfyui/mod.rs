//! ComfyUI's graphs, both ways: `sinopia run` paints one, `sinopia export --comfyui` writes one.
//!
//! The formats are described from their files and nodes; none of ComfyUI's code is here.

mod graph;
mod painting;
mod writing;

use std::path::PathBuf;

use clap::Args;

use super::args::{OutputArgs, PaintingArgs};
use super::failure::bad_request;
use super::job::{self, Job};
use super::{input, output, settings};
use graph::Graph;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  sinopia run workflow.json --model ./stable-diffusion-v1-5 --out picture.png

Nodes that are understood: CheckpointLoaderSimple, CLIPTextEncode, ConditioningConcat, EmptyLatentImage, KSampler, VAEDecode, SaveImage,
PreviewImage, GLIGENLoader, GLIGENTextBoxApply, BasicScheduler, and of ComfyUI-ELLA: ELLALoader, T5TextEncoderLoader, T5TextEncode,
SetEllaTimesteps, EllaEncode, EllaTextEncode, EllaApply, CombineClipEllaEmbeds.")]
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
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) painting: PaintingArgs,
}

/// `sinopia run`: paints a graph. Flags win over what its nodes say.
pub(crate) fn run(args: RunArgs) -> anyhow::Result<()> {
    if args.painting.method.is_some() || args.painting.preset.is_some() {
        return Err(bad_request("a graph says how it is painted: leave `--method` and `--preset` out"));
    }
    let wanted = painting::read(&Graph::read(&args.workflow)?)?;
    let flags = settings::merge(PaintingArgs {
        method: Some(wanted.args.method.clone().unwrap_or_default()),
        ..args.painting
    })?;
    let job = Job::new(wanted.caption, wanted.layout, Vec::new(), painting::merged(wanted.args, flags))?;
    job::run(job, &[&args.workflow], &args.output)
}

/// `sinopia export`: writes the graph of what `generate` would paint.
pub(crate) fn export(args: &ExportArgs) -> anyhow::Result<()> {
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
