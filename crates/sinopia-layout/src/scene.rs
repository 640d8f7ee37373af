//! Turns a layout into what a method paints: one prompt for each object and one for the whole picture.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::geometry::{BBox, Canvas};
use crate::layout::Layout;
use crate::nouns::{CountNaming, counted_phrase};
use crate::wording::says_something;

/// What the whole picture should not be, unless told otherwise.
pub const OVERALL_NEGATIVE: &str = "artifacts, blurry, smooth texture, bad quality, distortions, unrealistic, distorted image, bad proportions, duplicate";

/// What the picture of a single object should not be, unless told otherwise.
pub const OBJECT_NEGATIVE: &str = "artifacts, blurry, smooth texture, bad quality, distortions, unrealistic, \
     distorted image, bad proportions, duplicate, two, many, group, occlusion, occluded, side, border, collate";

/// How a scene is composed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneOptions {
    /// Takes the place of the composed overall prompt, word for word. Default: none.
    pub overall_prompt: Option<String>,
    /// How repeated names are counted. Default: [`CountNaming::Fixed`].
    pub naming: CountNaming,
    /// Negative prompt of the whole picture, behind the layout's own. Default: [`OVERALL_NEGATIVE`].
    pub overall_negative: String,
    /// Negative prompt of single objects, behind the layout's own. Default: [`OBJECT_NEGATIVE`].
    pub object_negative: String,
}

impl Default for SceneOptions {
    fn default() -> Self {
        SceneOptions {
            overall_prompt: None,
            naming: CountNaming::default(),
            overall_negative: OVERALL_NEGATIVE.to_owned(),
            object_negative: OBJECT_NEGATIVE.to_owned(),
        }
    }
}

/// A layout with its prompts. Objects are sorted by name, so those of one name stand together.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    canvas: Canvas,
    objects: Vec<SceneObject>,
    overall: GroundedPrompt,
    overall_negative: String,
    object_negative: String,
}

/// One object of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneObject {
    name: String,
    bbox: BBox,
    prompt: GroundedPrompt,
}

/// A prompt and the phrases in it that have boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundedPrompt {
    /// The prompt.
    pub text: String,
    /// Its phrases, in the order in which they stand.
    pub phrases: Vec<GroundedPhrase>,
    /// Byte of `text` where the phrases begin; the background stands before it.
    pub phrases_start: usize,
}

/// A part of a prompt and where in the picture it applies.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundedPhrase {
    /// The words as they stand in the prompt: `two blue dogs`.
    pub text: String,
    /// The name of one such object: `a blue dog`.
    pub name: String,
    /// The last word of `text`, taken for its noun: `dogs`.
    pub word: String,
    /// Its boxes in proportions, in the order of the objects.
    pub bboxes: Vec<BBox>,
    /// Its objects in [`Scene::objects`].
    pub objects: Range<usize>,
}

impl Scene {
    /// Composes a scene with default options.
    ///
    /// # Errors
    /// As [`Scene::compose_with`].
    pub fn compose(layout: &Layout) -> Result<Self> {
        Self::compose_with(layout, &SceneOptions::default())
    }

    /// Composes a scene.
    ///
    /// # Errors
    /// [`Error::BoxOutsideCanvas`] and [`Error::EmptyPhrase`] if the layout was not repaired.
    ///
    /// # Source
    /// TonyLianLong/LLM-groundedDiffusion@cef2a90:utils/parse.py and utils/utils.py
    pub fn compose_with(layout: &Layout, options: &SceneOptions) -> Result<Self> {
        let background = layout.background.trim();
        let mut objects = read_objects(layout)?;
        objects.sort_by(|a, b| a.name.cmp(&b.name)); // stable: equal names keep the layout's order
        for (index, object) in objects.iter_mut().enumerate() {
            object.prompt = object_prompt(background, object, index);
        }
        let phrases = overall_phrases(&objects, options.naming);
        let overall = match &options.overall_prompt {
            Some(text) => GroundedPrompt { text: text.clone(), phrases, phrases_start: 0 },
            None => GroundedPrompt::compose(background, phrases),
        };
        Ok(Scene {
            canvas: layout.canvas,
            objects,
            overall,
            overall_negative: joined(layout.negative.trim(), &options.overall_negative),
            object_negative: joined(layout.negative.trim(), &options.object_negative),
        })
    }

    /// Size of the picture in pixels.
    pub fn canvas(&self) -> Canvas {
        self.canvas
    }

    /// The objects, sorted by name.
    pub fn objects(&self) -> &[SceneObject] {
        &self.objects
    }

    /// The prompt of the whole picture, with one phrase for each distinct name.
    pub fn overall(&self) -> &GroundedPrompt {
        &self.overall
    }

    /// What the whole picture must not show.
    pub fn overall_negative(&self) -> &str {
        &self.overall_negative
    }

    /// What the picture of a single object must not show.
    pub fn object_negative(&self) -> &str {
        &self.object_negative
    }
}

impl SceneObject {
    /// The object in words: `a blue dog`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands, in proportions.
    pub fn bbox(&self) -> &BBox {
        &self.bbox
    }

    /// The prompt for painting it alone: `A beach with a blue dog`. Its one phrase is the name.
    pub fn prompt(&self) -> &GroundedPrompt {
        &self.prompt
    }
}

impl GroundedPrompt {
    /// `background with phrase, phrase`; without background the phrases, without phrases the background.
    fn compose(background: &str, phrases: Vec<GroundedPhrase>) -> Self {
        let texts: Vec<&str> = phrases.iter().map(|phrase| phrase.text.as_str()).collect();
        let list = texts.join(", ");
        let (text, phrases_start) = match (background, list.as_str()) {
            ("", _) => (list, 0),
            (_, "") => (background.to_owned(), background.len()),
            _ => (format!("{background} with {list}"), background.len() + " with ".len()),
        };
        GroundedPrompt { text, phrases, phrases_start }
    }
}

/// The objects of a layout with boxes in proportions; prompts follow once they are sorted.
fn read_objects(layout: &Layout) -> Result<Vec<SceneObject>> {
    let canvas = layout.canvas;
    let objects = layout.objects.iter().enumerate().map(|(index, object)| {
        let name = object.phrase.trim().to_owned();
        if !says_something(&name) {
            return Err(Error::EmptyPhrase { number: index + 1 });
        }
        let bbox = BBox::from_pixels(&object.bbox, canvas).map_err(|_| Error::BoxOutsideCanvas {
            phrase: name.clone(),
            bbox: [object.bbox.x(), object.bbox.y(), object.bbox.width(), object.bbox.height()],
            width: canvas.width(),
            height: canvas.height(),
        })?;
        let prompt = GroundedPrompt { text: String::new(), phrases: Vec::new(), phrases_start: 0 };
        Ok(SceneObject { name, bbox, prompt })
    });
    objects.collect()
}

fn object_prompt(background: &str, object: &SceneObject, index: usize) -> GroundedPrompt {
    let phrase = GroundedPhrase {
        text: object.name.clone(),
        name: object.name.clone(),
        word: last_word(&object.name),
        bboxes: vec![object.bbox],
        objects: index..index + 1,
    };
    GroundedPrompt::compose(background, vec![phrase])
}

/// One phrase for each run of equal names.
fn overall_phrases(objects: &[SceneObject], naming: CountNaming) -> Vec<GroundedPhrase> {
    let mut start = 0;
    let runs = objects.chunk_by(|a, b| a.name == b.name);
    let phrases = runs.map(|run| {
        let text = counted_phrase(&run[0].name, run.len(), naming);
        let objects = start..start + run.len();
        start = objects.end;
        let bboxes = run.iter().map(|object| object.bbox).collect();
        GroundedPhrase { word: last_word(&text), text, name: run[0].name.clone(), bboxes, objects }
    });
    phrases.collect()
}

fn last_word(phrase: &str) -> String {
    phrase.rsplit(' ').next().unwrap_or(phrase).to_owned()
}

/// The layout's negative prompt before the defaults; no comma where one of them is empty.
fn joined(negative: &str, defaults: &str) -> String {
    let parts = [negative, defaults].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse_answer;

    const ZOO: &str = "[('a white cat', [10, 10, 100, 100]), ('a blue dog', [200, 10, 100, 100]), ('a white cat', [10, 300, 100, 100])]\n\
        Background prompt: A realistic scene\nNegative prompt: dogs";

    fn scene(answer: &str) -> Scene {
        Scene::compose(&parse_answer(answer).unwrap()).unwrap()
    }

    #[test]
    fn objects_are_sorted_and_counted() {
        let scene = scene(ZOO);
        let prompts: Vec<&str> = scene.objects().iter().map(|object| object.prompt().text.as_str()).collect();
        assert_eq!(
            prompts,
            [
                "A realistic scene with a blue dog",
                "A realistic scene with a white cat",
                "A realistic scene with a white cat"
            ]
        );
        assert_eq!(scene.overall().text, "A realistic scene with a blue dog, two white cats");
        let cats = &scene.overall().phrases[1];
        assert_eq!(
            (cats.text.as_str(), cats.name.as_str(), cats.word.as_str()),
            ("two white cats", "a white cat", "cats")
        );
        assert_eq!(cats.objects, 1..3);
        assert_eq!(
            cats.bboxes[0].corners(),
            (10. / 512., 10. / 512., 10. / 512. + 100. / 512., 10. / 512. + 100. / 512.)
        );
        assert_eq!(cats.bboxes[1].y0(), 300. / 512.);
        assert_eq!(&scene.overall().text[scene.overall().phrases_start..], "a blue dog, two white cats");
    }

    #[test]
    fn the_layouts_negative_prompt_comes_first() {
        let scene = scene(ZOO);
        assert!(scene.overall_negative().starts_with("dogs, artifacts, blurry"));
        assert!(scene.overall_negative().ends_with("bad proportions, duplicate"));
        assert!(
            scene
                .object_negative()
                .ends_with("duplicate, two, many, group, occlusion, occluded, side, border, collate")
        );
        assert_eq!(OVERALL_NEGATIVE.split(", ").count(), 9);
        assert_eq!(OBJECT_NEGATIVE.split(", ").count(), 17);
        assert!(OBJECT_NEGATIVE.starts_with(OVERALL_NEGATIVE));
        let plain = SceneOptions { overall_negative: String::new(), ..SceneOptions::default() };
        let layout = parse_answer(ZOO).unwrap();
        assert_eq!(Scene::compose_with(&layout, &plain).unwrap().overall_negative(), "dogs");
    }

    #[test]
    fn either_part_of_a_prompt_may_be_missing() {
        let bare = scene("[('a cat', [1, 1, 9, 9])]\nBackground prompt: \nNegative prompt: ");
        assert_eq!(bare.overall().text, "a cat");
        assert_eq!(bare.objects()[0].prompt().text, "a cat");
        assert_eq!(bare.overall_negative(), OVERALL_NEGATIVE);
        let empty = scene("[]\nBackground prompt: A beach");
        assert_eq!((empty.overall().text.as_str(), empty.objects().len()), ("A beach", 0));
        assert_eq!(scene("[]\nBackground prompt: \nNegative prompt: ").overall().text, "");
    }

    #[test]
    fn the_overall_prompt_can_be_given() {
        let options = SceneOptions { overall_prompt: Some("My zoo".to_owned()), ..SceneOptions::default() };
        let scene = Scene::compose_with(&parse_answer(ZOO).unwrap(), &options).unwrap();
        assert_eq!((scene.overall().text.as_str(), scene.overall().phrases.len()), ("My zoo", 2));
        assert_eq!(scene.objects()[0].prompt().text, "A realistic scene with a blue dog");
    }

    #[test]
    fn an_unrepaired_layout_is_refused() {
        let outside = parse_answer("[('a cat', [500, 1, 90, 9])]\nBackground prompt: A beach").unwrap();
        insta::assert_snapshot!(Scene::compose(&outside).unwrap_err(), @"the box [500, 1, 90, 9] of `a cat` has no area inside the canvas of 512×512 pixels or leaves it; repair the layout first");
        let nameless = parse_answer("[('', [5, 1, 90, 9])]\nBackground prompt: A beach").unwrap();
        insta::assert_snapshot!(Scene::compose(&nameless).unwrap_err(), @"object 1 has an empty phrase; every box needs a name");
    }
}
