"""Keeps a training between machines: `python checkpoint.py save NAME...` writes checkpoints/NAME.safetensors from .cache/NAME.pt, `load NAME...` the way back.

What is kept are average weights, f16, with steps and seconds so far: a tenth of the file in .cache. The optimizer's momentum is not; it is back after some tens of steps. With
`vae` go the statistics of its latents, on which every UNet trained on them depends.
"""

import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from world import CACHE, HERE

FOLDER = HERE / "checkpoints"
STATISTICS = CACHE / "latent_statistics.pt"


def save(name):
    saved = torch.load(CACHE / f"{name}.pt", map_location="cpu", weights_only=False)
    tensors = {}
    for key, part in saved.items():
        if key in ("optimizer", "step", "spent") or "average" in key:
            continue
        average = saved.get(f"{key}_average", saved.get("average") if key == name else None)
        weights = {**part, **(average["weights"] if average else {})}
        tensors |= {f"{key}.{tensor}": value.half().contiguous() for tensor, value in weights.items()}
    if name == "vae":
        tensors |= dict(zip(("latents.mean", "latents.std"), torch.load(STATISTICS)))
    FOLDER.mkdir(exist_ok=True)
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata={"step": str(saved["step"]), "spent": str(saved["spent"])})


def load(name):
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key).float() if file.get_tensor(key).is_floating_point() else file.get_tensor(key) for key in file.keys()}
        spent = file.metadata()
    saved = {"step": int(spent["step"]), "spent": float(spent["spent"])}
    if name == "vae":
        torch.save((tensors.pop("latents.mean"), tensors.pop("latents.std")), STATISTICS)
    for key, value in tensors.items():
        part, _, tensor = key.partition(".")
        saved.setdefault(part, {})[tensor] = value
    for part in [part for part in saved if isinstance(saved[part], dict) and part != "classifier"]:
        saved["average" if part == name == "vae" else f"{part}_average"] = {"weights": dict(saved[part]), "updates": saved["step"]}
    torch.save(saved, CACHE / f"{name}.pt")


if __name__ == "__main__":
    CACHE.mkdir(exist_ok=True)
    for argument in sys.argv[2:]:
        {"save": save, "load": load}[sys.argv[1]](argument)
