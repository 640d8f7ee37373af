"""The cost of a generation against what is asked for: `python growth.py [--sd15 FOLDER] [--only objects steps resolution guided-resolution count] [--rounds 3]`.

Ours is `cargo build --release -p sinopia`. On the miniature: objects, steps, resolution, pictures; on a folder of Stable Diffusion 1.5's size
(peers/make_checkpoint.py) resolution only. Loss thresholds are 0, so that work depends on what is asked for and not on how soon a box is filled. Each
row has the median of the seconds, the UNet's multiply-accumulates as the program counts them, and the closed form:

    lmd   (N + 1) · (S · 2M + U · (F + B))      sd   S · 2M      with M, F, B = a·HW + b·HW² (convolutions and products; self-attention)

N objects, S steps, U updates a painting, M one pass, F and B a guidance pass forward and back. a and b come from the counts at two sizes (marked *), M, F and B
from one of the rows (marked *); every other row is predicted. `seconds / work` growing down a table is growth beyond the work.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

OURS = Path(__file__).resolve().parent.parent / "target" / "release" / "sinopia"
CAPTION = "a realistic photo of a scene"
PHRASES = ["a blue dog", "a white bowl", "a red car", "a green apple", "an orange cat", "a yellow cup", "a purple book", "a brown chair"]
BOXES = [[x, y, 104, 200] for y in (40, 272) for x in (12, 140, 268, 396)]  # four beside each other, in two rows; pixels of 512


def layout(num_objects):
    objects = [{"phrase": phrase, "bbox": box} for phrase, box in zip(PHRASES[:num_objects], BOXES)]
    return {"canvas": {"width": 512, "height": 512}, "objects": objects, "background": "A realistic scene", "negative": ""}


class Program:
    def __init__(self, folder, rounds):
        self.folder, self.rounds = Path(folder), rounds

    def paint(self, method, num_objects=0, steps=20, pixels=None, count=1, model="miniature"):
        """Median seconds by the wall and the report of one run."""
        command = [OURS, "generate", CAPTION, "--method", method, "--steps", steps, "--count", count, "--model", model, "--seed", 1, "--json", "--out", "x.png"]
        if pixels:
            command += ["--width", pixels, "--height", pixels]
        if method == "lmd":
            (self.folder / "layout.json").write_text(json.dumps(layout(num_objects)))
            command += ["--layout", "layout.json", "--set", "loss_threshold=0", "--set", "overall_loss_threshold=0", "--set", "object_images=false"]
        seconds = []
        for _ in range(self.rounds):
            start = time.perf_counter()
            done = subprocess.run([str(word) for word in command], cwd=self.folder, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"{command} failed:\n{done.stderr}")
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds), json.loads(done.stdout)["images"]


def work_of(images):
    return sum(image["unet_work"]["multiply_accumulates"] for image in images)


def table(columns, rows):
    """The lines of a table, of rows of (what, seconds, work, predicted work or None)."""
    lines = [f"| {columns} | seconds | work, GMAC | closed form | seconds / TMAC |", "| --- | --- | --- | --- | --- |"]
    for what, seconds, work, predicted in rows:
        form = "*" if predicted is None else f"{predicted / 1e9:.1f}"
        lines.append(f"| {what} | {seconds:.2f} | {work / 1e9:.1f} | {form} | {seconds / work * 1e12:.2f} |")
    return lines


def objects(program):
    rows = []
    for num_objects in (1, 2, 3, 4, 6, 8):
        seconds, images = program.paint("lmd", num_objects)
        work = work_of(images)
        rows.append((num_objects, seconds, work, rows[0][2] / 2 * (num_objects + 1) if rows else None))
    return table("objects (`lmd`, 20 steps, 128 px)", rows)


def steps(program):
    rows = []
    for num_steps in (10, 25, 50, 100):
        seconds, images = program.paint("lmd", 1, num_steps)
        work = work_of(images)
        updates = images[0]["unet_work"]["guidance_forward"]["calls"]
        if not rows:
            one = images[0]["unet_work"]
            a_step = one["sampling"]["multiply_accumulates"] / one["sampling"]["calls"]
            an_update = (one["guidance_forward"]["multiply_accumulates"] + one["guidance_backward"]["multiply_accumulates"]) / updates
        rows.append((f"{num_steps}, {updates} updates", seconds, work, 2 * num_steps * a_step + updates * an_update if rows else None))
    return table("steps (`lmd`, one object, 128 px)", rows)


def by_area(sizes, works):
    """a·HW + b·HW² through the first and the last of the sizes, at every size."""
    (s, t), (u, v) = [(size / sizes[0]) ** 2 for size in (sizes[0], sizes[-1])], (works[0], works[-1])
    b = (v / t - u / s) / (t - s)
    a = u / s - b * s
    return [a * area + b * area ** 2 for area in ((size / sizes[0]) ** 2 for size in sizes)]


def at_sizes(program, method, sizes, **asked):
    """Of each size: seconds, the report's pictures, the work, what the closed form says of it."""
    runs = [program.paint(method, pixels=pixels, **asked) for pixels in sizes]
    works = [work_of(images) for _, images in runs]
    forms = [None if pixels in (sizes[0], sizes[-1]) else form for pixels, form in zip(sizes, by_area(sizes, works))]
    return [(seconds, images, work, form) for (seconds, images), work, form in zip(runs, works, forms)]


def resolution(program, sizes=(64, 96, 128, 192, 256)):
    runs = at_sizes(program, "sd", sizes)
    return table("px (`sd`, 20 steps)", [(pixels, seconds, work, form) for pixels, (seconds, _, work, form) in zip(sizes, runs)])


def guided_resolution(program, sizes=(64, 96, 128, 192, 256)):
    runs = at_sizes(program, "lmd", sizes, num_objects=1)
    return table("px (`lmd`, one object, 20 steps)", [(pixels, seconds, work, form) for pixels, (seconds, _, work, form) in zip(sizes, runs)])


def count(program):
    rows = []
    for num_pictures in (1, 2, 4, 8):
        seconds, images = program.paint("sd", count=num_pictures)
        rows.append((num_pictures, seconds, work_of(images), rows[0][2] * num_pictures if rows else None))
    return table("pictures (`sd --count`, 20 steps, 128 px)", rows)


def sd15(program, folder, sizes=(256, 384, 512, 768)):
    """One step in a process of its own; loading is left out."""
    lines = ["| px | step, s | work, GMAC | closed form | step, s / TMAC | decoding, s |", "| --- |" + " --- |" * 5]
    for pixels, (_, images, work, form) in zip(sizes, at_sizes(program, "sd", sizes, steps=1, model=folder.resolve())):
        stages = {timing["stage"]: timing["seconds"] for timing in images[0]["timings"]}
        step = stages["painting the picture"]
        predicted = "*" if form is None else f"{form / 1e9:.1f}"
        lines.append(f"| {pixels} | {step:.2f} | {work / 1e9:.1f} | {predicted} | {step / work * 1e12:.1f} | {stages['decoding']:.2f} |")
    return lines


PARTS = {"objects": objects, "steps": steps, "resolution": resolution, "guided-resolution": guided_resolution, "count": count}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--sd15", type=Path, help="folder of Stable Diffusion 1.5's size")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            print("\n".join(PARTS[name](Program(folder, args.rounds))) + "\n", flush=True)
        if args.sd15:
            print("\n".join(sd15(Program(folder, 1), args.sd15)))


if __name__ == "__main__":
    main()
