"""AutoencoderKL: `python parity/make_vae.py` writes fixtures/vae/{sd1,small}.safetensors.

`image` (1, 3, H, W) in −1..=1 with `mean` and `logvar` (1, 4, h, w) as the encoder gives them (unscaled, logvar clamped), and `latents`
(1, 4, h, w) as a UNet leaves them (scaled) with `decoded` (1, 3, H, W) unclamped. PyTorch's order: channels first. `square` and `wide`
are two sizes. Weights: models/<name>/vae.
"""

import torch
from diffusers import AutoencoderKL

from common import MODELS, generator, write

SEED = 5


def run(name):
    vae = AutoencoderKL.from_pretrained(MODELS / name / "vae", torch_dtype=torch.float32).eval()
    random = generator(SEED)
    tensors = {}
    for case, (height, width) in {"square": (32, 32), "wide": (24, 56)}.items():
        image = torch.rand(1, 3, height, width, generator=random) * 2 - 1
        latents = 0.8 * torch.randn(1, 4, height // 8, width // 8, generator=random)
        posterior = vae.encode(image).latent_dist
        decoded = vae.decode(latents / vae.config.scaling_factor).sample
        tensors |= {f"image.{case}": image, f"mean.{case}": posterior.mean, f"logvar.{case}": posterior.logvar, f"latents.{case}": latents,
                    f"decoded.{case}": decoded}
        print(name, case, "decoded", decoded.mean().item(), decoded.std().item())
    write("vae", name, tensors, SEED, model=f"models/{name}/vae")


for name in ("sd1", "small"):
    run(name)
