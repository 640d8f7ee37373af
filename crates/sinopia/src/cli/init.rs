//! The picture that a painting begins with, from the files that flags name.

use std::path::Path;
use std::sync::Arc;

use sinopia_layout::limits::PICTURE_BYTES;
use sinopia_studio::{Error, InitPicture, InitSettings, NamedBytes};

use super::input;

/// The picture to begin with, and its mask.
pub(super) fn picture(settings: &InitSettings) -> anyhow::Result<Option<Arc<InitPicture>>> {
    let InitSettings { init, strength, mask } = settings;
    let Some(init) = init else {
        return match (strength, mask) {
            (Some(_), _) => Err(Error::NoInitPicture { setting: "strength" }.into()),
            (None, Some(_)) => Err(Error::NoInitPicture { setting: "mask" }.into()),
            (None, None) => Ok(None),
        };
    };
    let read = |path: &String| {
        let path = Path::new(path);
        let name = path.file_name().map_or_else(|| input::shown(path), |name| name.to_string_lossy().into_owned());
        anyhow::Ok((name, input::bytes(path, PICTURE_BYTES)?))
    };
    let (image, mask) = (read(init)?, mask.as_ref().map(read).transpose()?);
    let picture = InitPicture::new(named(&image), mask.as_ref().map(named), *strength)?;
    Ok(Some(Arc::new(picture)))
}

fn named((name, bytes): &(String, Vec<u8>)) -> NamedBytes<'_> {
    NamedBytes { name, bytes }
}

/// The files that a picture to begin with is read from.
pub(super) fn files(settings: &InitSettings) -> impl Iterator<Item = &Path> {
    [&settings.init, &settings.mask].into_iter().flatten().map(Path::new)
}
