//! PyTorch's own files (`.bin`, `.ckpt`): zip archives of raw numbers with a pickled table of contents.
//!
//! Unpickling in Python can run any code. The reader used here knows the handful of instructions that describe tensors and
//! executes nothing; whatever else a pickle asks for is an error or ignored.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::pickle::{PthTensors, TensorInfo};
use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// The networks in GLIGEN's own files, each a dictionary of its own, and where single files of Stable Diffusion have them.
const NESTED: [(&str, &str); 3] =
    [("model", "model.diffusion_model."), ("autoencoder", "first_stage_model."), ("text_encoder", "cond_stage_model.")];

/// An open archive: the table of contents in memory, the numbers on disk.
pub(super) struct Pickle {
    file: String,
    /// One for each dictionary of tensors in the file.
    tables: Vec<PthTensors>,
    /// For each name its table and its name there.
    names: BTreeMap<String, (usize, String)>,
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
        let tables = match tensors.tensor_infos().is_empty() {
            true => nested(path),
            false => vec![("", tensors)],
        };
        let pickle = Self::from_tables(file, tables);
        pickle.check_sizes(size)?;
        Ok(pickle)
    }

    /// From dictionaries of tensors, each with a prefix for its names.
    fn from_tables(file: String, prefixed: Vec<(&str, PthTensors)>) -> Self {
        let mut names = BTreeMap::new();
        let mut tables = Vec::new();
        for (prefix, table) in prefixed {
            let own = table.tensor_infos().keys();
            names.extend(own.map(|name| (format!("{prefix}{name}"), (tables.len(), name.clone()))));
            tables.push(table);
        }
        Self { file, tables, names }
    }

    /// Refuses tables that announce more than the file can hold (PyTorch does not compress), before anything is allocated.
    fn check_sizes(&self, file_size: u64) -> Result<()> {
        for (name, info) in self.tables.iter().flat_map(PthTensors::tensor_infos) {
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
        self.names.keys()
    }

    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.info(name)?.layout.dims().to_vec())
    }

    pub(super) fn format(&self, name: &str) -> Option<String> {
        Some(self.info(name)?.dtype.as_str().to_uppercase())
    }

    fn info(&self, name: &str) -> Option<&TensorInfo> {
        let (table, name) = self.names.get(name)?;
        self.tables[*table].tensor_infos().get(name)
    }

    /// Reads a tensor in its stored format; `None` if the archive has no such tensor.
    pub(super) fn read(&self, name: &str, target: DType, device: &Device) -> Result<Option<Tensor>> {
        let Some((table, own_name)) = self.names.get(name) else {
            return Ok(None);
        };
        let read = self.tables[*table].get(own_name).map_err(|error| Error::Damaged {
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

/// The networks of a file whose top level holds dictionaries instead of tensors, by prefix. None if it is no such file.
fn nested(path: &Path) -> Vec<(&'static str, PthTensors)> {
    let table = |(key, prefix): (&str, &'static str)| {
        let tensors = PthTensors::new(path, Some(key)).ok()?;
        (!tensors.tensor_infos().is_empty()).then_some((prefix, tensors))
    };
    NESTED.into_iter().filter_map(table).collect()
}

/// The message without the backtrace that the tensor library may append.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or("unreadable").to_owned()
}
