//! What an answer must look like, enforced token by token.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::{Matcher, ParserFactory};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::vocabulary::{Trie, Vocabulary};

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Constraint<'a> {
    /// Any text.
    #[default]
    None,
    /// JSON that fits a schema.
    JsonSchema(&'a Value),
    /// A text of a grammar in llguidance's dialect of Lark.
    Lark(&'a str),
}

/// Makes matchers for a vocabulary.
pub(crate) struct Grammars(ParserFactory);

impl Grammars {
    pub(crate) fn new(vocabulary: Vocabulary) -> Result<Self> {
        let environment: toktrie::TokEnv = Arc::new(Trie::new(vocabulary));
        let capabilities = toktrie::InferenceCapabilities { ff_tokens: true, ..Default::default() };
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&environment, capabilities, &slices).map_err(Error::grammar)?;
        factory.quiet();
        Ok(Self(factory))
    }

    pub(crate) fn matcher(&self, constraint: Constraint<'_>) -> Result<Option<Matcher>> {
        let grammar = match constraint {
            Constraint::None => return Ok(None),
            Constraint::JsonSchema(schema) => TopLevelGrammar::from_json_schema(schema.clone()),
            Constraint::Lark(grammar) => TopLevelGrammar::from_lark(grammar.to_owned()),
        };
        let parser = self.0.create_parser(grammar).map_err(Error::grammar)?;
        Ok(Some(Matcher::new(Ok(parser))))
    }
}
