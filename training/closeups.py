"""Close-ups for the first stage: `python closeups.py 12000` draws one thing on 64 × 64 pixels, encodes it to 8 × 8 latents, .cache/closeup.*.

A close-up costs a quarter of a whole scene and is all thing: shapes are learned several times faster on it. Networks are convolutional
with attention, so what is learned at 8 × 8 cells holds at 16 × 16, where things have the same size in cells.
"""

import pickle
import sys

import numpy as np
import torch

import pace
from latents import finished_vae
from train_vae import to_tensor
from world import CACHE, CELL, SIZE, Scene, Thing, backdrop, pick, random_look, render, standing

SIDE = 64  # pixels
SIZES = 24, 32, 40, 40, 48, 48, 56, 56  # pixels, longer side of the thing


def draw(rng):
    """A close-up (64, 64, 3) uint8 and its scene, with places and sizes as seen in the close-up, times two."""
    kind, color = random_look(rng)
    size, scene = pick(rng, SIZES), backdrop(rng)
    x, y = standing(rng, scene, kind, size)
    scene.things.append(Thing(kind, color, x, y, size))
    room = (SIDE - size) / 2
    left, top = (int(np.clip(CELL * round((v - SIDE / 2 + rng.uniform(-room, room)) / CELL), 0, SIZE - SIDE)) for v in (x, y))
    seen = Thing(kind, color, (x - left) * 2, (y - top) * 2, size * 2)
    return render(scene)[top:top + SIDE, left:left + SIDE], Scene(scene.background, [seen], seed=scene.seed, close=True)


@torch.no_grad()
def main():
    pace.Pace("none", 1).set_threads()
    count, rng, vae = int(sys.argv[1]), np.random.default_rng(41), finished_vae()
    latents, scenes = np.empty((count, 4, 8, 8), np.float32), []
    for start in range(0, count, 64):
        pictures, found = zip(*(draw(rng) for _ in range(min(64, count - start))))
        scenes += found
        z = vae.encode(to_tensor(np.stack(pictures))).latent_dist.mean * vae.config.scaling_factor
        latents[start:start + len(found)] = z
    np.save(CACHE / "closeup.latents.npy", latents)
    (CACHE / "closeup.pkl").write_bytes(pickle.dumps(scenes))


if __name__ == "__main__":
    main()
