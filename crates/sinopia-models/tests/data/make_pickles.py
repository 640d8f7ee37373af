"""PyTorch files for tests/pickle.rs: `python make_pickles.py` (torch 2.15) writes them beside itself."""

from pathlib import Path

import torch

here = Path(__file__).parent
weight = torch.arange(6, dtype=torch.float32).reshape(2, 3) / 2
tensors = {"proj.weight": weight, "proj.transposed": weight.t(), "proj.half": weight.half(), "proj.bias": torch.tensor([1.0, -1.0], dtype=torch.bfloat16)}
torch.save(tensors, here / "tensors.bin")
torch.save({"state_dict": tensors, "global_step": 7}, here / "state.ckpt")
torch.save({"bad.weight": torch.tensor([1.0, float("nan")])}, here / "nan.bin")


class Hostile:
    """Asks whoever unpickles it to create a file."""

    def __reduce__(self):
        return open, ("pickle-was-executed", "w")


torch.save({"x": Hostile(), "proj.weight": weight}, here / "hostile.bin")
