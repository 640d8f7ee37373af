"""Sets how sure the miniature detector has to be: `python calibrate_detector.py ../crates/sinopia-miniature/assets/detector`.

The benchmark counts every box with a score of 0.15 or more. A trained detector ranks well, but that threshold is somebody else's: the miniature saw a second, faint
thing in every tenth scene. One number, added to the bias of `logit_shift`, moves all scores. On scenes of its own (`render_cache.py calibration 1000 0 78` and
`soften.py calibration`) it is the smallest with which the count of every kind is exact in `WANTED` of the drawn ones. A larger one counts drawn scenes better yet, but things that
are painted are fainter than drawn ones, and it overlooks what is plainly there.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from detector import Detector, corners, query_text
from render_cache import load_set
from train_detector import Questions, roughen
from world import CACHE, KINDS

SHIFTS = np.arange(-25, 1) * 0.01
SCORE, OVERLAP = 0.15, 0.15  # the benchmark's
WANTED = 0.985


class Look:
    """What the detector sees in some pictures before anybody says how sure it has to be."""

    def __init__(self, model, queries, images):
        features = model.features(images)
        scale = F.elu(model.class_head.logit_scale(features)) + 1
        self.logits, self.scale = model.class_head(features, queries).numpy(), scale.numpy()  # (B, patches, kinds), (B, patches, 1)
        self.boxes = corners(model.box_head(features, torch.arange(features.shape[1]).expand(len(images), -1))).numpy()  # (B, patches, 4)

    def counts(self, shift):
        """(B, kinds): boxes of each kind, asked for one at a time."""
        scores = 1 / (1 + np.exp(-(self.logits + shift * self.scale)))
        return np.array([[kept(scores[b, :, k], self.boxes[b]) for k in range(scores.shape[2])] for b in range(len(scores))])


def kept(scores, boxes):
    """How many boxes are left once the doubles are suppressed."""
    order = [i for i in np.argsort(-scores) if scores[i] >= SCORE]
    chosen = []
    for i in order:
        if all(overlap(boxes[i], boxes[j]) < OVERLAP for j in chosen):
            chosen.append(i)
    return len(chosen)


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    area = lambda c: max(c[2] - c[0], 0) * max(c[3] - c[1], 0)
    return shared / max(area(a) + area(b) - shared, 1e-9)


@torch.no_grad()
def looks(model, queries, pixels, good, change=lambda x: x):
    for start in range(0, len(good), 32):
        images = torch.from_numpy(np.array(pixels[good[start:start + 32]])).permute(0, 3, 1, 2).float().div(255)
        yield Look(model, queries, change(images))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    path = parser.parse_args().folder / "model.safetensors"
    weights = load_file(path)
    model, rng = Detector().eval(), np.random.default_rng(0)
    model.load_state_dict({name: t.float() for name, t in weights.items()})
    torch.manual_seed(0)
    with torch.no_grad():
        queries = model.queries(Questions().ids([query_text(single) for single, _, _ in KINDS]))
    pixels, scenes = load_set("calibration")
    good = [i for i, scene in enumerate(scenes) if not scene.bad]
    truth = np.array([[sum(t.kind == kind for t in scenes[i].things) for kind in range(len(KINDS))] for i in good])
    roughened = lambda x: torch.cat([roughen(one[None], rng) for one in x])
    soft = np.load(CACHE / "calibration.soft.npy", mmap_mode="r")
    sets = [list(looks(model, queries, *args)) for args in ((pixels, good), (soft, good), (pixels, good, roughened))]
    for shift in SHIFTS[::-1]:
        exact = [(np.concatenate([look.counts(shift) for look in part]) == truth).all(1).mean() for part in sets]
        print(f"{shift:+.2f}: count exact, drawn {exact[0]:.4f}, softened {exact[1]:.4f}, roughened {exact[2]:.4f}", flush=True)
        if exact[0] >= WANTED:
            break
    else:
        raise SystemExit(f"no shift counts {WANTED:.1%} of the drawn scenes exactly")
    shift = float(shift)
    weights["class_head.logit_shift.bias"] += shift
    save_file(weights, path, metadata={"format": "pt"})
    path.chmod(0o644)
    print(f"{shift:+.2f} added to the bias")


if __name__ == "__main__":
    main()
