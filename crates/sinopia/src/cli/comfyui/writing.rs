//! From what `generate` is given to a graph in ComfyUI's API format.

use serde_json::json;
use sinopia_diffusion::TextEncoderKind;
use sinopia_diffusion::schedulers::{SchedulerKind, SchedulerName};
use sinopia_layout::scene::OVERALL_NEGATIVE;
use sinopia_layout::{BBox, Canvas, Layout, Scene, SceneOptions};
use sinopia_models::ella::TextLength;
use sinopia_models::t5::StateRange;
use sinopia_studio::models::{PUBLISHED_GUIDANCE_SCALE, SMALL_GUIDANCE_SCALE};
use sinopia_studio::{DEFAULT_MODEL, DEFAULT_SEED, DEFAULT_STEPS, PaintSettings, PaintSpec, parse_scheduler};

use super::graph::Graph;
use super::painting::SCHEDULER_NOTE;
use super::{prompt, sampling};
use crate::cli::failure::bad_request;

/// Side of a picture where nobody says, in pixels.
const SIDE: u32 = 512;
/// Boxes are counted in cells of this many pixels by ComfyUI.
const CELL: f64 = 8.0;
/// The scheduler of most methods where nobody says.
const DDIM: SchedulerName = SchedulerName { kind: SchedulerKind::Ddim, sigmas: None };

/// The graph of `count` pictures of a caption, or of a layout's boxes with GLIGEN's file `gligen`.
pub(super) fn graph(spec: &PaintSpec, count: u32, gligen: &str) -> anyhow::Result<Graph> {
    let PaintSpec { caption, layout, settings: args, .. } = spec;
    if args.guidance_rescale.is_some_and(|share| share > 0.0) {
        return Err(bad_request("`--guidance-rescale`: ComfyUI's KSampler has no such setting"));
    }
    let (caption, layout) = (caption.as_deref(), layout.as_ref());
    let scene = layout.map(|layout| compose(layout, args)).transpose()?;
    let words = match (&scene, caption) {
        (Some(scene), _) => scene.overall().text.clone(),
        (None, Some(caption)) => caption.to_owned(),
        (None, None) => return Err(bad_request("there is nothing to export: give a caption or `--layout FILE`")),
    };
    let negative = match &scene {
        Some(scene) => scene.overall_negative().to_owned(),
        None => args.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim().to_owned(),
    };
    let sampler = Sampler::new(args.scheduler.as_deref())?;
    let encoder = args.text_encoder.unwrap_or_default();
    let of_negative = args.negative_encoder.unwrap_or(encoder);

    let mut writer = Writer::new(args, sampler);
    let mut positive = writer.condition(encoder, &words, caption.unwrap_or(&words));
    let negative = writer.condition(of_negative, &negative, &negative);
    if let Some(scene) = &scene {
        let loader = writer.graph.add("GLIGENLoader", json!({ "gligen_name": gligen }));
        for object in scene.objects() {
            positive = writer.boxed(&positive, &loader, object.name(), object.bbox())?;
        }
    }
    Ok(writer.finish(&positive, &negative, count))
}

fn compose(layout: &Layout, args: &PaintSettings) -> anyhow::Result<Scene> {
    let keywords = args.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim().to_owned();
    Ok(Scene::compose_with(layout, &SceneOptions { overall_negative: keywords, ..SceneOptions::default() })?)
}

/// A KSampler's sampler and noise levels, and what they stand for.
struct Sampler {
    name: &'static str,
    levels: String,
    /// The scheduler as it was given; empty if it was not.
    given: String,
}

impl Sampler {
    fn new(given: Option<&str>) -> anyhow::Result<Self> {
        let scheduler = given.map(parse_scheduler).transpose()?;
        let given = scheduler.map(|name| name.to_string()).unwrap_or_default();
        let Some((name, levels)) = sampling::names(scheduler.unwrap_or(DDIM)) else {
            return Err(bad_request(format!(
                "ComfyUI has no sampler of `{given}`'s steps: take ddim, euler, euler-ancestral or dpm-solver++"
            )));
        };
        Ok(Self { name, levels, given })
    }
}

struct Writer<'a> {
    graph: Graph,
    args: &'a PaintSettings,
    sampler: Sampler,
    checkpoint: String,
    size: (u32, u32),
    /// What suits the model where nobody says.
    guidance_scale: f64,
    /// ELLA with its timesteps, and the language model, once they are needed.
    ella: Option<(String, String)>,
}

impl<'a> Writer<'a> {
    fn new(args: &'a PaintSettings, sampler: Sampler) -> Self {
        let mut graph = Graph::default();
        let name = args.model.as_deref().unwrap_or(DEFAULT_MODEL);
        let checkpoint = graph.add("CheckpointLoaderSimple", json!({ "ckpt_name": with_ending(name) }));
        let (native, guidance_scale) = match name {
            sinopia_miniature::NAME => (128, SMALL_GUIDANCE_SCALE),
            _ => (SIDE, PUBLISHED_GUIDANCE_SCALE),
        };
        let size = (args.width.unwrap_or(native), args.height.unwrap_or(native));
        Self { graph, args, sampler, checkpoint, size, guidance_scale, ella: None }
    }

    fn steps(&self) -> u32 {
        self.args.steps.unwrap_or(DEFAULT_STEPS)
    }

    /// The node whose first output is the conditioning of a text.
    fn condition(&mut self, encoder: TextEncoderKind, words: &str, at_length: &str) -> String {
        if encoder == TextEncoderKind::Clip {
            return self
                .graph
                .add("CLIPTextEncode", json!({ "text": prompt::escaped(words), "clip": [self.checkpoint, 1] }));
        }
        let (ella, t5) = self.ella();
        let embeds = self.graph.add("T5TextEncode #ELLA", json!({ "text": at_length, "text_encoder": [t5, 0] }));
        let encoded = self.graph.add("EllaEncode", json!({ "ella": [ella, 0], "embeds": [embeds, 0] }));
        if encoder == TextEncoderKind::Ella {
            return encoded;
        }
        let clip =
            self.graph.add("CLIPTextEncode", json!({ "text": prompt::escaped(words), "clip": [self.checkpoint, 1] }));
        // ELLA's first: its conditionings carry the steps that they are for.
        self.graph.add("ConditioningConcat", json!({ "conditioning_to": [encoded, 0], "conditioning_from": [clip, 0] }))
    }

    fn ella(&mut self) -> (String, String) {
        if let Some(ella) = &self.ella {
            return ella.clone();
        }
        let text = self.args;
        let file = |name: &Option<String>| with_ending(name.as_deref().unwrap_or(sinopia_miniature::NAME));
        let loader = self.graph.add("ELLALoader", json!({ "name": file(&text.ella) }));
        let max_length = if text.t5_length == Some(TextLength::Fixed) { 128 } else { 0 };
        let dtype = if text.t5_range == Some(StateRange::F32) { "FP32" } else { "FP16" };
        let t5 = text.t5.clone().unwrap_or_else(|| sinopia_miniature::NAME.to_owned());
        let t5 = json!({ "name": t5, "max_length": max_length, "dtype": dtype });
        let t5 = self.graph.add("T5TextEncoderLoader #ELLA", t5);
        let timed = json!({ "model": [self.checkpoint, 0], "ella": [loader, 0], "scheduler": self.sampler.levels, "steps": self.steps(), "denoise": 1.0 });
        let timed = self.graph.add("SetEllaTimesteps", timed);
        self.ella.insert((timed, t5)).clone()
    }

    /// A conditioning with one more box.
    fn boxed(&mut self, positive: &str, loader: &str, name: &str, bbox: &BBox) -> anyhow::Result<String> {
        let pixels = bbox.to_pixels(Canvas::new(self.size.0, self.size.1)?);
        let cell = |value: f64, least: f64| ((value / CELL).round() * CELL).max(least) as u64;
        Ok(self.graph.add(
            "GLIGENTextBoxApply",
            json!({
                "conditioning_to": [positive, 0], "clip": [self.checkpoint, 1], "gligen_textbox_model": [loader, 0], "text": prompt::escaped(name),
                "width": cell(pixels.width(), CELL), "height": cell(pixels.height(), CELL),
                "x": cell(pixels.x(), 0.0), "y": cell(pixels.y(), 0.0),
            }),
        ))
    }

    fn finish(mut self, positive: &str, negative: &str, count: u32) -> Graph {
        let args = self.args;
        let (width, height) = self.size;
        let latent = json!({ "width": width, "height": height, "batch_size": count });
        let latent = self.graph.add("EmptyLatentImage", latent);
        let steps = self.steps();
        let sampled = json!({
            "seed": args.seed.unwrap_or(DEFAULT_SEED), "steps": steps, "cfg": args.guidance_scale.unwrap_or(self.guidance_scale), "sampler_name": self.sampler.name,
            "scheduler": self.sampler.levels, "denoise": 1.0, "model": [self.checkpoint, 0], "positive": [positive, 0], "negative": [negative, 0],
            "latent_image": [latent, 0],
        });
        let sampled = self.graph.add("KSampler", sampled);
        if let Some(node) = self.graph.node_mut(&sampled) {
            node.meta.insert(SCHEDULER_NOTE.to_owned(), self.sampler.given.clone().into());
        }
        let decoded = self.graph.add("VAEDecode", json!({ "samples": [sampled, 0], "vae": [self.checkpoint, 2] }));
        self.graph.add("SaveImage", json!({ "images": [decoded, 0], "filename_prefix": "sinopia" }));
        self.graph
    }
}

/// ComfyUI lists files: the built-in model needs an ending to look like one.
fn with_ending(name: &str) -> String {
    if name == sinopia_miniature::NAME { format!("{name}.safetensors") } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::painting;
    use super::*;
    use crate::cli::args::Painting;

    fn layout() -> Layout {
        Layout::from_json(
            r#"{"canvas": {"width": 128, "height": 128}, "objects": [{"phrase": "a red car", "bbox": [8, 16, 64, 48]},
            {"phrase": "a blue dog", "bbox": [72, 64, 48, 56]}], "background": "A beach scene", "negative": "cats"}"#,
        )
        .unwrap()
    }

    fn spec(caption: Option<&str>, layout: Option<Layout>, encoder: TextEncoderKind) -> PaintSpec {
        let settings = PaintSettings {
            seed: Some(3),
            steps: Some(6),
            guidance_scale: Some(4.0),
            text_encoder: Some(encoder),
            ..PaintSettings::default()
        };
        PaintSpec { caption: caption.map(str::to_owned), layout, settings, ..PaintSpec::default() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for encoder in TextEncoderKind::ALL {
            let graph =
                graph(&spec(Some("A long caption."), Some(layout()), encoder), 1, "gligen.safetensors").unwrap();
            let wanted =
                painting::read(&Graph::parse(&graph.to_json().to_string()).unwrap(), &Painting::default()).unwrap();
            let mut objects: Vec<_> = wanted.spec.layout.unwrap().objects;
            objects.sort_by(|a, b| a.bbox.x().total_cmp(&b.bbox.x()));
            assert_eq!(objects, layout().objects);
            let found = wanted.spec.settings;
            assert_eq!((found.seed, found.steps, found.guidance_scale), (Some(3), Some(6), Some(4.0)));
            assert_eq!(found.text_encoder, Some(encoder));
            assert!(found.negative.unwrap().starts_with("cats, "));
            if encoder != TextEncoderKind::Ella {
                let words = found.options["overall_prompt"].as_str().unwrap();
                assert!(words.contains("a red car") && words.contains("A beach scene"), "{words}");
            }
            if encoder.needs_ella() {
                assert_eq!(wanted.spec.caption.as_deref(), Some("A long caption."));
            }
        }
    }

    #[test]
    fn a_caption_alone_has_no_boxes() {
        let graph = graph(&spec(Some("a red car"), None, TextEncoderKind::Clip), 1, "gligen.safetensors").unwrap();
        assert!(graph.of_classes(&["GLIGENTextBoxApply", "GLIGENLoader"]).is_empty());
        assert_eq!(graph.of_classes(&["KSampler", "SaveImage"]).len(), 2);
        let nothing = super::graph(&spec(None, None, TextEncoderKind::Clip), 1, "g").unwrap_err().to_string();
        assert!(nothing.contains("nothing to export"), "{nothing}");
    }
}
