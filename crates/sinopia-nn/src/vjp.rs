//! Vector–Jacobian products: the backward pass of one block, computed by running the block again.

use candle_core::{Tensor, Var};

use crate::error::{Error, Result};
use crate::frozen::with_input_gradient;

/// The gradient of `Σ_i ⟨cotangents[i], f(inputs)[i]⟩` with respect to each input.
///
/// `f` runs once on copies of the inputs that are tracked; whatever graph the inputs themselves belong to is left out,
/// and the graph of `f` is gone when this returns. An output whose cotangent is `None` counts as constant; an input that
/// no counted output depends on gets zeros.
///
/// # Errors
/// [`Error::Option`] if there are not as many cotangents as outputs, [`Error::Shape`] if one does not fit its output, and
/// whatever `f` returns.
pub fn vjp<F>(inputs: &[Tensor], f: F, cotangents: &[Option<Tensor>]) -> Result<Vec<Tensor>>
where
    F: Fn(&[Tensor]) -> Result<Vec<Tensor>>,
{
    let variables = inputs.iter().map(|input| Ok(Var::from_tensor(&input.detach())?)).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = variables.iter().map(|var| var.as_tensor().clone()).collect();
    let outputs = f(&tracked)?;
    if outputs.len() != cotangents.len() {
        return Err(Error::Option {
            op: "vjp",
            what: "number of cotangents",
            expected: format!("one for each of the {} outputs", outputs.len()),
            found: cotangents.len().to_string(),
        });
    }
    let Some(total) = total(&outputs, cotangents)? else {
        return inputs.iter().map(|input| Ok(input.zeros_like()?)).collect();
    };
    drop(outputs);
    let mut gradients = total.backward()?;
    tracked
        .iter()
        .map(|variable| match gradients.remove(variable) {
            Some(gradient) => Ok(gradient),
            None => Ok(variable.zeros_like()?),
        })
        .collect()
}

/// A scalar whose gradient with respect to each output is its cotangent; `None` if no gradient would reach anything.
///
/// Its value is never asked for, so it stays zero and the inner products are never computed.
fn total(outputs: &[Tensor], cotangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
    let mut total: Option<Tensor> = None;
    for (output, cotangent) in outputs.iter().zip(cotangents) {
        let Some(cotangent) = cotangent else { continue };
        if output.dims() != cotangent.dims() {
            let expected = format!("its output's, {:?}", output.dims());
            return Err(Error::shape("vjp", "cotangent", expected, cotangent));
        }
        if !output.track_op() {
            continue;
        }
        let zero = Tensor::zeros((), output.dtype(), output.device())?;
        let cotangent = cotangent.detach();
        let term = with_input_gradient("vjp", output, zero, move |grad| Ok(cotangent.broadcast_mul(grad)?))?;
        total = Some(match total {
            Some(sum) => (sum + term)?,
            None => term,
        });
    }
    Ok(total)
}
