"""Holds verdicts against what people saw: `sinopia check runs/*/*/img_0.png --json > verdicts.json; python score_verdicts.py verdicts.json`.

`verdict_labels.tsv` says how the pictures are painted. Prints how many objects that are there, wrong (missing or of another colour) or debated got a tick, stayed unsure or were called
wrong, and how many things that are too many were seen: a row of the first table of ../docs/verdicts.md.
"""

import json
import sys
from collections import Counter
from pathlib import Path

LABELS = Path(__file__).resolve().parent / "verdict_labels.tsv"
TRUTH = {"there": "there", "missing": "wrong", "colour": "wrong", "debated": "debated"}
SAID = {"right": "tick", "unsure": "unsure"}


def labels():
    """(method, caption number) to the words of its line."""
    lines = [line for line in LABELS.read_text().splitlines() if not line.startswith("#")]
    return {(method, number): words.split() for method, number, words in (line.split("\t") for line in lines)}


def main():
    known, seen = labels(), Counter()
    for image in json.loads(Path(sys.argv[1]).read_text())["images"]:
        *_, method, number, _ = Path(image["file"]).parts
        words = known.get((method, number))
        if words is None:
            continue
        objects, extra = [w for w in words if w[0] != "+"], [w for w in words if w[0] == "+"]
        for word, found in zip(objects, image["verdict"]["objects"], strict=True):
            seen[TRUTH[word], SAID.get(found["state"], "wrong")] += 1
        if extra != ["+?"]:
            wanted, found = sum(map(int, extra)), len(image["verdict"]["extra"])
            seen["extra", "seen"] += min(wanted, found)
            seen["extra", "missed"] += max(0, wanted - found)
            seen["extra", "false"] += max(0, found - wanted)
    for truth in ("there", "wrong", "debated"):
        print(truth, *(f"{said} {seen[truth, said]}" for said in ("tick", "unsure", "wrong")), sep="\t")
    print("extra", *(f"{said} {seen['extra', said]}" for said in ("seen", "missed", "false")), sep="\t")


if __name__ == "__main__":
    main()
