//! Named tensors of a checkpoint: found by name, checked, and converted one at a time.
//!
//! Files are memory-mapped, so a tensor's bytes are read when [`Weights::get`] asks for it and nothing else is held. Weights in GGUF's blocks stay in
//! the map: [`Weights::parameter`] hands them out where they lie.

mod gguf;
mod kind;
mod mapped;
mod near;
mod packed;
mod parameter;
mod patch;
mod pickle;
mod read;
mod rows;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use sinopia_nn::{Arithmetic, BlockKind, Quantized, SharedBytes};

use crate::testing::MadeUp;
use crate::{DeviceKind, Error, Result};
use kind::FileKind;
pub(crate) use kind::OtherKind;
use mapped::{Bytes, Header, MappedFile, Record};
pub(crate) use packed::PackAccess;
use packed::PackView;
pub use parameter::Parameter;
pub use patch::{LowRank, WeightDelta, WeightPatch};
pub(crate) use rows::{MappedRows, Rows, StoredRows};

/// How frozen weights are kept in memory, and with it how they are multiplied on the CPU: bf16 weights in bf16 with f32 sums, all others in
/// f32. Vectors (biases, norms) are always f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Four bytes a weight.
    F32,
    /// Two bytes a weight, the upper half of an f32: half the memory for about three significant digits.
    Bf16,
    /// As in the file: f16 and bf16 stay half-size, blocks of 2 to 8 bits stay blocks, f32 stays f32, f64 becomes f32.
    #[default]
    Auto,
    /// One byte a weight where a network says that its layers bear it ([`Weights::in_8_bits`]), multiplied in 8 bits on the CPU. All others are bf16
    /// where the processor multiplies it, else as in the file.
    Int8,
}

/// Weights in blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InBlocks {
    /// How many numbers they are.
    pub parameters: u64,
    /// What they take, in the file and in memory.
    pub bytes: u64,
}

/// Layers with fewer channels on either side stay in 16 bits: rounding errors of few terms do not cancel out, and little is won.
const MIN_INT8_CHANNELS: usize = 16;

/// What has to be done to a tensor of the file to become the tensor that the model names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    AsIs,
    /// Swap the two axes of a matrix.
    Transpose,
    /// Part `index` of `count` equal parts along the first axis (fused query, key and value projections).
    Part {
        /// Which part, from 0.
        index: usize,
        /// How many parts there are.
        count: usize,
    },
}

/// A tensor under another name: the name in the file and the way from it.
#[derive(Debug, Clone)]
struct Alias {
    file_name: String,
    transform: Transform,
}

/// The tensors of one component of a checkpoint, seen from a prefix. Cloning is cheap.
///
/// ```
/// use std::collections::HashMap;
/// use candle_core::{Device, Tensor};
/// use sinopia_models::Weights;
///
/// let bias = Tensor::zeros(4, candle_core::DType::F32, &Device::Cpu)?;
/// let weights = Weights::from_tensors("example", HashMap::from([("conv_in.bias".to_owned(), bias)]));
/// assert_eq!(weights.pp("conv_in").get("bias", &[4])?.dims(), [4]);
/// assert!(weights.get("conv_in.bias", &[8]).is_err());
/// # Ok::<(), sinopia_models::Error>(())
/// ```
#[derive(Clone)]
pub struct Weights {
    store: Arc<Store>,
    /// Names as the model knows them, where they differ from the file's.
    aliases: Option<Arc<BTreeMap<String, Alias>>>,
    /// Merged in this order into what is read, under the model's names.
    patches: Vec<Arc<WeightPatch>>,
    /// What is read from, or kept for, a pack.
    pack: Option<PackView>,
    prefix: String,
    device: Device,
    precision: Precision,
    /// Whether layers read from here bear 8 bits.
    bears_8_bits: bool,
}

/// The tensors of one or more files, under the files' own names.
struct Store {
    origin: String,
    files: Vec<File>,
    records: BTreeMap<String, (usize, Record)>,
    tensors: HashMap<String, Tensor>,
    made_up: Option<MadeUp>,
}

struct File {
    name: String,
    bytes: Arc<Bytes>,
}

impl Weights {
    /// Maps the files of one component, sharded or not: safetensors, PyTorch's own (`.bin`, `.ckpt`, `.pt`, of any version) or GGUF. Which of them a
    /// file is, its first bytes say. Nothing in a PyTorch file is executed.
    ///
    /// # Errors
    /// If a file is missing, damaged, [something else](Error::OtherFile), or two files hold the same tensor.
    pub fn open(paths: &[PathBuf], device: &Device, precision: Precision) -> Result<Self> {
        let files = paths.iter().map(|path| File::map(path)).collect::<Result<_>>()?;
        Ok(Self::new(Store::from_files(files)?, device, precision))
    }

    /// Reads a safetensors file that is part of the program; `name` stands for it in messages.
    ///
    /// # Errors
    /// If the bytes are not a complete safetensors file.
    pub fn from_bytes(name: &str, bytes: &'static [u8], device: &Device, precision: Precision) -> Result<Self> {
        Self::from_embedded(&[(name.to_owned(), bytes)], device, precision)
    }

    /// Reads safetensors files that are part of the program and belong together, each with the name that stands for it in messages.
    ///
    /// # Errors
    /// If the bytes of one are not a complete safetensors file, or two hold the same tensor.
    pub fn from_embedded(files: &[(String, &'static [u8])], device: &Device, precision: Precision) -> Result<Self> {
        let file = |(name, bytes): &(String, &'static [u8])| File {
            name: name.clone(),
            bytes: Arc::new(Bytes::Static(bytes)),
        };
        Ok(Self::new(Store::from_files(files.iter().map(file).collect())?, device, precision))
    }

    /// Takes tensors that are in memory already, as they are: precision and device do not change them.
    pub fn from_tensors(origin: &str, tensors: HashMap<String, Tensor>) -> Self {
        let first = tensors.values().next();
        let device = first.map_or_else(|| DeviceKind::default().device(), |tensor| tensor.device().clone());
        let store = Store { tensors, ..Store::empty(origin.to_owned()) };
        Self::new(store, &device, Precision::Auto)
    }

    /// Weights for tests, on the processor: any tensor asked for is made up, reproducibly, and remembered for [`Weights::made_up`].
    ///
    /// Tensors that a model only asks for if they are there do not exist.
    #[doc(hidden)]
    pub fn random(seed: u64) -> Self {
        let store = Store { made_up: Some(MadeUp::new(seed)), ..Store::empty(format!("random weights {seed}")) };
        Self::new(store, &Device::Cpu, Precision::F32)
    }

    /// What [`Weights::random`] was asked for so far, by full name: a complete checkpoint once a network was loaded.
    #[doc(hidden)]
    pub fn made_up(&self) -> HashMap<String, Tensor> {
        self.store.made_up.as_ref().map(MadeUp::made).unwrap_or_default()
    }

    fn new(store: Store, device: &Device, precision: Precision) -> Self {
        let (device, prefix) = (device.clone(), String::new());
        Self {
            store: Arc::new(store),
            aliases: None,
            patches: Vec::new(),
            pack: None,
            prefix,
            device,
            precision,
            bears_8_bits: false,
        }
    }

    /// The same tensors under other names: `rename` says which names the model has for a name and shape of the file.
    ///
    /// Names for which it gives nothing disappear. Applies to the names seen from here, and drops the prefix.
    ///
    /// # Panics
    /// If the weights are patched already: patches go by the names that a network asks for, so they come last.
    pub fn renamed(&self, rename: impl Fn(&str, &[usize]) -> Vec<(String, Transform)>) -> Self {
        assert!(self.patches.is_empty(), "a patch knows names that would no longer be there");
        let mut aliases = BTreeMap::new();
        for name in self.names() {
            let shape = self.shape(&name).unwrap_or_default();
            for (model_name, transform) in rename(&name, &shape) {
                let inner = self.resolve(&name);
                // A renamed view of a renamed view keeps the transform of the inner one; the two never both have one.
                let transform = if inner.transform == Transform::AsIs { transform } else { inner.transform };
                aliases.insert(model_name, Alias { file_name: inner.file_name, transform });
            }
        }
        Self { aliases: Some(Arc::new(aliases)), prefix: String::new(), ..self.clone() }
    }

    /// The same tensors with an adapter's changes, which are merged in f32 when a tensor is read, before it is rounded to the precision and before a
    /// layer packs it. Several patches add up.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] or [`Error::TensorShape`] if the patch is for another network: nothing of it is left out in silence.
    pub fn patched(&self, patch: WeightPatch) -> Result<Self> {
        let whole = Self { prefix: String::new(), ..self.clone() };
        for (name, delta_shape) in patch.targets() {
            let shape = whole.shape(name).ok_or_else(|| whole.missing(name))?;
            if !same_weights(&delta_shape, &shape) {
                return Err(Error::TensorShape {
                    file: patch.origin().to_owned(),
                    tensor: name.to_owned(),
                    found: delta_shape,
                    expected: shape,
                });
            }
        }
        let patches = self.patches.iter().cloned().chain([Arc::new(patch)]).collect();
        Ok(Self { patches, ..self.clone() })
    }

    /// The tensors whose names begin with `prefix` and a dot, without it.
    pub fn pp(&self, prefix: impl AsRef<str>) -> Self {
        Self { prefix: self.full_name(prefix.as_ref()), ..self.clone() }
    }

    /// The same tensors, for layers that bear it to be multiplied in 8 bits, if the precision is [`Precision::Int8`]: those between a network's ends.
    pub fn in_8_bits(&self) -> Self {
        Self { bears_8_bits: true, ..self.clone() }
    }

    /// The same tensors, for layers that have to stay in 16 bits within a network that is multiplied in 8: what goes past all norms, straight into the
    /// sum that a network passes on. In the UNet that is 6 % of the work and a quarter of the error.
    pub fn in_16_bits(&self) -> Self {
        Self { bears_8_bits: false, ..self.clone() }
    }

    /// The precision in which a tensor of `shape` is read. What will be quantised is read as it is: rounded twice, it would lose more.
    fn precision_for(&self, shape: &[usize]) -> Precision {
        match self.precision {
            Precision::Int8 if self.is_int8(shape) => Precision::Auto,
            Precision::Int8 if Arithmetic::fastest() == Arithmetic::Bf16 => Precision::Bf16,
            Precision::Int8 => Precision::Auto,
            other => other,
        }
    }

    /// Whether a layer with a weight of this shape multiplies in 8 bits.
    fn is_int8(&self, shape: &[usize]) -> bool {
        self.precision == Precision::Int8
            && self.bears_8_bits
            && shape.len() >= 2
            && shape[0].min(shape[1]) >= MIN_INT8_CHANNELS
    }

    /// The tensor `name`, of exactly this shape, on this device and in this precision.
    ///
    /// A 1×1 convolution `(O, I, 1, 1)` and a linear layer `(O, I)` are the same weights, and either is given for the other.
    ///
    /// # Errors
    /// If there is no such tensor, or it has another shape, or holds a NaN or an infinity.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if let Some(tensor) = self.kept_tensor(name, shape) {
            return Ok(tensor);
        }
        let tensor = self.read_whole(name, shape)?;
        self.record_tensor(name, &tensor)?;
        Ok(tensor)
    }

    /// The tensor `name` of this shape (N, C), to be read row by row: from a pack or the file as it lies where it can be, else as [`Weights::get`]
    /// gives it.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub(crate) fn rows(&self, name: &str, shape: [usize; 2]) -> Result<Rows> {
        match self.kept_rows(name, shape) {
            Some(rows) => Ok(Rows::Mapped(rows)),
            // All that is wrong with it is found by reading it once.
            None => self.get(name, &shape).map(|tensor| match self.stored_rows(name, shape) {
                Some(rows) => Rows::Stored(rows),
                None => Rows::Tensor(tensor),
            }),
        }
    }

    /// The rows of the tensor `name` as they lie in the file, if they are the same numbers there as in memory.
    fn stored_rows(&self, name: &str, shape: [usize; 2]) -> Option<StoredRows> {
        let (alias, full_name) = (self.try_resolve(name)?, self.full_name(name));
        let is_patched = self.patches.iter().any(|patch| patch.changes(&full_name));
        if is_patched || self.pack.is_some() || !self.device.is_cpu() || !matches!(alias.transform, Transform::AsIs) {
            return None;
        }
        let (file, record) = self.store.records.get(&alias.file_name)?;
        let dtype = match record.format.as_str() {
            "F16" => DType::F16,
            "BF16" => DType::BF16,
            "F32" => DType::F32,
            _ => return None,
        };
        let in_memory = target_dtype(&shape, &record.format, self.precision_for(&shape));
        let file = &self.store.files[*file].bytes;
        let is_same = record.shape == shape && (in_memory == dtype || in_memory == DType::F32);
        (is_same && file.can_be_read_at()).then(|| StoredRows {
            file: file.clone(),
            start: record.range.start,
            count: shape[0],
            dtype,
            width: shape[1],
        })
    }

    /// [`Weights::get`] from the checkpoint, whatever is packed.
    fn read_whole(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        if let Some(made_up) = &self.store.made_up {
            return made_up.get(&self.full_name(name), shape);
        }
        let found = self.shape(name).ok_or_else(|| self.missing(name))?;
        if !same_weights(&found, shape) {
            return Err(Error::TensorShape {
                file: self.file_of(name).to_owned(),
                tensor: self.full_name(name),
                found,
                expected: shape.to_vec(),
            });
        }
        let full_name = self.full_name(name);
        match self.patches.iter().any(|patch| patch.changes(&full_name)) {
            true => self.read_patched(name, shape),
            false => Ok(self.read(name, self.precision_for(shape))?.reshape(shape)?),
        }
    }

    /// The weight `name` as a layer takes it: in its blocks, if the file has it so, layers multiply with blocks in this precision
    /// ([`Weights::keeps_blocks`]) and no patch changes it; else as [`Weights::get`] gives it. Patched blocks become f16, or what the precision says.
    ///
    /// # Errors
    /// As [`Weights::get`].
    pub fn parameter(&self, name: &str, shape: &[usize]) -> Result<Parameter> {
        match self.quantized(name, shape)? {
            Some(weight) => Ok(Parameter::Quantized(weight)),
            None if self.is_int8(shape) => self.read_whole(name, shape).map(Parameter::Int8),
            None => self.read_whole(name, shape).map(Parameter::Tensor),
        }
    }

    /// Whether weights in blocks stay so: on the CPU, if they are wanted as stored, or in bf16 where the processor multiplies it. There a layer in blocks
    /// computes the same bits as one of bf16 weights made of them.
    pub fn keeps_blocks(&self) -> bool {
        let is_asked_for = match self.precision {
            Precision::Auto => true,
            Precision::Bf16 => Arithmetic::fastest() == Arithmetic::Bf16,
            Precision::F32 | Precision::Int8 => false,
        };
        is_asked_for && self.device.is_cpu()
    }

    /// What the matrices and kernels in blocks that are seen from here hold.
    pub fn in_blocks(&self) -> InBlocks {
        let bytes = |name: &String| {
            let kind = BlockKind::named(&self.format(name)?)?;
            let numbers = self.shape(name).filter(|shape| shape.len() > 1)?.iter().product::<usize>();
            Some(InBlocks { parameters: numbers as u64, bytes: (numbers / kind.elements() * kind.bytes()) as u64 })
        };
        self.names().iter().filter_map(bytes).fold(InBlocks::default(), |sum, weight| InBlocks {
            parameters: sum.parameters + weight.parameters,
            bytes: sum.bytes + weight.bytes,
        })
    }

    /// The weight `name` in blocks, where it is given so.
    fn quantized(&self, name: &str, shape: &[usize]) -> Result<Option<Quantized>> {
        let full_name = self.full_name(name);
        let is_patched = || self.patches.iter().any(|patch| patch.changes(&full_name));
        if !self.keeps_blocks() || shape.len() < 2 || is_patched() {
            return Ok(None);
        }
        // What does not fit is refused where all is read.
        let Some(alias) =
            self.try_resolve(name).filter(|_| self.shape(name).is_some_and(|found| same_weights(&found, shape)))
        else {
            return Ok(None);
        };
        let Some(stored) = self.store.quantized(&alias.file_name)? else { return Ok(None) };
        let weight = match alias.transform {
            Transform::AsIs => stored,
            Transform::Transpose => return Ok(None),
            Transform::Part { index, count } => {
                let rows = stored.shape()[0] / count;
                stored.rows(index * rows..(index + 1) * rows)
            }
        };
        Ok(Some(weight.reshape(shape)?))
    }

    /// The tensor `name`, of this shape, with the changes of all patches.
    fn read_patched(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let full_name = self.full_name(name);
        let stored = self.read(name, Precision::F32)?;
        let dtype = match self.store.tensors.contains_key(&self.resolve(name).file_name) {
            true => stored.dtype(),
            false => target_dtype(shape, &self.format(name).unwrap_or_default(), self.precision_for(shape)),
        };
        let mut weight = stored.reshape(shape)?.to_dtype(DType::F32)?;
        for patch in &self.patches {
            weight = patch.merge(&full_name, weight)?;
            read::require_finite(patch.origin(), &full_name, &weight)?;
        }
        Ok(weight.to_dtype(dtype)?)
    }

    /// The tensor `name` if there is one.
    ///
    /// # Errors
    /// As [`Weights::get`], except for a missing tensor.
    pub fn get_opt(&self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        if self.contains(name) { self.get(name, shape).map(Some) } else { Ok(None) }
    }

    /// Whether there is a tensor `name`.
    pub fn contains(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// Whether any tensor lies under `prefix` (and a dot).
    pub fn contains_prefix(&self, prefix: &str) -> bool {
        !self.pp(prefix).names().is_empty()
    }

    /// The shape of tensor `name`, read from the header alone.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let alias = self.try_resolve(name)?;
        let mut shape = self.store.shape(&alias.file_name)?;
        match alias.transform {
            Transform::AsIs => {}
            Transform::Transpose => shape.reverse(),
            Transform::Part { count, .. } => *shape.first_mut()? /= count,
        }
        Some(shape)
    }

    /// The number format of tensor `name` in its file, as safetensors spells it (`F16`).
    pub fn format(&self, name: &str) -> Option<String> {
        self.store.format(&self.try_resolve(name)?.file_name)
    }

    /// All names seen from here, sorted.
    pub fn names(&self) -> Vec<String> {
        let within = |name: &String| match self.prefix.as_str() {
            "" => Some(name.clone()),
            prefix => Some(name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned()),
        };
        match &self.aliases {
            Some(aliases) => aliases.keys().filter_map(within).collect(),
            None => self.store.names().iter().filter_map(within).collect(),
        }
    }

    /// Refuses weights in a number format that is not read, such as 8-bit floats.
    ///
    /// # Errors
    /// [`Error::TensorFormat`] with the first tensor of such a format.
    pub(crate) fn require_readable(&self) -> Result<()> {
        for name in self.names() {
            if let Some(found) = self.format(&name).filter(|format| !read::is_readable(format)) {
                return Err(Error::TensorFormat {
                    file: self.file_of(&name).to_owned(),
                    tensor: self.full_name(&name),
                    found,
                });
            }
        }
        Ok(())
    }

    /// How many numbers the tensors seen from here hold.
    pub fn num_parameters(&self) -> u64 {
        self.names()
            .iter()
            .filter_map(|name| self.shape(name))
            .map(|shape| shape.iter().product::<usize>() as u64)
            .sum()
    }

    /// The name with the prefix, as the model knows it.
    pub fn full_name(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }

    /// Where the tensors come from, for messages.
    pub fn origin(&self) -> &str {
        &self.store.origin
    }

    /// The device on which [`Weights::get`] puts tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The precision in which [`Weights::get`] keeps matrices and kernels.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    fn try_resolve(&self, name: &str) -> Option<Alias> {
        let full_name = self.full_name(name);
        match &self.aliases {
            Some(aliases) => aliases.get(&full_name).cloned(),
            None => Some(Alias { file_name: full_name, transform: Transform::AsIs }),
        }
    }

    fn resolve(&self, name: &str) -> Alias {
        self.try_resolve(name).unwrap_or_else(|| Alias { file_name: self.full_name(name), transform: Transform::AsIs })
    }

    fn read(&self, name: &str, precision: Precision) -> Result<Tensor> {
        let alias = self.resolve(name);
        let tensor = self.store.read(&alias.file_name, precision, &self.device)?.ok_or_else(|| self.missing(name))?;
        Ok(match alias.transform {
            Transform::AsIs => tensor,
            Transform::Transpose => tensor.t()?.contiguous()?,
            Transform::Part { index, count } => {
                let rows = tensor.dim(0)? / count;
                // A copy, so that the parts do not keep the whole alive.
                tensor.narrow(0, index * rows, rows)?.force_contiguous()?
            }
        })
    }

    /// The mapped file that is called `name` in messages.
    pub(crate) fn mapped_file(&self, name: &str) -> Option<&MappedFile> {
        self.store.files.iter().find(|file| file.name == name)?.bytes.mapped()
    }

    /// The first of its files that is no longer what was mapped, by its name in messages.
    pub(crate) fn changed_file(&self) -> Option<&str> {
        let has_changed = |file: &&File| file.bytes.mapped().is_some_and(MappedFile::has_changed);
        self.store.files.iter().find(has_changed).map(|file| file.name.as_str())
    }

    /// Whether adapters change any of them.
    pub(crate) fn is_patched(&self) -> bool {
        !self.patches.is_empty()
    }

    fn file_of(&self, name: &str) -> &str {
        self.store.file_of(&self.resolve(name).file_name)
    }

    fn missing(&self, name: &str) -> Error {
        let tensor = self.full_name(name);
        let names = Self { prefix: String::new(), ..self.clone() }.names();
        Error::MissingTensor { file: self.store.origin.clone(), near: near::nearest(&tensor, &names), tensor }
    }
}

impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Weights")
            .field("origin", &self.store.origin)
            .field("prefix", &self.prefix)
            .field("precision", &self.precision)
            .finish_non_exhaustive()
    }
}

impl File {
    fn map(path: &Path) -> Result<Self> {
        Ok(Self { name: path.display().to_string(), bytes: Arc::new(Bytes::map(path)?) })
    }

    /// What the file holds, by name.
    fn table(&self) -> Result<BTreeMap<String, Record>> {
        let bytes = self.bytes.as_slice();
        match FileKind::of(bytes) {
            FileKind::Safetensors => Ok(Header::parse(&self.name, bytes)?.records),
            FileKind::Zip => pickle::zipped(&self.name, bytes),
            FileKind::Pickle => pickle::legacy(&self.name, bytes),
            FileKind::Gguf => gguf::table(&self.name, bytes),
            FileKind::Other(kind) => Err(kind.refusal(&self.name)),
            FileKind::Unknown => Err(Error::OtherFile {
                file: self.name.clone(),
                found: "no safetensors file, none of PyTorch's and no GGUF".to_owned(),
                remedy: "a model is a diffusers folder, a .safetensors, .ckpt or .gguf file, or a Hub name".to_owned(),
            }),
        }
    }
}

impl Store {
    fn empty(origin: String) -> Self {
        Self { origin, files: Vec::new(), records: BTreeMap::new(), tensors: HashMap::new(), made_up: None }
    }

    fn from_files(files: Vec<File>) -> Result<Self> {
        let mut records = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for (name, record) in file.table()? {
                if let Some((other, _)) = records.insert(name.clone(), (index, record)) {
                    let problem = format!("tensor `{name}` is also in `{}`", files[other].name);
                    return Err(Error::Damaged { file: file.name.clone(), problem });
                }
            }
        }
        let origin = match files.as_slice() {
            [] => "no file".to_owned(),
            [file] => file.name.clone(),
            [first, rest @ ..] => format!("{} and {} more", first.name, rest.len()),
        };
        Ok(Self { files, records, ..Self::empty(origin) })
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.records.keys().chain(self.tensors.keys()).cloned().collect();
        names.sort();
        names
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match (self.records.get(name), self.tensors.get(name)) {
            (Some((_, record)), _) => Some(record.shape.clone()),
            (_, tensor) => Some(tensor?.dims().to_vec()),
        }
    }

    fn format(&self, name: &str) -> Option<String> {
        match (self.records.get(name), self.tensors.get(name)) {
            (Some((_, record)), _) => Some(record.format.clone()),
            (_, tensor) => Some(tensor?.dtype().as_str().to_uppercase()),
        }
    }

    fn file_of(&self, name: &str) -> &str {
        self.records.get(name).map_or(&self.origin, |(file, _)| &self.files[*file].name)
    }

    fn read(&self, name: &str, precision: Precision, device: &Device) -> Result<Option<Tensor>> {
        let (Some(shape), Some(format)) = (self.shape(name), self.format(name)) else {
            return Ok(None);
        };
        if let Some(tensor) = self.tensors.get(name) {
            read::require_finite(&self.origin, name, tensor)?;
            return Ok(Some(tensor.to_device(device)?));
        }
        let target = target_dtype(&shape, &format, precision);
        if let Some(weight) = self.quantized(name)? {
            let tensor = weight.to_tensor(target)?;
            self.release(name);
            return Ok(Some(tensor.to_device(device)?));
        }
        let Some((file, record)) = self.records.get(name) else {
            return Ok(None);
        };
        let file = &self.files[*file];
        let bytes = file.bytes.range(record.range.clone());
        let tensor = read::tensor(&file.name, name, record, bytes, target, device);
        self.release(name);
        tensor.map(Some)
    }

    /// A tensor in blocks, nothing if it is in another format.
    fn quantized(&self, name: &str) -> Result<Option<Quantized>> {
        let Some((file, record)) = self.records.get(name) else { return Ok(None) };
        let file = &self.files[*file];
        let bytes = || SharedBytes::new(file.bytes.clone(), record.range.clone());
        let Some((kind, bytes)) = BlockKind::named(&record.format).zip(bytes()) else { return Ok(None) };
        let weight = Quantized::new(kind, &record.shape, bytes)?;
        match weight.first_not_finite() {
            Some(position) => {
                let (file, tensor) = (file.name.clone(), name.to_owned());
                Err(Error::NotFinite { file, tensor, position, value: f32::NAN })
            }
            None => Ok(Some(weight)),
        }
    }

    /// The pages of a tensor have served.
    fn release(&self, name: &str) {
        if let Some((file, record)) = self.records.get(name) {
            self.files[*file].bytes.release(record.range.clone());
        }
    }
}

/// The in-memory format: vectors and scalars are f32, since they are small and precision matters most there.
fn target_dtype(shape: &[usize], format: &str, precision: Precision) -> DType {
    if shape.len() < 2 {
        return DType::F32;
    }
    match (precision, format) {
        (Precision::Bf16, _) | (Precision::Auto, "BF16") => DType::BF16,
        (Precision::Auto, "F16") => DType::F16,
        (Precision::Auto, blocks) if BlockKind::named(blocks).is_some() => DType::F16,
        _ => DType::F32,
    }
}

/// Whether two shapes differ at most by trailing 1×1 kernel axes.
fn same_weights(found: &[usize], wanted: &[usize]) -> bool {
    let strip = |shape: &[usize]| match shape {
        [o, i, 1, 1] => vec![*o, *i],
        other => other.to_vec(),
    };
    strip(found) == strip(wanted)
}
