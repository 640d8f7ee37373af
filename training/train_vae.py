"""Trains the autoencoder: `python train_vae.py --minutes 20`. Goes on from .cache/vae.pt when it is there.

Loss: |x − y| + 2 (x − y)² + ½ |∇x − ∇y| + KL, on 64-pixel crops around things; whole scenes for the last part, so that group
norms and the middle attention see the statistics they will be used with.
"""

import argparse

import numpy as np
import torch
from diffusers import AutoencoderKL

from muon import Pair
from pace import Average, Pace, ramp
from render_cache import load_set
from world import SIZE

CONFIG = dict(
    in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1, block_out_channels=(16, 32, 64, 96),
    down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=8,
    sample_size=SIZE, act_fn="silu",
)
KL_WEIGHT = 2e-4


def to_tensor(pixels):
    """(B, H, W, 3) uint8 to (B, 3, H, W) f32 in −1..=1, channels last in memory."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return x.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def sample_batch(pixels, scenes, rng, whole):
    if whole:
        return to_tensor(pixels[np.sort(rng.integers(len(pixels), size=3))])
    crops = []
    for i in rng.integers(len(pixels), size=8):
        x, y = rng.integers(0, SIZE - 63, 2)
        if scenes[i].things and rng.random() < 0.8:
            thing = scenes[i].things[rng.integers(len(scenes[i].things))]
            x, y = np.clip(np.array([thing.x, thing.y]) - 32 + rng.normal(0, 18, 2), 0, SIZE - 64).astype(int)
        crops.append(pixels[i, y:y + 64, x:x + 64])
    return to_tensor(np.stack(crops))


def loss_of(vae, x):
    posterior = vae.encode(x).latent_dist  # mean (B, 4, h, w)
    y = vae.decode(posterior.sample()).sample
    edges = sum((x.diff(dim=d) - y.diff(dim=d)).abs().mean() for d in (2, 3))
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    return (x - y).abs().mean() + 2 * ((x - y) ** 2).mean() + 0.5 * edges + KL_WEIGHT * kl


@torch.no_grad()
def psnr(vae, pixels):
    """Mean over pictures of 10 log10(1 / MSE), pixels in 0..=1."""
    values = []
    for i in range(0, len(pixels), 8):
        x = to_tensor(pixels[i:i + 8])
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values += (-10 * torch.log10((((x - y) / 2) ** 2).mean((1, 2, 3)))).tolist()
    return sum(values) / len(values)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--decoder-only", action="store_true", help="keep the latents as they are")
    parser.add_argument("--start-from", help="folder of an exported autoencoder")
    args = parser.parse_args()
    torch.manual_seed(0)
    vae = AutoencoderKL(**CONFIG).to(memory_format=torch.channels_last)
    if args.start_from:
        vae.load_state_dict(AutoencoderKL.from_pretrained(args.start_from).float().state_dict())
    optimizer, average = Pair([vae], lr=2e-3, muon_lr=6e-3), Average(vae, 0.998)
    pace = Pace("vae", args.minutes)
    state = {"vae": vae, "optimizer": optimizer, "average": average}
    pace.resume(state)
    if args.decoder_only:
        average.copy_to(vae)
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    rng = np.random.default_rng(pace.step)
    pixels, scenes = load_set("vae")
    held_out, _ = load_set("held_out")
    share, total = pace.spent / 60 / args.minutes, 0.0
    while share < 1:
        loss = loss_of(vae, sample_batch(pixels, scenes, rng, whole=share > 0.85))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step(ramp(share))
        average.update(vae)
        share, total = pace.tick(), total + loss.item()
        if pace.step % 100 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total / 100:.4f}", flush=True)
            total = 0.0
        if pace.step % 300 == 0:
            pace.save(state)
            now = {name: p.detach().clone() for name, p in vae.named_parameters()}
            average.copy_to(vae)
            print(f"  held-out PSNR {psnr(vae, held_out[:24]):.2f} dB", flush=True)
            with torch.no_grad():
                for name, p in vae.named_parameters():
                    p.copy_(now[name])
    pace.save(state)
    average.copy_to(vae)
    print(f"done: held-out PSNR {psnr(vae, held_out[:200]):.2f} dB", flush=True)


if __name__ == "__main__":
    main()
