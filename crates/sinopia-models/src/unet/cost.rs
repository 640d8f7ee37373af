//! How much work a call of a UNet is, in multiply-accumulates, from the shapes of its units alone; in types that serve every denoiser.
//!
//! Counted are the products of matrices and of convolutions, which are nearly all of the time; norms, activations and softmaxes are not. A product
//! counts as its formula has it, though a convolution may be computed with fewer multiplications. The walk is that of [`blocks`](super::blocks), without
//! weights; a test holds the two together.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

use serde::Serialize;
use sinopia_layout::Grid;

use super::conditions::Windows;
use super::config::Level;
use super::gradient::TRACE_BYTES;
use super::grounding::{HIDDEN_WIDTH, POSITION_WIDTH};
use super::{AttnKey, Grounding, GroundingWiring, Parting, UNetConfig};
use crate::Result;

/// A part of the network that work is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkPart {
    /// The first convolution and the embedding of the timestep.
    In,
    /// A down block, from the finest grid.
    Down(usize),
    /// The middle block.
    Mid,
    /// An up block, from the coarsest grid.
    Up(usize),
    /// A block of a diffusion transformer.
    Block(usize),
    /// The last convolution.
    Out,
}

impl fmt::Display for NetworkPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In => f.write_str("in"),
            Self::Down(block) => write!(f, "down.{block}"),
            Self::Mid => f.write_str("mid"),
            Self::Up(block) => write!(f, "up.{block}"),
            Self::Block(block) => write!(f, "block.{block}"),
            Self::Out => f.write_str("out"),
        }
    }
}

impl Serialize for NetworkPart {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Multiply-accumulates by part of the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct NetworkCost(BTreeMap<NetworkPart, u64>);

impl NetworkCost {
    /// Of one part.
    pub fn of(&self, part: NetworkPart) -> u64 {
        self.0.get(&part).copied().unwrap_or(0)
    }

    /// Of all parts.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The parts that there is work in, in the order of a pass.
    pub fn parts(&self) -> impl Iterator<Item = (NetworkPart, u64)> + '_ {
        self.0.iter().map(|(part, work)| (*part, *work))
    }

    /// Adds work to a part.
    pub fn add(&mut self, part: NetworkPart, work: u64) {
        *self.0.entry(part).or_default() += work;
    }
}

impl AddAssign<&NetworkCost> for NetworkCost {
    fn add_assign(&mut self, other: &NetworkCost) {
        other.parts().for_each(|(part, work)| self.add(part, work));
    }
}

/// The shapes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallShape {
    /// Pictures in the batch.
    pub batch: usize,
    /// The latents' grid.
    pub latents: Grid,
    /// Tokens of the text.
    pub num_tokens: usize,
    /// Whether the text's keys and values have to be computed; from the second call with a text on they are at hand.
    pub projects_text: bool,
    /// What the grounding adapters see, while they are on.
    pub grounding: Option<GroundingShape>,
    /// The key at which the pass ends, once its probabilities are known.
    pub last_key: Option<AttnKey>,
    /// Whether deep features are at hand, so that only the first convolution and the last layer are run.
    pub is_shallow: bool,
    /// Side of the windows that self-attention on the latents' grid merges keys and values of.
    pub merge_tokens: usize,
    /// Which part of the pass is run.
    pub part: CallPart,
}

/// A part of a pass: calls may have a [start](super::SharedStart) in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CallPart {
    /// All of it.
    #[default]
    Whole,
    /// What calls that differ in something have in common.
    Start(Parting),
    /// What comes after that.
    After(Parting),
}

impl CallShape {
    /// A whole pass over one picture with a new text.
    pub fn new(latents: Grid, num_tokens: usize) -> Self {
        Self {
            batch: 1,
            latents,
            num_tokens,
            projects_text: true,
            grounding: None,
            last_key: None,
            is_shallow: false,
            merge_tokens: 1,
            part: CallPart::Whole,
        }
    }

    /// The same call with all that is kept from call to call at hand.
    fn again(&self) -> Self {
        let grounding = self.grounding.map(|grounding| GroundingShape { projects_slots: false, ..grounding });
        Self { projects_text: false, grounding, ..*self }
    }
}

/// The shape of what grounding adapters see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroundingShape {
    /// Slots of each picture, empty ones too.
    pub num_slots: usize,
    /// Whether the slots' tokens, and each layer's keys and values of them, have to be computed; from the second call on they are at hand.
    pub projects_slots: bool,
    /// How the adapters are wired: in parallel, a pass that ends at a layer's probabilities leaves its adapter out.
    pub wiring: GroundingWiring,
}

impl From<&Grounding> for GroundingShape {
    fn from(grounding: &Grounding) -> Self {
        Self { num_slots: grounding.num_slots(), projects_slots: !grounding.is_projected(), wiring: grounding.wiring() }
    }
}

impl UNetConfig {
    /// The work of a forward pass.
    ///
    /// # Errors
    /// If the config is none that a network can be built from.
    pub fn forward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        self.cost(shape, |unit| unit.forward(shape))
    }

    /// The work of bringing a gradient back from the maps up to `last_key` to the latents: backward through each unit, and before that once more
    /// forward where there was no room to keep its trace.
    ///
    /// Text, boxes and timestep are constants, so nothing is brought back to them, and no weight has a gradient.
    ///
    /// # Errors
    /// If the config is none that a network can be built from.
    pub fn backward_cost(&self, shape: &CallShape) -> Result<NetworkCost> {
        self.backward_cost_with(shape, TRACE_BYTES)
    }

    /// [`Self::backward_cost`] with room for `room` bytes of traces, which the first units that fit take.
    fn backward_cost_with(&self, shape: &CallShape, room: usize) -> Result<NetworkCost> {
        let again = shape.again();
        let mut room = room as u64;
        self.cost(shape, |unit| {
            let bytes = unit.trace_bytes(shape);
            let is_traced = bytes <= room;
            room -= if is_traced { bytes } else { 0 };
            unit.backward(shape) + if is_traced { 0 } else { unit.forward(&again) }
        })
    }

    fn cost(&self, shape: &CallShape, mut work: impl FnMut(&UnitShape) -> u64) -> Result<NetworkCost> {
        let mut cost = NetworkCost::default();
        let units = unit_shapes(self, shape.latents)?;
        let last_layer = units.iter().rposition(|unit| matches!(unit.kind, ShapeKind::Resnet { .. })).unwrap_or(0);
        let meeting = |parting| units.iter().position(|unit| unit.parts(parting)).unwrap_or(units.len());
        for (index, unit) in units.iter().enumerate() {
            if shape.is_shallow && (1..last_layer).contains(&index) {
                continue;
            }
            let work = match shape.part {
                CallPart::Whole => work(unit),
                CallPart::Start(parting) => match index.cmp(&meeting(parting)) {
                    Ordering::Less => unit.without_boxes(shape),
                    Ordering::Equal => unit.start(shape, parting),
                    Ordering::Greater => break,
                },
                CallPart::After(parting) => match index.cmp(&meeting(parting)) {
                    Ordering::Less => work(unit) - unit.without_boxes(shape),
                    Ordering::Equal => work(unit) - unit.start(shape, parting),
                    Ordering::Greater => work(unit),
                },
            };
            cost.add(unit.part, work);
            if unit.ends_at(shape.last_key) {
                break;
            }
        }
        Ok(cost)
    }
}

/// A unit's sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnitShape {
    pub(super) part: NetworkPart,
    pub(super) kind: ShapeKind,
    /// Cells of the grid on which its products are taken.
    cells: u64,
    /// Numbers that it is given of one picture.
    input: u64,
    /// Width of the time embedding.
    time_width: u64,
    /// Width of the text embeddings.
    text_width: u64,
    /// Width of what is added to the time embedding, which then differs from picture to picture; 0 if nothing is.
    added_width: u64,
}

/// What a unit computes, with its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShapeKind {
    ConvIn { from: usize, to: usize },
    Resnet { from: usize, to: usize },
    Transformer { channels: usize, key: AttnKey, num_layers: usize },
    Downsample { channels: usize },
    Upsample { channels: usize },
    Out { from: usize, to: usize },
}

impl ShapeKind {
    /// Channels that it is given, those of a skip connection included.
    fn input_channels(&self) -> usize {
        match *self {
            Self::ConvIn { from, .. } | Self::Resnet { from, .. } | Self::Out { from, .. } => from,
            Self::Transformer { channels, .. } | Self::Downsample { channels } | Self::Upsample { channels } => {
                channels
            }
        }
    }
}

impl UnitShape {
    /// Whether a pass that stops at `key` stops in this unit.
    fn ends_at(&self, last_key: Option<AttnKey>) -> bool {
        match (self.kind, last_key) {
            (ShapeKind::Transformer { key, num_layers, .. }, Some(last)) => {
                (0..num_layers).any(|layer| key.with_layer(layer) == last)
            }
            _ => false,
        }
    }

    /// Whether calls that differ in something part in it.
    fn parts(&self, parting: Parting) -> bool {
        match (self.kind, parting) {
            (ShapeKind::Transformer { .. }, Parting::Text) => true,
            (ShapeKind::Transformer { key, .. }, Parting::Eraser) => matches!(key, AttnKey::Up { .. }),
            _ => false,
        }
    }

    /// The way forward without the boxes' tokens: of a unit before calls part, what they have in common.
    fn without_boxes(&self, shape: &CallShape) -> u64 {
        self.forward(&CallShape { grounding: None, ..*shape })
    }

    /// What calls have in common of the unit that they part in.
    fn start(&self, shape: &CallShape, parting: Parting) -> u64 {
        match (self.kind, parting) {
            (ShapeKind::Transformer { channels, .. }, Parting::Text) => {
                let c = channels as u64;
                let projections = 5 * self.cells * c * c; // in, queries, keys, values, out
                shape.batch as u64 * (projections + self.self_attention_products(c) - self.merged_away(c, shape))
            }
            _ => 0,
        }
    }

    /// Multiply-accumulates of the way forward.
    fn forward(&self, shape: &CallShape) -> u64 {
        let batch = shape.batch as u64;
        match self.kind {
            ShapeKind::ConvIn { from, to } => {
                let tokens = shape.grounding.map_or(0, |grounding| self.grounding_tokens(grounding));
                let added =
                    if self.added_width > 0 { self.time_width * (self.added_width + self.time_width) } else { 0 };
                batch * (self.conv3x3(from, to) + tokens + added) + self.time_width * (to as u64 + self.time_width)
            }
            ShapeKind::Resnet { from, to } => {
                let times = if self.added_width > 0 { batch } else { 1 };
                batch * self.resnet(from, to) + times * self.time_width * to as u64
            }
            ShapeKind::Transformer { channels, key, num_layers } => {
                let c = channels as u64;
                let text = if shape.projects_text { shape.num_tokens as u64 * self.text_width * c } else { 0 };
                let mut work = batch * self.cells * c * c; // projection in
                for layer in 0..num_layers {
                    let (to_scores, after) = self.layer(c, shape.num_tokens as u64);
                    let ends_here = shape.last_key == Some(key.with_layer(layer));
                    let fuser = self.grounding_of_layer(shape, ends_here).map_or(0, |slots| self.fuser(c, slots));
                    work += batch * (to_scores - self.merged_away(c, shape) + text + fuser);
                    if ends_here {
                        return work;
                    }
                    work += batch * (after + text);
                }
                work + batch * self.cells * c * c // projection out
            }
            ShapeKind::Downsample { channels } | ShapeKind::Upsample { channels } => {
                batch * self.conv3x3(channels, channels)
            }
            ShapeKind::Out { from, to } => batch * self.conv3x3(from, to),
        }
    }

    /// Multiply-accumulates of the gradient's way back through it. A product with constant weights costs what it cost forward; of the products in
    /// self-attention, an adapter's too, both factors have a gradient, which is two products for one.
    fn backward(&self, shape: &CallShape) -> u64 {
        let batch = shape.batch as u64;
        let forward = self.forward(&CallShape { batch: 1, ..shape.again() });
        let extra = match self.kind {
            ShapeKind::ConvIn { from, to } => return batch * self.conv3x3(from, to),
            ShapeKind::Resnet { from, to } => return batch * self.resnet(from, to),
            ShapeKind::Transformer { channels, key, num_layers } => {
                let ends_in = (0..num_layers).position(|layer| shape.last_key == Some(key.with_layer(layer)));
                let c = channels as u64;
                let layers = (0..ends_in.map_or(num_layers, |layer| layer + 1)).map(|layer| {
                    let grounding = self.grounding_of_layer(shape, ends_in == Some(layer));
                    let pixels = self.self_attention_products(c) - self.products_merged_away(c, shape);
                    pixels + grounding.map_or(0, |slots| self.fuser_products(c, slots))
                });
                layers.sum()
            }
            _ => 0,
        };
        batch * (forward + extra)
    }

    fn conv3x3(&self, from: usize, to: usize) -> u64 {
        9 * (from * to) as u64 * self.cells
    }

    fn resnet(&self, from: usize, to: usize) -> u64 {
        let shortcut = if from == to { 0 } else { (from * to) as u64 * self.cells };
        self.conv3x3(from, to) + self.conv3x3(to, to) + shortcut
    }

    /// Scores and weighted values.
    fn self_attention_products(&self, c: u64) -> u64 {
        2 * self.cells * self.cells * c
    }

    /// What merging keys and values spares of a layer's self-attention.
    fn merged_away(&self, c: u64, shape: &CallShape) -> u64 {
        2 * self.cells_merged_away(shape) * c * c + self.products_merged_away(c, shape)
    }

    /// Of that, scores and weighted values.
    fn products_merged_away(&self, c: u64, shape: &CallShape) -> u64 {
        2 * self.cells * self.cells_merged_away(shape) * c
    }

    /// Keys less than there are pixels.
    fn cells_merged_away(&self, shape: &CallShape) -> u64 {
        let latents = shape.latents;
        if self.cells != latents.cells() as u64 || Windows::new(latents, shape.merge_tokens).is_none() {
            return 0;
        }
        self.cells - self.cells / (shape.merge_tokens * shape.merge_tokens) as u64
    }

    /// What the adapter of a layer sees, if it has work.
    fn grounding_of_layer(&self, shape: &CallShape, ends_here: bool) -> Option<GroundingShape> {
        shape.grounding.filter(|grounding| !(ends_here && grounding.wiring == GroundingWiring::Parallel))
    }

    /// A layer's adapter: only pixels ask, of pixels and slots.
    fn fuser(&self, c: u64, grounding: GroundingShape) -> u64 {
        let slots = if grounding.projects_slots { grounding.num_slots as u64 } else { 0 };
        let of_slots = slots * c * (self.text_width + 2 * c); // to the channels, then keys and values
        let projection = self.cells * c * c;
        4 * projection + self.fuser_products(c, grounding) + feed_forward(projection) + of_slots
    }

    /// Scores and weighted values of an adapter.
    fn fuser_products(&self, c: u64, grounding: GroundingShape) -> u64 {
        2 * self.cells * (self.cells + grounding.num_slots as u64) * c
    }

    /// The position net, if its tokens are not at hand.
    fn grounding_tokens(&self, grounding: GroundingShape) -> u64 {
        let slots = if grounding.projects_slots { grounding.num_slots as u64 } else { 0 };
        let (hidden, waves) = (HIDDEN_WIDTH as u64, POSITION_WIDTH as u64);
        slots * hidden * ((self.text_width + waves) + hidden + self.text_width)
    }

    /// Roughly the bytes that a trace of it keeps, as they are estimated before it is run.
    fn trace_bytes(&self, shape: &CallShape) -> u64 {
        let input = shape.batch * self.input as usize;
        (size_of::<f32>() * (input + self.kept_between(input))) as u64
    }

    /// As [`Unit::kept_between`](super::unit::Unit::kept_between).
    pub(super) fn kept_between(&self, input: usize) -> usize {
        match self.kind {
            ShapeKind::Transformer { num_layers, .. } => (6 + 24 * num_layers) * input,
            ShapeKind::Resnet { .. } => 5 * input,
            ShapeKind::Upsample { .. } => 8 * input,
            ShapeKind::ConvIn { .. } | ShapeKind::Downsample { .. } | ShapeKind::Out { .. } => 2 * input,
        }
    }

    /// One transformer layer, up to the scores of its cross-attention and from there on, without the text's projections.
    fn layer(&self, c: u64, num_tokens: u64) -> (u64, u64) {
        let projection = self.cells * c * c;
        let scores = self.cells * num_tokens * c;
        let to_scores = 4 * projection + self.self_attention_products(c) + projection + scores;
        (to_scores, scores + projection + feed_forward(projection))
    }
}

/// Values and gates, then back, in terms of one projection of the channels.
fn feed_forward(projection: u64) -> u64 {
    8 * projection + 4 * projection
}

/// All units that [`blocks::load`](super::blocks::load) builds of a config, in the order of the pass.
pub(super) fn unit_shapes(config: &UNetConfig, latents: Grid) -> Result<Vec<UnitShape>> {
    let levels = config.levels()?;
    let mut list = UnitList {
        latents,
        time_width: config.time_width() as u64,
        text_width: config.text_width()? as u64,
        added_width: config.added_sizes()?.map_or(0, |sizes| sizes.width() as u64),
        channels: config.in_channels,
        skips: Vec::new(),
        units: Vec::new(),
    };
    let last = levels.len() - 1;
    list.conv_in(config.block_out_channels[0]);
    for (index, level) in levels.iter().enumerate() {
        list.down(index, level, index == last);
    }
    list.mid(last, &levels[last]);
    for (block, index) in (0..=last).rev().enumerate() {
        list.up(block, index, &levels[index]);
    }
    list.push(NetworkPart::Out, 0, ShapeKind::Out { from: list.channels, to: config.out_channels });
    Ok(list.units)
}

/// The units so far, and what the next one is given.
struct UnitList {
    latents: Grid,
    time_width: u64,
    text_width: u64,
    added_width: u64,
    channels: usize,
    /// Channels of the skip connections that nothing has taken yet.
    skips: Vec<usize>,
    units: Vec<UnitShape>,
}

impl UnitList {
    /// Adds a unit whose result is on the grid of `level`.
    fn push(&mut self, part: NetworkPart, level: usize, kind: ShapeKind) {
        let from = match kind {
            ShapeKind::Downsample { .. } => level - 1,
            ShapeKind::Upsample { .. } => level + 1,
            _ => level,
        };
        let input = self.cells(from) * kind.input_channels() as u64;
        let (cells, time_width, text_width) = (self.cells(level), self.time_width, self.text_width);
        let added_width = self.added_width;
        self.units.push(UnitShape { part, kind, cells, input, time_width, text_width, added_width });
    }

    /// Of the grid of a level.
    fn cells(&self, level: usize) -> u64 {
        let halved = |side: usize| (0..level).fold(side, |side, _| side.div_ceil(2)) as u64;
        halved(self.latents.height) * halved(self.latents.width)
    }

    fn resnet(&mut self, part: NetworkPart, level: usize, from: usize, to: usize) {
        self.push(part, level, ShapeKind::Resnet { from, to });
        self.channels = to;
    }

    fn transformer(&mut self, part: NetworkPart, index: usize, level: &Level, key: AttnKey) {
        let (channels, num_layers) = (level.channels, level.transformer_layers);
        self.push(part, index, ShapeKind::Transformer { channels, key, num_layers });
    }

    fn conv_in(&mut self, to: usize) {
        self.push(NetworkPart::In, 0, ShapeKind::ConvIn { from: self.channels, to });
        self.channels = to;
        self.skips.push(to);
    }

    fn down(&mut self, index: usize, level: &Level, is_last: bool) {
        let part = NetworkPart::Down(index);
        for layer in 0..level.num_resnets {
            self.resnet(part, index, self.channels, level.channels);
            if level.down_attn {
                self.transformer(part, index, level, AttnKey::down(index, layer));
            }
            self.skips.push(self.channels);
        }
        if !is_last {
            self.push(part, index + 1, ShapeKind::Downsample { channels: self.channels });
            self.skips.push(self.channels);
        }
    }

    fn mid(&mut self, index: usize, level: &Level) {
        self.resnet(NetworkPart::Mid, index, self.channels, level.channels);
        self.transformer(NetworkPart::Mid, index, level, AttnKey::mid(0));
        self.resnet(NetworkPart::Mid, index, self.channels, level.channels);
    }

    fn up(&mut self, block: usize, index: usize, level: &Level) {
        let part = NetworkPart::Up(block);
        for layer in 0..=level.num_resnets {
            let joined = self.channels + self.skips.pop().unwrap_or(0);
            self.resnet(part, index, joined, level.channels);
            if level.up_attn {
                self.transformer(part, index, level, AttnKey::up(block, layer));
            }
        }
        if index > 0 {
            self.push(part, index - 1, ShapeKind::Upsample { channels: self.channels });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stable Diffusion 1.5's `unet/config.json`, as far as it differs from the defaults.
    fn stable_diffusion() -> UNetConfig {
        UNetConfig::from_json(r#"{"cross_attention_dim": 768, "sample_size": 64}"#).unwrap()
    }

    /// In units of 10⁹, to `digits` behind the point.
    #[track_caller]
    fn check(found: u64, expected: f64, digits: i32) {
        let giga = found as f64 / 1e9;
        assert!((giga - expected).abs() < 0.5 * 10f64.powi(-digits), "{giga} instead of {expected}");
    }

    #[test]
    fn a_pass_of_stable_diffusion_is_401_6_billion_products() {
        let cost = stable_diffusion().forward_cost(&CallShape::new(Grid::new(64, 64), 77)).unwrap();
        check(cost.total(), 401.6, 1);
        let blocks = [
            (NetworkPart::Down(0), 54.78),
            (NetworkPart::Down(1), 34.18),
            (NetworkPart::Down(2), 31.89),
            (NetworkPart::Down(3), 3.78),
            (NetworkPart::Mid, 6.05),
            (NetworkPart::Up(0), 12.90),
            (NetworkPart::Up(1), 75.77),
            (NetworkPart::Up(2), 83.41),
            (NetworkPart::Up(3), 98.78),
        ];
        for (part, expected) in blocks {
            check(cost.of(part), expected, 2);
        }
        check(cost.of(NetworkPart::In) + cost.of(NetworkPart::Out), 0.10, 2);
        assert_eq!(cost.parts().map(|(_, work)| work).sum::<u64>(), cost.total());
        let merged = stable_diffusion()
            .forward_cost(&CallShape { merge_tokens: 2, ..CallShape::new(Grid::new(64, 64), 77) })
            .unwrap();
        check(cost.total() - merged.total(), 43.4, 1);
    }

    #[test]
    fn guidance_needs_198_3_billion_of_them_and_222_2_for_the_way_back() {
        let config = stable_diffusion();
        let shape = CallShape { last_key: Some(AttnKey::up(1, 2)), ..CallShape::new(Grid::new(64, 64), 77) };
        let forward = config.forward_cost(&shape).unwrap();
        check(forward.total(), 198.3, 1);
        assert_eq!(forward.of(NetworkPart::Up(2)) + forward.of(NetworkPart::Out), 0);
        // At this size every unit is traced: the gradient's own products are all.
        check(config.backward_cost(&shape).unwrap().total(), 222.2, 1);
        // Without traces the units are run once more, with the text's keys and values at hand.
        let again = config.forward_cost(&shape.again()).unwrap().total();
        check(config.backward_cost_with(&shape, 0).unwrap().total() - again, 222.2, 1);
        // At 1024 × 1024 pixels there is room for some of them.
        let large = CallShape { latents: Grid::new(128, 128), ..shape };
        let with = |room| config.backward_cost_with(&large, room).unwrap().total();
        assert!((with(usize::MAX)..with(0)).contains(&with(TRACE_BYTES)) && with(TRACE_BYTES) > with(usize::MAX));
    }

    /// 30 slots, as in the published adapters.
    fn grounded(shape: CallShape, projects_slots: bool, wiring: GroundingWiring) -> CallShape {
        let grounding = GroundingShape { num_slots: Grounding::SLOTS, projects_slots, wiring };
        CallShape { grounding: Some(grounding), ..shape }
    }

    /// What the published adapters do beyond ours: slots ask too, at each layer with this many cells and channels.
    fn asked_by_slots(layers: &[(u64, u64, u64)]) -> u64 {
        let slots = Grounding::SLOTS as u64;
        layers.iter().map(|(n, cells, c)| n * (2 * slots * c * c + 2 * slots * (cells + slots) * c)).sum()
    }

    #[test]
    fn adapters_add_164_3_billion_products_and_the_published_ones_166_8() {
        let config = stable_diffusion();
        let shape = CallShape::new(Grid::new(64, 64), 77);
        let added = |shape: CallShape, projects: bool, wiring| {
            let grounded = config.forward_cost(&grounded(shape, projects, wiring)).unwrap().total();
            grounded - config.forward_cost(&shape).unwrap().total()
        };
        for wiring in [GroundingWiring::Sequential, GroundingWiring::Parallel] {
            check(added(shape, false, wiring), 164.3, 1);
            let layers = [(5, 4096, 320), (5, 1024, 640), (5, 256, 1280), (1, 64, 1280)];
            check(added(shape, true, wiring) + asked_by_slots(&layers), 166.8, 1);
        }
        let half = CallShape { last_key: Some(AttnKey::up(1, 2)), ..shape };
        let layers = [(2, 4096, 320), (2, 1024, 640), (5, 256, 1280), (1, 64, 1280)];
        let to_scores = added(half, true, GroundingWiring::Sequential);
        check(to_scores + asked_by_slots(&layers), 89.3, 1);
        // In parallel the last layer's adapter comes after its probabilities.
        check(to_scores - added(half, true, GroundingWiring::Parallel), 7.03, 2);
        // Constant boxes: the way back costs what the pixels' products cost, and both factors of the attention.
        let back = |shape: &CallShape| config.backward_cost(shape).unwrap().total();
        let of_gradient = back(&grounded(half, true, GroundingWiring::Sequential)) - back(&half);
        assert!(of_gradient > added(half, false, GroundingWiring::Sequential));
        assert!(of_gradient < 2 * added(half, false, GroundingWiring::Sequential));
    }

    #[test]
    fn text_is_projected_once_a_layer() {
        let config = stable_diffusion();
        let shape = CallShape::new(Grid::new(64, 64), 77);
        let known = CallShape { projects_text: false, ..shape };
        let difference = config.forward_cost(&shape).unwrap().total() - config.forward_cost(&known).unwrap().total();
        check(difference, 1.48, 2);
    }

    #[test]
    fn a_batch_is_as_much_as_its_pictures_but_for_the_timestep() {
        let config = stable_diffusion();
        let one = CallShape::new(Grid::new(64, 64), 77);
        let cost = |batch| config.forward_cost(&CallShape { batch, ..one }).unwrap().total();
        let time = 2 * cost(1) - cost(2);
        assert_eq!(cost(8), 8 * cost(1) - 7 * time);
        check(time, 0.0279, 4);
    }
}
