//! The layout's prompts: composed, read by the text encoder, their phrases found among the tokens.

use sinopia_layout::nouns::CountNaming;
use sinopia_layout::scene::GroundedPhrase;
use sinopia_layout::scene::{OBJECT_NEGATIVE, OVERALL_NEGATIVE};
use sinopia_layout::{Layout, Scene, SceneObject, SceneOptions};

use super::scene_context::SceneContext;
use super::{Lmd, Method};
use crate::grounding::{Slot, slots};
use crate::observer::Stage;
use crate::painting::{PaintRequest, Prompts};
use crate::prompts::{GroundedText, PromptToRead};
use crate::{Error, Result};

/// All prompts of a picture.
pub(super) struct ScenePrompts {
    pub(super) objects: Vec<GroundedText>,
    pub(super) overall: GroundedText,
    pub(super) texts: Prompts,
}

impl Lmd {
    /// The layout as prompts.
    pub(super) fn compose_scene(&self, request: &PaintRequest) -> Result<Scene> {
        let method = self.name();
        let layout = request.layout.as_ref().ok_or(Error::NoLayout { method })?;
        let options = &self.options;
        let caption = match options.caption_as_prompt {
            true => Some(request.caption.clone().ok_or(Error::NoCaption { method })?),
            false => None,
        };
        let scene_options = SceneOptions {
            overall_prompt: options.overall_prompt.clone().or(caption),
            naming: if options.mend_plurals { CountNaming::Fixed } else { CountNaming::Published },
            ..SceneOptions::default()
        };
        if options.bare_negative {
            let negative = request.negative.clone().unwrap_or_default();
            let layout = Layout { negative: String::new(), ..layout.clone() };
            let bare = SceneOptions { overall_negative: negative.clone(), object_negative: negative, ..scene_options };
            return Ok(Scene::compose_with(&layout, &bare)?);
        }
        let keywords = request.negative.as_deref().unwrap_or(OVERALL_NEGATIVE).trim();
        // What keeps an object alone in its picture stays when the other keywords are replaced.
        let solo = OBJECT_NEGATIVE.strip_prefix(OVERALL_NEGATIVE).unwrap_or_default().trim_start_matches(", ");
        let worded = SceneOptions {
            overall_negative: keywords.to_owned(),
            object_negative: if keywords.is_empty() { solo.to_owned() } else { format!("{keywords}, {solo}") },
            ..scene_options
        };
        Ok(Scene::compose_with(layout, &worded)?)
    }
}

impl SceneContext<'_> {
    /// Reads every prompt that will be painted; the boxes of models that take them go with their prompts.
    pub(super) fn read_prompts(&self, scene: &Scene, request: &PaintRequest) -> Result<ScenePrompts> {
        self.run.stage(&Stage::Encode, || {
            let mut overall = scene.overall().clone();
            if overall.text.is_empty() {
                overall.text = request.caption.clone().unwrap_or_default();
            }
            if self.options().boxes_as_objects {
                overall.phrases.iter_mut().for_each(name_one);
            }
            let caption = request.caption.as_deref();
            let to_read = PromptToRead { prompt: &overall, caption, negative: scene.overall_negative() };
            let mut overall = self.read_prompt(to_read)?;
            if let Some(adapters) = &self.lmd.adapters {
                let slots = slots(scene, adapters.slot_phrase);
                overall.text = overall.text.grounded(&slots, adapters.overall, self.pipeline, self.run)?;
            }
            let objects = scene.objects().iter().filter(|_| self.needs_solos());
            let objects = objects.map(|object| self.read_object(object, scene.object_negative()));
            let objects = objects.collect::<Result<Vec<_>>>()?;
            let texts = Prompts {
                overall: overall.prompt.clone(),
                overall_negative: scene.overall_negative().to_owned(),
                objects: objects.iter().map(|object| object.prompt.clone()).collect(),
                object_negative: scene.object_negative().to_owned(),
            };
            Ok(ScenePrompts { objects, overall, texts })
        })
    }

    /// The prompt of an object's own picture, with its one box.
    fn read_object(&self, object: &SceneObject, negative: &str) -> Result<GroundedText> {
        let to_read = PromptToRead { prompt: object.prompt(), caption: None, negative };
        let mut prompt = self.read_prompt(to_read)?;
        if let Some(adapters) = &self.lmd.adapters {
            let slot = Slot { phrase: object.name().to_owned(), bbox: self.options().solo_box(object.bbox()) };
            prompt.text = prompt.text.grounded(&[slot], adapters.of_objects, self.pipeline, self.run)?;
        }
        Ok(prompt)
    }

    fn read_prompt(&self, to_read: PromptToRead) -> Result<GroundedText> {
        let read = GroundedText::read(to_read, self.pipeline, &self.plan.sampling, self.run)?;
        Ok(if self.options().boxes_as_objects { read.boxes_as_objects() } else { read })
    }
}

/// The phrase of one of its objects instead of their counted one: `a white cat` for `two white cats`.
fn name_one(phrase: &mut GroundedPhrase) {
    phrase.text.clone_from(&phrase.name);
    phrase.word = phrase.name.rsplit(' ').next().unwrap_or(&phrase.name).to_owned();
}
