"""GGUF files by the reference's own writer: `python parity/make_gguf.py` writes fixtures/gguf/blocks.{gguf,safetensors}.

One tensor a type, named after it: blocks of random bytes (6, 256), whose scales are made ordinary numbers, so that every bit of every type counts;
`kernel` is a convolution's weight (32, 8, 3, 3) as ComfyUI's converter stores it, in rows of 256 numbers with its true shape in the metadata. The
safetensors file has what the package `gguf` (0.19.0, beside requirements.txt) dequantises them to, f32.
"""

from importlib.metadata import version

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize, quantize

from common import FIXTURES, write

SEED = 21
SHAPE = (6, 256)
# Where the f16 scales of a block stand.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0], Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2],
    Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def random_blocks(random, kind):
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (SHAPE[0] * SHAPE[1] // numbers, size), dtype=np.uint8)
    for place in SCALES[kind]:
        scales = random.standard_normal(len(blocks)).astype(np.float16)
        blocks[:, place:place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(SHAPE[0], -1)


def main():
    assert version("gguf") == "0.19.0"
    random = np.random.default_rng(SEED)
    folder = FIXTURES / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(folder / "blocks.gguf", "sd1")
    expected = {}
    for kind in SCALES:
        blocks = random_blocks(random, kind)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
        expected[kind.name] = dequantize(blocks, kind)
    for kind in (Type.F16, Type.BF16):
        stored = quantize(random.standard_normal(SHAPE).astype(np.float32), kind)
        writer.add_tensor(kind.name, stored, raw_dtype=kind)
        expected[kind.name] = dequantize(stored, kind)
    kernel = (32, 8, 3, 3)
    stored = quantize(random.standard_normal(kernel).astype(np.float32).reshape(-1, 256), Type.Q8_0)
    writer.add_array("comfy.gguf.orig_shape.kernel", list(kernel))
    writer.add_tensor("kernel", stored, raw_dtype=Type.Q8_0)
    expected["kernel"] = dequantize(stored, Type.Q8_0).reshape(kernel)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    write("gguf", "blocks", {name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in expected.items()}, SEED)


main()
