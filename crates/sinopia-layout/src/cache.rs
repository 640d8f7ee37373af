//! Reads files of recorded LLM answers: one JSON object from captions to their answers, in order of occurrence.

use std::collections::BTreeMap;

use crate::error::{Error, Result, TextFault};
use crate::json;
use crate::layout::Layout;
use crate::limits::ANSWER_CACHE_BYTES;
use crate::parse::parse_answer;

/// Captions shown when a caption is missing.
const NEAREST_SHOWN: usize = 3;

/// Characters of a caption that are compared when looking for near ones.
const COMPARED_CHARS: usize = 300;

/// Recorded answers by caption. A caption that occurs n times in a benchmark has n answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayoutCache {
    answers: BTreeMap<String, Vec<String>>,
}

impl LayoutCache {
    /// Reads the JSON text of a cache file: `{"caption": ["answer", …], …}`.
    ///
    /// # Errors
    /// [`Error::Text`] with line and column if it is something else.
    pub fn from_json(text: &str) -> Result<Self> {
        if text.len() as u64 > ANSWER_CACHE_BYTES {
            let message = format!("the cache has {} bytes; at most {ANSWER_CACHE_BYTES} are read", text.len());
            return Err(Error::Text(TextFault::at(text, 0, message)));
        }
        let answers = serde_json::from_str(text).map_err(|error| Error::Text(json::fault(text, &error)))?;
        Ok(LayoutCache { answers })
    }

    /// The caption as files have it: without white space around it and without trailing full stops.
    pub fn key(caption: &str) -> &str {
        caption.trim().trim_end_matches('.')
    }

    /// The answer for the caption's `occurrence`, counted from 0.
    ///
    /// # Errors
    /// [`Error::CaptionNotCached`] with the nearest captions, [`Error::AnswerNotCached`] if it occurs less often.
    pub fn answer(&self, caption: &str, occurrence: usize) -> Result<&str> {
        let caption = Self::key(caption);
        let Some(answers) = self.answers.get(caption) else {
            return Err(Error::CaptionNotCached { caption: caption.to_owned(), nearest: self.nearest(caption) });
        };
        answers.get(occurrence).map(String::as_str).ok_or_else(|| Error::AnswerNotCached {
            caption: caption.to_owned(),
            available: answers.len(),
            number: occurrence.saturating_add(1),
        })
    }

    /// The layout of the caption's `occurrence`, as [`parse_answer`] reads it.
    ///
    /// # Errors
    /// As [`LayoutCache::answer`] and [`parse_answer`].
    pub fn layout(&self, caption: &str, occurrence: usize) -> Result<Layout> {
        parse_answer(self.answer(caption, occurrence)?)
    }

    /// All captions with all their answers, captions in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.answers.iter().map(|(caption, answers)| (caption.as_str(), answers.as_slice()))
    }

    /// Number of captions.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether there is no caption.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The cached captions that take the fewest changes to become this one.
    fn nearest(&self, caption: &str) -> Vec<String> {
        let head = |text: &str| text.chars().take(COMPARED_CHARS).collect::<String>().to_lowercase();
        let caption = head(caption);
        let mut ranked: Vec<(usize, &String)> =
            self.answers.keys().map(|key| (strsim::levenshtein(&caption, &head(key)), key)).collect();
        ranked.sort();
        ranked.into_iter().take(NEAREST_SHOWN).map(|(_, key)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: &str = r#"{
        "A photo of two cats": ["[]\nBackground prompt: one", "[]\nBackground prompt: two"],
        "A photo of a dog": ["[('a dog', [1, 2, 3, 4])]\nBackground prompt: A photo\nNegative prompt: "],
        "A very different thing": []
    }"#;

    #[test]
    fn answers_come_by_occurrence() {
        let cache = LayoutCache::from_json(CACHE).unwrap();
        assert_eq!(cache.layout(" A photo of two cats... ", 0).unwrap().background, "one");
        assert_eq!(cache.layout("A photo of two cats", 1).unwrap().background, "two");
        assert_eq!(cache.layout("A photo of a dog.", 0).unwrap().objects.len(), 1);
        assert_eq!((cache.len(), cache.is_empty(), cache.iter().count()), (3, false, 3));
    }

    #[test]
    fn a_missing_caption_names_the_nearest() {
        let cache = LayoutCache::from_json(CACHE).unwrap();
        insta::assert_snapshot!(cache.answer("A photo of two dogs", 0).unwrap_err(), @"the cache has no answer for the caption `A photo of two dogs`; nearest: `A photo of two cats`, `A photo of a dog`, `A very different thing`");
        insta::assert_snapshot!(LayoutCache::default().answer("A dog", 0).unwrap_err(), @"the cache has no answer for the caption `A dog`; it is empty");
    }

    #[test]
    fn a_missing_occurrence_says_how_many_there_are() {
        let cache = LayoutCache::from_json(CACHE).unwrap();
        insta::assert_snapshot!(cache.answer("A photo of two cats", 2).unwrap_err(), @"the cache has 2 answers for the caption `A photo of two cats`; number 3 was asked for");
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let long = " ".repeat(ANSWER_CACHE_BYTES as usize + 1);
        let error = LayoutCache::from_json(&long).unwrap_err();
        assert_eq!(error.fault().unwrap().message(), "the cache has 67108865 bytes; at most 67108864 are read");
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let error = LayoutCache::from_json("{\n  \"a dog\": \"[]\"\n}").unwrap_err();
        insta::assert_snapshot!(error.fault().unwrap().snippet("cache.json"), @r#"
         --> cache.json:2:15
          |
        2 |   "a dog": "[]"
          |               ^ invalid type: string "[]", expected a sequence
        "#);
    }
}
