"""Scores run folders with the second judge: `python judge_pictures.py RUN...` reads what `sinopia eval image` and `sinopia eval edit` have painted and writes RUN/second.json.

The second judge chooses nothing: no picture is kept, repaired or preferred because of what it says. Pictures of the first edition are seen by `classifier.py`, all others of the miniature by
`second_judge.py`. Its scores stand beside those of the evaluator that did choose (`benches/results.py`).

The benchmark's rules (sinopia-eval, benchmarks/lmd.rs), on what is seen instead of what is asked for:

- counts: as many of the kind as the caption says, 0 for "without".
- two colours, published: each kind is there in its colour. Strict: exactly one of each kind, in its colour.
- places, published: the surest of each kind, by their centres. Strict: exactly one of each.

Edits (sinopia-eval, edits.rs): done, if what is new stands where it is to be, what is gone does not stand where it was, and there are no more of a touched kind than before, or
than are to be. The rest is kept, if every other object that was right before is right afterwards and no pixel outside of the region differs.
"""

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

import classifier
import second_judge
from second_judge import find_all, overlap

OUT = "second.json"
NUMBERS = {word: number for number, word in enumerate("zero one two three four five".split())}
THING = r"(an? (?:\w+ )?\w+)"
WITHOUT = re.compile(r"scene without (\w+)s$")
COUNTED = re.compile(rf"scene with ({'|'.join(NUMBERS)}) (\w+?)s?$")
PLACED = re.compile(rf"scene with {THING} on the (left|right|top|bottom) and {THING} on the \w+$")
BOTH = re.compile(rf"scene with {THING} and {THING}$")
MIN_IOU = 0.3  # of a thing with the box that it is to stand in, as for the first judge's tick


# ---------------------------------------------------------------- the benchmark's rules


def look(phrase):
    """("orange" or None, "cat") of "an orange cat"."""
    *rest, kind = phrase.split()
    color = rest[-1] if rest and rest[-1] not in ("a", "an") else None
    return color, kind


def judge(caption, found):
    """Whether a picture of a caption is right by the published rules and by the strict ones."""
    of_kind = lambda kind: [f for f in found if f.kind == kind]
    if told := WITHOUT.search(caption):
        return (not of_kind(told[1]),) * 2
    if told := COUNTED.search(caption):
        return (len(of_kind(told[2])) == NUMBERS[told[1]],) * 2
    if told := PLACED.search(caption):
        (_, first), where, (_, second) = look(told[1]), told[2], look(told[3])
        sides = of_kind(first), of_kind(second)
        right = all(sides) and stands(sides[0][0], sides[1][0], where)
        return right, right and all(len(side) == 1 for side in sides)
    if told := BOTH.search(caption):
        wanted = [look(told[1]), look(told[2])]
        there = all(any(f.color == color for f in of_kind(kind)) for color, kind in wanted)
        return there, there and all(len(of_kind(kind)) == 1 for _, kind in wanted)
    raise SystemExit(f"this is no caption of the benchmark: {caption}")


def stands(a, b, where):
    """Whether a stands as said as seen from b, by their centres; y points down."""
    return {"left": a.x < b.x, "right": a.x > b.x, "top": a.y < b.y, "bottom": a.y > b.y}[where]


# ---------------------------------------------------------------- the rules of edits


def is_right(thing, found, canvas):
    """Whether an object of a layout stands in its box, in its colour if it has one."""
    color, kind = look(thing["phrase"])
    box = share_of(thing["bbox"], canvas)
    return any(f.kind == kind and color in (None, f.color) and in_place(f, box) for f in found)


def share_of(bbox, canvas):
    """Left, top, right, bottom in proportions of left, top, width, height in pixels."""
    x, y, w, h = bbox
    return x / canvas["width"], y / canvas["height"], (x + w) / canvas["width"], (y + h) / canvas["height"]


def in_place(f, box):
    """By overlap; of a judge without boxes by the centre."""
    if f.box is None:
        return box[0] <= f.x <= box[2] and box[1] <= f.y <= box[3]
    return overlap(f.box, box) >= MIN_IOU


def kept_of(task):
    """The objects that stay, by their numbers before and after."""
    count = len(task["before"]["objects"])
    if task["change"] == "remove":
        return [(i, i - (i > task["gone"])) for i in range(count) if i != task["gone"]]
    return [(i, i) for i in range(count) if task["change"] == "add" or i != task["new"]]


def judge_edit(task, before, after, record):
    """What became of an edit: `before` and `after` are what is seen in the two pictures."""
    canvas, old, new = task["before"]["canvas"], task["before"]["objects"], task["after"]["objects"]
    touched = [new[task["new"]]] if task["new"] is not None else []
    kinds = {look(thing["phrase"])[1] for thing in touched + [old[i] for i in [task["gone"]] if i is not None]}
    count = lambda found, kind: sum(f.kind == kind for f in found)
    wanted = lambda kind: sum(look(thing["phrase"])[1] == kind for thing in new)
    crowded = any(count(after, kind) > max(wanted(kind), count(before, kind)) for kind in kinds)
    done = all(is_right(thing, after, canvas) for thing in touched) and not crowded
    if task["gone"] is not None:
        done = done and not is_right(old[task["gone"]], after, canvas)
    rights = [(is_right(old[i], before, canvas), is_right(new[j], after, canvas)) for i, j in kept_of(task)]
    return {"index": task["index"], "change": task["change"], "done": done, "right_before": sum(was for was, _ in rights),
            "still_right": sum(was and still for was, still in rights), "same_outside": record["changed_outside"] == 0}


# ---------------------------------------------------------------- run folders


def judge_for(model):
    """The judge of a model's pictures, and its name; `model` as recipes and run folders have it."""
    if model["hash"] == classifier.MODEL:
        return classifier.load_classifier(), "classifier"
    if model["id"] == "miniature":
        return second_judge.load_second_judge(), "second_judge"
    raise SystemExit(f"there is no second judge for pictures of `{model['id']}`: it knows the world of the miniature only")


def pictures_of(run, manifest):
    """(index, repeat, path) of the pictures that are there."""
    repeats = range(manifest["settings"]["repeats"])
    places = [(index, repeat, run / str(index) / f"img_{repeat}.png") for index in manifest["planned"] for repeat in repeats]
    return [place for place in places if place[2].exists()]


def judged(index, repeat, image, found):
    """What is written of one picture. A PNG of ours has its caption as its description."""
    published, strict = judge(image.text["Description"], found)
    return {"index": index, "repeat": repeat, "published": published, "strict": strict, "objects": objects_right(image, found),
            "seen": [described(thing) for thing in found]}


def objects_right(image, found):
    """Which objects of the layout that a picture was painted from are right in it; none where there was no layout."""
    layout = json.loads(image.text["sinopia"]).get("layout")
    return [is_right(thing, found, layout["canvas"]) for thing in layout["objects"]] if layout else []


def described(f):
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(f).items() if value is not None}


def score(run):
    """Judges the pictures of a run folder; what is written."""
    manifest = json.loads((run / "run.json").read_text())
    model, name = judge_for(manifest["settings"]["model"])
    places = pictures_of(run, manifest)
    images = [Image.open(path) for _, _, path in places]
    found = find_all(images, model)
    scores = {"judge": name}
    if manifest["settings"]["benchmark"] == "edits":
        seen = {(index, repeat): f for (index, repeat, _), f in zip(places, found)}
        records = {index: json.loads((run / str(index) / "edit.json").read_text()) for index, repeat in seen if repeat == 1}
        scores["edits"] = [judge_edit(task, seen[task["index"], 0], seen[task["index"], 1], records[task["index"]])
                           for task in json.loads((run / "edits.json").read_text()) if task["index"] in records]
    else:
        scores["images"] = [judged(index, repeat, image, f) for (index, repeat, _), image, f in zip(places, images, found)]
    (run / OUT).write_text(json.dumps(scores) + "\n")
    return scores


def summary(scores):
    if "edits" in scores:
        edits = scores["edits"]
        kept = sum(e["still_right"] == e["right_before"] and e["same_outside"] for e in edits)
        return f"{len(edits)} edits: {sum(e['done'] for e in edits)} done, {kept} keep the rest"
    images = scores["images"]
    return f"{len(images)} pictures: " + ", ".join(f"{sum(i[rule] for i in images)} right ({rule})" for rule in ("published", "strict"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for run in args.runs:
        scores = score(run)
        print(f"{run}, seen by {scores['judge']}: {summary(scores)}", flush=True)


if __name__ == "__main__":
    main()
