"""Pictures that begin with a picture: `python parity/make_init.py` writes fixtures/init/{sd1,sd2}.safetensors.

diffusers' StableDiffusionImg2ImgPipeline and StableDiffusionInpaintPipeline (with a UNet of four channels) over the folders models/sd1 and models/sd2: five
steps, guidance 7.5, a negative prompt, noise from a CPU generator. `init` (H, W, 3) u8 is what is begun with, `mask` (H, W) u8 is 255 where it is painted anew:
whole cells of the latents, since the pipeline takes the nearest pixel of each. `image.<case>` (H, W, 3) u8 is the decoded picture, in which nothing is pasted back; the
arguments of each case stand in the header under `cases`, masked ones with `masked`.
"""

import math

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from PIL import Image

from common import MODELS, generator, write

PROMPT, NEGATIVE = "a photo of a red dog and a white bowl on the table", "blurry, two cats"
COMMON = {"prompt": PROMPT, "negative": NEGATIVE, "steps": 5, "guidance_scale": 7.5, "width": 128, "height": 64}
SCHEDULERS = {"ddim": "DDIMScheduler", "euler": "EulerDiscreteScheduler", "euler_ancestral": "EulerAncestralDiscreteScheduler",
              "dpm_solver": "DPMSolverMultistepScheduler"}
# PNDM is left out: diffusers drops calls off the front of its timesteps, the second of which repeats the first step, so that all later ones are a step late.
CASES = {}
for i, (name, scheduler) in enumerate(SCHEDULERS.items()):
    CASES[f"{name}.image"] = COMMON | {"scheduler": scheduler, "seed": 200 + i, "strength": 0.6, "masked": False}
    CASES[f"{name}.inpaint"] = COMMON | {"scheduler": scheduler, "seed": 210 + i, "strength": 0.8, "masked": True}
CASES |= {
    "all.image": COMMON | {"scheduler": "DDIMScheduler", "seed": 220, "strength": 1.0, "masked": False},
    "all.inpaint": COMMON | {"scheduler": "EulerDiscreteScheduler", "seed": 221, "strength": 1.0, "masked": True},
    "no_guidance.inpaint": COMMON | {"scheduler": "DDIMScheduler", "seed": 222, "strength": 0.6, "masked": True, "guidance_scale": 1.0},
}


def init_image():
    """Three soft discs on a gradient."""
    y, x = np.mgrid[0:64, 0:128]
    image = np.stack([60 + x, 200 - 2 * y, 90 + (x + y) // 2], -1).astype(float)
    for cx, cy, radius, colour in [(30, 30, 18, (220, 40, 40)), (90, 24, 14, (40, 60, 210)), (70, 50, 12, (240, 220, 60))]:
        share = np.clip(radius + 2 - np.hypot(x - cx, y - cy), 0, 1)[..., None]
        image = share * np.array(colour) + (1 - share) * image
    return Image.fromarray(np.clip(np.round(image), 0, 255).astype(np.uint8))


def mask_image():
    mask = np.zeros((64, 128), np.uint8)
    mask[8:48, 64:112] = 255
    mask[56:64, 0:16] = 255
    return Image.fromarray(mask)


def paint(model, case, arguments):
    # StableDiffusionInpaintPipeline, unlike the others, leaves DDIM's default in place where a file of another class does not say `clip_sample`: latents are clipped
    # at 1 there, which spoils the picture. Here no file says true.
    ddim = {"clip_sample": False} if arguments["scheduler"] == "DDIMScheduler" else {}
    scheduler = getattr(diffusers, arguments["scheduler"]).from_pretrained(MODELS / model / "scheduler", **ddim)
    pipeline = StableDiffusionInpaintPipeline if arguments["masked"] else StableDiffusionImg2ImgPipeline
    pipe = pipeline.from_pretrained(MODELS / model, scheduler=scheduler, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    masked = {"mask_image": mask_image(), "width": arguments["width"], "height": arguments["height"]} if arguments["masked"] else {}
    image = pipe(prompt=arguments["prompt"], negative_prompt=arguments["negative"], num_inference_steps=arguments["steps"], image=init_image(),
                 guidance_scale=arguments["guidance_scale"], strength=arguments["strength"], generator=generator(arguments["seed"]), **masked).images[0]
    image = np.asarray(image)
    edge = ((image == 0) | (image == 255)).mean()
    print(f"{model} {case}: mean {image.mean():.0f}, std {image.std():.0f}, {100 * edge:.1f} % clipped")
    config = {key: value for key, value in pipe.scheduler.config.items() if not key.startswith("_") and value != -math.inf}
    return torch.from_numpy(image.copy()), config


for model in ("sd1", "sd2"):
    tensors = {"init": torch.from_numpy(np.asarray(init_image()).copy()), "mask": torch.from_numpy(np.asarray(mask_image()).copy())}
    cases = {}
    for case, arguments in CASES.items():
        tensors[f"image.{case}"], config = paint(model, case, arguments)
        cases[case] = arguments | {"scheduler_config": config}
    write("init", model, tensors, 200, cases=cases, model=f"models/{model}")
