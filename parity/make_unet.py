"""UNet2DConditionModel: `python parity/make_unet.py` writes fixtures/unet/{sd1,sd2,small}.safetensors.

For each case `latents.<case>` (B, 4, h, w), `text.<case>` (B, L, C), `noise.<case>` (B, 4, h, w) as PyTorch has it (channels first) and, where
recorded, `map.<case>.<key>` (B, heads, HW, L): the cross-attention probabilities of every layer. Timesteps are in the header under
`timesteps`. `wide` is not square; `odd` is not divisible by the network's factor, so upsampling goes to the skip's size. Weights: models/<name>/unet.
"""

import torch
from diffusers import UNet2DConditionModel

from attention_maps import record
from common import MODELS, generator, write

SEED = 7
# case: (batch, height, width, text tokens, timestep, keep the maps)
CASES = {
    "first": (2, 16, 16, 77, 981, False),
    "last": (1, 16, 16, 9, 1, False),
    "fractional": (1, 16, 16, 5, 500.5, True),
    "wide": (2, 16, 24, 5, 601, False),
    "odd": (1, 13, 10, 5, 261, True),
}


def run(name):
    unet = UNet2DConditionModel.from_pretrained(MODELS / name / "unet", torch_dtype=torch.float32).eval()
    default = dict(unet.attn_processors)
    random = generator(SEED)
    tensors = {}
    for case, (batch, height, width, length, timestep, keep_maps) in CASES.items():
        latents = torch.randn(batch, 4, height, width, generator=random)
        text = torch.randn(batch, length, unet.config.cross_attention_dim, generator=random)
        unet.set_attn_processor(dict(default))  # it empties the dictionary it is given
        plain = unet(latents, timestep, text).sample
        maps = record(unet)
        recorded = unet(latents, timestep, text).sample
        change = (plain - recorded).abs().max().item()
        assert change < 2e-5, "recording must not change the noise"
        tensors |= {f"latents.{case}": latents, f"text.{case}": text, f"noise.{case}": plain}
        if keep_maps:
            tensors |= {f"map.{case}.{key}": probs for key, probs in maps.items()}
        peaks = {key: round(probs.amax(-1).mean().item(), 2) for key, probs in maps.items()}
        print(f"{name} {case}: noise std {plain.std():.3f}, changed by recording {change:.1e}, mean attention peak {peaks}")
    write("unet", name, tensors, SEED, model=f"models/{name}/unet", timesteps={case: values[4] for case, values in CASES.items()})


for name in ("sd1", "sd2", "small"):
    run(name)
