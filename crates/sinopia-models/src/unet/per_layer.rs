//! What layers make of an input that stays the same for a whole generation: made once, found again afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;

/// A layer that keeps something with its inputs, unique in the process.
pub(super) type LayerId = u64;

/// An id that no layer has yet.
pub(super) fn next_layer_id() -> LayerId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Keys and values of an attention layer, (B, L, C) each.
#[derive(Debug, Clone)]
pub(super) struct KeyValue {
    pub(super) key: Tensor,
    pub(super) value: Tensor,
}

/// One value for each layer that asked for one. One input may serve any number of calls and of networks.
#[derive(Debug)]
pub(super) struct PerLayer<T>(Mutex<HashMap<LayerId, T>>);

impl<T> Default for PerLayer<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> PerLayer<T> {
    /// Whether no layer has asked yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl<T: Clone> PerLayer<T> {
    /// The layer's value, made now if this is the layer's first call.
    pub(super) fn get(&self, layer: LayerId, make: impl FnOnce() -> sinopia_nn::Result<T>) -> sinopia_nn::Result<T> {
        // A panic while the lock was held cannot have left the map half-written.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = made.get(&layer) {
            return Ok(found.clone());
        }
        let value = make()?;
        made.insert(layer, value.clone());
        Ok(value)
    }
}
