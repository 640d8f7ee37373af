//! Reads an English caption: what is to be seen, how many, where, and how things stand to each other.
//!
//! ```
//! use sinopia_english::{End, RelationKind, read};
//!
//! let analysis = read("two black cats on a red sofa in a kitchen, no people");
//! assert_eq!(analysis.things[0].name, "cat");
//! assert_eq!(analysis.things[0].count.min, 2);
//! assert_eq!(analysis.things[0].colours, ["black"]);
//! assert_eq!(analysis.relations[0].kind, RelationKind::On);
//! assert_eq!(analysis.relations[0].object, End::Thing(1));
//! assert_eq!(analysis.places[0].phrase, "kitchen");
//! assert_eq!(analysis.exclusions[0].name, "person");
//! ```
//!
//! Tokens ([`tokenizer`]) get tags and a dependency tree ([`parser`]), noun phrases get classes of WordNet ([`nouns`]), and rules make an analysis of them ([`analysis`]).
//! The same caption gives the same analysis on every machine; nothing is read from files, nothing panics. Start reading at [`read`].

pub mod analysis;
mod description;
mod kinship;
mod read;

pub mod nouns;
pub mod parser;
pub mod tokenizer;

mod reading;
mod rules;
mod sentence;
#[cfg(test)]
mod testing;
mod unread;
mod verbs;
mod version;
mod words;

pub use analysis::{
    CaptionAnalysis, Certainty, Control, Count, End, Exclusion, Language, Part, PartKind, Position, PositionKind,
    Quote, Relation, RelationKind, Setting, Span, Thing,
};
pub use kinship::kinds_of;
pub use nouns::{NounClass, Nouns};
pub use read::read;
pub use verbs::verb_stem;
pub use version::READER_VERSION;
