"""The preset `diffusers-lmd-plus`: `python parity/make_lmd_plus.py PIPELINE` writes fixtures/gligen/lmd_plus.safetensors.

PIPELINE is `examples/community/llm_grounded_diffusion.py` of diffusers' repository, which is not part of the package: the pictures are its own. Beside it runs
the same pipeline `llm_grounded_diffusion` as a loop of its own over models/gligen, written from its description: one pass; the user's
prompt with `| phrase` for each phrase it lacks; every box an object, looked for at the phrase's first tokens; before a step, while the last loss / 20 is
above the threshold and at most 3 (five steps), 2 (five), 1 (five) times, the latents move by −√(1 − ᾱ)·∂(20·loss)/∂latents, with the conditional text
and without grounding; then the grounded classifier-free step. The loss is LMD's (make_losses.py) with both weights 1. The pipeline's threshold is 5;
random networks are below it at once, so most cases have 0.

`image.<case>` (H, W, 3) u8 with the arguments in the header under `cases`, where `prompt_read` is the prompt with its additions and `updates` their number.
Both paint the same, byte by byte but for rounding, or nothing is written. Seeds at which noise changed by 1e-6 shows in the picture are passed over: there rounding chooses other cells, and both pictures would be right.
"""

import argparse
import itertools
import types
from pathlib import Path

import torch
from diffusers import StableDiffusionGLIGENPipeline

import make_losses
from attention_maps import guidance_keys, record
from common import MODELS, generator, write
from make_gligen import SLOTS, kwargs_of

make_losses.BACKGROUND_WEIGHT = 1.0
SEED, LOSS_SCALE, GUIDED_STEPS = 71, 20.0, 15
MAX_ITER = [3] * 5 + [2] * 5 + [1] * 5
COMMON = {"negative": "blurry", "threshold": 0.0, "steps": 5, "guidance_scale": 7.5, "beta": 0.4, "width": 64, "height": 64}
CASES = {
    "one_box": COMMON | {"prompt": "a photo of a red dog on the table", "phrases": ["a red dog"], "boxes": [[0.25, 0.25, 0.75, 0.875]]},
    "missing_and_repeated": COMMON | {"prompt": "a painting of a white bowl in the sky", "phrases": ["a white bowl", "a blue cat", "a white bowl"],
                                      "boxes": [[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 1.0], [0.125, 0.625, 0.5, 1.0]]},
    "satisfied_at_once": COMMON | {"prompt": "two dogs", "phrases": ["a green cat"], "boxes": [[0.5, 0.0, 1.0, 0.5]], "threshold": 5.0},
    "no_box": COMMON | {"prompt": "a photo of a house", "phrases": [], "boxes": []},
}


def with_missing(prompt, phrases):
    for phrase in phrases:
        if phrase not in prompt:
            prompt += "| " + phrase
    return prompt


def positions(tokenizer, prompt, phrase):
    """The first place in the prompt's tokens where the phrase's stand."""
    text, wanted = tokenizer(prompt).input_ids, tokenizer(phrase).input_ids[1:-1]
    return next(list(range(i, i + len(wanted))) for i in range(len(text)) if text[i:i + len(wanted)] == wanted)


def encode(pipe, texts):
    ids = pipe.tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    return pipe.text_encoder(ids).last_hidden_state


def slots(pipe, case):
    """Boxes, pooled phrases and mask for [unconditional, conditional]."""
    boxes, phrases, mask = torch.zeros(2, SLOTS, 4), torch.zeros(2, SLOTS, pipe.unet.config.cross_attention_dim), torch.zeros(2, SLOTS)
    if count := len(case["boxes"]):
        ids = pipe.tokenizer(case["phrases"], padding=True, return_tensors="pt").input_ids
        boxes[:, :count] = torch.tensor(case["boxes"])
        phrases[:, :count] = pipe.text_encoder(ids).pooler_output
        mask[1, :count] = 1
    return boxes, phrases, mask


def noise(case, seed, change):
    """The first latents, changed by so much of other noise."""
    latents = torch.randn(1, 4, case["height"] // 8, case["width"] // 8, generator=generator(seed))
    return latents + change * torch.randn(latents.shape, generator=generator(seed + 1))


def paint(pipe, maps, case, seed, change=0.0):
    objects = [{"boxes": [box], "tokens": positions(pipe.tokenizer, case["prompt_read"], phrase)} for phrase, box in zip(case["phrases"], case["boxes"])]
    text = encode(pipe, [case["negative"], case["prompt_read"]])
    arguments = kwargs_of(*slots(pipe, case))
    h, w = case["height"] // 8, case["width"] // 8
    grids = {"mid": (h // 2, w // 2), "up": (h, w)}
    latents = noise(case, seed, change)
    scheduler = pipe.scheduler
    scheduler.set_timesteps(case["steps"])
    loss, updates = torch.tensor(10000.0), 0
    for i, t in enumerate(scheduler.timesteps):
        for _ in range(MAX_ITER[i] if objects and i < GUIDED_STEPS else 0):
            if loss.item() / LOSS_SCALE <= case["threshold"]:
                break
            latents = latents.detach().requires_grad_()
            with torch.enable_grad():
                pipe.unet(latents, t, text[1:])
                of_keys = {key: maps[key][0] for key in guidance_keys(maps)}
                loss = LOSS_SCALE * make_losses.box_loss(of_keys, {key: grids[key.split(".")[0]] for key in of_keys}, objects, lambda x: x.sum())
                (gradient,) = torch.autograd.grad(loss, latents)
            latents = latents.detach() - (1 - scheduler.alphas_cumprod[t]) ** 0.5 * gradient
            updates += 1
        is_grounded = i < int(case["beta"] * len(scheduler.timesteps))
        predicted = pipe.unet(torch.cat([latents] * 2), t, text, cross_attention_kwargs=dict(arguments) if is_grounded else None).sample
        predicted = predicted[:1] + case["guidance_scale"] * (predicted[1:] - predicted[:1])
        latents = scheduler.step(predicted, t, latents).prev_sample
    pixels = pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample[0].permute(1, 2, 0)
    return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8), updates


def community(file):
    """The community pipeline over the same folder."""
    module = types.ModuleType("llm_grounded_diffusion")
    source = file.read_text().replace(".cuda()", "").replace('device="cuda"', 'device="cpu"')  # its loss is made on a GPU, wherever the model is
    exec(compile(source, file, "exec"), vars(module))
    pipe = module.LLMGroundedDiffusionPipeline.from_pretrained(MODELS / "gligen", torch_dtype=torch.float32, safety_checker=None, feature_extractor=None,
                                                               image_encoder=None, requires_safety_checker=False)
    pipe.unet.requires_grad_(False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint_by(pipe, case, seed, change=0.0):
    """The community pipeline's picture of a case, with its own defaults but for the threshold; `change` as in `paint`."""
    latents = noise(case, seed, change)
    image = pipe(case["prompt"], height=case["height"], width=case["width"], num_inference_steps=case["steps"], guidance_scale=case["guidance_scale"],
                 gligen_scheduled_sampling_beta=case["beta"], phrases=case["phrases"], boxes=case["boxes"], negative_prompt=case["negative"],
                 lmd_guidance_kwargs={"loss_threshold": case["threshold"]}, latents=latents, output_type="np").images[0]
    return (torch.from_numpy(image) * 255).round().to(torch.uint8)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("pipeline", type=Path)
    original = community(parser.parse_args().pipeline)
    pipe = StableDiffusionGLIGENPipeline.from_pretrained(MODELS / "gligen", torch_dtype=torch.float32, safety_checker=None)
    pipe.unet.requires_grad_(False)
    maps = record(pipe.unet)
    tensors, cases = {}, {}
    for name, case in CASES.items():
        case = case | {"prompt_read": with_missing(case["prompt"], case["phrases"])}
        for seed in itertools.count(SEED):
            image, updates = paint(pipe, maps, case, seed)
            theirs = paint_by(original, case, seed)
            moved = [(paint(pipe, maps, case, seed, 1e-6)[0].int() - image.int()).abs(), (paint_by(original, case, seed, 2e-6).int() - theirs.int()).abs()]
            if all((by > 1).float().mean() <= 1e-4 for by in moved):
                break
        apart = (theirs.int() - image.int()).abs()
        print(f"{name}: seed {seed}, {updates} updates, mean {image.float().mean():.0f}, std {image.float().std():.0f}; "
              f"the pipeline itself: {(apart > 0).sum()} of {apart.numel()} bytes differ, by {apart.max()} at most")
        if (apart > 1).float().mean() > 1e-4:
            raise SystemExit(f"{name}: the loop does not paint as the pipeline does")
        image = theirs
        tensors[f"image.{name}"] = image
        cases[name] = case | {"seed": seed, "updates": updates}
    write("gligen", "lmd_plus", tensors, SEED, cases=cases, model="models/gligen")


if __name__ == "__main__":
    main()
