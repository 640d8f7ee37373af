"""A tiny random CLIP and how alike it finds pictures and texts: `python parity/make_clip_pair.py` writes fixtures/models/clip and
fixtures/clip_pair/clip.safetensors.

`ids` are tokens (Q, 77) of the texts in the header, `text_embeds` (Q, P) and `image_embeds` (B, P) of length 1, `cosines` (B, Q); `images.<i>` are bytes
(H, W, 3), none of them square but one.
"""

import json

import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from common import MODELS, randomise, with_sorted_header, write
from make_models import WORDS, merges_for, write_tokenizer
from make_owlvit import picture

SEED = 67
TEXTS = ["A photo depicts a dog", "A photo depicts two blue cats left of the house", "sky " * 90]
SIDE = 48


def main():
    merges = merges_for(WORDS)
    vocab = 512 + len(merges) + 2
    text = {"vocab_size": vocab, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3,
            "bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": vocab - 1}
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": SIDE, "patch_size": 16}
    model = randomise(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)), SEED, gains={"q_proj": 1.7, "k_proj": 1.7})
    folder = MODELS / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip", "text_config": text, "vision_config": vision, "projection_dim": 20}, indent=2) + "\n")
    tokenizer = write_tokenizer(folder, merges, "<|endoftext|>")
    weights = {key: value.half() for key, value in model.state_dict().items() if "position_ids" not in key}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "model.safetensors"
    file.write_bytes(with_sorted_header(file.read_bytes()))

    images = [picture(SEED + i, *size) for i, size in enumerate([(64, 64), (50, 81), (97, 48)])]
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    pixels = processor(images=[Image.fromarray(image.numpy()) for image in images], return_tensors="pt")["pixel_values"].float()
    batch = tokenizer(TEXTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], pixel_values=pixels)
    tensors = {"ids": batch["input_ids"], "text_embeds": out.text_embeds, "image_embeds": out.image_embeds,
               "cosines": out.image_embeds @ out.text_embeds.T}
    tensors |= {f"images.{i}": image for i, image in enumerate(images)}
    write("clip_pair", "clip", tensors, SEED, texts=TEXTS)


if __name__ == "__main__":
    main()
