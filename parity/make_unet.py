"""UNet2DConditionModel: `python parity/make_unet.py` writes fixtures/unet/{sd1,sd2,small,xl}.safetensors, and models/xl/unet.

For each case `latents.<case>` (B, 4, h, w), `text.<case>` (B, L, C), `noise.<case>` (B, 4, h, w) as PyTorch has it (channels first) and, where
recorded, `map.<case>.<key>` (B, heads, HW, L): the cross-attention probabilities of every layer. Timesteps are in the header under
`timesteps`. `xl` has Stable Diffusion XL's conditioning too: `text_embeds.<case>` (B, P) and `time_ids.<case>` (B, 6). `wide` is not square; `odd` is not divisible by the network's factor, so upsampling goes to the skip's size. Weights: models/<name>/unet.
"""

import torch
from diffusers import UNet2DConditionModel

from attention_maps import record
from common import MODELS, generator, randomise, write

SEED = 7
# case: (batch, height, width, text tokens, timestep, keep the maps)
CASES = {
    "first": (2, 16, 16, 77, 981, False),
    "last": (1, 16, 16, 9, 1, False),
    "fractional": (1, 16, 16, 5, 500.5, True),
    "wide": (2, 16, 24, 5, 601, False),
    "odd": (1, 13, 10, 5, 261, True),
}


def save_xl():
    """The shape of Stable Diffusion XL: no attention on the finest grid, two layers below it, pooled text states and sizes in the time embedding."""
    unet = UNet2DConditionModel(
        sample_size=16, block_out_channels=[16, 24], layers_per_block=1, norm_num_groups=8, cross_attention_dim=16,
        down_block_types=["DownBlock2D", "CrossAttnDownBlock2D"], up_block_types=["CrossAttnUpBlock2D", "UpBlock2D"],
        attention_head_dim=[2, 3], transformer_layers_per_block=[1, 2], use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 10)
    randomise(unet, SEED, gains={"to_q": 1.7, "to_k": 1.7}).half().save_pretrained(MODELS / "xl" / "unet")


def added_conditions(unet, batch, random):
    """Pooled text states and sizes, others for each picture; nothing for networks without."""
    if unet.config.addition_embed_type is None:
        return {}
    width = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
    sizes = torch.tensor([[1024, 768, 0, 0, 1024, 1024], [512, 512, 64, 32, 1024, 768]], dtype=torch.float32)
    return {"text_embeds": torch.randn(batch, width, generator=random), "time_ids": sizes[:batch]}


def run(name):
    unet = UNet2DConditionModel.from_pretrained(MODELS / name / "unet", torch_dtype=torch.float32).eval()
    default = dict(unet.attn_processors)
    random = generator(SEED)
    tensors = {}
    for case, (batch, height, width, length, timestep, keep_maps) in CASES.items():
        latents = torch.randn(batch, 4, height, width, generator=random)
        text = torch.randn(batch, length, unet.config.cross_attention_dim, generator=random)
        added = added_conditions(unet, batch, random)
        unet.set_attn_processor(dict(default))  # it empties the dictionary it is given
        plain = unet(latents, timestep, text, added_cond_kwargs=added).sample
        maps = record(unet)
        recorded = unet(latents, timestep, text, added_cond_kwargs=added).sample
        change = (plain - recorded).abs().max().item()
        assert change < 2e-5, "recording must not change the noise"
        tensors |= {f"latents.{case}": latents, f"text.{case}": text, f"noise.{case}": plain}
        tensors |= {f"{key}.{case}": value for key, value in added.items()}
        if keep_maps:
            tensors |= {f"map.{case}.{key}": probs for key, probs in maps.items()}
        peaks = {key: round(probs.amax(-1).mean().item(), 2) for key, probs in maps.items()}
        print(f"{name} {case}: noise std {plain.std():.3f}, changed by recording {change:.1e}, mean attention peak {peaks}")
    write("unet", name, tensors, SEED, model=f"models/{name}/unet", timesteps={case: values[4] for case, values in CASES.items()})


save_xl()
for name in ("sd1", "sd2", "small", "xl"):
    run(name)
