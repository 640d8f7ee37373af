"""Trains the second judge on drawn scenes: `python train_second_judge.py --minutes 20`. Goes on from .cache/second_judge.pt when it is there.

The scenes are its own (`render_cache.py judge 12000 0 501`, `render_cache.py judge_boxes 8000 3 502`; `soften.py judge:3000 judge_boxes:2000` for some of them after a round trip
through the autoencoder), roughened and moved as painted pictures might be. Things in their icon's own colours teach no colour. `--report` measures the committed weights
on held-out scenes, by the same figures as the detector (`evaluate_detector.py`).
"""

import argparse

import numpy as np
import torch
from torch.nn import functional as F

from evaluate_detector import measure_all
from muon import Pair
from pace import Average, Pace, ramp
from render_cache import load_set
from second_judge import CELLS, STRIDE, SecondJudge, load_second_judge
from world import CACHE, COLOR_NAMES, KINDS, NATURAL, SIZE, drawn_box

SEED = 4242
BATCH = 16
SETS = ("judge", 1.0), ("judge_boxes", 0.7)
SOFT_SHARE = 0.35
WEIGHTS = {"heat": 1.0, "offset": 0.5, "size": 0.5, "kind": 1.0, "color": 1.0}


# ---------------------------------------------------------------- pictures


class Pictures:
    """Drawn scenes, some of them softened."""

    def __init__(self):
        self.sets = []
        for name, weight in SETS:
            pixels, scenes = load_set(name)
            soft = np.load(CACHE / f"{name}.soft.npy", mmap_mode="r")
            good = np.array([i for i, scene in enumerate(scenes) if not scene.bad])
            self.sets += [(pixels, scenes, good, weight * (1 - SOFT_SHARE)), (soft, scenes, good[good < len(soft)], weight * SOFT_SHARE)]
        shares = np.array([weight for *_, weight in self.sets])
        self.shares = shares / shares.sum()

    def batch(self, rng):
        """Pictures (B, 3, S, S) in −1..=1, and the things of each with their boxes in pixels."""
        pictures, things = [], []
        for _ in range(BATCH):
            pixels, scenes, good, _ = self.sets[rng.choice(len(self.sets), p=self.shares)]
            i = good[rng.integers(len(good))]
            dx, dy = (int(v) for v in rng.integers(-5, 6, 2)) if rng.random() < 0.4 else (0, 0)
            padded = np.pad(np.array(pixels[i]), ((5, 5), (5, 5), (0, 0)), "edge")[5 - dy:5 - dy + SIZE, 5 - dx:5 - dx + SIZE]
            x = torch.from_numpy(np.ascontiguousarray(padded)).permute(2, 0, 1)[None].float().div(127.5).sub(1)
            pictures.append(roughen(x, rng) if rng.random() < 0.7 else x)
            things.append([(thing, boxed(thing, dx, dy)) for thing in scenes[i].things])
        return torch.cat(pictures).contiguous(memory_format=torch.channels_last), things


def boxed(thing, dx=0, dy=0):
    return np.clip(SIZE * np.array(drawn_box(thing)) + (dx, dy, dx, dy), 0, SIZE)


def roughen(x, rng):
    """What painting does to a picture, roughly: soft or too sharp, off in contrast and tint, a little noise, blotches: (1, 3, S, S) in −1..=1."""
    way = rng.random()
    if way < 0.6:
        small = F.interpolate(x, scale_factor=float(rng.uniform(0.4, 0.9)), mode="bicubic", antialias=True)
        soft = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
        x = soft if way < 0.45 else x + (x - soft)
    x = x * float(rng.uniform(0.88, 1.1)) + torch.from_numpy(rng.normal(0, 0.03, (1, 3, 1, 1)).astype(np.float32))
    if rng.random() < 0.4:
        blotches = torch.from_numpy(rng.normal(0, 0.07, (1, 3, 16, 16)).astype(np.float32))
        x = x + F.interpolate(blotches, size=(SIZE, SIZE), mode="bilinear")
    return (x + torch.randn_like(x) * float(rng.uniform(0, 0.06))).clamp(-1, 1)


# ---------------------------------------------------------------- truth and loss

ROWS, COLUMNS = (v.astype(np.float32) + 0.5 for v in np.mgrid[:CELLS, :CELLS])


def truth_of(things):
    """Heat (32, 32), the owner of each cell around a centre (−1: none), and boxes (N, 4): centre and size in cells."""
    heat, owner, away = np.zeros((CELLS, CELLS), np.float32), np.full((CELLS, CELLS), -1), np.full((CELLS, CELLS), np.inf, np.float32)
    boxes = np.zeros((len(things), 4), np.float32)
    for number, (_, b) in enumerate(things):
        cx, cy, w, h = boxes[number] = np.array([b[0] + b[2], b[1] + b[3], 2 * (b[2] - b[0]), 2 * (b[3] - b[1])]) / 2 / STRIDE
        if min(w, h) < 0.5:
            continue  # moved out of the picture
        column, row = int(min(cx, CELLS - 1)), int(min(cy, CELLS - 1))
        sx, sy = (max(0.6, v / 9) for v in (w, h))
        bump = np.exp(-((COLUMNS - column - 0.5) ** 2 / (2 * sx**2) + (ROWS - row - 0.5) ** 2 / (2 * sy**2)))
        heat = np.maximum(heat, bump)
        distance = np.abs(COLUMNS - column - 0.5) + np.abs(ROWS - row - 0.5)
        mine = (distance <= 1) & (distance < away)
        owner[mine], away[mine] = number, distance[mine]
    return heat, owner, boxes


def loss_of(model, x, things):
    parts = model(x)
    truths = [truth_of(of_picture) for of_picture in things]
    heat = torch.from_numpy(np.stack([heat for heat, _, _ in truths]))
    p = parts["heat"][:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = heat >= 1 - 1e-5
    focal = torch.where(centre, -((1 - p) ** 2) * p.log(), -((1 - heat) ** 4) * p**2 * (1 - p).log()).sum() / centre.sum().clamp(min=1)

    cells = [(b, row, column, things[b][owner[row, column]][0], boxes[owner[row, column]])
             for b, (_, owner, boxes) in enumerate(truths) for row, column in zip(*np.nonzero(owner >= 0))]
    b, rows, columns = (torch.tensor([cell[i] for cell in cells]) for i in range(3))
    boxes = torch.from_numpy(np.stack([box for *_, box in cells]))
    kinds, colors = (torch.tensor([getattr(thing, name) for *_, thing, _ in cells]) for name in ("kind", "color"))
    at = {name: part.permute(0, 2, 3, 1)[b, rows, columns] for name, part in parts.items()}
    here = torch.stack([columns, rows], 1) + 0.5
    losses = {
        "heat": focal, "offset": F.l1_loss(at["offset"], boxes[:, :2] - here), "size": F.l1_loss(at["size"], boxes[:, 2:].log()),
        "kind": F.cross_entropy(at["kind"], kinds), "color": F.cross_entropy(at["color"], colors, ignore_index=NATURAL),
    }
    return sum(WEIGHTS[name] * loss for name, loss in losses.items()), losses


# ---------------------------------------------------------------- the training


class Figures:
    """The judge as `evaluate_detector.py` asks it: counts of every kind, and looks with corners."""

    def __init__(self, model):
        self.model, self.names = model, [single for single, _, _ in KINDS]

    def see(self, images):
        seen = []
        for found in self.model.find((images * 2 - 1).contiguous(memory_format=torch.channels_last)):
            counts = [sum(f.kind == name for f in found) for name in self.names]
            seen.append((counts, [((self.names.index(f.kind), COLOR_NAMES.index(f.color)), torch.tensor(f.box)) for f in found]))
        return seen


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--report", action="store_true", help="measure the weights of checkpoints/, and nothing else")
    args = parser.parse_args()
    if args.report:
        return measure_all(Figures(load_second_judge()))
    torch.manual_seed(SEED)
    model = SecondJudge().to(memory_format=torch.channels_last)
    optimizer, average = Pair([model], lr=2e-3, muon_lr=4e-3, outer=("stem", "heads")), Average(model, 0.998)
    pace = Pace("second_judge", args.minutes)
    state = {"second_judge": model, "optimizer": optimizer, "second_judge_average": average}
    pace.resume(state)
    rng = np.random.default_rng(SEED + pace.step)
    torch.manual_seed(SEED + pace.step)
    pictures, share, totals = Pictures(), pace.spent / 60 / args.minutes, {}
    while share < 1:
        loss, parts = loss_of(model, *pictures.batch(rng))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step(ramp(share, decay_from=0.5))
        average.update(model)
        share = pace.tick()
        totals = {name: totals.get(name, 0.0) + part.item() for name, part in parts.items()}
        if pace.step % 50 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} " + " ".join(f"{name} {total / 50:.3f}" for name, total in totals.items()), flush=True)
            totals = {}
        if pace.step % 200 == 0:
            pace.save(state)
    pace.save(state)


if __name__ == "__main__":
    main()
