"""Scores pictures of the second edition with the second judge: `python score_images.py FOLDER [--list expected.json]`; for run folders of `sinopia eval` there is `judge_pictures.py`.

The list (FOLDER/expected.json unless told otherwise) is JSON: `[{"file": "0001.png", "objects": [{"kind": "car", "color":
"red", "count": 1}]}, …]`; colour and count may be left out. `"absent": ["cat"]` names kinds that must not be there, and
`"relation": {"a": "car", "b": "dog", "where": "left"}` (left, right, top, bottom) says where a stands as seen from b.
Prints one JSON object: shares over pictures, and a line a picture with --verbose.
"""

import argparse
import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from second_judge import SURE, find_all
from world import KINDS

PLURALS = {plural: single for single, plural, _ in KINDS}


def judge(found, entry):
    """What is true of one picture: kinds present, colours on the right things, counts, absences, relations."""
    kinds = Counter(f.kind for f in found)
    looks = Counter((f.kind, f.color) for f in found)
    verdict = {}
    objects = [{**o, "kind": PLURALS.get(o["kind"], o["kind"])} for o in entry.get("objects", [])]
    if objects:
        verdict["kinds"] = all(kinds[o["kind"]] for o in objects)
    colored = [o for o in objects if o.get("color")]
    if colored:
        verdict["attribution"] = all(looks[o["kind"], o["color"]] for o in colored)
        verdict["colors_where_found"] = float(np.mean([looks[o["kind"], o["color"]] > 0 for o in colored if kinds[o["kind"]]] or [0]))
    counted = [o for o in objects if o.get("count") is not None]
    if counted:
        verdict["count"] = all(
            (looks[o["kind"], o["color"]] if o.get("color") else kinds[o["kind"]]) == o["count"] for o in counted)
    if entry.get("absent"):
        verdict["absent"] = not any(kinds[PLURALS.get(kind, kind)] for kind in entry["absent"])
    if entry.get("relation"):
        verdict["relation"] = stands(found, **entry["relation"])
    verdict["all"] = all(value is True or value == 1 for value in verdict.values())
    return verdict


def stands(found, a, b, where):
    """Whether the surest a stands as said to the surest b; `where` is where a is. Ties fail."""
    first = next((f for f in found if f.kind == a), None)
    second = next((f for f in found if f.kind == b), None)
    if first is None or second is None:
        return False
    return {"left": first.x < second.x, "right": first.x > second.x, "top": first.y < second.y,
            "bottom": first.y > second.y}[where]


def shares(verdicts):
    """Mean of each verdict over the pictures it was asked of, with their number."""
    names = dict.fromkeys(name for verdict in verdicts for name in verdict)
    values = {name: [float(v[name]) for v in verdicts if name in v] for name in names}
    return {name: {"share": round(float(np.mean(v)), 4), "pictures": len(v)} for name, v in values.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--list", type=Path)
    parser.add_argument("--threshold", type=float, default=SURE)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(2)
    entries = json.loads((args.list or args.folder / "expected.json").read_text())
    found = find_all([Image.open(args.folder / entry["file"]) for entry in entries], threshold=args.threshold)
    verdicts = [judge(f, entry) for f, entry in zip(found, entries)]
    if args.verbose:
        for entry, things, verdict in zip(entries, found, verdicts):
            seen = ", ".join(f"{t.color} {t.kind} ({t.x:.2f}, {t.y:.2f}) {t.score:.2f}" for t in things)
            print(json.dumps({"file": entry["file"], "seen": seen, **verdict}))
    print(json.dumps(shares(verdicts), indent=2))


if __name__ == "__main__":
    main()
