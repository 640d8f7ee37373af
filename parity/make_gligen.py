"""GLIGEN's grounding adapters: `python parity/make_gligen.py` writes fixtures/gligen/{unet,pipeline}.safetensors. Weights: models/gligen.

`unet`: `boxes` (B, 30, 4), `phrases` (B, 30, D) and `mask` (B, 30) of a batch whose first image has no box; what the position net makes of them, `tokens`
(B, 30, D); one fuser on its own, `fuser.x` (B, N, C) to `fuser.y`, in the block that the header names under `fuser`. `latents`, `text` and `noise.<wiring>` at
`timestep`: `gated` as diffusers wires it, `reground` with the fuser beside the cross-attention (both see the output of the self-attention, both are added:
arXiv 2403.13589), `off` without grounding; `map.<wiring>.<key>` are two of the cross-attentions. `box` and `box.gradient`: LMD's box loss over the guidance
keys (see make_losses.py, header `objects` and `grids`) of the second image, and its gradient with respect to `guided.latents` (1, 4, h, w), grounded
with that image's boxes.

`pipeline`: pictures of diffusers' StableDiffusionGLIGENPipeline, `image.<case>` (H, W, 3) u8 with the arguments in the header under `cases`.
"""

import itertools

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionGLIGENPipeline, UNet2DConditionModel

import make_losses
from attention_maps import guidance_keys, record
from common import MODELS, generator, write

SEED, SLOTS, TIMESTEP = 51, 30, 741
FUSER = "down_blocks.0.attentions.1.transformer_blocks.0"
BOXES = [[0.125, 0.25, 0.5, 0.75], [0.5, 0.0, 1.0, 0.625], [0.0, 0.875, 0.0625, 1.0]]


def grounding(width, random):
    """Nothing in the first image, three boxes in the second; what empty slots hold must not matter, so it is noise."""
    boxes = torch.rand(2, SLOTS, 4, generator=random)
    boxes[1, :len(BOXES)] = torch.tensor(BOXES)
    phrases = torch.randn(2, SLOTS, width, generator=random)
    mask = torch.zeros(2, SLOTS)
    mask[1, :len(BOXES)] = 1
    return boxes, phrases, mask


def kwargs_of(boxes, phrases, mask):
    return {"gligen": {"boxes": boxes, "positive_embeddings": phrases, "masks": mask}}


def fusers_of(unet):
    return {name: module for name, module in unet.named_modules() if name.endswith(".fuser")}


def rewire(unet):
    """ReGround: the fuser leaves its input to the cross-attention, and its change is added afterwards."""
    for name, fuser in fusers_of(unet).items():
        attention = unet.get_submodule(name.removesuffix("fuser") + "attn2")

        def fuse(x, objs, plain=fuser.forward, fuser=fuser):
            fuser.change = plain(x, objs) - x
            return x

        def attend(*arguments, plain=attention.forward, fuser=fuser, **keywords):
            return plain(*arguments, **keywords) + fuser.change

        fuser.forward, attention.forward = fuse, attend


def load():
    return UNet2DConditionModel.from_pretrained(MODELS / "gligen" / "unet", torch_dtype=torch.float32).eval().requires_grad_(False)


def adapters():
    unet, random = load(), generator(SEED)
    width = unet.config.cross_attention_dim
    boxes, phrases, mask = grounding(width, random)
    latents = torch.randn(2, 4, 16, 12, generator=random)
    text = torch.randn(2, 7, width, generator=random)
    tokens = unet.position_net(boxes=boxes, masks=mask, positive_embeddings=phrases)
    fuser = unet.get_submodule(FUSER + ".fuser")
    x = torch.randn(2, 10, fuser.norm1.normalized_shape[0], generator=random)
    tensors = {"boxes": boxes, "phrases": phrases, "mask": mask, "tokens": tokens, "fuser.x": x, "fuser.y": fuser(x, tokens), "latents": latents, "text": text}
    for wiring, network, arguments in (("off", unet, None), ("gated", unet, (boxes, phrases, mask)), ("reground", load(), (boxes, phrases, mask))):
        if wiring == "reground":
            rewire(network)
        maps = record(network)
        noise = network(latents, TIMESTEP, text, cross_attention_kwargs=kwargs_of(*arguments) if arguments else None).sample
        tensors |= {f"noise.{wiring}": noise} | {f"map.{wiring}.{key}": maps[key] for key in ("mid.0", "up.1.1")}
    for one, other in itertools.combinations(("off", "gated", "reground"), 2):
        print(f"{one} and {other}: {(tensors[f'noise.{one}'] - tensors[f'noise.{other}']).abs().max():.2f} apart")
    guided, seed, grids = box_gradient(load(), boxes[1:], phrases[1:], mask[1:])
    header = {"timestep": TIMESTEP, "fuser": [FUSER], "objects": make_losses.OBJECTS, "grids": grids, "guided_seed": seed, "model": "models/gligen/unet"}
    write("gligen", "unet", tensors | guided, SEED, **header)


def box_gradient(unet, boxes, phrases, mask):
    """With the first seed at which no choice of largest cells is close."""
    recorded = record(unet)
    for seed in itertools.count(SEED + 1):
        make_losses.gaps.clear()
        random = generator(seed)
        latents = torch.randn(1, 4, 16, 16, generator=random).requires_grad_()
        text = torch.randn(1, 9, unet.config.cross_attention_dim, generator=random)
        with torch.enable_grad():
            unet(latents, TIMESTEP, text, cross_attention_kwargs=kwargs_of(boxes, phrases, mask))
            maps = {key: recorded[key][0] for key in guidance_keys(recorded)}
            grids = {key: (8, 8) if key.startswith("mid") else (16, 16) for key in maps}
            value = make_losses.box_loss(maps, grids, make_losses.OBJECTS, lambda x: x.sum())
            (gradient,) = torch.autograd.grad(value, latents)
        if min(make_losses.gaps) > make_losses.MIN_GAP:
            print(f"guided seed {seed}, smallest gap {min(make_losses.gaps):.1e}, loss {value.item():.4f}")
            tensors = {"guided.latents": latents, "guided.text": text, "box": value.reshape(1), "box.gradient": gradient}
            return tensors, seed, grids


PHRASES = ["a red dog", "a white bowl", "two green cats"]
COMMON = {"prompt": "a photo of a red dog and a white bowl on the table", "negative": "blurry, two cats", "phrases": PHRASES, "boxes": BOXES, "steps": 5,
          "guidance_scale": 7.5, "beta": 0.4, "width": 64, "height": 96, "scheduler": "DDIMScheduler"}
MANY = [[x / 8, y / 8, (x + 1) / 8, (y + 2) / 8] for y in range(4) for x in range(8)][:31]
CASES = {
    "ddim": COMMON | {"seed": 1},
    "all_steps": COMMON | {"seed": 2, "beta": 1.0},
    "pndm": COMMON | {"seed": 3, "scheduler": "PNDMScheduler", "beta": 0.7},  # six calls for five steps: ⌊0.7 · 6⌋ of them are grounded
    "no_guidance": COMMON | {"seed": 4, "guidance_scale": 1.0},
    "one_box": COMMON | {"seed": 5, "phrases": PHRASES[:1], "boxes": BOXES[:1], "width": 64, "height": 64},
    "too_many_boxes": COMMON | {"seed": 6, "phrases": [f"a dog {i:02}" for i in range(31)], "boxes": MANY},
}


def pictures():
    tensors = {}
    for case, arguments in CASES.items():
        pipe = StableDiffusionGLIGENPipeline.from_pretrained(MODELS / "gligen", torch_dtype=torch.float32, safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        # A DDIM file does not say it; with Runge-Kutta steps first, random networks are chaotic.
        extra = {"skip_prk_steps": True} if arguments["scheduler"] == "PNDMScheduler" else {}
        pipe.scheduler = getattr(diffusers, arguments["scheduler"]).from_config(pipe.scheduler.config, **extra)
        image = pipe(arguments["prompt"], negative_prompt=arguments["negative"], num_inference_steps=arguments["steps"], guidance_scale=arguments["guidance_scale"],
                     gligen_scheduled_sampling_beta=arguments["beta"], gligen_phrases=arguments["phrases"], gligen_boxes=arguments["boxes"],
                     width=arguments["width"], height=arguments["height"], generator=generator(arguments["seed"]), output_type="pil").images[0]
        pixels = np.asarray(image)
        print(f"{case}: mean {pixels.mean():.0f}, std {pixels.std():.0f}, {100 * ((pixels == 0) | (pixels == 255)).mean():.1f} % clipped")
        tensors[f"image.{case}"] = torch.from_numpy(pixels.copy())
    write("gligen", "pipeline", tensors, SEED, cases=CASES, model="models/gligen")


if __name__ == "__main__":
    adapters()
    pictures()
