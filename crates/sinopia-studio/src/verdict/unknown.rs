//! What an evaluator cannot tell, said rather than passed over.

use sinopia_eval::Capability;
use sinopia_eval::evaluators::EvaluatorId;

use super::Program;
use super::queries::with_article;
use crate::vocabulary;

/// Whether an evaluator has a word for a thing. The built-in detector knows its own world; other weights are asked for anything that has a name.
pub(super) fn is_known(evaluator: &EvaluatorId, name: &str) -> bool {
    !name.is_empty() && (evaluator.id != sinopia_miniature::NAME || vocabulary::is_thing(name))
}

/// What `program` wants and the evaluator cannot tell, in words, each once: things that it has no word for; of those that see boxes what is neither thing nor colour; of those that do not, places.
pub(super) fn of(program: &Program, evaluator: &EvaluatorId, capability: Capability) -> Vec<String> {
    let mut unknown: Vec<String> = Vec::new();
    let mut tell = |words: String| {
        if !unknown.contains(&words) {
            unknown.push(words);
        }
    };
    let kinds = program.kinds().iter().map(|kind| kind.name.as_str()).filter(|name| !is_known(evaluator, name));
    kinds.filter(|name| !name.is_empty()).for_each(|name| tell(with_article(name)));
    if capability != Capability::Boxes {
        if program.is_placed() && !program.objects().is_empty() {
            tell("where things are".to_owned());
        }
        return unknown;
    }
    for object in program.objects() {
        object.details.iter().for_each(|detail| tell(format!("{detail}, of {}", object.phrase)));
        if object.is_several {
            tell(format!("how many: {}", object.phrase));
        }
    }
    for excluded in program.excluded().iter().filter(|excluded| !excluded.details.is_empty()) {
        tell(excluded.phrase.clone());
    }
    unknown
}
