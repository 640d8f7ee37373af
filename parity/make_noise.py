"""PyTorch's CPU normal generator: `python parity/make_noise.py` writes fixtures/noise/noise.safetensors.

`draws.<case>` is the concatenation of several `torch.randn` calls from one generator; seeds and sizes of the calls are in the header under
`cases`. Fewer than 16 values are made one by one in pairs, more in blocks of 16 with the last block redrawn; both are here, mixed.
`latents.<seed>` is the first and last 64 values of (1, 4, 64, 64) in PyTorch's order, with their sum and sum of squares in f64.
"""

import torch

from common import generator, write

CASES = {
    "one": (0, [1]), "few": (1, [5]), "fifteen": (2, [15]), "sixteen": (3, [16]), "seventeen": (4, [17]), "ragged": (5, [45]), "blocks": (6, [64]),
    "successive": (7, [64, 32]), "odd_then_blocks": (8, [3, 16]), "odd_then_odd": (9, [3, 3, 2]), "odd_ragged_odd": (10, [5, 20, 7, 16]),
    "large_seed": (123456789, [32]), "seed_of_33_bits": (2**32 + 1, [32]), "long": (0, [1000]),
}
LATENT_SEEDS = [0, 1, 42, 123456789]


def main():
    tensors = {}
    for case, (seed, sizes) in CASES.items():
        random = generator(seed)
        tensors[f"draws.{case}"] = torch.cat([torch.randn(size, generator=random) for size in sizes])
    for seed in LATENT_SEEDS:
        flat = torch.randn(1, 4, 64, 64, generator=generator(seed)).flatten()
        exact = flat.double()
        tensors[f"latents.{seed}"] = torch.cat([flat[:64], flat[-64:]])
        tensors[f"latents_sums.{seed}"] = torch.stack([exact.sum(), (exact * exact).sum()])
    write("noise", "noise", tensors, 0, cases=CASES)


main()
