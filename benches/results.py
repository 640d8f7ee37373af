"""Paints the benchmark with every method on the miniature, scores it, and writes the tables of docs/results.md and the figures that other pages quote: `python results.py RUNS`.

RUNS is a folder that keeps every picture: the same command goes on where it was stopped, and paints only what is missing. Layouts by the built-in planner are
taken from RUNS/built-in.json, a cache as `sinopia plan --batch` writes it, and left out without one. It needs nothing but
`cargo build --release -p sinopia` and Python. `--only methods shortcuts` runs some of the groups, and writes their tables; a table holds what is there. `--small 25` is the number
of captions of each task for everything but the methods' own table (`--each` for that one). Times are of the machine it runs on, and mean something only on one that does nothing else.
"""

import argparse
import json
import math
import shlex
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import figures

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
OURS = ROOT / "target" / "release" / "sinopia"
CACHES = ROOT / "crates" / "sinopia-eval" / "tests" / "data"
TASKS = ["negation", "numeracy", "attribution", "spatial", "overall"]
STEPS = 20

METHODS = ["sd", "multidiffusion", "backward-guidance", "boxdiff", "gligen", "lmd", "lmd-plus"]
FLAGS = {"sd": "--ignore-negative-prompt"}
# Published: arXiv 2305.13655, overall, with layouts by GPT-3.5, and by GPT-4 where there is a figure.
PUBLISHED = {"sd": "36.8", "multidiffusion": "52.0", "backward-guidance": "59.8", "boxdiff": "62.3", "gligen": "64.8", "lmd": "76.5",
             "lmd-plus": "80.5; GPT-4: 86.3"}

MENDS = {
    "multidiffusion": ["guidance_scale=10", "keep_boxes", "keep_small_boxes", "stretch_schedule"],
    "backward-guidance": ["refresh_loss", "keep_small_boxes", "stretch_schedule", "mend_plurals"],
    "boxdiff": ["choose_a_cell", "keep_small_boxes", "stretch_schedule", "mend_plurals"],
    "lmd": ["stop_objects_early", "over_heads=sum", "refresh_loss", "keep_small_boxes", "stretch_schedule", "alignment_step_cells=0", "keep_on_canvas", "mend_plurals"],
    "gligen": ["slot_phrase=object_prompt"],
    "lmd-plus": ["guidance_grounding=unconditional", "slot_phrase=overall_phrase", "stop_objects_early", "over_heads=sum", "refresh_loss", "stretch_schedule"],
}
# Mends that matter only where something else is on: the flags that they are compared under, and the mend.
CONDITIONAL_MENDS = [
    ("lmd", "--sam miniature --set mask_prompt=point", "mask_point_centered"),
    ("lmd", "--sam miniature --set mask_prompt=point", "mask_refuse_doubtful"),
    ("lmd", "--set fast_schedule=true --set stop_objects_early=false", "fast_schedule_keeps_state"),
]
SWITCHES = {
    "gligen": ["--set reground=true", "--set gligen_scheduled_sampling_beta=1"],
    "lmd-plus": ["--set reground=true", "--set overall_gligen_scheduled_sampling_beta=1 --set so_gligen_scheduled_sampling_beta=1",
                 "--preset diffusers-lmd-plus"],
    "lmd": ["--set frozen_step_ratio=0.8", "--set use_ref_ca=false", "--set so_center_box=false --set align_with_overall_bboxes=false",
            "--sam miniature", "--set fast_schedule=true",
            "--set min_index_step=5 --set overall_min_index_step=5"],
    "boxdiff": ["--set controlled_tokens=word", "--set refine=true"],
}
SHORTCUTS = {
    "sd": ["--scheduler dpm-solver++ --steps 10", "--guidance-interval 0..0.6", "--deep-every 2", "--deep-every 3", "--merge-tokens 2"],
    "lmd": ["--steps 10", "--set max_index_step=15 --set overall_max_index_step=15", "--guidance-interval 0..0.6", "--deep-every 2",
            "--merge-tokens 2"],
    "lmd-plus": ["--steps 10", "--guidance-interval 0..0.6", "--deep-every 2", "--merge-tokens 2"],
}


def mend_off(mend):
    """The flag that switches a mend off."""
    return f"--set {mend if '=' in mend else mend + '=false'}"


class Run(NamedTuple):
    method: str
    flags: str = ""
    layouts: str = "gpt-4"
    limit: int | None = None  # captions of each task
    beside: str = ""  # flags of the run that it is compared with

    @property
    def name(self):
        return name_of(self.method, self.flags, self.layouts)


def runs(each, small):
    """The runs of each group."""
    yield "methods", [Run(method, limit=each) for method in METHODS]
    yield "layouts", [Run(method, layouts=layouts, limit=small) for method in ("lmd", "lmd-plus") for layouts in ("gpt-3.5", "built-in")]
    yield "reference", [Run(method, "--reference", limit=small) for method in METHODS if method != "sd"]
    mends = [Run(method, mend_off(mend), limit=small) for method, mends in MENDS.items() for mend in mends]
    for method, flags, mend in CONDITIONAL_MENDS:
        mends += [Run(method, flags, limit=small), Run(method, f"{flags} {mend_off(mend)}", limit=small, beside=flags)]
    yield "mends", list(dict.fromkeys(mends))  # two mends may share the run that they are compared with
    yield "switches", [Run(method, flags, limit=small) for method, more in SWITCHES.items() for flags in more]
    yield "shortcuts", [Run(method, flags, limit=small) for method, more in SHORTCUTS.items() for flags in more]
    yield "precision", [Run("lmd", "--precision f32", limit=each)]


def name_of(method, flags, layouts):
    words = "".join(c if c.isalnum() or c in ".-" else "-" for c in flags.replace("--", "").replace("set ", ""))
    return "_".join(part for part in (method, words, layouts if layouts != "gpt-4" else "") if part)


def paint(run, folder):
    """Paints and scores a run, all of it that is missing; the name of its folder, or None if its layouts are not there."""
    method, flags, layouts, limit, _ = run
    cache = CACHES / f"{layouts}.json" if layouts != "built-in" else folder.parent / "built-in.json"
    if not cache.exists():
        return None
    out = folder / run.name
    steps = [] if "--steps" in flags else ["--steps", str(STEPS)]
    chosen = [] if "--preset" in flags else ["--method", method]  # a preset brings its method
    command = [OURS, "eval", "image", *chosen, "--layouts", cache, "--out", out, "--quiet", *steps, *shlex.split(flags),
               *shlex.split(FLAGS.get(method, "")), *(["--limit", str(limit)] if limit else [])]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return out.name


def report_of(folder, names):
    subprocess.run([str(OURS), "eval", "report", *(str(folder / name) for name in names), "--out", str(folder.parent / "report")], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((folder.parent / "report.json").read_text())


class Scores:
    """Which pictures are right, by run, protocol and caption."""

    def __init__(self, report):
        self.right = {}
        for run in (run for run in report["runs"] if run["images"]):  # one that is being painted has none yet
            name = Path(run["label"]).name
            for protocol in ("published", "strict"):
                self.right[name, protocol] = {(i["index"], i["repeat"]): i[protocol]["verdict"]["score"] == 1.0 for i in run["images"]}
        self.rates = {(Path(run["label"]).name, protocol): {rate["task"]: rate for rate in run["rates"][protocol]}
                      for run in report["runs"] if run["images"] for protocol in ("published", "strict")}

    def has(self, name):
        return (name, "strict") in self.right

    def pair(self, name, base, protocol):
        """Of the captions that both painted: how many, right by the one, by the other, and McNemar's exact p."""
        one, other = self.right[name, protocol], self.right[base, protocol]
        common = one.keys() & other.keys()
        gained = sum(one[key] and not other[key] for key in common)
        lost = sum(other[key] and not one[key] for key in common)
        return len(common), sum(one[key] for key in common), sum(other[key] for key in common), mcnemar(gained, lost)


def mcnemar(gained, lost):
    """Exact two-sided p of so many changes in either direction."""
    total = gained + lost
    return min(1.0, 2 * sum(math.comb(total, k) for k in range(min(gained, lost) + 1)) / 2**total)


def costs(methods, count=3):
    """Median seconds and UNet work of a picture with two objects, alone on the machine."""
    found = {}
    layout = ROOT / "examples" / "blue-dog-white-bowl.json"
    with tempfile.TemporaryDirectory() as folder:
        for method in methods:
            command = [OURS, "generate", "a realistic photo of a scene with a blue dog and a white bowl", "--layout", layout, "--method", method, "--steps", STEPS,
                       "--count", count, "--json", "--quiet", "--out", f"{folder}/cost.png"]
            printed = json.loads(subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout)
            seconds = [sum(stage["seconds"] for stage in image["timings"]) for image in printed["images"]]
            found[method] = (statistics.median(seconds), printed["images"][0]["unet_work"]["multiply_accumulates"] / 1e9)
    return found


def percent(rate):
    low, high = rate["interval"]
    return f"{100 * rate['rate']:.1f} ({100 * low:.0f}–{100 * high:.0f})"


def table_of_methods(scores, cost, protocol):
    rows = [f"| method | {' | '.join(TASKS)} |" + (" published, overall | seconds | UNet work, GMAC |" if cost else ""),
            "| --- |" + " --- |" * (len(TASKS) + (3 if cost else 0))]
    for method in METHODS:
        if not scores.has(name_of(method, "", "gpt-4")):
            continue
        rates = scores.rates[name_of(method, "", "gpt-4"), protocol]
        cells = [percent(rates[task]) for task in TASKS]
        if cost:
            cells += [PUBLISHED[method], f"{cost[method][0]:.2f}", f"{cost[method][1]:.1f}"]
        rows.append(f"| `{method}` | {' | '.join(cells)} |")
    return rows


def table_of_pairs(scores, group, header):
    rows = [f"| method | {header} | captions | published: with it → default | p | strict: with it → default | p |", "| --- |" + " --- |" * 6]
    for run in group:
        base = name_of(run.method, run.beside, "gpt-4")
        if run.name == base or not (scores.has(run.name) and scores.has(base)):
            continue
        cells = []
        for protocol in ("published", "strict"):
            count, right, before, p = scores.pair(run.name, base, protocol)
            cells += [f"{right} → {before}", f"{p:.2f}"]
        rows.append(f"| `{run.method}` | {'`' + run.flags + '`' if run.flags else run.layouts} | {count} | {' | '.join(cells)} |")
    return rows


def write_table(name, rows):
    """Puts a table between its two marks in docs/results.md."""
    page = PAGE.read_text()
    before, rest = page.split(f"<!-- {name} -->\n", 1)
    after = rest.split("<!-- end -->", 1)[1]
    PAGE.write_text(before + f"<!-- {name} -->\n\n" + "\n".join(rows) + "\n\n<!-- end -->" + after)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=Path)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="paint these alone")
    parser.add_argument("--each", type=int, help="captions of each task in the methods' own table [default: all 100]")
    parser.add_argument("--small", type=int, default=25)
    parser.add_argument("--no-costs", action="store_true")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is there; nothing is painted")
    args = parser.parse_args()
    folder = args.runs / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    groups = dict(runs(args.each, args.small))
    if not args.tables:
        for group in args.only or groups:
            for run in (run for run in groups[group] if run.method in args.methods):
                print(f"# {group}: {paint(run, folder)}", flush=True)
    scores = Scores(report_of(folder, sorted(path.name for path in folder.iterdir())))
    wanted = args.only or list(groups)
    if "methods" in wanted:
        if not args.no_costs:
            write_table("methods", table_of_methods(scores, costs(METHODS), "published"))
        write_table("strict", table_of_methods(scores, {}, "strict"))
    for group in (group for group in wanted if group != "methods"):
        write_table(group, table_of_pairs(scores, groups[group], "layouts by" if group == "layouts" else "with"))
    figures.fill()


if __name__ == "__main__":
    main()
