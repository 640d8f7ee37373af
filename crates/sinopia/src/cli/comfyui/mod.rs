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
use sinopia_diffusion::methods;
use sinopia_studio::PaintSpec;

use super::args::{OutputArgs, Painting, PaintingArgs};
use super::failure::{bad_request, with_hint};
use super::job::PaintJob;
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
    let typed = args.painting.painting()?;
    let preset = typed.settings.preset.as_deref().map(methods::find_preset).transpose()?;
    if typed.settings.method.is_some() || preset.is_some_and(|preset| preset.method.is_some()) {
        return Err(bad_request("a graph says how it is painted: leave `--method`, and presets of a method, out"));
    }
    let graph = Graph::read(&args.workflow);
    let graph = graph.map_err(|error| with_hint(error, kinds::hint(&args.workflow, Kind::Graph)))?;
    let wanted = painting::read(&graph, &typed)?;
    let bars = Bars::new(args.output.quiet);
    wanted.notes.iter().for_each(|note| bars.warn(note));
    let count = typed.count.or(wanted.count);
    let settings = painting::merged(wanted.spec.settings.clone(), typed.settings.clone());
    let painting = settings::merge(Painting { settings, ..typed })?;
    painting.machine.apply()?;
    let spec = wanted.spec.with(painting.settings);
    let told = wanted.changes.iter().map(|change| format!("layout repaired: {change}")).collect();
    PaintJob::new(spec, told, count, None)?.run(&[&args.workflow], &args.output)
}

/// Whether [`run`] would paint a graph, given as text.
pub(crate) fn understands(graph: &str) -> bool {
    Graph::parse(graph).is_ok_and(|graph| painting::read(&graph, &Painting::default()).is_ok())
}

/// `sinopia export`: writes the graph of what `generate` would paint.
pub(crate) fn export(args: ExportArgs) -> anyhow::Result<()> {
    output::check_text(&args.out, &args.layout.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let caption = args.caption.as_deref().map(input::caption).transpose()?;
    let layout = args.layout.as_deref().map(input::layout).transpose()?.map(|(layout, _)| layout);
    let painting = settings::merge(args.painting.painting()?)?;
    let spec = PaintSpec { caption, layout, settings: painting.settings, ..PaintSpec::default() };
    let graph = writing::graph(&spec, painting.count.unwrap_or(1), &args.gligen)?;
    let text = format!("{:#}\n", graph.to_json());
    match output::is_stdout(&args.out) {
        true => output::print(text.trim_end()),
        false => output::write(&args.out, text.as_bytes()),
    }
}
