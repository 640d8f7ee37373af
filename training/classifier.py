"""The second judge of pictures of the first edition, which is what is embedded: a small detector that says which things, in which colours, stand where.

It was trained on drawn scenes of the first edition's world only, never on painted ones; that world is no longer drawn, so the weights in `classifier/` are final. The second edition's is
`second_judge.py`.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from second_judge import Found
from world import HERE

MODEL = "7562e2040201b94a2a0b1ac4a29fd40f9a6a6762256ecc446b4b07179a2ebd4c"  # the first edition's, as recipes and run folders name it
WEIGHTS = HERE / "classifier" / "classifier.safetensors"
CELLS = 16  # the grid is CELLS × CELLS
KINDS = "backpack book bottle bowl car cat chair cup dog laptop apple ball bird fish flower umbrella".split()
COLORS_AND_NATURAL = "red orange yellow green blue purple pink brown black white gray natural".split()


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
                    KINDS[kinds[b, :, row, column].argmax()], COLORS_AND_NATURAL[colors[b, :, row, column].argmax()],
                    (column + 0.5) / CELLS, (row + 0.5) / CELLS, heat[b, 0, row, column].item()))
            results.append(sorted(found, key=lambda f: -f.score))
        return results


def load_classifier(path: Path = WEIGHTS):
    model = Classifier()
    model.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load_file(path).items()})
    return model.eval()
