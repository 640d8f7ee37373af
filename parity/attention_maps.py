"""Differentiable cross-attention probabilities out of diffusers' UNet, under this project's key names."""

import torch


class Recorder:
    """An attention processor that keeps softmax(QKᵀ/√D) as (B, heads, HW, L) in `maps[key]`."""

    def __init__(self, key, maps):
        self.key, self.maps = key, maps

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **_):
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (attn.head_to_batch_dim(x) for x in (attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)))
        scores = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        probs = torch.softmax(scores, dim=-1)  # (B·heads, HW, L)
        self.maps[self.key] = probs.unflatten(0, (-1, attn.heads))
        return attn.to_out[0](attn.batch_to_head_dim(probs @ value))


def key_of(processor_name):
    """`up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor` → `up.1.0`, the second layer's → `up.1.0.1`; None for self-attention."""
    part, *rest = processor_name.split(".")
    if "attn2" not in rest:
        return None
    layer = rest[rest.index("transformer_blocks") + 1]
    behind = "" if layer == "0" else f".{layer}"
    if part == "mid_block":
        return f"mid.{rest[1]}{behind}"
    return f"{part.removesuffix('_blocks')}.{rest[0]}.{rest[2]}{behind}"


def record(unet):
    """Makes `unet` fill the returned dictionary at each call."""
    maps = {}
    unet.set_attn_processor({name: Recorder(key_of(name), maps) if key_of(name) else old for name, old in unet.attn_processors.items()})
    return maps


def guidance_keys(maps):
    """The middle and every attention of the first attention-bearing up block."""
    first = min(key.split(".")[1] for key in maps if key.startswith("up."))
    return ["mid.0"] + sorted(key for key in maps if key.startswith(f"up.{first}."))
