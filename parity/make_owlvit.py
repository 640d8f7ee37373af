"""Tiny random detectors and what transformers sees with them: `python parity/make_owlvit.py` writes fixtures/models/{owlvit,owlv2} and
fixtures/owlvit/{owlvit,owlv2,preprocess}.safetensors.

`queries` are token ids (Q, 16) of the texts in the header, `query_embeds` (Q, D); `images.<i>` are bytes (H, W, 3); `pixels` (B, 3, S, S) preprocessed;
`logits` (B, N, Q) and `boxes` (B, N, 4) as centre and size; `scores.<i>`, `labels.<i>`, `corners.<i>` are post-processed at the threshold in the header.
OWL-ViT's pixels are by the Pillow processor, which the published benchmark used; OWLv2's by the only one that needs no SciPy, on square images, since
version 5.23 pads with black where the model was trained with grey. `preprocess` holds Pillow's bicubic resizes of odd sizes, bytes (S, S, 3); none shrinks
much more in height than in width, where Pillow 13 alone resizes columns before rows.
"""

import json

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import OwlViTConfig, OwlViTForObjectDetection, Owlv2Config, Owlv2ForObjectDetection
from transformers.models.owlv2.image_processing_owlv2 import Owlv2ImageProcessor
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

from common import MODELS, generator, randomise, with_sorted_header, write
from make_models import WORDS, merges_for, write_tokenizer

SEED = 61
TEXTS = ["a photo of a dog", "a photo of a red table", "two blue cats left of the house and a green dog with a white bowl on the table", "sky"]
THRESHOLD = 0.5  # random scores are high; this keeps about half
LENGTH = 16


def picture(seed, height, width):
    """Blocks of colour under noise: edges and gradients, as pictures have them."""
    random = generator(seed)
    coarse = torch.rand((3, 5, 4), generator=random)
    smooth = torch.nn.functional.interpolate(coarse[None], size=(height, width), mode="nearest")[0]
    noise = 0.2 * torch.randn((3, height, width), generator=random)
    return (255 * (smooth + noise).clamp(0, 1)).round().to(torch.uint8).permute(1, 2, 0).contiguous()


def detector(kind, merges):
    vocab = 512 + len(merges) + 2
    text = {"vocab_size": vocab, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
            "max_position_embeddings": LENGTH, "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": 0}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
              "image_size": 64 if kind == "owlvit" else 60, "patch_size": 16 if kind == "owlvit" else 12}
    classes = {"owlvit": (OwlViTConfig, OwlViTForObjectDetection), "owlv2": (Owlv2Config, Owlv2ForObjectDetection)}[kind]
    config = classes[0](text_config=text, vision_config=vision, projection_dim=24)
    model = randomise(classes[1](config), SEED, gains={"q_proj": 1.7, "k_proj": 1.7, "class_head.logit_scale": 2.0})
    folder = MODELS / kind
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "text_config": text, "vision_config": vision, "projection_dim": 24}, indent=2) + "\n")
    tokenizer = write_tokenizer(folder, merges, "!")
    weights = {key: value.half() for key, value in model.state_dict().items() if "position_ids" not in key and "box_bias" not in key}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "model.safetensors"
    file.write_bytes(with_sorted_header(file.read_bytes()))
    return model, tokenizer


def token_ids(tokenizer):
    rows = []
    for text in TEXTS:
        ids = tokenizer(text)["input_ids"]
        ids = ids if len(ids) <= LENGTH else ids[:LENGTH - 1] + ids[-1:]
        rows.append(ids + [0] * (LENGTH - len(ids)))
    return torch.tensor(rows)


def make(kind, processor, sizes, merges):
    model, tokenizer = detector(kind, merges)
    images = [picture(SEED + i, *size) for i, size in enumerate(sizes)]
    pixels = processor(images=[Image.fromarray(image.numpy()) for image in images], return_tensors="pt")["pixel_values"].float()
    ids = token_ids(tokenizer)
    mask = (ids != 0).long()
    batch = len(images)
    output = model(input_ids=ids.repeat(batch, 1), pixel_values=pixels, attention_mask=mask.repeat(batch, 1))
    tensors = {"queries": ids, "query_embeds": output.text_embeds[0], "pixels": pixels, "logits": output.logits, "boxes": output.pred_boxes}
    found = processor.post_process_object_detection(output, threshold=THRESHOLD, target_sizes=torch.tensor(sizes))
    for i, (image, result) in enumerate(zip(images, found)):
        margins = (torch.sigmoid(output.logits[i].max(-1).values) - THRESHOLD).abs()
        assert margins.min() > 1e-4, "a candidate on the threshold: another seed"
        print(f"{kind} image {i}: {len(result['scores'])} of {output.logits.shape[1]} candidates")
        tensors |= {f"images.{i}": image, f"scores.{i}": result["scores"], f"labels.{i}": result["labels"], f"corners.{i}": result["boxes"]}
    write("owlvit", kind, tensors, SEED, texts=TEXTS, threshold=THRESHOLD)


def make_resizes():
    tensors = {}
    for seed, (height, width, side) in enumerate([(17, 23, 40), (31, 50, 16), (64, 64, 96), (33, 48, 48), (7, 90, 13)]):
        image = picture(seed, height, width)
        tensors[f"from.{seed}"] = image
        tensors[f"to.{seed}"] = torch.from_numpy(np.array(Image.fromarray(image.numpy()).resize((side, side), Image.Resampling.BICUBIC)))
    write("owlvit", "preprocess", tensors, 0)


def main():
    merges = merges_for(WORDS)
    make("owlvit", OwlViTImageProcessorPil(size={"height": 64, "width": 64}), [(48, 80), (128, 128), (64, 64)], merges)
    make("owlv2", Owlv2ImageProcessor(size={"height": 60, "width": 60}), [(48, 48), (128, 128), (60, 60)], merges)
    make_resizes()


if __name__ == "__main__":
    main()
