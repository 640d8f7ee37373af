"""Latents between the two trainings: `python latents.py NAME[:COUNT]...` encodes drawn sets to .cache/NAME.latents.npy, scaled.

`finished_vae` gives the autoencoder as it is published (read from the published files where this machine did not train it): average weights, each latent channel with mean 0 and one common
spread. The shift and stretch of the channels are folded into the two 1×1 convolutions at the bottleneck, so that one
`scaling_factor` is enough, as in Stable Diffusion.
"""

import pickle
import sys

import numpy as np
import torch
from diffusers import AutoencoderKL

import pace
from render_cache import load_set
from train_vae import CONFIG, to_tensor
from world import CACHE, HERE

PUBLISHED = HERE.parent / "crates" / "sinopia-miniature" / "assets"


@torch.no_grad()
def finished_vae():
    if not (CACHE / "vae.pt").exists():
        return AutoencoderKL.from_pretrained(PUBLISHED / "vae").float().eval().to(memory_format=torch.channels_last)
    saved = torch.load(CACHE / "vae.pt", map_location="cpu", weights_only=False)
    vae = AutoencoderKL(**CONFIG).eval()
    vae.load_state_dict(saved["vae"])
    for name, p in vae.named_parameters():
        p.copy_(saved["average"]["weights"][name])
    mean, std = channel_statistics(vae)  # (4,), (4,)
    spread = std.log().mean().exp()
    stretch = spread / std
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] *= stretch[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) * stretch
    quant.bias[4:] += 2 * stretch.log()
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight /= stretch[None, :, None, None]
    vae.register_to_config(scaling_factor=round(1 / spread.item(), 5))
    return vae.to(memory_format=torch.channels_last)


def channel_statistics(vae):
    """Mean and standard deviation of each latent channel; kept on file, because trained UNets depend on them."""
    path = CACHE / "latent_statistics.pt"
    if not path.exists():
        pixels, _ = load_set("vae")
        z = torch.cat([vae.encode(to_tensor(pixels[i:i + 16])).latent_dist.mean for i in range(0, 320, 16)])
        torch.save((z.mean((0, 2, 3)), z.std((0, 2, 3))), path)
    return torch.load(path)


@torch.no_grad()
def encode_set(name, count=None):
    vae = finished_vae()
    pixels = load_set(name)[0][:count]
    latents = np.empty((len(pixels), 4, 16, 16), np.float32)
    for i in range(0, len(pixels), 32):
        latents[i:i + 32] = vae.encode(to_tensor(pixels[i:i + 32])).latent_dist.mean * vae.config.scaling_factor
    np.save(CACHE / f"{name}.latents.npy", latents)


def load_latents(name):
    """Scaled latents (N, 4, 16, 16) and the scenes they show."""
    latents = torch.from_numpy(np.load(CACHE / f"{name}.latents.npy"))
    return latents, pickle.loads((CACHE / f"{name}.pkl").read_bytes())[: len(latents)]


if __name__ == "__main__":
    pace.Pace("none", 1).set_threads()
    for argument in sys.argv[1:]:
        name, _, count = argument.partition(":")
        encode_set(name, int(count) if count else None)
