"""DDIM inversion: `python parity/make_inversion.py` writes fixtures/inversion/{sd1,sd2}.safetensors.

diffusers' DDIMInverseScheduler over the folders models/sd1 (predicts noise) and models/sd2 (predicts v), at guidance 1 with a caption. `image` (H, W, 3) u8 is a picture of smooth
colours, `latents` (1, 4, h, w) the scaled mode of its posterior, `states.<case>` (S, 1, 4, h, w) the latents after each step from the picture to noise. The header's `cases` has
the number of steps and the caption of each.
"""

import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, StableDiffusionPipeline

from common import MODELS, generator, write

CAPTION = "a photo of a red dog and a white bowl on the table"
SIZE = (96, 64)  # width, height
CASES = {"few": {"steps": 5, "caption": CAPTION}, "many": {"steps": 20, "caption": CAPTION}}
SEED = 40


def picture(random):
    width, height = SIZE
    coarse = torch.rand((1, 3, 3, 4), generator=random)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)
    return (smooth.clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0)


def inverted(pipe, latents, steps):
    # Said again: from_config leaves out what another class had by default, and this one would clip.
    config = pipe.scheduler.config
    scheduler = DDIMInverseScheduler.from_config(config, clip_sample=config.clip_sample)
    assert not scheduler.config.clip_sample
    scheduler.set_timesteps(steps)
    embeds, _ = pipe.encode_prompt(CAPTION, "cpu", 1, False)
    states = []
    for timestep in scheduler.timesteps:
        output = pipe.unet(scheduler.scale_model_input(latents, timestep), timestep, encoder_hidden_states=embeds).sample
        latents = scheduler.step(output, timestep, latents).prev_sample
        states.append(latents)
    assert all(torch.isfinite(state).all() for state in states)
    return torch.stack(states)


for model in ("sd1", "sd2"):
    # Handed to the constructor, which mends what its class makes of the file: a PNDM file does not say `clip_sample`.
    scheduler = DDIMScheduler.from_pretrained(MODELS / model / "scheduler")
    pipe = StableDiffusionPipeline.from_pretrained(MODELS / model, scheduler=scheduler, torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    image = picture(generator(SEED))
    pixels = image.permute(2, 0, 1)[None].float() / 255 * 2 - 1
    latents = pipe.vae.encode(pixels).latent_dist.mode() * pipe.vae.config.scaling_factor
    tensors = {"image": image, "latents": latents}
    for case, arguments in CASES.items():
        tensors[f"states.{case}"] = inverted(pipe, latents, arguments["steps"])
        print(model, case, f"std of noise {tensors[f'states.{case}'][-1].std():.2f}")
    write("inversion", model, tensors, SEED, cases=CASES, model=f"models/{model}")
