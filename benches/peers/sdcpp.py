"""stable-diffusion.cpp beside ours on the same files: `python sdcpp.py SD_CLI FILE… [--steps 2] [--rounds 1]`.

SD_CLI is its program, built after its own documentation; FILE is a checkpoint that both read (`.gguf`, `.safetensors`). Each run is a process of its own at 512 × 512 pixels with
classifier-free guidance, timed by what the program itself tells: seconds a step, of decoding, of the text; from start to end by the wall, and its peak memory. The sides take turns;
`--diffusion-fa` is its flash attention, `--diffusion-conv-direct` and `--vae-conv-direct` are its convolutions without an im2col in memory.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from modes import ROOT, in_words, machine

OURS = ROOT / "target" / "release" / "sinopia"
CAPTION, SIDE, GUIDANCE_SCALE = "a realistic photo of a red dog and a white bowl on a table", 512, 7.5
FLAGS = {"": [], ", flash attention": ["--diffusion-fa"], ", and direct convolutions": ["--diffusion-fa", "--diffusion-conv-direct", "--vae-conv-direct"]}
TOLD = {"steps": r"\bsampling completed, taking ([\d.]+)s", "decode": r"decode_first_stage completed, taking ([\d.]+)s", "text": r"get_learned_condition completed, taking ([\d.]+)s"}


def theirs(program, file, steps, threads, flags):
    return [program, "-m", file, "-p", CAPTION, "--steps", steps, "--cfg-scale", GUIDANCE_SCALE, "--sampling-method", "euler", "-W", SIDE, "-H", SIDE, "--seed", 1, "-t", threads, "-o", "x.png", *flags]


def ours(file, steps, threads):
    return [OURS, "generate", CAPTION, "--method", "sd", "--model", file, "--precision", "stored", "--steps", steps, "--guidance-scale", GUIDANCE_SCALE, "--scheduler", "euler", "--seed", 1,
            "--threads", threads, "--json", "--out", "x.png"]


def run(command, read):
    """What a process tells of itself, its seconds by the wall and its peak memory."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "told", "w+") as told, open(Path(folder) / "errors", "w+") as errors:
        process = subprocess.Popen([str(word) for word in command], stdout=told, stderr=errors, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        told.seek(0)
        errors.seek(0)
        text, problem = told.read(), errors.read()
    if process.returncode != 0:
        raise SystemExit(f"{command} failed:\n{(text + problem)[-2000:]}")
    return read(text, problem) | {"whole": seconds, "peak_gb": usage.ru_maxrss * 1024 / 1e9}


def read_theirs(steps):
    def read(text, problem):
        found = {what: re.search(told, text + problem) for what, told in TOLD.items()}
        if missing := [what for what, match in found.items() if match is None]:
            raise SystemExit(f"it tells no seconds of {', '.join(missing)}:\n{(text + problem)[-2000:]}")
        return {"step": float(found["steps"][1]) / steps, "decode": float(found["decode"][1]), "text": float(found["text"][1])}
    return read


def read_ours(steps):
    def read(text, _):
        stages = {timing["stage"]: timing["seconds"] for timing in json.loads(text)["images"][0]["timings"]}
        of = lambda word: next(seconds for stage, seconds in stages.items() if word in stage)
        return {"step": of("painting") / steps, "decode": of("decoding"), "text": next((seconds for stage, seconds in stages.items() if "text" in stage or "reading" in stage), None)}
    return read


def measure(program, files, steps=2, rounds=1, threads=None):
    """Runs by file and side."""
    threads, found = threads or os.cpu_count(), {}
    for file in map(Path, files):
        sides = {f"stable-diffusion.cpp{name}": (theirs(program.resolve(), file.resolve(), steps, threads, flags), read_theirs(steps)) for name, flags in FLAGS.items()}
        sides["ours"] = (ours(file.resolve(), steps, threads), read_ours(steps))
        found[file.name] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, (command, read) in sides.items():
                found[file.name][name].append(run(command, read))
    return {"machine": machine(), "threads": threads, "steps": steps, "runs": found}


def rows(found):
    """The lines of the table; ratios are ours to the best of theirs."""
    lines = ["| file | program | guided step, s | decoding, s | whole, s | peak memory, GB |", "| --- |" + " --- |" * 5]
    for file, sides in found["runs"].items():
        medians = {name: {what: statistics.median(run[what] for run in runs) for what in ("step", "decode", "whole", "peak_gb")} for name, runs in sides.items()}
        for name, of in medians.items():
            lines.append(f"| {file} | {name} | {of['step']:.2f} | {of['decode']:.2f} | {of['whole']:.2f} | {of['peak_gb']:.2f} |")
        best = {what: min(of[what] for name, of in medians.items() if name != "ours") for what in medians["ours"]}
        lines.append(f"| {file} | ours / theirs | " + " | ".join(f"{medians['ours'][what] / best[what]:.2f}" for what in ("step", "decode", "whole", "peak_gb")) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, help="of each side [default: all cores]")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()
    found = measure(args.program, args.files, args.steps, args.rounds, args.threads)
    print(in_words(found["machine"]) + f"; {args.steps} steps\n")
    print("\n".join(rows(found)))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
