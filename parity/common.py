"""What every `make_*.py` shares: pinned versions, seeds, random weights that exercise every parameter, and the fixture writer."""

import json
import math
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save

HERE = Path(__file__).parent
FIXTURES = HERE / "fixtures"
MODELS = FIXTURES / "models"


def pinned_versions():
    """The versions of requirements.txt; stops if the installed ones differ, since a fixture is only as good as its maker."""
    pins = dict(line.strip().split("==") for line in (HERE / "requirements.txt").read_text().splitlines() if line.strip())
    wrong = {name: version(name) for name, pin in pins.items() if version(name).split("+")[0] != pin}
    assert not wrong, f"installed versions differ from requirements.txt: {wrong}"
    return pins


VERSIONS = pinned_versions()
torch.set_num_threads(1)  # the order of sums, and with it the last bits, must not depend on the machine
torch.set_grad_enabled(False)


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed)


def write(topic, name, tensors, seed, **metadata):
    """Writes fixtures/<topic>/<name>.safetensors; the header says which script, versions and seed made it."""
    folder = FIXTURES / topic
    folder.mkdir(parents=True, exist_ok=True)
    header = {"script": Path(sys.argv[0]).name, "versions": json.dumps(VERSIONS), "seed": str(seed)}
    header |= {key: value if isinstance(value, str) else json.dumps(value, allow_nan=False) for key, value in metadata.items()}
    path = folder / f"{name}.safetensors"
    path.write_bytes(with_sorted_header(save({key: value.detach().contiguous() for key, value in tensors.items()}, metadata=header)))
    print(f"{path.relative_to(HERE)}: {len(tensors)} tensors, {path.stat().st_size / 1024:.0f} KiB")


def with_sorted_header(file):
    """The library writes the header's entries in a random order; sorted, the same values give the same bytes."""
    length = int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[8 + length:]


def randomise(model, seed, gains=None):
    """Random values for *all* parameters, each exactly representable in f16 (so that files can be stored in half the room).

    Fresh models are poor fixtures: their norms have weight 1 and bias 0, and their attention is almost uniform, so a forgotten
    affine or a wrong softmax scale would pass. `gains` maps a part of a name to the factor of its weights.
    """
    random = generator(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=random)
        is_norm = "norm" in name or "ln_" in name
        if parameter.dim() == 0:
            value = 0.7 + 0.2 * noise  # the gates of grounding adapters, shut in fresh models
        elif name.endswith("bias"):
            value = 0.1 * noise
        elif is_norm:
            value = 1 + 0.2 * noise
        elif "embedding" in name and parameter.dim() == 2 and not name.startswith("time_"):
            value = 0.5 * noise
        else:
            fan_in = parameter[0].numel() if parameter.dim() else 1
            gain = math.prod(factor for part, factor in (gains or {}).items() if part in name)
            value = gain * noise / math.sqrt(fan_in)
        parameter.data = value.half().float()
    return model.eval()
