//! Classifier-free guidance (Ho & Salimans 2022, arXiv 2207.12598): the prompt's prediction, exaggerated against one without it.

use candle_core::{D, Tensor};

use super::GuidedText;
use crate::Result;

/// `ε_u + g·(ε_c − ε_u)` of a batch [unconditional, conditional], the contrast of each picture brought back towards ε_c's by the share
/// `guidance_rescale`.
pub(super) fn classifier_free_guidance(prediction: &Tensor, text: &GuidedText) -> Result<Tensor> {
    let half = prediction.dim(0)? / 2;
    let unconditional = prediction.narrow(0, 0, half)?;
    let conditional = prediction.narrow(0, half, half)?;
    let guided = (&unconditional + ((&conditional - &unconditional)? * text.guidance_scale)?)?; // (B, H, W, C)
    if text.guidance_rescale == 0.0 {
        return Ok(guided);
    }
    let rescaled = (0..half).map(|picture| {
        let guided = guided.narrow(0, picture, 1)?;
        let contrast = (deviation(&conditional.narrow(0, picture, 1)?)? / deviation(&guided)?)?.to_scalar::<f32>()?;
        let factor = text.guidance_rescale * f64::from(contrast) + 1.0 - text.guidance_rescale;
        Ok((guided * factor)?)
    });
    Ok(Tensor::cat(&rescaled.collect::<Result<Vec<_>>>()?, 0)?)
}

/// Standard deviation over all values of one picture.
fn deviation(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_all()?.var(D::Minus1)?.sqrt()?)
}
