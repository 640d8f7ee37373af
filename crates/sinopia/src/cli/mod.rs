//! Commands, arguments and everything a terminal needs: progress, files, previews, messages.

pub(crate) mod args;
pub(crate) mod cache;
pub(crate) mod comfyui;
pub(crate) mod completions;
mod contact_sheet;
pub(crate) mod convert;
mod debug_maps;
pub(crate) mod eval;
pub(crate) mod failure;
pub(crate) mod generate;
mod input;
pub(crate) mod inspect;
mod job;
mod model;
pub(crate) mod models;
mod output;
pub(crate) mod paint;
mod painting_file;
pub(crate) mod plan;
mod planning;
mod progress;
mod remote;
pub(crate) mod serve;
pub(crate) mod settings;
mod terminal;
mod vocabulary;
