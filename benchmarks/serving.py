"""What serving costs: explained predictions over HTTP against the bare work, and against a plain Flask app.

    python benchmarks/serving.py [--rounds 6] [--requests 160] [--memory 10000] [--image FILE] [--against SRC]

The image is a JPEG of 1400 x 1000, the model a MobileNetV2 (two classes, random weights: speed does not depend on
them). The floor is what no server can do without: a scaled decode and one ONNX Runtime pass that gives logits only, in
this process, with as many threads as cores. The Flask app does what the reference system does: decode, float32 torch
pass, Grad-CAM by a backward pass, overlay as PNG in base64. Servers run in processes of their own, the load comes from
another one, and all take turns, so that a busy machine slows all alike.

Goals: median at concurrency 1 at most 1.25 times the floor; throughput at concurrency 8 at least 0.9 of it; `/health`
within 50 ms meanwhile; at least 3 times Flask's throughput; memory flat over 10,000 requests.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

CORES = os.cpu_count() or 1
BOUNDARY = "----benchmark"
CONCURRENCY = 8
ANSWERS_WITHIN = 60.0
ALONE, BUSY = 1.25, 0.9
OTHER, FLASK = "another build /v1/explain", "Flask /predict (with PNG)"


def picture(given: Path | None) -> bytes:
    """A JPEG of 1400 x 1000 with the detail of a photograph."""
    if given is not None:
        image = PIL.Image.open(given).convert("RGB").resize((1400, 1000), PIL.Image.Resampling.LANCZOS)
    else:
        rng = np.random.default_rng(0)
        layers = [
            np.asarray(PIL.Image.fromarray(rng.integers(0, 256, (s, s, 3), np.uint8)).resize((1400, 1000)), float)
            for s in (4, 16, 64, 256)
        ]
        image = PIL.Image.fromarray(np.average(layers, axis=0, weights=(8, 4, 2, 1)).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def floor_work(graph: Path, bundle: Path, data: bytes) -> Callable[[], object]:
    """Scaled decode, resize, normalise, one pass for logits."""
    import pellucid
    from pellucid.bundle.io import model_session

    session, preprocessing = model_session(graph), pellucid.load(bundle).preprocessing

    def work() -> object:
        image = PIL.Image.open(io.BytesIO(data))
        image.draft("RGB", (preprocessing.width * 2, preprocessing.height * 2))
        small = np.asarray(image.resize((preprocessing.width, preprocessing.height), PIL.Image.Resampling.BILINEAR))
        return session.run(None, {"image": preprocessing.normalise(small)[None]})

    return work


def measure_floor(work: Callable[[], object], requests: int) -> dict[str, float]:
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    with ThreadPoolExecutor(CORES) as threads:
        began = time.perf_counter()
        list(threads.map(lambda _: work(), range(requests)))
        rate = requests / (time.perf_counter() - began)
    return {"median": statistics.median(times), "rate": rate}


class Connection:
    """A connection that is kept where the server keeps it, with the least work that hears answers out."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket: socket.socket | None = None

    def ask(self, request: bytes) -> int:
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), ANSWERS_WITHIN)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive(self.socket, 65536)
        head, _, body = received.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
        left = length - len(body)
        while left > 0:
            left -= len(self._receive(self.socket, min(left, 1 << 20)))
        if lower.startswith(b"http/1.0") or b"connection: close" in lower:
            self.socket.close()
            self.socket = None
        return int(head.split(b" ", 2)[1])

    @staticmethod
    def _receive(connected: socket.socket, most: int) -> bytes:
        part = connected.recv(most)
        if not part:
            raise ConnectionError("the server hung up")
        return part


def post(path: str, data: bytes) -> bytes:
    part = 'Content-Disposition: form-data; name="file"; filename="x.jpg"\r\nContent-Type: image/jpeg'
    body = f"--{BOUNDARY}\r\n{part}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
    lines = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def client(port: int, path: str, image: Path, requests: int, health: bool) -> dict[str, Any]:
    """One process of load: alone first, then eight at once."""
    request = post(path, image.read_bytes())
    alone = Connection(port)
    times, statuses = [], set()
    for _ in range(requests):
        began = time.perf_counter()
        statuses.add(alone.ask(request))
        times.append(time.perf_counter() - began)
    awake: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        watched = Connection(port)
        while not ended.wait(0.05):
            began = time.perf_counter()
            watched.ask(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            awake.append(time.perf_counter() - began)

    connections = [Connection(port) for _ in range(CONCURRENCY)]
    watcher = threading.Thread(target=watch)
    if health:
        watcher.start()

    def share(connection: Connection) -> None:
        for _ in range(requests // CONCURRENCY):
            statuses.add(connection.ask(request))

    with ThreadPoolExecutor(CONCURRENCY) as threads:
        began = time.perf_counter()
        list(threads.map(share, connections))
        rate = requests // CONCURRENCY * CONCURRENCY / (time.perf_counter() - began)
    ended.set()
    if health:
        watcher.join()
    return {"median": statistics.median(times), "rate": rate, "health": awake, "statuses": sorted(statuses)}


def flask_app(port: int) -> None:
    """What the reference system does, as plainly: one Flask process that answers in threads."""
    import flask
    import torch
    from matplotlib import colormaps

    from pellucid.models.network import build_network
    from pellucid.recipe import load_recipe

    recipe = load_recipe("cats-dogs", ["model.weights=none", "model.dropout=0"])
    network = build_network(recipe, 2).eval()
    layer = network.get_submodule(network.explained_layer)
    shape, app = recipe.preprocessing(), flask.Flask("reference")
    lock = threading.Lock()

    @app.post("/predict")
    def predict() -> object:
        image = PIL.Image.open(io.BytesIO(flask.request.files["file"].read())).convert("RGB")
        tensor = torch.from_numpy(shape.normalise(np.asarray(image.resize((shape.width, shape.height))))[None])
        with lock:  # hooks and gradients belong to one request at a time
            kept: list[torch.Tensor] = []
            hook = layer.register_forward_hook(lambda *a: kept.append(a[2]))
            logit = network(tensor)[0, 0]
            hook.remove()
            (gradient,) = torch.autograd.grad(logit, kept[0])
        heat = torch.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1))[0].detach().numpy()
        heat = heat / (heat.max() or 1)
        large = PIL.Image.fromarray((255 * heat).astype(np.uint8)).resize(image.size)
        coloured = (255 * colormaps["jet"](np.asarray(large))[..., :3]).astype(np.uint8)
        file = io.BytesIO()
        PIL.Image.blend(image, PIL.Image.fromarray(coloured), 0.4).save(file, "PNG")
        raw = float(torch.sigmoid(logit))
        return {"diagnosis": "dog", "raw_score": raw, "gradcam": base64.b64encode(file.getvalue()).decode()}

    # A connection a request, as is werkzeug's default: kept ones hang, since it reads on for the rest of a request.
    app.run(port=port, threaded=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def started(command: list[str], port: int, source: Path | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, *command], env=environment, **quiet)
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return process
    raise SystemExit(f"{command} did not start")


def exported_by(source: Path, folder: Path) -> Path:
    """The same bundle, as another build writes it."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, __file__, "--export", str(folder)], env=environment, check=True)
    return folder / "bundle"


def loaded(port: int, path: str, image: Path, requests: int, health: bool = False) -> dict[str, Any]:
    """The load of a process of its own."""
    options = ["--client", str(port), path, str(image), str(requests), str(int(health))]
    done = subprocess.run([sys.executable, __file__, *options], capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def resident(process: subprocess.Popen[bytes]) -> int:
    """Resident memory in kB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def memory(process: subprocess.Popen[bytes], port: int, image: Path, requests: int) -> float:
    """Growth of resident memory over `requests`, as a share of what it was after a tenth of them."""
    loaded(port, "/v1/explain", image, max(8, requests // 20))
    before = resident(process)
    loaded(port, "/v1/explain", image, requests // 2)
    return resident(process) / before - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--requests", type=int, default=160, help="of each rival and round; a sixth of Flask")
    parser.add_argument("--memory", type=int, default=10_000, help="requests to watch the memory over; 0 for none")
    parser.add_argument("--image", type=Path)
    parser.add_argument("--against", type=Path, help="source folder (src) of another build to compare with")
    parser.add_argument("--without-flask", action="store_true")
    parser.add_argument("--flask", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--client", nargs=5, help=argparse.SUPPRESS)
    parser.add_argument("--export", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flask:
        flask_app(options.flask)
        return 0
    if options.client:
        port, path, image, requests, health = options.client
        sys.stdout.write(json.dumps(client(int(port), path, Path(image), int(requests), health == "1")))
        return 0
    from explained_prediction import exported

    if options.export:
        exported(options.export)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ours").mkdir()
        _, bundle, graph = exported(folder / "ours")
        image = folder / "image.jpg"
        image.write_bytes(picture(options.image))
        work = floor_work(graph, bundle.folder, image.read_bytes())
        ports = {"ours": free_port()}
        processes = [started(serve(bundle.folder, ports["ours"], folder / "store"), ports["ours"])]
        try:
            if options.against:
                ports["against"] = free_port()
                own = exported_by(options.against, folder / "theirs")
                command = serve(own, ports["against"], folder / "against")
                processes.append(started(command, ports["against"], source=options.against))
            if not options.without_flask:
                ports["flask"] = free_port()
                processes.append(started([__file__, "--flask", str(ports["flask"])], ports["flask"]))
            return report(work, processes, ports, image, options)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def serve(bundle: Path, port: int, store: Path) -> list[str]:
    """The arguments of Python that serve a bundle."""
    return ["-m", "pellucid", "serve", str(bundle), "--port", str(port), "--store", str(store)]


def goals_of(
    found: dict[str, list[dict[str, Any]]], medians: dict[str, float], rates: dict[str, float]
) -> dict[str, bool]:
    """Each goal as a sentence with what was measured, and whether it was reached."""
    floor, ours, classic = list(found)[:3]
    health = np.array([h for row in found[ours] for h in row["health"]])
    refused = {s for row in found[ours] + found[classic] for s in row["statuses"]} - {200}
    goals = {
        f"median alone over the floor: {medians[ours] / medians[floor]:.2f} (at most {ALONE})": medians[ours]
        <= ALONE * medians[floor],
        f"throughput at {CONCURRENCY} of the floor's: {rates[ours] / rates[floor]:.2f} (at least {BUSY})": rates[ours]
        >= BUSY * rates[floor],
        f"/health meanwhile: median {1000 * np.median(health):.1f}, 99 % {1000 * np.quantile(health, 0.99):.1f} ms "
        "(at most 50)": bool(np.quantile(health, 0.99) <= 0.05),
        f"answers other than 200: {sorted(refused) or 'none'}": not refused,
    }
    if FLASK in rates:
        share = rates[classic] / rates[FLASK]
        goals[f"throughput over Flask's: {share:.1f} (at least 3)"] = share >= 3
    for what in ("median", "rate") if OTHER in rates else ():
        ratios = [a[what] / b[what] for a, b in zip(found[ours], found[OTHER], strict=True)]
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        kept = middle <= 1.03 if what == "median" else middle >= 0.97
        goals[f"{what} over the other build's, by rounds: {middle:.3f}, half of them {low:.3f} to {high:.3f} (3 %)"] = (
            kept
        )
    return goals


def report(
    work: Callable[[], object],
    processes: list[subprocess.Popen[bytes]],
    ports: dict[str, int],
    image: Path,
    options: argparse.Namespace,
) -> int:
    """Measure in turns and print ratios; 1 when a goal is missed."""
    requests = options.requests
    rivals: dict[str, Callable[[], dict[str, Any]]] = {
        "floor: scaled decode, one pass": lambda: measure_floor(work, requests),
        "pellucid /v1/explain": lambda: loaded(ports["ours"], "/v1/explain", image, requests, health=True),
        "pellucid /predict (with PNG)": lambda: loaded(ports["ours"], "/predict", image, requests),
    }
    if "against" in ports:
        rivals[OTHER] = lambda: loaded(ports["against"], "/v1/explain", image, requests, health=True)
    if "flask" in ports:
        rivals[FLASK] = lambda: loaded(ports["flask"], "/predict", image, max(8, requests // 6))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in rivals}
    for number in range(options.rounds + 1):
        for name, run in rivals.items():
            result = run()
            if number:  # the first round warms up
                found[name].append(result)
    medians = {name: statistics.median(r["median"] for r in rows) for name, rows in found.items()}
    rates = {name: statistics.median(r["rate"] for r in rows) for name, rows in found.items()}
    floor = next(iter(rivals))
    size = image.stat().st_size // 1024
    sys.stdout.write(f"JPEG of 1400 x 1000 ({size} kB), MobileNetV2 at 224, {CORES} cores, {options.rounds} rounds\n\n")
    for name in rivals:
        sys.stdout.write(
            f"{name:32s} {1000 * medians[name]:7.1f} ms alone ({medians[name] / medians[floor]:4.2f} of the floor)   "
            f"{rates[name]:6.1f} a second at {CONCURRENCY} ({rates[name] / rates[floor]:4.2f})\n"
        )
    grown = memory(processes[0], ports["ours"], image, options.memory) if options.memory else 0.0
    goals = goals_of(found, medians, rates)
    goals[f"memory over {options.memory:,} requests: {100 * grown:+.1f} % (at most +5)"] = grown <= 0.05
    sys.stdout.write("\n" + "".join(f"{'ok  ' if held else 'MISS'} {goal}\n" for goal, held in goals.items()))
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
