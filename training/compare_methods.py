"""Paints the benchmark's attribution captions with several methods and counts, by the second judge, what came out right.

A method may bring flags: `--methods lmd "lmd --sam miniature"`.

`python compare_methods.py CACHE.json --sinopia ../target/release/sinopia --out .cache/compare`: CACHE.json holds an LLM's layouts (caption
to list of answers). Pictures that are there already are not painted again, so an interrupted run goes on where it was.

The method `drawn` paints nothing: `world.py` draws each thing at its box's centre and with its box's area. What the judge misses there, because boxes
are small or lie upon each other, no method can show it.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from judge_pictures import judge_for
from score_images import judge, shares
from second_judge import find_all, load_second_judge
from world import BACKGROUND_NAMES, COLOR_NAMES, KINDS, SIZE, Scene, Thing, icon, render

ATTRIBUTION = re.compile(r"with an? (\w+) (\w+) and an? (\w+) (\w+)$")


def attribution_captions(cache):
    """The captions of the form "… with a blue dog and a white bowl" and what they ask for."""
    for caption in cache:
        if found := ATTRIBUTION.search(caption):
            pairs = (found.group(2, 1), found.group(4, 3))
            yield caption, [{"kind": kind, "color": color} for kind, color in pairs]


OBJECT = re.compile(r"\(['\"]an? (\w+) (\w+)['\"], \[(\d+), (\d+), (\d+), (\d+)\]\)")
CANVAS = 512  # pixels of the layouts


def draw(answer, seed):
    """The picture of a layout that holds things of the world, the later on top."""
    kinds, things = [kind for kind, _, _ in KINDS], []
    for color, kind, *bbox in OBJECT.findall(answer):
        x, y, w, h = (int(v) * SIZE / CANVAS for v in bbox)
        look = kinds.index(kind), COLOR_NAMES.index(color)
        sides = icon(*look, False).size
        size = (w * h * max(sides) / min(sides)) ** 0.5
        things.append(Thing(*look, x + w / 2, y + h / 2, size))
    return Image.fromarray(render(Scene(BACKGROUND_NAMES[seed % len(BACKGROUND_NAMES)], things, seed=seed)))


def paint(args, method, caption, seed, path):
    if method == "drawn":
        answer = json.loads(args.cache.read_text())[caption][0]
        draw(answer if isinstance(answer, str) else answer[0], seed).save(path)
        return
    command = [str(args.sinopia), "generate", caption, "--replay", str(args.cache), "--method", *shlex.split(method), "--seed", str(seed),
               "--steps", str(args.steps), "--threads", "1", "--out", str(path), "--quiet"]
    command += [word for setting in args.set for word in ("--set", setting)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def seen(pictures):
    """What the second judge of their edition finds in pictures of one method; drawn ones have no recipe."""
    recipe = pictures[0].text.get("sinopia")
    return find_all(pictures, judge_for(json.loads(recipe)["model"])[0] if recipe else load_second_judge())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("cache", type=Path)
    parser.add_argument("--sinopia", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["sd", "lmd"])
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of the method; use another --out")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--limit", type=int, default=100, help="captions, from the first")
    parser.add_argument("--jobs", type=int, default=2, help="pictures painted side by side, one thread each")
    args = parser.parse_args()
    tasks = list(attribution_captions(json.loads(args.cache.read_text())))[:args.limit]
    for method in args.methods:
        folder = args.out / re.sub(r"[^\w=.]+", "-", method)
        folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        missing = [(index, caption) for index, (caption, _) in enumerate(tasks) if not (folder / f"{index:03}.png").exists()]
        with ThreadPoolExecutor(args.jobs) as pool:
            paintings = [pool.submit(paint, args, method, caption, index, folder / f"{index:03}.png") for index, caption in missing]
            for count, painting in enumerate(paintings):
                painting.result()
                print(f"\r{method} {count + 1}/{len(missing)}", end="", file=sys.stderr, flush=True)
        seconds = (time.monotonic() - start) / max(len(missing), 1)
        found = seen([Image.open(folder / f"{index:03}.png") for index in range(len(tasks))])
        verdicts = [judge(f, {"objects": objects}) for f, (_, objects) in zip(found, tasks)]
        both = sum(v["attribution"] for v in verdicts)
        print(json.dumps({"method": method, "captions": len(tasks), "both things in their colours": both,
                          "seconds a picture": round(seconds, 2), **shares(verdicts)}))


if __name__ == "__main__":
    main()
