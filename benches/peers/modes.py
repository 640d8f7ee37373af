"""Who computes, in what, with which instructions: a mode is called `ours bf16`, `ours f32 avx2`, `torch f32 avx2`, `torch bf16 as-published` and so on.

The words behind the side stand in this order: what it computes in, the best instructions that it may use (all of the processor's, if none are named), and how it
differs from the side's best (of ours `packed`: its weights were packed before, by `sinopia models prepare`). `ours` computes in what `time_parts` and `--precision` call so (`stored` multiplies a 16-bit file's weights in f32 where the processor
has no products of 16 bits); `ours gguf` is `ours stored` with another file. Instructions are hidden from both sides by variables that each of them reads.
"""

import os
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
SIDES = {"ours": ["f32", "stored", "bf16", "int8", "gguf"], "before": ["f32", "stored", "bf16"], "torch": ["f32", "bf16", "int8"]}
# What hides instructions beyond these: from ours, and from PyTorch's own kernels, oneDNN and MKL.
INSTRUCTIONS = {
    "portable": {"SINOPIA_MAX_CPU_ISA": "portable", "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"SINOPIA_MAX_CPU_ISA": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx-vnni": {"SINOPIA_MAX_CPU_ISA": "avx-vnni", "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "avx512": {"SINOPIA_MAX_CPU_ISA": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "ATEN_CPU_CAPABILITY": "avx512", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
}
VARIANTS = ["short", "as-published", "packed"]


class Mode(NamedTuple):
    side: str
    precision: str
    instructions: str | None = None
    variants: tuple = ()

    @property
    def name(self):
        return " ".join([self.side, self.precision, *([self.instructions] if self.instructions else []), *self.variants])

    def environment(self):
        """The variables of a process that runs it."""
        named = {name for limits in INSTRUCTIONS.values() for name in limits}
        kept = {name: value for name, value in os.environ.items() if name not in named}
        return kept | (INSTRUCTIONS[self.instructions] if self.instructions else {})


def mode(name):
    """The mode of a name."""
    side, *words = name.split()
    if side not in SIDES or not words or words[0] not in SIDES[side]:
        raise SystemExit(f"`{name}` is no mode: it begins with " + ", ".join(f"`{side} {p}`" for side, all_of_it in SIDES.items() for p in all_of_it))
    precision, *words = words
    instructions = words.pop(0) if words and words[0] in INSTRUCTIONS else None
    if any(word not in VARIANTS for word in words):
        raise SystemExit(f"`{name}`: behind `{side} {precision}` stand instructions ({', '.join(INSTRUCTIONS)}), then {' or '.join(VARIANTS)}")
    return Mode(side, precision, instructions, tuple(words))


# What decides how fast products of matrices are.
FLAGS = ["avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "asimddp", "i8mm"]


def machine():
    """This machine, as far as figures depend on it, and the code that is measured."""
    listed = [line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line]
    first = lambda *keys: next((value.strip() for key, value in listed if key.strip() in keys), "")
    memory = next(int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    present = first("flags", "Features").split()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return {"processor": first("model name"), "family": f"family {first('cpu family')} model {first('model')}", "cores": os.cpu_count(), "memory_gb": round(memory * 1024 / 1e9),
            "flags": [flag for flag in FLAGS if flag in present], "system": platform.platform(), "commit": commit}


def in_words(found):
    return f"{found['processor']} ({found['family']}), {found['cores']} cores, {found['memory_gb']} GB; {' '.join(found['flags'])}"
