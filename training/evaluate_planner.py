"""Measures the built-in planner as the program runs it: `python evaluate_planner.py ../target/release/sinopia`.

1. The benchmark's 400 captions, none of which was trained on, scored by `sinopia eval layout`.
2. 200 free captions: forty sentences written by hand, not by the training grammar, each with five fillings of words that do not exist. A caption counts
   when every noun has as many boxes as it is said to have, spelled exactly, and what is excluded is in the negative prompt and has no box.
"""

import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
ANSWERS = HERE / "../crates/sinopia-eval/tests/data/gpt-4.json"

# {a}, {b}, {c}: one thing; {A2}, {B3}: so many of them, in the plural; what stands behind `!` must not be there.
SENTENCES = """
a {a} and a {b}
two {A2} next to a {b}
A photo of a {a} in a kitchen
three {A3} on a table|table
a red {a} to the left of a green {b}
a {a} to the right of two {B2}
A watercolor of a {a} under a {b}
four {A4} in the sky
a {a} without any !{b}
a small {a}, no !{b}s
An oil painting of five {A5} in a garden at night
one {a}, two {B2} and three {C3}
a {a} on top of a {b}
a wooden {a} above a purple {b}
In a quiet street, a {a} beside a {b}
A beach with two {A2} and a {b}
a {a} on the left and a {b} on the right
a {a} on the top and a {b} on the bottom
There are three {A3} in the picture
a pair of {A2} in front of a {b}
6 {A6} and a blue {b}
the {a} is to the left of the {b}
a tiny {a} below a huge {b}
A realistic photo of a scene with a {a} and two {B2}
A realistic photo of a scene without !{b}s
a sleeping {a} in a forest without !{b}s
a man and a {a} in the snow|man
two dogs and a {a}|dog*2
a {a} between a {b} and a {c}
a yellow {a}, a black {b} and a white {c} on the grass
a {a} wearing a hat near a {b}
A cartoon of two happy {A2}
a lonely {a} in the desert at sunset
eight {A8}
a {a} in the top left corner and a {b}
A digital painting of a golden {a}, highly detailed
a silver {a} with three {B3} under a starry sky
seven orange {A7} without !{b}s
a cup, a book and a {a}|cup|book
two {A2} to the left of a sleeping {b}, no !{c}s
"""


def main():
    program = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        captions = [caption for caption, answers in json.loads(ANSWERS.read_text()).items() for _ in answers]
        plans, seconds = plan(program, captions, folder / "benchmark.json")
        print(f"benchmark: {len(captions)} captions, {seconds / len(captions):.3f} s a caption, {tokens(plans):.1f} tokens written a caption")
        print(subprocess.run([program, "eval", "layout", "--layouts", folder / "benchmark.json"], capture_output=True, text=True).stdout)
        cases = free_captions()
        plans, seconds = plan(program, [caption for caption, *_ in cases], folder / "free.json")
        wrong = [(case, plan) for case, plan in zip(cases, plans) if not is_right(plan, *case[1:])]
        print(f"free captions: {len(cases) - len(wrong)} of {len(cases)} right, {seconds / len(cases):.3f} s a caption")
        for (caption, wanted, _), got in wrong:
            layout = got.get("layout") or {"objects": [], "negative": got.get("error", "")[:200]}
            print(f"  {caption}\n    wanted {wanted}, got {[thing['phrase'] for thing in layout['objects']]}, negative `{layout['negative']}`")


def plan(program, captions, out):
    source = out.with_suffix(".txt")
    source.write_text("\n".join(captions) + "\n")
    began = time.time()
    run = subprocess.run([program, "plan", "--batch", source, "--jobs", "1", "--planner", "built-in", "--out", out, "--json", "--quiet"],
                         capture_output=True, text=True)
    seconds = time.time() - began
    return json.loads(run.stdout)["plans"], seconds


def tokens(plans):
    return sum(plan.get("usage", {}).get("completion_tokens", 0) for plan in plans) / len(plans)


def free_captions():
    """[(caption, {noun: count}, [excluded])]"""
    rng, cases = random.Random(4242), []
    for line in SENTENCES.strip().splitlines():
        sentence, *known = line.split("|")
        for _ in range(5):
            names = {letter: unheard_of(rng) for letter in "abc"}
            counts = {noun.split("*")[0]: int((noun.split("*") + ["1"])[1]) for noun in known}
            excluded = [names[letter] for letter in re.findall(r"!\{(\w)\}", sentence)]
            for letter in re.findall(r"(?<!!)\{(\w)\}", sentence):
                counts[names[letter]] = 1
            text = sentence.replace("!", "")
            for letter, count in re.findall(r"\{([A-C])(\d)\}", text):
                counts[names[letter.lower()]] = int(count)
                text = text.replace(f"{{{letter}{count}}}", names[letter.lower()] + "s")
            for letter, name in names.items():
                text = text.replace(f"{{{letter}}}", name)
            cases.append((text, counts, excluded))
    return cases


def unheard_of(rng):
    """A word by another recipe than training's: consonants and vowels in turn, six to nine letters."""
    letters = "".join(rng.choice("bcdfghklmnprtvz") + rng.choice("aeiou") for _ in range(rng.choice((3, 3, 4))))
    return letters[:-1] if rng.random() < 0.5 and letters[-2] not in "shxz" else letters + rng.choice("nrtlkd")


def is_right(plan, counts, excluded):
    layout = plan.get("layout")
    if layout is None:
        return False
    heads = [thing["phrase"].split() for thing in layout["objects"]]
    right = all(sum(noun in words for words in heads) == count for noun, count in counts.items())
    absent = all(not any(noun in words for words in heads) and noun in layout["negative"] for noun in excluded)
    return right and absent and len(heads) == sum(counts.values())


if __name__ == "__main__":
    main()
