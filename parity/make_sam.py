"""A tiny random SAM and what transformers outlines with it: `python parity/make_sam.py` writes fixtures/models/sam and fixtures/sam/sam.safetensors.

Three layers on an 8 × 8 grid: windows of 3, whose last ones are filled up, and one layer that sees everything. `images.<i>` are bytes (H, W, 3), `pixels.2`
(3, S, S) the last one preprocessed by the Pillow processor, `embeddings.<i>` (P, h, w). The prompts of the header, in pixels of the image, have
`low_res.<n>` (3, 4h, 4w) and `scores.<n>` (3) of their three masks and `masks.<n>` (3, H, W), what of them is on the image. A prompt whose `mask` is
true is given mask 0 of the prompt before. Of prompt 0 there are also `logits.0` (H, W), those of its first mask on the image's pixels, and `one.0` (1, 4h, 4w)
and `one_score.0` (1), its mask for unambiguous prompts.

The header's `meta_names` are the names that Meta's own files have for the tensors.
"""

import json
import re

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import SamConfig, SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor

from common import MODELS, randomise, with_sorted_header, write
from make_owlvit import picture

SEED = 71
SIDE, PATCH = 64, 8
CONFIG = {
    "vision_config": {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3, "image_size": SIDE, "patch_size": PATCH, "output_channels": 16,
                      "mlp_dim": 40, "window_size": 3, "global_attn_indexes": [1], "num_pos_feats": 8},
    "prompt_encoder_config": {"hidden_size": 16, "image_size": SIDE, "patch_size": PATCH, "mask_input_channels": 8},
    "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "iou_head_hidden_dim": 24},
}
SIZES = [(48, 80), (64, 64), (80, 48)]
PROMPTS = [
    {"image": 0, "points": [[[20, 11], 1]], "box": None, "mask": False},
    {"image": 0, "points": [], "box": [8, 5, 60.5, 40], "mask": False},
    {"image": 1, "points": [[[33.5, 40], 1], [[5, 60], 0]], "box": [0, 0, 64, 50], "mask": False},
    {"image": 2, "points": [[[1, 79], 1], [[30, 30], 1], [[20, 70.25], 0]], "box": None, "mask": False},
    {"image": 2, "points": [], "box": [10, 20, 39, 80], "mask": True},
]


def model_folder():
    config = SamConfig(**CONFIG)
    gains = {"rel_pos": 3.0, "qkv": 1.7, "q_proj": 1.7, "k_proj": 1.7, "positional_embedding": 0.7, "pos_embed": 4.0, "proj_out": 2.0}
    model = randomise(SamModel(config), SEED, gains)
    folder = MODELS / "sam"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "sam"} | CONFIG, indent=2) + "\n")
    weights = {key: value.half() for key, value in model.state_dict().items() if key != "prompt_encoder.shared_embedding.positional_embedding"}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "model.safetensors"
    file.write_bytes(with_sorted_header(file.read_bytes()))
    return model, list(weights)


def meta_name(name):
    """A name of transformers as segment-anything has it."""
    name = name.replace("shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")
    name = name.replace("vision_encoder.patch_embed.projection", "image_encoder.patch_embed.proj").replace("vision_encoder.layers", "image_encoder.blocks")
    for index, layer in enumerate(("conv1", "layer_norm1", "conv2", "layer_norm2")):
        name = name.replace(f"vision_encoder.neck.{layer}", f"image_encoder.neck.{index}")
    name = name.replace("vision_encoder", "image_encoder").replace("point_embed.", "point_embeddings.").replace("not_a_point_embeddings.", "not_a_point_embed.")
    for index, layer in ((0, "conv1"), (1, "layer_norm1"), (3, "conv2"), (4, "layer_norm2"), (6, "conv3")):
        name = name.replace(f"mask_embed.{layer}", f"mask_downscaling.{index}")
    for index, layer in ((0, "upscale_conv1"), (1, "upscale_layer_norm"), (3, "upscale_conv2")):
        name = name.replace(f"mask_decoder.{layer}", f"mask_decoder.output_upscaling.{index}")
    if "hypernetworks" in name or "iou_prediction_head" in name:
        name = re.sub(r"proj_in|layers\.0|proj_out", lambda m: f"layers.{('proj_in', 'layers.0', 'proj_out').index(m[0])}", name)
    return name.replace("layer_norm", "norm")


def rows_first(image):
    """Pillow 13 resizes columns before rows for some sizes, which rounds otherwise; all versions before, and we, take rows first."""
    height, width = image.shape[:2]
    new_height, new_width = (int(side * SIDE / max(height, width) + 0.5) for side in (height, width))
    rows = Image.fromarray(image.numpy()).resize((new_width, height), Image.Resampling.BILINEAR)
    both = rows.resize((new_width, new_height), Image.Resampling.BILINEAR)
    return both == Image.fromarray(image.numpy()).resize((new_width, new_height), Image.Resampling.BILINEAR)


def encode(model, processor, image):
    assert rows_first(image), "another size"
    inputs = processor(images=Image.fromarray(image.numpy()), return_tensors="pt")
    pixels = inputs["pixel_values"].float()
    return pixels, model.vision_encoder(pixels).last_hidden_state, inputs


def ask(model, processor, image, embedding, prompt, mask, several):
    box, points = prompt["box"], prompt["points"]
    asked = {"input_boxes": [[[float(x) for x in box]]]} if box else {}
    if points:
        asked |= {"input_points": [[[place for place, _ in points]]], "input_labels": [[[label for _, label in points]]]}
    inputs = processor(images=Image.fromarray(image.numpy()), return_tensors="pt", **asked)
    given = {key: value.float() if key != "input_labels" else value for key, value in inputs.items() if key.startswith("input_")}
    output = model(image_embeddings=embedding, multimask_output=several, input_masks=mask, **given)
    return output.pred_masks[0, 0], output.iou_scores[0, 0], inputs


def main():
    model, names = model_folder()
    size = {"longest_edge": SIDE}
    processor = SamProcessor(SamImageProcessorPil(size=size, pad_size={"height": SIDE, "width": SIDE}))
    images = [picture(SEED + i, *hw) for i, hw in enumerate(SIZES)]
    tensors, embeddings = {}, []
    for i, image in enumerate(images):
        pixels, embedding, _ = encode(model, processor, image)
        embeddings.append(embedding)
        tensors |= {f"images.{i}": image, f"embeddings.{i}": embedding[0]}
        if i == 2:
            tensors["pixels.2"] = pixels[0]
    low = None
    for n, prompt in enumerate(PROMPTS):
        i = prompt["image"]
        mask = low[None, :1] if prompt["mask"] else None
        low, scores, inputs = ask(model, processor, images[i], embeddings[i], prompt, mask, True)
        one, one_score, _ = ask(model, processor, images[i], embeddings[i], prompt, mask, False)
        logits = processor.image_processor.post_process_masks([low[None]], inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False,
                                                              pad_size={"height": SIDE, "width": SIDE})[0][0]
        tensors |= {f"low_res.{n}": low, f"scores.{n}": scores, f"masks.{n}": (torch.as_tensor(logits) > 0).to(torch.uint8)}
        if n == 0:
            tensors |= {"logits.0": torch.as_tensor(logits)[0].float(), "one.0": one, "one_score.0": one_score}
        share = (low > 0).float().mean((1, 2))
        print(f"prompt {n}: scores {scores.tolist()}, inside {share.tolist()}")
    write("sam", "sam", tensors, SEED, prompts=PROMPTS, meta_names={meta_name(name): name for name in names})


if __name__ == "__main__":
    main()
