//! What other programs write into their pictures. The formats are described from their files; none of the programs' code is here.

mod a1111;
mod comfyui;
mod invokeai;
mod json;
mod others;

use super::Error;
use super::chunks::PngTexts;
use super::weights::{Plain, Syntax, plain};

/// How another program made a picture. What it does not say is `None`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Foreign {
    /// The program.
    pub program: String,
    /// Its version, as it writes it.
    pub version: Option<String>,
    /// The prompt, as it writes it.
    pub prompt: Option<String>,
    /// The negative prompt, as it writes it.
    pub negative: Option<String>,
    /// Where its noise started.
    pub seed: Option<u64>,
    /// Width in pixels.
    pub width: Option<u32>,
    /// Height in pixels.
    pub height: Option<u32>,
    /// Denoising steps.
    pub steps: Option<u32>,
    /// How strictly it followed the prompt.
    pub guidance_scale: Option<f64>,
    /// The sampler by the program's name for it, its schedule included.
    pub sampler: Option<String>,
    /// The model by the program's name for it.
    pub model: Option<String>,
    /// What else it says that the picture depends on.
    pub others: Vec<String>,
    /// Whether brackets in its prompts are weights.
    is_weighted: bool,
    /// Which brackets.
    syntax: Syntax,
}

/// Settings in [`Foreign::others`] that are named before the rest is counted.
const OTHERS_SHOWN: usize = 8;

impl Foreign {
    fn new(program: &str) -> Self {
        Self { program: program.to_owned(), ..Self::default() }
    }

    /// The prompt in plain words: what a caption can keep of it.
    pub fn caption(&self) -> Option<String> {
        Some(self.plain(self.prompt.as_deref()?).text).filter(|text| !text.is_empty())
    }

    /// The negative prompt in plain words.
    pub fn plain_negative(&self) -> Option<String> {
        Some(self.plain(self.negative.as_deref()?).text).filter(|text| !text.is_empty())
    }

    fn plain(&self, prompt: &str) -> Plain {
        match self.is_weighted {
            true => plain(prompt, self.syntax),
            false => Plain { text: prompt.trim().to_owned(), ..Plain::default() },
        }
    }

    /// What cannot be kept when it is painted again here, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let prompts = [&self.prompt, &self.negative].map(|text| self.plain(text.as_deref().unwrap_or_default()));
        if prompts.iter().any(|prompt| prompt.had_weights) {
            notes.push("the weights in the prompt are not kept: every word counts the same".to_owned());
        }
        let tags = prompts.iter().flat_map(|prompt| &prompt.tags);
        notes.extend(tags.take(OTHERS_SHOWN).map(|tag| format!("`{tag}` is not kept")));
        notes.extend(self.sampler.as_ref().map(|name| format!("the sampler `{name}` is not kept")));
        notes.extend(self.model.as_ref().map(|name| format!("the model `{name}` is not kept")));
        if !self.others.is_empty() {
            let more = self.others.len().saturating_sub(OTHERS_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let shown = &self.others[..self.others.len().min(OTHERS_SHOWN)];
            notes.push(format!("also not kept: {}{more}", shown.join(", ")));
        }
        notes
    }
}

/// What the program that made a picture wrote into it; `None` if none of those that are known did.
///
/// # Errors
/// What is wrong with the first text that a program may have written, if nothing else in the file tells of one.
pub(super) fn read(png: &PngTexts<'_>) -> Result<Option<Foreign>, Error> {
    let readers = [
        a1111::read,
        invokeai::metadata,
        invokeai::sd_metadata,
        invokeai::dream,
        others::novelai,
        others::draw_things,
        others::easy_diffusion,
        comfyui::prompt,
        comfyui::workflow,
    ];
    let mut first_error = None;
    for read in readers {
        match read(png) {
            Ok(Some(made)) => return Ok(Some(made)),
            Ok(None) => {}
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::chunks::tests::{png, text};

    #[test]
    fn a_broken_text_hides_no_other() {
        let graph = r#"{"1": {"class_type": "LoadImage", "inputs": {}}}"#;
        let long = "x".repeat(2 << 20);
        for (keyword, broken) in [
            ("XML:com.adobe.xmp", long.as_str()),
            ("Software", long.as_str()),
            ("parameters", long.as_str()),
            ("invokeai_metadata", "{"),
            ("Dream", long.as_str()),
        ] {
            let read = |chunks: &[Vec<u8>]| read(&PngTexts::read(&png(chunks)).unwrap());
            let made = read(&[text(keyword, broken), text("prompt", graph)]).unwrap().unwrap();
            assert_eq!(made.program, "ComfyUI", "{keyword}");
            let error = read(&[text(keyword, broken), text("Title", "t")]).unwrap_err();
            assert!(error.to_string().contains(keyword), "{error}");
        }
    }
}
