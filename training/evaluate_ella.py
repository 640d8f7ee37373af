"""Measures ELLA while it is trained: `python evaluate_ella.py --count 48 clip ella ella+clip` paints dense captions that no training sees, and prints for how
many of their things the second judge finds the kind, kind and colour, and both in the right region of the picture.

`regions` is the teacher of train_ella.py, which knows where things are: about the best that the frozen UNet does. `--short` takes held-out scenes of
stages 1 and 2 and their short captions; there, places do not count.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from PIL import Image

from dense import compose_dense, describe, region_of
from export import sheet_of
from latents import PUBLISHED
from render_cache import load_set
from second_judge import find_all
from train_ella import Clip, Regions, averaged, build, tokens_of
from train_unet import SCHEDULER
from world import COLOR_NAMES, KINDS, NATURAL, caption_well, held_out

MARGIN = 1 / 12  # of the picture, by which a centre may be outside its third


def dense_tasks(count, seed=7):
    """Scenes of four to six things and held-out captions."""
    rng, tasks = np.random.default_rng(seed), []
    while len(tasks) < count:
        scene = compose_dense(rng, [0, 0, 0, 0, 0.34, 0.33, 0.33])
        text = describe(scene, rng)
        if held_out(text):
            tasks.append((scene, text))
    return tasks


def short_tasks(count, seed=7):
    rng = np.random.default_rng(seed)
    scenes = [scene for scene in load_set("held_out")[1] if 1 <= len(scene.things) <= 2 and not scene.bad][:count]
    return [(scene, caption_well(scene, rng)) for scene in scenes]


@torch.no_grad()
def paint(kind, models, tasks, steps, guidance, seed):
    """A picture for each task: one batch of DDIM, the empty prompt as the negative."""
    tokenizer, text, connector, unet = models
    vae = AutoencoderKL.from_pretrained(PUBLISHED / "vae").float().eval()
    clip, regions, scheduler = Clip(), Regions(unet), DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps)
    captions = [""] * len(tasks) + [caption for _, caption in tasks]
    scenes = [scene for scene, _ in tasks]
    if kind == "regions":
        regions.teach(scenes * 2, [""] * len(tasks) + [None] * len(tasks), clip)
        regions.follow = True
    fixed = clip(captions) if kind != "ella" else None
    latents = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(tasks))])
    for t in scheduler.timesteps:
        context = fixed
        if "ella" in kind:
            tokens = tokens_of(tokenizer, text, connector, captions, t.expand(len(captions)))
            context = tokens if fixed is None else torch.cat([tokens, fixed], 1)
        negative, positive = unet(torch.cat([latents] * 2), t, context, return_dict=False)[0].chunk(2)
        latents = scheduler.step(negative + guidance * (positive - negative), t, latents).prev_sample
    pixels = vae.decode(latents / vae.config.scaling_factor).sample
    return [Image.fromarray(p) for p in ((pixels + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()]


def in_region(place, region):
    return all(index / 3 - MARGIN <= v <= (index + 1) / 3 + MARGIN for v, index in zip(place, region))


def judge(scene, found):
    """For each thing: kind found, kind and colour found, both found in its region."""
    verdicts = []
    for thing in scene.things:
        of_kind = [f for f in found if f.kind == KINDS[thing.kind][0]]
        right = [f for f in of_kind if thing.color == NATURAL or f.color == COLOR_NAMES[thing.color]]
        verdicts.append((bool(of_kind), bool(right), any(in_region((f.x, f.y), region_of(thing)) for f in right)))
    return verdicts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("conditions", nargs="+", choices=["clip", "ella", "ella+clip", "regions"])
    parser.add_argument("--trained", default="ella")
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=6.0)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    tasks = (short_tasks if args.short else dense_tasks)(args.count)
    for kind in args.conditions:
        models = averaged(args.trained) if "ella" in kind else (None, None, None, build()[3])
        pictures = [p for i in range(0, len(tasks), 24) for p in paint(kind, models, tasks[i:i + 24], args.steps, args.guidance, args.seed + i)]
        verdicts = np.array([v for (scene, _), found in zip(tasks, find_all(pictures)) for v in judge(scene, found)])
        share = [round(float(s), 3) for s in verdicts.mean(0)]
        print(json.dumps({"condition": kind, "things": len(verdicts), "kind": share[0], "and colour": share[1], "and place": share[2]}), flush=True)
        if args.sheet:
            sheet_of(pictures[:24], 8).save(args.sheet.with_name(f"{args.sheet.stem}-{kind}.png"))


if __name__ == "__main__":
    main()
