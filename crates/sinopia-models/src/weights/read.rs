//! From stored bytes to a tensor, in one pass: convert, and refuse what is not finite.

use candle_core::{DType, Device, Shape, Tensor, WithDType};
use half::{bf16, f16};

use super::mapped::Record;
use crate::{Error, Result};

/// Reads `bytes`, stored as `record` says, as a tensor of `target` (f32, bf16 or f16). Nothing but the result is allocated.
pub(super) fn tensor(
    file: &str,
    name: &str,
    record: &Record,
    bytes: &[u8],
    target: DType,
    device: &Device,
) -> Result<Tensor> {
    let source = Source { file, name, record, bytes, device };
    match record.format.as_str() {
        "F32" => source.to_target(target, |four: &[u8; 4]| f32::from_le_bytes(*four)),
        "F64" => source.to_target(target, |eight: &[u8; 8]| f64::from_le_bytes(*eight) as f32),
        "F16" => source.to_target(target, |two: &[u8; 2]| f16::from_le_bytes(*two).to_f32()),
        "BF16" => source.to_target(target, |two: &[u8; 2]| bf16::from_le_bytes(*two).to_f32()),
        // The only integers in these checkpoints are position ids, small enough for f32.
        "I64" => source.to_target(target, |eight: &[u8; 8]| i64::from_le_bytes(*eight) as f32),
        "I32" => source.to_target(target, |four: &[u8; 4]| i32::from_le_bytes(*four) as f32),
        other => Err(Error::TensorFormat { file: file.to_owned(), tensor: name.to_owned(), found: other.to_owned() }),
    }
}

struct Source<'a> {
    file: &'a str,
    name: &'a str,
    record: &'a Record,
    bytes: &'a [u8],
    device: &'a Device,
}

impl Source<'_> {
    fn to_target<const N: usize>(&self, target: DType, widen: impl Fn(&[u8; N]) -> f32) -> Result<Tensor> {
        match target {
            DType::BF16 => self.convert(widen, bf16::from_f32),
            DType::F16 => self.convert(widen, f16::from_f32),
            _ => self.convert(widen, |value| value),
        }
    }

    fn convert<const N: usize, T: WithDType>(
        &self,
        widen: impl Fn(&[u8; N]) -> f32,
        narrow: impl Fn(f32) -> T,
    ) -> Result<Tensor> {
        let mut all_finite = true;
        let (values, _) = self.bytes.as_chunks::<N>();
        let converted: Vec<T> = values
            .iter()
            .map(|value| {
                let value = widen(value);
                all_finite &= value.is_finite();
                narrow(value)
            })
            .collect();
        if !all_finite {
            return Err(not_finite(self.file, self.name, values.iter().map(widen)));
        }
        Ok(Tensor::from_vec(converted, Shape::from(self.record.shape.as_slice()), self.device)?)
    }
}

/// Refuses a tensor in memory that holds a NaN or an infinity.
pub(super) fn require_finite(file: &str, name: &str, tensor: &Tensor) -> Result<()> {
    let values = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(not_finite(file, name, values.into_iter())) }
}

fn not_finite(file: &str, name: &str, values: impl Iterator<Item = f32>) -> Error {
    let (position, value) = values.enumerate().find(|(_, value)| !value.is_finite()).unwrap_or((0, f32::NAN));
    Error::NotFinite { file: file.to_owned(), tensor: name.to_owned(), position, value }
}
