"""What other `preprocessor_config.json` files make of pictures: `python parity/make_preprocessing.py` writes fixtures/preprocessing/images.safetensors.

The models are those of make_clip_pair.py, make_owlvit.py and make_sam.py. The header's `cases` are [model, configuration]; `image` is the bytes (H, W, 3);
`out.<i>` is what the model makes of the image under case i: CLIP's embedding (P) of length 1, OWL-ViT's boxes (N, 4), SAM's low-resolution logits
(3, S, S) of the point (20, 11).
"""

import torch
from PIL import Image
from transformers import CLIPModel, OwlViTForObjectDetection, SamModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from common import MODELS, write
from make_owlvit import picture

SEED = 71
CLIP_SIDE = 48
COLOURS = {"image_mean": [0.5, 0.25, 0.1], "image_std": [0.5, 0.3, 0.2]}


def clip_cases():
    square = {"size": {"shortest_edge": CLIP_SIDE}, "crop_size": {"height": CLIP_SIDE, "width": CLIP_SIDE}}
    yield {**square, **COLOURS}
    for resample in range(6):
        yield {**square, "resample": resample}
    yield {**square, "size": {"shortest_edge": 60}}
    yield {**square, "size": {"height": 50, "width": 70}}
    yield {**square, "size": {"shortest_edge": 30}}
    yield {"do_center_crop": False, "size": {"height": CLIP_SIDE, "width": CLIP_SIDE}}
    yield {**square, "do_resize": False}
    yield {**square, "do_normalize": False}
    yield {**square, "rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]}


def main():
    image = picture(SEED, 61, 83)
    pil = Image.fromarray(image.numpy())
    cases, out = [], []
    clip = CLIPModel.from_pretrained(MODELS / "clip", dtype=torch.float32).eval()
    owlvit = OwlViTForObjectDetection.from_pretrained(MODELS / "owlvit", dtype=torch.float32).eval()
    sam = SamModel.from_pretrained(MODELS / "sam", dtype=torch.float32).eval()
    with torch.no_grad():
        for config in clip_cases():
            pixels = CLIPImageProcessorPil(**config)(images=[pil], return_tensors="pt")["pixel_values"].float()
            embed = clip.visual_projection(clip.vision_model(pixel_values=pixels).pooler_output)[0]
            cases.append(["clip", config])
            out.append(embed / embed.norm())
        side = owlvit.config.vision_config.image_size
        for config in [COLOURS, {"resample": 2}]:
            config = {**config, "size": {"height": side, "width": side}}
            pixels = OwlViTImageProcessorPil(**config)(images=[pil], return_tensors="pt")["pixel_values"].float()
            features, _ = owlvit.image_embedder(pixels)
            flat = features.reshape(1, -1, features.shape[-1])
            cases.append(["owlvit", config])
            out.append(owlvit.box_predictor(flat, features)[0])
        side = sam.config.vision_config.image_size
        for config in [COLOURS, {"resample": 3}]:
            config = {**config, "size": {"longest_edge": side}, "pad_size": {"height": side, "width": side}}
            processed = SamImageProcessorPil(**config)(images=[pil], return_tensors="pt")
            scale = side / max(pil.size)
            points = torch.tensor([[[[20 * round(pil.width * scale) / pil.width, 11 * round(pil.height * scale) / pil.height]]]])
            masks = sam(pixel_values=processed["pixel_values"].float(), input_points=points, multimask_output=True).pred_masks
            cases.append(["sam", config])
            out.append(masks[0, 0])
    write("preprocessing", "images", {"image": image, **{f"out.{i}": value.contiguous() for i, value in enumerate(out)}}, SEED, cases=cases)


if __name__ == "__main__":
    main()
