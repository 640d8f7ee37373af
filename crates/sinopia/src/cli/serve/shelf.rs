//! Models that stay in memory between jobs; those used least recently go when the budget is spent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sinopia_diffusion::LinearPreview;
use sinopia_models::checkpoint::Checkpoint;
use sinopia_server::engine::Kept;

use crate::cli::args::PrecisionArg;
use crate::cli::eval::jobs::picture_bytes;
use crate::cli::model::{self, EllaSource, Model};
use crate::cli::progress::Bars;

/// What is known of a model before it is loaded.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Its name.
    pub(super) name: String,
    /// The size that it has learned from, in pixels.
    pub(super) native_size: (u32, u32),
    /// Pixels to a latent cell.
    pub(super) multiple: u32,
    /// Bytes of its weights in memory.
    pub(super) weight_bytes: u64,
    /// Channels of its autoencoder's finest layer.
    channels: usize,
}

impl Listed {
    /// Looks a model up; a Hub id is fetched.
    pub(super) fn new(name: &str, precision: PrecisionArg, bars: &Bars) -> anyhow::Result<Self> {
        let checkpoint = model::checkpoint(name, precision, bars)?;
        bars.finish();
        let multiple = checkpoint.vae.config.scale_factor();
        let (height, width) = checkpoint.unet.config.sample_hw().unwrap_or((64, 64));
        Ok(Self {
            name: name.to_owned(),
            native_size: ((width * multiple) as u32, (height * multiple) as u32),
            multiple: multiple as u32,
            weight_bytes: weight_bytes(&checkpoint, precision),
            channels: checkpoint.vae.config.block_out_channels.first().copied().unwrap_or(1),
        })
    }

    /// Bytes that a picture takes at its peak, beside the weights.
    pub(super) fn picture_bytes(&self, width: u32, height: u32) -> u64 {
        picture_bytes((width as usize, height as usize), self.channels, true) as u64
    }
}

fn weight_bytes(checkpoint: &Checkpoint, precision: PrecisionArg) -> u64 {
    let Checkpoint { text_encoder, unet, vae, .. } = checkpoint;
    let numbers = text_encoder.weights.num_parameters() + unet.weights.num_parameters() + vae.weights.num_parameters();
    let bytes = if precision.resolved() == PrecisionArg::Bf16 { 2 } else { 4 };
    numbers * bytes
}

/// A model ready to paint, and its previews.
pub(super) struct Ready {
    pub(super) model: Model,
    pub(super) preview: LinearPreview,
}

/// Which model, with what beside it.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    name: String,
    ella: Option<EllaSource>,
}

struct Place {
    key: Key,
    ready: Arc<Ready>,
    bytes: u64,
}

/// The models, the one used last at the end.
pub(super) struct Shelf {
    places: Mutex<Vec<Place>>,
    /// Held while a model is loaded, so that it is loaded once.
    loading: Mutex<()>,
    budget: Option<u64>,
    sam: Option<String>,
    precision: PrecisionArg,
}

impl Shelf {
    /// An empty shelf; `budget` is in bytes.
    pub(super) fn new(budget: Option<u64>, sam: Option<String>, precision: PrecisionArg) -> Self {
        Self { places: Mutex::default(), loading: Mutex::default(), budget, sam, precision }
    }

    /// The model, from the shelf or loaded; `needed` bytes are left free of the budget for the painting itself, if that can be.
    pub(super) fn take(&self, listed: &Listed, ella: Option<&EllaSource>, needed: u64) -> anyhow::Result<Arc<Ready>> {
        let key = Key { name: listed.name.clone(), ella: ella.cloned() };
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = self.used(&key) {
            self.make_room(needed, Some(&key));
            return Ok(ready);
        }
        self.make_room(listed.weight_bytes.saturating_add(needed), None);
        let bars = Bars::new(true);
        let model = model::open(&listed.name, self.sam.as_deref(), self.precision, &bars)?;
        let model = model::with_ella(model, ella, self.precision)?;
        let preview = LinearPreview::fit(&model.pipeline)?;
        let ready = Arc::new(Ready { model, preview });
        self.places().push(Place { key, ready: ready.clone(), bytes: listed.weight_bytes });
        Ok(ready)
    }

    /// What is on it.
    pub(super) fn kept(&self) -> Kept {
        let places = self.places();
        Kept { models: places.len() as u64, bytes: places.iter().map(|place| place.bytes).sum() }
    }

    /// A model that is there, which becomes the one used last.
    fn used(&self, key: &Key) -> Option<Arc<Ready>> {
        let mut places = self.places();
        let index = places.iter().position(|place| place.key == *key)?;
        let place = places.remove(index);
        let ready = place.ready.clone();
        places.push(place);
        Some(ready)
    }

    /// Drops models that nobody paints with, those used least recently first, until `bytes` fit beside the others.
    fn make_room(&self, bytes: u64, but: Option<&Key>) {
        let Some(budget) = self.budget else { return };
        let mut places = self.places();
        loop {
            let kept: u64 = places.iter().map(|place| place.bytes).sum();
            let is_idle = |place: &Place| Arc::strong_count(&place.ready) == 1 && but != Some(&place.key);
            let idle = places.iter().position(is_idle);
            match idle {
                Some(index) if kept.saturating_add(bytes) > budget => {
                    places.remove(index);
                }
                _ => return,
            }
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");
    const GLIGEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/gligen");

    fn listed(name: &str) -> Listed {
        Listed::new(name, PrecisionArg::F32, &Bars::new(true)).unwrap()
    }

    #[test]
    fn models_stay_and_the_one_used_least_recently_goes() {
        let all = [SMALL, GLIGEN, sinopia_miniature::NAME].map(listed);
        let budget = all[1].weight_bytes + all[2].weight_bytes;
        let shelf = Shelf::new(Some(budget), None, PrecisionArg::F32);
        let names = || -> Vec<String> { shelf.places().iter().map(|place| place.key.name.clone()).collect() };
        shelf.take(&all[0], None, 0).unwrap();
        let held = shelf.take(&all[1], None, 0).unwrap();
        assert!(Arc::ptr_eq(&held, &shelf.take(&all[1], None, 0).unwrap()), "it is not loaded twice");
        shelf.take(&all[0], None, 0).unwrap();
        assert_eq!(names(), [GLIGEN, SMALL]);
        // The oldest is painted with, so the other goes.
        shelf.take(&all[2], None, 0).unwrap();
        assert_eq!(names(), [GLIGEN, sinopia_miniature::NAME]);
        assert_eq!(shelf.kept(), Kept { models: 2, bytes: budget });
        drop(held);
        // A large painting needs the room of models that it does not use.
        shelf.take(&all[2], None, budget).unwrap();
        assert_eq!(names(), [sinopia_miniature::NAME]);
    }

    #[test]
    fn a_model_is_known_before_it_is_loaded() {
        let miniature = listed(sinopia_miniature::NAME);
        assert_eq!((miniature.native_size, miniature.multiple), ((128, 128), 8));
        assert!(miniature.weight_bytes > 1_000_000);
        assert_eq!(miniature.picture_bytes(256, 128), 2 * miniature.picture_bytes(128, 128));
    }
}
