"""Single-file names: `python parity/make_ldm.py` writes fixtures/ldm/{sd1,sd2}.json, and proves them with diffusers' own reader.

A row is `[name in the single file, how, component, names in the component's folder file]`. `how`: `same`; `conv`, the matrix is a 1×1 convolution there;
`concat`, the tensors one after the other along axis 0; `like`, a tensor of that shape that the reader has to pass over. The weights
are those of models/<name>, so a test can build the file. Text names are those without the `text_model.` prefix.
"""

import json
import re
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from common import FIXTURES, MODELS, VERSIONS

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "conv_shortcut": "skip_connection"}


def unet_name(name):
    """The single-file name of a UNet tensor with two layers a block."""
    parts = name.split(".")
    fixed = {"conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2"}
    for old, new in fixed.items():
        if name.startswith(old + "."):
            return name.replace(old, new, 1)
    if parts[0] == "mid_block":
        place, rest = (f"middle_block.{2 * int(parts[2])}" if parts[1] == "resnets" else "middle_block.1"), parts[3:]
        return inner(place, parts[1], rest)
    side, block, kind, layer, rest = parts[0], int(parts[1]), parts[2], int(parts[3]), parts[4:]
    if side == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * block + 3}.0.op.{rest[-1]}"
        return inner(f"input_blocks.{3 * block + layer + 1}.{int(kind == 'attentions')}", kind, rest)
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.conv.{rest[-1]}"
    return inner(f"output_blocks.{3 * block + layer}.{int(kind == 'attentions')}", kind, rest)


def inner(place, kind, rest):
    if kind == "resnets":
        rest = [RESNET[rest[0]], *rest[1:]]
    return ".".join([place, *rest])


def vae_name(name):
    levels = 4
    name = re.sub(r"^decoder\.up_blocks\.(\d+)\.", lambda m: f"decoder.up.{levels - 1 - int(m[1])}.", name)
    name = re.sub(r"^encoder\.down_blocks\.", "encoder.down.", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    for old, new in {"mid_block.attentions.0": "mid.attn_1", ".resnets.": ".block.", "downsamplers.0": "downsample", "upsamplers.0": "upsample",
                     "conv_shortcut": "nin_shortcut", "conv_norm_out": "norm_out"}.items():
        name = name.replace(old, new)
    if "attn_1" in name:
        for old, new in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
            name = name.replace(f"attn_1.{old}.", f"attn_1.{new}.")
    return name


def open_clip_rows(weights):
    """Text rows of Stable Diffusion 2.x: OpenCLIP names, query, key and value in one, and a last layer that is not used."""
    rows = []
    plain = {"embeddings.token_embedding.weight": "token_embedding.weight", "embeddings.position_embedding.weight": "positional_embedding",
             "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias"}
    layer_parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    rows += [[new, "same", [old]] for old, new in plain.items()]
    layers = 1 + max(int(name.split(".")[2]) for name in weights if name.startswith("encoder.layers."))
    for layer in range(layers + 1):
        kind, source = ("same", layer) if layer < layers else ("like", layers - 1)
        for ending in ("weight", "bias"):
            old = f"encoder.layers.{source}"
            for old_part, new_part in layer_parts.items():
                rows.append([f"transformer.resblocks.{layer}.{new_part}.{ending}", kind, [f"{old}.{old_part}.{ending}"]])
            joined = [f"{old}.self_attn.{part}_proj.{ending}" for part in "qkv"]
            rows.append([f"transformer.resblocks.{layer}.attn.in_proj_{ending}", "concat" if kind == "same" else "concat_like", joined])
    return [["cond_stage_model.model." + new, kind, "text_encoder", old] for new, kind, old in rows]


def rows_of(model, text, unet, vae):
    rows = [["model.diffusion_model." + unet_name(name), "same", "unet", [name]] for name in unet]
    for name, value in vae.items():
        is_conv = "attentions" in name and name.endswith("weight") and value.dim() == 2
        rows.append(["first_stage_model." + vae_name(name), "conv" if is_conv else "same", "vae", [name]])
    if model == "sd2":
        return rows + open_clip_rows(text)
    return rows + [["cond_stage_model.transformer.text_model." + name, "same", "text_encoder", [name]] for name in text]


def build(rows, weights):
    file = {}
    for new, kind, component, old in rows:
        tensors = [weights[component][name] for name in old]
        value = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        file[new] = value[:, :, None, None] if kind == "conv" else torch.zeros_like(value) if kind.endswith("like") else value.clone()
    return file


def prove(model, file, weights):
    """diffusers' single-file reader must find every weight again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.safetensors"
        save_file(file, path)
        for component, reader in {"unet": UNet2DConditionModel, "vae": AutoencoderKL}.items():
            read = reader.from_single_file(str(path), config=str(MODELS / model), subfolder=component, local_files_only=True, torch_dtype=torch.float32)
            same(read.state_dict(), weights[component])
    convert = {"sd1": text_of_sd1, "sd2": text_of_sd2}[model]
    same(convert(file, model), weights["text_encoder"])


def text_of_sd1(file, model):
    from diffusers.loaders.single_file_utils import convert_ldm_clip_checkpoint

    return {name.removeprefix("text_model."): value for name, value in convert_ldm_clip_checkpoint(file).items()}


def text_of_sd2(file, model):
    from diffusers.loaders.single_file_utils import convert_open_clip_checkpoint

    text = CLIPTextModel.from_pretrained(MODELS / model / "text_encoder")
    found = convert_open_clip_checkpoint(text, file, prefix="cond_stage_model.model.")
    return {name.removeprefix("text_model."): value for name, value in found.items() if "text_projection" not in name}


def same(found, wanted):
    missing = wanted.keys() - found.keys()
    assert not missing, f"not found: {sorted(missing)[:5]}"
    for name, value in wanted.items():
        assert torch.equal(found[name].float(), value.float()), name


def main(model):
    files = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    weights = {component: {name.removeprefix("text_model."): value for name, value in load_file(MODELS / model / component / f"{file}.safetensors").items()}
               for component, file in files.items()}
    rows = rows_of(model, weights["text_encoder"], weights["unet"], weights["vae"])
    assert len({row[0] for row in rows}) == len(rows)
    prove(model, build(rows, weights), weights)
    text = ",\n".join(json.dumps(row) for row in rows)
    path = FIXTURES / "ldm" / f"{model}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"header": {json.dumps({"script": "make_ldm.py", "versions": VERSIONS})},\n"rows": [\n{text}\n]}}\n')
    print(f"{path}: {len(rows)} tensors, {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    for name in ("sd1", "sd2"):
        main(name)
