//! Loaded models that stay in memory; those used least recently go when the budget is spent.
//!
//! The list of entries is locked for moments only. A model is loaded under a lock of its own entry, so that it is loaded once, and whoever wants another
//! model does not wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EllaSource, LoadedModel, OpenedModel, memory};
use crate::{Compute, Result};

/// Which model, with what beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelKey {
    /// The model's name, with the edition of its weights.
    pub name: String,
    /// The SAM that segments objects.
    pub sam: Option<String>,
    /// What reads prompts besides the model's own text encoder.
    pub ella: Option<EllaSource>,
    /// Where it runs, and what it computes in.
    pub compute: Compute,
}

/// How much is in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cached {
    /// Loaded models.
    pub models: u64,
    /// Bytes of their weights.
    pub bytes: u64,
}

/// Loaded models, the one used last at the end.
#[derive(Debug, Default)]
pub struct ModelCache {
    entries: Mutex<Vec<Entry>>,
    /// Bytes of weights and of the paintings beside them; without one nothing is ever dropped.
    budget: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    key: ModelKey,
    place: Arc<Place>,
    /// Of its weights; told as soon as they are known, so that models which are loaded side by side leave each other room.
    bytes: u64,
    is_loaded: bool,
}

/// Where a model is, once it is loaded.
#[derive(Debug, Default)]
struct Place {
    model: Mutex<Option<Arc<LoadedModel>>>,
}

impl ModelCache {
    /// An empty cache; `budget` is in bytes.
    pub fn new(budget: Option<u64>) -> Self {
        Self { entries: Mutex::default(), budget }
    }

    /// The model, from the cache or loaded from what `open` opens; `needed` bytes are left free of the budget for the painting itself, if that can be.
    ///
    /// A model that is there is given at once, whatever else is being loaded.
    ///
    /// # Errors
    /// Those of `open` and of [`LoadedModel::load`]; the next call then tries again.
    pub fn get(
        &self,
        key: &ModelKey,
        needed: u64,
        open: impl FnOnce() -> Result<OpenedModel>,
    ) -> Result<Arc<LoadedModel>> {
        let mut open = Some(open);
        loop {
            let place = self.place(key);
            let mut model = lock(&place.model);
            // Whoever had the place before may have failed to fill it, and then it is not in the list any more.
            if !self.lists(&place) {
                continue;
            }
            if let Some(model) = &*model {
                self.make_room(needed, &place);
                return Ok(model.clone());
            }
            let entry = Unfilled { cache: self, place: &place };
            let Some(open) = open.take() else { unreachable!("a place is filled, or left, once") };
            let loaded = self.load(key, needed, &open()?, &place)?;
            entry.keep();
            *model = Some(loaded.clone());
            return Ok(loaded);
        }
    }

    /// How much is in it.
    pub fn cached(&self) -> Cached {
        let entries = lock(&self.entries);
        let loaded = entries.iter().filter(|entry| entry.is_loaded);
        Cached { models: loaded.clone().count() as u64, bytes: loaded.map(|entry| entry.bytes).sum() }
    }

    fn load(&self, key: &ModelKey, needed: u64, opened: &OpenedModel, place: &Arc<Place>) -> Result<Arc<LoadedModel>> {
        self.update(place, |entry| entry.bytes = memory::weight_bytes(opened, key.compute));
        self.make_room(needed, place);
        let model = LoadedModel::load(opened, key.sam.as_deref(), key.ella.as_ref(), key.compute)?;
        self.update(place, |entry| entry.is_loaded = true);
        Ok(Arc::new(model))
    }

    fn update(&self, place: &Arc<Place>, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = lock(&self.entries).iter_mut().find(|entry| Arc::ptr_eq(&entry.place, place)) {
            change(entry);
        }
    }

    fn lists(&self, place: &Arc<Place>) -> bool {
        lock(&self.entries).iter().any(|entry| Arc::ptr_eq(&entry.place, place))
    }

    /// The place of a model, which becomes the one used last.
    fn place(&self, key: &ModelKey) -> Arc<Place> {
        let mut entries = lock(&self.entries);
        let entry = match entries.iter().position(|entry| entry.key == *key) {
            Some(index) => entries.remove(index),
            None => Entry { key: key.clone(), place: Arc::default(), bytes: 0, is_loaded: false },
        };
        let place = entry.place.clone();
        entries.push(entry);
        place
    }

    /// Drops models that nobody paints with, those used least recently first, until `bytes` fit beside the others.
    fn make_room(&self, bytes: u64, but: &Arc<Place>) {
        let Some(budget) = self.budget else { return };
        let mut entries = lock(&self.entries);
        while entries.iter().map(|entry| entry.bytes).sum::<u64>().saturating_add(bytes) > budget {
            let Some(idle) = entries.iter().position(|entry| !Arc::ptr_eq(&entry.place, but) && entry.is_idle()) else {
                return;
            };
            entries.remove(idle);
        }
    }
}

/// A place that is taken out of the list, unless it is filled: loading may fail in many ways, and the next who asks tries again.
struct Unfilled<'a> {
    cache: &'a ModelCache,
    place: &'a Arc<Place>,
}

impl Unfilled<'_> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfilled<'_> {
    fn drop(&mut self) {
        lock(&self.cache.entries).retain(|entry| !Arc::ptr_eq(&entry.place, self.place));
    }
}

impl Entry {
    /// Whether it is loaded, and nobody has it or is about to.
    fn is_idle(&self) -> bool {
        if Arc::strong_count(&self.place) > 1 {
            return false;
        }
        // A place that is locked is being loaded or handed out.
        let Ok(model) = self.place.model.try_lock() else { return false };
        model.as_ref().is_some_and(|model| Arc::strong_count(model) == 1)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use sinopia_models::DeviceKind;
    use sinopia_models::hub::NoProgress;

    use super::*;
    use crate::PrecisionChoice;
    use crate::models::ModelInfo;

    const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/small");
    const GLIGEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../parity/fixtures/models/gligen");

    const F32: Compute = Compute { device: DeviceKind::Cpu, precision: PrecisionChoice::F32 };

    fn key(name: &str) -> ModelKey {
        ModelKey { name: name.to_owned(), sam: None, ella: None, compute: F32 }
    }

    fn opened(name: &str) -> Result<OpenedModel> {
        OpenedModel::open(name, F32, &NoProgress)
    }

    fn bytes(name: &str) -> u64 {
        ModelInfo::new(&opened(name).unwrap(), F32).weight_bytes
    }

    fn get(cache: &ModelCache, name: &str, needed: u64) -> Arc<LoadedModel> {
        cache.get(&key(name), needed, || opened(name)).unwrap()
    }

    #[test]
    fn models_stay_and_the_one_used_least_recently_goes() {
        let miniature = sinopia_miniature::NAME;
        let budget = bytes(GLIGEN) + bytes(miniature);
        let cache = ModelCache::new(Some(budget));
        let names = || -> Vec<String> { lock(&cache.entries).iter().map(|entry| entry.key.name.clone()).collect() };
        get(&cache, SMALL, 0);
        let held = get(&cache, GLIGEN, 0);
        assert!(Arc::ptr_eq(&held, &get(&cache, GLIGEN, 0)), "it is not loaded twice");
        get(&cache, SMALL, 0);
        assert_eq!(names(), [GLIGEN, SMALL]);
        // The oldest is painted with, so the other goes.
        get(&cache, miniature, 0);
        assert_eq!(names(), [GLIGEN, miniature]);
        assert_eq!(cache.cached(), Cached { models: 2, bytes: budget });
        drop(held);
        // A large painting needs the room of models that it does not use.
        get(&cache, miniature, budget);
        assert_eq!(names(), [miniature]);
    }

    #[test]
    fn a_model_that_is_there_does_not_wait_for_one_that_is_being_loaded() {
        let cache = ModelCache::new(None);
        get(&cache, SMALL, 0);
        let (begun, is_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let cache = &cache;
            let loading = scope.spawn(move || {
                cache.get(&key(GLIGEN), 0, || {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    opened(GLIGEN)
                })
            });
            is_begun.recv().unwrap();
            // The other is held back until this has answered.
            get(cache, SMALL, 0);
            assert!(!loading.is_finished());
            go_on.send(()).unwrap();
            assert!(loading.join().unwrap().is_ok());
        });
        assert_eq!(cache.cached().models, 2);
    }

    #[test]
    fn a_model_that_could_not_be_loaded_is_tried_again() {
        let cache = ModelCache::new(None);
        let failed = cache.get(&key(SMALL), 0, || opened("not/there/at-all.safetensors"));
        assert!(failed.is_err());
        assert_eq!((cache.cached().models, lock(&cache.entries).len()), (0, 0));
        get(&cache, SMALL, 0);
        assert_eq!(cache.cached().models, 1);
    }

    #[test]
    fn whoever_waits_for_a_model_that_fails_tries_it_again() {
        let cache = ModelCache::new(None);
        let (begun, is_begun) = channel();
        let (go_on, may_go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let cache = &cache;
            let failing = scope.spawn(move || {
                cache.get(&key(SMALL), 0, || {
                    begun.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    opened("not/there/at-all.safetensors")
                })
            });
            is_begun.recv().unwrap();
            let waiting = scope.spawn(move || cache.get(&key(SMALL), 0, || opened(SMALL)));
            go_on.send(()).unwrap();
            assert!(failing.join().unwrap().is_err());
            assert!(waiting.join().unwrap().is_ok());
        });
        // What the second has is in the list, and is what a third gets.
        assert_eq!((cache.cached().models, lock(&cache.entries).len()), (1, 1));
        assert_eq!(cache.cached().bytes, bytes(SMALL));
    }

    #[test]
    fn a_model_whose_loading_panics_holds_no_room() {
        let cache = ModelCache::new(None);
        let panicking = std::panic::AssertUnwindSafe(|| cache.get(&key(SMALL), 0, || panic!("a test")).is_ok());
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!((cache.cached(), lock(&cache.entries).len()), (Cached::default(), 0));
        get(&cache, SMALL, 0);
    }

    #[test]
    fn a_model_is_known_before_it_is_loaded() {
        let miniature = ModelInfo::new(&opened(sinopia_miniature::NAME).unwrap(), F32);
        assert_eq!((miniature.native_size, miniature.multiple), ((128, 128), 8));
        assert!(miniature.weight_bytes > 1_000_000);
        assert_eq!(miniature.picture_bytes(256, 128), 2 * miniature.picture_bytes(128, 128));
    }
}
