//! From a parsed sentence to its analysis: a file a family of rules, in the order in which they are asked.

pub(crate) mod controls;
pub(crate) mod counts;
pub(crate) mod deeds;
pub(crate) mod ellipsis;
pub(crate) mod foreign;
pub(crate) mod governors;
pub(crate) mod language;
pub(crate) mod links;
pub(crate) mod lists;
pub(crate) mod mentions;
pub(crate) mod multiples;
pub(crate) mod negatives;
pub(crate) mod of;
pub(crate) mod phrase;
pub(crate) mod phrases;
pub(crate) mod predicates;
pub(crate) mod pronouns;
pub(crate) mod quotes;
pub(crate) mod relations;
pub(crate) mod roles;
pub(crate) mod splits;
pub(crate) mod subjects;
pub(crate) mod tags;
