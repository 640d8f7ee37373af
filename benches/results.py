"""Paints the benchmark with every method on the miniature, scores it, and writes the tables of docs/results.md and the figures that other pages quote: `python results.py RUNS`.

RUNS is a folder that keeps every picture: the same command goes on where it was stopped, and paints only what is missing. Layouts by the built-in planner are
taken from RUNS/built-in.json, a cache as `sinopia plan --batch` writes it, and left out without one. It needs nothing but
`cargo build --release -p sinopia` and Python. `--only methods shortcuts` runs some of the groups, and writes their tables; a table holds what is there. `--small 25` is the number
of captions of each task for everything but the methods' own table and that of checked pictures (`--each` for these). Times are of the machine it runs on, and mean something only on one
that does nothing else.

The tables `checked` and `edits` have a second judge beside the program's detector, `training/judge_pictures.py`, which needs the packages of training/requirements.txt: `--python` names an
interpreter that has them. Without one these tables have the first judge alone.
"""

import argparse
import json
import math
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import figures

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "results.md"
OURS = ROOT / "target" / "release" / "sinopia"
CACHES = ROOT / "crates" / "sinopia-eval" / "tests" / "data"
JUDGE = ROOT / "training" / "judge_pictures.py"
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
FAST = "--deep-every 2 --guidance-interval 0..0.6 --merge-tokens 2"  # what the preset `fast` sets besides its 20 steps, which all runs here have
SHORTCUTS = {
    "gligen": [FAST],
    "sd": [FAST, "--scheduler dpm-solver++ --steps 10", "--guidance-interval 0..0.6", "--deep-every 2", "--deep-every 3", "--merge-tokens 2"],
    "lmd": [FAST, "--steps 10", "--set max_index_step=15 --set overall_max_index_step=15", "--guidance-interval 0..0.6", "--deep-every 2",
            "--merge-tokens 2"],
    "lmd-plus": [FAST, "--steps 10", "--guidance-interval 0..0.6", "--deep-every 2", "--merge-tokens 2"],
}
# Checked pictures: what the program does about what its detector sees. `gligen` alone gets both together: is it then above a plain `lmd-plus`?
CHECKS = ["", "--attempts 2", "--attempts 4", "--repair"]
CHECKED = {"sd": CHECKS, "gligen": [*CHECKS, "--attempts 4 --repair"], "lmd-plus": CHECKS}
CHECKED_ON_FEWER = {"lmd": CHECKS, "boxdiff": CHECKS}
FEWER = 25  # captions of each task
EDITING = "lmd-plus"  # the method whose pictures are edited
EDITS = "edits"  # their folder


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
    checked = [Run(method, flags, limit=each) for method, more in CHECKED.items() for flags in more]
    fewer = FEWER if each is None else min(FEWER, each)
    yield "checked", checked + [Run(method, flags, limit=fewer) for method, more in CHECKED_ON_FEWER.items() for flags in more]


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


def paint_edits(folder, count):
    """Paints and scores the edits, all of them that are missing; the name of their folder."""
    command = [OURS, "eval", "edit", "--method", EDITING, "--layouts", CACHES / "gpt-4.json", "--out", folder / EDITS, "--count", count, "--steps", STEPS, "--quiet", "--json"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return EDITS


def judge_again(runs, python):
    """Has the second judge look at runs whose pictures are newer than what it has said of them; False if it cannot."""
    if subprocess.run([python, "-c", "import torch, safetensors, PIL"], capture_output=True).returncode:
        print(f"# {python} lacks the second judge's packages: its columns stay empty", file=sys.stderr)
        return False
    newest = lambda run: max((path.stat().st_mtime for path in run.glob("*/img_*.png")), default=0.0)
    said = lambda run: (run / "second.json").stat().st_mtime if (run / "second.json").exists() else 0.0
    stale = [str(run) for run in runs if newest(run) > said(run)]
    if stale:
        subprocess.run([python, str(JUDGE), *stale], check=True)
    return True


def report_of(folder, names):
    subprocess.run([str(OURS), "eval", "report", *(str(folder / name) for name in names), "--out", str(folder.parent / "report")], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return json.loads((folder.parent / "report.json").read_text())


class Scores:
    """Which pictures are right, by run, protocol and caption, and what they cost."""

    def __init__(self, report):
        self.right = {}
        self.cost = {Path(run["label"]).name: run["cost"] for run in report["runs"]}
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

    def share(self, name, protocol, keys):
        """Share of the captions `keys` that are right."""
        return sum(self.right[name, protocol][key] for key in keys) / max(len(keys), 1)


class SecondScores(Scores):
    """The same as the second judge says, of the runs that it has looked at."""

    def __init__(self, folder, names):
        self.right, self.objects, self.records = {}, {}, {}
        for name in names:
            said = folder / name / "second.json"
            images = json.loads(said.read_text()).get("images", []) if said.exists() else []
            for protocol in ("published", "strict"):
                if images:
                    self.right[name, protocol] = {(i["index"], i["repeat"]): i[protocol] for i in images}
            self.objects[name] = {(i["index"], i["repeat"]): i["objects"] for i in images}
            self.records[name] = {key: record_of(folder / name, *key) for key in self.objects[name]}

    def survival(self, plain, repaired):
        """Of the objects right in plain pictures that were repaired: how many there are, and how many are right afterwards."""
        right = still = 0
        for key, record in self.records[repaired].items():
            before, after = self.objects[plain].get(key), self.objects[repaired][key]
            # Another attempt is another picture: nothing of it could survive.
            if before is None or not record or record["attempts"] > 1 or not record["edits_kept"]:
                continue
            right += sum(before)
            still += sum(was and now for was, now in zip(before, after))
        return right, still


def record_of(run, index, repeat):
    path = run / str(index) / f"img_{repeat}.json"
    return json.loads(path.read_text()) if path.exists() else None


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


def table_of_checks(scores, second, group, protocol):
    """A row for each way to check: right by the judge that chooses and by the one that does not, what it costs, and what attempts get for the same work."""
    rows = ["| method | with | captions | right, % | second judge, % | chooser flatters itself by | second judge: with it → plain | p | work, paintings | seconds | attempts of equal work: right, second judge, % |",
            "| --- | --- |" + " --- |" * 9]
    for run in group:
        base = name_of(run.method, "", "gpt-4")
        if not (scores.has(run.name) and scores.has(base) and scores.cost[run.name]):
            continue
        keys = sorted(scores.right[run.name, protocol].keys() & scores.right[base, protocol].keys())
        right, cost = scores.share(run.name, protocol, keys), scores.cost[run.name]
        seen, flattery, pair, p = "–", "–", "–", "–"
        if second.has(run.name) and second.has(base):
            by_second = second.share(run.name, protocol, keys)
            seen, flattery = f"{100 * by_second:.1f}", f"{100 * (right - by_second):+.1f}"
            if run.flags:
                _, with_it, before, chance = second.pair(run.name, base, protocol)
                pair, p = f"{with_it} → {before}", f"{chance:.2f}"
        equal = "–"
        if "--repair" in run.flags:
            equal = ", ".join(equal_work(judge, scores.cost, run, protocol, keys) for judge in (scores, second))
        rows.append(f"| `{run.method}` | {'`' + run.flags + '`' if run.flags else 'nothing'} | {len(keys)} | {100 * right:.1f} | {seen} | {flattery} | {pair} | {p} "
                    f"| {cost['paintings']:.2f} | {cost['seconds']:.2f} | {equal} |")
    return rows


def equal_work(judge, costs, run, protocol, keys):
    """What attempts get for the work of a run: read from the line through plain painting and attempts, the last point's beyond it."""
    points = []
    for flags in CHECKS:
        name = name_of(run.method, flags, "gpt-4")
        if "--repair" not in flags and judge.has(name) and costs.get(name) and all(key in judge.right[name, protocol] for key in keys):
            points.append((costs[name]["paintings"], judge.share(name, protocol, keys)))
    if not points:
        return "–"
    points.sort()
    work = costs[run.name]["paintings"]
    below, above = [p for p in points if p[0] <= work], [p for p in points if p[0] > work]
    if not below or not above:
        return f"{100 * (below[-1] if below else above[0])[1]:.1f}"
    (x, low), (to, high) = below[-1], above[0]
    return f"{100 * (low + (work - x) / (to - x) * (high - low)):.1f}"


def table_of_survivors(second, group):
    """Objects that were right before something else of their picture was repaired."""
    rows = ["| method | with | right objects beside a repair | still right | % |", "| --- | --- | --- | --- | --- |"]
    for run in (run for run in group if "--repair" in run.flags):
        base = name_of(run.method, "", "gpt-4")
        if second.has(run.name) and second.has(base):
            right, still = second.survival(base, run.name)
            if right:
                rows.append(f"| `{run.method}` | `{run.flags}` | {right} | {still} | {100 * still / right:.1f} |")
    return rows


def table_of_edits(folder):
    """Done and kept, by both judges."""
    rows = ["| change | edits | done, % | second judge | rest kept, % | second judge | right objects still right | second judge |", "| --- |" + " --- |" * 7]
    run = folder / EDITS
    if not (run / "edit-scores.json").exists():
        return rows
    first = {score["index"]: score for score in json.loads((run / "edit-scores.json").read_text())["scores"]}
    said = run / "second.json"
    second = {score["index"]: score for score in json.loads(said.read_text())["edits"]} if said.exists() else {}
    changes = [*dict.fromkeys(score["change"] for score in first.values()), "overall"]
    for change in changes:
        cells = []
        of = [[score for score in judge.values() if change in ("overall", score["change"])] for judge in (first, second)]
        share = lambda scores, holds: f"{100 * sum(map(holds, scores)) / len(scores):.1f}" if scores else "–"
        cells += [share(scores, lambda s: s["done"]) for scores in of]
        cells += [share(scores, lambda s: s["still_right"] == s["right_before"] and s["same_outside"]) for scores in of]
        cells += [f"{sum(s['still_right'] for s in scores)} of {sum(s['right_before'] for s in scores)}" if scores else "–" for scores in of]
        rows.append(f"| {change} | {len(of[0])} | {' | '.join(cells)} |")
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
    parser.add_argument("--edits", type=int, default=200, help="how many edits")
    parser.add_argument("--no-costs", action="store_true")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is there; nothing is painted")
    parser.add_argument("--python", default=sys.executable, help="what runs the second judge")
    args = parser.parse_args()
    folder = args.runs / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    groups = dict(runs(args.each, args.small))
    wanted = args.only or [*groups, EDITS]
    if not args.tables:
        for group in (group for group in wanted if group != EDITS):
            for run in (run for run in groups[group] if run.method in args.methods):
                print(f"# {group}: {paint(run, folder)}", flush=True)
        if EDITS in wanted:
            print(f"# edits: {paint_edits(folder, args.edits)}", flush=True)
    names = sorted(path.name for path in folder.iterdir() if path.name != EDITS)
    scores = Scores(report_of(folder, names)) if names else None
    if "methods" in wanted:
        if not args.no_costs:
            write_table("methods", table_of_methods(scores, costs(METHODS), "published"))
        write_table("strict", table_of_methods(scores, {}, "strict"))
    for group in (group for group in wanted if group not in ("methods", "checked", EDITS)):
        write_table(group, table_of_pairs(scores, groups[group], "layouts by" if group == "layouts" else "with"))
    if {"checked", EDITS} & set(wanted):
        seen_twice = [run.name for run in groups["checked"] if (folder / run.name).exists()] if "checked" in wanted else []
        judge_again([folder / name for name in [*seen_twice, EDITS] if (folder / name).exists()], args.python)
    if "checked" in wanted:
        second = SecondScores(folder, seen_twice)
        for protocol in ("published", "strict"):
            write_table(f"checked, {protocol}", table_of_checks(scores, second, groups["checked"], protocol))
        write_table("survivors", table_of_survivors(second, groups["checked"]))
    if EDITS in wanted:
        write_table(EDITS, table_of_edits(folder))
    figures.fill()


if __name__ == "__main__":
    main()
