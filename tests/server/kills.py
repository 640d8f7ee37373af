#!/usr/bin/env python3
"""Queued jobs survive random kills: each is done exactly once in the record, and its picture is whole.

    tests/server/kills.py [JOBS] [KILLS]          # 1000 jobs and 10 kills by default; needs nothing but Python
"""

import json
import os
import pathlib
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SINOPIA = os.environ.get("SINOPIA", str(ROOT / "target/debug/sinopia"))


def start(folder: pathlib.Path, jobs: int) -> tuple[subprocess.Popen, str]:
    command = [SINOPIA, "serve", "--listen", "127.0.0.1:0", "--data", str(folder), "--max-queued", str(jobs), "--log-level", "warn"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if found := re.match(r"open (http://\S+)", line):
            return server, found[1]
    raise SystemExit("the server did not start")


def ask(address: str, path: str, body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def counts(folder: pathlib.Path) -> dict[str, int]:
    with sqlite3.connect(f"file:{folder}/jobs.sqlite?mode=ro", uri=True) as record:
        return dict(record.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def wait_for(folder: pathlib.Path, wanted: int) -> int:
    """Waits until so many jobs are done, however fast the machine paints; how many are."""
    while (done := counts(folder).get("done", 0)) < wanted:
        time.sleep(0.01)
    return done


def main(jobs: int, kills: int) -> None:
    chance = random.Random(7878)
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        server, address = start(folder, jobs)
        for seed in range(jobs):
            ask(address, "/api/jobs", {"caption": "a red car", "method": "sd", "steps": 1, "seed": seed})
        for kill, wanted in enumerate(sorted(chance.sample(range(1, max(jobs // 2, kills + 1)), kills)), 1):
            done = wait_for(folder, wanted)
            time.sleep(chance.uniform(0.0, 0.1))  # at any moment of a painting
            server.kill()
            server.wait()
            print(f"kill {kill}: {done} of {jobs} were done", flush=True)
            assert done < jobs, "all was done before the last kill: ask for more jobs"
            server, address = start(folder, jobs)
        wait_for(folder, jobs)
        server.terminate()
        server.wait()
        with sqlite3.connect(folder / "jobs.sqlite") as record:
            rows = record.execute("SELECT id, state, finishes, attempts FROM jobs").fetchall()
        assert len(rows) == jobs, len(rows)
        assert all(state == "done" and finishes == 1 for _, state, finishes, _ in rows), "a job was not done exactly once"
        files = {path.name: path.read_bytes() for path in (folder / "pictures").iterdir()}
        assert set(files) == {f"{row[0]}.png" for row in rows}, "pictures and record differ"
        assert all(png.startswith(b"\x89PNG") and png.endswith(b"IEND\xaeB`\x82") for png in files.values()), "half a picture"
        again = sum(attempts > 1 for *_, attempts in rows)
        print(f"{jobs} jobs, {kills} kills, {again} begun again: each done exactly once")


main(*(int(argument) for argument in (sys.argv[1:] + ["1000", "10"][len(sys.argv) - 1 :])))
