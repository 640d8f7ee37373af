"""Whole generations beside PyTorch and diffusers: `python whole.py SD_FOLDER GLIGEN_FOLDER [--what sd lmd-plus cold] [--steps 20] [--rounds 1]`.

The folders are made by make_checkpoint.py; ours is `cargo build --release -p sinopia`. Each generation is a process of its own, timed by the wall from its
start to its end, with its peak memory; the sides take turns. `lmd-plus` is the preset `diffusers-lmd-plus` with two boxes; at 20 steps latents
move 3 times before each of five steps, then 2 times, then once (30 updates), fewer steps shorten each of the three spans alike. `cold` is the time until the first
denoising step would begin: of ours, a run of one step without that step and its decoding.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OURS = ROOT / "target" / "release" / "sinopia"
LAYOUT = ROOT / "examples" / "blue-dog-white-bowl.json"
CAPTION, NEGATIVE = "a realistic photo of a scene with a blue dog and a white bowl", "blurry"
SPAN_AT_20_STEPS = 5  # steps with 3 updates each, then as many with 2, then as many with 1


def updates_of(steps):
    span = round(SPAN_AT_20_STEPS * steps / 20)
    return [3] * span + [2] * span + [1] * span


def ours(method, folder, steps):
    command = [OURS, "generate", CAPTION, "--negative", NEGATIVE, "--model", folder, "--steps", steps, "--seed", 1, "--scheduler", "ddim", "--json",
               "--out", "ours.png", "--method", method]
    if method == "lmd-plus":
        updates = updates_of(steps)
        command += ["--layout", LAYOUT, "--preset", "diffusers-lmd-plus", "--set", "overall_loss_threshold=0", "--set", f"overall_max_iter={updates}",
                    "--set", f"overall_max_index_step={len(updates)}"]
    return command


def torch(method, folder, steps, *flags):
    return [sys.executable, HERE / "peer_whole.py", folder, method, "--steps", steps, "--updates", *updates_of(steps), *flags]


def commands(args):
    """For each thing to measure, the command of each side."""
    sides = {
        "sd": {"ours": ours("sd", args.sd, args.steps), "torch": torch("sd", args.sd, args.steps)},
        "lmd-plus": {"ours": ours("lmd-plus", args.gligen, args.steps), "torch": torch("lmd-plus", args.gligen, args.steps),
                     "torch as published": torch("lmd-plus", args.gligen, args.steps, "--as-published")},
        "cold": {"ours": ours("sd", args.sd, 1), "torch": torch("sd", args.sd, 1, "--load-only")},
    }
    return {what: {side: [str(word) for word in sides[what][side]] for side in args.sides if side in sides[what]} for what in args.what}


def run(command, folder):
    """Seconds by the wall, peak memory in GB, and what the process printed."""
    start = time.perf_counter()
    with open(Path(folder) / "stdout", "w+") as out, open(Path(folder) / "stderr", "w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command} failed:\n{(Path(folder) / 'stderr').read_text()}")
    return {"seconds": seconds, "peak_gb": usage.ru_maxrss * 1024 / 1e9, "parts": parts(json.loads((Path(folder) / "stdout").read_text()))}


def parts(printed):
    """Seconds by part; ours are the program's stages and its count of updates."""
    if "images" not in printed:
        return printed
    image = printed["images"][0]
    found = {timing["stage"]: timing["seconds"] for timing in image["timings"]}
    return found | {"updates": sum(report["updates"] for report in image["guidance"])}


def until_first_step(measured):
    """Of a run of ours with one step: its seconds without the step and what comes after."""
    stages = measured["parts"]
    return measured["seconds"] - stages.get("painting the picture", 0) - stages.get("decoding", 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sd", type=Path)
    parser.add_argument("gligen", type=Path)
    parser.add_argument("--what", nargs="+", default=["sd", "lmd-plus", "cold"])
    parser.add_argument("--sides", nargs="+", default=["ours", "torch"], help="also: `torch as published`")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write all times to this file")
    args = parser.parse_args()
    args.sd, args.gligen = args.sd.resolve(), args.gligen.resolve()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for what, sides in commands(args).items():
            rows[what] = {side: [] for side in sides}
            for _ in range(args.rounds):
                for side, command in sides.items():
                    measured = run(command, folder)
                    if what == "cold" and side == "ours":
                        measured["seconds"] = until_first_step(measured)
                    rows[what][side].append(measured)
    print("| what | side | seconds, median (least–most) | peak memory, GB |\n| --- | --- | --- | --- |")
    for what, sides in rows.items():
        for side, runs in sides.items():
            seconds = [r["seconds"] for r in runs]
            print(f"| {what} | {side} | {statistics.median(seconds):.2f} ({min(seconds):.2f}–{max(seconds):.2f}) | {max(r['peak_gb'] for r in runs):.2f} |")
    for what, sides in rows.items():
        for side, runs in sides.items():
            print(f"{what}, {side}: {runs[-1]['parts']}")
    if args.json:
        args.json.write_text(json.dumps({"steps": args.steps, "runs": rows}, indent=1))


if __name__ == "__main__":
    main()
