//! What goes over the wire. The OpenAPI document is made from these types and their comments.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sinopia_layout::{Layout, PixelBox, limits};
use utoipa::{IntoParams, ToSchema};

use crate::seed::{self, SeedDoc};

mod checked;

pub use checked::{Attempt, Decision, Editing, InitImage, Operation, PictureEdit, Subject, Upload};

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Is being painted.
    Running,
    /// Its picture is there.
    Done,
    /// There will be no picture; `error` says why.
    Failed,
    /// Somebody wanted it no more.
    Cancelled,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Done, Self::Failed, Self::Cancelled];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will happen to it any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// From left to right.
    #[schema(minimum = 1, maximum = 16384)]
    pub width: u32,
    /// From top to bottom.
    #[schema(minimum = 1, maximum = 16384)]
    pub height: u32,
}

impl Size {
    /// How many pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// What stands where, in pixels of its canvas; any canvas will do, boxes scale with the picture.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Layout)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "describes `sinopia_layout::Layout`, which reads and writes itself")]
pub(crate) struct LayoutDoc {
    /// What the boxes are measured in.
    canvas: Size,
    /// The boxes, at most 200.
    #[schema(max_items = 200)]
    objects: Vec<ObjectDoc>,
    /// What is around them, in words.
    #[schema(max_length = 4000)]
    #[serde(default)]
    background: String,
    /// What must not be there.
    #[schema(max_length = 4000)]
    #[serde(default)]
    negative: String,
}

/// A thing and its box.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LayoutObject)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as `LayoutDoc`")]
pub(crate) struct ObjectDoc {
    /// The thing in words, such as `a blue dog`.
    #[schema(min_length = 1, max_length = 300)]
    phrase: String,
    /// Left, top, width, height.
    #[schema(min_items = 4, max_items = 4, example = json!([50, 200, 200, 300]))]
    bbox: [f64; 4],
}

/// A picture that is wanted. What is left out is as the server's defaults say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// What the picture shows. May be left out if there is a layout.
    #[schema(max_length = 4000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// What stands where; planned from the caption if it is left out and the method paints layouts.
    #[schema(value_type = Option<LayoutDoc>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// A method that `/api/options` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// A model that `/api/options` lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Where the noise starts: same seed, same picture. A number, or the same as text: JavaScript rounds numbers above 2^53.
    #[schema(value_type = Option<SeedDoc>)]
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "seed::read_optional")]
    pub seed: Option<u64>,
    /// Denoising steps.
    #[schema(minimum = 1)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
    /// How strictly the picture follows the prompt; 1 turns guidance off. By default what suits the model.
    #[schema(minimum = 1, maximum = 100)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
    /// A scheduler that `/api/options` lists; by default the method's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<String>,
    /// Options of the method, by name. Those that are seeds may be text, as `seed`.
    #[schema(value_type = Object)]
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// Whether a detector shall look at the picture when it is there.
    #[serde(default)]
    pub judge: bool,
    /// What must not be in the picture, in place of the default quality keywords.
    #[schema(max_length = 4000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative: Option<String>,
    /// Width in pixels, a multiple of 8; by default the model's own.
    #[schema(minimum = 8, maximum = 4096)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels, likewise.
    #[schema(minimum = 8, maximum = 4096)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Classifier-free guidance in this share of the steps only: first and end, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_interval: Option<(f64, f64)>,
    /// The deep layers of the UNet in every n-th step only.
    #[schema(minimum = 1, maximum = 1000)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_every: Option<u32>,
    /// Self-attention on the finest grid looks at windows of this side.
    #[schema(minimum = 1, maximum = 8)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_tokens: Option<u32>,
    /// What reads the prompts: `clip`, `ella` or `ella+clip`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<String>,
    /// What reads the negative prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negative_encoder: Option<String>,
    /// How many pictures with seeds of their own may be painted until one is as the layout says; the best comes out.
    #[schema(minimum = 1, maximum = 16)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Whether what is wrong with the best of them is repaired.
    #[serde(default, skip_serializing_if = "is_false")]
    pub repair: bool,
    /// A picture that painting begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitImage>,
    /// What to change of a picture that is there. All else is as that picture's recipe says: only `seed` and `judge` may stand beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit: Option<PictureEdit>,
}

impl JobRequest {
    /// Most pictures of their own that are painted for one.
    pub const MAX_ATTEMPTS: u32 = 16;

    /// Most operations of an edit.
    pub const MAX_OPERATIONS: usize = 50;

    /// Whether somebody looks at its pictures while it is painted.
    pub fn is_checked(&self) -> bool {
        self.repair || self.attempts.is_some()
    }

    /// The picture that it begins with: a job's, or an upload.
    pub fn source(&self) -> Option<&str> {
        let edited = self.edit.as_ref().map(|edit| edit.job.as_str());
        edited.or_else(|| self.init.as_ref().map(|init| init.image.as_str()))
    }

    /// The upload that says what of that may change.
    pub fn mask(&self) -> Option<&str> {
        self.init.as_ref()?.mask.as_deref()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A picture on its way, or made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// Where it is in its life.
    pub state: JobState,
    /// The caption; empty if there was none.
    pub caption: String,
    /// The layout, once there is one.
    #[schema(value_type = Option<LayoutDoc>)]
    pub layout: Option<Layout>,
    /// The method.
    pub method: String,
    /// The model.
    pub model: String,
    /// Where the noise starts.
    pub seed: u64,
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    #[serde(default)]
    pub seed_text: String,
    /// Denoising steps.
    pub steps: u32,
    /// How strictly the picture follows the prompt; null until the model is loaded if the request left it open.
    pub guidance_scale: Option<f64>,
    /// The scheduler; null leaves it to the method.
    pub scheduler: Option<String>,
    /// Options of the method that the request set; whole numbers above 2^53 are text.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// What must not be in the picture, if that was said.
    #[serde(default)]
    pub negative: Option<String>,
    /// Width in pixels.
    #[serde(default)]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(default)]
    pub height: Option<u32>,
    /// The share of the steps with classifier-free guidance, if the request set it.
    #[serde(default)]
    pub guidance_interval: Option<(f64, f64)>,
    /// In every how many steps the deep layers are run, if the request set it.
    #[serde(default)]
    pub deep_every: Option<u32>,
    /// The side of self-attention's windows, if the request set it.
    #[serde(default)]
    pub merge_tokens: Option<u32>,
    /// What reads the prompts, if the request set it.
    #[serde(default)]
    pub text_encoder: Option<String>,
    /// What reads the negative prompt, if the request set it.
    #[serde(default)]
    pub negative_encoder: Option<String>,
    /// When it was asked for (RFC 3339, UTC).
    pub created: String,
    /// When painting began, the last time.
    pub started: Option<String>,
    /// When it ended.
    pub finished: Option<String>,
    /// How many jobs are before it in the queue.
    pub position: Option<u64>,
    /// How far it is, while it is painted.
    pub progress: Option<Progress>,
    /// Why there is no picture.
    pub error: Option<JobError>,
    /// Where the picture is.
    pub image: Option<String>,
    /// What a detector saw, if it was asked.
    pub verdict: Option<Verdict>,
    /// What was tried on the way to a checked picture, in that order; the last one that was accepted is the picture.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
    /// What somebody who looked at the picture says of the verdict.
    #[serde(default)]
    pub decisions: Vec<Decision>,
    /// What it begins with, if the request said so.
    #[serde(default)]
    pub init: Option<InitImage>,
    /// What it changes of another job's picture, if it does.
    #[serde(default)]
    pub edit: Option<PictureEdit>,
    /// What the person who asked should know.
    pub warnings: Vec<String>,
}

/// How far a painting is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done, in words.
    pub stage: String,
    /// Steps done, of the whole painting.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// A guess, once there is something to guess from.
    pub seconds_left: Option<f64>,
}

/// Formats of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PictureFormat {
    /// PNG, with the recipe in it.
    #[default]
    Png,
    /// JPEG, which loses a little.
    Jpeg,
    /// WebP without loss.
    Webp,
}

impl PictureFormat {
    /// The word on the wire, and the ending of file names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Webp => "webp",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// How a picture is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Rendering {
    /// Width in pixels, with `height`; what was painted is enlarged or reduced to it. By default it stays as it was painted.
    #[param(minimum = 8, maximum = 4096)]
    pub width: Option<u32>,
    /// Height in pixels, with `width`.
    #[param(minimum = 8, maximum = 4096)]
    pub height: Option<u32>,
    /// How close a JPEG stays to what was painted, 1 to 100 [default: 90].
    #[param(minimum = 1, maximum = 100)]
    pub quality: Option<u8>,
}

impl Rendering {
    /// Shortest and longest side in pixels.
    pub const SIDES: std::ops::RangeInclusive<u32> = 8..=4096;
    /// Quality of a JPEG if nobody says.
    pub const QUALITY: u8 = 90;

    /// Its size, if it says one.
    pub fn size(&self) -> Option<Size> {
        self.width.zip(self.height).map(|(width, height)| Size { width, height })
    }
}

/// Why a job has no picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobError {
    /// What was wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Some jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// Where to go on: give it as `before`. Null at the end.
    pub next: Option<String>,
}

/// Which jobs are wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct JobSelection {
    /// Those in this state.
    pub state: Option<JobState>,
    /// Those whose caption contains this.
    #[param(max_length = 1000)]
    pub q: Option<String>,
    /// At most so many, 1 to 200 [default: 50].
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// Those older than this place, `next` of an earlier answer.
    pub before: Option<String>,
}

/// A caption to lay out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    /// What the picture shows.
    pub caption: String,
    /// What to lay out on [default: 512 × 512].
    #[serde(default)]
    pub canvas: Option<Size>,
    /// How many layouts to choose from, 1 to 8 [default: 1].
    #[schema(minimum = 1, maximum = 8)]
    #[serde(default)]
    pub candidates: Option<u32>,
}

/// A change to a layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    /// What the picture shows; the changed layout is checked against it if it is given.
    #[serde(default)]
    pub caption: Option<String>,
    /// The layout to change.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
    /// What to change, in words.
    pub instruction: String,
}

/// A layout to look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// What the picture shows.
    #[serde(default)]
    pub caption: Option<String>,
    /// The layout.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The layout is not what the caption says.
    Fault,
    /// A better one is possible.
    Remark,
}

/// Something about a layout that should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub message: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Findings {
    /// Faults and remarks, boxes first.
    pub findings: Vec<Finding>,
}

/// Layouts for a caption.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanReply {
    /// The best layout.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
    /// What could be better about it.
    pub findings: Vec<Finding>,
    /// All of them, best first.
    pub candidates: Vec<Candidate>,
}

/// One of several layouts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The layout.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
    /// What could be better about it.
    pub findings: Vec<Finding>,
    /// How far it is from a perfect one: each fault counts 1, each remark a tenth.
    pub penalty: f64,
}

/// A repaired layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repaired {
    /// The layout, every box inside its canvas.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
    /// What was repaired, in words.
    pub mended: Vec<String>,
    /// What is still to be said about it.
    pub findings: Vec<Finding>,
}

/// The prompts that methods make of a layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Composed {
    /// Of the whole picture.
    pub overall_prompt: String,
    /// What the whole picture must not show.
    pub overall_negative: String,
    /// Of each object painted alone, in the order of the methods.
    pub objects: Vec<ComposedObject>,
    /// What an object's picture must not show.
    pub object_negative: String,
}

/// An object as methods are told of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComposedObject {
    /// Its prompt.
    pub prompt: String,
    /// Left, top, width, height on the layout's canvas.
    #[schema(min_items = 4, max_items = 4)]
    pub r#box: [f64; 4],
}

/// Formats of layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayoutFormat {
    /// Layout JSON, as `{"layout": …}`.
    Sinopia,
    /// Layout JSON, as a file has it.
    Json,
    /// The text form of LLM-grounded Diffusion.
    Text,
    /// COCO object detection.
    Coco,
    /// Ideogram-style JSON caption.
    Ideogram,
    /// Omost canvas.
    Omost,
    /// Prompt of FLUX 3 Image with a table of boxes.
    Flux3,
    /// Layout of MOSS-Image, for a picture of the canvas's size.
    Moss,
    /// A drawing.
    Svg,
}

/// What a layout shall become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct ConvertParams {
    /// The format to write.
    pub to: LayoutFormat,
}

/// A layout in another format.
#[derive(Debug, Clone, PartialEq)]
pub enum Converted {
    /// Layout JSON.
    Layout(LayoutReply),
    /// Another format's text, and what it is.
    Text {
        /// The text.
        text: String,
        /// Its media type.
        media_type: &'static str,
    },
}

/// A layout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LayoutReply {
    /// The layout, every box inside its canvas.
    #[schema(value_type = LayoutDoc)]
    pub layout: Layout,
    /// What the other format said and a layout cannot, and what was mended: a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// How a picture was made, here or by another program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RecipeAnswer {
    /// By another program.
    Foreign {
        /// What it wrote into the picture.
        foreign: Box<ForeignPicture>,
    },
    /// Here.
    Sinopia(Box<RecipeReply>),
}

/// What another program wrote into a picture. What it did not say is null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForeignPicture {
    /// The program's name.
    pub program: String,
    /// Its version, as it writes it.
    pub version: Option<String>,
    /// The prompt, as it writes it.
    pub prompt: Option<String>,
    /// The prompt in plain words: what a caption can keep of it.
    pub caption: Option<String>,
    /// The negative prompt in plain words.
    pub negative: Option<String>,
    /// Where the noise started, as text: it may have more digits than a JavaScript number holds.
    pub seed: Option<String>,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Denoising steps.
    pub steps: Option<u32>,
    /// How strictly it followed the prompt.
    pub guidance_scale: Option<f64>,
    /// The sampler by the program's name for it.
    pub sampler: Option<String>,
    /// The model by the program's name for it.
    pub model: Option<String>,
    /// What cannot be kept when it is painted again here: a sentence each.
    pub notes: Vec<String>,
}

/// How a picture was made here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecipeReply {
    /// The caption, if there was one.
    pub caption: Option<String>,
    /// The layout, if there was one.
    #[schema(value_type = Option<LayoutDoc>)]
    pub layout: Option<Layout>,
    /// The method.
    pub method: String,
    /// The model.
    pub model: String,
    /// Where the noise started.
    pub seed: u64,
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    #[serde(default)]
    pub seed_text: String,
    /// Denoising steps.
    pub steps: u32,
    /// How strictly it followed the prompt.
    pub guidance_scale: f64,
    /// The scheduler.
    pub scheduler: Option<String>,
    /// All options of the method; whole numbers above 2^53 are text.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// What replaced the default quality keywords.
    pub negative: Option<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The share of the steps with classifier-free guidance; all of them are 0 to 1.
    pub guidance_interval: (f64, f64),
    /// In every how many steps the deep layers were run; 1 is in every step.
    pub deep_every: u32,
    /// The side of self-attention's windows; 1 is none.
    pub merge_tokens: u32,
    /// What read the prompts.
    pub text_encoder: String,
    /// What read the negative prompt, if it was another.
    pub negative_encoder: Option<String>,
}

impl From<RecipeReply> for JobRequest {
    /// What asks for the same picture again.
    fn from(recipe: RecipeReply) -> Self {
        Self {
            caption: recipe.caption,
            layout: recipe.layout,
            method: Some(recipe.method),
            model: Some(recipe.model),
            seed: Some(recipe.seed),
            steps: Some(recipe.steps),
            guidance_scale: Some(recipe.guidance_scale),
            scheduler: recipe.scheduler,
            options: recipe.options,
            negative: recipe.negative,
            width: Some(recipe.width),
            height: Some(recipe.height),
            guidance_interval: Some(recipe.guidance_interval),
            deep_every: Some(recipe.deep_every),
            merge_tokens: Some(recipe.merge_tokens),
            text_encoder: Some(recipe.text_encoder),
            negative_encoder: recipe.negative_encoder,
            ..Self::default()
        }
    }
}

/// A job whose picture shall be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateRequest {
    /// The job.
    pub job: String,
}

/// What an evaluator saw in a picture of what was wanted. Boxes are left, top, width, height on the layout's canvas.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// Whether all that was wanted is there, and nothing that was not.
    #[serde(default)]
    pub right: bool,
    /// The same in one line for people; empty in verdicts of older versions.
    #[serde(default)]
    pub summary: String,
    /// Who looked; nobody in verdicts of older versions.
    #[serde(default)]
    pub evaluator: Option<EvaluatorDoc>,
    /// By which thresholds scores became states.
    #[serde(default)]
    pub thresholds: Option<Thresholds>,
    /// In the layout's order.
    pub objects: Vec<ObjectVerdict>,
    /// Things of wanted kinds that are too many.
    #[serde(default)]
    pub extra: Vec<SeenThing>,
    /// Things that must not be there.
    #[serde(default)]
    pub excluded: Vec<SeenThing>,
    /// How objects stand to each other, as far as the caption says how.
    #[serde(default)]
    pub relations: Vec<RelationVerdict>,
    /// What was wanted and the evaluator cannot tell, in words.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// Who looked at a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EvaluatorDoc {
    /// Its name.
    pub id: String,
    /// SHA-256 of its weights, or of what else decides its answers.
    pub hash: String,
}

/// What makes a state of scores and overlaps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Thresholds {
    /// Below this score a thing is not there; from here to `sure` it is unsure.
    pub present: f64,
    /// From this score on it surely is.
    pub sure: f64,
    /// The intersection over union that a thing has at least with its box to be in its place.
    pub min_iou: f64,
    /// Below this intersection over union it is elsewhere.
    pub elsewhere_iou: f64,
    /// By how much its own colour's score leads every other colour's.
    pub margin: f64,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectState {
    /// It is there, where and as it was wanted.
    Right,
    /// It may be.
    Unsure,
    /// Nothing of the kind is there.
    Missing,
    /// The thing is there and has another colour.
    WrongAttribute,
    /// It is there, and elsewhere or of another size.
    Misplaced,
}

/// What an evaluator saw of one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(from = "ReadObjectVerdict")]
pub struct ObjectVerdict {
    /// The thing in words.
    pub phrase: String,
    /// Where it should be.
    #[schema(min_items = 4, max_items = 4)]
    pub r#box: [f64; 4],
    /// Whether it is there, where and as it should be: whether its state is `right`.
    pub found: bool,
    /// What became of it.
    pub state: ObjectState,
    /// How sure the evaluator is that what it saw is what was wanted, 0 if it saw nothing.
    pub score: f64,
    /// Where it was seen.
    #[schema(min_items = 4, max_items = 4)]
    pub detected_box: Option<[f64; 4]>,
    /// Intersection over union of the two boxes.
    pub iou: f64,
    /// What it looks like instead: `a green apple`.
    pub seen_as: Option<String>,
}

/// An object's verdict as it is read: older versions said `found` alone.
#[derive(Deserialize)]
struct ReadObjectVerdict {
    phrase: String,
    r#box: [f64; 4],
    found: bool,
    state: Option<ObjectState>,
    score: f64,
    detected_box: Option<[f64; 4]>,
    iou: Option<f64>,
    seen_as: Option<String>,
}

/// The least overlap of what older versions found; less of it is elsewhere, as files with verdicts are read.
const MIN_IOU_OF_BEFORE: f64 = 0.3;

impl From<ReadObjectVerdict> for ObjectVerdict {
    fn from(read: ReadObjectVerdict) -> Self {
        let ReadObjectVerdict { phrase, r#box, found, state, score, detected_box, iou, seen_as } = read;
        let iou = iou.unwrap_or_else(|| detected_box.map_or(0.0, |detected| overlap(r#box, detected)));
        let state_of_before = match detected_box {
            _ if found => ObjectState::Right,
            None => ObjectState::Missing,
            // What was not found and seen in its place was faint.
            Some(_) if iou >= MIN_IOU_OF_BEFORE => ObjectState::Unsure,
            Some(_) => ObjectState::Misplaced,
        };
        Self { phrase, r#box, found, state: state.unwrap_or(state_of_before), score, detected_box, iou, seen_as }
    }
}

/// Intersection over union of two boxes: left, top, width, height. 0 for what is none.
fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let pixels = |[x, y, width, height]: [f64; 4]| PixelBox::new(x, y, width, height).ok();
    pixels(a).zip(pixels(b)).map_or(0.0, |(a, b)| a.iou(&b))
}

/// Something that was seen and not wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeenThing {
    /// What it is.
    pub phrase: String,
    /// Where; of an evaluator without boxes the whole picture.
    #[schema(min_items = 4, max_items = 4)]
    pub r#box: [f64; 4],
    /// How sure the evaluator is.
    pub score: f64,
}

/// Whether one object stands to another as the caption says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelationVerdict {
    /// Who stands so: an index of `objects`.
    pub subject: usize,
    /// How: `left_of`, `above`, `on`.
    pub relation: String,
    /// To whom: an index of `objects`.
    pub object: usize,
    /// Whether it does.
    pub state: RelationState,
}

/// Whether a relation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelationState {
    /// Clearly.
    Pass,
    /// Neither clearly so nor clearly otherwise, or one of the two was not seen.
    Unsure,
    /// It is the other way round.
    Fail,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Options {
    /// The version of Sinopia.
    pub version: String,
    /// The methods.
    pub methods: Vec<MethodDoc>,
    /// The models.
    pub models: Vec<ModelDoc>,
    /// The schedulers.
    pub schedulers: Vec<String>,
    /// What can read the prompts, the default first.
    pub text_encoders: Vec<String>,
    /// The settings that a request may have, whatever the method: seed, steps, size and so on.
    #[serde(default)]
    pub settings: Vec<OptionDoc>,
    /// What is done if nobody says.
    pub defaults: Defaults,
    /// How much may be asked for.
    pub limits: Limits,
    /// Who plans.
    pub planner: PlannerDoc,
    /// What can be changed of pictures that are there.
    #[serde(default)]
    pub editing: Editing,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MethodDoc {
    /// Its name.
    pub name: String,
    /// What it does, in a sentence.
    pub summary: String,
    /// Whether it paints a layout, or else a caption alone.
    pub needs_layout: bool,
    /// Its options.
    pub options: Vec<OptionDoc>,
}

/// An option of a method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OptionDoc {
    /// Its name.
    pub name: String,
    /// What it holds: `boolean`, `integer`, `number`, `choice`, `text`, `list` or `table`.
    pub kind: String,
    /// What it does, in a sentence.
    #[serde(default)]
    pub summary: String,
    /// What it is if nobody says.
    #[schema(value_type = Value)]
    pub default: Value,
    /// The words that it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Vec<String>>,
    /// What each of the words means, in their order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices_help: Option<Vec<String>>,
    /// What else there is to say of it, in paragraphs; perhaps nothing.
    #[serde(default)]
    pub details: String,
    /// The heading of what it belongs to. Options are listed in their own order, not by group.
    #[serde(default)]
    pub group: String,
    /// What its numbers count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Where its numbers may be; of a list or a table those of its entries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeDoc>,
    /// Whether it may be null: something else decides.
    #[serde(default)]
    pub nullable: bool,
    /// What it is in the method's publication, if that is something else.
    #[schema(value_type = Option<Value>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Value>,
}

/// Where numbers may be. Without an end they go on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RangeDoc {
    /// The smallest.
    pub minimum: Option<f64>,
    /// The largest.
    pub maximum: Option<f64>,
    /// Whether they have to be above `minimum`.
    #[serde(default)]
    pub above_minimum: bool,
    /// Whether they have to be below `maximum`.
    #[serde(default)]
    pub below_maximum: bool,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelDoc {
    /// Its name.
    pub id: String,
    /// The size of picture that it has learned from.
    pub image_size: Size,
}

/// What is done if nobody says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Defaults {
    /// The method.
    pub method: String,
    /// The model.
    pub model: String,
    /// The scheduler; null leaves it to the method.
    pub scheduler: Option<String>,
    /// Denoising steps.
    pub steps: u32,
    /// How strictly the picture follows the prompt; null is what suits the model.
    pub guidance_scale: Option<f64>,
    /// Where the noise starts.
    pub seed: u64,
    /// `seed` as text, for JavaScript, which rounds numbers above 2^53.
    #[serde(default)]
    pub seed_text: String,
}

/// How much may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Boxes of a layout that is painted.
    pub boxes: usize,
    /// Pixels of a picture.
    pub pixels: u64,
    /// Denoising steps.
    pub steps: u32,
    /// Bytes of a request.
    pub body_bytes: usize,
    /// Pictures of one request to `/v1/images/generations`.
    pub images: u32,
    /// Characters of a caption.
    pub caption_chars: usize,
    /// Pixels of a picture that is sent to begin with.
    #[serde(default)]
    pub upload_pixels: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            boxes: 50,
            pixels: 1024 * 1024,
            steps: 250,
            body_bytes: 16 * 1024 * 1024,
            images: 10,
            caption_chars: limits::CAPTION_CHARS,
            upload_pixels: limits::UPLOAD_PIXELS,
        }
    }
}

impl Limits {
    /// The largest picture that OpenAI's clients ask for.
    const LARGEST_USUAL: u64 = 1792 * 1024;

    /// Pixels of a picture as it is sent, enlarged perhaps: twice what is painted in either direction, and the sizes of OpenAI's clients in any case.
    pub fn rendered_pixels(&self) -> u64 {
        self.pixels.saturating_mul(4).max(Self::LARGEST_USUAL)
    }

    /// Pixels of all pictures that one answer holds: ten of the sizes of OpenAI's clients, or one of any size.
    pub fn answered_pixels(&self) -> u64 {
        let side = u64::from(*Rendering::SIDES.end());
        (10 * Self::LARGEST_USUAL).max(side * side)
    }
}

/// Who plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannerDoc {
    /// Its name.
    pub name: String,
    /// Whether it changes layouts as it is told in words: `/api/plan/edit`.
    pub edits: bool,
}
