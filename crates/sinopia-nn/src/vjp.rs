//! Vector–Jacobian products: the backward pass of one block, computed by running the block again or from a trace of its run.

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
    Traced::run(inputs, f)?.pull(cotangents)
}

/// A function that has run and can be differentiated once: [`vjp`] in two halves. It keeps everything that lies between.
#[derive(Debug)]
pub struct Traced {
    variables: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Traced {
    /// Runs `f` on copies of the inputs that are tracked.
    ///
    /// # Errors
    /// Whatever `f` returns.
    pub fn run(inputs: &[Tensor], f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Self> {
        let variable = |input: &Tensor| Ok(Var::from_tensor(&input.detach())?.as_tensor().clone());
        let variables = inputs.iter().map(variable).collect::<Result<Vec<_>>>()?;
        let outputs = f(&variables)?;
        Ok(Self { variables, outputs })
    }

    /// What the function returned, outside the graph.
    pub fn outputs(&self) -> Vec<Tensor> {
        self.outputs.iter().map(Tensor::detach).collect()
    }

    /// The gradient of `Σ_i ⟨cotangents[i], outputs[i]⟩` with respect to each input, as [`vjp`] has it.
    ///
    /// # Errors
    /// [`Error::Option`] if there are not as many cotangents as outputs, [`Error::Shape`] if one does not fit its output.
    pub fn pull(self, cotangents: &[Option<Tensor>]) -> Result<Vec<Tensor>> {
        let Self { variables, outputs } = self;
        if outputs.len() != cotangents.len() {
            return Err(Error::Option {
                op: "vjp",
                what: "number of cotangents",
                expected: format!("one for each of the {} outputs", outputs.len()),
                found: cotangents.len().to_string(),
            });
        }
        let Some(total) = total(&outputs, cotangents)? else {
            return variables.iter().map(|variable| Ok(variable.detach().zeros_like()?)).collect();
        };
        drop(outputs);
        let mut gradients = total.backward()?;
        variables
            .iter()
            .map(|variable| match gradients.remove(variable) {
                Some(gradient) => Ok(gradient.detach()),
                None => Ok(variable.detach().zeros_like()?),
            })
            .collect()
    }
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

#[cfg(test)]
mod tests {
    use candle_core::{Tensor, Var};

    use super::vjp;
    use crate::check::{assert_close, noise};
    use crate::error::Error;
    use crate::{Conv2d, Conv2dOptions, GroupNorm, Linear, Padding, Result, activation, attention};

    /// A residual block with convolutions and self-attention: every kind of layer that a network has.
    struct Block {
        norm: GroupNorm,
        conv: Conv2d,
        qkv: Linear,
        weights: Vec<Tensor>,
    }

    impl Block {
        fn new() -> Self {
            let options = Conv2dOptions { stride: 1, padding: Padding::same(1) };
            let weights = vec![noise(1, &[6]), noise(2, &[6, 6, 3, 3]), noise(3, &[18, 6])];
            Self {
                norm: GroupNorm::new(&weights[0], &weights[0], 3, 1e-5).unwrap(),
                conv: Conv2d::new(&weights[1], None, options).unwrap(),
                qkv: Linear::new(&weights[2], None).unwrap(),
                weights,
            }
        }

        fn forward(&self, x: &Tensor) -> Result<Tensor> {
            let (b, h, w, c) = x.dims4()?;
            let hidden = (x + self.conv.forward(&self.norm.forward_silu(x)?)?)?;
            let qkv = self.qkv.forward(&hidden.reshape((b, h * w, c))?)?;
            let part = |i: usize| qkv.narrow(2, i * c, c);
            let mixed = attention::attention(&part(0)?, &part(1)?, &part(2)?, 2, false)?;
            activation::silu(&(hidden + mixed.reshape((b, h, w, c))?)?)
        }
    }

    #[test]
    fn of_a_block_equals_backward_through_it() {
        let block = Block::new();
        let x = noise(4, &[2, 4, 3, 6]);
        let cotangent = noise(5, &[2, 4, 3, 6]);
        let var = Var::from_tensor(&x).unwrap();
        let loss = (block.forward(&var).unwrap() * &cotangent).unwrap().sum_all().unwrap();
        let expected = loss.backward().unwrap().remove(&var).unwrap();
        let found = vjp(&[x], |x| Ok(vec![block.forward(&x[0])?]), &[Some(cotangent)]).unwrap();
        assert_close(&found[0], &expected, 1e-6);
    }

    #[test]
    fn chained_block_by_block_equals_one_backward_pass() {
        let block = Block::new();
        let run = |x: &[Tensor]| Ok(vec![block.forward(&x[0])?]);
        let x = noise(4, &[1, 4, 4, 6]);
        let middle = block.forward(&x).unwrap();
        let cotangent = Some(noise(5, &[1, 4, 4, 6]));
        let between = vjp(&[middle], run, std::slice::from_ref(&cotangent)).unwrap();
        let found = vjp(std::slice::from_ref(&x), run, &[Some(between[0].clone())]).unwrap();
        let twice = |x: &[Tensor]| Ok(vec![block.forward(&block.forward(&x[0])?)?]);
        let expected = vjp(&[x], twice, &[cotangent]).unwrap();
        assert_close(&found[0], &expected[0], 1e-5);
    }

    #[test]
    fn weights_are_never_tracked_and_never_get_a_gradient() {
        let block = Block::new();
        let x = Var::from_tensor(&noise(4, &[1, 4, 4, 6])).unwrap();
        let output = block.forward(&x).unwrap();
        for weight in &block.weights {
            assert!(!weight.track_op());
        }
        let loss = output.sum_all().unwrap();
        // Everything the backward pass visits depends on the input; the weights are not even nodes.
        let nodes = loss.sorted_nodes().len();
        let gradients = loss.backward().unwrap();
        for weight in &block.weights {
            assert!(gradients.get(weight).is_none());
        }
        assert!(gradients.get_ids().count() <= nodes);
        // Weights that were variables when the layer was made are frozen all the same.
        let weight = Var::from_tensor(&noise(1, &[3, 6])).unwrap();
        let layer = Linear::new(&weight, None).unwrap();
        let gradients = layer.forward(&x).unwrap().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(&weight).is_none() && gradients.get(&x).is_some());
        assert!(!layer.forward(&noise(4, &[2, 6])).unwrap().track_op());
    }

    #[test]
    fn several_inputs_and_outputs() {
        let (a, b) = (noise(1, &[3]), noise(2, &[3]));
        let f = |x: &[Tensor]| Ok(vec![(&x[0] * &x[1])?, x[0].sqr()?, x[1].exp()?]);
        let (u, v) = (noise(3, &[3]), noise(4, &[3]));
        let found = vjp(&[a.clone(), b.clone()], f, &[Some(u.clone()), Some(v.clone()), None]).unwrap();
        let expected_a = ((&u * &b).unwrap() + (&v * (&a * 2.0).unwrap()).unwrap()).unwrap();
        assert_close(&found[0], &expected_a, 1e-6);
        assert_close(&found[1], &(&u * &a).unwrap(), 1e-6);
    }

    #[test]
    fn an_input_that_does_not_matter_gets_zeros() {
        let (a, b) = (noise(1, &[3]), noise(2, &[2, 2]));
        let f = |x: &[Tensor]| Ok(vec![x[0].sqr()?]);
        let cotangent = Some(noise(3, &[3]));
        let found = vjp(&[a.clone(), b.clone()], f, &[cotangent]).unwrap();
        assert_close(&found[1], &b.zeros_like().unwrap(), 0.0);
        let found = vjp(&[a.clone(), b], f, &[None]).unwrap();
        assert_close(&found[0], &a.zeros_like().unwrap(), 0.0);
    }

    #[test]
    fn an_input_that_is_handed_through_gets_its_cotangent() {
        let (a, u) = (noise(1, &[3]), noise(2, &[3]));
        let found = vjp(&[a], |x| Ok(x.to_vec()), &[Some(u.clone())]).unwrap();
        assert_close(&found[0], &u, 0.0);
    }

    #[test]
    fn the_graph_around_the_inputs_is_left_out() {
        let outer = Var::from_tensor(&noise(1, &[3])).unwrap();
        let x = outer.as_tensor().sqr().unwrap();
        let found = vjp(&[x], |x| Ok(vec![x[0].sqr()?]), &[Some(noise(2, &[3]))]).unwrap();
        assert!(!found[0].track_op());
    }

    #[test]
    fn cotangents_that_do_not_fit_are_refused() {
        let run = |x: &[Tensor]| Ok(vec![x[0].sqr()?]);
        let error = vjp(&[noise(1, &[3])], run, &[]).unwrap_err();
        assert!(matches!(error, Error::Option { what: "number of cotangents", .. }));
        let error = vjp(&[noise(1, &[3])], run, &[Some(noise(1, &[2]))]).unwrap_err();
        assert_eq!(error.to_string(), "vjp: cotangent has shape [2], expected its output's, [3]");
    }
}
