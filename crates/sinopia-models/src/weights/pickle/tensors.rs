//! The tensors among a pickle's values: what PyTorch's `_rebuild_…` functions would be called with.

use std::collections::BTreeMap;
use std::ops::Range;

use sinopia_layout::limits::{PICKLE_BYTES, PICKLE_OBJECTS, TENSOR_AXES, TENSORS};

use super::super::mapped::{Record, width};
use super::machine::{Id, Value, Values};

/// The networks in GLIGEN's own files, each a dictionary of its own, and where single files of Stable Diffusion have them.
const NESTED: [(&str, &str); 3] =
    [("model", "model.diffusion_model."), ("autoencoder", "first_stage_model."), ("text_encoder", "cond_stage_model.")];
/// Where training states keep the weights.
const STATE_DICT: &str = "state_dict";
/// The format of what is none of ours.
const UNKNOWN_FORMAT: &str = "an unknown format";
/// Parameters wrap tensors, subclasses wrap parameters; nobody wraps deeper.
const MAX_WRAPPINGS: usize = 4;
/// The most bytes of a storage's key. They are numbers, in old files those of addresses.
const STORAGE_KEY_BYTES: usize = 256;

/// Where a storage's bytes lie, by its key.
type Storages<'a> = &'a dyn Fn(&str) -> Option<Range<usize>>;

/// The tensors of the object `root`: of its `state_dict` if it has one, else its own, else those of the dictionaries in it.
pub(super) fn find(
    values: &Values,
    root: Id,
    storages: Storages,
    file_len: usize,
) -> Result<BTreeMap<String, Record>, String> {
    let mut finder = Finder { values, storages, file_len, records: BTreeMap::new(), visited: 0, name_bytes: 0 };
    let table = values.item(root, STATE_DICT).filter(|id| values.items(*id).is_some()).unwrap_or(root);
    finder.add("", table)?;
    if !finder.records.is_empty() {
        return Ok(finder.records);
    }
    for (key, value) in values.items(table).unwrap_or_default() {
        finder.visit(values.len(*value))?;
        let table = values.parameters(*value).unwrap_or(*value);
        if values.items(table).is_none() {
            continue;
        }
        let Some(key) = values.key(*key) else { continue };
        finder.count_name(key.len())?;
        let prefix = NESTED
            .iter()
            .find(|(name, _)| *name == key)
            .map_or_else(|| format!("{key}."), |(_, prefix)| (*prefix).to_owned());
        finder.add(&prefix, table)?;
    }
    Ok(finder.records)
}

/// The key of a storage and how many bytes a number of it has. `storage` is what says where it lies: `("storage", class, key, device, length, …)`.
pub(super) fn storage_width(values: &Values, storage: Id) -> Option<(String, usize)> {
    let Value::Tuple(parts) = values.get(storage) else { return None };
    let format = storage_format(values, *parts.get(1)?)?;
    // Without a format of its own it is counted in bytes.
    Some((storage_key(values, *parts.get(2)?)?, format.map_or(1, |format| width(format).unwrap_or(1))))
}

/// What a storage is found by.
fn storage_key(values: &Values, id: Id) -> Option<String> {
    match values.get(id) {
        Value::Text(text) if text.len() > STORAGE_KEY_BYTES => None,
        _ => values.key(id),
    }
}

/// The number format of a class of storages; `Some(None)` where the tensor says it. Nothing if it is no storage.
fn storage_format(values: &Values, class: Id) -> Option<Option<&'static str>> {
    let Value::Global(_, name) = values.get(class) else { return None };
    Some(match &**name {
        "FloatStorage" => Some("F32"),
        "DoubleStorage" => Some("F64"),
        "HalfStorage" => Some("F16"),
        "BFloat16Storage" => Some("BF16"),
        "LongStorage" => Some("I64"),
        "IntStorage" => Some("I32"),
        "ShortStorage" => Some("I16"),
        "CharStorage" => Some("I8"),
        "ByteStorage" => Some("U8"),
        "BoolStorage" => Some("BOOL"),
        "ComplexFloatStorage" => Some("C64"),
        "ComplexDoubleStorage" => Some("C128"),
        _ => None,
    })
}

/// The format of a `torch.dtype`.
fn dtype_format(name: &str) -> &'static str {
    match name {
        "float32" => "F32",
        "float64" => "F64",
        "float16" => "F16",
        "bfloat16" => "BF16",
        "int64" => "I64",
        "int32" => "I32",
        "int16" => "I16",
        "int8" => "I8",
        "uint8" => "U8",
        "bool" => "BOOL",
        "uint16" => "U16",
        "uint32" => "U32",
        "uint64" => "U64",
        "float8_e4m3fn" => "F8_E4M3",
        "float8_e5m2" => "F8_E5M2",
        "float8_e4m3fnuz" => "F8_E4M3FNUZ",
        "float8_e5m2fnuz" => "F8_E5M2FNUZ",
        "float8_e8m0fnu" => "F8_E8M0",
        "complex64" => "C64",
        _ => UNKNOWN_FORMAT,
    }
}

struct Finder<'a> {
    values: &'a Values,
    storages: Storages<'a>,
    /// PyTorch does not compress, so no tensor is larger than its file.
    file_len: usize,
    records: BTreeMap<String, Record>,
    /// Items of dictionaries that were looked at. One dictionary may be the value of many keys.
    visited: usize,
    /// Bytes of all names.
    name_bytes: usize,
}

impl<'a> Finder<'a> {
    /// Adds the tensors that are items of a dictionary.
    fn add(&mut self, prefix: &str, table: Id) -> Result<(), String> {
        let values = self.values;
        let items = values.items(table).unwrap_or_default();
        self.visit(items.len())?;
        for (key, value) in items {
            let Some(args) = self.rebuilt(*value) else { continue };
            let Some(key) = values.key(*key) else { continue };
            self.count_name(prefix.len() + key.len())?;
            let name = format!("{prefix}{key}");
            let record = self.record(args).map_err(|problem| format!("tensor `{name}` {problem}"))?;
            self.records.insert(name, record);
            if self.records.len() > TENSORS {
                return Err(format!("it has more than {TENSORS} tensors, which is all that is read of a file"));
            }
        }
        Ok(())
    }

    /// Counts items that are about to be looked at.
    fn visit(&mut self, items: usize) -> Result<(), String> {
        self.visited = self.visited.saturating_add(items);
        if self.visited > PICKLE_OBJECTS as usize {
            return Err(format!("its dictionaries lead to more than {PICKLE_OBJECTS} objects"));
        }
        Ok(())
    }

    /// Counts the bytes of a name that is about to be made.
    fn count_name(&mut self, bytes: usize) -> Result<(), String> {
        self.name_bytes = self.name_bytes.saturating_add(bytes);
        if self.name_bytes > PICKLE_BYTES as usize {
            return Err(format!("the names of its tensors have more than {PICKLE_BYTES} bytes"));
        }
        Ok(())
    }

    /// What a tensor is rebuilt from, if the value is one.
    fn rebuilt(&self, value: Id) -> Option<&'a [Id]> {
        let Value::Call { mut callable, mut args, .. } = *self.values.get(value) else { return None };
        for _ in 0..MAX_WRAPPINGS {
            let (Value::Global(module, function), Value::Tuple(own)) =
                (self.values.get(callable), self.values.get(args))
            else {
                return None;
            };
            match (&**module, &**function) {
                ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3") => {
                    return Some(own);
                }
                ("torch._tensor", "_rebuild_from_type_v2") => (callable, args) = (*own.first()?, *own.get(2)?),
                ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                    let Value::Call { callable: inner, args: of_inner, .. } = self.values.get(*own.first()?) else {
                        return None;
                    };
                    (callable, args) = (*inner, *of_inner);
                }
                _ => return None,
            }
        }
        None
    }

    /// `storage, offset, size, stride` and in the third version, behind `requires_grad` and hooks, the dtype.
    fn record(&self, args: &[Id]) -> Result<Record, String> {
        const MALFORMED: &str = "is described in a way that PyTorch does not";
        let [storage, offset, size, stride, ..] = args else { return Err(MALFORMED.to_owned()) };
        let Value::Persistent(storage) = self.values.get(*storage) else { return Err(MALFORMED.to_owned()) };
        let Value::Tuple(parts) = self.values.get(*storage) else { return Err(MALFORMED.to_owned()) };
        let [_, class, key, ..] = parts.as_slice() else { return Err(MALFORMED.to_owned()) };
        let own_format = match args.get(6).map(|dtype| self.values.get(*dtype)) {
            Some(Value::Global(_, name)) => Some(dtype_format(name)),
            _ => None,
        };
        let format = storage_format(self.values, *class).flatten().or(own_format).unwrap_or(UNKNOWN_FORMAT);
        let (shape, strides) = (self.sizes(*size).ok_or(MALFORMED)?, self.sizes(*stride).ok_or(MALFORMED)?);
        if shape.len() != strides.len() || shape.len() > TENSOR_AXES {
            return Err(MALFORMED.to_owned());
        }
        let Some(width) = width(format) else {
            // Told when somebody wants it.
            return Ok(Record { format: format.to_owned(), shape, range: 0..0, strides: None });
        };
        let key = storage_key(self.values, *key).ok_or(MALFORMED)?;
        let bytes =
            (self.storages)(&key).ok_or_else(|| format!("lies in the storage `{key}`, which is not in the file"))?;
        // In files of PyTorch 0.3 and before, storages may be parts of others.
        let view = match parts.get(5).map(|view| self.values.get(*view)) {
            Some(Value::Tuple(view)) => view.get(1).and_then(|offset| self.size(*offset)).ok_or(MALFORMED)?,
            _ => 0,
        };
        let first = self.size(*offset).ok_or(MALFORMED)?.checked_add(view);
        let count = shape.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
        if count.and_then(|count| count.checked_mul(width)).is_none_or(|bytes| bytes > self.file_len) {
            return Err(format!("of shape {shape:?} is larger than the file"));
        }
        let extent = extent(&shape, &strides);
        let range = first.zip(extent).and_then(|(first, extent)| {
            let start = bytes.start.checked_add(first.checked_mul(width)?)?;
            let end = start.checked_add(extent.checked_mul(width)?)?;
            (end <= bytes.end).then_some(start..end)
        });
        let range = range
            .ok_or_else(|| format!("of shape {shape:?} reaches beyond its storage `{key}` of {} bytes", bytes.len()))?;
        let strides = (!is_contiguous(&shape, &strides)).then_some(strides);
        Ok(Record { format: format.to_owned(), shape, range, strides })
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match self.values.get(id) {
            Value::Tuple(sizes) | Value::List(sizes) => sizes.iter().map(|size| self.size(*size)).collect(),
            // `torch.Size` of a tuple.
            Value::Call { args, .. } => match self.values.get(*args) {
                Value::Tuple(args) => match self.values.get(*args.first()?) {
                    Value::Tuple(sizes) => sizes.iter().map(|size| self.size(*size)).collect(),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        }
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.values.get(id) {
            Value::Int(size) => usize::try_from(*size).ok(),
            _ => None,
        }
    }
}

/// From a tensor's first number to behind its last one; 0 if it has none, nothing if it is impossible.
fn extent(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape
        .iter()
        .zip(strides)
        .try_fold(1_usize, |extent, (size, stride)| extent.checked_add((size - 1).checked_mul(*stride)?))
}

/// Whether the numbers lie one after the other, the last axis fastest. Strides of axes of one place do not matter.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == expected;
            expected *= size;
            fits
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of one number, without axes; remembered as 0 and no longer on the stack.
    const TENSOR: &[u8] =
        b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x01tQK\0))tRq\x000";

    /// A dictionary of `count` numbered items.
    fn dictionary(count: u16, value: &[u8]) -> Vec<u8> {
        let items: Vec<u8> = (0..count).flat_map(|key| [b"M", &key.to_le_bytes()[..], value].concat()).collect();
        [b"}(", &items[..], b"u"].concat()
    }

    fn found(parts: &[&[u8]]) -> Result<usize, String> {
        let mut values = Values::default();
        let (root, _) = values.unpickle(&[TENSOR, &parts.concat(), b"."].concat()).unwrap();
        find(&values, root, &|key| (key == "0").then_some(0..4), 4).map(|records| records.len())
    }

    #[test]
    fn a_dictionary_that_many_keys_share_does_not_multiply_without_end() {
        let nested = |outer: u16, inner: u16, value: &[u8]| {
            found(&[&dictionary(inner, value), b"q\x010", &dictionary(outer, b"h\x01")])
        };
        assert_eq!(nested(10, 10, b"h\0"), Ok(100));
        assert!(nested(3000, 3000, b"h\0").unwrap_err().contains("more than 262144 tensors"));
        assert!(nested(3000, 3000, b"N").unwrap_err().contains("more than 4194304 objects"));
    }

    #[test]
    fn names_are_limited_together() {
        let long = [b"X", &1_000_000_u32.to_le_bytes()[..], &b"k".repeat(1_000_000), b"q\x020"].concat();
        let inner = dictionary(2, b"h\0");
        let outer = |count: usize| [&b"}("[..], &b"h\x02h\x01".repeat(count), b"u"].concat();
        let made = |count| found(&[&long, &inner, b"q\x010", &outer(count)]);
        assert_eq!(made(3), Ok(2));
        assert!(made(10).unwrap_err().contains("names of its tensors have more than 16777216 bytes"));
    }

    #[test]
    fn a_storage_has_a_short_key_and_a_tensor_few_axes() {
        let tensor = |key: &[u8], size: &[u8]| {
            let storage =
                [b"(U\x07storagectorch\nFloatStorage\nX", &(key.len() as u32).to_le_bytes()[..], key].concat();
            let rebuilt =
                [b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage[..], b"U\x03cpuK\x01tQK\0", size, size, b"tR"];
            found(&[b"}U\x01w", &rebuilt.concat(), b"s"])
        };
        let axes = |count: usize| [b"(", &b"K\x01".repeat(count)[..], b"t"].concat();
        assert_eq!(tensor(b"0", &axes(TENSOR_AXES)), Ok(1));
        assert!(tensor(b"0", &axes(TENSOR_AXES + 1)).unwrap_err().contains("`w` is described"));
        assert!(tensor(&b"0".repeat(STORAGE_KEY_BYTES + 1), &axes(1)).unwrap_err().contains("`w` is described"));
    }
}
