//! The benchmarks: one file each, one line each in [`open`].

mod clip_score;
mod dense;
mod dpg;
mod geneval;
mod lines;
pub(crate) mod lmd;
mod t2i_numeracy;
mod t2i_spatial;

use std::path::Path;

pub use clip_score::ClipScore;
pub use dense::Dense;
pub use dpg::Dpg;
pub use geneval::GenEval;
pub use lmd::Lmd;
pub use t2i_numeracy::T2iNumeracy;
pub use t2i_spatial::T2iSpatial;

use sinopia_layout::names;

use crate::benchmark::Benchmark;
use crate::{Error, Result, edits, files};

/// The benchmark of a name: `lmd` or `dense` (their captions are built in), or `NAME:FILE` for one whose captions the user has.
///
/// # Errors
/// [`Error::UnknownBenchmark`], [`Error::RunOfEdits`]; [`Error::Read`], [`Error::Caption`] or [`Error::NoCaptions`] for a file that is not its captions.
pub fn open(name: &str) -> Result<Box<dyn Benchmark>> {
    let (kind, file) = name.split_once(':').map_or((name, None), |(kind, file)| (kind, Some(Path::new(file))));
    Ok(match (kind, file) {
        (Lmd::NAME, None) => Box::new(Lmd::new()),
        (Dense::NAME, None) => Box::new(Dense::new()),
        (ClipScore::NAME, Some(file)) => Box::new(ClipScore::from_lines(file, &files::read_text(file)?)?),
        (Dpg::NAME, Some(file)) => Box::new(Dpg::from_csv(file, &files::read_text(file)?)?),
        (GenEval::NAME, Some(file)) => Box::new(GenEval::from_json_lines(file, &files::read_text(file)?)?),
        (T2iSpatial::NAME, Some(file)) => Box::new(T2iSpatial::from_lines(file, &files::read_text(file)?)?),
        (T2iNumeracy::NAME, Some(file)) => Box::new(T2iNumeracy::from_lines(file, &files::read_text(file)?)?),
        (edits::NAME, None) => return Err(Error::RunOfEdits),
        _ => return Err(Error::UnknownBenchmark { name: name.to_owned(), choice: choice(name) }),
    })
}

/// What to say of a name that is no benchmark's.
fn choice(name: &str) -> String {
    const BUILT_IN: [&str; 2] = [Lmd::NAME, Dense::NAME];
    const OF_FILES: [&str; 5] = [GenEval::NAME, T2iSpatial::NAME, T2iNumeracy::NAME, Dpg::NAME, ClipScore::NAME];
    let all = "there are lmd and dense, and geneval:FILE, t2i-spatial:FILE, t2i-numeracy:FILE, dpg:FILE and clipscore:FILE with a file of captions";
    let kind = name.split(':').next().unwrap_or_default();
    match names::nearest(kind, BUILT_IN.into_iter().chain(OF_FILES)) {
        Some(near) if OF_FILES.contains(&near) => format!("did you mean `{near}:FILE`? {all}"),
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all.to_owned(),
    }
}
