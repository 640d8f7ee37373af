"""Trains the miniature SAM: `python train_sam.py --minutes 20`, then writes it where `--out` says.

Segment Anything's architecture (transformers' SamModel) at 0.7 M parameters, on drawn scenes and on pictures that went through the autoencoder with noise on
their latents, as painted ones look. Prompts are boxes whose sides are off by a tenth or two, because a layout's box is where a thing should be, points inside,
or both. Loss, as published: 20 · focal + dice of the best of three masks, and the error of the predicted IoU.

`python train_sam.py --decode stage1:1600` prepares the pictures of a set; `--report` measures mean IoU on held-out scenes.
"""

import argparse
import json
import pickle
import shutil

import numpy as np
import torch
from torch.nn import functional as F
from transformers import SamConfig, SamModel

from muon import Pair
from pace import Average, Pace, ramp
from render_cache import load_set
from world import CACHE, SIZE, outlines

CONFIG = dict(
    vision_config=dict(hidden_size=96, num_hidden_layers=4, num_attention_heads=4, image_size=SIZE, patch_size=8, output_channels=64, mlp_dim=384,
                       window_size=8, global_attn_indexes=[1, 3], num_pos_feats=32),
    prompt_encoder_config=dict(hidden_size=64, image_size=SIZE, patch_size=8),
    mask_decoder_config=dict(hidden_size=64, mlp_dim=256, num_attention_heads=4, iou_head_hidden_dim=64),
)
# As SAM's processor: colours in 0..=255, ImageNet's mean and deviation.
MEAN, STD = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
LOW = SIZE // 2  # pixels of the decoder's masks, both ways
PROMPTS = 4  # a picture
SMALLEST = 60  # pixels of a thing worth asking for
OUTER = ("patch_embed", "iou_token", "mask_tokens", "point_embed", "not_a_point_embed", "no_mask_embed", "upscale_conv2", "proj_out")


# ---------------------------------------------------------------- pictures


@torch.no_grad()
def decode_set(name, count):
    """Pictures of the first `count` scenes out of their latents with noise of deviation 0 to 0.35: .cache/NAME.painted.npy."""
    from latents import finished_vae, load_latents

    vae, rng = finished_vae(), torch.Generator().manual_seed(5)
    latents, _ = load_latents(name)
    pictures = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for i in range(0, count, 16):
        z = latents[i:i + 16]
        z = z + torch.randn(z.shape, generator=rng) * torch.rand((len(z), 1, 1, 1), generator=rng) * 0.35
        y = vae.decode(z / vae.config.scaling_factor).sample.clamp(-1, 1)
        pictures[i:i + 16] = ((y + 1) * 127.5).round().permute(0, 2, 3, 1)[: count - i].numpy().astype(np.uint8)
    np.save(CACHE / f"{name}.painted.npy", pictures)


def load_pictures():
    """[(pixels, scenes)]: drawn and painted sets."""
    sets = [load_set("stage1"), load_set("stage2")]
    for name in ("stage1", "stage2"):
        pixels = np.load(CACHE / f"{name}.painted.npy", mmap_mode="r")
        sets.append((pixels, pickle.loads((CACHE / f"{name}.pkl").read_bytes())[: len(pixels)]))
    return sets


def seen_things(scene):
    """(N, 128, 128) bool: outlines large enough to be asked for."""
    masks = outlines(scene)
    return masks[masks.sum((1, 2)) >= SMALLEST]


def to_pixels(pictures):
    """(B, H, W, 3) uint8 to (B, 3, H, W), normalised."""
    return ((torch.from_numpy(np.ascontiguousarray(pictures)).float() - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


# ---------------------------------------------------------------- prompts


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def shaken(box, rng, deviation):
    """A box whose sides are each off by a share of its size, at least eight pixels wide and high, inside the picture."""
    w, h = box[2] - box[0], box[3] - box[1]
    box = np.clip(box + rng.normal(0, deviation, 4) * (w, h, w, h), 0, SIZE)
    for low, high in ((0, 2), (1, 3)):
        if box[high] - box[low] < 8:
            middle = np.clip((box[low] + box[high]) / 2, 4, SIZE - 4)
            box[low], box[high] = middle - 4, middle + 4
    return box.astype(np.float32)


def point_in(mask, rng):
    rows, columns = np.nonzero(mask)
    i = rng.integers(len(rows))
    return np.array([columns[i], rows[i]], np.float32)


def sample_batch(sets, rng, size):
    """`size` pictures, PROMPTS prompts of one kind each, the masks asked for (B, P, 64, 64)."""
    pictures, asked = [], []
    while len(pictures) < size:
        pixels, scenes = sets[rng.integers(len(sets))]
        i = int(rng.integers(len(scenes)))
        masks = seen_things(scenes[i]) if scenes[i].things and not scenes[i].bad else ()
        if len(masks) == 0:
            continue
        picture = pixels[i]
        if rng.random() < 0.5:
            picture, masks = picture[:, ::-1], masks[:, :, ::-1]
        pictures.append(picture)
        asked.append(masks[rng.integers(len(masks), size=PROMPTS)])
    x = to_pixels(np.stack(pictures)) * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.2, 0.2))
    x = x + torch.randn_like(x) * float(rng.uniform(0, 0.1))
    deviation = rng.choice([0.03, 0.1, 0.2])
    boxes = np.stack([[shaken(box_of(m), rng, deviation) for m in ms] for ms in asked])
    points = np.stack([[[point_in(m, rng)] for m in ms] for ms in asked])
    kind = rng.choice(["box", "point", "both"], p=[0.55, 0.35, 0.1])
    prompts = {}
    if kind != "point":
        prompts["input_boxes"] = torch.from_numpy(boxes)
    if kind != "box":
        prompts["input_points"] = torch.from_numpy(points)
        prompts["input_labels"] = torch.ones(points.shape[:3], dtype=torch.int64)
    masks = torch.from_numpy(np.stack(asked)).float()
    return x, prompts, F.avg_pool2d(masks, SIZE // LOW)


# ---------------------------------------------------------------- loss


def iou_of(logits, target):
    found, target = logits > 0, target >= 0.5
    return (found & target).sum((-2, -1)) / (found | target).sum((-2, -1)).clamp(min=1)


def mask_losses(logits, target):
    """20 · focal + dice, (B, P, M)."""
    p = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    wrong = (p - target).abs()
    focal = (entropy * wrong**2).mean((-2, -1))
    dice = 1 - (2 * (p * target).sum((-2, -1)) + 1) / ((p + target).sum((-2, -1)) + 1)
    return 20 * focal + dice


def loss_of(model, x, prompts, target, several):
    output = model(pixel_values=x, multimask_output=several, **prompts)
    target = target[:, :, None].expand_as(output.pred_masks)
    losses = mask_losses(output.pred_masks, target)
    # The best of the three learns most; the others a little, lest they learn nothing.
    mask = 0.9 * losses.min(-1).values.mean() + 0.1 * losses.mean()
    iou = F.mse_loss(output.iou_scores, iou_of(output.pred_masks.detach(), target))
    return mask + iou


# ---------------------------------------------------------------- training


def new_model():
    """transformers' own start is meant for published weights: its deviations are 1e-10 and its Fourier features have the width's half."""
    model = SamModel(SamConfig(**CONFIG))
    for name, p in model.named_parameters():
        if "positional_embedding" in name:
            torch.nn.init.normal_(p)
        elif p.ndim >= 2 and "rel_pos" not in name:
            is_table = any(part in name for part in ("token", "embed.weight", "pos_embed", "point_embed"))
            torch.nn.init.normal_(p, std=0.5 if is_table and "pos_embed" not in name else 0.02 if is_table else p[0].numel() ** -0.5)
    model.shared_image_embedding.positional_embedding.requires_grad_(False)
    model.prompt_encoder.mask_embed.requires_grad_(False)  # masks are no prompts here
    return model


@torch.no_grad()
def mean_iou(model, pixels, scenes, kind, deviation=0.1):
    """Over all things of the scenes: IoU of the surest mask and of the best, and how far the surest one's predicted IoU is off."""
    rng, surest, best, off = np.random.default_rng(1), [], [], []
    for picture, scene in zip(pixels, scenes):
        masks = seen_things(scene) if scene.things and not scene.bad else ()
        if len(masks) == 0:
            continue
        if kind == "box":
            prompts = {"input_boxes": torch.from_numpy(np.stack([shaken(box_of(m), rng, deviation) for m in masks]))[None]}
        else:
            points = torch.from_numpy(np.stack([[point_in(m, rng)] for m in masks]))[None]
            prompts = {"input_points": points, "input_labels": torch.ones(points.shape[:3], dtype=torch.int64)}
        output = model(pixel_values=to_pixels(picture[None]), **prompts)
        logits = F.interpolate(output.pred_masks[0], size=(SIZE, SIZE), mode="bilinear")
        iou = iou_of(logits, torch.from_numpy(masks)[:, None].float().expand_as(logits))
        choice = output.iou_scores[0].argmax(-1, keepdim=True)
        surest += iou.gather(1, choice)[:, 0].tolist()
        best += iou.max(1).values.tolist()
        off += (iou - output.iou_scores[0]).abs().gather(1, choice)[:, 0].tolist()
    return {"things": len(surest), "surest": round(float(np.mean(surest)), 4), "best": round(float(np.mean(best)), 4),
            "predicted IoU off by": round(float(np.mean(off)), 4)}


def report(model, count):
    pixels, scenes = load_set("held_out")
    painted = through_autoencoder(pixels[:count])
    for name, pictures in (("drawn", pixels[:count]), ("through the autoencoder", painted)):
        for kind in ("box", "point"):
            print(json.dumps({"held out": name, "prompt": kind, **mean_iou(model, pictures, scenes[:count], kind)}), flush=True)


@torch.no_grad()
def through_autoencoder(pixels):
    from latents import finished_vae
    from train_vae import to_tensor

    vae = finished_vae()
    pictures = [vae.decode(vae.encode(to_tensor(pixels[i:i + 16])).latent_dist.mean).sample.clamp(-1, 1) for i in range(0, len(pixels), 16)]
    return ((torch.cat(pictures) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy().astype(np.uint8)


def export(model, folder):
    """config.json and model.safetensors in f16, as transformers names them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    kept = {"model_type": "sam"}
    for part, given in CONFIG.items():
        kept[part] = {key: config[part][key] for key in given}
    (folder / "config.json").write_text(json.dumps(kept, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)
    model.float()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--decode", metavar="NAME:COUNT")
    parser.add_argument("--report", action="store_true", help="measure what was trained")
    parser.add_argument("--out", type=str, help="folder to write the trained model to")
    args = parser.parse_args()
    if args.decode:
        name, count = args.decode.split(":")
        return decode_set(name, int(count))
    torch.manual_seed(0)
    model = new_model()
    trained = torch.nn.ModuleDict({"sam": model})
    average = Average(trained, 0.998)
    optimizer = Pair([model], lr=1e-3, muon_lr=4e-3, outer=OUTER)
    pace = Pace("sam", args.minutes)
    state = {"model": model, "optimizer": optimizer, "average": average}
    pace.resume(state)
    share = pace.spent / 60 / args.minutes
    if not args.report and share < 1:
        train(model, trained, average, optimizer, pace, state, share, args.minutes)
    average.copy_to(trained)
    report(model.eval(), 600 if args.report else 100)
    if args.out:
        from pathlib import Path

        export(model, Path(args.out))


def train(model, trained, average, optimizer, pace, state, share, minutes):
    rng, sets, total = np.random.default_rng(pace.step), load_pictures(), 0.0
    model.train()
    while share < 1:
        x, prompts, target = sample_batch(sets, rng, 12)
        loss = loss_of(model, x, prompts, target, several=rng.random() < 0.85)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(ramp(share, decay_from=0.5))
        average.update(trained)
        share, total = pace.tick(), total + loss.item()
        if pace.step % 50 == 0:
            print(f"step {pace.step} minutes {pace.spent / 60:.1f} loss {total / 50:.4f}", flush=True)
            total = 0.0
        if pace.step % 200 == 0:
            pace.save(state)
    pace.save(state)


if __name__ == "__main__":
    main()
