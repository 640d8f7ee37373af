//! GLIGEN's grounding input: boxes and phrases, and the network that makes tokens of them.
//!
//! Li et al. 2023, arXiv 2301.07093.

use candle_core::{DType, Tensor, TensorId};
use sinopia_nn::{Linear, activation};

use super::per_layer::{KeyValue, LayerId, PerLayer, next_layer_id};
use crate::layers::linear;
use crate::{Error, Result, Weights};

/// Waves that each coordinate of a box is written in.
const FREQUENCIES: usize = 8;
/// A sine and a cosine of each of four coordinates, at each frequency.
pub(super) const POSITION_WIDTH: usize = FREQUENCIES * 2 * 4;
/// The fastest wave would be 100 times as fast as the slowest.
const MAX_FREQUENCY: f32 = 100.0;
/// Width inside the position net, in all published ones.
pub(super) const HIDDEN_WIDTH: usize = 512;

/// How the adapters are wired into a transformer layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GroundingWiring {
    /// The text is attended to after the boxes, as the adapters were trained.
    #[default]
    Sequential,
    /// Text and boxes are attended to from the same features and both added, so that boxes do not outweigh the text: ReGround, arXiv 2403.13589.
    Parallel,
}

/// What should stand where: the input of GLIGEN's grounding adapters.
///
/// N slots for each image; a slot with mask 0 is empty and counts as the learned null token. Empty slots are *not* left out: the adapters were
/// trained with 30 slots and attend to empty ones too.
///
/// Tokens and what each layer makes of them depend on this input alone, so they are computed on the first call and found here afterwards.
#[derive(Debug)]
pub struct Grounding {
    /// (B, N, 4) f32
    boxes: Tensor,
    /// (B, N, D) f32
    phrases: Tensor,
    /// (B, N) f32
    mask: Tensor,
    wiring: GroundingWiring,
    tokens: PerLayer<Tensor>,
    projected: PerLayer<KeyValue>,
}

impl Grounding {
    /// Slots that the published adapters were trained with.
    pub const SLOTS: usize = 30;

    /// From whole slots: `boxes` (B, N, 4), x0, y0, x1, y1 in proportions of the canvas, y down; `phrases` (B, N, D), the text encoder's pooled state
    /// for each phrase, not projected; `mask` (B, N), 1 for a slot in use and 0 for an empty one.
    ///
    /// # Errors
    /// [`Error::Input`] if the shapes do not fit each other.
    pub fn new(boxes: &Tensor, phrases: &Tensor, mask: &Tensor) -> Result<Self> {
        let fits = match (boxes.dims(), phrases.dims(), mask.dims()) {
            ([b, n, 4], [phrase_b, phrase_n, width], [mask_b, mask_n]) => {
                b * n * width > 0 && [phrase_b, mask_b] == [b, b] && [phrase_n, mask_n] == [n, n]
            }
            _ => false,
        };
        if !fits {
            return Err(Error::Input {
                what: "grounding",
                expected: "boxes (B, N, 4), phrases (B, N, D) and a mask (B, N), none of them empty".into(),
                found: format!("{:?}, {:?} and {:?}", boxes.dims(), phrases.dims(), mask.dims()),
            });
        }
        let plain = |x: &Tensor| x.detach().to_dtype(DType::F32)?.contiguous();
        Ok(Self::from_parts(plain(boxes)?, plain(phrases)?, plain(mask)?, GroundingWiring::default()))
    }

    /// One image with these boxes, x0, y0, x1, y1 in proportions, and the pooled states of their phrases (n, D): [`SLOTS`](Self::SLOTS) slots, the rest empty.
    ///
    /// # Errors
    /// [`Error::Input`] if there are more boxes than slots, or not as many phrases.
    pub fn of_boxes(boxes: &[[f32; 4]], phrases: &Tensor) -> Result<Self> {
        let (n, width) = phrases.dims2()?;
        if n != boxes.len() || n > Self::SLOTS {
            return Err(Error::Input {
                what: "grounding boxes",
                expected: format!("at most {}, and one for each of the {n} phrases", Self::SLOTS),
                found: boxes.len().to_string(),
            });
        }
        let device = phrases.device();
        let mut corners = boxes.concat();
        corners.resize(4 * Self::SLOTS, 0.0);
        let mask: Vec<f32> = (0..Self::SLOTS).map(|slot| if slot < n { 1.0 } else { 0.0 }).collect();
        let empty = Tensor::zeros((Self::SLOTS - n, width), DType::F32, device)?;
        let phrases = match n {
            0 => empty,
            _ => Tensor::cat(&[&phrases.to_dtype(DType::F32)?, &empty], 0)?,
        };
        Self::new(
            &Tensor::from_vec(corners, (1, Self::SLOTS, 4), device)?,
            &phrases.unsqueeze(0)?,
            &Tensor::from_vec(mask, (1, Self::SLOTS), device)?,
        )
    }

    fn from_parts(boxes: Tensor, phrases: Tensor, mask: Tensor, wiring: GroundingWiring) -> Self {
        Self { boxes, phrases, mask, wiring, tokens: PerLayer::default(), projected: PerLayer::default() }
    }

    /// With another wiring.
    #[must_use]
    pub fn wired(self, wiring: GroundingWiring) -> Self {
        Self { wiring, ..self }
    }

    /// The same number of slots, all empty: what the unconditional half of a guidance batch sees.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn emptied(&self) -> Result<Self> {
        Ok(Self::from_parts(self.boxes.clone(), self.phrases.clone(), self.mask.zeros_like()?, self.wiring))
    }

    /// [empty, this]: a batch for classifier-free guidance.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn with_unconditional(&self) -> Result<Self> {
        let twice = |x: &Tensor| Tensor::cat(&[x, x], 0);
        let mask = Tensor::cat(&[&self.mask.zeros_like()?, &self.mask], 0)?;
        Ok(Self::from_parts(twice(&self.boxes)?, twice(&self.phrases)?, mask, self.wiring))
    }

    /// The last image of the batch on its own: of a guidance batch the conditional one.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn last(&self) -> Result<Self> {
        let at = self.batch_size() - 1; // never empty
        let last = |x: &Tensor| x.narrow(0, at, 1)?.contiguous();
        Ok(Self::from_parts(last(&self.boxes)?, last(&self.phrases)?, last(&self.mask)?, self.wiring))
    }

    /// B.
    pub fn batch_size(&self) -> usize {
        self.boxes.dims()[0]
    }

    /// D.
    pub fn width(&self) -> usize {
        self.phrases.dims()[2]
    }

    /// N.
    pub fn num_slots(&self) -> usize {
        self.boxes.dims()[1]
    }

    /// Whether some layer has computed its keys and values already.
    pub fn is_projected(&self) -> bool {
        !self.projected.is_empty()
    }

    /// Of boxes, phrases and mask: which input it is, whatever its numbers.
    pub(super) fn ids(&self) -> [TensorId; 3] {
        [self.boxes.id(), self.phrases.id(), self.mask.id()]
    }

    /// How the adapters are wired.
    pub fn wiring(&self) -> GroundingWiring {
        self.wiring
    }

    /// Keys and values of the tokens in one layer.
    pub(super) fn project(
        &self,
        layer: LayerId,
        make: impl FnOnce() -> sinopia_nn::Result<KeyValue>,
    ) -> sinopia_nn::Result<KeyValue> {
        self.projected.get(layer, make)
    }
}

/// Makes a token of each slot: `W₃·silu(W₂·silu(W₁·[phrase; waves of the box]))`, empty slots replaced by learned vectors first.
#[derive(Debug, Clone)]
pub(super) struct PositionNet {
    id: LayerId,
    linears: [Linear; 3],
    /// (D)
    null_phrase: Tensor,
    /// (64)
    null_position: Tensor,
}

impl PositionNet {
    /// From the names under `position_net`, for phrases and tokens of width `width`.
    pub(super) fn load(weights: &Weights, width: usize) -> Result<Self> {
        if weights.contains_prefix("linears_text") || weights.contains_prefix("linears_image") {
            return Err(Error::UnsupportedModel {
                remedy: None,
                origin: weights.origin().to_owned(),
                found: "GLIGEN adapters for texts and images".into(),
                supported: "GLIGEN adapters for text boxes, such as masterful/gligen-1-4-generation-text-box",
            });
        }
        let layer = |index: usize, from, to| linear(&weights.pp(format!("linears.{index}")), from, to);
        Ok(Self {
            id: next_layer_id(),
            linears: [
                layer(0, width + POSITION_WIDTH, HIDDEN_WIDTH)?,
                layer(2, HIDDEN_WIDTH, HIDDEN_WIDTH)?,
                layer(4, HIDDEN_WIDTH, width)?,
            ],
            null_phrase: weights.get("null_positive_feature", &[width])?.to_dtype(DType::F32)?,
            null_position: weights.get("null_position_feature", &[POSITION_WIDTH])?.to_dtype(DType::F32)?,
        })
    }

    /// (B, N, D), computed once for a grounding.
    pub(super) fn tokens(&self, grounding: &Grounding) -> sinopia_nn::Result<Tensor> {
        grounding.tokens.get(self.id, || {
            let mask = grounding.mask.unsqueeze(2)?; // (B, N, 1)
            let waves = waves(&grounding.boxes)?; // (B, N, 64)
            let phrases = or_null(&grounding.phrases, &mask, &self.null_phrase)?;
            let positions = or_null(&waves, &mask, &self.null_position)?;
            let [first, second, third] = &self.linears;
            let hidden = activation::silu(&first.forward(&Tensor::cat(&[&phrases, &positions], 2)?)?)?;
            third.forward(&activation::silu(&second.forward(&hidden)?)?)
        })
    }
}

/// `m·x + (1 − m)·null`.
fn or_null(x: &Tensor, mask: &Tensor, null: &Tensor) -> sinopia_nn::Result<Tensor> {
    Ok((x.broadcast_mul(mask)? + mask.affine(-1.0, 1.0)?.broadcast_mul(&null.reshape((1, 1, ()))?)?)?)
}

/// The box (…, 4) in waves (…, 64): `sin(f·x0), sin(f·y0), sin(f·x1), sin(f·y1), cos(f·x0), …` for each frequency f = 100^(k/8), k = 0..8.
///
/// No factor of π, and frequencies outermost: other orders load and run too, and only ground worse.
///
/// # Source
/// gligen/GLIGEN@f9dccb9:ldm/modules/diffusionmodules/util.py.
fn waves(boxes: &Tensor) -> sinopia_nn::Result<Tensor> {
    let (b, n, _) = boxes.dims3()?;
    let corners = boxes.flatten_all()?.to_vec1::<f32>()?;
    let mut waves = Vec::with_capacity(b * n * POSITION_WIDTH);
    for corners in corners.chunks_exact(4) {
        for k in 0..FREQUENCIES {
            let frequency = MAX_FREQUENCY.powf(k as f32 / FREQUENCIES as f32);
            waves.extend(corners.iter().map(|x| (frequency * x).sin()));
            waves.extend(corners.iter().map(|x| (frequency * x).cos()));
        }
    }
    Ok(Tensor::from_vec(waves, (b, n, POSITION_WIDTH), boxes.device())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::testing::normal;

    #[test]
    fn waves_follow_the_formula_in_the_published_order() {
        let corners = [0.1_f32, 0.25, 0.6, 1.0];
        let found = waves(&Tensor::new(&[[corners]], &Device::Cpu).unwrap()).unwrap();
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(found.len(), 64);
        for (k, frequency) in [(0, 1.0), (1, 1.7783), (4, 10.0), (7, 56.234)] {
            for (c, corner) in corners.iter().enumerate() {
                let phase = frequency * f64::from(*corner);
                let close = |index: usize, expected: f64| (f64::from(found[index]) - expected).abs() < 1e-3;
                assert!(close(8 * k + c, phase.sin()) && close(8 * k + 4 + c, phase.cos()), "{k} {c}");
            }
        }
    }

    #[test]
    fn unused_slots_are_filled_up_and_empty() {
        let grounding = Grounding::of_boxes(&[[0.0, 0.1, 0.2, 0.3]], &normal(1, (1, 6)).unwrap()).unwrap();
        assert_eq!((grounding.batch_size(), grounding.width()), (1, 6));
        assert_eq!(grounding.boxes.dims(), [1, 30, 4]);
        let mask = grounding.mask.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((mask[0], mask[1..].iter().sum::<f32>()), (1.0, 0.0));
        let both = grounding.with_unconditional().unwrap();
        assert_eq!(both.mask.sum(1).unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0]);
        assert_eq!(both.last().unwrap().mask.sum(1).unwrap().to_vec1::<f32>().unwrap(), [1.0]);
        let none = Grounding::of_boxes(&[], &Tensor::zeros((0, 6), DType::F32, &Device::Cpu).unwrap()).unwrap();
        assert_eq!(none.phrases.dims(), [1, 30, 6]);
    }

    #[test]
    fn what_is_in_an_empty_slot_does_not_matter() {
        let net = PositionNet::load(&Weights::random(1), 6).unwrap();
        let tokens = |seed: u64| {
            let (boxes, phrases) = (normal(seed, (1, 30, 4)).unwrap(), normal(seed + 1, (1, 30, 6)).unwrap());
            let grounding = Grounding::new(&boxes, &phrases, &Tensor::ones((1, 30), DType::F32, &Device::Cpu).unwrap());
            let tokens = net.tokens(&grounding.unwrap().emptied().unwrap()).unwrap();
            tokens.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(tokens(3), tokens(7));
        assert_eq!(tokens(3)[..6], tokens(3)[6..12], "all empty slots are alike");
    }

    #[test]
    fn slots_that_do_not_fit_are_refused() {
        let phrases = |n: usize| normal(1, (n, 6)).unwrap();
        let message = Grounding::of_boxes(&[[0.0; 4]; 31], &phrases(31)).unwrap_err().to_string();
        assert!(message.contains("at most 30") && message.contains("found 31"), "{message}");
        assert!(Grounding::of_boxes(&[[0.0; 4]; 2], &phrases(3)).is_err());
        let (boxes, mask) = (normal(1, (1, 2, 4)).unwrap(), normal(1, (1, 3)).unwrap());
        let message = Grounding::new(&boxes, &normal(1, (1, 2, 6)).unwrap(), &mask).unwrap_err().to_string();
        assert!(message.contains("[1, 2, 4]") && message.contains("[1, 3]"), "{message}");
    }
}
