"""Whole pictures: `python parity/make_pipelines.py` writes fixtures/pipelines/{sd1,sd2}.safetensors.

diffusers' StableDiffusionPipeline over the folders models/sd1 and models/sd2: five steps, guidance 7.5, a negative prompt, noise from a CPU generator.
`image.<case>` (H, W, 3) u8 with the arguments of each case in the header under `cases`; `scheduler_config` there is what diffusers made of
the folder's file for that class. `latents.<case>` (1, 4, h, w) are the final latents, channels first.
"""

import math

import diffusers
import numpy as np
import torch
from diffusers import StableDiffusionPipeline

from common import MODELS, generator, write

PROMPT, NEGATIVE = "a photo of a red dog and a white bowl on the table", "blurry, two cats"
COMMON = {"prompt": PROMPT, "negative": NEGATIVE, "steps": 5, "guidance_scale": 7.5, "width": 128, "height": 64}
SCHEDULERS = {"ddim": "DDIMScheduler", "pndm": "PNDMScheduler", "euler": "EulerDiscreteScheduler",
              "euler_ancestral": "EulerAncestralDiscreteScheduler", "dpm_solver": "DPMSolverMultistepScheduler"}
CASES = {name: COMMON | {"scheduler": scheduler, "seed": 100 + i} for i, (name, scheduler) in enumerate(SCHEDULERS.items())}
CASES |= {
    "empty_negative": COMMON | {"scheduler": "DDIMScheduler", "seed": 1, "negative": ""},
    "no_guidance": COMMON | {"scheduler": "DDIMScheduler", "seed": 2, "guidance_scale": 1.0, "width": 64, "height": 96},
}
# Guided at 7.5, Runge-Kutta steps over sd2 are chaotic: noise changed by 1e-6 changes the latents by 2.8 (of 10); guided at 2, by 3e-4.
OF_MODEL = {("sd2", "pndm"): {"guidance_scale": 2.0}}


def paint(model, case, arguments):
    # A DDIM file does not say `skip_prk_steps`, so PNDM starts with Runge-Kutta steps over sd2 and without over sd1. The scheduler is handed to the
    # constructor, which mends what its class makes of the file: a PNDM file does not say `clip_sample`.
    scheduler = getattr(diffusers, arguments["scheduler"]).from_pretrained(MODELS / model / "scheduler")
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / model, scheduler=scheduler, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    common = {"prompt": arguments["prompt"], "negative_prompt": arguments["negative"], "num_inference_steps": arguments["steps"],
              "guidance_scale": arguments["guidance_scale"], "width": arguments["width"], "height": arguments["height"]}
    latents = pipe(**common, generator=generator(arguments["seed"]), output_type="latent").images
    image = np.asarray(pipe(**common, generator=generator(arguments["seed"]), output_type="pil").images[0])
    edge = ((image == 0) | (image == 255)).mean()
    print(f"{model} {case}: latents std {latents.std():.2f}, image mean {image.mean():.0f}, std {image.std():.0f}, {100 * edge:.1f} % clipped")
    # JSON has no infinity, which one class has for a default.
    config = {key: value for key, value in pipe.scheduler.config.items() if not key.startswith("_") and value != -math.inf}
    return {f"image.{case}": torch.from_numpy(image.copy()), f"latents.{case}": latents}, config


for model in ("sd1", "sd2"):
    tensors, cases = {}, {}
    for case, arguments in CASES.items():
        arguments = arguments | OF_MODEL.get((model, case), {})
        painted, config = paint(model, case, arguments)
        tensors |= painted
        cases[case] = arguments | {"scheduler_config": config}
    write("pipelines", model, tensors, 100, cases=cases, model=f"models/{model}")
