#!/usr/bin/env python3
"""Load on a server: clients that plan from the cache and read jobs, while two jobs paint. Prints figures as JSON; needs nothing but Python.

    benches/load/load.py [--seconds 1800] [--clients 200] [--think 1.0]

Each client plans one of twenty captions or reads (a job, the list), then thinks for a while. The server is a process of its own (SINOPIA or
target/release/sinopia); its memory is read from /proc every second once all captions have been planned. To hold: p99 of reads <= 50 ms, no error, memory flat.
"""

import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SINOPIA = os.environ.get("SINOPIA", str(ROOT / "target/release/sinopia"))
KINDS = ["apple", "ball", "book", "cat", "cup"]
COLORS = ["red", "blue", "green", "yellow"]
CAPTIONS = [f"a {color} {kind} on a beach" for color in COLORS for kind in KINDS]
PAINTING = {"caption": "a red car and a blue dog", "method": "lmd", "steps": 50}


def start(folder: str) -> tuple[subprocess.Popen, str, int]:
    command = [SINOPIA, "serve", "--listen", "127.0.0.1:0", "--data", folder, "--jobs", "2", "--plan-cache", f"{folder}/plans.sqlite", "--log-level", "warn"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if found := re.match(r"open http://([\d.]+):(\d+)", line):
            return server, found[1], int(found[2])
    raise SystemExit("the server did not start")


class Client:
    """One connection that is kept."""

    def __init__(self, host: str, port: int):
        self.address = (host, port)
        self.streams = None

    async def ask(self, method: str, path: str, body: dict | None = None) -> tuple[int, bytes]:
        if self.streams is None:
            self.streams = await asyncio.open_connection(*self.address)
        reader, writer = self.streams
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}:{self.address[1]}\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(re.search(r"content-length: (\d+)", answer)[1])
        return int(answer.split(" ", 2)[1]), await reader.readexactly(length)


class Figures:
    def __init__(self):
        self.seconds = {"read": [], "plan": []}
        self.errors = []

    def at(self, kind: str, share: float) -> float:
        values = sorted(self.seconds[kind])
        return round(values[min(len(values) - 1, int(share * len(values)))] * 1000, 2) if values else 0.0


async def live(client: Client, figures: Figures, chance: random.Random, until: float, think: float) -> None:
    await asyncio.sleep(chance.uniform(0, think))
    known = None
    while time.monotonic() < until:
        kind = "plan" if chance.random() < 0.2 else "read"
        begun = time.monotonic()
        try:
            if kind == "plan":
                status, _ = await client.ask("POST", "/api/plan", {"caption": chance.choice(CAPTIONS)})
            elif known and chance.random() < 0.7:
                status, _ = await client.ask("GET", f"/api/jobs/{known}")
            else:
                status, answer = await client.ask("GET", "/api/jobs?limit=20")
                known = (json.loads(answer)["jobs"] or [{}])[0].get("id")
            if status != 200:
                figures.errors.append(f"{kind}: {status}")
        except (OSError, asyncio.IncompleteReadError) as error:
            figures.errors.append(f"{kind}: {error!r}")
            client.streams = None
        figures.seconds[kind].append(time.monotonic() - begun)
        await asyncio.sleep(chance.uniform(0, 2 * think))


async def keep_painting(host: str, port: int, until: float) -> int:
    """Two jobs are painted and one waits, always."""
    client, seed = Client(host, port), 0
    while time.monotonic() < until:
        _, answer = await client.ask("GET", "/api/jobs?state=queued&limit=1")
        if not json.loads(answer)["jobs"]:
            await client.ask("POST", "/api/jobs", {**PAINTING, "seed": seed})
            seed += 1
        await asyncio.sleep(0.2)
    return seed


def resident_mb(pid: int) -> float:
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


async def watch_memory(pid: int, until: float, samples: list[float]) -> None:
    while time.monotonic() < until:
        samples.append(round(resident_mb(pid), 1))
        await asyncio.sleep(1)


async def measure(pid: int, host: str, port: int, args: argparse.Namespace) -> dict:
    warm = Client(host, port)
    for caption in CAPTIONS:
        status, answer = await warm.ask("POST", "/api/plan", {"caption": caption})
        assert status == 200, answer
    for seed in range(2):
        await warm.ask("POST", "/api/jobs", {**PAINTING, "steps": 1, "seed": seed})
    while json.loads((await warm.ask("GET", "/api/jobs?state=done"))[1])["jobs"][1:] == []:
        await asyncio.sleep(0.2)
    figures, memory, until = Figures(), [], time.monotonic() + args.seconds
    chances = [random.Random(index) for index in range(args.clients)]
    clients = [live(Client(host, port), figures, chance, until, args.think) for chance in chances]
    painted, *_ = await asyncio.gather(keep_painting(host, port, until), watch_memory(pid, until, memory), *clients)
    eighth = max(1, len(memory) // 8)
    mean = lambda values: round(sum(values) / max(1, len(values)), 1)
    return {
        "clients": args.clients,
        "seconds": args.seconds,
        "reads": len(figures.seconds["read"]),
        "plans": len(figures.seconds["plan"]),
        "read_ms": {"p50": figures.at("read", 0.5), "p99": figures.at("read", 0.99), "max": figures.at("read", 1.0)},
        "plan_ms": {"p50": figures.at("plan", 0.5), "p99": figures.at("plan", 0.99), "max": figures.at("plan", 1.0)},
        "paintings_asked_for": painted,
        "errors": len(figures.errors),
        "first_errors": figures.errors[:5],
        "resident_mb": {"mean_of_each_eighth": [mean(memory[at : at + eighth]) for at in range(0, 8 * eighth, eighth)], "max": max(memory, default=0)},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--think", type=float, default=1.0, help="mean seconds between two requests of a client")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, host, port = start(folder)
        try:
            print(json.dumps(asyncio.run(measure(server.pid, host, port, args)), indent=2))
        finally:
            server.terminate()
            server.wait()


main()
