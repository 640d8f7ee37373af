"""Ours beside PyTorch and diffusers in one run: `python compare.py MODEL [--rounds 3] [--modes "ours bf16" "torch bf16" …] [--parts step guidance …]`.

MODEL is a folder made by make_checkpoint.py; ours is `cargo build --release -p sinopia -p sinopia-diffusion --bin sinopia --example time_parts`. All sides are loaded once and
take turns, so that a change of the machine's speed hits all of them; the table has medians, the spread, ratios of each of ours to a peer (`--against`, else the
best one), which kernels ran, and the most memory that each process held. modes.py says what modes are called. `short` is a guidance update whose pass ends at the last map, as ours
always does and PyTorch's pipelines do not.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from modes import ROOT, in_words, machine, mode

HERE = Path(__file__).resolve().parent
OURS = ROOT / "target" / "release" / "examples" / "time_parts"
PARTS = ["step", "guidance", "short", "decode", "encode"]
TITLES = {"step": "guided step (batch 2), s", "guidance": "guidance update, s", "short": "guidance update ending at the last map, s", "decode": "VAE decoding, s", "encode": "text encoding, s"}


class Side:
    """A process that times parts on request; `start` counts from its launch to its first word."""

    def __init__(self, mode, command):
        begun = time.perf_counter()
        self.mode = mode
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=mode.environment())
        _, *words = self.read()
        self.start, self.kernels = time.perf_counter() - begun, " ".join(words)

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"`{self.mode.name}` ended; run it by hand to see why: {' '.join(self.process.args)}")
        return line.split()

    def time(self, part):
        """Seconds of a part, None of one that the side cannot do."""
        if part == "short" and self.mode.side != "torch":
            part = "guidance"  # ours ends there anyway
        if part in ("guidance", "short") and self.mode.name.startswith("torch int8"):
            return None  # its products have no gradient
        self.process.stdin.write(part + "\n")
        self.process.stdin.flush()
        return float(self.read()[0])

    def peak_gb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def command(mode, args):
    threads = [args.threads] if args.threads else []
    if mode.side == "torch":
        return [sys.executable, HERE / "peer_torch.py", args.model, mode.precision, *threads]
    program = args.before if mode.side == "before" else OURS
    return [program, args.gguf, "stored", *threads] if mode.precision == "gguf" else [program, args.model, mode.precision, *threads]


def measure(args):
    """All times, starts, peaks and kernels by mode."""
    sides = [Side(mode, command(mode, args)) for mode in map(mode, args.modes)]
    times = {side.mode.name: {part: [] for part in args.parts} for side in sides}
    for round in range(args.rounds + 1):  # the first is a warm-up
        for part in args.parts:
            for side in sides:
                seconds = side.time(part)
                if round > 0 and seconds is not None:
                    times[side.mode.name][part].append(seconds)
    found = {"machine": machine(), "threads": args.threads, "rounds": args.rounds, "times": times, "start": {side.mode.name: side.start for side in sides},
             "peak_gb": {side.mode.name: side.peak_gb() for side in sides}, "kernels": {side.mode.name: side.kernels for side in sides}}
    for side in sides:
        side.end()
    return found


def in_row(cells):
    return "| " + " | ".join(cells) + " |"


def rows(found, against=None):
    """The lines of the table."""
    modes = list(found["times"])
    ours = [name for name in modes if name.startswith("ours") and name != against]
    peers = [name for name in modes if not name.startswith("ours")]

    def line(title, values, cells):
        ratios = []
        for name in ours:
            peer = against or min((p for p in peers if p in values), key=values.get, default=None)
            ratios.append(f"{values[name] / values[peer]:.2f}" if name in values and peer in values else "–")
        return in_row([title, *(cells.get(name, "–") for name in modes), *ratios])

    to = against or ("best peer" if peers else "–")
    lines = [in_row(["what", *modes, *(f"{name} / {to}" for name in ours)]), in_row(["---"] * (1 + len(modes) + len(ours)))]
    for part in next(iter(found["times"].values())):
        of = {name: times[part] for name, times in found["times"].items() if times[part]}
        medians = {name: statistics.median(seconds) for name, seconds in of.items()}
        lines.append(line(TITLES[part], medians, {name: f"{medians[name]:.2f} ({min(seconds):.2f}–{max(seconds):.2f})" for name, seconds in of.items()}))
    for title, values in [("process begins to loaded, s", found["start"]), ("peak memory, GB", found["peak_gb"])]:
        lines.append(line(title, values, {name: f"{value:.2f}" for name, value in values.items()}))
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--modes", nargs="+", default=["ours bf16", "torch bf16", "torch f32"])
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="of each side [default: all cores]")
    parser.add_argument("--against", help="the mode that ours are divided by [default: the best peer in each row]")
    parser.add_argument("--gguf", type=Path, help="file of `ours gguf`")
    parser.add_argument("--before", type=Path, help="`time_parts` of an earlier version, for `before …`")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    args = parser.parse_args()
    if args.against and args.against not in args.modes:
        parser.error("`--against` is one of `--modes`")
    found = measure(args)
    print(in_words(found["machine"]) + f"; median (least–most) of {args.rounds}\n")
    print("\n".join(rows(found, args.against)) + "\n")
    for name, kernels in found["kernels"].items():
        print(f"{name}: {kernels}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
