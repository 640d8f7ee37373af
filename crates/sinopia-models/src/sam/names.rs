//! From the names of Meta's own files to those of transformers.
//!
//! Source: facebookresearch/segment-anything@dca509f and the conversion in huggingface/transformers.

use crate::Weights;
use crate::weights::Transform;

/// The tensors under transformers' names, whichever of the two they have.
pub(super) fn in_transformers_names(weights: &Weights) -> Weights {
    if !weights.contains_prefix("image_encoder") {
        return weights.clone();
    }
    weights.renamed(|name, _| rename(name).map(|name| (name, Transform::AsIs)).into_iter().collect())
}

/// Parts of names that differ, longest first where one begins another. A part counts only where it is between dots.
const PARTS: [(&str, &str); 23] = [
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
    ("image_encoder.neck.0", "vision_encoder.neck.conv1"),
    ("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    ("image_encoder.neck.2", "vision_encoder.neck.conv2"),
    ("image_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
    ("image_encoder.blocks", "vision_encoder.layers"),
    ("image_encoder", "vision_encoder"),
    ("prompt_encoder.point_embeddings", "prompt_encoder.point_embed"),
    ("prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"),
    ("prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"),
    ("prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"),
    ("prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"),
    ("prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"),
    ("mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"),
    ("mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
    ("mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"),
    ("norm_final_attn", "layer_norm_final_attn"),
    ("norm1", "layer_norm1"),
    ("norm2", "layer_norm2"),
    ("norm3", "layer_norm3"),
    ("norm4", "layer_norm4"),
    ("mask_decoder", "mask_decoder"),
];
/// Small networks of three linear layers or more: their first and last have names of their own.
const MLPS: [&str; 2] = ["output_hypernetworks_mlps", "iou_prediction_head"];
/// Linear layers of every published such network.
const MLP_DEPTH: usize = 3;

fn rename(name: &str) -> Option<String> {
    let mut name = format!(".{name}.");
    for (from, to) in PARTS {
        name = name.replace(&format!(".{from}."), &format!(".{to}."));
    }
    if MLPS.iter().any(|mlp| name.contains(&format!(".{mlp}."))) {
        for index in 0..MLP_DEPTH {
            let to = match index {
                0 => "proj_in".to_owned(),
                _ if index + 1 == MLP_DEPTH => "proj_out".to_owned(),
                _ => format!("layers.{}", index - 1),
            };
            let from = format!(".layers.{index}.");
            if name.contains(&from) {
                name = name.replace(&from, &format!(".{to}."));
                break;
            }
        }
    }
    Some(name.trim_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_name_is_known() {
        for (original, expected) in [
            ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
            ("image_encoder.patch_embed.proj.bias", "vision_encoder.patch_embed.projection.bias"),
            ("image_encoder.blocks.11.norm1.weight", "vision_encoder.layers.11.layer_norm1.weight"),
            ("image_encoder.blocks.3.attn.rel_pos_w", "vision_encoder.layers.3.attn.rel_pos_w"),
            ("image_encoder.blocks.3.attn.proj.weight", "vision_encoder.layers.3.attn.proj.weight"),
            ("image_encoder.neck.3.bias", "vision_encoder.neck.layer_norm2.bias"),
            (
                "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
                "shared_image_embedding.positional_embedding",
            ),
            ("prompt_encoder.point_embeddings.2.weight", "prompt_encoder.point_embed.2.weight"),
            ("prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
            ("prompt_encoder.mask_downscaling.6.weight", "prompt_encoder.mask_embed.conv3.weight"),
            ("mask_decoder.iou_token.weight", "mask_decoder.iou_token.weight"),
            ("mask_decoder.transformer.layers.1.norm4.bias", "mask_decoder.transformer.layers.1.layer_norm4.bias"),
            ("mask_decoder.transformer.layers.1.mlp.lin2.bias", "mask_decoder.transformer.layers.1.mlp.lin2.bias"),
            (
                "mask_decoder.transformer.norm_final_attn.weight",
                "mask_decoder.transformer.layer_norm_final_attn.weight",
            ),
            ("mask_decoder.output_upscaling.1.weight", "mask_decoder.upscale_layer_norm.weight"),
            (
                "mask_decoder.output_hypernetworks_mlps.3.layers.0.weight",
                "mask_decoder.output_hypernetworks_mlps.3.proj_in.weight",
            ),
            (
                "mask_decoder.output_hypernetworks_mlps.3.layers.1.weight",
                "mask_decoder.output_hypernetworks_mlps.3.layers.0.weight",
            ),
            ("mask_decoder.iou_prediction_head.layers.2.bias", "mask_decoder.iou_prediction_head.proj_out.bias"),
        ] {
            assert_eq!(rename(original).as_deref(), Some(expected));
        }
    }
}
