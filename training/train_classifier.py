"""Trains the judge on drawn scenes: `python train_classifier.py --minutes 6`; writes classifier/classifier.safetensors.

Pictures are blurred, brightened and made noisy at random, because an autoencoder's pictures are a little soft.
"""

import argparse

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from classifier import CELLS, WEIGHTS, Classifier, load_classifier
from muon import Pair
from pace import Pace, ramp
from render_cache import load_set
from train_vae import to_tensor
from world import COLOR_NAMES, KINDS, SIZE


def targets_of(scenes):
    """Heat (B, 1, 16, 16); kind and colour (B, 16, 16), −1 where they do not count."""
    heat = torch.zeros(len(scenes), 1, CELLS, CELLS)
    kinds, colors = torch.full((len(scenes), CELLS, CELLS), -1), torch.full((len(scenes), CELLS, CELLS), -1)
    rows, columns = torch.meshgrid(torch.arange(CELLS), torch.arange(CELLS), indexing="ij")
    for b, scene in enumerate(scenes):
        for thing in scene.things:
            cx, cy = (min(CELLS - 1, max(0, int(v / SIZE * CELLS))) for v in (thing.x, thing.y))
            spread = max(0.7, thing.size / SIZE * CELLS / 8)
            bump = torch.exp(-((rows - cy) ** 2 + (columns - cx) ** 2) / (2 * spread**2))
            heat[b, 0] = torch.maximum(heat[b, 0], bump)
            near = (rows - cy).abs() + (columns - cx).abs() <= 1
            kinds[b][near] = thing.kind
            colors[b][near] = thing.color if thing.color >= 0 else len(COLOR_NAMES)
    return heat, kinds, colors


def roughen(x, rng):
    """What painting does to a picture, roughly: softer, shifted in brightness, a little noise."""
    if rng.random() < 0.6:
        small = F.interpolate(x, scale_factor=float(rng.uniform(0.35, 0.9)), mode="bilinear", antialias=True)
        x = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    x = x * float(rng.uniform(0.9, 1.1)) + float(rng.uniform(-0.08, 0.08))
    return x + torch.randn_like(x) * float(rng.uniform(0, 0.06))


def loss_of(model, x, scenes):
    heat, kinds, colors = targets_of(scenes)
    heat_logits, kind_logits, color_logits = model(x)
    p = heat_logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = heat == 1
    focal = torch.where(centre, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log())
    count = max(1, centre.sum().item())
    return (focal.sum() / count + F.cross_entropy(kind_logits, kinds, ignore_index=-1)
            + F.cross_entropy(color_logits, colors, ignore_index=-1))


@torch.no_grad()
def accuracy(model, pixels, scenes):
    """Shares over drawn scenes: things found, their kind right, their colour right; scenes whose count is right."""
    things = found_things = kinds = colors = counts = 0
    for start in range(0, len(pixels), 32):
        for scene, found in zip(scenes[start:start + 32], model.find(to_tensor(pixels[start:start + 32]))):
            counts += len(found) == len(scene.things)
            for thing in scene.things:
                things += 1
                near = [f for f in found if max(abs(f.x * SIZE - thing.x), abs(f.y * SIZE - thing.y)) < 12]
                if near:
                    best = min(near, key=lambda f: abs(f.x * SIZE - thing.x) + abs(f.y * SIZE - thing.y))
                    found_things += 1
                    kinds += best.kind == KINDS[thing.kind][0]
                    colors += best.color == ([*COLOR_NAMES, "natural"][thing.color])
    return dict(found=found_things / things, kind=kinds / found_things, color=colors / found_things,
                count=counts / len(scenes))


def report():
    pixels, scenes = load_set("held_out")
    good = [i for i, scene in enumerate(scenes) if not scene.bad]
    for name, largest in (("one thing", 1), ("any number", 9)):
        chosen = [i for i in good if 0 < len(scenes[i].things) <= largest]
        scores = accuracy(load_classifier(), pixels[chosen], [scenes[i] for i in chosen])
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()) + f" ({len(chosen)} scenes)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=6)
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Classifier().to(memory_format=torch.channels_last)
    optimizer = Pair([model], lr=2e-3, muon_lr=4e-3, outer=("heads",))
    pace = Pace("classifier", args.minutes)
    state = {"model": model, "optimizer": optimizer}
    pace.resume(state)
    rng = np.random.default_rng(pace.step)
    sets = [load_set("stage1"), load_set("stage2"), load_set("stage2")]
    share, total = pace.spent / 60 / args.minutes, 0.0
    while share < 1:
        pixels, scenes = sets[rng.integers(len(sets))]
        chosen = [i for i in np.sort(rng.integers(len(scenes), size=16)) if not scenes[i].bad]
        loss = loss_of(model, roughen(to_tensor(pixels[chosen]), rng), [scenes[i] for i in chosen])
        loss.backward()
        optimizer.step(ramp(share, decay_from=0.4))
        share, total = pace.tick(), total + loss.item()
        if pace.step % 50 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total / 50:.3f}", flush=True)
            total = 0.0
    pace.save(state)
    WEIGHTS.parent.mkdir(exist_ok=True)
    weights = {name: t.contiguous() for name, t in model.state_dict().items()}
    save_file({name: t.half() if t.is_floating_point() else t for name, t in weights.items()}, WEIGHTS)
    report()


if __name__ == "__main__":
    main()
