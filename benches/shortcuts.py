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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for flags in FLAGS:
            flags = flags.format(half=args.steps // 2)
            steps = [] if "--steps" in flags else ["--steps", args.steps]
            command = [OURS, "generate", "a photo of a cat", "--method", "sd", "--model", args.folder, "--seed", 1, "--json", "--quiet", "--out", f"{folder}/x.png",
                       *steps, *shlex.split(flags)]
            report = json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout)["images"][0]
            seconds = next(stage["seconds"] for stage in report["timings"] if stage["stage"].startswith("painting"))
            rows.append((flags or "none", seconds, report["unet_work"]["multiply_accumulates"] / 1e12))
            print(rows[-1], flush=True)
    plain = (rows[0][1] + rows[-1][1]) / 2
    print("\n| shortcut | painting, s | of the time | UNet work, TMAC | of the work |\n| --- | --- | --- | --- | --- |")
    for flags, seconds, work in [("none", plain, rows[0][2]), *rows[1:-1]]:
        print(f"| {'none' if flags == 'none' else f'`{flags}`'} | {seconds:.1f} | {seconds / plain:.2f} | {work:.2f} | {work / rows[0][2]:.2f} |")


if __name__ == "__main__":
    main()
