//! Keeps the packed weights of networks that are being built, whichever thread builds them.

use std::io::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use sinopia_nn::packed::{PackedWeight, Sizes};

use super::PackKey;
use super::folder::{PackFolder, PartFile};
use super::format::Form;
use super::writer::{Checked, Writer};
use crate::sha256::sha256_hex;

/// A pack under way: what goes wrong is told at the end, and the networks are built all the same.
pub(crate) struct Recorder {
    /// The first failure ends the writing.
    writer: Mutex<Result<Writer<PartFile>>>,
}

impl Recorder {
    /// Begins a pack of at most `max_bytes` in a folder.
    pub(super) fn begin(folder: &PackFolder, max_bytes: u64) -> Result<Self> {
        Ok(Self { writer: Mutex::new(Ok(Writer::new(folder.begin()?, max_bytes)?)) })
    }

    /// Keeps a layer's weight.
    pub(crate) fn add_weight(&self, name: &str, weight: &PackedWeight<&[u8]>) {
        let Sizes { taps, channels, columns } = weight.sizes;
        self.add(name, Form::Packed(weight.order.as_str().to_owned()), vec![taps, channels, columns], &weight.parts);
    }

    /// Keeps a tensor as it is; nothing of one that is not on the CPU, or of other numbers than weights have.
    pub(crate) fn add_tensor(&self, name: &str, tensor: &Tensor) -> candle_core::Result<()> {
        let flat = tensor.flatten_all()?;
        let add = |format: &str, bytes: &[u8]| {
            self.add(name, Form::Tensor(format.to_owned()), tensor.dims().to_vec(), &[bytes]);
        };
        match tensor.dtype() {
            DType::F32 => add("F32", bytemuck::cast_slice(&flat.to_vec1::<f32>()?)),
            DType::F16 => add("F16", bytemuck::cast_slice(&flat.to_vec1::<f16>()?)),
            DType::BF16 => add("BF16", bytemuck::cast_slice(&flat.to_vec1::<bf16>()?)),
            _ => {}
        }
        Ok(())
    }

    fn add(&self, name: &str, form: Form, sizes: Vec<usize>, parts: &[&[u8]]) {
        if self.is_done_with(name) {
            return;
        }
        // Other threads write meanwhile.
        let parts: Vec<Checked<'_>> =
            parts.iter().copied().map(|bytes| Checked { bytes, sha256: sha256_hex(bytes) }).collect();
        let mut state = self.lock();
        if let Ok(writer) = &mut *state
            && !writer.has(name)
            && let Err(error) = writer.add(name, form, sizes, &parts)
        {
            *state = Err(error);
        }
    }

    /// Whether an entry is there, or nothing is written any more.
    fn is_done_with(&self, name: &str) -> bool {
        self.lock().as_ref().map_or(true, |writer| writer.has(name))
    }

    /// Ends the pack: what was written, in a file that is not in its place yet. Nothing if no weight was packed.
    pub(super) fn finish(self, key: PackKey, model: String) -> Result<Option<PartFile>> {
        let writer = self.writer.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        match writer.has_packed() {
            true => writer.finish(key, model).map(Some),
            false => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Result<Writer<PartFile>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
