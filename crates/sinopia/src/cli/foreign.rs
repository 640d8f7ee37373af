//! Pictures of other programs: what they say, and what of it can be painted again here.

use std::path::Path;

use serde_json::Value;
use sinopia_layout::limits::PICTURE_BYTES;
use sinopia_server::wire::ForeignPicture;
use sinopia_studio::pictures::chunks::PngTexts;
use sinopia_studio::pictures::{Foreign, Origin};
use sinopia_studio::{Described, PaintSettings};

use super::args::{GenerateArgs, Painting};
use super::failure::bad_request;
use super::progress::Bars;
use super::{comfyui, input, painting_file, terminal};

/// Whether a setting may be so, as its flag has it.
fn is_taken(setting: &str, value: impl Into<Value>) -> bool {
    PaintSettings::setting(setting).is_some_and(|setting| setting.check(&value.into()).is_ok())
}

/// What a picture says, in the words of the wire.
pub(crate) fn wire(made: &Foreign) -> ForeignPicture {
    ForeignPicture {
        program: made.program.clone(),
        version: made.version.clone(),
        prompt: made.prompt.clone(),
        caption: made.caption(),
        negative: made.plain_negative(),
        seed: made.seed.map(|seed| seed.to_string()),
        width: made.width,
        height: made.height,
        steps: made.steps,
        guidance_scale: made.guidance_scale,
        sampler: made.sampler.clone(),
        model: made.model.clone(),
        notes: made.notes(),
    }
}

/// What a picture says, a line each.
pub(crate) fn lines(made: &Foreign) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name:<11} {}", terminal::one_line(&value))));
    };
    let version = made.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    say("made by", Some(format!("{}{version}", made.program)));
    say("prompt", Some(made.prompt.clone().unwrap_or_else(|| "(it does not say)".to_owned())));
    say("negative", made.negative.clone());
    say("seed", made.seed.map(|seed| seed.to_string()));
    say("size", made.width.zip(made.height).map(|(width, height)| format!("{width} × {height} px")));
    say("steps", made.steps.map(|steps| steps.to_string()));
    say("cfg", made.guidance_scale.map(|scale| scale.to_string()));
    say("sampler", made.sampler.clone());
    say("model", made.model.clone());
    made.others.iter().for_each(|other| say("other", Some(other.clone())));
    lines
}

/// What was typed with a foreign picture's caption, seed, size and the like in the place of what was not; a picture of ours stays as it is.
pub(crate) fn taken_over(args: &mut GenerateArgs, mut typed: Painting) -> anyhow::Result<Painting> {
    let Some(image) = args.source.from.clone() else { return Ok(typed) };
    let Origin::Foreign(made) = painting_file::read(&image)? else { return Ok(typed) };
    args.source.from = None;
    // `-` stands for stdin where captions are typed.
    let caption = made.caption().filter(|caption| caption != "-");
    args.caption = args.caption.take().or(caption);
    if args.caption.is_none() && args.source.layout.is_none() {
        return Err(bad_request(format!(
            "`{}` is from {}, and its prompt was not found in it: write the caption before the flags",
            image.display(),
            made.program
        )));
    }
    let mut notes = made.notes();
    let painting = &mut typed.settings;
    painting.seed = painting.seed.or(made.seed);
    painting.negative = painting.negative.take().or(made.plain_negative());
    let mut within = |what: &str, value: Option<f64>, is_within: bool| {
        if let Some(value) = value.filter(|_| !is_within) {
            notes.push(format!("{what} {value} is not kept: it is out of range here"));
        }
        is_within
    };
    let size = made.width.zip(made.height);
    let fits = |side: Option<u32>| side.is_none_or(|side| is_taken("width", side));
    if within("the width", made.width.map(f64::from), fits(made.width))
        && within("the height", made.height.map(f64::from), fits(made.height))
        && let (Some((width, height)), None, None) = (size, painting.width, painting.height)
    {
        (painting.width, painting.height) = (Some(width), Some(height));
    }
    if within("the number of steps", made.steps.map(f64::from), made.steps.is_none_or(|n| is_taken("steps", n))) {
        painting.steps = painting.steps.or(made.steps);
    }
    let scale = made.guidance_scale;
    if within("the guidance scale", scale, scale.is_none_or(|x| is_taken("guidance_scale", x))) {
        painting.guidance_scale = painting.guidance_scale.or(scale);
    }
    if is_graph_understood(&image) {
        notes.push(format!("`sinopia run {}` paints its graph as it is", image.display()));
    }
    tell(&image, &made, &notes, args.output.quiet);
    Ok(typed)
}

/// Whether there is a graph of ComfyUI's in a PNG that is painted whole. What cannot be read is not.
fn is_graph_understood(image: &Path) -> bool {
    let Ok(bytes) = input::bytes(image, PICTURE_BYTES) else { return false };
    let graph = PngTexts::read(&bytes).and_then(|texts| texts.text("prompt"));
    graph.ok().flatten().is_some_and(|graph| comfyui::understands(&graph))
}

fn tell(image: &Path, made: &Foreign, notes: &[String], quiet: bool) {
    let bars = Bars::new(quiet);
    bars.line(&format!(
        "`{}` is from {}: what can be read of caption, negative, seed, size, steps and guidance scale is taken over",
        image.display(),
        made.program
    ));
    bars.lines(notes, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_graph_and_no_error() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.add_text_chunk("prompt".to_owned(), "x".repeat(2 << 20)).unwrap();
        encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        assert!(!is_graph_understood(file.path()));
        assert!(!is_graph_understood(Path::new("not-there.png")));
    }
}
