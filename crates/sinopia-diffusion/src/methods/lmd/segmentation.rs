//! What makes the segmentation masks of objects that were painted alone.

use std::sync::Arc;

use super::{Lmd, LmdOptions};
use crate::masks::{AttentionBoxMask, MaskSource, SamMask, SamOptions};
use crate::pipeline::Pipeline;

impl Lmd {
    /// The source given, else the pipeline's SAM, else attention and box.
    pub(super) fn mask_source(&self, pipeline: &Pipeline) -> Arc<dyn MaskSource> {
        if let Some(masks) = &self.masks {
            return masks.clone();
        }
        let attention = self.options.attention_mask();
        match pipeline.sam() {
            Some(sam) => Arc::new(SamMask::new(sam.clone(), self.options.sam(), attention)),
            None => Arc::new(attention),
        }
    }
}

impl LmdOptions {
    fn attention_mask(&self) -> AttentionBoxMask {
        AttentionBoxMask {
            gaussian_sigma: self.gaussian_sigma,
            threshold: self.mask_threshold,
            ..AttentionBoxMask::default()
        }
    }

    fn sam(&self) -> SamOptions {
        SamOptions {
            prompt: self.mask_prompt,
            is_point_centered: self.mask_point_centered,
            min_confidence: self.mask_min_confidence,
            min_coarse_iou: self.mask_min_coarse_iou,
            refuses_doubtful: self.mask_refuse_doubtful,
            ..SamOptions::default()
        }
    }
}
