"""The second judge: a CenterNet, another eye than the detector. It scores pictures and does nothing else: nothing is ever chosen, tuned or repaired by it.

Zhou et al. 2019, arXiv 1904.07850, in small: convolutions down to 8 × 8 and up again to 32 × 32, where every thing is a peak of one heat map; size, kind and colour are read at the peak. It
shares no layer, no words and no seed with the detector (`detector.py`), and is trained on drawn scenes of its own (`train_second_judge.py`), never on painted ones. The weights are those of
`checkpoints/second_judge.safetensors`. Pictures of the first edition have a judge of their own, `classifier.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from world import COLOR_NAMES, HERE, KINDS, SIZE

WEIGHTS = HERE / "checkpoints" / "second_judge.safetensors"
STRIDE = 4  # pixels of a cell of the heat map
CELLS = SIZE // STRIDE
WIDTHS = (32, 64, 112, 160)  # channels at strides 2, 4, 8 and 16
PARTS = {"heat": 1, "offset": 2, "size": 2, "kind": len(KINDS), "color": len(COLOR_NAMES)}
SURE = 0.4  # heat from which on a peak is a thing
DOUBLE = 0.6  # overlap (IoU) from which two boxes are one thing
DOUBLE_ALIKE = 0.35  # the same for two of one kind


@dataclass
class Found:
    """One thing found; centre and box (left, top, right, bottom) in proportions 0..=1, `score` 0..=1. A judge without boxes leaves the box out."""

    kind: str
    color: str
    x: float
    y: float
    score: float
    box: tuple | None = None


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))

    def forward(self, x):
        return x + self.second(self.norms[1](self.first(self.norms[0](x).relu())).relu())


class SecondJudge(nn.Module):
    """(B, 3, 128, 128) in −1..=1 to logits and sizes by name (`PARTS`), each (B, channels, 32, 32)."""

    def __init__(self):
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = nn.Conv2d(3, a, 5, 2, 2)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 3, 2, 1) for i, o in ((a, b), (b, c), (c, d)))
        self.on_the_way_down = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(n))) for w, n in ((b, 1), (c, 2), (d, 3)))
        self.up = nn.ModuleList(nn.Conv2d(i, o, 1) for i, o in ((d, c), (c, b)))
        self.on_the_way_up = nn.ModuleList(nn.Sequential(*(Block(w) for _ in range(n))) for w, n in ((c, 2), (b, 2)))
        self.norm = nn.GroupNorm(8, b)
        self.heads = nn.Conv2d(b, sum(PARTS.values()), 3, 1, 1)
        with torch.no_grad():
            self.heads.bias.zero_()
            self.heads.bias[0] = -4.0  # most cells hold no centre

    def forward(self, x):
        x, seen = self.stem(x).relu(), []
        for shrink, blocks in zip(self.down, self.on_the_way_down):
            x = blocks(shrink(x))
            seen.append(x)
        for widen, blocks, beside in zip(self.up, self.on_the_way_up, seen[-2::-1]):
            x = blocks(F.interpolate(widen(x), scale_factor=2.0, mode="bilinear") + beside)
        parts = self.heads(self.norm(x).relu()).split(list(PARTS.values()), 1)
        return dict(zip(PARTS, parts))

    @torch.no_grad()
    def find(self, x, threshold=SURE):
        """What is in each picture of the batch, surest first."""
        parts = self(x)
        heat = parts["heat"].sigmoid()
        peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat >= threshold)
        return [without_doubles(self.read(parts, heat, b, peaks[b, 0].nonzero().tolist())) for b in range(len(x))]

    @staticmethod
    def read(parts, heat, b, cells):
        found = []
        for row, column in cells:
            at = {name: part[b, :, row, column] for name, part in parts.items()}
            x, y = ((cell + 0.5 + shift) / CELLS for cell, shift in zip((column, row), at["offset"].tolist()))
            w, h = (at["size"].exp() * STRIDE / SIZE).tolist()
            box = tuple(min(1.0, max(0.0, v)) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
            found.append(Found(KINDS[at["kind"].argmax()][0], COLOR_NAMES[at["color"].argmax()], x, y, heat[b, 0, row, column].item(), box))
        return sorted(found, key=lambda f: -f.score)


def without_doubles(found):
    """The surest first, without those that lie upon a surer one."""
    kept = []
    for thing in found:
        if all(overlap(thing.box, other.box) < (DOUBLE_ALIKE if thing.kind == other.kind else DOUBLE) for other in kept):
            kept.append(thing)
    return kept


def overlap(a, b):
    """IoU of two boxes."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(w, 0) * max(h, 0)
    area = lambda c: (c[2] - c[0]) * (c[3] - c[1])
    return shared / max(area(a) + area(b) - shared, 1e-9)


def load_second_judge(path=WEIGHTS):
    """The judge with the weights of a compact checkpoint."""
    model = SecondJudge()
    model.load_state_dict({name.split(".", 1)[1]: tensor.float() for name, tensor in load_file(path).items()})
    return model.eval().to(memory_format=torch.channels_last)


def find_all(pictures, model=None, **options):
    """What a judge (unless told, this one) finds in PIL pictures of any size."""
    model, results = model or load_second_judge(), []
    for start in range(0, len(pictures), 32):
        part = np.stack([np.asarray(p.convert("RGB").resize((SIZE, SIZE), Image.LANCZOS)) for p in pictures[start:start + 32]])
        x = torch.from_numpy(part).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        results += model.find(x.contiguous(memory_format=torch.channels_last), **options)
    return results
