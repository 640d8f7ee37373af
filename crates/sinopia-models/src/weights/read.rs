//! From stored bytes to a tensor, in one pass: convert, and refuse what is not finite.

use bytemuck::Zeroable;
use candle_core::{DType, Device, Shape, Tensor, WithDType};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use sinopia_nn::BlockKind;

use super::mapped::{Record, width};
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
    let gathered = record.strides.as_deref().map(|strides| gather(bytes, record, strides));
    let source = Source { file, name, record, bytes: gathered.as_deref().unwrap_or(bytes), device };
    match record.format.as_str() {
        "F32" => source.to_target(target, each(|four: &[u8; 4]| f32::from_le_bytes(*four))),
        "F64" => source.to_target(target, each(|eight: &[u8; 8]| f64::from_le_bytes(*eight) as f32)),
        "F16" => source.to_target(target, widen_f16),
        "BF16" => source.to_target(target, each(|two: &[u8; 2]| bf16::from_le_bytes(*two).to_f32())),
        // The only integers in these checkpoints are position ids, small enough for f32.
        "I64" => source.to_target(target, each(|eight: &[u8; 8]| i64::from_le_bytes(*eight) as f32)),
        "I32" => source.to_target(target, each(|four: &[u8; 4]| i32::from_le_bytes(*four) as f32)),
        other => Err(Error::TensorFormat { file: file.to_owned(), tensor: name.to_owned(), found: other.to_owned() }),
    }
}

/// Whether a number format is read, by [`tensor`] or as blocks.
pub(super) fn is_readable(format: &str) -> bool {
    matches!(format, "F32" | "F64" | "F16" | "BF16" | "I64" | "I32") || BlockKind::named(format).is_some()
}

/// Widens a stretch of stored numbers one by one.
fn each<const N: usize>(widen: impl Fn(&[u8; N]) -> f32 + Sync) -> impl Fn(&[[u8; N]], &mut [f32]) + Sync {
    move |stored, wide| {
        for (wide, stored) in wide.iter_mut().zip(stored) {
            *wide = widen(stored);
        }
    }
}

/// Widens a stretch of f16, several at a time where the processor can.
fn widen_f16(stored: &[[u8; 2]], wide: &mut [f32]) {
    let numbers: Vec<f16> = stored.iter().map(|two| f16::from_le_bytes(*two)).collect();
    numbers.convert_to_f32_slice(wide);
}

/// The numbers in the order of the shape, which `strides` says how to find.
fn gather(bytes: &[u8], record: &Record, strides: &[usize]) -> Vec<u8> {
    let Some(width) = width(&record.format) else { return Vec::new() };
    let count = record.shape.iter().product::<usize>();
    let mut gathered = Vec::with_capacity(count * width);
    let mut place = vec![0; record.shape.len()];
    let mut offset = 0; // of `place`, in numbers
    for _ in 0..count {
        gathered.extend_from_slice(&bytes[offset * width..][..width]);
        for axis in (0..place.len()).rev() {
            place[axis] += 1;
            offset += strides[axis];
            if place[axis] < record.shape[axis] {
                break;
            }
            offset -= strides[axis] * record.shape[axis];
            place[axis] = 0;
        }
    }
    gathered
}

/// Numbers converted at a time by a thread.
const STRETCH: usize = 1 << 15;

struct Source<'a> {
    file: &'a str,
    name: &'a str,
    record: &'a Record,
    bytes: &'a [u8],
    device: &'a Device,
}

impl Source<'_> {
    fn to_target<const N: usize>(
        &self,
        target: DType,
        widen: impl Fn(&[[u8; N]], &mut [f32]) + Sync,
    ) -> Result<Tensor> {
        match target {
            DType::BF16 => self.convert(widen, bf16::from_f32),
            DType::F16 => self.convert(widen, f16::from_f32),
            _ => self.convert(widen, |value| value),
        }
    }

    fn convert<const N: usize, T: WithDType + Zeroable>(
        &self,
        widen: impl Fn(&[[u8; N]], &mut [f32]) + Sync,
        narrow: impl Fn(f32) -> T + Sync,
    ) -> Result<Tensor> {
        let (values, _) = self.bytes.as_chunks::<N>();
        let mut converted: Vec<T> = bytemuck::zeroed_vec(values.len());
        let stretches = converted.par_chunks_mut(STRETCH).zip(values.par_chunks(STRETCH));
        let all_finite = stretches
            .map(|(converted, values)| {
                let mut wide = vec![0.0; values.len()];
                widen(values, &mut wide);
                for (converted, &wide) in converted.iter_mut().zip(&wide) {
                    *converted = narrow(wide);
                }
                wide.iter().fold(true, |finite, value| finite & value.is_finite())
            })
            .reduce(|| true, |a, b| a & b);
        if !all_finite {
            let mut wide = vec![0.0; values.len()];
            widen(values, &mut wide);
            return Err(not_finite(self.file, self.name, wide.into_iter()));
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
