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

# What people's files have besides: channels-last kernels, views into larger storages, parameters, other protocols, and the format before PyTorch 1.6.
kernel = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
whole = torch.arange(10, dtype=torch.float32)
others = {"kernel": kernel.contiguous(memory_format=torch.channels_last), "parameter": torch.nn.Parameter(weight), "view": whole[4:8],
          "every_other": whole[1::3], "expanded": torch.tensor([7.0]).expand(2, 2), "scalar": torch.tensor(0.5), "empty": torch.zeros(0, 3),
          "ids": torch.arange(3).expand(1, -1), "half": weight.half().t(), "number": 7, "text": "not a tensor"}
torch.save(state(others), here / "others.bin")
torch.save(state(others), here / "protocol4.bin", pickle_protocol=4)
torch.save(state(others), here / "legacy.bin", _use_new_zipfile_serialization=False)
torch.save({"state_dict": others, "epoch": 3}, here / "legacy.ckpt", _use_new_zipfile_serialization=False)
torch.save({"a": weight.to(torch.float8_e4m3fn), "b": weight}, here / "float8.bin")
# As AUTOMATIC1111's web UI saves a learned word, and as diffusers does.
torch.save({"string_to_token": {"*": 265}, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(weight)}), "name": "toy", "step": 9}, here / "embedding.pt")
torch.save({"<cat-toy>": weight[0]}, here / "learned_embeds.bin")
