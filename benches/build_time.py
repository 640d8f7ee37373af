#!/usr/bin/env python3
"""Processor seconds of a build from nothing, in all and by crate: `python benches/build_time.py build --release -p sinopia`.

Everything behind the script's name goes to cargo. The build lies in a folder of its own, which is removed afterwards. Seconds by the clock depend on what else the
machine does, processor seconds hardly; both are told. A crate's seconds are those of rustc and what it starts (the linker too), C code's those of the C compiler.
"""
import collections
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOG = "BUILD_TIME_LOG"


def compile_and_note(command, name):
    """Stands in for a compiler: runs it and adds a line to the log."""
    status = subprocess.run(command).returncode
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(os.environ[LOG], "a") as log:
        log.write(json.dumps({"name": name, "seconds": used.ru_utime + used.ru_stime}) + "\n")
    sys.exit(status)


def wrapper(folder, name, line):
    path = folder / name
    path.write_text(f"#!/bin/sh\nexec {sys.executable} {__file__} {line} \"$@\"\n")
    path.chmod(0o755)
    return str(path)


def main(arguments):
    if arguments[:1] == ["--rustc"]:
        crate = arguments[arguments.index("--crate-name") + 1] if "--crate-name" in arguments else "(asked rustc)"
        compile_and_note(arguments[1:], crate + (", tests" if "--test" in arguments else ""))
    if arguments[:1] == ["--cc"]:
        compile_and_note(["cc", *arguments[1:]], "C code")
    folder = Path(tempfile.mkdtemp(dir=ROOT, prefix="target-"))
    try:
        environment = os.environ | {"CARGO_TARGET_DIR": str(folder / "target"), LOG: str(folder / "log")}
        environment |= {"RUSTC_WRAPPER": wrapper(folder, "rustc", "--rustc"), "CC": wrapper(folder, "cc", "--cc")}
        start = time.monotonic()
        subprocess.run(["cargo", *arguments, "--locked"], cwd=ROOT, env=environment, check=True)
        by_clock = time.monotonic() - start
        seconds = collections.Counter()
        for line in (folder / "log").read_text().splitlines():
            unit = json.loads(line)
            seconds[unit["name"]] += unit["seconds"]
    finally:
        shutil.rmtree(folder)
    print(f"{sum(seconds.values()) / 60:.1f} processor-minutes, {by_clock / 60:.1f} by the clock")
    for name, used in seconds.most_common(40):
        print(f"{used:8.1f} s  {name}")


if __name__ == "__main__":
    main(sys.argv[1:])
