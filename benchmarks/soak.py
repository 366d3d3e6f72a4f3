"""Does a server hold: mixed load of 16 clients, a fifth of it hostile, for ten minutes.

    python benchmarks/soak.py [--seconds 600] [--clients 16] [--run RUN] [--source SRC]

Ordinary requests are predictions, explanations, batches, feedback, KServe, statistics; hostile ones are those of
`pellucid doctor --attack` that are about bodies, and clients that hang up. The server, the clients and the watcher that
asks /livez twenty times a second are processes of their own on the same cores. Every minute: memory, file descriptors
and threads of the server, and the latency of /livez. At the end every answer that was said to be stored, and all
feedback that was acknowledged, is looked up in the store.

Goals: nothing lost, nothing hung, no 500; /livez 99 % within 250 ms; memory at most 600 MB, and flat (5 %) after two
minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.errors import InputError
from pellucid.serving.attacks import costly, files
from pellucid.serving.attacks.client import BOUNDARY, Reply, Target, form

FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = {"Content-Type": "application/json"}
HUNG = 75.0
MEMORY_MB = 600


def watch(url: str, seconds: float) -> None:
    """Print the latency of /livez, one line a question."""
    target, ends = Target(url), time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        try:
            reply = target.request("GET", "/livez")
        except InputError:
            reply = Reply(0, {}, b"", time.monotonic() - began)
        sys.stdout.write(f"{reply.seconds if reply.status == 200 else HUNG:.4f}\n")
        sys.stdout.flush()
        time.sleep(0.05)


class Load:
    """What the clients do and have seen. Answers and feedback that must be found in the store are kept by id."""

    def __init__(self, url: str, seed: int) -> None:
        self.target, self.seed = Target(url), seed
        self.model = self.target.request("GET", "/v1/models").document["models"][0]["name"]
        self.statuses: Counter[str] = Counter()
        self.stored: set[str] = set()
        self.said: set[str] = set()
        self.hung = 0
        self._lock = threading.Lock()
        film = files.film(1000, 1400)
        self._jpeg = files.encoded(np.stack([film, film[::-1], film], -1), "JPEG", quality=90)
        self.ordinary: list[Callable[[], Reply]] = [
            *[lambda: self._kept(self.target.upload(self._jpeg, "image/jpeg"))] * 6,
            *[lambda: self._kept(self.target.upload(self._jpeg, "image/jpeg", path="/v1/explain"))] * 6,
            *[lambda: self._kept(self.target.upload(files.plain_png(), path="/predict"))] * 2,
            lambda: self.target.upload(files.plain_png(), path="/v1/explain?pictures=overlay,map,seen,preview"),
            lambda: self.target.upload(self._jpeg, "image/jpeg", path="/v1/explain?method=layercam"),
            lambda: self.target.request("GET", "/v1/stats?days=7"),
            lambda: self.target.request("GET", "/v1/model"),
            lambda: self.target.request("GET", "/"),
            self._feedback,
            self._batch,
            self._tensor,
        ]
        self.hostile: list[Callable[[], Reply]] = [
            lambda: self.target.upload(costly.broken_texts()),
            lambda: self.target.upload(files.text_bomb()),
            lambda: self.target.upload(files.large_png()),
            lambda: self.target.upload(files.plain_png()[:-200]),
            lambda: self.target.upload(files.OTHERS["HTML"]),
            lambda: self.target.upload(files.frames("GIF", 100), "image/gif"),
            lambda: self.target.request("POST", "/v1/predict", costly.nested_json(), JSON),
            lambda: self.target.request("POST", "/v1/predict", costly.many_keys(), JSON),
            lambda: self.target.request("POST", "/v1/feedback", costly.many_keys(), JSON),
            lambda: self.target.request("POST", f"/v2/models/{self.model}/infer", costly.bracketed_tensor(), JSON),
            lambda: self.target.request(
                "POST", "/v1/batch", costly.million_entries(300_000), {"Content-Type": "application/zip"}
            ),
            self._hang_up,
        ]

    def client(self, number: int, ends: float) -> None:
        """One client until `ends`: four ordinary requests for each hostile one, in an order of its own."""
        rng = random.Random(self.seed + number)
        while time.monotonic() < ends:
            ask = rng.choice(self.hostile if rng.random() < 0.2 else self.ordinary)
            try:
                reply = ask()
            except InputError:
                self._count("no connection")
                continue
            self.hung += reply.seconds > HUNG
            self._count(str(reply.status or "closed"))

    def _count(self, status: str) -> None:
        with self._lock:
            self.statuses[status] += 1

    def _kept(self, reply: Reply) -> Reply:
        if reply.status == 200 and reply.document.get("stored", True):
            with self._lock:
                self.stored.add(reply.document["id"])
        return reply

    def _feedback(self) -> Reply:
        given = self._kept(self.target.upload(files.plain_png()))
        if given.status != 200:
            return given
        identity = given.document["id"]
        reply = self.target.request(
            "POST", "/v1/feedback", json.dumps({"id": identity, "correct": True}).encode(), JSON
        )
        if reply.status == 204:
            with self._lock:
                self.said.add(identity)
        return reply

    def _batch(self) -> Reply:
        ends = f"--{BOUNDARY}--\r\n".encode()
        body = b"".join(form(files.plain_png(), field="files")[: -len(ends)] for _ in range(5)) + ends
        reply = self.target.request("POST", "/v1/batch?method=grad-cam", body, {"Content-Type": FORM})
        if reply.status != 202:
            return reply
        time.sleep(1)
        return self.target.request("GET", f"{reply.document['url']}/results?format=zip")

    def _tensor(self) -> Reply:
        size = self.target.request("GET", "/v1/model").document["input"]
        shape = [1, 3, size["height"], size["width"]]
        data = [0.5] * int(np.prod(shape))
        body = json.dumps({"inputs": [{"name": "image", "datatype": "FP32", "shape": shape, "data": data}]}).encode()
        return self.target.request("POST", f"/v2/models/{self.model}/infer", body, JSON)

    def _hang_up(self) -> Reply:
        body = form(self._jpeg, "image/jpeg")
        head = self.target.head("POST", "/v1/explain", {"Content-Type": FORM, "Content-Length": str(len(body))})
        began = time.monotonic()
        with self.target.connect() as connection:
            connection.sendall(head + body)
        return Reply(499, {}, b"", time.monotonic() - began)


def clients(url: str, seconds: float, count: int) -> None:
    """Run the load and print what was seen as JSON."""
    load, ends = Load(url, 0), time.monotonic() + seconds
    threads = [threading.Thread(target=load.client, args=(n, ends)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = {"statuses": dict(load.statuses), "stored": sorted(load.stored), "said": sorted(load.said)}
    sys.stdout.write(json.dumps({**seen, "hung": load.hung}))


def usage(pid: int) -> dict[str, int]:
    """Resident memory in MB, file descriptors and threads of a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    values = {
        line.split(":")[0]: line.split(":")[1].split()[0]
        for line in lines
        if ":\t" in line and line.split(":")[1].split()
    }
    opened = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return {"memory": int(values["VmRSS"]) // 1024, "descriptors": opened, "threads": int(values["Threads"])}


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    return 1000 * float(np.quantile(values, share)) if values else float("nan")


def lost(store: Path, load: dict[str, Any]) -> tuple[int, int]:
    """How many answers said to be stored, and acknowledged feedbacks, are not in the store."""
    with sqlite3.connect(store) as connection:
        answers = {r[0] for r in connection.execute("select id from predictions")}
        said = {r[0] for r in connection.execute("select prediction from feedback")}
    return len(set(load["stored"]) - answers), len(set(load["said"]) - said)


def started(run: Path, store: Path, log: Path, source: Path | None) -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, and its URL."""
    command = [sys.executable, "-m", "pellucid", "serve", str(run), "--port", "0", "--store", str(store)]
    with log.open("w", encoding="utf-8") as file:
        environment = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
        process = subprocess.Popen(command, stderr=file, text=True, env=environment)
    for _ in range(1200):
        text = log.read_text(encoding="utf-8")
        if "\n" in text:
            return process, str(json.loads(text.splitlines()[0])["url"])
        time.sleep(0.1)
    raise SystemExit("the server did not start")


def table_of_usage(
    clients: subprocess.Popen[str], server: subprocess.Popen[str], latencies: list[float]
) -> list[dict[str, int]]:
    """What the server uses, second by second until the clients end; a line is printed every minute."""
    rows: list[dict[str, int]] = []
    began, shown = time.monotonic(), 0
    sys.stdout.write("minute  memory MB  descriptors  threads  /livez median  99 %  worst (ms)\n")
    while clients.poll() is None:
        time.sleep(1)
        rows.append(usage(server.pid))
        if len(rows) % 60 == 0:
            recent, shown = latencies[shown:], len(latencies)
            now = rows[-1]
            sys.stdout.write(
                f"{(time.monotonic() - began) / 60:6.1f}  {now['memory']:9d}  {now['descriptors']:11d}"
                f"  {now['threads']:7d}"
                f"  {quantile(recent, 0.5):13.0f}  {quantile(recent, 0.99):4.0f}  {quantile(recent, 1):5.0f}\n"
            )
            sys.stdout.flush()
    return rows


def soak(run: Path, folder: Path, options: argparse.Namespace) -> int:
    """Run the load against a server of its own; 1 when a goal is missed."""
    server, url = started(run, folder / "store", folder / "log", options.source)
    own = [sys.executable, __file__]
    others = [
        subprocess.Popen([*own, kind, url, "--seconds", str(options.seconds), "--clients", str(options.clients)],
                         stdout=subprocess.PIPE, text=True)
        for kind in ("--as-clients", "--as-watcher")
    ]  # fmt: skip
    latencies: list[float] = []

    def read() -> None:
        assert others[1].stdout is not None
        latencies.extend(float(line) for line in others[1].stdout)

    heard: list[str] = []
    readers = [
        threading.Thread(target=read),
        threading.Thread(target=lambda: heard.append(others[0].stdout.read() if others[0].stdout else "")),
    ]
    for reader in readers:
        reader.start()
    rows = table_of_usage(others[0], server, latencies)
    for reader in readers:
        reader.join()
    load = json.loads(heard[0])
    time.sleep(1)
    stopping = time.monotonic()
    server.terminate()
    try:
        code = server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()
        code = server.wait()
    took = time.monotonic() - stopping
    return judge(load, latencies, rows, lost(folder / "store", load), (code, took))


def judge(
    load: dict[str, Any],
    latencies: list[float],
    rows: list[dict[str, int]],
    missing: tuple[int, int],
    stop: tuple[int, float],
) -> int:
    """Print the goals and whether each was reached; 1 when one was not."""
    memory = [r["memory"] for r in rows]
    settled = memory[120:] or memory
    grown = statistics.median(settled[-30:]) / statistics.median(settled[:30]) - 1
    wrong = {s: n for s, n in load["statuses"].items() if s in ("500", "no connection")}
    answered, said = len(load["stored"]), len(load["said"])
    goals = {
        f"{sum(load['statuses'].values()):,} requests: {dict(sorted(load['statuses'].items()))}": True,
        f"lost: {missing[0]} of {answered:,} answers, {missing[1]} of {said:,} feedbacks (0)": missing == (0, 0),
        f"hung: {load['hung']} (0)": load["hung"] == 0,
        f"of 500 or without a connection: {wrong or 0} (0)": not wrong,
        f"/livez: median {quantile(latencies, 0.5):.0f}, 99 % {quantile(latencies, 0.99):.0f}, "
        f"worst {quantile(latencies, 1):.0f} ms (99 % at most 250)": quantile(latencies, 0.99) <= 250,
        f"memory: {max(memory)} MB at most ({MEMORY_MB})": max(memory) <= MEMORY_MB,
        f"memory after two minutes: {100 * grown:+.1f} % (at most +5)": grown <= 0.05 or len(memory) < 240,
        f"descriptors: {max(r['descriptors'] for r in rows)} at most; threads: {max(r['threads'] for r in rows)}": True,
        f"stopped with {stop[0]} in {stop[1]:.1f} s (0, at most 30)": stop[0] == 0 and stop[1] <= 30,
    }
    sys.stdout.write("\n" + "".join(f"{'ok  ' if held else 'MISS'} {goal}\n" for goal, held in goals.items()))
    return 0 if all(goals.values()) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--run", type=Path, help="run or bundle to serve; a MobileNetV2 of random weights by default")
    parser.add_argument("--source", type=Path, help="source folder (src) of another build to serve with")
    parser.add_argument("--as-clients", help=argparse.SUPPRESS)
    parser.add_argument("--as-watcher", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_clients:
        clients(options.as_clients, options.seconds, options.clients)
        return 0
    if options.as_watcher:
        watch(options.as_watcher, options.seconds)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder, run = Path(name), options.run
        if run is None:
            from explained_prediction import exported

            (folder / "model").mkdir()
            run = exported(folder / "model")[1].folder
        return soak(run, folder, options)


if __name__ == "__main__":
    sys.exit(main())
