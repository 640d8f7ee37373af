//! From a graph to what `generate` is given: followed backwards from the image that is saved.

use sinopia_diffusion::TextEncoderKind;
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox, repair};

use super::graph::{Graph, Link, Node};
use crate::cli::args::{LengthArg, PaintingArgs, RangeArg, TextArgs};
use crate::cli::failure::bad_request;

/// Samplers of ComfyUI, and the schedulers of the same steps here.
pub(super) const SAMPLERS: [(&str, &str); 4] =
    [("euler", "euler"), ("euler_ancestral", "euler-ancestral"), ("ddim", "ddim"), ("dpmpp_2m", "dpm-solver++")];
/// ComfyUI's names for timesteps that are spread evenly, as they are here.
const EVEN: [&str; 3] = ["normal", "simple", "ddim_uniform"];

/// What a graph asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) caption: Option<String>,
    pub(super) layout: Option<Layout>,
    pub(super) args: PaintingArgs,
}

/// A conditioning: what each encoder reads, and boxes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Condition {
    clip: Option<String>,
    ella: Option<String>,
    /// Words, and x, y, width, height in pixels.
    boxes: Vec<(String, [f64; 4])>,
    files: EllaFiles,
}

/// The loaders that ELLA's nodes lead to.
#[derive(Debug, Clone, Default, PartialEq)]
struct EllaFiles {
    connector: Option<String>,
    t5: Option<String>,
    /// 0 is flexible.
    max_length: Option<f64>,
    dtype: Option<String>,
}

impl EllaFiles {
    fn or(self, other: Self) -> Self {
        Self {
            connector: self.connector.or(other.connector),
            t5: self.t5.or(other.t5),
            max_length: self.max_length.or(other.max_length),
            dtype: self.dtype.or(other.dtype),
        }
    }
}

impl Condition {
    /// Both together, the first's texts first.
    fn join(self, other: Self) -> Self {
        let boxes = self.boxes.into_iter().chain(other.boxes).collect();
        let (clip, ella) = (self.clip.or(other.clip), self.ella.or(other.ella));
        Self { clip, ella, boxes, files: self.files.or(other.files) }
    }

    fn encoder(&self) -> TextEncoderKind {
        match (&self.clip, &self.ella) {
            (Some(_), Some(_)) => TextEncoderKind::EllaAndClip,
            (None, Some(_)) => TextEncoderKind::Ella,
            _ => TextEncoderKind::Clip,
        }
    }
}

/// What the graph's one saved image is made of.
pub(super) fn read(graph: &Graph) -> anyhow::Result<Wanted> {
    graph.check_classes()?;
    let saved = graph.of_classes(&["SaveImage", "PreviewImage"]);
    let [saved] = saved.as_slice() else {
        let found = saved.len();
        return Err(bad_request(format!("the graph saves {found} images; `sinopia run` paints graphs that save one")));
    };
    let reader = Reader { graph };
    let decode = reader.follow(graph.node(saved)?, (saved, "images"), &["VAEDecode"])?;
    let sampler_id = decode.0;
    let sampler = reader.follow(decode.1, (&sampler_id, "samples"), &["KSampler"])?;
    reader.paint(&sampler.0, sampler.1)
}

/// The graph's settings where no flag says otherwise.
pub(super) fn merged(of_graph: PaintingArgs, flags: PaintingArgs) -> PaintingArgs {
    let text = TextArgs {
        text_encoder: flags.text.text_encoder.or(of_graph.text.text_encoder),
        negative_encoder: flags.text.negative_encoder.or(of_graph.text.negative_encoder),
        t5: flags.text.t5.or(of_graph.text.t5),
        ella: flags.text.ella.or(of_graph.text.ella),
        t5_length: flags.text.t5_length.or(of_graph.text.t5_length),
        t5_range: flags.text.t5_range.or(of_graph.text.t5_range),
    };
    PaintingArgs {
        method: of_graph.method,
        model: flags.model.or(of_graph.model),
        seed: flags.seed.or(of_graph.seed),
        steps: flags.steps.or(of_graph.steps),
        guidance_scale: flags.guidance_scale.or(of_graph.guidance_scale),
        scheduler: flags.scheduler.or(of_graph.scheduler),
        negative: flags.negative.or(of_graph.negative),
        width: flags.width.or(of_graph.width),
        height: flags.height.or(of_graph.height),
        count: flags.count.or(of_graph.count),
        set: of_graph.set.into_iter().chain(flags.set).collect(),
        text,
        ..flags
    }
}

struct Reader<'a> {
    graph: &'a Graph,
}

impl<'a> Reader<'a> {
    /// The node that an input is linked to, which must be of one of some classes.
    fn follow(&self, node: &Node, (id, input): (&str, &str), classes: &[&str]) -> anyhow::Result<(String, &'a Node)> {
        let Some(Link { node: from, .. }) = node.link(input) else {
            return Err(bad_request(format!("`{input}` of node `{id}` ({}) is linked to nothing", node.class)));
        };
        let found = self.graph.node(&from)?;
        if !classes.contains(&found.class.as_str()) {
            return Err(bad_request(format!(
                "`{input}` of node `{id}` ({}) comes from a `{}`; understood is {}",
                node.class,
                found.class,
                classes.join(" or ")
            )));
        }
        Ok((from, found))
    }

    fn paint(&self, id: &str, sampler: &Node) -> anyhow::Result<Wanted> {
        let (_, latent) = self.follow(sampler, (id, "latent_image"), &["EmptyLatentImage"])?;
        let canvas = |name: &str| {
            let side = latent.number(name).filter(|side| (8.0..=4096.0).contains(side));
            side.map(|side| side as u32)
                .ok_or_else(|| bad_request(format!("`{name}` of the EmptyLatentImage is no size")))
        };
        let (width, height) = (canvas("width")?, canvas("height")?);
        let denoise = sampler.number("denoise").unwrap_or(1.0);
        if denoise != 1.0 {
            return Err(bad_request(format!(
                "`denoise` of node `{id}` is {denoise}; pictures are painted from noise alone, 1"
            )));
        }
        let [positive, negative] = ["positive", "negative"].map(|side| self.condition(sampler, (id, side), 0));
        let (mut positive, negative) = (positive?, negative?);
        if !negative.boxes.is_empty() {
            return Err(bad_request(format!(
                "`negative` of node `{id}` has boxes; GLIGEN's belong to the positive side"
            )));
        }
        let (model, applied) = self.model(sampler, id)?;
        positive.files = positive.files.or(applied).or(negative.files.clone());
        let words = one_text(&negative, id)?;
        let number = |name: &str, most: f64| {
            let found = sampler.number(name).filter(|value| (0.0..=most).contains(value));
            found.ok_or_else(|| bad_request(format!("`{name}` of node `{id}` is not a number from 0 to {most}")))
        };
        let seed = sampler.inputs.get("seed").and_then(serde_json::Value::as_u64);
        let mut args = PaintingArgs {
            model: Some(model_name(&model)),
            seed: Some(seed.ok_or_else(|| bad_request(format!("`seed` of node `{id}` is not a whole number")))?),
            steps: Some(number("steps", 1000.0)? as u32),
            guidance_scale: Some(number("cfg", 100.0)?),
            scheduler: Some(scheduler(id, sampler)?),
            negative: Some(words),
            width: Some(width),
            height: Some(height),
            count: latent.number("batch_size").map(|size| size as u32),
            text: text_args(&positive, &negative)?,
            ..PaintingArgs::default()
        };
        let at_length = positive.ella.clone();
        let words = positive.clip.clone().or_else(|| at_length.clone()).unwrap_or_default();
        if positive.boxes.is_empty() {
            args.method = Some("sd".to_owned());
            if at_length.as_ref().is_some_and(|text| *text != words) {
                args.set.push(option("words", &words));
            }
            return Ok(Wanted { caption: Some(at_length.unwrap_or(words)), layout: None, args });
        }
        args.method = Some("gligen".to_owned());
        // ComfyUI's adapters are on to the end.
        args.set = vec!["gligen_scheduled_sampling_beta=1".to_owned(), option("overall_prompt", &words)];
        let layout = layout(&positive.boxes, Canvas::new(width, height)?)?;
        Ok(Wanted { caption: Some(at_length.unwrap_or(words)), layout: Some(layout), args })
    }

    /// The checkpoint behind `model`, past nodes that do nothing here.
    fn model(&self, node: &Node, id: &str) -> anyhow::Result<(String, EllaFiles)> {
        let (from, found) = self.follow(node, (id, "model"), &["CheckpointLoaderSimple", "EllaApply"])?;
        if found.class == "EllaApply" {
            let (name, files) = self.model(found, &from)?;
            let (ella_id, ella) = self.follow(found, (&from, "ella"), &["ELLALoader", "SetEllaTimesteps"])?;
            return Ok((name, files.or(self.connector(&ella_id, ella)?)));
        }
        let name = found.text("ckpt_name").ok_or_else(|| bad_request(format!("node `{from}` names no checkpoint")))?;
        Ok((name.to_owned(), EllaFiles::default()))
    }

    fn connector(&self, id: &str, node: &Node) -> anyhow::Result<EllaFiles> {
        if node.class == "ELLALoader" {
            return Ok(EllaFiles { connector: node.text("name").map(str::to_owned), ..EllaFiles::default() });
        }
        let (id, loader) = self.follow(node, (id, "ella"), &["ELLALoader"])?;
        self.connector(&id, loader)
    }

    /// The text that ELLA's language model is given.
    fn embeds(&self, node: &Node, (id, input): (&str, &str), depth: usize) -> anyhow::Result<Condition> {
        let (from, found) = self.follow(node, (id, input), &["T5TextEncode #ELLA", "CombineClipEllaEmbeds"])?;
        if found.class == "CombineClipEllaEmbeds" {
            let words = self.condition(found, (&from, "cond"), depth + 1)?;
            return Ok(self.embeds(found, (&from, "embeds"), depth + 1)?.join(words));
        }
        if found.link("embeds").is_some() {
            return Err(bad_request(format!("`embeds` of node `{from}` ({}) is not understood", found.class)));
        }
        let text = self.prompt(&from, found, "text")?;
        Ok(Condition { ella: Some(text), files: self.language_model(&from, found)?, ..Condition::default() })
    }

    fn language_model(&self, id: &str, node: &Node) -> anyhow::Result<EllaFiles> {
        let (_, loader) = self.follow(node, (id, "text_encoder"), &["T5TextEncoderLoader #ELLA"])?;
        Ok(EllaFiles {
            t5: loader.text("name").map(str::to_owned),
            max_length: loader.number("max_length"),
            dtype: loader.text("dtype").map(str::to_owned),
            connector: None,
        })
    }

    fn prompt(&self, id: &str, node: &Node, name: &str) -> anyhow::Result<String> {
        let text = node
            .text(name)
            .ok_or_else(|| bad_request(format!("`{name}` of node `{id}` ({}) is no text", node.class)))?;
        Ok(text.trim().to_owned())
    }

    /// What a conditioning says.
    fn condition(&self, node: &Node, (id, input): (&str, &str), depth: usize) -> anyhow::Result<Condition> {
        if depth > 200 {
            return Err(bad_request(format!("the graph goes in circles at node `{id}`")));
        }
        let classes =
            ["CLIPTextEncode", "GLIGENTextBoxApply", "ConditioningConcat", "EllaEncode", "EllaTextEncode", "EllaApply"];
        let output = node.link(input).map_or(0, |link| link.output);
        let (id, found) = self.follow(node, (id, input), &classes)?;
        let next = |input: &str| self.condition(found, (&id, input), depth + 1);
        match found.class.as_str() {
            "CLIPTextEncode" => Ok(Condition { clip: Some(self.prompt(&id, found, "text")?), ..Condition::default() }),
            "ConditioningConcat" => Ok(next("conditioning_to")?.join(next("conditioning_from")?)),
            "GLIGENTextBoxApply" => {
                let mut condition = next("conditioning_to")?;
                let side = |name: &str| {
                    found.number(name).ok_or_else(|| bad_request(format!("`{name}` of node `{id}` is no number")))
                };
                let bbox = [side("x")?, side("y")?, side("width")?, side("height")?];
                condition.boxes.push((self.prompt(&id, found, "text")?, bbox));
                Ok(condition)
            }
            "EllaEncode" => {
                let (ella_id, ella) = self.follow(found, (&id, "ella"), &["SetEllaTimesteps", "ELLALoader"])?;
                let files = self.connector(&ella_id, ella)?;
                let mut condition = self.embeds(found, (&id, "embeds"), depth)?;
                condition.files = condition.files.or(files);
                Ok(condition)
            }
            // The second output is CLIP's reading of `text_clip`.
            "EllaTextEncode" if output == 1 => {
                Ok(Condition { clip: Some(self.prompt(&id, found, "text_clip")?), ..Condition::default() })
            }
            "EllaTextEncode" => {
                let (ella_id, ella) = self.follow(found, (&id, "ella"), &["SetEllaTimesteps", "ELLALoader"])?;
                let files = self.language_model(&id, found)?.or(self.connector(&ella_id, ella)?);
                Ok(Condition { ella: Some(self.prompt(&id, found, "text")?), files, ..Condition::default() })
            }
            // Outputs: model, positive, negative.
            _ => self.embeds(found, (&id, if output == 2 { "negative" } else { "positive" }), depth),
        }
    }
}

/// The negative side's words, which must be the same for both encoders.
fn one_text(condition: &Condition, id: &str) -> anyhow::Result<String> {
    match (&condition.clip, &condition.ella) {
        (Some(clip), Some(ella)) if clip != ella => Err(bad_request(format!(
            "`negative` of node `{id}` has one text for CLIP and another for ELLA: give both the same"
        ))),
        (clip, ella) => Ok(clip.as_ref().or(ella.as_ref()).cloned().unwrap_or_default()),
    }
}

/// An option with a text for a value, as after `--set`.
fn option(name: &str, text: &str) -> String {
    format!("{name}={}", serde_json::Value::from(text))
}

fn scheduler(id: &str, sampler: &Node) -> anyhow::Result<String> {
    let (name, spacing) =
        (sampler.text("sampler_name").unwrap_or_default(), sampler.text("scheduler").unwrap_or_default());
    if !EVEN.contains(&spacing) {
        let known = EVEN.join(", ");
        return Err(bad_request(format!(
            "`scheduler` of node `{id}` is `{spacing}`; there is {known}, all of them even"
        )));
    }
    match SAMPLERS.iter().find(|(theirs, _)| *theirs == name) {
        Some((_, ours)) => Ok((*ours).to_owned()),
        None => {
            let known: Vec<&str> = SAMPLERS.iter().map(|(theirs, _)| *theirs).collect();
            Err(bad_request(format!("`sampler_name` of node `{id}` is `{name}`; there is {}", known.join(", "))))
        }
    }
}

/// What this program calls a checkpoint: `miniature` may have an ending, as ComfyUI lists files.
fn model_name(name: &str) -> String {
    match name.strip_suffix(".safetensors") {
        Some(sinopia_miniature::NAME) => sinopia_miniature::NAME.to_owned(),
        _ => name.to_owned(),
    }
}

fn text_args(positive: &Condition, negative: &Condition) -> anyhow::Result<TextArgs> {
    let (of_positive, of_negative) = (positive.encoder(), negative.encoder());
    let needs_ella = of_positive.needs_ella() || of_negative.needs_ella();
    let files = &positive.files;
    let file =
        |name: &Option<String>| name.clone().filter(|name| needs_ella && model_name(name) != sinopia_miniature::NAME);
    let length = match files.max_length {
        None | Some(0.0) => LengthArg::Flexible,
        Some(128.0) => LengthArg::Fixed,
        Some(other) => {
            return Err(bad_request(format!(
                "`max_length` of the T5TextEncoderLoader is {other}; there is 0 (flexible) and 128"
            )));
        }
    };
    let range = if files.dtype.as_deref() == Some("FP32") { RangeArg::F32 } else { RangeArg::F16 };
    Ok(TextArgs {
        text_encoder: Some(of_positive),
        negative_encoder: Some(of_negative).filter(|kind| *kind != of_positive),
        t5: file(&files.t5),
        ella: file(&files.connector),
        t5_length: needs_ella.then_some(length),
        t5_range: needs_ella.then_some(range),
    })
}

fn layout(boxes: &[(String, [f64; 4])], canvas: Canvas) -> anyhow::Result<Layout> {
    let object = |(phrase, [x, y, width, height]): &(String, [f64; 4])| {
        Ok(LayoutObject { phrase: phrase.clone(), bbox: PixelBox::new(*x, *y, *width, *height)? })
    };
    let objects = boxes.iter().map(object).collect::<Result<_, sinopia_layout::Error>>()?;
    let layout = Layout { canvas, objects, background: String::new(), negative: String::new() };
    Ok(repair(layout).0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph whose sampler's positive side is node 6.
    fn graph(positive: &str) -> Graph {
        let text = format!(
            r#"{{"3": {{"class_type": "KSampler", "inputs": {{"seed": 7, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
                "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}}}},
            "4": {{"class_type": "CheckpointLoaderSimple", "inputs": {{"ckpt_name": "miniature.safetensors"}}}},
            "5": {{"class_type": "EmptyLatentImage", "inputs": {{"width": 128, "height": 128, "batch_size": 1}}}},
            "7": {{"class_type": "CLIPTextEncode", "inputs": {{"text": "blurry", "clip": ["4", 1]}}}},
            "8": {{"class_type": "VAEDecode", "inputs": {{"samples": ["3", 0], "vae": ["4", 2]}}}},
            "9": {{"class_type": "SaveImage", "inputs": {{"images": ["8", 0], "filename_prefix": "x"}}}},
            {positive}}}"#
        );
        Graph::parse(&text).unwrap()
    }

    const ELLA: &str = r#""10": {"class_type": "ELLALoader", "inputs": {"name": "ella.safetensors"}},
        "11": {"class_type": "T5TextEncoderLoader #ELLA", "inputs": {"name": "flan-t5", "max_length": 0, "dtype": "FP16"}},
        "12": {"class_type": "T5TextEncode #ELLA", "inputs": {"text": "A red car on a wide beach.", "text_encoder": ["11", 0]}},
        "13": {"class_type": "SetEllaTimesteps", "inputs": {"model": ["4", 0], "ella": ["10", 0], "scheduler": "normal", "steps": 20, "denoise": 1}}"#;

    #[test]
    fn a_plain_graph_is_sd() {
        let wanted =
            read(&graph(r#""6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}}"#))
                .unwrap();
        let args = wanted.args;
        assert_eq!((args.method.as_deref(), args.model.as_deref()), (Some("sd"), Some("miniature")));
        assert_eq!((wanted.caption.as_deref(), args.negative.as_deref()), (Some("a red car"), Some("blurry")));
        assert_eq!(
            (args.scheduler.as_deref(), args.seed, args.steps, args.guidance_scale),
            (Some("euler"), Some(7), Some(20), Some(8.0))
        );
        assert_eq!(args.text.text_encoder, Some(TextEncoderKind::Clip));
    }

    #[test]
    fn boxes_are_gligens() {
        let wanted = read(&graph(
            r#""6": {"class_type": "GLIGENTextBoxApply", "inputs": {"conditioning_to": ["14", 0], "clip": ["4", 1], "gligen_textbox_model": ["15", 0],
                "text": "a red car", "width": 64, "height": 48, "x": 8, "y": 16}},
            "14": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car on a beach", "clip": ["4", 1]}},
            "15": {"class_type": "GLIGENLoader", "inputs": {"gligen_name": "gligen.safetensors"}}"#,
        ))
        .unwrap();
        let layout = wanted.layout.unwrap();
        let bbox = &layout.objects[0].bbox;
        assert_eq!((bbox.x(), bbox.y(), bbox.width(), bbox.height()), (8.0, 16.0, 64.0, 48.0));
        assert_eq!(wanted.args.set, ["gligen_scheduled_sampling_beta=1", "overall_prompt=\"a red car on a beach\""]);
    }

    #[test]
    fn ella_alone_and_with_clip() {
        let alone = format!(
            r#"{ELLA}, "6": {{"class_type": "EllaEncode", "inputs": {{"ella": ["13", 0], "embeds": ["12", 0]}}}}"#
        );
        let wanted = read(&graph(&alone)).unwrap();
        let text = wanted.args.text;
        assert_eq!(
            (text.text_encoder, text.negative_encoder),
            (Some(TextEncoderKind::Ella), Some(TextEncoderKind::Clip))
        );
        assert_eq!((text.t5.as_deref(), text.ella.as_deref()), (Some("flan-t5"), Some("ella.safetensors")));
        assert_eq!(wanted.caption.as_deref(), Some("A red car on a wide beach."));

        let both = format!(
            r#"{ELLA}, "16": {{"class_type": "EllaEncode", "inputs": {{"ella": ["13", 0], "embeds": ["12", 0]}}}},
            "17": {{"class_type": "CLIPTextEncode", "inputs": {{"text": "a red car", "clip": ["4", 1]}}}},
            "6": {{"class_type": "ConditioningConcat", "inputs": {{"conditioning_to": ["16", 0], "conditioning_from": ["17", 0]}}}}"#
        );
        let wanted = read(&graph(&both)).unwrap();
        assert_eq!(wanted.args.text.text_encoder, Some(TextEncoderKind::EllaAndClip));
        assert_eq!(wanted.args.set, ["words=\"a red car\""]);
    }

    #[test]
    fn ella_applied_to_the_model_gives_both_sides() {
        let text = r#""6": {"class_type": "EllaApply", "inputs": {"model": ["4", 0], "ella": ["10", 0], "positive": ["12", 0], "negative": ["18", 0]}},
            "18": {"class_type": "T5TextEncode #ELLA", "inputs": {"text": "low quality", "text_encoder": ["11", 0]}}"#;
        let mut json = graph(&format!("{ELLA}, {text}")).to_json();
        json["3"]["inputs"]["model"] = serde_json::json!(["6", 0]);
        json["3"]["inputs"]["positive"] = serde_json::json!(["6", 1]);
        json["3"]["inputs"]["negative"] = serde_json::json!(["6", 2]);
        let wanted = read(&Graph::parse(&json.to_string()).unwrap()).unwrap();
        assert_eq!(
            (wanted.args.text.text_encoder, wanted.args.text.negative_encoder),
            (Some(TextEncoderKind::Ella), None)
        );
        assert_eq!(wanted.args.negative.as_deref(), Some("low quality"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let plain = r#""6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red car", "clip": ["4", 1]}}"#;
        let refusal = |node: &str, input: &str, value: serde_json::Value| {
            let mut json = graph(plain).to_json();
            json[node]["inputs"][input] = value;
            read(&Graph::parse(&json.to_string()).unwrap()).unwrap_err().to_string()
        };
        assert!(
            refusal("3", "sampler_name", "heun".into())
                .contains("`sampler_name` of node `3` is `heun`; there is euler")
        );
        assert!(refusal("3", "scheduler", "karras".into()).contains("`scheduler` of node `3` is `karras`"));
        assert!(refusal("3", "denoise", 0.5.into()).contains("`denoise` of node `3` is 0.5"));
        assert!(
            refusal("3", "positive", "x".into()).contains("`positive` of node `3` (KSampler) is linked to nothing")
        );
        assert!(refusal("3", "positive", serde_json::json!(["99", 0])).contains("node `99`, which it does not have"));
        assert!(
            refusal("3", "latent_image", serde_json::json!(["4", 0])).contains("comes from a `CheckpointLoaderSimple`")
        );
        assert!(refusal("3", "seed", (-1).into()).contains("`seed` of node `3`"));
        assert!(refusal("9", "images", serde_json::json!(["3", 0])).contains("comes from a `KSampler`"));
    }

    #[test]
    fn a_circle_ends() {
        let circle = r#""6": {"class_type": "ConditioningConcat", "inputs": {"conditioning_to": ["6", 0], "conditioning_from": ["6", 0]}}"#;
        assert!(read(&graph(circle)).unwrap_err().to_string().contains("goes in circles"));
    }
}
