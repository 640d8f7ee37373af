//! What the files of pictures say about how they were made.

use std::path::Path;

use sinopia_layout::limits::PICTURE_BYTES;
use sinopia_studio::pictures::{self, Origin};
use sinopia_studio::recipe_in;

use super::failure::{Given, with_hint};
use super::input;
use super::kinds::{self, Kind};

/// How the picture at `path` was made.
pub(crate) fn read(path: &Path) -> anyhow::Result<Origin> {
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Png));
    let bytes = input::bytes(path, PICTURE_BYTES).map_err(hinted)?;
    pictures::read(&bytes).given(|| format!("cannot read how `{}` was made", path.display())).map_err(hinted)
}

/// The recipe inside the picture of ours at `path`, as JSON text.
pub(crate) fn recipe_of(path: &Path) -> anyhow::Result<String> {
    let hinted = |error| with_hint(error, kinds::hint(path, Kind::Png));
    let bytes = input::bytes(path, PICTURE_BYTES).map_err(hinted)?;
    recipe_in(&bytes).given(|| format!("cannot read the recipe in `{}`", path.display())).map_err(hinted)
}
