"""Draws scenes once: `python render_cache.py NAME COUNT STAGE SEED` writes .cache/NAME.npy (N, 128, 128, 3) uint8 and
.cache/NAME.pkl (the scenes). Held-out sets use a seed of their own."""

import pickle
import sys

import numpy as np

from world import CACHE, SIZE, compose, compose_mixed, render

MIXED = 3


def draw_set(name, count, stage, seed):
    """Stage 0 mixes stages 1 and 2 in equal shares; stage 3 is scenes of mixed sizes."""
    rng = np.random.default_rng(seed)
    scenes = [compose_mixed(rng) if stage == MIXED else compose(rng, stage or 1 + i % 2) for i in range(count)]
    pixels = np.lib.format.open_memmap(CACHE / f"{name}.npy", "w+", np.uint8, (count, SIZE, SIZE, 3))
    for i, scene in enumerate(scenes):
        pixels[i] = render(scene)
    pixels.flush()
    (CACHE / f"{name}.pkl").write_bytes(pickle.dumps(scenes))


def load_set(name):
    """Pixels (N, 128, 128, 3) uint8, not read before used, and the scenes."""
    return np.load(CACHE / f"{name}.npy", mmap_mode="r"), pickle.loads((CACHE / f"{name}.pkl").read_bytes())


if __name__ == "__main__":
    draw_set(sys.argv[1], *map(int, sys.argv[2:5]))
