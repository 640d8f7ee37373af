"""Decodes cached latents: `python soften.py stage1:2500 stage2:2500 held_out` writes .cache/NAME.soft.npy, (N, 128, 128, 3) uint8.

These are drawn scenes after a round trip through the finished autoencoder: as soft as what the miniature paints, and known to the pixel.
A set without latents is encoded first.
"""

import sys

import numpy as np
import torch

import pace
from latents import finished_vae
from render_cache import load_set
from train_vae import to_tensor
from world import CACHE


@torch.no_grad()
def soften(name, count):
    vae = finished_vae()
    path = CACHE / f"{name}.latents.npy"
    latents = np.load(path, mmap_mode="r")[:count] if path.exists() else None  # (N, 4, 16, 16), scaled
    pixels = load_set(name)[0][:count]
    soft = np.empty(pixels.shape, np.uint8)
    for i in range(0, len(pixels), 16):
        if latents is None:
            z = vae.encode(to_tensor(pixels[i:i + 16])).latent_dist.mean
        else:
            z = torch.from_numpy(latents[i:i + 16].copy()) / vae.config.scaling_factor
        y = vae.decode(z).sample.clamp(-1, 1)  # (B, 3, 128, 128)
        soft[i:i + 16] = y.add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).numpy()
    np.save(CACHE / f"{name}.soft.npy", soft)


if __name__ == "__main__":
    pace.Pace("none", 1).set_threads()
    for argument in sys.argv[1:]:
        name, _, count = argument.partition(":")
        soften(name, int(count) if count else None)
