"""The judge: a small detector that says which things, in which colours, stand where in a picture.

It is trained on drawn scenes only (`train_classifier.py`), never on painted ones. Its weights are in `classifier/`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from world import COLOR_NAMES, HERE, KINDS

WEIGHTS = HERE / "classifier" / "classifier.safetensors"
CELLS = 16  # the grid is CELLS × CELLS
COLORS_AND_NATURAL = [*COLOR_NAMES, "natural"]


@dataclass
class Found:
    """One thing found; `x`, `y` its centre in proportions 0..=1, `score` 0..=1."""

    kind: str
    color: str
    x: float
    y: float
    score: float


class Classifier(nn.Module):
    """(B, 3, 128, 128) in −1..=1 to centre heat (B, 1, 16, 16), kind (B, 16, 16, 16) and colour (B, 12, 16, 16) logits."""

    def __init__(self, width=64):
        super().__init__()
        halve = lambda a, b: nn.Sequential(nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
        self.stem = nn.Sequential(halve(3, 16), halve(16, 32), halve(32, width))
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 1, d, d, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for d in (1, 2, 1, 3, 1, 2))
        self.heads = nn.Conv2d(width, 1 + len(KINDS) + len(COLORS_AND_NATURAL), 1)
        nn.init.constant_(self.heads.bias[:1], -4.0)  # most cells hold no centre

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.heads(x).split([1, len(KINDS), len(COLORS_AND_NATURAL)], 1)

    @torch.no_grad()
    def find(self, x, threshold=0.3):
        """What is in each picture of the batch, surest first."""
        heat, kinds, colors = self(x)
        heat = heat.sigmoid()
        peak = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > threshold)
        results = []
        for b in range(len(x)):
            found = []
            for row, column in peak[b, 0].nonzero().tolist():
                found.append(Found(
                    KINDS[kinds[b, :, row, column].argmax()][0], COLORS_AND_NATURAL[colors[b, :, row, column].argmax()],
                    (column + 0.5) / CELLS, (row + 0.5) / CELLS, heat[b, 0, row, column].item()))
            results.append(sorted(found, key=lambda f: -f.score))
        return results


def load_classifier(path: Path = WEIGHTS):
    model = Classifier()
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()})
    return model.eval()
