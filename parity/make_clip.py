"""CLIP text encoder: `python parity/make_clip.py` writes fixtures/clip/{sd1,sd2}.safetensors.

`ids.<case>` (B, L) i64 and, for each, `last.<case>` (B, L, C) after the final layer norm, `pooled.<case>` (B, C), `penultimate.<case>`
(B, L, C) before any final norm, `penultimate_normed.<case>` after it. Weights: models/<name>/text_encoder.
"""

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from common import MODELS, write

SEED = 0
CASES = {
    "padded": ["a photo of a red dog", "", "a white bowl on the left of a blue cat and two green houses in the sky"],
    "full": ["a blurry photo of " + "a dog and a cat on the table, " * 20],
}


def encode(name):
    tokenizer = CLIPTokenizer.from_pretrained(MODELS / name / "tokenizer")
    model = CLIPTextModel.from_pretrained(MODELS / name / "text_encoder", dtype=torch.float32).eval()
    batches = {case: tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
               for case, texts in CASES.items()}
    # A short sequence without padding, as phrases of a grounding input are encoded.
    batches["short"] = tokenizer(["a red dog"], return_tensors="pt").input_ids
    tensors = {}
    for case, ids in batches.items():
        out = model(ids, output_hidden_states=True)
        penultimate = out.hidden_states[-2]
        tensors |= {f"ids.{case}": ids, f"last.{case}": out.last_hidden_state, f"pooled.{case}": out.pooler_output,
                    f"penultimate.{case}": penultimate, f"penultimate_normed.{case}": model.final_layer_norm(penultimate)}
    write("clip", name, tensors, SEED, texts=CASES, model=f"models/{name}/text_encoder")


for name in ("sd1", "sd2"):
    encode(name)
