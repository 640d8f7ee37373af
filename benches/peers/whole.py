"""Whole generations beside PyTorch and diffusers: `python whole.py SD_FOLDER GLIGEN_FOLDER [--what sd lmd-plus fast cold memory] [--modes "ours bf16" "torch bf16" …]`.

The folders are made by make_checkpoint.py; ours is `cargo build --release -p sinopia`; modes.py says what modes are called. Each generation is a process of its own, timed by
the wall from its start to its end, with its peak memory; the sides take turns. `lmd-plus` is the preset `diffusers-lmd-plus` with two boxes; at 20 steps latents
move 3 times before each of five steps, then 2 times, then once (30 updates), fewer steps shorten each of the three spans alike. `fast` is the same with `--preset fast`'s shortcuts
on our side. `cold` is the time until the first denoising step would begin: of ours, a run of one step without that step and its decoding. `memory` is `sd` with one step.
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

from modes import ROOT, in_words, machine, mode

HERE = Path(__file__).resolve().parent
OURS = ROOT / "target" / "release" / "sinopia"
LAYOUT = ROOT / "examples" / "blue-dog-white-bowl.json"
CAPTION, NEGATIVE = "a realistic photo of a scene with a blue dog and a white bowl", "blurry"
SPAN_AT_20_STEPS = 5  # steps with 3 updates each, then as many with 2, then as many with 1
WHAT = ["sd", "lmd-plus", "fast", "cold", "memory"]


def updates_of(steps):
    span = round(SPAN_AT_20_STEPS * steps / 20)
    return [3] * span + [2] * span + [1] * span


def model_of(mode, what, args):
    """The model of one of ours, and the precision by which `--precision` calls it."""
    if mode.precision == "gguf":
        return args.gguf, "stored"
    return args.gligen if what in ("lmd-plus", "fast") else args.sd, mode.precision


def ours(mode, what, args):
    """The command of one of ours, or of an earlier version."""
    is_guided = what in ("lmd-plus", "fast")
    model, precision = model_of(mode, what, args)
    steps = args.steps if what in ("sd", "lmd-plus", "fast") else 1
    program = args.before if mode.side == "before" else OURS
    command = [program, "generate", CAPTION, "--negative", NEGATIVE, "--model", model, "--precision", precision, "--steps", steps, "--seed", 1, "--scheduler", "ddim",
               "--json", "--out", "ours.png", "--method", "lmd-plus" if is_guided else "sd"]
    if is_guided:
        updates = updates_of(steps)
        command += ["--layout", LAYOUT, "--preset", "diffusers-lmd-plus", "--set", "overall_loss_threshold=0", "--set", f"overall_max_iter={updates}",
                    "--set", f"overall_max_index_step={len(updates)}"]
    if what == "fast":
        command += args.fast.split()
    return command + (["--threads", args.threads] if args.threads else [])


def torch(mode, what, args):
    method = "lmd-plus" if what in ("lmd-plus", "fast") else "sd"
    steps = args.steps if what in ("sd", "lmd-plus", "fast") else 1
    command = [sys.executable, HERE / "peer_whole.py", args.gligen if method == "lmd-plus" else args.sd, method, "--precision", mode.precision, "--steps", steps,
               "--updates", *updates_of(steps), *(f"--{variant}" for variant in mode.variants), *(["--threads", args.threads] if args.threads else [])]
    return command + (["--load-only"] if what == "cold" else [])


def run(command, environment, folder):
    """Seconds by the wall, peak memory in GB, and what the process printed."""
    start = time.perf_counter()
    with open(Path(folder) / "stdout", "w+") as out, open(Path(folder) / "stderr", "w+") as err:
        process = subprocess.Popen([str(word) for word in command], stdout=out, stderr=err, cwd=folder, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"{command} failed:\n{(Path(folder) / 'stderr').read_text()}")
    return {"seconds": seconds, "peak_gb": usage.ru_maxrss * 1024 / 1e9, "parts": parts(json.loads((Path(folder) / "stdout").read_text()))}


def parts(printed):
    """Seconds by part; ours are the program's stages, its count of updates and the UNet's work."""
    if "images" not in printed:
        return printed
    image = printed["images"][0]
    found = {timing["stage"]: timing["seconds"] for timing in image["timings"]}
    return found | {"updates": sum(report["updates"] for report in image["guidance"]), "work": image["unet_work"]["multiply_accumulates"]}


def until_first_step(measured):
    """Of a run of ours with one step: its seconds without the step and what comes after."""
    stages = measured["parts"]
    return measured["seconds"] - stages.get("painting the picture", 0) - stages.get("decoding", 0)


def environment(mode, folder):
    """The variables of a process; ours has a cache of its own, so that nothing is packed that was not asked for."""
    return mode.environment() | {"XDG_CACHE_HOME": str(Path(folder) / ("packed" if "packed" in mode.variants else "cache"))}


def prepare(mode, what, args, folder):
    """Packs the weights of one of ours, if its mode says so."""
    if "packed" in mode.variants:
        model, precision = model_of(mode, what, args)
        command = [OURS, "models", "prepare", model, "--precision", precision]
        subprocess.run([str(word) for word in command], check=True, env=environment(mode, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(args):
    """Runs by what and mode, in turns."""
    runs = {what: {name: [] for name in args.modes} for what in args.what}
    modes = [mode(name) for name in args.modes]
    with tempfile.TemporaryDirectory() as folder:
        for what in args.what:
            for one in modes:
                prepare(one, what, args, folder)
            for _ in range(args.rounds):
                for one in modes:
                    command = (torch if one.side == "torch" else ours)(one, what, args)
                    measured = run(command, environment(one, folder), folder)
                    if what == "cold" and one.side != "torch":
                        measured["seconds"] = until_first_step(measured)
                    runs[what][one.name].append(measured)
    return {"machine": machine(), "threads": args.threads, "steps": args.steps, "runs": runs}


def rows(found):
    """The lines of the table; ratios are to the best peer."""
    lines = ["| what | mode | seconds, median (least–most) | to the best peer | peak memory, GB | to the best peer |", "| --- |" + " --- |" * 5]
    for what, modes in found["runs"].items():
        medians = {name: statistics.median(r["seconds"] for r in runs) for name, runs in modes.items()}
        peaks = {name: max(r["peak_gb"] for r in runs) for name, runs in modes.items()}
        ratio = lambda values, name: f"{values[name] / min(v for n, v in values.items() if n.startswith('torch')):.2f}" if name.startswith("ours") and any(n.startswith("torch") for n in values) else "–"
        for name, runs in modes.items():
            seconds = [r["seconds"] for r in runs]
            lines.append(f"| {what} | {name} | {medians[name]:.2f} ({min(seconds):.2f}–{max(seconds):.2f}) | {ratio(medians, name)} | {peaks[name]:.2f} | {ratio(peaks, name)} |")
    return lines


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("sd", type=Path)
    parser.add_argument("gligen", type=Path)
    parser.add_argument("--what", nargs="+", default=["sd", "lmd-plus", "cold"], choices=WHAT)
    parser.add_argument("--modes", nargs="+", default=["ours bf16", "torch bf16"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of each side [default: all cores]")
    parser.add_argument("--gguf", type=Path, help="file of `ours gguf`")
    parser.add_argument("--before", type=Path, help="`sinopia` of an earlier version, for `before …`")
    parser.add_argument("--fast", default="--guidance-interval 0..0.6 --deep-every 2 --merge-tokens 2", help="flags that make ours fast in `fast`")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser


def main():
    args = arguments().parse_args()
    args.sd, args.gligen = args.sd.resolve(), args.gligen.resolve()
    found = measure(args)
    print(in_words(found["machine"]) + "\n")
    print("\n".join(rows(found)) + "\n")
    for what, modes in found["runs"].items():
        for name, runs in modes.items():
            print(f"{what}, {name}: {runs[-1]['parts']}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
