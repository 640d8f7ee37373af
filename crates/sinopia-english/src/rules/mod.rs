//! From a parsed sentence to its analysis: a file a family of rules, in the order in which they are asked.

pub(crate) mod controls;
pub(crate) mod counts;
pub(crate) mod governors;
pub(crate) mod links;
pub(crate) mod lists;
pub(crate) mod of;
pub(crate) mod phrases;
pub(crate) mod pronouns;
pub(crate) mod quotes;
pub(crate) mod relations;
pub(crate) mod roles;
pub(crate) mod subjects;
pub(crate) mod tags;
