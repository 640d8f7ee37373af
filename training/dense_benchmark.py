"""Writes the benchmark of dense captions: `python dense_benchmark.py ../crates/sinopia-eval/data/dense.json ../examples/dense-layouts.json`.

200 captions that no training sees (their hashes are held out, their scenes are drawn with a seed of their own), what each asks for, and the boxes of their scenes as a
cache of layouts, in which a perfect language model's answers would stand.
"""

import json
import sys
from pathlib import Path

import numpy as np

from dense import compose_dense, describe, region_of
from world import BACKGROUNDS, COLOR_NAMES, KINDS, NATURAL, SIZE, article, drawn_box, held_out

COUNT, SEED, CANVAS = 200, 907, 512


def tasks():
    """Scenes of four to six things, each with a colour and a place that the caption says."""
    rng, found = np.random.default_rng(SEED), []
    while len(found) < COUNT:
        scene = compose_dense(rng, [0, 0, 0, 0, 0.34, 0.33, 0.33])
        if any(thing.color == NATURAL for thing in scene.things):
            continue
        text = describe(scene, rng)
        says_places = sum(text.lower().count(word) for word in ("left", "right", "top", "bottom", "middle", "center", "upper", "lower")) >= len(scene.things)
        if held_out(text) and says_places and text not in (known for known, _ in found):
            found.append((text, scene))
    return found


def answer(scene):
    """The scene as a language model writes a layout."""
    boxes = []
    for thing in scene.things:
        x0, y0, x1, y1 = (round(CANVAS * float(np.clip(v, 0, 1))) for v in drawn_box(thing))
        boxes.append((article(f"{COLOR_NAMES[thing.color]} {KINDS[thing.kind][0]}"), [x0, y0, x1 - x0, y1 - y0]))
    backdrop = article(BACKGROUNDS[scene.background][2]).capitalize()
    return f"{boxes}\nBackground prompt: {backdrop} scene\nNegative prompt: "


def main(captions, layouts):
    found = tasks()
    things = lambda scene: [{"color": COLOR_NAMES[t.color], "kind": KINDS[t.kind][0], "region": list(region_of(t))} for t in scene.things]
    lines = [json.dumps({"caption": text, "things": things(scene)}) for text, scene in found]
    captions.parent.mkdir(parents=True, exist_ok=True)
    captions.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    layouts.write_text(json.dumps({text.removesuffix("."): [answer(scene)] for text, scene in found}, indent=1) + "\n")
    words = [len(text.split()) for text, _ in found]
    print(f"{len(found)} captions of {min(words)} to {max(words)} words, {np.mean(words):.0f} on average; {sum(len(s.things) for _, s in found)} things")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
