//! From a graph to what `generate` is given: followed backwards from the image that is saved.

use serde_json::Value;
use sinopia_diffusion::TextEncoderKind;
use sinopia_diffusion::methods::{Gligen, Sd};
use sinopia_diffusion::schedulers::SchedulerName;
use sinopia_layout::repair::{Change, repair};
use sinopia_layout::{Canvas, Layout, LayoutObject, PixelBox};
use sinopia_models::ella::TextLength;
use sinopia_models::t5::StateRange;
use sinopia_studio::{PaintSettings, PaintSpec};

use super::conditioning::{Condition, EllaFiles};
use super::graph::Graph;
use super::reader::{Place, Reader};
use super::{nodes, sampling};
use crate::cli::args::Painting;
use crate::cli::failure::bad_request;

/// Pixels that a latent stands for.
const LATENT: f64 = 8.0;

/// Where `export` notes the scheduler that it was given: ComfyUI has no name for the spacing of a model's own config.
pub(super) const SCHEDULER_NOTE: &str = "sinopia_scheduler";

/// What a graph asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The picture, without what flags say.
    pub(super) spec: PaintSpec,
    /// Pictures to make.
    pub(super) count: Option<u32>,
    /// What had to be repaired in the layout, in words.
    pub(super) changes: Vec<String>,
    /// What is not as in ComfyUI, in words.
    pub(super) notes: Vec<String>,
}

/// What the graph's one image is made of. What `flags` say is not asked of the graph, so that it cannot be wrong there.
pub(super) fn read(graph: &Graph, flags: &Painting) -> anyhow::Result<Wanted> {
    let reader = Reader::new(graph);
    let decoder = reader.saved(graph)?;
    let sampler = reader.follow(decoder, "samples", &["KSampler"])?;
    let wanted = reader.paint(sampler, decoder, flags)?;
    Ok(Wanted { notes: reader.into_notes(), ..wanted })
}

/// The graph's settings where no flag says otherwise.
pub(super) fn merged(of_graph: PaintSettings, flags: PaintSettings) -> PaintSettings {
    // What the graph has the negative side read by belongs to its own encoder.
    let negative_encoder = of_graph.negative_encoder.filter(|_| flags.text_encoder.is_none());
    let merged = flags.clone().or(PaintSettings { negative_encoder, t5: None, ella: None, ..of_graph.clone() });
    let encoders = [merged.text_encoder, merged.negative_encoder];
    let needs_ella = encoders.into_iter().flatten().any(TextEncoderKind::needs_ella);
    PaintSettings {
        t5: flags.t5.or(of_graph.t5.filter(|_| needs_ella)),
        ella: flags.ella.or(of_graph.ella.filter(|_| needs_ella)),
        ..merged
    }
}

impl<'a> Reader<'a> {
    /// The node that decodes the image which is saved or, if none is, shown. Several nodes may save the same.
    fn saved(&self, graph: &Graph) -> anyhow::Result<Place<'a>> {
        for class in nodes::OUTPUTS {
            let mut decoders: Vec<(Place<'a>, Vec<&str>)> = Vec::new();
            for output in self.of_class(class)? {
                let decoder = self.follow(output, "images", &["VAEDecode"])?;
                match decoders.iter_mut().find(|(known, _)| known.id == decoder.id) {
                    Some((_, outputs)) => outputs.push(output.id),
                    None => decoders.push((decoder, vec![output.id])),
                }
            }
            match decoders.as_slice() {
                [] => {}
                [(decoder, _)] => return Ok(*decoder),
                several => {
                    let each: Vec<String> =
                        several.iter().map(|(_, outputs)| format!("`{}`", outputs.join("`, `"))).collect();
                    let also = graph.unknown().map(|unknown| format!("\n  and {unknown}")).unwrap_or_default();
                    return Err(bad_request(format!(
                        "the graph makes {} pictures, at the nodes {}; `sinopia run` paints one: mute or delete the others{also}",
                        several.len(),
                        each.join(" and ")
                    )));
                }
            }
        }
        let nothing = "the graph saves no image: it has neither a SaveImage nor a PreviewImage that is not muted";
        Err(bad_request(match graph.unknown() {
            Some(unknown) => format!("{unknown}\n  and {nothing}"),
            None => nothing.to_owned(),
        }))
    }

    fn paint(&self, sampler: Place<'a>, decoder: Place<'a>, typed: &Painting) -> anyhow::Result<Wanted> {
        let flags = &typed.settings;
        let latent = self.follow(sampler, "latent_image", &["EmptyLatentImage"])?;
        let denoise = self.number(sampler, "denoise")?.unwrap_or(1.0);
        if denoise != 1.0 {
            return Err(bad_request(format!(
                "`denoise` of {} is {denoise}; pictures are painted from noise alone, 1",
                sampler.shown()
            )));
        }
        let (model, applied) = self.model(sampler)?;
        let mut positive = self.condition(sampler, "positive")?;
        let negative = self.condition(sampler, "negative")?;
        self.check_parts(decoder, model)?;
        if !negative.boxes.is_empty() {
            return Err(bad_request(format!(
                "`negative` of {} has boxes; GLIGEN's belong to the positive side",
                sampler.shown()
            )));
        }
        positive.files = positive.files.or(applied).or(negative.files.clone());
        let width = given_or(flags.width, || self.side(latent, "width"))?;
        let height = given_or(flags.height, || self.side(latent, "height"))?;
        let settings = PaintSettings {
            model: unless(flags.model.as_ref(), || Ok(model_name(&self.text(model, "ckpt_name")?)))?,
            seed: unless(flags.seed.as_ref(), || self.seed(sampler))?,
            steps: unless(flags.steps.as_ref(), || Ok(self.number_from(sampler, "steps", (1.0, 1000.0))? as u32))?,
            guidance_scale: unless(flags.guidance_scale.as_ref(), || self.number_from(sampler, "cfg", (1.0, 100.0)))?,
            scheduler: match flags.scheduler {
                Some(_) => None,
                None => self.scheduler(sampler, &positive.files)?.map(|name| name.to_string()),
            },
            negative: unless(flags.negative.as_ref(), || one_text(&negative, sampler))?,
            width: Some(width),
            height: Some(height),
            ..text_settings(&positive, &negative, flags)?
        };
        let count = unless(typed.count.as_ref(), || self.count(latent))?;
        let at_length = positive.ella.clone();
        let words = positive.clip.clone().or_else(|| at_length.clone()).unwrap_or_default();
        // Without boxes nothing is asked of the graph's size that a flag says.
        let canvas =
            if positive.boxes.is_empty() { Canvas::new(width, height)? } else { self.canvas(latent, (width, height))? };
        let (layout, changes) = self.layout(&positive.boxes, canvas)?;
        let layout = Some(layout).filter(|layout| !layout.objects.is_empty());
        let spec = PaintSpec { layout, settings, ..PaintSpec::default() };
        Ok(Wanted { spec: with_words(spec, words, at_length), count, changes, notes: Vec::new() })
    }

    /// The checkpoint behind `model`, and the ELLA on the way to it.
    fn model(&self, sampler: Place<'a>) -> anyhow::Result<(Place<'a>, EllaFiles)> {
        let mut files = EllaFiles::default();
        let mut place = self.follow(sampler, "model", &["CheckpointLoaderSimple", "EllaApply"])?;
        while place.is("EllaApply") {
            files = files.or(self.connector(place)?);
            place = self.follow(place, "model", &["CheckpointLoaderSimple", "EllaApply"])?;
        }
        Ok((place, files))
    }

    /// Tells of another CLIP or VAE than the checkpoint's, which are the ones that read and decode.
    fn check_parts(&self, decoder: Place<'a>, model: Place<'a>) -> anyhow::Result<()> {
        for loader in self.encoders().into_iter().filter(|loader| loader.id != model.id) {
            let name = self.text(loader, "ckpt_name")?;
            self.note(format!(
                "the CLIP of `{name}` of {} is not loaded: the model's own reads prompts",
                loader.shown()
            ));
        }
        let vae = self.follow_if_linked(decoder, "vae", &["CheckpointLoaderSimple", "VAELoader"])?;
        let Some(vae) = vae.filter(|vae| vae.id != model.id) else { return Ok(()) };
        let name = self.text(vae, if vae.is("VAELoader") { "vae_name" } else { "ckpt_name" })?;
        self.note(format!("the VAE `{name}` of {} is not loaded: the model's own decodes the picture", vae.shown()));
        Ok(())
    }

    fn seed(&self, sampler: Place<'a>) -> anyhow::Result<u64> {
        let value = self.value(sampler, "seed")?.unwrap_or(&Value::Null);
        let text = || value.as_str()?.trim().parse().ok();
        // Whole numbers that a program wrote with a fraction; beyond 2⁵³ they are what is left of the seed.
        let whole = || value.as_f64().filter(|seed| (0.0..1.8e19).contains(seed) && seed.fract() == 0.0);
        let seed = value.as_u64().or_else(text).or_else(|| whole().map(|seed| seed as u64));
        seed.ok_or_else(|| {
            bad_request(format!("`seed` of {} is {value}; a whole number from 0 is expected", sampler.shown()))
        })
    }

    /// A side in pixels, of whole latents.
    fn side(&self, latent: Place<'a>, name: &str) -> anyhow::Result<u32> {
        let side = self.number_from(latent, name, (LATENT, 4096.0))?;
        let whole = (side / LATENT).floor() * LATENT;
        if whole != side {
            self.note(format!("`{name}` of {} is {side}: as in ComfyUI, {whole} pixels are painted", latent.shown()));
        }
        Ok(whole as u32)
    }

    /// The canvas that boxes are counted on: the graph's, whatever size is painted.
    fn canvas(&self, latent: Place<'a>, painted: (u32, u32)) -> anyhow::Result<Canvas> {
        let side = |name: &str| self.side(latent, name).ok();
        let (width, height) = side("width").zip(side("height")).unwrap_or(painted);
        Ok(Canvas::new(width, height)?)
    }

    /// The boxes as a layout, every one inside its canvas, and how they were repaired. Those that are lost are told apart.
    fn layout(&self, boxes: &[(String, [f64; 4])], canvas: Canvas) -> anyhow::Result<(Layout, Vec<String>)> {
        let object = |(phrase, [x, y, width, height]): &(String, [f64; 4])| {
            Ok(LayoutObject { phrase: phrase.clone(), bbox: PixelBox::new(*x, *y, *width, *height)? })
        };
        let objects = boxes.iter().map(object).collect::<Result<_, sinopia_layout::Error>>()?;
        let layout = Layout { canvas, objects, background: String::new(), negative: String::new() };
        let (layout, report) = repair(layout);
        let (lost, repaired): (Vec<_>, Vec<_>) =
            report.changes.iter().partition(|change| matches!(change, Change::Dropped { .. }));
        lost.iter().for_each(|change| self.note(change.to_string()));
        Ok((layout, repaired.iter().map(ToString::to_string).collect()))
    }

    fn count(&self, latent: Place<'a>) -> anyhow::Result<u32> {
        let count = match self.number(latent, "batch_size")? {
            None => 1.0,
            Some(_) => self.number_from(latent, "batch_size", (1.0, 10_000.0))?.floor(),
        };
        if count > 1.0 {
            self.note(format!(
                "{} asks for {count} pictures: each has the next seed here; ComfyUI draws the noise of all from the first",
                latent.shown()
            ));
        }
        Ok(count as u32)
    }

    /// The scheduler; `None` is the model's own, as `export` noted it.
    fn scheduler(&self, sampler: Place<'a>, files: &EllaFiles) -> anyhow::Result<Option<SchedulerName>> {
        let name = self.text(sampler, "sampler_name")?;
        let levels = self.text(sampler, "scheduler")?;
        let refused = |key: &str, found: &str, known: &str| {
            bad_request(format!("`{key}` of {} is `{found}`; there is {known}", sampler.shown()))
        };
        let kind = sampling::sampler(&name).map_err(|known| refused("sampler_name", &name, &known))?;
        let sigmas = sampling::levels(&levels).map_err(|known| refused("scheduler", &levels, &known))?;
        let steps = self.number(sampler, "steps").ok().flatten();
        let differs = |(_, of_ella, count): &&(String, String, f64)| *of_ella != levels || Some(*count) != steps;
        if let Some((shown, of_ella, count)) = files.timesteps.as_ref().filter(differs) {
            self.note(format!(
                "{shown} has ELLA's tokens made for {count} steps of `{of_ella}`, {} takes others: here they are made for each step that is taken",
                sampler.shown()
            ));
        }
        let read = SchedulerName { kind, sigmas: Some(sigmas) };
        let noted = sampler.node.meta.get(SCHEDULER_NOTE).and_then(Value::as_str);
        match noted {
            Some("") if (name.as_str(), levels.as_str()) == ("ddim", "normal") => Ok(None),
            // The note counts as long as what it stands for is unchanged.
            Some(noted) => match noted.parse::<SchedulerName>() {
                Ok(noted) if sampling::names(noted) == sampling::names(read) => Ok(Some(noted)),
                _ => Ok(Some(read)),
            },
            None => Ok(Some(read)),
        }
    }
}

/// `flag`, or what the graph says.
fn given_or<T: Copy>(flag: Option<T>, of_graph: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    flag.map_or_else(of_graph, Ok)
}

/// What the graph says, unless a flag does.
fn unless<T>(flag: Option<&T>, of_graph: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    if flag.is_some() { Ok(None) } else { of_graph().map(Some) }
}

/// With the method that fits, GLIGEN for boxes and plain Stable Diffusion without, and with the graph's own words.
fn with_words(spec: PaintSpec, words: String, at_length: Option<String>) -> PaintSpec {
    let mut settings = spec.settings;
    let mut set = |name: &str, value: Value| settings.options.insert(name.to_owned(), value);
    if spec.layout.is_some() {
        set("gligen_scheduled_sampling_beta", 1.0.into()); // ComfyUI's adapters are on to the end
        set("overall_prompt", words.clone().into());
    } else if at_length.as_ref().is_some_and(|text| *text != words) {
        set("words", words.clone().into());
    }
    settings.method = Some(if spec.layout.is_some() { Gligen::NAME } else { Sd::NAME }.to_owned());
    PaintSpec { caption: Some(at_length.unwrap_or(words)), settings, ..spec }
}

/// The negative side's words, which must be the same for both encoders.
fn one_text(condition: &Condition, sampler: Place<'_>) -> anyhow::Result<String> {
    match (&condition.clip, &condition.ella) {
        (Some(clip), Some(ella)) if clip != ella => Err(bad_request(format!(
            "`negative` of {} has one text for CLIP and another for ELLA: give both the same, or `--negative TEXT`",
            sampler.shown()
        ))),
        (clip, ella) => Ok(clip.as_ref().or(ella.as_ref()).cloned().unwrap_or_default()),
    }
}

/// What this program calls a checkpoint: `miniature` may have an ending, as ComfyUI lists files.
fn model_name(name: &str) -> String {
    match name.strip_suffix(".safetensors") {
        Some(sinopia_miniature::NAME) => sinopia_miniature::NAME.to_owned(),
        _ => name.to_owned(),
    }
}

/// What the two sides are read by.
fn text_settings(positive: &Condition, negative: &Condition, flags: &PaintSettings) -> anyhow::Result<PaintSettings> {
    let (of_positive, of_negative) = (positive.encoder(), negative.encoder());
    let needs_ella = of_positive.needs_ella() || of_negative.needs_ella();
    let files = &positive.files;
    let file = |name: &Option<String>| name.as_deref().filter(|_| needs_ella).map(model_name);
    let length = match files.max_length {
        _ if flags.t5_length.is_some() => TextLength::Flexible,
        None | Some(0.0) => TextLength::Flexible,
        Some(128.0) => TextLength::Fixed,
        Some(other) => {
            return Err(bad_request(format!(
                "`max_length` of the T5TextEncoderLoader is {other}; there is 0 (flexible) and 128"
            )));
        }
    };
    let range = if files.dtype.as_deref() == Some("FP32") { StateRange::F32 } else { StateRange::F16 };
    Ok(PaintSettings {
        text_encoder: Some(of_positive),
        negative_encoder: Some(of_negative).filter(|kind| *kind != of_positive),
        t5: file(&files.t5),
        ella: file(&files.connector),
        t5_length: needs_ella.then_some(length),
        t5_range: needs_ella.then_some(range),
        ..PaintSettings::default()
    })
}

#[cfg(test)]
mod tests;
