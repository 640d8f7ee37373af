//! `--debug-maps DIR`: where each guided phrase looks, as pictures: a row a layer, a column a guided step, the boxes drawn in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use image::{Rgb, RgbImage, imageops};
use sinopia_diffusion::{AttentionReport, Observer, Stage, StepReport};
use sinopia_layout::BBox;

use super::contact_sheet::{self, Tile};
use super::output;

/// Side of one map on the sheet, in pixels.
const TILE: u32 = 64;
/// Columns at most; of longer guidance evenly chosen steps are drawn.
const MAX_COLUMNS: usize = 30;

/// What of a painting is looked at besides its picture.
pub(crate) struct Wanted {
    pub(crate) attention: bool,
    /// The pictures of objects painted alone.
    pub(crate) object_images: bool,
}

/// Passes everything on to another observer and keeps the attention maps.
pub(crate) struct MapKeeper<'a> {
    inner: &'a dyn Observer,
    wanted: Wanted,
    /// In the order in which they were met, which is that of the stages.
    kept: Mutex<Vec<Kept>>,
}

/// All maps of one phrase in one stage.
struct Kept {
    stage: String,
    phrase: String,
    bboxes: Vec<BBox>,
    /// By layer and step.
    maps: BTreeMap<(String, usize), RgbImage>,
}

impl<'a> MapKeeper<'a> {
    /// Keeps maps if they are wanted.
    pub(crate) fn new(inner: &'a dyn Observer, wanted: Wanted) -> Self {
        Self { inner, wanted, kept: Mutex::default() }
    }

    /// Writes a sheet a phrase and stage; answers with how many.
    pub(crate) fn write(&self, folder: &Path, prefix: &str) -> anyhow::Result<usize> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if !kept.is_empty() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
        }
        for (number, phrase) in kept.iter().enumerate() {
            let mut bytes = Vec::new();
            phrase.sheet().write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png)?;
            let name = format!("{prefix}{:02}-{}.png", number + 1, file_name(&phrase.phrase));
            output::write(&folder.join(name), &bytes)?;
        }
        Ok(kept.len())
    }
}

impl Observer for MapKeeper<'_> {
    fn stage(&self, stage: &Stage) {
        self.inner.stage(stage);
    }

    fn step(&self, step: &StepReport) {
        self.inner.step(step);
    }

    fn warning(&self, warning: &str) {
        self.inner.warning(warning);
    }

    fn wants_object_images(&self) -> bool {
        self.wanted.object_images
    }

    fn wants_attention(&self) -> bool {
        self.wanted.attention
    }

    fn attention(&self, report: &AttentionReport) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = |kept: &Kept| kept.stage == report.stage && kept.phrase == report.phrase;
        let place = kept.iter().position(is_same).unwrap_or_else(|| {
            kept.push(Kept {
                stage: report.stage.to_owned(),
                phrase: report.phrase.to_owned(),
                bboxes: report.bboxes.to_vec(),
                maps: BTreeMap::new(),
            });
            kept.len() - 1
        });
        kept[place].maps.insert((report.key.to_string(), report.index), tile(report));
    }
}

/// A map from black to white, its highest value white, enlarged.
fn tile(report: &AttentionReport) -> RgbImage {
    let grid = report.map.grid();
    let highest = report.map.values().iter().copied().fold(f32::MIN_POSITIVE, f32::max);
    let cell = |x: u32, y: u32| {
        let value = report.map.values()[y as usize * grid.width + x as usize] / highest;
        let grey = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        Rgb([grey, grey, grey])
    };
    let map = RgbImage::from_fn(grid.width as u32, grid.height as u32, cell);
    let longest = grid.width.max(grid.height) as f64;
    let side = |cells: usize| ((cells as f64 / longest * f64::from(TILE)).round() as u32).max(1);
    imageops::resize(&map, side(grid.width), side(grid.height), imageops::FilterType::Nearest)
}

impl Kept {
    fn sheet(&self) -> RgbImage {
        let rows: BTreeSet<&String> = self.maps.keys().map(|(key, _)| key).collect();
        let steps: Vec<usize> = self.maps.keys().map(|(_, step)| *step).collect::<BTreeSet<_>>().into_iter().collect();
        let stride = steps.len().div_ceil(MAX_COLUMNS).max(1);
        let rows: Vec<(String, Vec<Tile>)> = rows
            .into_iter()
            .map(|key| {
                let tile = |step: &usize| {
                    let image = self.maps.get(&(key.clone(), *step))?.clone();
                    Some(Tile { image, label: format!("step {step}"), bboxes: &self.bboxes })
                };
                (key.clone(), steps.iter().step_by(stride).filter_map(tile).collect())
            })
            .collect();
        contact_sheet::table(&format!("{}: {}", self.stage, self.phrase), &rows)
    }
}

/// The phrase with what file systems may not like replaced.
fn file_name(phrase: &str) -> String {
    let name: String = phrase.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(40).collect();
    if name.is_empty() { "phrase".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use sinopia_diffusion::Silent;
    use sinopia_diffusion::masks::AttentionMap;
    use sinopia_layout::Grid;

    use super::*;

    fn report<'a>(phrase: &'a str, index: usize, bboxes: &'a [BBox], key: &str) -> AttentionReport<'a> {
        let mut values = vec![0.0; 16];
        values[0] = 0.25;
        let map = AttentionMap::new(Grid::new(4, 4), values).unwrap();
        AttentionReport { stage: "painting", index, count: 9, key: key.parse().unwrap(), phrase, bboxes, map }
    }

    #[test]
    fn a_sheet_a_phrase_with_a_tile_a_layer_and_step() {
        let bboxes = [BBox::new(0.5, 0.5, 1.0, 1.0).unwrap()];
        let keeper = MapKeeper::new(&Silent, Wanted { attention: true, object_images: false });
        for phrase in ["a blue dog", "犬/cat"] {
            for index in [0, 3] {
                for key in ["mid.0", "up.1.0"] {
                    keeper.attention(&report(phrase, index, &bboxes, key));
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let maps = folder.path().join("maps");
        assert_eq!(keeper.write(&maps, "seed-1.").unwrap(), 2);
        let sheet = image::open(maps.join("seed-1.01-a-blue-dog.png")).unwrap().to_rgb8();
        assert!(maps.join("seed-1.02-犬-cat.png").is_file());
        assert_eq!(sheet.width(), 8 + 64 + 2 * (TILE + 8) + 8);
        // A box of half the sides on each of four maps, a pixel wide.
        let outline = sheet.pixels().filter(|pixel| pixel.0 == contact_sheet::TARGET).count() as u32;
        assert_eq!(outline, 4 * 4 * (TILE / 2 - 1));
        let highest = sheet.get_pixel(8 + 64 + 2, 14 + 8 + 2);
        assert_eq!((highest.0, sheet.get_pixel(8 + 64 + 40, 14 + 8 + 2).0), ([255; 3], [0; 3]));
    }

    #[test]
    fn nothing_is_kept_that_nobody_wants_and_no_folder_made() {
        let keeper = MapKeeper::new(&Silent, Wanted { attention: false, object_images: false });
        assert!(!keeper.wants_attention());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(keeper.write(&folder.path().join("maps"), "").unwrap(), 0);
        assert!(!folder.path().join("maps").exists());
    }
}
