"""What each shortcut saves: `python shortcuts.py FOLDER` paints with a model of Stable Diffusion 1.5's size (peers/make_checkpoint.py), with and without.

Seconds are of the painting alone, without loading and decoding, one run each, in turns with plain runs at the beginning and the end; work is the UNet's
multiply-accumulates. Ours is `cargo build --release -p sinopia`. For a machine that does nothing else.
"""

import argparse
import json
import shlex
import subprocess
import tempfile
from pathlib import Path

OURS = Path(__file__).resolve().parent.parent / "target" / "release" / "sinopia"
FLAGS = ["", "--guidance-interval 0..0.6", "--deep-every 2", "--deep-every 3", "--merge-tokens 2", "--scheduler dpm-solver++ --steps {half}", ""]


def rows(model, steps):
    """The lines of the table."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for flags in FLAGS:
            flags = flags.format(half=steps // 2)
            asked = [] if "--steps" in flags else ["--steps", steps]
            command = [OURS, "generate", "a photo of a cat", "--method", "sd", "--model", model, "--seed", 1, "--json", "--quiet", "--out", f"{folder}/x.png",
                       *asked, *shlex.split(flags)]
            report = json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout)["images"][0]
            seconds = next(stage["seconds"] for stage in report["timings"] if stage["stage"].startswith("painting"))
            found.append((flags or "none", seconds, report["unet_work"]["multiply_accumulates"] / 1e12))
    plain = (found[0][1] + found[-1][1]) / 2
    lines = ["| shortcut | painting, s | of the time | UNet work, TMAC | of the work |", "| --- | --- | --- | --- | --- |"]
    for flags, seconds, work in [("none", plain, found[0][2]), *found[1:-1]]:
        lines.append(f"| {'none' if flags == 'none' else f'`{flags}`'} | {seconds:.1f} | {seconds / plain:.2f} | {work:.2f} | {work / found[0][2]:.2f} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    print("\n".join(rows(args.folder, args.steps)))


if __name__ == "__main__":
    main()
