"""Measures what docs/performance.md tells and writes its tables: `python performance.py SD_FOLDER GLIGEN_FOLDER`.

The folders are made by peers/make_checkpoint.py, ours is `cargo build --release -p sinopia -p sinopia-diffusion --bin sinopia --example time_parts`. For a machine that does nothing else:
about 25 minutes on two cores. Each group of measurements leaves a record, benches/records/GROUP.json, as soon as it is done; the same command goes on where it was stopped, measuring
what has no record of this commit (`--again` measures all). `--only parts-avx2 threads` takes some of the groups, `--tables` writes the tables of the records that are there.
Groups whose instructions the processor lacks are left out. Three more groups need a file: `before` (an earlier version's programs in `--before FOLDER`), `gguf` (`--gguf MODEL…`, our
peak memory with weights of 4 bits) and `sdcpp` (stable-diffusion.cpp's program in `--sd-cli`, with `--gguf`'s files).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))

import compare
import figures
import growth
import sdcpp
import shortcuts
import whole
from modes import ROOT, in_words, machine
from modes import mode as mode_of

PAGE = ROOT / "docs" / "performance.md"
RECORDS = HERE / "records"
OURS = ROOT / "target" / "release" / "sinopia"
# For each kind of machine: the instructions that stand for it, its flag, PyTorch's best there, ours by default and in 8 bits.
KINDS = {
    "avx2": {"title": "AVX2", "flag": "avx2", "torch": "torch f32 avx2", "ours": "ours stored avx2", "int8": "ours int8 avx2"},
    "avx512-bf16": {"title": "AVX-512 BF16", "flag": "avx512_bf16", "torch": "torch bf16", "ours": "ours bf16", "int8": "ours int8"},
}
# Whole generations with guidance take minutes in f32: fewer steps there.
GUIDED_STEPS = {"avx2": 4, "avx512-bf16": 8}
SHORTCUT_STEPS = 4
# The box of a thing, and what is done to it: with what lies around it 15 % of the picture change.
EDITED_BOX = [216, 230, 90, 90]
CHANGES = [("--recolour", "the dog", "a red dog"), ("--replace", "the dog", "a white bowl"), ("--add", "a white bowl", "60,230,90,90"), ("--move", "the dog", "left"), ("--remove", "the dog")]
EDITED_BY = ["gligen", "lmd-plus", "lmd", "sd"]
# Sections that the page has once something was measured for them.
SECTIONS = {
    "before": ["## Before and now", "", "The paths of version 0.1.0 beside those of this one, in turns:"],
    "edits": ["## Changes of a picture", "", "The change alone of a picture of the miniature, beside painting it by the same method. `sinopia edit FILE` paints what was painted here again first, for its states; the server and repairs keep them:"],
    "gguf": ["## Files of 4 bits", "", "Our peak memory for a picture of 512 × 512 pixels with a GGUF file:"],
    "sdcpp": ["A picture of 512 × 512 pixels from the same file, by what each program tells of itself; one run each, in turns:"],
}
CAPTION = "two red apples to the left of a sleeping cat"


def parts(kind, args):
    modes = [kind["ours"], kind["int8"], kind["torch"]]
    return compare.measure(compare_args(args, modes, rounds=2))


def compare_args(args, modes, **more):
    return SimpleNamespace(**{"model": str(args.sd), "modes": modes, "parts": compare.PARTS, "rounds": 2, "threads": None, "gguf": None, "before": None} | more)


def whole_args(args, what, modes, **more):
    defaults = vars(whole.arguments().parse_args([str(args.sd), str(args.gligen)]))
    return SimpleNamespace(**defaults | {"what": what, "modes": modes} | more)


def generations(name, args):
    """`lmd-plus` by both, then with our shortcuts; the start, and our memory."""
    kind, steps = KINDS[name], GUIDED_STEPS[name]
    found = whole.measure(whole_args(args, ["lmd-plus"], [kind["ours"], kind["torch"]], steps=steps))
    for more in [whole_args(args, ["fast"], [kind["ours"]], steps=steps), whole_args(args, ["cold"], [kind["ours"], f"{kind['ours']} packed", kind["torch"]], rounds=2),
                 whole_args(args, ["memory"], [kind["ours"], kind["int8"]])]:
        found["runs"] |= whole.measure(more)["runs"]
    return found


def threads(args):
    """Ours on one thread beside all."""
    kinds = [kind for kind in KINDS.values() if kind["flag"] in machine()["flags"]]
    modes, kept = [kinds[-1]["ours"]], [part for part in compare.PARTS if part != "short"]
    one, all_of_them = (compare.measure(compare_args(args, modes, threads=count, parts=kept)) for count in (1, None))
    return {"machine": one["machine"], "one": one["times"], "all": all_of_them["times"]}


def miniature(args):
    """The default picture and four of them as whole processes, planning and looking included; medians of three."""
    rows = {}
    for name, kind in KINDS.items():
        if kind["flag"] not in machine()["flags"]:
            continue
        limited = name if name == "avx2" else None
        with tempfile.TemporaryDirectory() as folder:
            command = [OURS, "generate", CAPTION, "--seed", "1", "--quiet", "--out", "x.png"]
            environment = mode_of(f"ours stored {limited}" if limited else "ours stored").environment()
            runs = {what: [whole_seconds([*command, *more], environment, folder) for _ in range(3)] for what, more in [("one", []), ("four", ["--count", "4"])]}
        rows[name] = {what: statistics.median(seconds) for what, seconds in runs.items()}
    return {"machine": machine(), "seconds": rows}


def whole_seconds(command, environment, folder):
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def edits(args):
    """The work of changes of a finished picture beside that of painting it, by each method."""
    return {"machine": machine(), "methods": {method: edits_by(method) for method in EDITED_BY}}


def edits_by(method):
    with tempfile.TemporaryDirectory() as folder:
        layout = {"canvas": {"width": 512, "height": 512}, "objects": [{"phrase": "a blue dog", "bbox": EDITED_BOX}], "background": "A realistic photo of a beach", "negative": ""}
        (Path(folder) / "layout.json").write_text(json.dumps(layout))
        painted = printed([OURS, "generate", "a blue dog on a beach", "--layout", "layout.json", "--method", method, "--seed", "1", "--json", "--quiet", "--out", "x.png"], folder)["images"][0]
        # With the layout what is changed is taken to be where it says, whatever a detector sees.
        changed = {flag: printed([OURS, "edit", "x.png", flag, *words_of(flag, words), "--json", "--quiet", "--out", "y.png"], folder) for flag, *words in CHANGES}
    cost = lambda report: {"work": report["unet_work"]["multiply_accumulates"], "seconds": sum(timing["seconds"] for timing in report["timings"])}
    return {"painting": cost(painted), "edits": {flag: cost(report["change"]) | {"share": report["changed_share"]} for flag, report in changed.items()}}


def words_of(flag, words):
    """An object that a detector may not see is named with its place."""
    return words if flag == "--add" else [words[0] + "@" + ",".join(map(str, EDITED_BOX)), *words[1:]]


def printed(command, folder):
    """What a command prints as JSON."""
    done = subprocess.run([str(word) for word in command], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def growths(args):
    with tempfile.TemporaryDirectory() as folder:
        tables = {name: part(growth.Program(folder, 1)) for name, part in growth.PARTS.items()}
        tables["sd15"] = growth.sd15(growth.Program(folder, 1), args.sd)
    return {"machine": machine(), "tables": tables}


def before(args):
    """Each path of an earlier version and of this one, in turns."""
    pairs = [("before bf16", "ours bf16"), ("before f32 avx2", "ours stored avx2"), ("before f32 avx512", "ours stored avx512")]
    pairs = [pair for pair in pairs if args.before and all(flag in machine()["flags"] for flag in [{"bf16": "avx512_bf16", "avx2": "avx2", "avx512": "avx512f"}[pair[0].split()[-1]]])]
    kept = [part for part in compare.PARTS if part != "short"]
    found = [compare.measure(compare_args(args, list(pair), rounds=1, parts=kept, before=args.before / "examples" / "time_parts")) for pair in pairs]
    return {"machine": machine(), "pairs": [{"modes": pair, "times": one["times"], "start": one["start"], "peak_gb": one["peak_gb"]} for pair, one in zip(pairs, found)]}


def gguf_memory(args):
    """Our peak memory with each file, without AVX-512 and with it."""
    found = {}
    for file in args.gguf:
        measured = whole.measure(whole_args(args, ["memory"], ["ours gguf avx2", "ours gguf"], gguf=file.resolve()))
        found[file.name] = measured["runs"]["memory"]
    return {"machine": machine(), "runs": found}


def groups(args):
    """What is measured, by name; in the order of the page."""
    present = machine()["flags"]
    for name, kind in KINDS.items():
        if kind["flag"] in present:
            yield f"parts-{name}", lambda kind=kind: parts(kind, args)
            yield f"whole-{name}", lambda name=name: generations(name, args)
    yield "threads", lambda: threads(args)
    yield "miniature", lambda: miniature(args)
    yield "edits", lambda: edits(args)
    yield "growth", lambda: growths(args)
    yield "shortcuts", lambda: {"machine": machine(), "steps": SHORTCUT_STEPS, "rows": shortcuts.rows(args.sd, SHORTCUT_STEPS)}
    if args.before:
        yield "before", lambda: before(args)
    if args.gguf:
        yield "gguf", lambda: gguf_memory(args)
    if args.sd_cli and args.gguf:
        yield "sdcpp", lambda: sdcpp.measure(args.sd_cli, [file for file in args.gguf if file.is_file()])


def record_of(name):
    path = RECORDS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def commit():
    return subprocess.run(["git", "rev-parse", "--short=9", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()


# The tables.

def ratio(found, part, ours, torch):
    """Medians of a part, ours to a peer's."""
    times = found["times"]
    if ours not in times or not times[ours].get(part) or not times.get(torch, {}).get(part):
        return None
    return statistics.median(times[ours][part]) / statistics.median(times[torch][part])


def seconds_of(found, what, mode):
    runs = found["runs"].get(what, {}).get(mode) if found else None
    return statistics.median(run["seconds"] for run in runs) if runs else None


def peak_of(found, what, mode):
    runs = found["runs"].get(what, {}).get(mode) if found else None
    return max(run["peak_gb"] for run in runs) if runs else None


def least_of(found, mode):
    """The least peak among files."""
    peaks = [peak_of(found, file, mode) for file in found["runs"]] if found else []
    return min(peaks, default=None)


def divided(a, b):
    return a / b if a is not None and b is not None else None


def reached(name):
    """Every figure of a kind of machine, None where nothing was measured."""
    kind, of_parts, of_whole = KINDS[name], record_of(f"parts-{name}"), record_of(f"whole-{name}")
    part = lambda which, ours=kind["ours"]: ratio(of_parts, which, ours, kind["torch"]) if of_parts else None
    peaks = of_parts["peak_gb"] if of_parts else {}
    over = lambda what, ours=kind["ours"]: divided(seconds_of(of_whole, what, ours), seconds_of(of_whole, what if what == "cold" else "lmd-plus", kind["torch"]))
    gguf = record_of("gguf")
    return {"guided step": part("step"), "guidance update": part("guidance"), "both end at the last map": part("short"), "decoding": part("decode"),
            "step in 8 bits": part("step", kind["int8"]), "memory of the parts": divided(peaks.get(kind["ours"]), peaks.get(kind["torch"])),
            "`lmd-plus`": over("lmd-plus"), "`lmd-plus`, fast": over("fast"), "start": over("cold"), "start, weights packed": over("cold", f"{kind['ours']} packed"),
            "memory in 8 bits, GB": peak_of(of_whole, "memory", kind["int8"]), "memory in 4 bits, GB": least_of(gguf, "ours gguf avx2" if name == "avx2" else "ours gguf")}


# What is aimed at, by kind of machine.
BARS = {
    "avx2": {"guided step": 0.65, "guidance update": 0.45, "both end at the last map": 0.75, "decoding": 0.65, "memory of the parts": 0.45, "step in 8 bits": 0.6, "start, weights packed": 0.2},
    "avx512-bf16": {"`lmd-plus`": 0.55, "`lmd-plus`, fast": 0.40, "start, weights packed": 0.2, "step in 8 bits": 0.55, "memory in 8 bits, GB": 2.0, "memory in 4 bits, GB": 1.5},
}


def summary():
    """A row for each kind of machine; of those that were not measured the page's own stays."""
    columns = [column for column in reached("avx2") if not column.endswith("GB")]
    lines = ["| machine | " + " | ".join(columns) + " |", "| --- |" + " --- |" * len(columns)]
    for name, kind in KINDS.items():
        found = reached(name)
        row = f"| {kind['title']} | " + " | ".join("–" if found[column] is None else f"{found[column]:.2f}" for column in columns) + " |"
        lines.append(row if record_of(f"parts-{name}") else row_of_page("summary", kind["title"]) or row)
    return lines


def row_of_page(table, title):
    """The row that begins with a title, as it stands in the page."""
    lines = PAGE.read_text().split(f"<!-- {table} -->\n", 1)[1].split("<!-- end -->", 1)[0].splitlines()
    return next((line for line in lines if line.startswith(f"| {title} |")), None)


def bars():
    lines = ["| machine | what | reached | bar | |", "| --- | --- | --- | --- | --- |"]
    for name, wanted in BARS.items():
        found = reached(name)
        for what, bar in wanted.items():
            if found[what] is not None:
                lines.append(f"| {KINDS[name]['title']} | {what} | {found[what]:.2f} | {bar:.2f} | {'met' if found[what] <= bar else '**missed**'} |")
    quick = record_of("miniature")
    if quick and "avx2" in quick["seconds"]:
        one, four = quick["seconds"]["avx2"]["one"], quick["seconds"]["avx2"]["four"]
        lines.append(f"| AVX2 | the miniature's default picture, s | {one:.2f} | 3.00 | {'met' if one <= 3 else '**missed**'} |")
        lines.append(f"| AVX2 | four of them, times one | {four / one:.2f} | 2.50 | {'met' if four <= 2.5 * one else '**missed**'} |")
    changed = record_of("edits")
    if changed:
        for method, found in changed["methods"].items():
            work = max(cost["work"] for cost in found["edits"].values()) / found["painting"]["work"]
            lines.append(f"| any | the dearest change of about 15 % of the picture, of a painting's work, `{method}` | {work:.2f} | 0.60 | {'met' if work <= 0.6 else '**missed**'} |")
    return lines if len(lines) > 2 else None


def told(found):
    """Which machine, which code."""
    return f"{in_words(found['machine'])}. Commit {found['commit']}."


def with_machine(name, rows):
    found = record_of(name)
    return [*rows(found), "", told(found)] if found else None


def parts_table(found):
    kernels = "; ".join(f"{name}: {kernels}" for name, kernels in found["kernels"].items())
    torch = next(name for name in found["times"] if name.startswith("torch"))
    return [*compare.rows(found, torch), "", f"Kernels: {kernels}. Medians (least–most) of {found['rounds']}."]


def whole_table(found):
    return [*whole.rows(found), "", f"`lmd-plus` and `fast` have {found['steps']} steps with {sum(whole.updates_of(found['steps']))} updates."]


def threads_table(found):
    lines = ["| part | one thread, s | all, s | ratio |", "| --- | --- | --- | --- |"]
    (mode, one), (_, every) = next(iter(found["one"].items())), next(iter(found["all"].items()))
    for part, seconds in one.items():
        a, b = statistics.median(seconds), statistics.median(every[part])
        lines.append(f"| {compare.TITLES[part]} | {a:.2f} | {b:.2f} | {a / b:.2f} |")
    return [*lines, "", f"{mode}, {found['machine']['cores']} cores."]


def miniature_table(found):
    lines = ["| machine | one picture, s | four (`--count 4`), s | four / one |", "| --- | --- | --- | --- |"]
    for name, seconds in found["seconds"].items():
        lines.append(f"| {KINDS[name]['title']} | {seconds['one']:.2f} | {seconds['four']:.2f} | {seconds['four'] / seconds['one']:.2f} |")
    return lines


def edits_table(found):
    lines = ["| change | " + " | ".join(f"`{method}`: work | seconds" for method in found["methods"]) + " | pixels that are new, % |", "| --- |" + " --- |" * (2 * len(found["methods"]) + 1)]
    for flag, *_ in CHANGES:
        cells, shares = [], []
        for method in found["methods"].values():
            painting, cost = method["painting"], method["edits"][flag]
            cells += [f"{cost['work'] / painting['work']:.2f}", f"{cost['seconds'] / painting['seconds']:.2f}"]
            shares.append(100 * cost["share"])
        lines.append(f"| `{flag}` | " + " | ".join(cells) + f" | {min(shares):.0f}–{max(shares):.0f} |")
    return [*lines, "", "Work and seconds as shares of a painting's."]


def before_table(found):
    lines = ["| what | before | now | now / before |", "| --- | --- | --- | --- |"]
    for pair in found["pairs"]:
        old, new = pair["modes"]
        for part, seconds in pair["times"][old].items():
            a, b = statistics.median(seconds), statistics.median(pair["times"][new][part])
            lines.append(f"| {new.removeprefix('ours ')}: {compare.TITLES[part]} | {a:.2f} | {b:.2f} | {b / a:.2f} |")
        for title, values in [("process begins to loaded, s", pair["start"]), ("peak memory, GB", pair["peak_gb"])]:
            lines.append(f"| {new.removeprefix('ours ')}: {title} | {values[old]:.2f} | {values[new]:.2f} | {values[new] / values[old]:.2f} |")
    return lines


def tables():
    """The lines between each pair of marks in the page; None where nothing was measured."""
    yield "summary", summary()
    yield "bars", bars()
    for name in KINDS:
        yield f"parts-{name}", with_machine(f"parts-{name}", parts_table)
        yield f"whole-{name}", with_machine(f"whole-{name}", whole_table)
    for name, rows in [("threads", threads_table), ("miniature", miniature_table), ("shortcuts", lambda found: found["rows"])]:
        yield name, with_machine(name, rows)
    for name, rows in [("edits", edits_table), ("before", before_table), ("gguf", whole.rows), ("sdcpp", sdcpp.rows)]:
        lines = with_machine(name, rows)
        yield name, lines and [*SECTIONS[name], "", *lines]
    grown = record_of("growth")
    for name in [*growth.PARTS, "sd15"]:
        yield f"growth-{name}", grown and grown["tables"][name]


def write_tables():
    text = PAGE.read_text()
    for name, lines in tables():
        mark = f"<!-- {name} -->\n"
        if lines is None:
            continue
        if mark not in text:
            raise SystemExit(f"{PAGE} has no mark {mark.strip()}")
        head, rest = text.split(mark, 1)
        text = head + mark + "\n" + "\n".join(lines) + "\n\n<!-- end -->" + rest.split("<!-- end -->", 1)[1]
    PAGE.write_text(text)
    figures.fill()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("sd", type=Path)
    parser.add_argument("gligen", type=Path)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--again", action="store_true", help="measure what has a record of this commit too")
    parser.add_argument("--tables", action="store_true", help="write the tables of what is there; nothing is measured")
    parser.add_argument("--before", type=Path, help="`target/release` of an earlier version")
    parser.add_argument("--gguf", type=Path, nargs="+", help="the model in 4 bits: a file, or a folder whose UNet is one")
    parser.add_argument("--sd-cli", type=Path, help="stable-diffusion.cpp's program")
    args = parser.parse_args()
    args.sd, args.gligen = args.sd.resolve(), args.gligen.resolve()
    RECORDS.mkdir(exist_ok=True)
    known = dict(groups(args))
    if unknown := set(args.only or []) - set(known):
        parser.error(f"no group is called {', '.join(sorted(unknown))}, or this machine or a file is missing for it; there are {', '.join(known)}")
    for name in [] if args.tables else args.only or known:
        old, now = record_of(name), commit()
        if old and old["commit"] == now and not args.again:
            print(f"# {name}: measured already", flush=True)
            continue
        start = time.perf_counter()
        found = known[name]() | {"commit": now}
        (RECORDS / f"{name}.json").write_text(json.dumps(found, indent=1))
        print(f"# {name}: {time.perf_counter() - start:.0f} s", flush=True)
        write_tables()
    write_tables()


if __name__ == "__main__":
    main()
