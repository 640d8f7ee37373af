//! What a conditioning of a graph says: texts for CLIP and for ELLA, and boxes.

use sinopia_diffusion::TextEncoderKind;

use super::prompt;
use super::reader::{Place, Reader};
use crate::cli::failure::bad_request;

/// How many nodes that join others may stand behind one another.
const MAX_DEPTH: usize = 64;

/// A conditioning: what each encoder reads, and boxes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Condition {
    pub(super) clip: Option<String>,
    pub(super) ella: Option<String>,
    /// Words, and x, y, width, height in pixels.
    pub(super) boxes: Vec<(String, [f64; 4])>,
    pub(super) files: EllaFiles,
}

/// The loaders that ELLA's nodes lead to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct EllaFiles {
    pub(super) connector: Option<String>,
    pub(super) t5: Option<String>,
    /// 0 is flexible.
    pub(super) max_length: Option<f64>,
    pub(super) dtype: Option<String>,
    /// The node that says the steps which ELLA's tokens are made for, the noise levels' name and their number.
    pub(super) timesteps: Option<(String, String, f64)>,
}

/// What ELLA's nodes hand on before ELLA reads it.
#[derive(Debug, Clone, Default)]
struct Embeds {
    t5: Option<String>,
    clip: Option<String>,
    files: EllaFiles,
}

impl EllaFiles {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            connector: self.connector.or(other.connector),
            t5: self.t5.or(other.t5),
            max_length: self.max_length.or(other.max_length),
            dtype: self.dtype.or(other.dtype),
            timesteps: self.timesteps.or(other.timesteps),
        }
    }
}

impl Condition {
    pub(super) fn encoder(&self) -> TextEncoderKind {
        match (&self.clip, &self.ella) {
            (Some(_), Some(_)) => TextEncoderKind::EllaAndClip,
            (None, Some(_)) => TextEncoderKind::Ella,
            _ => TextEncoderKind::Clip,
        }
    }
}

impl Embeds {
    /// Both together; what both have is the other's.
    fn with(self, other: Self) -> Self {
        Self { t5: other.t5.or(self.t5), clip: other.clip.or(self.clip), files: other.files.or(self.files) }
    }
}

const CONDITIONINGS: [&str; 6] =
    ["CLIPTextEncode", "GLIGENTextBoxApply", "ConditioningConcat", "EllaEncode", "EllaTextEncode", "EllaApply"];
const EMBEDS: [&str; 5] = [
    "T5TextEncode #ELLA",
    "EllaCombineEmbeds",
    "CombineClipEllaEmbeds",
    "ConcatConditionEllaEmbeds",
    "ConditionToEllaEmbeds",
];

impl<'a> Reader<'a> {
    /// What the conditioning says that an input is linked to.
    pub(super) fn condition(&self, place: Place<'a>, input: &str) -> anyhow::Result<Condition> {
        self.condition_at(place, input, 0)
    }

    fn condition_at(&self, place: Place<'a>, input: &str, depth: usize) -> anyhow::Result<Condition> {
        check_depth(place, depth)?;
        let mut found = self.follow(place, input, &CONDITIONINGS)?;
        let mut boxes = Vec::new();
        while found.is("GLIGENTextBoxApply") {
            boxes.push(self.grounding_box(found)?);
            found = self.follow(found, "conditioning_to", &CONDITIONINGS)?;
        }
        let mut condition = self.text_condition(found, depth)?;
        // The first box stands nearest to the text.
        condition.boxes.extend(boxes.into_iter().rev());
        Ok(condition)
    }

    fn grounding_box(&self, place: Place<'a>) -> anyhow::Result<(String, [f64; 4])> {
        self.follow_if_linked(place, "gligen_textbox_model", &["GLIGENLoader"])?;
        let side = |name: &str| self.number_from(place, name, (-1e6, 1e6));
        Ok((self.words(place, ("text", "clip"))?, [side("x")?, side("y")?, side("width")?, side("height")?]))
    }

    fn text_condition(&self, found: Place<'a>, depth: usize) -> anyhow::Result<Condition> {
        match found.node.class.as_str() {
            "CLIPTextEncode" => {
                Ok(Condition { clip: Some(self.words(found, ("text", "clip"))?), ..Condition::default() })
            }
            "ConditioningConcat" => self.concat(found, depth),
            "EllaEncode" => {
                let embeds = self.embeds(found, "embeds", depth + 1)?;
                if embeds.clip.is_some() {
                    self.note(format!(
                        "{} leaves out what CLIP reads, as ComfyUI-ELLA does; ConditioningConcat joins the two",
                        found.shown()
                    ));
                }
                self.ella_alone(found, embeds)
            }
            // The second output is CLIP's reading of `text_clip`, which the first has too if there is a CLIP.
            "EllaTextEncode" => {
                let has_clip = found.node.link("clip").is_some();
                let clip = has_clip.then(|| self.words_or_none(found, ("text_clip", "clip"))).transpose()?;
                if found.output == 1 {
                    let nothing = || bad_request(format!("`clip` of {} is linked to nothing", found.shown()));
                    return Ok(Condition { clip: Some(clip.ok_or_else(nothing)?), ..Condition::default() });
                }
                let files = self.language_model(found)?.or(self.connector(found)?);
                Ok(Condition { ella: Some(self.text(found, "text")?), clip, files, ..Condition::default() })
            }
            _ => self.applied(found, depth),
        }
    }

    /// ComfyUI puts one's tokens behind the other's, and keeps what else the first carries.
    fn concat(&self, place: Place<'a>, depth: usize) -> anyhow::Result<Condition> {
        let to = self.condition_at(place, "conditioning_to", depth + 1)?;
        let from = self.condition_at(place, "conditioning_from", depth + 1)?;
        if (to.clip.is_some() && from.clip.is_some()) || (to.ella.is_some() && from.ella.is_some()) {
            let both = if to.clip.is_some() && from.clip.is_some() { "CLIP" } else { "ELLA" };
            return Err(bad_request(format!(
                "{} joins two texts that {both} reads; one of CLIP's and one of ELLA's can be joined",
                place.shown()
            )));
        }
        if !from.boxes.is_empty() {
            self.note(format!(
                "{} leaves the boxes of `conditioning_from` out, as ComfyUI does: {}",
                place.shown(),
                from.boxes.iter().map(|(words, _)| format!("`{words}`")).collect::<Vec<_>>().join(", ")
            ));
        }
        if from.ella.is_some() {
            self.note(format!(
                "{}: of an ELLA that is `conditioning_from`, ComfyUI takes the tokens of its first step for all steps; here each step has its own",
                place.shown()
            ));
        }
        Ok(Condition {
            clip: to.clip.or(from.clip),
            ella: to.ella.or(from.ella),
            boxes: to.boxes,
            files: to.files.or(from.files),
        })
    }

    /// `EllaApply`, whose outputs are model, positive and negative.
    fn applied(&self, place: Place<'a>, depth: usize) -> anyhow::Result<Condition> {
        let embeds = self.embeds(place, if place.output == 2 { "negative" } else { "positive" }, depth + 1)?;
        let clip = embeds.clip.clone();
        let condition = self.ella_alone(place, embeds)?;
        // Where steps are known beforehand, ELLA's tokens are made from its own text alone.
        if condition.files.timesteps.is_none() {
            return Ok(Condition { clip, ..condition });
        }
        if clip.is_some() {
            self.note(format!("{} with timesteps leaves out what CLIP reads, as ComfyUI-ELLA does", place.shown()));
        }
        Ok(condition)
    }

    fn ella_alone(&self, place: Place<'a>, embeds: Embeds) -> anyhow::Result<Condition> {
        let Some(text) = embeds.t5 else {
            return Err(bad_request(format!("no text for ELLA's language model leads to {}", place.shown())));
        };
        let files = embeds.files.or(self.connector(place)?);
        Ok(Condition { ella: Some(text), files, ..Condition::default() })
    }

    /// ELLA's own file and its steps, behind `ella` (and `sigmas`) of a node.
    pub(super) fn connector(&self, place: Place<'a>) -> anyhow::Result<EllaFiles> {
        let mut files = EllaFiles::default();
        if let Some(scheduler) = self.follow_if_linked(place, "sigmas", &["BasicScheduler"])? {
            files.timesteps = Some(self.timesteps(scheduler)?);
        }
        let mut ella = self.follow(place, "ella", &["SetEllaTimesteps", "ELLALoader"])?;
        if ella.is("SetEllaTimesteps") {
            let scheduler = self.follow_if_linked(ella, "sigmas", &["BasicScheduler"])?;
            files.timesteps = files.timesteps.or(Some(self.timesteps(scheduler.unwrap_or(ella))?));
            ella = self.follow(ella, "ella", &["ELLALoader"])?;
        }
        files.connector = Some(self.text(ella, "name")?);
        Ok(files)
    }

    fn timesteps(&self, place: Place<'a>) -> anyhow::Result<(String, String, f64)> {
        let steps = self.number(place, "steps")?.unwrap_or_default();
        Ok((place.shown(), self.text(place, "scheduler")?, steps))
    }

    fn language_model(&self, place: Place<'a>) -> anyhow::Result<EllaFiles> {
        let loader = self.follow(place, "text_encoder", &["T5TextEncoderLoader #ELLA"])?;
        let dtype = self.value(loader, "dtype")?.and_then(serde_json::Value::as_str);
        Ok(EllaFiles {
            t5: Some(self.text(loader, "name")?),
            max_length: self.number(loader, "max_length")?,
            dtype: dtype.map(str::to_owned),
            ..EllaFiles::default()
        })
    }

    /// The texts behind an input of ELLA's nodes.
    fn embeds(&self, place: Place<'a>, input: &str, depth: usize) -> anyhow::Result<Embeds> {
        check_depth(place, depth)?;
        let found = self.follow(place, input, &EMBEDS)?;
        let next = |input: &str| self.embeds(found, input, depth + 1);
        let words = || {
            let condition = self.condition_at(found, "cond", depth + 1)?;
            let Some(clip) = condition.clip.filter(|_| condition.ella.is_none()) else {
                return Err(bad_request(format!("`cond` of {} is not what CLIP alone reads", found.shown())));
            };
            Ok(Embeds { clip: Some(clip), ..Embeds::default() })
        };
        match found.node.class.as_str() {
            "EllaCombineEmbeds" => Ok(next("embeds")?.with(next("embeds_add")?)),
            "CombineClipEllaEmbeds" | "ConcatConditionEllaEmbeds" => Ok(words()?.with(next("embeds")?)),
            "ConditionToEllaEmbeds" => words(),
            _ => {
                let (t5, files) = (Some(self.text(found, "text")?), self.language_model(found)?);
                let own = Embeds { t5, clip: None, files };
                Ok(if found.node.link("embeds").is_some() { next("embeds")?.with(own) } else { own })
            }
        }
    }

    /// A text for CLIP, without the weights that ComfyUI reads in it; `clip` is the input that says whose.
    fn words(&self, place: Place<'a>, (name, clip): (&str, &str)) -> anyhow::Result<String> {
        if let Some(loader) = self.follow_if_linked(place, clip, &["CheckpointLoaderSimple"])? {
            self.read_by(loader);
        }
        let plain = prompt::unweighted(&self.text(place, name)?);
        if plain.is_weighted {
            self.note(format!(
                "the weights in `{name}` of {} count for nothing here: all words weigh 1",
                place.shown()
            ));
        }
        if plain.text.contains("embedding:") {
            self.note(format!("`embedding:` in `{name}` of {} is read as words: none is loaded", place.shown()));
        }
        Ok(plain.text)
    }

    fn words_or_none(&self, place: Place<'a>, names: (&str, &str)) -> anyhow::Result<String> {
        match self.value(place, names.0)? {
            None => Ok(String::new()),
            Some(_) => self.words(place, names),
        }
    }
}

fn check_depth(place: Place<'_>, depth: usize) -> anyhow::Result<()> {
    if depth > MAX_DEPTH {
        return Err(bad_request(format!(
            "the graph goes in circles at node `{}`, or joins more than {MAX_DEPTH} times",
            place.id
        )));
    }
    Ok(())
}
