"""Measures the adapters: `python evaluate_boxes.py` paints held-out scenes from their captions and boxes, and prints for how many things the judge
finds the kind, and kind and colour, with its centre inside the box; and how many pictures hold nothing but what was asked for.

One pass as `--method gligen` does it: DDIM, the adapters on for the first `--beta` of the steps. `--beta 0` is the same without boxes.
`--trained NAME` takes .cache/NAME.pt instead of the published adapters.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from PIL import Image
from safetensors.torch import load_file

import train_gligen
from export import sheet_of
from latents import PUBLISHED
from render_cache import load_set
from second_judge import find_all
from train_gligen import Phrases, grounding
from train_unet import SCHEDULER
from world import COLOR_NAMES, KINDS, NATURAL, SIZE, caption_well, drawn_box, noun_phrase

NEGATIVE = "artifacts, blurry, smooth texture, bad quality, distortions, unrealistic, distorted image, bad proportions, duplicate"


def tasks_of(count, seed=5):
    """Held-out scenes with their captions and slots."""
    rng = np.random.default_rng(seed)
    scenes = [scene for scene in load_set("held_out")[1] if scene.things and not scene.bad][:count]
    return [(scene, caption_well(scene, rng), [(noun_phrase([t], rng), drawn_box(t)) for t in scene.things]) for scene in scenes]


@torch.no_grad()
def paint(model, vae, tasks, steps, guidance, beta, seed):
    """A picture for each task: one batch of DDIM."""
    tokenizer, text, unet, _ = model
    phrases, scheduler = Phrases(tokenizer, text), DDIMScheduler(**SCHEDULER)
    scheduler.set_timesteps(steps)
    read = lambda texts: text(tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids).last_hidden_state
    prompts = torch.cat([read([NEGATIVE]).expand(len(tasks), -1, -1), read([caption for _, caption, _ in tasks])])
    slots = grounding([[]] * len(tasks) + [slots for _, _, slots in tasks], phrases)
    latents = torch.stack([torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(len(tasks))])
    for index, t in enumerate(scheduler.timesteps):
        shown = {"gligen": slots} if index < int(beta * steps) else None
        negative, positive = unet(torch.cat([latents] * 2), t, prompts, cross_attention_kwargs=shown, return_dict=False)[0].chunk(2)
        latents = scheduler.step(negative + guidance * (positive - negative), t, latents).prev_sample
    pixels = vae.decode(latents / vae.config.scaling_factor).sample
    return [Image.fromarray(p) for p in ((pixels + 1) * 127.5).clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()]


def judge(scene, found):
    """(kind right, kind and colour right) for each thing, and whether the judge found as many things as there are boxes."""
    verdicts = []
    for thing in scene.things:
        x0, y0, x1, y1 = drawn_box(thing)
        inside = [f for f in found if x0 <= f.x <= x1 and y0 <= f.y <= y1 and f.kind == KINDS[thing.kind][0]]
        verdicts.append((bool(inside), any(thing.color == NATURAL or f.color == COLOR_NAMES[thing.color] for f in inside)))
    return verdicts, len(found) == len(scene.things)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trained", help="name of a checkpoint in .cache")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--beta", type=float, default=0.4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.trained:
        model = train_gligen.averaged(args.trained)
    else:
        model = train_gligen.build()
        model[3].load_state_dict({name: t.float() for name, t in load_file(PUBLISHED / "unet" / "gligen.safetensors").items()})
    vae, tasks = AutoencoderKL.from_pretrained(PUBLISHED / "vae").float().eval(), tasks_of(args.count)
    pictures = [p for start in range(0, len(tasks), 25)
                for p in paint(model, vae, tasks[start:start + 25], args.steps, args.guidance, args.beta, 1000 + start)]
    verdicts = [judge(scene, found) for (scene, _, _), found in zip(tasks, find_all(pictures))]
    things = [thing for of_scene, _ in verdicts for thing in of_scene]
    print(json.dumps({
        "scenes": len(tasks), "things": len(things), "beta": args.beta,
        "kind in its box": round(float(np.mean([kind for kind, _ in things])), 3),
        "kind and colour in its box": round(float(np.mean([both for _, both in things])), 3),
        "all of a picture": round(float(np.mean([all(both for _, both in t) for t, _ in verdicts])), 3),
        "as many things as boxes": round(float(np.mean([count for _, count in verdicts])), 3),
    }))
    if args.sheet:
        sheet_of(pictures[:40]).save(args.sheet)


if __name__ == "__main__":
    main()
