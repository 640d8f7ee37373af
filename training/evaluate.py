"""Measures the exported miniature: `python evaluate.py FOLDER` prints PSNR of the autoencoder and how often a single thing is
painted with the right kind and colour. `--count 300` captions, `--sheet FILE.png` keeps the first pictures.

The captions are held out: training never sees a caption for which `world.held_out` is true.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from export import load_pipeline, paint, sheet_of
from render_cache import draw_set, load_set
from second_judge import find_all
from train_vae import psnr
from world import BACKGROUND_NAMES, CACHE, COLOR_NAMES, KINDS, Scene, Thing, caption_well, held_out


def single_captions(count, seed=3):
    """Held-out captions of one coloured thing, kinds and colours in turn: (text, kind, colour)."""
    rng = np.random.default_rng(seed)
    looks = [(k, c) for k in range(len(KINDS)) for c in range(len(COLOR_NAMES))]
    order = rng.permutation(len(looks))
    chosen = []
    while len(chosen) < count:
        kind, color = looks[order[len(chosen) % len(looks)]]
        scene = Scene(BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))], [Thing(kind, color, 64, 64, 64)])
        text = caption_well(scene, rng)
        if held_out(text) and KINDS[kind][0] in text and COLOR_NAMES[color] in text:
            chosen.append((text, KINDS[kind][0], COLOR_NAMES[color]))
    return chosen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--guidance", type=float, default=6.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pipe = load_pipeline(args.folder)
    if not (CACHE / "held_out.npy").exists():
        draw_set("held_out", 600, 0, 77)
    pixels, _ = load_set("held_out")
    captions = single_captions(args.count)
    pictures = paint(pipe, [text for text, _, _ in captions], 1000, args.steps, args.guidance)
    found = find_all(pictures)
    surest = [things[0] if things else None for things in found]
    kind = [f is not None and f.kind == k for f, (_, k, _) in zip(surest, captions)]
    color = [f is not None and f.color == c for f, (_, _, c) in zip(surest, captions)]
    print(json.dumps({
        "psnr_db": round(psnr(pipe.vae, pixels[:200]), 2),
        "captions": len(captions),
        "kind_right": round(float(np.mean(kind)), 4),
        "color_right": round(float(np.mean(color)), 4),
        "both_right": round(float(np.mean(np.logical_and(kind, color))), 4),
        "exactly_one_thing": round(float(np.mean([len(things) == 1 for things in found])), 4),
    }, indent=2))
    for name, _, _ in KINDS:
        rows = [ok for ok, (_, k, _) in zip(kind, captions) if k == name]
        print(f"  {name}: kind {sum(rows)}/{len(rows)}")
    for name in COLOR_NAMES:
        rows = [ok for ok, (_, _, c) in zip(color, captions) if c == name]
        print(f"  {name}: colour {sum(rows)}/{len(rows)}")
    if args.sheet:
        sheet_of(pictures[:40]).save(args.sheet)
        print("\n".join(text for text, _, _ in captions[:40]))


if __name__ == "__main__":
    main()
