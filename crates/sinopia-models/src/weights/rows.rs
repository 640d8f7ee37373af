//! A vocabulary's vectors, of which a text reads a few: they are not read as a whole where that can be avoided.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use sinopia_nn::SharedBytes;

use super::mapped::Bytes;
use crate::Result;

/// A frozen matrix (N, C) that is read row by row.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// In memory.
    Tensor(Tensor),
    /// Where a pack has them.
    Mapped(MappedRows),
    /// Where a checkpoint's file has them.
    Stored(StoredRows),
}

/// Rows of C elements that follow each other in a mapped file.
#[derive(Debug, Clone)]
pub(crate) struct MappedRows {
    /// Aligned for the elements, N rows of them.
    pub(crate) bytes: SharedBytes,
    /// [`DType::F32`], [`DType::F16`] or [`DType::BF16`].
    pub(crate) dtype: DType,
    /// C, not 0.
    pub(crate) width: usize,
}

impl Rows {
    /// The rows `ids`, (ids, C) f32.
    ///
    /// # Errors
    /// If there is no such row.
    pub(crate) fn select(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Tensor(tensor) => {
                let ids = Tensor::new(ids, tensor.device())?;
                Ok(tensor.index_select(&ids, 0)?.to_dtype(DType::F32)?)
            }
            Self::Mapped(rows) => rows.select(ids),
            Self::Stored(rows) => rows.select(ids),
        }
    }
}

/// Rows of C elements that follow each other in an open file, which are read when they are asked for: a file that was cut short meanwhile is an
/// error then, where reading a map of it would end the process.
#[derive(Debug, Clone)]
pub(crate) struct StoredRows {
    pub(crate) file: Arc<Bytes>,
    /// Where the first begins.
    pub(crate) start: usize,
    /// N.
    pub(crate) count: usize,
    /// [`DType::F32`], [`DType::F16`] or [`DType::BF16`].
    pub(crate) dtype: DType,
    /// C.
    pub(crate) width: usize,
}

impl StoredRows {
    fn select(&self, ids: &[u32]) -> Result<Tensor> {
        let row_bytes = self.width * self.dtype.size_in_bytes();
        // Of 4 bytes each, so that numbers of any format lie well.
        let mut row = vec![0_u32; row_bytes.div_ceil(4)];
        let mut values = Vec::with_capacity(ids.len() * self.width);
        for &id in ids {
            let id = id as usize;
            if id >= self.count {
                return Err(candle_core::Error::Msg(format!("no row {id}")).into());
            }
            let row = &mut bytemuck::cast_slice_mut::<u32, u8>(&mut row)[..row_bytes];
            let read = self.file.read_at(self.start + id * row_bytes, row);
            read.map_err(|error| candle_core::Error::Msg(format!("a row of a vocabulary cannot be read: {error}")))?;
            widen(row, self.dtype, &mut values);
        }
        Ok(Tensor::from_vec(values, (ids.len(), self.width), &Device::Cpu)?)
    }
}

/// Numbers of a format, as f32.
fn widen(row: &[u8], dtype: DType, values: &mut Vec<f32>) {
    match dtype {
        DType::F16 => values.extend(bytemuck::cast_slice::<u8, f16>(row).iter().map(|x| x.to_f32())),
        DType::BF16 => values.extend(bytemuck::cast_slice::<u8, bf16>(row).iter().map(|x| x.to_f32())),
        _ => values.extend_from_slice(bytemuck::cast_slice::<u8, f32>(row)),
    }
}

impl MappedRows {
    fn select(&self, ids: &[u32]) -> Result<Tensor> {
        let row_bytes = self.width * self.dtype.size_in_bytes();
        let mut values = Vec::with_capacity(ids.len() * self.width);
        for &id in ids {
            let start = id as usize * row_bytes;
            let row = self.bytes.get(start..start + row_bytes);
            let row = row.ok_or_else(|| candle_core::Error::Msg(format!("no row {id}")))?;
            widen(row, self.dtype, &mut values);
        }
        Ok(Tensor::from_vec(values, (ids.len(), self.width), &Device::Cpu)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn rows_where_they_lie_are_those_of_the_tensor() {
        let wide = normal(3, &[7, 5]).unwrap();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let tensor = wide.to_dtype(dtype).unwrap();
            let flat = tensor.flatten_all().unwrap();
            let bytes = match dtype {
                DType::F16 => bytemuck::cast_slice(&flat.to_vec1::<f16>().unwrap()).to_vec(),
                DType::BF16 => bytemuck::cast_slice(&flat.to_vec1::<bf16>().unwrap()).to_vec(),
                _ => bytemuck::cast_slice::<f32, u8>(&flat.to_vec1::<f32>().unwrap()).to_vec(),
            };
            let all = 0..bytes.len();
            let bytes = SharedBytes::new(Arc::new(bytes), all).unwrap();
            let mapped = Rows::Mapped(MappedRows { bytes, dtype, width: 5 });
            let values = |rows: &Rows, ids: &[u32]| rows.select(ids).unwrap().to_vec2::<f32>().unwrap();
            assert_eq!(values(&mapped, &[6, 0, 0, 3]), values(&Rows::Tensor(tensor), &[6, 0, 0, 3]));
            assert!(mapped.select(&[7]).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn rows_are_read_from_an_open_file_and_its_end_is_an_error() -> Result<()> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.bin");
        let numbers: Vec<f16> = (0..35).map(|i| f16::from_f32(i as f32)).collect();
        let bytes = [b"before", bytemuck::cast_slice::<f16, u8>(&numbers)].concat();
        std::fs::write(&path, &bytes).unwrap();
        let file = Arc::new(Bytes::map(&path)?);
        let rows = Rows::Stored(StoredRows { file, start: 6, count: 7, dtype: DType::F16, width: 5 });
        let found = rows.select(&[6, 0])?.to_vec2::<f32>()?;
        assert_eq!(found, [[30.0, 31.0, 32.0, 33.0, 34.0], [0.0, 1.0, 2.0, 3.0, 4.0]]);
        assert!(rows.select(&[7]).is_err());
        std::fs::write(&path, &bytes[..20]).unwrap();
        assert!(rows.select(&[6]).unwrap_err().to_string().contains("cannot be read"));
        Ok(())
    }
}
