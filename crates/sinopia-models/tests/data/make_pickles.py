"""PyTorch files for tests/pickle.rs: `python make_pickles.py` (torch 2.15) writes them beside itself."""

from collections import OrderedDict
from pathlib import Path

import torch

here = Path(__file__).parent
weight = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 2
tensors = {"proj.weight": weight, "proj.transposed": weight.t(), "proj.half": weight.half(), "proj.bias": torch.tensor([1.0, -1.0], dtype=torch.bfloat16)}
torch.save(tensors, here / "tensors.bin")
torch.save({"state_dict": tensors, "global_step": 7}, here / "state.ckpt")
torch.save({"bad.weight": torch.tensor([1.0, float("nan")])}, here / "nan.bin")


def state(tensors):
    """What a module's `state_dict()` is: an ordered dictionary with an attribute."""
    ordered = OrderedDict(tensors)
    ordered._metadata = OrderedDict({"": {"version": 1}})
    return ordered


# As GLIGEN's own files: a dictionary for each network, and leftovers of training.
torch.save({"config_dict": {"model": {"target": "UNetModel", "params": {"channel_mult": [1, 2, 4, 4], "fuser": None}}}, "iters": 7, "opt": {"lr": 5e-5},
            "model": state({"out.2.weight": weight, "middle_block.1.transformer_blocks.0.fuser.alpha_attn": torch.tensor(0.25)}),
            "autoencoder": state({"quant_conv.bias": torch.tensor([1.0, -1.0])}),
            "text_encoder": state({"transformer.text_model.final_layer_norm.bias": torch.tensor([0.5])})}, here / "nested.bin")


class Hostile:
    """Asks whoever unpickles it to create a file."""

    def __reduce__(self):
        return open, ("pickle-was-executed", "w")


torch.save({"x": Hostile(), "proj.weight": weight}, here / "hostile.bin")
