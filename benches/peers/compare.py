"""Ours beside PyTorch and diffusers in one run: `python compare.py FOLDER [--rounds 3] [--parts step guidance …] [--modes …]`.

FOLDER is made by make_checkpoint.py; ours is `cargo build --release -p sinopia -p sinopia-diffusion --example time_parts`. All sides are loaded once and
take turns, so that a change of the machine's speed hits all of them; the table has medians, the spread, and ratios of ours to the best peer.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = HERE.parent.parent / "target" / "release" / "examples" / "time_parts"
PARTS = ["step", "guidance", "decode", "encode"]


class Side:
    """A process that times parts on request; `start` counts from its launch to its first word."""

    def __init__(self, command):
        begun = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.read()
        self.start = time.perf_counter() - begun

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.process.args} ended; run it by hand to see why")
        return float(line)

    def time(self, part):
        self.process.stdin.write(part + "\n")
        self.process.stdin.flush()
        return self.read()

    def peak_gb(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1e6


def sides(folder, modes):
    commands = {"ours bf16": [OURS, folder, "bf16"], "ours f32": [OURS, folder, "f32"],
                "torch bf16": [sys.executable, HERE / "peer_torch.py", folder, "bf16"],
                "torch bf16 short": [sys.executable, HERE / "peer_torch.py", folder, "bf16", "--short"],
                "torch f32": [sys.executable, HERE / "peer_torch.py", folder, "f32"]}
    return {name: Side([str(word) for word in commands[name]]) for name in modes}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="+", default=PARTS)
    parser.add_argument("--modes", nargs="+", default=["ours bf16", "torch bf16", "torch f32"])
    parser.add_argument("--json", help="also write all times to this file")
    args = parser.parse_args()
    running = sides(args.folder, args.modes)
    times = {name: {part: [] for part in args.parts} for name in running}
    for side in running.values():  # warm-up
        for part in args.parts:
            side.time(part)
    for _ in range(args.rounds):
        for part in args.parts:
            for name, side in running.items():
                times[name][part].append(side.time(part))
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    print(f"{cpu}, {len(Path('/proc/cpuinfo').read_text().split('processor')) - 1} cores, Python {platform.python_version()}; "
          f"seconds, median (least–most) of {args.rounds}\n")
    print("| part | " + " | ".join(running) + " | ours / best peer |\n| --- |" + " --- |" * (len(running) + 1))
    for part in args.parts:
        cells = [f"{statistics.median(t[part]):.2f} ({min(t[part]):.2f}–{max(t[part]):.2f})" for t in times.values()]
        print(f"| {part} | " + " | ".join(cells) + f" | {ratio({n: statistics.median(t[part]) for n, t in times.items()})} |")
    starts = {name: side.start for name, side in running.items()}
    peaks = {name: side.peak_gb() for name, side in running.items()}
    print("| start to loaded | " + " | ".join(f"{t:.2f}" for t in starts.values()) + f" | {ratio(starts)} |")
    print("| peak memory, GB | " + " | ".join(f"{p:.2f}" for p in peaks.values()) + f" | {ratio(peaks)} |")
    if args.json:
        Path(args.json).write_text(json.dumps({"cpu": cpu, "times": times, "start": starts, "peak_gb": peaks}, indent=1))


def ratio(values):
    ours = [v for name, v in values.items() if name.startswith("ours")]
    peers = [v for name, v in values.items() if not name.startswith("ours")]
    return f"{ours[0] / min(peers):.2f}" if ours and peers else "–"


if __name__ == "__main__":
    main()
