"""Guidance losses and their gradients: `python parity/make_losses.py` writes fixtures/losses/{maps,sd1,sd2,small}.safetensors.

Formulas: LMD's box loss (largest values inside and outside each object's mask, summed over heads; `mean8` is eight times the mean over heads) and its
attention transfer (normalised maps of an object's own painting, same step). Top-k counts are truncated products in f32, at least 1.

`maps` has random probabilities `map.<key>` (heads, HW, L) with the grids in the header; `<loss>` scalars and `<loss>.gradient.<key>`. The
transfer's references are `reference.<object>.<box>.<key>` (heads, HW, 1). The others go end to end: `latents` (1, 4, h, w) channels first, `text`
(1, L, C), loss and `<loss>.gradient` with respect to the latents, at `timestep`, over the guidance keys. Boxes are proportions x0, y0, x1, y1.
"""

import itertools

import numpy as np
import torch
from diffusers import UNet2DConditionModel

from attention_maps import guidance_keys, record
from common import MODELS, generator, write

SEED = 17
# Between the last value chosen and the first left out: rounding through a UNet changes probabilities by up to 1e-5, and where it chooses
# another cell, the gradient jumps. Seeds with a closer call are passed over.
MIN_GAP = 2e-5
gaps = []
TOP_P, BACKGROUND_WEIGHT, TRANSFER_WEIGHT = 0.2, 4.0, 2.0
OBJECTS = [
    {"boxes": [[0.1, 0.2, 0.55, 0.75]], "tokens": [2, 3], "word": 3},
    {"boxes": [[0.5, 0.45, 0.95, 0.9], [0.0, 0.6, 0.45, 1.0]], "tokens": [5, 6, 7], "word": 7},
]
WHOLE = [{"boxes": [[0.0, 0.0, 1.0, 1.0]], "tokens": [1], "word": 1}]


def mask_of(boxes, height, width):
    """1 inside any of the boxes; width and height are rounded on their own, half to even."""
    mask = torch.zeros(height, width)
    for x0, y0, x1, y1 in boxes:
        left, top = round(x0 * width), round(y0 * height)
        right, bottom = left + round((x1 - x0) * width), top + round((y1 - y0) * height)
        mask[max(top, 0):min(bottom, height), max(left, 0):min(right, width)] = 1
    assert mask.any(), "an empty mask has no place in these fixtures"
    return mask.flatten()  # (HW)


def top_mean(values, cells):
    """Mean over the largest fifth of `cells`, by head."""
    count = max(1, int(np.float32(TOP_P) * np.float32(cells)))
    largest = values.topk(min(count + 1, values.shape[-1]), dim=-1).values
    if cells > count:
        gaps.append((largest[..., count - 1] - largest[..., count]).min().item())
    return largest[..., :count].mean(-1)


def box_loss(maps, grids, objects, over_heads):
    total = 0.0
    for key, probs in maps.items():  # (heads, HW, L)
        for item in objects:
            mask = mask_of(item["boxes"], *grids[key])
            inside = int(mask.sum())
            of_tokens = 0.0
            for token in item["tokens"]:
                attention = probs[:, :, token]
                foreground = 1 - top_mean(attention * mask, inside)  # (heads)
                background = top_mean(attention * (1 - mask), len(mask) - inside)
                of_tokens = of_tokens + over_heads(foreground + BACKGROUND_WEIGHT * background)
            total = total + of_tokens / len(item["tokens"])
    return total / (len(maps) * len(objects))


def transfer_loss(maps, grids, objects, references):
    total = 0.0
    for o, item in enumerate(objects):
        for b, box in enumerate(item["boxes"]):
            for key, probs in maps.items():
                mask = mask_of([box], *grids[key])
                mine, wanted = probs[:, :, item["word"]] * mask, references[o, b, key][:, :, 0] * mask
                mine = mine / (mine.sum(-1, keepdim=True) + 1e-5)
                wanted = wanted / (wanted.sum(-1, keepdim=True) + 1e-5)
                total = total + (mine - wanted).abs().sum(-1).mean() / len(item["boxes"])
    return TRANSFER_WEIGHT * total / (len(maps) * len(objects))


LOSSES = {
    "box": lambda maps, grids, refs: box_loss(maps, grids, OBJECTS, lambda x: x.sum()),
    "mean8": lambda maps, grids, refs: box_loss(maps, grids, OBJECTS, lambda x: 8 * x.mean()),
    "transfer": lambda maps, grids, refs: transfer_loss(maps, grids, OBJECTS, refs),
    "box_and_transfer": lambda maps, grids, refs: LOSSES["box"](maps, grids, refs) + LOSSES["transfer"](maps, grids, refs),
    "whole": lambda maps, grids, refs: box_loss(maps, grids, WHOLE, lambda x: x.sum()),
}


def random_references(grids, heads, random):
    """Word-token columns of random attention for each object, box and key."""
    return {(o, b, key): torch.softmax(2 * torch.randn(heads[key], h * w, 9, generator=random), -1)[:, :, :1].clone()
            for o, item in enumerate(OBJECTS) for b in range(len(item["boxes"])) for key, (h, w) in grids.items()}


def named(references):
    return {f"reference.{o}.{b}.{key}": value for (o, b, key), value in references.items()}


def header(grids):
    return {"objects": OBJECTS, "whole": WHOLE, "grids": grids, "top_p": TOP_P, "background_weight": BACKGROUND_WEIGHT, "transfer_weight": TRANSFER_WEIGHT}


def losses_of_maps():
    random = generator(SEED)
    grids = {"mid.0": (8, 8), "up.1.0": (16, 16), "up.1.1": (12, 20)}
    heads = {"mid.0": 4, "up.1.0": 2, "up.1.1": 3}
    maps = {key: torch.softmax(2 * torch.randn(heads[key], h * w, 9, generator=random), -1).requires_grad_() for key, (h, w) in grids.items()}
    references = random_references(grids, heads, random)
    tensors = {f"map.{key}": probs for key, probs in maps.items()} | named(references)
    for name in ("box", "mean8", "transfer", "whole"):
        with torch.enable_grad():
            value = LOSSES[name](maps, grids, references)
            gradients = torch.autograd.grad(value, list(maps.values()))
        tensors[name] = value.reshape(1)
        tensors |= {f"{name}.gradient.{key}": g for key, g in zip(maps, gradients)}
        print("maps", name, round(value.item(), 5))
    write("losses", "maps", tensors, SEED, **header(grids))


def losses_of_latents(model, height, width, timestep):
    """With the first seed that has no close call."""
    unet = UNet2DConditionModel.from_pretrained(MODELS / model / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)
    for seed in itertools.count(SEED + 1):
        gaps.clear()
        tensors, grids = guided(unet, seed, height, width, timestep)
        if min(gaps) > MIN_GAP:
            break
    print(f"{model}: seed {seed}, smallest gap {min(gaps):.1e}")
    write("losses", model, tensors, seed, timestep=timestep, model=f"models/{model}/unet", **header(grids))


def guided(unet, seed, height, width, timestep):
    """One pass over random latents and text: the fixture's tensors and the grids of the guidance keys."""
    random = generator(seed)
    latents = torch.randn(1, 4, height, width, generator=random).requires_grad_()
    text = torch.randn(1, 9, unet.config.cross_attention_dim, generator=random)
    recorded = record(unet)
    with torch.enable_grad():
        unet(latents, timestep, text)
        maps = {key: recorded[key][0] for key in guidance_keys(recorded)}  # (heads, HW, L)
    levels = len(unet.config.block_out_channels)
    halvings = {"mid": levels - 1, "up": levels - 2}
    grids = {key: (height >> halvings[key.split(".")[0]], width >> halvings[key.split(".")[0]]) for key in maps}
    assert all(h * w == maps[key].shape[1] for key, (h, w) in grids.items())
    references = random_references(grids, {key: probs.shape[0] for key, probs in maps.items()}, random)
    tensors = {"latents": latents, "text": text} | named(references)
    for name in ("box", "mean8", "transfer", "box_and_transfer"):
        with torch.enable_grad():
            value = LOSSES[name](maps, grids, references)
            (gradient,) = torch.autograd.grad(value, latents, retain_graph=True)
        tensors |= {name: value.reshape(1), f"{name}.gradient": gradient}
    return tensors, grids


if __name__ == "__main__":
    losses_of_maps()
    losses_of_latents("sd1", 32, 48, 981)
    losses_of_latents("sd2", 32, 32, 601)
    losses_of_latents("small", 16, 16, 881)
