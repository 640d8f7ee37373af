//! Caption files of one caption a line.

use std::path::Path;

use crate::{Error, Result};

/// The lines of a caption file that hold something, with their numbers from 1; refuses a file without any.
pub(super) fn numbered_lines<'a>(path: &Path, text: &'a str) -> Result<Vec<(usize, &'a str)>> {
    let text = text.trim_start_matches('\u{feff}');
    let lines = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
    let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err(Error::NoCaptions { path: path.to_owned() });
    }
    Ok(lines)
}
