"""Trains the miniature detector on drawn scenes: `python train_detector.py --minutes 60`. Goes on from .cache/detector.pt when it is there.

Every patch in the middle of a thing answers for it, patches around the middle are not asked, all others must stay silent; every patch of a
thing learns its box. Close-ups come first (some of the patches, in a window around a thing), then whole scenes. Half of the pictures are softened:
some went through the autoencoder (`soften.py`), some are blurred, brightened, noisy or moved by a few pixels. None was painted by the miniature.
"""

import argparse

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPTokenizer

from detector import FOREIGN, FRAMES, PATCH, SIDE, SYNONYMS, VISION, WINDOW, Detector, article, corners, overlap
from muon import Pair
from pace import Average, Pace, ramp
from render_cache import load_set
from world import CACHE, COLOR_NAMES, KINDS, NATURAL, SIZE, colored, drawn_box

PLAIN = -1  # a query without a colour
OUTSIDE = -1  # a query for what is not of this world
OTHER_COLORED = 64  # coloured queries a step beside those for what is in the pictures
FOREIGN_QUERIES = 16


# ---------------------------------------------------------------- queries


class Questions:
    """Token ids of everything that is asked."""

    def __init__(self):
        self.tokenizer = CLIPTokenizer.from_pretrained(CACHE / "tokenizer")
        self.known = {}

    def ids(self, texts):
        """(Q, WINDOW): beginning, text, end, zeros."""
        for text in texts:
            if text not in self.known:
                ids = self.tokenizer(text, truncation=True, max_length=WINDOW)["input_ids"]
                self.known[text] = ids + [0] * (WINDOW - len(ids))
        return torch.tensor([self.known[text] for text in texts])


def ask(rng, things):
    """Queries of a step: (texts, kinds (Q,), colours (Q,)). All plain kinds, the looks that are there, some others, some foreign."""
    looks = [(kind, PLAIN) for kind in range(len(KINDS))]
    present = {(t.kind, t.color) for t in things if t.color != NATURAL}
    others = {(int(k), int(c)) for k, c in zip(rng.integers(len(KINDS), size=OTHER_COLORED), rng.integers(len(COLOR_NAMES), size=OTHER_COLORED))}
    looks += sorted(present | others)
    texts = [say(rng, kind, color) for kind, color in looks]
    for i in rng.integers(len(FOREIGN), size=FOREIGN_QUERIES):
        texts.append(frame(rng, FOREIGN[i], COLOR_NAMES[rng.integers(len(COLOR_NAMES))] if rng.random() < 0.4 else None))
        looks.append((OUTSIDE, PLAIN))
    kinds, colors = zip(*looks)
    return texts, torch.tensor(kinds), torch.tensor(colors)


def say(rng, kind, color):
    single, plural, _ = KINDS[kind]
    name = colored(color, rng) if color != PLAIN else None
    if rng.random() < 0.1:
        words = f"{name} {plural}" if name else plural
        return f"a photo of {words}" if rng.random() < 0.5 else words
    noun = single
    if single in SYNONYMS and rng.random() < 0.15:
        noun = SYNONYMS[single][rng.integers(len(SYNONYMS[single]))]
    return frame(rng, noun, name)


def frame(rng, noun, color):
    words = f"{color} {noun}" if color else noun
    return FRAMES[rng.integers(len(FRAMES))].format(words, a=article(words))


# ---------------------------------------------------------------- what is where


def box_of(thing):
    """Left, top, right, bottom in pixels, as `render` draws it, cut at the picture's edges."""
    return np.clip(SIZE * np.array(drawn_box(thing)), 0, SIZE).astype(np.float32)


CENTRES = (np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).reshape(-1, 2) + 0.5) * PATCH  # (SIDE², 2): x, y


def truth_of(things, shift=(0, 0)):
    """For each patch: owner's kind and colour (−1: none), in its middle, its box (centre and size, 0..=1)."""
    n = SIDE * SIDE
    kind, color, middle = np.full(n, -2), np.full(n, NATURAL), np.zeros(n, bool)
    box, nearest = np.full((n, 4), 0.5, np.float32), np.full(n, np.inf)
    for thing in things:
        b = np.clip(box_of(thing) + np.array([*shift, *shift], np.float32), 0, SIZE)
        centre, size = (b[:2] + b[2:]) / 2, np.maximum(b[2:] - b[:2], 1)
        away = np.abs(CENTRES - centre) / size  # 0.5 is the edge
        distance = away.max(1)
        mine = (distance <= 0.5) & (distance < nearest)
        if not mine.any():
            mine = distance == distance.min()
        nearest[mine] = distance[mine]
        kind[mine], color[mine] = thing.kind, thing.color
        middle[mine] = (np.abs(CENTRES - centre) <= np.maximum(0.22 * size, PATCH / 2 + 0.01)).all(1)[mine]
        box[mine] = np.concatenate([centre, size]) / SIZE
    return kind, color, middle, box


def window_around(things, rng, side):
    """Patches (side²,) of a window that holds a thing, or any window."""
    fitting = [b for b in (box_of(t) / PATCH for t in things) if (b[2:] - b[:2]).max() <= side - 0.5]
    if fitting:
        b = fitting[rng.integers(len(fitting))]
        low = np.maximum(np.ceil(b[2:] - side).astype(int), 0)
        high = np.minimum(np.floor(b[:2]).astype(int), SIDE - side)
        x, y = (int(rng.integers(min(lo, hi), max(lo, hi) + 1)) for lo, hi in zip(low, high))
    else:
        x, y = rng.integers(0, SIDE - side + 1, 2)
    rows, columns = np.mgrid[y:y + side, x:x + side]
    return (rows * SIDE + columns).reshape(-1), (x, y, x + side, y + side)


def is_cut(thing, window):
    """Whether the window shows a part of it only."""
    b = box_of(thing) / PATCH
    return b[0] < window[0] or b[1] < window[1] or b[2] > window[2] or b[3] > window[3]


# ---------------------------------------------------------------- pictures


class Pictures:
    """Drawn scenes and those that were softened by the autoencoder."""

    def __init__(self):
        self.sets = []
        for name, weight in (("stage1", 0.6), ("stage2", 1.1), ("boxes", 0.6)):
            pixels, scenes = load_set(name)
            good = [i for i, scene in enumerate(scenes) if not scene.bad]
            self.sets.append((pixels, scenes, good, weight * 0.65))
            if (CACHE / f"{name}.soft.npy").exists():
                soft = np.load(CACHE / f"{name}.soft.npy", mmap_mode="r")
                self.sets.append((soft, scenes, [i for i in good if i < len(soft)], weight * 0.35))
        total = sum(s[3] for s in self.sets)
        self.shares = [s[3] / total for s in self.sets]

    def sample(self, rng):
        """Pixels (128, 128, 3) uint8 and the things in them."""
        pixels, scenes, good, _ = self.sets[rng.choice(len(self.sets), p=self.shares)]
        i = good[rng.integers(len(good))]
        return np.array(pixels[i]), scenes[i].things


def roughen(x, rng):
    """Softer, brighter, noisier: (1, 3, S, S) in 0..=1. Little enough that colours keep their names."""
    if rng.random() < 0.5:
        small = F.interpolate(x, scale_factor=float(rng.uniform(0.35, 0.9)), mode="bilinear", antialias=True)
        x = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
    if rng.random() < 0.6:
        x = (x - 0.5) * float(rng.uniform(0.88, 1.12)) + 0.5 + torch.from_numpy(rng.normal(0, 0.018, (1, 3, 1, 1)).astype(np.float32))
        x = x + float(rng.uniform(-0.05, 0.05))
    if rng.random() < 0.6:
        x = x + torch.randn_like(x) * float(rng.uniform(0, 0.04))
    return x.clamp(0, 1)


def batch_of(pictures, rng, count, side):
    """Images (B, 3, S, S), patches (B, n) and their truths; `side` SIDE for whole scenes."""
    images, patches, truths, seen = [], [], [], []
    for _ in range(count):
        pixels, things = pictures.sample(rng)
        shift = (0, 0)
        if rng.random() < 0.25:
            shift = tuple(int(v) for v in rng.integers(-4, 5, 2))
            pixels = np.pad(pixels, ((4, 4), (4, 4), (0, 0)), "edge")[4 - shift[1]:4 - shift[1] + SIZE, 4 - shift[0]:4 - shift[0] + SIZE]
        chosen, window = (np.arange(SIDE * SIDE), (-9, -9, 99, 99)) if side == SIDE else window_around(things, rng, side)
        kind, color, middle, box = truth_of(things, shift)
        cut = [t for t in things if is_cut(t, window)]
        skipped = truth_of(cut, shift)[0] >= 0 if cut else np.zeros(SIDE * SIDE, bool)
        x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float().div(255)
        images.append(roughen(x, rng) if rng.random() < 0.6 else x)
        patches.append(torch.from_numpy(chosen))
        truths.append([torch.from_numpy(np.ascontiguousarray(v[chosen])) for v in (kind, color, middle, box, skipped)])
        seen += things
    return torch.cat(images), torch.stack(patches), [torch.stack(v) for v in zip(*truths)], seen


# ---------------------------------------------------------------- loss


class Helpers(nn.Module):
    """Names kind and colour of every patch's thing, in training only: features learn what things are before queries find words for it."""

    def __init__(self):
        super().__init__()
        self.kind, self.color = (nn.Linear(VISION["hidden_size"], n) for n in (len(KINDS), len(COLOR_NAMES)))


def loss_of(model, helpers, questions, batch, rng):
    images, patches, (kind, color, middle, box, skipped), things = batch
    texts, query_kind, query_color = ask(rng, things)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.features(images, patches)
        queries = model.queries(questions.ids(texts))
        logits = model.class_head(features, queries.float())  # (B, n, Q)
        boxes = model.box_head(features, patches)
        names, tints = helpers.kind(features).float(), helpers.color(features).float()
    owned = (kind >= 0) & ~skipped

    same_kind = kind[..., None] == query_kind  # (B, n, Q)
    same = same_kind & ((query_color == PLAIN) | (query_color == color[..., None]))
    natural = same_kind & (color == NATURAL)[..., None] & (query_color != PLAIN)  # has a colour, but nobody says which
    target = (same & middle[..., None]).float()
    counted = ~((same & ~middle[..., None]) | natural | skipped[..., None])
    p = logits.sigmoid().clamp(1e-5, 1 - 1e-5)
    focal = -(target * (1 - p) ** 2 * p.log() + (1 - target) * p**2 * (1 - p).log()) * counted
    focal = focal.sum() / (target * counted).sum().clamp(min=1)

    at, wanted = boxes[owned], box[owned]
    place = F.l1_loss(at, wanted, reduction="sum") + (1 - giou(corners(at), corners(wanted))).sum() * 0.4
    place = place / owned.sum().clamp(min=1)

    kinds = F.cross_entropy(names[owned], kind[owned]) if owned.any() else 0.0
    tinted = owned & (color >= 0)
    colors = F.cross_entropy(tints[tinted], color[tinted]) if tinted.any() else 0.0
    return focal + 3 * place + 0.5 * (kinds + colors), (focal, place, kinds, colors)


def giou(a, b):
    """Generalised IoU of corners, pairwise."""
    iou = overlap(a, b)
    hull = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0).prod(-1).clamp(min=1e-9)
    area = lambda c: (c[:, 2:] - c[:, :2]).clamp(min=0).prod(-1)
    union = (area(a) + area(b)) / (1 + iou)
    return iou - (hull - union) / hull


# ---------------------------------------------------------------- the training


def side_for(share, rng):
    """Windows of 8 or 11 patches in the first half of the budget, whole scenes after it and at times before."""
    closeup = 0.85 if share < 0.35 else 0.5 if share < 0.55 else 0.1
    if rng.random() >= closeup:
        return SIDE, 12
    return (8, 40) if rng.random() < 0.6 else (11, 24)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60)
    args = parser.parse_args()
    torch.manual_seed(0)
    model, helpers, questions = Detector(), Helpers(), Questions()
    outer = ("patch_embedding", "position_embedding", "token_embedding", "class_embedding", "dense2", "logit_shift", "logit_scale",
             "visual_projection", "kind", "color")
    optimizer, average = Pair([model, helpers], lr=1.5e-3, muon_lr=5e-3, outer=outer), Average(model, 0.998)
    pace = Pace("detector", args.minutes)
    state = {"detector": model, "helpers": helpers, "optimizer": optimizer, "detector_average": average}
    pace.resume(state)
    rng = np.random.default_rng(1 + pace.step)
    torch.manual_seed(1 + pace.step)
    pictures = Pictures()
    share, totals = pace.spent / 60 / args.minutes, np.zeros(4)
    while share < 1:
        side, count = side_for(share, rng)
        loss, parts = loss_of(model, helpers, questions, batch_of(pictures, rng, count, side), rng)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step(ramp(share, decay_from=0.55))
        average.update(model)
        share, totals = pace.tick(), totals + np.array([part.item() for part in parts])
        if pace.step % 50 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} " +
                  " ".join(f"{n} {v:.3f}" for n, v in zip(("fit", "place", "kind", "color"), totals / 50)), flush=True)
            totals[:] = 0
        if pace.step % 200 == 0:
            pace.save(state)
    pace.save(state)


if __name__ == "__main__":
    main()
