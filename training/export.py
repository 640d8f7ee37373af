"""Writes the miniature as it stands: `python export.py FOLDER` (diffusers layout, f16 safetensors), then loads it back.

`--sheet FILE.png` also paints a few captions with the exported files. `--adapters-only` writes nothing but the grounding adapters,
FOLDER/unet/gligen.safetensors; they belong to one UNet, so a new UNet removes them until `train_gligen.py` has trained others.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

import train_gligen
from latents import finished_vae
from make_tokenizer import main as make_tokenizer
from train_unet import SCHEDULER, averaged

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SHEET = [
    "A realistic scene with a blue dog", "a red car on a beach", "a green chair", "A realistic scene with a white bowl",
    "a yellow umbrella in the snow", "A photo of a pink cat", "a purple backpack", "a black laptop in a room",
    "an orange cup", "a brown bird in a field", "a gray book", "A realistic scene",
    "A photo of two red cars", "A realistic photo of a scene with a red car on the left and a dog on the right",
    "a white flower and a blue ball", "A realistic photo of a scene with three cats",
]


def export(folder):
    tokenizer, text, unet = averaged()
    vae = finished_vae().to(memory_format=torch.contiguous_format)
    unet = unet.to(memory_format=torch.contiguous_format)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("vae", vae), ("unet", unet), ("text_encoder", text)):
        shutil.rmtree(folder / name, ignore_errors=True)
        model.half().save_pretrained(folder / name)
        forget_origin(folder / name / "config.json")
    restore_clip_names(folder / "text_encoder" / "model.safetensors")
    DDIMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    make_tokenizer(folder / "tokenizer")
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")


def export_adapters(folder):
    """GLIGEN's tensors alone, under the UNet's names, f16."""
    trained = train_gligen.averaged()
    if trained is None:
        raise SystemExit("there is no .cache/gligen.pt: run train_gligen.py first")
    tensors = {name: tensor.half().contiguous() for name, tensor in trained[3].state_dict().items()}
    save_file(tensors, folder / "unet" / "gligen.safetensors", metadata={"format": "pt"})


def forget_origin(path):
    """The libraries note the folder that a model was read from."""
    config = json.loads(path.read_text())
    config.pop("_name_or_path", None)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def restore_clip_names(path):
    """Published checkpoints call the tower `text_model.…`; newer transformers may leave that out."""
    weights = load_file(path)
    if not any(name.startswith("text_model.") for name in weights):
        weights = {f"text_model.{name}": tensor for name, tensor in weights.items()}
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith("position_ids")}
    save_file(weights, path, metadata={"format": "pt"})


def load_pipeline(folder):
    """The exported files in f32, with DPM-Solver++ over 25 steps in mind."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipe, captions, seed, steps=25, guidance=6.0, size=128):
    """One picture a caption, its noise from seed + its place in the list."""
    pictures = []
    for start in range(0, len(captions), 16):
        part = captions[start:start + 16]
        generators = [torch.Generator().manual_seed(seed + start + i) for i in range(len(part))]
        pictures += pipe(part, num_inference_steps=steps, guidance_scale=guidance, generator=generators, width=size,
                         height=size).images
    return pictures


def sheet_of(pictures, columns=8):
    w, h = pictures[0].size
    sheet = Image.new("RGB", (columns * w, -(-len(pictures) // columns) * h))
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * w, i // columns * h))
    return sheet


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--adapters-only", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    export_adapters(args.folder) if args.adapters_only else export(args.folder)
    pipe = load_pipeline(args.folder)
    megabytes = sum(f.stat().st_size for f in args.folder.rglob("*") if f.is_file()) / 1e6
    print(f"{megabytes:.1f} MB; scaling_factor {pipe.vae.config.scaling_factor}")
    if args.sheet:
        sheet_of(paint(pipe, SHEET, seed=1)).save(args.sheet)
