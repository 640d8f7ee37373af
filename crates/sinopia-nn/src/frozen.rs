//! Frozen parameters: their storage, and a graph node that hands a gradient to the input alone.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, MetalStorage, Shape, Storage, Tensor};

use crate::SharedBytes;
use crate::cpu::elements::Elements;
use crate::cpu::isa::Isa;
use crate::cpu::{bf16, f32, int8};
use crate::error::{Error, Result};
use crate::packed::{Order, PackedWeight, Sizes, Storable, unfit};
use crate::quantized::Quantized;

/// A frozen copy of a layer's parameter: contiguous, outside every gradient graph, in the precision it came in.
pub(crate) fn frozen(op: &'static str, what: &'static str, parameter: &Tensor) -> Result<Tensor> {
    if !matches!(parameter.dtype(), DType::F32 | DType::F16 | DType::BF16) {
        return Err(Error::DType { op, what, expected: "f32, f16 or bf16", found: parameter.dtype() });
    }
    Ok(parameter.detach().contiguous()?)
}

/// The frozen weights of a product.
#[derive(Debug, Clone)]
pub(crate) enum FrozenMatrix {
    /// On another device than the CPU, as checkpoints have them; multiplied in f32.
    Tensor(Tensor),
    /// bf16 on the CPU, in the order that its products read; multiplied in bf16. Shared by all copies of a layer.
    Packed16(Arc<bf16::Packed>),
    /// f32, f16 or bf16 on the CPU, in the order that its products read; multiplied in f32.
    Packed32(Arc<f32::Packed>),
    /// Blocks on the CPU, where a file has them. They become ordinary weights for as long as a layer is applied: a product reads a weight many
    /// times, and whoever has few bits a weight has little memory.
    Quantized(Arc<Quantized>),
    /// Quantised on the CPU, in the order that its products read; multiplied in 8 bits.
    Int8(Arc<int8::Packed>),
}

impl FrozenMatrix {
    /// Packs weights in checkpoint order on the CPU, and keeps those on other devices. Numbers stay as wide as they are; bf16 is
    /// multiplied in bf16 where the processor has an instruction for it.
    pub(crate) fn new(weight: Tensor, sizes: Sizes) -> Result<Self> {
        if !weight.device().is_cpu() {
            return Ok(Self::Tensor(weight));
        }
        let elements = Elements::of(&weight)?;
        Ok(match weight.dtype() {
            DType::BF16 if multiplies_bf16() => {
                Self::Packed16(Arc::new(bf16::Packed::new(elements.bf16_bits()?, sizes)))
            }
            DType::BF16 => Self::Packed32(Arc::new(f32::Packed::from_bf16(elements.bf16_bits()?, sizes))),
            DType::F16 => Self::Packed32(Arc::new(f32::Packed::from_f16(elements.f16_bits()?, sizes))),
            _ => Self::Packed32(Arc::new(f32::Packed::from_f32(elements.f32()?, sizes))),
        })
    }

    /// Quantises weights in checkpoint order, (out, in) or (out, in, kh, kw).
    pub(crate) fn int8(op: &'static str, weight: &Tensor) -> Result<Self> {
        let weight = frozen(op, "weight", weight)?;
        let option = |what, expected: String, found: String| Err(Error::Option { op, what, expected, found });
        if !weight.device().is_cpu() {
            return option(
                "device of 8-bit weights",
                "the processor".to_owned(),
                format!("{:?}", weight.device().location()),
            );
        }
        let taps: usize = weight.dims()[2..].iter().product();
        if !int8::Packed::fits(taps, weight.dims()[1]) {
            let (most, found) = (int8::MAX_ROWS, taps * weight.dims()[1]);
            return option("length of an 8-bit sum", format!("at most {most}"), found.to_string());
        }
        Ok(Self::Int8(Arc::new(int8::Packed::new(&weight)?)))
    }

    /// What a file keeps of packed weights.
    pub(crate) fn packed(&self) -> Option<PackedWeight<&[u8]>> {
        match self {
            Self::Tensor(_) | Self::Quantized(_) => None,
            Self::Packed16(packed) => Some(packed.packed()),
            Self::Packed32(packed) => Some(packed.packed()),
            Self::Int8(packed) => Some(packed.packed()),
        }
    }

    /// Weights of these sizes that a file kept.
    pub(crate) fn from_packed(weight: PackedWeight<SharedBytes>, sizes: Sizes) -> Result<Self> {
        if weight.sizes != sizes {
            return Err(unfit(weight.order, format!("{sizes:?} wanted, {:?} found", weight.sizes)));
        }
        match weight.order {
            Order::Bf16Panels => Ok(Self::Packed16(Arc::new(bf16::Packed::from_packed(weight)?))),
            Order::F32Panels | Order::F32PanelsOfF16 | Order::F32PanelsOfBf16 => {
                Ok(Self::Packed32(Arc::new(f32::Packed::from_packed(weight)?)))
            }
            Order::Int8Panels => Ok(Self::Int8(Arc::new(int8::Packed::from_packed(weight)?))),
        }
    }

    /// The weights as a tensor, which those on other devices than the CPU always are.
    pub(crate) fn tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Packed16(_) | Self::Packed32(_) | Self::Quantized(_) | Self::Int8(_) => {
                Err(candle_core::Error::Msg("weights packed for the CPU on another device".into()).into())
            }
        }
    }
}

/// Are bf16 weights multiplied in bf16? Elsewhere two of its products would take longer than one of f32.
pub(crate) fn multiplies_bf16() -> bool {
    Isa::best() == Isa::Avx512Bf16
}

/// A frozen copy of a vector of `len` parameters (bias, scale), always f32: it is small and read once an element.
pub(crate) fn frozen_vector(op: &'static str, what: &'static str, parameter: &Tensor, len: usize) -> Result<Tensor> {
    if parameter.dims() != [len] {
        return Err(Error::shape(op, what, format!("[{len}]"), parameter));
    }
    Ok(frozen(op, what, parameter)?.to_dtype(DType::F32)?)
}

/// Joins `output`, computed from `input` outside the graph, to the graph: the gradient of `input` is `backward` of the
/// gradient of `output`. Nothing else gets a gradient, whatever `output` was computed from.
pub(crate) fn with_input_gradient<F>(name: &'static str, input: &Tensor, output: Tensor, backward: F) -> Result<Tensor>
where
    F: Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
{
    if !input.track_op() {
        return Ok(output);
    }
    Ok(input.apply_op1(Graft { name, output: output.detach(), backward })?)
}

/// See [`with_input_gradient`].
struct Graft<F> {
    name: &'static str,
    output: Tensor,
    backward: F,
}

impl<F> CustomOp1 for Graft<F>
where
    F: Fn(&Tensor) -> Result<Tensor>,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("{}: output and input are on different devices", self.name),
        }
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("{}: output and input are on different devices", self.name),
        }
    }

    fn metal_fwd(&self, _: &MetalStorage, _: &Layout) -> candle_core::Result<(MetalStorage, Shape)> {
        let (storage, layout) = self.output.storage_and_layout();
        match &*storage {
            Storage::Metal(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("{}: output and input are on different devices", self.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = (self.backward)(grad).map_err(candle_core::Error::wrap)?;
        Ok(Some(grad))
    }
}
