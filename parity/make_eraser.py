"""AttentiveEraser's masked self-attention: `python parity/make_eraser.py` writes fixtures/unet/eraser.safetensors. Weights: models/{sd1,small}/unet.

For each case `latents.<case>` (B, 4, h, w), `text.<case>` (B, L, C), `mask.<case>` (h, w) u8, 1 where erased, and `noise.<case>` (B, 4, h, w): what the
UNet predicts if, in the self-attention of the up blocks, the scores of erased keys are −∞ and those of erased queries are multiplied with the case's
`scales` first. A grid's mask is the latents', max-pooled. Plain scores, softmax and values, as AAS.py of Anonym0u3/AttentiveEraser@0b7881d has them.
Networks, timesteps and scales by case are in the header.
"""

import math

import torch
from diffusers import UNet2DConditionModel

from common import MODELS, generator, write

SEED = 61
# case: (network, batch, height, width, timestep, erased rows, erased columns, scale)
CASES = {
    "first": ("sd1", 2, 16, 16, 981, (4, 9), (5, 10), 0.3),
    "later": ("sd1", 2, 16, 16, 601, (4, 9), (5, 10), 1.0),
    "edge": ("sd1", 1, 16, 24, 401, (0, 3), (17, 24), 0.3),
    "two_levels": ("small", 1, 13, 10, 261, (6, 13), (1, 4), 0.3),
}


class Erasing:
    """Self-attention with masked scores, without any fused operation."""

    def __init__(self, mask, scale):
        self.mask, self.scale = mask, scale

    def on_grid(self, cells):
        """The mask on the grid of so many cells; halves are rounded up."""
        mask = self.mask[None, None].float()
        while mask.numel() > cells:
            mask = torch.nn.functional.max_pool2d(mask, 2, ceil_mode=True)
        assert mask.numel() == cells and mask.min() == 0
        return mask.flatten().bool()

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, **keywords):
        assert encoder_hidden_states is None
        heads = lambda x: x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
        query, key, value = (heads(project(hidden_states)) for project in (attn.to_q, attn.to_k, attn.to_v))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        mask = self.on_grid(hidden_states.shape[1])
        scores[:, :, mask] *= self.scale
        scores[..., mask] = -math.inf
        seen = scores.softmax(-1)
        assert seen[..., mask].abs().max() == 0
        return attn.to_out[0]((seen @ value).transpose(1, 2).flatten(2))


def run():
    tensors = {}
    for case, (name, batch, height, width, timestep, rows, columns, scale) in CASES.items():
        random = generator(SEED)
        unet = UNet2DConditionModel.from_pretrained(MODELS / name / "unet", torch_dtype=torch.float32).eval()
        latents = torch.randn(batch, 4, height, width, generator=random)
        text = torch.randn(batch, 7, unet.config.cross_attention_dim, generator=random)
        mask = torch.zeros(height, width, dtype=torch.uint8)
        mask[rows[0]:rows[1], columns[0]:columns[1]] = 1
        plain = unet(latents, timestep, text).sample
        is_erased = lambda layer: layer.startswith("up_blocks") and ".attn1." in layer
        erasing = Erasing(mask, scale)
        unet.set_attn_processor({layer: erasing if is_erased(layer) else processor for layer, processor in unet.attn_processors.items()})
        noise = unet(latents, timestep, text).sample
        tensors |= {f"latents.{case}": latents, f"text.{case}": text, f"mask.{case}": mask, f"noise.{case}": noise}
        print(f"{case}: {(plain - noise).abs().max():.2f} from plain")
    header = lambda index: {case: values[index] for case, values in CASES.items()}
    write("unet", "eraser", tensors, SEED, networks=header(0), timesteps=header(4), scales=header(7))


run()
