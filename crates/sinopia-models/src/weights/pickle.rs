//! PyTorch's own files (`.bin`, `.ckpt`): zip archives of raw numbers with a pickled table of contents.
//!
//! Unpickling in Python can run any code. The reader used here knows the handful of instructions that describe tensors and
//! executes nothing; whatever else a pickle asks for is an error or ignored.

use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// An open archive: the table of contents in memory, the numbers on disk.
pub(super) struct Pickle {
    file: String,
    tensors: PthTensors,
}

impl Pickle {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let size = match std::fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotFound { path: path.to_owned() });
            }
            Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
        };
        // Whole training states keep the weights under `state_dict`, files of one component have them at the top.
        let tensors = PthTensors::new(path, Some("state_dict"))
            .or_else(|_| PthTensors::new(path, None))
            .map_err(|error| Error::Damaged { file: file.clone(), problem: first_line(&error) })?;
        let pickle = Self { file, tensors };
        pickle.check_sizes(size)?;
        Ok(pickle)
    }

    /// Refuses tables that announce more than the file can hold (PyTorch does not compress), before anything is allocated.
    fn check_sizes(&self, file_size: u64) -> Result<()> {
        for (name, info) in self.tensors.tensor_infos() {
            let dims = info.layout.dims().iter().map(|size| *size as u64);
            let bytes = dims.chain([info.dtype.size_in_bytes() as u64]).try_fold(1_u64, u64::checked_mul);
            if bytes.is_none_or(|bytes| bytes > file_size) {
                let problem = format!("tensor `{name}` of shape {:?} is larger than the file", info.layout.dims());
                return Err(Error::Damaged { file: self.file.clone(), problem });
            }
        }
        Ok(())
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.tensors.tensor_infos().keys()
    }

    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.tensors.tensor_infos().get(name)?.layout.dims().to_vec())
    }

    pub(super) fn format(&self, name: &str) -> Option<String> {
        Some(self.tensors.tensor_infos().get(name)?.dtype.as_str().to_uppercase())
    }

    /// Reads a tensor in its stored format; `None` if the archive has no such tensor.
    pub(super) fn read(&self, name: &str, target: DType, device: &Device) -> Result<Option<Tensor>> {
        let read = self.tensors.get(name).map_err(|error| Error::Damaged {
            file: self.file.clone(),
            problem: format!("tensor `{name}` cannot be read ({})", first_line(&error)),
        })?;
        let Some(tensor) = read else {
            return Ok(None);
        };
        super::read::require_finite(&self.file, name, &tensor)?;
        Ok(Some(tensor.to_dtype(target)?.contiguous()?.to_device(device)?))
    }
}

/// The message without the backtrace that the tensor library may append.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or("unreadable").to_owned()
}
