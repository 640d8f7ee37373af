"""A single GGUF file of a diffusers folder, as stable-diffusion.cpp converts checkpoints: `python make_gguf.py FOLDER FILE.gguf --type q4_0` (or q8_0, …).

Needs the package `gguf` beside parity/requirements.txt. What stable-diffusion.cpp quantises is quantised: weights whose rows divide into blocks, but no
embeddings and nothing of the timestep; kernels, whose rows are 3 numbers, stay f16. With `--unet` the UNet alone is written as ComfyUI's
converter does it, kernels in rows of 256 numbers, for the `unet/` of a folder. The package cannot write the K types: `--ggml libggml-base.so`, a part of
every build of stable-diffusion.cpp, can.
"""

import argparse
import ctypes
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parents[2] / "parity"))
from make_ldm import unet_name, vae_name  # noqa: E402

UNET, VAE, CLIP = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.transformer."
ROW = 256


def tensors(folder, network):
    for path in sorted((folder / network).glob("*.safetensors")):
        with safe_open(path, "np") as file:
            for name in file.keys():
                yield name, file.get_tensor(name)


def checkpoint(folder):
    """Names and values as a single file has them."""
    for name, value in tensors(folder, "unet"):
        yield UNET + unet_name(name), value
    for name, value in tensors(folder, "vae"):
        # Attention is made of 1×1 convolutions there.
        is_projection = ".attentions." in name and name.endswith(".weight") and value.ndim == 2
        yield VAE + vae_name(name), value[:, :, None, None] if is_projection else value
    for name, value in tensors(folder, "text_encoder"):
        if not name.endswith("position_ids"):
            yield CLIP + (name if name.startswith("text_model.") else f"text_model.{name}"), value


def is_left(name):
    return name.endswith((".bias", ".scale")) or "time_embed." in name or "embedding" in name


class Ggml:
    """The reference's own quantisation."""

    def __init__(self, path):
        self.chunk = ctypes.CDLL(path).ggml_quantize_chunk
        self.chunk.restype = ctypes.c_size_t
        self.chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]

    def quantize(self, value, kind):
        numbers, size = gguf.GGML_QUANT_SIZES[kind]
        rows = value.reshape(-1, value.shape[-1])
        blocks = np.zeros((*value.shape[:-1], value.shape[-1] // numbers * size), np.uint8)
        written = self.chunk(kind.value, rows.ctypes.data, blocks.ctypes.data, 0, *rows.shape, None)
        assert written == blocks.size
        return blocks


quantised = quantize


def add(writer, name, value, kind, shape=None):
    value = np.ascontiguousarray(value, np.float32)
    writer.add_tensor(name, (quantize if kind in (Type.F16, Type.F32) else quantised)(value, kind), raw_dtype=kind)
    if shape is not None:
        writer.add_array(f"comfy.gguf.orig_shape.{name}", [int(size) for size in shape])


def write_checkpoint(folder, path, kind):
    writer = gguf.GGUFWriter(path, "")
    size = gguf.GGML_QUANT_SIZES[kind][0]
    for name, value in checkpoint(folder):
        is_quantised = value.ndim > 1 and value.shape[-1] % size == 0 and not is_left(name)
        add(writer, name, value, kind if is_quantised else Type.F16 if value.ndim > 1 else Type.F32)
    close(writer)


def write_unet(folder, path, kind):
    writer = gguf.GGUFWriter(path, "sd1")
    for name, value in tensors(folder, "unet"):
        name = unet_name(name)
        if value.ndim > 1 and value.size % ROW == 0:
            is_reshaped = value.shape[-1] % ROW
            add(writer, name, value.reshape(-1, ROW) if is_reshaped else value, kind, value.shape if is_reshaped else None)
        else:
            add(writer, name, value, Type.F16 if value.ndim > 1 else Type.F32)
    close(writer)


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--type", default="q4_0", type=lambda name: Type[name.upper()])
    parser.add_argument("--unet", action="store_true", help="the UNet alone, as ComfyUI's converter writes it")
    parser.add_argument("--ggml", help="libggml-base.so, for types that the package cannot write")
    args = parser.parse_args()
    if args.ggml:
        quantised = Ggml(args.ggml).quantize
    (write_unet if args.unet else write_checkpoint)(args.folder, args.file, args.type)
