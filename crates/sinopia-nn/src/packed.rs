//! Weights in the order in which kernels read them, as bytes: what a file keeps of them, and how a layer takes them from there as they lie.
//!
//! A layer tells its weight as a [`PackedWeight`] of borrowed bytes; made of [`SharedBytes`] of a mapped file, the same becomes a layer again
//! without a copy. Bytes are those of this machine: what wrote them says [`LAYOUT_VERSION`], the instructions and its byte order, and what
//! differs in one of them must not be read.

use std::marker::PhantomData;
use std::ops::Deref;

use bytemuck::Pod;

use crate::SharedBytes;
use crate::error::{Error, Result};

/// Version of all orders together: it goes up with every change of what lies where.
pub const LAYOUT_VERSION: u32 = 2;

/// Bytes to a multiple of which every part begins, in memory as in files: a cache line.
pub const ALIGNMENT: usize = 64;

/// An order of weights, with what they are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// Pairs of bf16 rows in panels of 32 columns, multiplied in bf16.
    Bf16Panels,
    /// Fours of 8-bit rows in panels of 32 columns, what a step of each column is worth, and the sum of each column.
    Int8Panels,
    /// f32 in panels of 16 columns, multiplied in f32.
    F32Panels,
    /// The same in f16.
    F32PanelsOfF16,
    /// The same in bf16.
    F32PanelsOfBf16,
}

impl Order {
    const ALL: [Self; 5] =
        [Self::Bf16Panels, Self::Int8Panels, Self::F32Panels, Self::F32PanelsOfF16, Self::F32PanelsOfBf16];

    /// As files spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bf16Panels => "bf16-panels",
            Self::Int8Panels => "int8-panels",
            Self::F32Panels => "f32-panels",
            Self::F32PanelsOfF16 => "f32-panels-of-f16",
            Self::F32PanelsOfBf16 => "f32-panels-of-bf16",
        }
    }

    /// The order with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|order| order.as_str() == name)
    }
}

/// The sizes of a packed matrix (taps · channels, columns).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Places of a kernel, 1 for a linear layer.
    pub taps: usize,
    /// Rows of a tap.
    pub channels: usize,
    /// Outputs.
    pub columns: usize,
}

/// A layer's packed weight: borrowed bytes to be written, [`SharedBytes`] to be used as they lie.
#[derive(Debug, Clone)]
pub struct PackedWeight<B> {
    /// How it lies.
    pub order: Order,
    /// How large it is.
    pub sizes: Sizes,
    /// Its bytes; an order that keeps scales beside its numbers has several parts.
    pub parts: Vec<B>,
}

impl PackedWeight<SharedBytes> {
    /// As many parts as the order has.
    pub(crate) fn into_parts<const N: usize>(self) -> Result<[SharedBytes; N]> {
        let (order, found) = (self.order, self.parts.len());
        self.parts.try_into().map_err(|_| unfit(order, format!("{found} parts, {N} wanted")))
    }
}

/// Frozen elements of a packed matrix: made here, or lying in a file.
#[derive(Debug, Clone)]
pub(crate) enum Stored<T> {
    Owned(Vec<T>),
    /// Aligned for `T`, and a whole number of them.
    Shared(SharedBytes, PhantomData<T>),
}

impl<T: Pod> Stored<T> {
    /// The `len` elements in a part of a packed weight of `order`.
    pub(crate) fn shared(order: Order, bytes: SharedBytes, len: usize) -> Result<Self> {
        match bytemuck::try_cast_slice::<u8, T>(&bytes) {
            Ok(elements) if elements.len() == len => Ok(Self::Shared(bytes, PhantomData)),
            Ok(elements) => Err(unfit(order, format!("{len} elements wanted, {} found", elements.len()))),
            Err(error) => Err(unfit(order, error.to_string())),
        }
    }

    /// The elements as bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl<T: Pod> Deref for Stored<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(elements) => elements,
            Self::Shared(bytes, _) => bytemuck::cast_slice(bytes),
        }
    }
}

impl<T> From<Vec<T>> for Stored<T> {
    fn from(elements: Vec<T>) -> Self {
        Self::Owned(elements)
    }
}

/// A packed matrix that can be kept in a file.
pub(crate) trait Storable: Sized {
    /// What a file keeps of it.
    fn packed(&self) -> PackedWeight<&[u8]>;

    /// The matrix that a file kept, in an order of this kind.
    fn from_packed(weight: PackedWeight<SharedBytes>) -> Result<Self>;
}

/// An [`Error::Packed`].
pub(crate) fn unfit(order: Order, problem: String) -> Error {
    Error::Packed { order: order.as_str(), problem }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::cpu;
    use crate::frozen::multiplies_bf16;
    use crate::{Conv2d, Conv2dOptions, Linear, Padding};

    /// Bytes as a mapped file has them: they begin at a multiple of [`ALIGNMENT`].
    #[repr(C, align(64))]
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    struct Block([u8; 64]);

    struct Mapped(Vec<Block>);

    impl AsRef<[u8]> for Mapped {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }

    /// A weight as it comes back from a file.
    fn kept(weight: &PackedWeight<&[u8]>) -> PackedWeight<SharedBytes> {
        let part = |bytes: &&[u8]| {
            let mut blocks = vec![Block([0; 64]); bytes.len().div_ceil(64)];
            bytemuck::cast_slice_mut::<Block, u8>(&mut blocks)[..bytes.len()].copy_from_slice(bytes);
            SharedBytes::new(Arc::new(Mapped(blocks)), 0..bytes.len()).unwrap()
        };
        PackedWeight { order: weight.order, sizes: weight.sizes, parts: weight.parts.iter().map(part).collect() }
    }

    fn normal(shape: &[usize], dtype: DType) -> Tensor {
        Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).unwrap().to_dtype(dtype).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    #[test]
    fn a_linear_layer_that_was_kept_is_the_same_layer() {
        let weight = normal(&[70, 41], DType::BF16);
        let bias = normal(&[70], DType::F32);
        let layer = Linear::new(&weight, Some(&bias)).unwrap();
        let packed = layer.packed().unwrap();
        let again = Linear::from_packed(kept(&packed), [70, 41], Some(&bias)).unwrap();
        let x = normal(&[3, 41], DType::F32);
        assert_eq!(bits(&layer.forward(&x).unwrap()), bits(&again.forward(&x).unwrap()));
        for shape in [[70, 42], [41, 70], [71, 41]] {
            assert!(matches!(Linear::from_packed(kept(&packed), shape, None), Err(Error::Packed { .. })));
        }
    }

    #[test]
    fn a_convolution_that_was_kept_is_the_same_layer() {
        let same = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let halving = Conv2dOptions { stride: 2, ..same };
        let order = if multiplies_bf16() { Order::Bf16Panels } else { Order::F32PanelsOfBf16 };
        for options in [same, halving] {
            let layer = Conv2d::new(&normal(&[48, 33, 3, 3], DType::BF16), None, options).unwrap();
            let packed = layer.packed().unwrap();
            assert_eq!(packed.order, order);
            let again = Conv2d::from_packed(kept(&packed), [48, 33, 3, 3], None, options).unwrap();
            let x = normal(&[1, 6, 7, 33], DType::F32);
            assert_eq!(bits(&layer.forward(&x).unwrap()), bits(&again.forward(&x).unwrap()));
            for shape in [[48, 34, 3, 3], [48, 33, 1, 1], [47, 33, 3, 3]] {
                assert!(matches!(Conv2d::from_packed(kept(&packed), shape, None, options), Err(Error::Packed { .. })));
            }
        }
    }

    #[test]
    fn layers_in_8_bits_are_kept_with_their_scales() {
        let weight = normal(&[35, 7, 3, 3], DType::F32);
        let same = Conv2dOptions { stride: 1, padding: Padding::same(1) };
        let layer = Conv2d::int8(&weight, None, same).unwrap();
        let packed = layer.packed().unwrap();
        assert_eq!((packed.order, packed.parts.len()), (Order::Int8Panels, 3));
        let again = Conv2d::from_packed(kept(&packed), [35, 7, 3, 3], None, same).unwrap();
        let x = normal(&[1, 6, 7, 7], DType::F32);
        assert_eq!(bits(&layer.forward(&x).unwrap()), bits(&again.forward(&x).unwrap()));
        let cut = PackedWeight { parts: kept(&packed).parts[..2].to_vec(), ..kept(&packed) };
        assert!(matches!(Conv2d::from_packed(cut, [35, 7, 3, 3], None, same), Err(Error::Packed { .. })));
    }

    #[test]
    fn bytes_that_are_no_such_weight_are_refused() {
        let layer = Linear::new(&normal(&[8, 8], DType::BF16), None).unwrap();
        let whole = kept(&layer.packed().unwrap());
        let part = whole.parts[0].clone();
        let cut = part.part(0..part.len() - 64).unwrap();
        for parts in [vec![], vec![part.clone(), part.clone()], vec![cut]] {
            let weight = PackedWeight { parts, ..whole.clone() };
            assert!(matches!(Linear::from_packed(weight, [8, 8], None), Err(Error::Packed { .. })));
        }
        let weight = PackedWeight { order: Order::Int8Panels, ..whole };
        assert!(matches!(Linear::from_packed(weight, [8, 8], None), Err(Error::Packed { .. })));
    }

    /// FNV-1a of 64 bits.
    fn checksum(parts: &[&[u8]]) -> u64 {
        let bytes = parts.iter().copied().flatten();
        bytes.fold(0xCBF2_9CE4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3))
    }

    /// A fixed matrix in each order: 3 taps of 5 channels, 33 columns, whole numbers that all formats have.
    #[cfg(target_endian = "little")]
    #[test]
    fn bytes_of_each_order_are_those_of_this_version() {
        const TAPS: usize = 3;
        const CHANNELS: usize = 5;
        const COLUMNS: usize = 33;
        let place = |i: usize| (i / (TAPS * CHANNELS) * 31 + i % TAPS * 7 + i / TAPS % CHANNELS * 3) % 127;
        let values: Vec<f32> = (0..COLUMNS * CHANNELS * TAPS).map(|i| place(i) as f32 - 63.0).collect();
        let f16: Vec<u16> = values.iter().map(|&x| half::f16::from_f32(x).to_bits()).collect();
        let bf16: Vec<u16> = values.iter().map(|&x| half::bf16::from_f32(x).to_bits()).collect();
        let sizes = Sizes { taps: TAPS, channels: CHANNELS, columns: COLUMNS };
        let tensor = Tensor::from_slice(&values, (COLUMNS, CHANNELS, TAPS, 1), &Device::Cpu).unwrap();
        let sum = |weight: &PackedWeight<&[u8]>| (weight.order, checksum(&weight.parts));
        let found = [
            sum(&cpu::bf16::Packed::new(&bf16, sizes).packed()),
            sum(&cpu::int8::Packed::new(&tensor).unwrap().packed()),
            sum(&cpu::f32::Packed::from_f32(&values, sizes).packed()),
            sum(&cpu::f32::Packed::from_f16(&f16, sizes).packed()),
            sum(&cpu::f32::Packed::from_bf16(&bf16, sizes).packed()),
        ];
        assert_eq!(found.map(|(order, _)| order), Order::ALL);
        let kept = found.map(|(_, sum)| sum);
        assert_eq!(kept, BYTES, "packs of before would be read wrongly: raise LAYOUT_VERSION, then note {kept:#x?}");
        assert_eq!(LAYOUT_VERSION, 2, "note the bytes of this version");
    }

    /// What a [`checksum`] of each order's bytes is, in the order of [`Order::ALL`].
    const BYTES: [u64; 5] = [
        0x69e6_b037_e7ba_adc7,
        0x5ea5_9f02_6fe8_07a6,
        0x1a8a_f112_ba76_582f,
        0x683d_c0b4_a970_68b1,
        0x21a8_6e12_7ba4_ef1f,
    ];

    #[test]
    fn numbers_of_8_bits_that_no_weights_have_are_refused() {
        let layer = Linear::int8(&normal(&[40, 8], DType::F32), None).unwrap();
        let whole = kept(&layer.packed().unwrap());
        assert!(Linear::from_packed(whole.clone(), [40, 8], None).is_ok());
        let with = |part: usize, bytes: [u8; 4]| {
            let mut parts: Vec<Vec<u8>> = whole.parts.iter().map(|part| part.to_vec()).collect();
            parts[part][4..8].copy_from_slice(&bytes);
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            Linear::from_packed(kept(&PackedWeight { order: whole.order, sizes: whole.sizes, parts }), [40, 8], None)
        };
        for scale in [f32::NAN, f32::INFINITY, -1.0] {
            assert!(matches!(with(1, scale.to_ne_bytes()), Err(Error::Packed { .. })), "{scale}");
        }
        for sum in [127 * 8 + 1, -127 * 8 - 1, i32::MIN] {
            assert!(matches!(with(2, sum.to_ne_bytes()), Err(Error::Packed { .. })), "{sum}");
        }
        // A matrix of so many rows that sums over them would not fit, all of its parts as long as they should be.
        let rows = cpu::int8::MAX_ROWS + 4;
        let [lines, column] = [vec![0; rows * 32], vec![0; 4]];
        let sizes = Sizes { taps: 1, channels: rows, columns: 1 };
        let long = PackedWeight { order: Order::Int8Panels, sizes, parts: vec![&lines[..], &column, &column] };
        assert!(matches!(Linear::from_packed(kept(&long), [1, rows], None), Err(Error::Packed { .. })));
    }

    #[test]
    fn orders_have_names_of_their_own() {
        for order in Order::ALL {
            assert_eq!(Order::named(order.as_str()), Some(order));
        }
        assert_eq!(Order::named("f8-spirals"), None);
    }

    #[test]
    fn elements_are_whole_aligned_and_as_many_as_wanted() {
        let words = vec![7_u32; 4];
        let owner: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(bytemuck::cast_slice::<u32, u8>(&words).to_vec());
        // Where the bytes begin at a multiple of four.
        let aligned = (*owner).as_ref().as_ptr().align_offset(4);
        let part = |from: usize, to: usize| SharedBytes::new(owner.clone(), from..to).unwrap();
        let stored = |bytes: SharedBytes, len: usize| Stored::<u32>::shared(Order::Bf16Panels, bytes, len);
        assert_eq!(&*stored(part(aligned, aligned + 8), 2).unwrap(), [0x0000_0007; 2]);
        for (bytes, len) in
            [(part(aligned, aligned + 8), 3), (part(aligned, aligned + 7), 1), (part(aligned + 1, aligned + 5), 1)]
        {
            assert!(matches!(stored(bytes, len), Err(Error::Packed { .. })));
        }
    }
}
