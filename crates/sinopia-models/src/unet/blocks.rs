//! Which units a UNet has, in which order and under which names: down the levels, through the middle, up again.

use super::AttnKey;
use super::config::{Level, UNetConfig};
use super::transformer::SpatialTransformer;
use super::transformer_parts::TransformerOptions;
use super::unit::{Unit, UnitKind};
use crate::layers::{conv3x3, group_norm};
use crate::resnet::{Downsample, ResnetBlock, ResnetOptions, Upsample};
use crate::{Result, Weights};

/// All units of the network that `config` describes, with grounding adapters in its transformers if it `is_gated`.
pub(super) fn load(config: &UNetConfig, weights: &Weights, is_gated: bool) -> Result<Vec<Unit>> {
    let levels = config.levels()?;
    let mut builder = Builder { is_gated, ..Builder::new(config, weights)? };
    builder.conv_in()?;
    for (block, level) in levels.iter().enumerate() {
        builder.down_block(block, level, block + 1 == levels.len())?;
    }
    builder.mid_block(&levels[levels.len() - 1])?;
    for (block, level) in levels.iter().rev().enumerate() {
        builder.up_block(block, level, block + 1 == levels.len())?;
    }
    builder.out()?;
    Ok(builder.units)
}

/// The units so far, and the channels at their end and on the stack of skip connections.
struct Builder<'a> {
    config: &'a UNetConfig,
    weights: &'a Weights,
    units: Vec<Unit>,
    channels: usize,
    skips: Vec<usize>,
    num_groups: usize,
    text_width: usize,
    is_gated: bool,
}

impl<'a> Builder<'a> {
    fn new(config: &'a UNetConfig, weights: &'a Weights) -> Result<Self> {
        Ok(Self {
            config,
            weights,
            units: Vec::new(),
            channels: config.in_channels,
            skips: Vec::new(),
            num_groups: config.num_groups()?,
            text_width: config.text_width()?,
            is_gated: false,
        })
    }

    fn conv_in(&mut self) -> Result<()> {
        let channels = self.config.block_out_channels[0];
        let conv = conv3x3(&self.weights.pp("conv_in"), self.channels, channels)?;
        self.push(UnitKind::ConvIn(conv));
        self.channels = channels;
        self.keep_skip();
        Ok(())
    }

    /// Residual blocks, each with attention behind it where the level has it; then half the grid.
    fn down_block(&mut self, block: usize, level: &Level, is_last: bool) -> Result<()> {
        let prefix = format!("down_blocks.{block}");
        for layer in 0..level.num_resnets {
            self.resnet(&format!("{prefix}.resnets.{layer}"), level.channels)?;
            if level.down_attn {
                self.transformer(&format!("{prefix}.attentions.{layer}"), AttnKey::down(block, layer), level)?;
            }
            self.keep_skip();
        }
        if !is_last {
            let weights = self.weights.pp(format!("{prefix}.downsamplers.0")).in_8_bits();
            let downsample = Downsample::load(&weights, self.channels)?;
            self.push(UnitKind::Downsample(downsample));
            self.keep_skip();
        }
        Ok(())
    }

    fn mid_block(&mut self, level: &Level) -> Result<()> {
        self.resnet("mid_block.resnets.0", level.channels)?;
        self.transformer("mid_block.attentions.0", AttnKey::mid(0), level)?;
        self.resnet("mid_block.resnets.1", level.channels)
    }

    /// One residual block more than on the way down, each joined with a skip connection; then twice the grid.
    fn up_block(&mut self, block: usize, level: &Level, is_last: bool) -> Result<()> {
        let prefix = format!("up_blocks.{block}");
        for layer in 0..=level.num_resnets {
            self.resnet_with_skip(&format!("{prefix}.resnets.{layer}"), level.channels)?;
            if level.up_attn {
                self.transformer(&format!("{prefix}.attentions.{layer}"), AttnKey::up(block, layer), level)?;
            }
        }
        if !is_last {
            let weights = self.weights.pp(format!("{prefix}.upsamplers.0")).in_8_bits();
            let upsample = Upsample::load(&weights, self.channels)?;
            self.push(UnitKind::Upsample(upsample));
        }
        Ok(())
    }

    fn out(&mut self) -> Result<()> {
        let norm = group_norm(&self.weights.pp("conv_norm_out"), self.channels, self.num_groups, self.config.norm_eps)?;
        let conv = conv3x3(&self.weights.pp("conv_out"), self.channels, self.config.out_channels)?;
        self.push(UnitKind::Out { norm, conv });
        Ok(())
    }

    fn resnet(&mut self, name: &str, out_channels: usize) -> Result<()> {
        let options = ResnetOptions {
            in_channels: self.channels,
            out_channels,
            num_groups: self.num_groups,
            eps: self.config.norm_eps,
            time_width: Some(self.config.time_width()),
        };
        let resnet = ResnetBlock::load(&self.weights.pp(name).in_8_bits(), options)?;
        self.push(UnitKind::Resnet(Box::new(resnet)));
        self.channels = out_channels;
        Ok(())
    }

    fn resnet_with_skip(&mut self, name: &str, out_channels: usize) -> Result<()> {
        // Up blocks take exactly what the down blocks left: both have layers + 1 at each level.
        self.channels += self.skips.pop().unwrap_or(0);
        self.resnet(name, out_channels)?;
        if let Some(unit) = self.units.last_mut() {
            unit.takes_skip = true;
        }
        Ok(())
    }

    fn transformer(&mut self, name: &str, key: AttnKey, level: &Level) -> Result<()> {
        let options = TransformerOptions {
            channels: level.channels,
            heads: level.heads,
            num_layers: level.transformer_layers,
            num_groups: self.num_groups,
            text_width: self.text_width,
            is_gated: self.is_gated,
        };
        let transformer = SpatialTransformer::load(&self.weights.pp(name).in_8_bits(), key, options)?;
        self.push(UnitKind::Transformer(Box::new(transformer)));
        Ok(())
    }

    fn push(&mut self, kind: UnitKind) {
        self.units.push(Unit { kind, takes_skip: false, keeps_skip: false });
    }

    /// Puts the last unit's output on the stack of skip connections.
    fn keep_skip(&mut self) {
        self.skips.push(self.channels);
        if let Some(unit) = self.units.last_mut() {
            unit.keeps_skip = true;
        }
    }
}
