//! Frozen parameters: their storage, and a graph node that hands a gradient to the input alone.

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp1, DType, Layout, MetalStorage, Shape, Storage, Tensor};

use crate::cpu::bf16::{Packed, Unpacked};
use crate::cpu::elements::Elements;
use crate::error::{Error, Result};

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
    /// As checkpoints have them, or with axes exchanged; multiplied in f32.
    Tensor(Tensor),
    /// bf16 on the CPU, in the order that its products read; multiplied in bf16. Shared by all copies of a layer.
    Packed(Arc<Packed>),
}

impl FrozenMatrix {
    /// Packs bf16 weights on the CPU, seen as `unpacked` says, and keeps all others as they are.
    pub(crate) fn new(weight: Tensor, unpacked: impl FnOnce(&[u16]) -> Unpacked<'_>) -> Result<Self> {
        if weight.dtype() != DType::BF16 || !weight.device().is_cpu() {
            return Ok(Self::Tensor(weight));
        }
        let elements = Elements::of(&weight)?;
        let packed = Packed::new(unpacked(elements.bf16_bits()?));
        Ok(Self::Packed(Arc::new(packed)))
    }

    /// The weights as a tensor, which those on other devices than the CPU always are.
    pub(crate) fn tensor(&self) -> Result<&Tensor> {
        match self {
            Self::Tensor(tensor) => Ok(tensor),
            Self::Packed(_) => {
                Err(candle_core::Error::Msg("weights packed for the CPU on another device".into()).into())
            }
        }
    }
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
