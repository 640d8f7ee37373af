//! Words that were added to a vocabulary: textual inversions, and marks. Which file says so depends on the age of the library that saved it.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::checkpoint::files::Files;
use crate::{Error, Result};

/// The most words added to a vocabulary: far more than anybody learned, and few enough to be looked for in every text.
const MAX_ADDED: usize = 10_000;

/// A word that is in no merge, and its id where a file says it.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub(super) id: Option<u32>,
    pub(super) token: AddedToken,
}

type Object = Map<String, Value>;

/// The files of a tokenizer that name special tokens.
#[derive(Clone, Copy)]
pub(super) struct Objects<'a> {
    /// `special_tokens_map.json`
    pub(super) special_tokens_map: &'a Object,
    /// `tokenizer_config.json`
    pub(super) config: &'a Object,
}

/// The words that a tokenizer's files add, besides the marks `special`, by id: `added_tokens_decoder` of its configuration; without one `added_tokens.json` and what
/// `tokenizer.json` adds. Then those that are only named, as additional special tokens.
///
/// # Source
/// huggingface/transformers 5.23, `PreTrainedTokenizerBase._from_pretrained`.
pub(super) fn tokens(
    files: &Files,
    at: &dyn Fn(&str) -> String,
    Objects { special_tokens_map, config }: Objects,
    special: [&str; 3],
) -> Result<Vec<Added>> {
    let mut by_id: BTreeMap<u32, AddedToken> = BTreeMap::new();
    let refused = |file: &str, key: &str, found: &Value, expected: &str| Error::Config {
        file: files.display(&at(file)),
        key: key.to_owned(),
        found: found.to_string(),
        expected: expected.to_owned(),
    };
    let named = |key: &str| {
        let lists = [special_tokens_map, config].into_iter().filter_map(|file| file.get(key)?.as_array());
        lists.flatten().filter_map(|token| read(token, true)).collect::<Vec<AddedToken>>()
    };
    let extra = named("extra_special_tokens");
    if let Some(decoder) = config.get("added_tokens_decoder") {
        let expected = "ids, each with a token";
        let wrong = || refused("tokenizer_config.json", "added_tokens_decoder", decoder, expected);
        for (id, token) in decoder.as_object().ok_or_else(wrong)? {
            let parsed = id.parse().ok().zip(read(token, false));
            let (id, token) = parsed.ok_or_else(|| {
                refused("tokenizer_config.json", &format!("added_tokens_decoder.{id}"), token, "a token")
            })?;
            by_id.insert(id, token);
        }
    } else {
        let is_special =
            |content: &str| special.contains(&content) || extra.iter().any(|token| token.content == content);
        for (content, id) in files.read_object(&at("added_tokens.json"))?.unwrap_or_default() {
            let number = id.as_u64().and_then(|id| u32::try_from(id).ok());
            let number = number.ok_or_else(|| refused("added_tokens.json", &content, &id, "the id of a token"))?;
            let special = is_special(&content);
            by_id.insert(number, AddedToken::from(content, special).normalized(!special));
        }
        if let Some(Value::Array(list)) =
            files.read_object(&at("tokenizer.json"))?.unwrap_or_default().get("added_tokens")
        {
            let id = |token: &Value| token.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            by_id.extend(list.iter().filter_map(|token| Some((id(token)?, read(token, false)?))));
        }
    }
    let others = named("additional_special_tokens")
        .into_iter()
        .chain(extra)
        .filter(|other| !by_id.values().any(|token| token.content == other.content));
    let others: Vec<Added> = others.map(|token| Added { id: None, token }).collect();
    let added: Vec<Added> = by_id.into_iter().map(|(id, token)| Added { id: Some(id), token }).chain(others).collect();
    if added.len() > MAX_ADDED {
        return Err(Error::tokenizer(
            &files.display(&at("")),
            format!("it adds {} words, more than {MAX_ADDED}", added.len()),
        ));
    }
    Ok(added)
}

/// A token from its name, or from an object that describes it.
fn read(token: &Value, is_special: bool) -> Option<AddedToken> {
    if let Some(content) = token.as_str() {
        return Some(AddedToken::from(content, is_special));
    }
    let flag = |key: &str, default: bool| token.get(key).and_then(Value::as_bool).unwrap_or(default);
    let special = flag("special", is_special);
    let token = AddedToken::from(token.get("content")?.as_str()?, special)
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .single_word(flag("single_word", false))
        .normalized(flag("normalized", !special));
    Some(token)
}

/// Adds words to a tokenizer. The ids of new ones follow those of its vocabulary.
///
/// # Errors
/// [`Error::Tokenizer`] if a word's id in the files is another one than it gets, for its vector is at the id in the files.
pub(super) fn add(tokenizer: &mut tokenizers::Tokenizer, origin: &str, added: &[Added]) -> Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    tokenizer
        .add_tokens(added.iter().map(|added| added.token.clone()))
        .map_err(|error| Error::tokenizer(origin, error))?;
    for Added { id, token } in added {
        let found = tokenizer.token_to_id(&token.content);
        if let (Some(id), Some(found)) = (id, found)
            && *id != found
        {
            let problem_text = format!(
                "its files give the added word `{}` the id {id}, and its vocabulary leads to {found}",
                token.content
            );
            return Err(Error::tokenizer(origin, problem_text));
        }
    }
    Ok(())
}

/// The ids of added words, and for each that has several vectors (`<x>`, `<x>_1`, `<x>_2`) all of them in a row.
pub(super) fn expansions(tokenizer: &tokenizers::Tokenizer) -> BTreeMap<u32, Option<String>> {
    let words = tokenizer.get_added_tokens_decoder();
    let names: HashSet<&str> = words.values().map(|token| token.content.as_str()).collect();
    let written = |token: &AddedToken| {
        let further =
            (1..).map(|number| format!("{}_{number}", token.content)).take_while(|name| names.contains(name.as_str()));
        let row: Vec<String> = std::iter::once(token.content.clone()).chain(further).collect();
        (row.len() > 1).then(|| row.join(" "))
    };
    words.iter().map(|(id, token)| (*id, written(token))).collect()
}
