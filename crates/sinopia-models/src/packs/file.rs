//! A pack that is mapped.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use candle_core::{DType, Device, Shape, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use sinopia_nn::SharedBytes;
use sinopia_nn::packed::{Order, PackedWeight, Sizes};

use super::PackKey;
use super::format::{Entry, Form, Index, Part, parse};
use super::no_pack::NoPack;
use crate::sha256::sha256_hex;
use crate::weights::MappedRows;

/// The packed weights of a checkpoint, read where they lie. What uses them keeps the file mapped, and locked against being removed by us.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    map: Arc<Map>,
    index: Index,
}

/// A mapped file, which is locked as long as it is mapped.
#[derive(Debug)]
struct Map {
    bytes: Mmap,
    _file: File,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Map {
    /// Maps a file; nothing if there is none, or it is about to be removed.
    fn open(path: &Path) -> Result<Option<Self>, String> {
        let told = |error: std::io::Error| error.to_string();
        // Whatever else has such a name, a pipe for one, is not opened.
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(told(error)),
            Ok(metadata) if !metadata.is_file() => return Err("it is no file".to_owned()),
            Ok(_) => {}
        }
        let file = File::open(path).map_err(told)?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            // File systems without locks are used without.
            Ok(()) | Err(TryLockError::Error(_)) => {}
        }
        #[expect(unsafe_code, reason = "mapping a file is unsafe in any interface, and sharing it is what it is for")]
        // SAFETY: the map is only read. Packs are replaced by renaming and removed when nobody holds their lock; that nobody cuts one in place we
        // rely on as with checkpoints.
        let bytes = unsafe { Mmap::map(&file) }.map_err(told)?;
        Ok(Some(Self { bytes, _file: file }))
    }
}

/// The index of the pack at a path.
pub(super) fn read_index(path: &Path) -> Result<Index, NoPack> {
    match Map::open(path).map_err(NoPack::Unreadable)? {
        Some(map) => parse(&map.bytes),
        None => Err(NoPack::Unreadable("it was about to be removed".to_owned())),
    }
}

/// Has the system bring the file into memory, in order and beside what else is done: steps would ask for it page by page.
fn read_ahead(map: Arc<Map>) {
    #[cfg(unix)]
    {
        // Whoever has no thread to spare waits for the pages.
        let reader = std::thread::Builder::new().name("read ahead".to_owned());
        let _ = reader.spawn(move || map.bytes.advise(memmap2::Advice::WillNeed));
    }
    #[cfg(not(unix))]
    drop(map);
}

impl Pack {
    /// Opens the pack at a path if there is one; in words, why what is there cannot be used. That it was used now is noted at the file.
    pub(super) fn open(path: &Path, key: &PackKey) -> Result<Option<Self>, String> {
        let Some(map) = Map::open(path)? else { return Ok(None) };
        let index = parse(&map.bytes).map_err(|problem| problem.to_string())?;
        if index.key != *key {
            return Err("it is of another model, or for another machine or edition of the program".to_owned());
        }
        // On a file system that cannot be written to nothing is removed either.
        let _ = map._file.set_modified(SystemTime::now());
        let map = Arc::new(map);
        read_ahead(map.clone());
        Ok(Some(Self { path: path.to_owned(), map, index }))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size.
    pub(super) fn bytes(&self) -> u64 {
        self.map.bytes.len() as u64
    }

    /// The packed weight `name`, if it has one.
    pub(crate) fn weight(&self, name: &str) -> Option<PackedWeight<SharedBytes>> {
        let Entry { form: Form::Packed(order), sizes, parts } = self.index.entries.get(name)? else { return None };
        let &[taps, channels, columns] = sizes.as_slice() else { return None };
        let part = |part: &Part| SharedBytes::new(self.map.clone(), part.range());
        Some(PackedWeight {
            order: Order::named(order)?,
            sizes: Sizes { taps, channels, columns },
            parts: parts.iter().map(part).collect::<Option<_>>()?,
        })
    }

    /// The tensor `name` of this shape, if it has one.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let Entry { form: Form::Tensor(format), sizes, parts } = self.index.entries.get(name)? else { return None };
        let bytes = self.map.bytes.get(parts.first()?.range())?;
        if sizes != shape {
            return None;
        }
        let shape = Shape::from(shape);
        let tensor = match format.as_str() {
            "F32" => Tensor::from_slice(bytemuck::try_cast_slice::<u8, f32>(bytes).ok()?, shape, &Device::Cpu),
            "F16" => Tensor::from_slice(bytemuck::try_cast_slice::<u8, f16>(bytes).ok()?, shape, &Device::Cpu),
            "BF16" => Tensor::from_slice(bytemuck::try_cast_slice::<u8, bf16>(bytes).ok()?, shape, &Device::Cpu),
            _ => return None,
        };
        tensor.ok()
    }

    /// The rows of the tensor `name` of this shape, if it has one, as they lie.
    pub(crate) fn rows(&self, name: &str, shape: [usize; 2]) -> Option<MappedRows> {
        let Entry { form: Form::Tensor(format), sizes, parts } = self.index.entries.get(name)? else { return None };
        let dtype = match format.as_str() {
            "F32" => DType::F32,
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            _ => return None,
        };
        let [_, width] = shape;
        // Parts begin at cache lines, of a map that begins at a page.
        let bytes = SharedBytes::new(self.map.clone(), parts.first()?.range())?;
        (sizes == &shape && width > 0).then_some(MappedRows { bytes, dtype, width })
    }

    /// Compares everything in it with its checksums; in words, what differs.
    pub(super) fn verify(&self) -> Result<(), String> {
        for (name, Entry { parts, .. }) in &self.index.entries {
            for part in parts {
                if sha256_hex(&self.map.bytes[part.range()]) != part.sha256 {
                    return Err(format!("the bytes of `{name}` have changed since they were written"));
                }
            }
        }
        Ok(())
    }
}
