"""Measures the miniature detector on held-out scenes: `python evaluate_detector.py ../crates/sinopia-miniature/assets/detector`.

With `--export` the folder is written, from .cache/detector.pt (f16, transformers' layout; the vocabulary is the checkpoint's, beside it). The
figures come from transformers' own OWL-ViT on the written files, at the benchmark's thresholds: score 0.15, overlap 0.15.

- kind and colour: all 352 coloured queries at once, one query a patch, each kind's doubles suppressed at 0.15, any double at 0.5. A thing is found
  when a box of its look has IoU 0.5 or more with it. Things in their icon's own colours count for neither side.
- count: all 32 plain queries, one at a time as the benchmark asks; a scene is right when every kind has as many boxes as things.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import OwlViTForObjectDetection

from detector import MEAN, STD, Detector, config_text, corners, detections, overlap, query_text, suppress
from pace import Average
from render_cache import load_set
from train_detector import Questions, box_of, roughen
from world import CACHE, COLOR_NAMES, KINDS, NATURAL, SIZE

LOOKS = [(kind, color) for kind in range(len(KINDS)) for color in range(len(COLOR_NAMES))]


def export(folder):
    """The averaged weights in f16."""
    saved = torch.load(CACHE / "detector.pt", map_location="cpu", weights_only=False)
    model, average = Detector(), Average(Detector())
    average.load_state_dict(saved["detector_average"])
    average.copy_to(model)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.half().contiguous() for name, t in model.state_dict().items()}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    (folder / "config.json").write_text(config_text())


class Judge:
    """transformers' detector, its queries read once."""

    def __init__(self, folder):
        self.model = OwlViTForObjectDetection.from_pretrained(folder, dtype=torch.float32).eval()
        questions = Questions()
        self.plain = questions.ids([query_text(single) for single, _, _ in KINDS])
        self.colored = questions.ids([query_text(KINDS[k][0], COLOR_NAMES[c]) for k, c in LOOKS])

    @torch.no_grad()
    def see(self, images):
        """Counts of every kind and looks with corners, for each of the images (B, 3, S, S) in 0..=1."""
        b = len(images)
        pixels = (images - MEAN[:, None, None]) / STD[:, None, None]
        logits = []
        for ids in (self.plain, self.colored):
            # The model reads queries anew for every picture; one picture's worth is enough, so each is repeated by view.
            out = self.model(pixel_values=pixels, input_ids=ids.repeat(b, 1), attention_mask=attention(ids).repeat(b, 1))
            logits.append(out.logits)  # (B, patches, queries)
        plain, colored = logits
        return list(zip(counts_of(plain, out.pred_boxes), looks_of(colored, out.pred_boxes)))


def attention(ids):
    """1 up to the end mark."""
    return (torch.arange(ids.shape[1]) <= ids.argmax(1)[:, None]).long()


def counts_of(plain, boxes):
    """How many of each kind are seen, asked for one at a time."""
    return [[len(suppress(found, lambda _: 0, 0.15)) for found in
             (detections(plain[b:b + 1, :, k:k + 1], boxes[b:b + 1])[0] for k in range(len(KINDS)))] for b in range(len(plain))]


def looks_of(colored, boxes):
    """(look, corners) of everything seen in its colour."""
    results = []
    for found in detections(colored, boxes):
        kept = suppress(suppress(found, lambda label: LOOKS[label][0], 0.15), lambda _: 0, 0.5)
        results.append([(LOOKS[label], box) for _, label, box in kept])
    return results


def match(scene, found):
    """(true positives, false positives, misses) of one scene by kind, colour and IoU 0.5."""
    truth = [((t.kind, t.color), torch.from_numpy(box_of(t)) / SIZE) for t in scene.things]
    colored, natural = [t for t in truth if t[0][1] != NATURAL], [t for t in truth if t[0][1] == NATURAL]
    hits = wrong = 0
    for look, box in found:
        same = [t for t in colored if t[0] == look and overlap(t[1], box) >= 0.5]
        if same:
            best = max(same, key=lambda t: overlap(t[1], box))
            colored = [t for t in colored if t is not best]
            hits += 1
        elif not any(t[0][0] == look[0] and overlap(t[1], box) >= 0.5 for t in natural):
            wrong += 1
    return hits, wrong, len(colored)


def measure(judge, name, pixels, scenes, change=lambda x: x):
    """Prints the figures of a judge on some scenes; `judge.see` tells counts of every kind, and looks with corners, of each image."""
    good = [i for i, scene in enumerate(scenes[:len(pixels)]) if not scene.bad]
    totals, exact = np.zeros(3, int), 0
    for start in range(0, len(good), 16):
        part = good[start:start + 16]
        images = change(torch.from_numpy(pixels[part].copy()).permute(0, 3, 1, 2).float().div(255))
        for i, (counts, found) in zip(part, judge.see(images)):
            totals += match(scenes[i], found)
            exact += counts == [sum(t.kind == kind for t in scenes[i].things) for kind in range(len(KINDS))]
    hits, wrong, missed = totals
    print(f"{name}: F1 of kind and colour {2 * hits / (2 * hits + wrong + missed):.4f} (precision {hits / max(hits + wrong, 1):.4f}, "
          f"recall {hits / max(hits + missed, 1):.4f}), count exact {exact / len(good):.4f}, {len(good)} scenes", flush=True)


def measure_all(judge, limit=600):
    """The figures on held-out scenes: as drawn, softened and roughened, and on scenes of mixed sizes where they are drawn."""
    pixels, scenes = load_set("held_out")
    measure(judge, "drawn", pixels[:limit], scenes)
    if (CACHE / "held_out.soft.npy").exists():
        measure(judge, "through the autoencoder", np.load(CACHE / "held_out.soft.npy", mmap_mode="r")[:limit], scenes)
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    roughened = lambda x: torch.cat([roughen(one[None], rng) for one in x])
    measure(judge, "blurred, brightened, noisy", pixels[:limit], scenes, roughened)
    if (CACHE / "held_out_boxes.npy").exists():
        pixels, scenes = load_set("held_out_boxes")
        measure(judge, "mixed sizes, from two cells up", pixels[:limit], scenes)


def write_scenes(folder, count, pixels, scenes):
    """The first held-out scenes with something in them as pictures, and scenes.json: kind, colour and box (left, top, width, height) of each thing."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [i for i, scene in enumerate(scenes) if scene.things and not scene.bad and all(t.color != NATURAL for t in scene.things)][:count]
    entries = []
    for i in chosen:
        Image.fromarray(np.asarray(pixels[i])).save(folder / f"{i:03}.png")
        boxes = [box_of(t) for t in scenes[i].things]
        things = [{"kind": KINDS[t.kind][0], "color": COLOR_NAMES[t.color], "bbox": [*map(float, b[:2]), *map(float, b[2:] - b[:2])]}
                  for t, b in zip(scenes[i].things, boxes)]
        entries.append({"file": f"{i:03}.png", "things": things})
    (folder / "scenes.json").write_text(json.dumps({"kinds": [k[0] for k in KINDS], "colors": COLOR_NAMES, "scenes": entries}) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--export", action="store_true", help="write the folder from .cache/detector.pt, and nothing else; `calibrate_detector.py` comes next")
    parser.add_argument("--limit", type=int, default=600, help="scenes")
    parser.add_argument("--scenes", type=Path, help="write held-out scenes for the tests of the program into this folder, and nothing else")
    args = parser.parse_args()
    if args.scenes:
        return write_scenes(args.scenes, 24, *load_set("held_out"))
    if args.export:
        return export(args.folder)
    print(f"{(args.folder / 'model.safetensors').stat().st_size / 1e6:.2f} MB")
    measure_all(Judge(args.folder), args.limit)


if __name__ == "__main__":
    main()
