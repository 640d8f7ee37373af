//! From tensors on the CPU to slices and back.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Storage, StorageRef, Tensor,
};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The elements of a contiguous f32 argument of a custom operation.
pub(crate) fn f32_elements<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a CPU kernel was given a tensor with gaps, strides {:?}", layout.stride());
    };
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// A contiguous f32 argument of a custom operation.
#[derive(Clone, Copy)]
pub(crate) struct Argument<'a> {
    pub(crate) elements: &'a [f32],
    pub(crate) shape: &'a Shape,
}

impl<'a> Argument<'a> {
    fn of(storage: &'a CpuStorage, layout: &'a Layout) -> Result<Self> {
        Ok(Self { elements: f32_elements(storage, layout)?, shape: layout.shape() })
    }
}

/// A read lock on the elements of a contiguous tensor.
pub(crate) struct Elements<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Elements<'a> {
    /// Locks `tensor`, which has to be contiguous and on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("a CPU kernel was given a tensor with gaps, strides {:?}", layout.stride());
        };
        Ok(Self { storage, range: start..end })
    }

    /// The elements of an f32 tensor.
    pub(crate) fn f32(&self) -> Result<&[f32]> {
        Ok(&self.cpu()?.as_slice::<f32>()?[self.range.clone()])
    }

    /// The bits of the elements of a bf16 tensor.
    pub(crate) fn bf16_bits(&self) -> Result<&[u16]> {
        Ok(self.cpu()?.as_slice::<bf16>()?[self.range.clone()].reinterpret_cast())
    }

    /// The bits of the elements of an f16 tensor.
    pub(crate) fn f16_bits(&self) -> Result<&[u16]> {
        Ok(self.cpu()?.as_slice::<f16>()?[self.range.clone()].reinterpret_cast())
    }

    /// A part of the elements as f32: borrowed if they are f32, widened otherwise. Widening is exact.
    pub(crate) fn widened(&self, part: Range<usize>) -> Result<Cow<'_, [f32]>> {
        let part = self.range.start + part.start..self.range.start + part.end;
        match self.cpu()? {
            CpuStorage::F32(values) => Ok(Cow::Borrowed(&values[part])),
            CpuStorage::F16(values) => {
                let values: &[f16] = &values[part];
                let mut wide = vec![0.0; values.len()];
                values.convert_to_f32_slice(&mut wide);
                Ok(Cow::Owned(wide))
            }
            CpuStorage::BF16(values) => {
                let values: &[bf16] = &values[part];
                let mut wide = vec![0.0; values.len()];
                values.convert_to_f32_slice(&mut wide);
                Ok(Cow::Owned(wide))
            }
            other => candle_core::bail!("no CPU kernel reads {:?} parameters", other.dtype()),
        }
    }

    fn cpu(&self) -> Result<&CpuStorage> {
        match &*self.storage {
            Storage::Cpu(storage) => Ok(storage),
            _ => candle_core::bail!("a CPU kernel was given a tensor on another device"),
        }
    }
}

/// A vector of `len` elements that `write` writes: filling them with zeros first would be one more pass over memory.
///
/// # Safety
/// `write` writes every element.
#[expect(unsafe_code, reason = "elements that exist once they are written")]
pub(crate) unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut elements = Vec::with_capacity(len);
    write(&mut elements.spare_capacity_mut()[..len]);
    // SAFETY: there is room for them, and the caller vouches that all were written.
    unsafe { elements.set_len(len) };
    elements
}

/// A tensor on the CPU from its elements.
pub(crate) fn tensor(elements: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(elements, shape.into(), &Device::Cpu)
}

/// A CPU operation of one argument with its gradient; `K` holds frozen parameters and options.
pub(crate) trait Kernel1: Send + Sync + 'static {
    /// The operation's name in errors of the tensor library.
    const NAME: &'static str;

    /// The result's elements and shape from the argument's.
    fn forward(&self, x: &[f32], shape: &Shape) -> Result<(Vec<f32>, Shape)>;

    /// The gradient of the argument. All are contiguous.
    fn backward(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Tensor>;
}

/// Runs a [`Kernel1`] on any f32 CPU tensor, inside the tensor library's graph.
pub(crate) fn apply1(kernel: impl Kernel1, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Op1(kernel))
}

struct Op1<K>(K);

impl<K: Kernel1> CustomOp1 for Op1<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32_elements(storage, layout)?;
        let (y, shape) = self.0.forward(x, layout.shape())?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.0.backward(x, y, &grad.contiguous()?)?))
    }
}

/// A CPU operation of two arguments with the gradients of those that are tracked.
pub(crate) trait Kernel2: Send + Sync + 'static {
    /// The operation's name in errors of the tensor library.
    const NAME: &'static str;

    /// The result's elements and shape from the arguments'.
    fn forward(&self, a: Argument, b: Argument) -> Result<(Vec<f32>, Shape)>;

    /// The gradients of the arguments. All are contiguous.
    fn backward(&self, args: [&Tensor; 2], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]>;
}

/// Runs a [`Kernel2`] on any f32 CPU tensors, inside the tensor library's graph.
pub(crate) fn apply2(kernel: impl Kernel2, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, Op2(kernel))
}

struct Op2<K>(K);

impl<K: Kernel2> CustomOp2 for Op2<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (y, shape) = self.0.forward(Argument::of(a, a_layout)?, Argument::of(b, b_layout)?)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, y: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok(self.0.backward([a, b], y, &grad.contiguous()?)?.into())
    }
}

/// A CPU operation of three arguments with the gradients of those that are tracked.
pub(crate) trait Kernel3: Send + Sync + 'static {
    /// The operation's name in errors of the tensor library.
    const NAME: &'static str;

    /// The result's elements and shape from the arguments'.
    fn forward(&self, args: [Argument; 3]) -> Result<(Vec<f32>, Shape)>;

    /// The gradients of the arguments. All are contiguous.
    fn backward(&self, args: [&Tensor; 3], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]>;
}

/// Runs a [`Kernel3`] on any f32 CPU tensors, inside the tensor library's graph.
pub(crate) fn apply3(kernel: impl Kernel3, args: [&Tensor; 3]) -> Result<Tensor> {
    let [a, b, c] = args;
    a.contiguous()?.apply_op3(&b.contiguous()?, &c.contiguous()?, Op3(kernel))
}

struct Op3<K>(K);

impl<K: Kernel3> CustomOp3 for Op3<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
        c: &CpuStorage,
        c_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let args = [Argument::of(a, a_layout)?, Argument::of(b, b_layout)?, Argument::of(c, c_layout)?];
        let (y, shape) = self.0.forward(args)?;
        Ok((CpuStorage::F32(y), shape))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        c: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.0.backward([a, b, c], y, &grad.contiguous()?)?.into())
    }
}
