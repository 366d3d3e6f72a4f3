"""What results in a picture archive cost, against `predict --explain` alone, on phantom films of 1024 x 1024 pixels.

    python benchmarks/pacs.py [--films 40] [--memory 2000] [--side 1024]

Both sides run in one process in turn, so that a busy machine slows both. Seconds are CPU seconds of this process:
load, waiting, and the sender and archive, which are processes of their own, do not count. The first line is reading,
prediction and map of a film; the second a report, its region report and a capture, as bytes; the third the node from
C-STORE to an archive that takes everything, with the time from the first film to the last result beside it.

With `--memory 2000` that many films go through the node, and its memory is printed at ten moments. Small films
(`--side 128`) take six minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import resource
import socket
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pacs import films
from tests.pacs.archives import free_port

if TYPE_CHECKING:
    from pellucid.bundle.bundle import Bundle

BLOCK = 8
"""Films that go through the node, or are predicted alone, before it is the other side's turn."""


class Archive(BaseHTTPRequestHandler):
    """Says of each object that it is stored."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """STOW."""
        from pydicom import dcmread

        data = self.rfile.read(int(self.headers["Content-Length"]))
        head = dcmread(io.BytesIO(data[data.index(b"\r\n\r\n") + 4 :]), specific_tags=["SOPInstanceUID"])
        listed = [{"00081155": {"Value": [str(head.SOPInstanceUID)]}}]
        body = json.dumps({"00081199": {"Value": listed}})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def write(bundle: Bundle, data: list[bytes], count: int) -> tuple[float, float]:
    """Median CPU seconds of (prediction with its map, results) of a film."""
    from pellucid.pacs.codes import CodeTable
    from pellucid.pacs.findings import find
    from pellucid.pacs.make import make_results
    from pellucid.pacs.origin import ResultOrigin
    from pellucid.pacs.source import read_source

    origin = ResultOrigin(bundle, CodeTable())
    alone, results = [], []
    for n in range(count + 3):
        one = data[n % len(data)]
        began = time.process_time()
        bundle.explain_images([bundle.read(one)])
        predicted = time.process_time()
        source = read_source(one)
        findings = find(bundle, one, source, source.time)
        found = time.process_time()
        for result in make_results(findings, origin, ["sr", "sc"]):
            result.to_bytes()
        made = time.process_time()
        if n >= 3:
            alone.append(predicted - began)
            results.append((made - predicted) - (predicted - began))
            _ = found
    return median(alone), median(results)


def archive(told: Connection) -> None:
    """A process: the archive."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    told.send(server.server_port)
    server.serve_forever()


def sender(orders: Connection, port: int, side: int) -> None:
    """A process: the modality, which sends as many films as it is told, over one association each time."""
    from pynetdicom import AE

    made = [films.film(n, side, films.LOOKS[0]) for n in range(6)]
    ae = AE(ae_title="XRAY1")
    ae.add_requested_context(made[0].SOPClassUID, made[0].file_meta.TransferSyntaxUID)
    orders.send("ready")
    while True:
        first, count = orders.recv()
        link = ae.associate("127.0.0.1", port, ae_title="PELLUCID")
        for n in range(first, first + count):
            film = made[n % 6]
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"2.25.{n + 1}"
            assert link.send_c_store(film).Status == 0
        link.release()


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


class Listening:
    """A node between a modality and an archive, which are processes of their own."""

    def __init__(self, bundle: Bundle, folder: Path, side: int) -> None:
        from tests.pacs.nodes import configured, listening, until

        from pellucid.pacs.codes import CodeTable
        from pellucid.pacs.node import Node
        from pellucid.pacs.origin import ResultOrigin

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._orders, orders = context.Pipe()
        port = free_port()
        self._others = [
            context.Process(target=archive, args=(theirs,), daemon=True),
            context.Process(target=sender, args=(orders, port, side), daemon=True),
        ]
        for other in self._others:
            other.start()
        text = listening(port, f'stow = "http://127.0.0.1:{ours.recv()}"').replace('"sr"', '"sr,sc"')
        self.node = Node(ResultOrigin(bundle, CodeTable()), configured(folder, text), io.StringIO())
        self._thread = threading.Thread(target=self.node.run)
        self._thread.start()
        self._orders.recv()
        until(lambda: answers(port))
        self._sent = 0

    def send(self, count: int) -> tuple[float, float]:
        """Send films until their results are stored; (CPU seconds of this process, seconds)."""
        began, started = time.process_time(), time.monotonic()
        self._orders.send((self._sent, count))
        self._sent += count
        while self.node.journal.counts["results_stored"] < 3 * self._sent:
            assert time.monotonic() - started < 600
            time.sleep(0.02)
        return time.process_time() - began, time.monotonic() - started

    def close(self) -> None:
        """Stop the node and the others."""
        self.node.stop()
        self._thread.join()
        for other in self._others:
            other.terminate()


def listen(bundle: Bundle, data: list[bytes], count: int, side: int) -> tuple[float, float, float]:
    """CPU seconds of a film, predicted alone and through the node in turn, and seconds of a film in the node."""
    alone, through, seconds = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        node = Listening(bundle, Path(folder), side)
        node.send(BLOCK)
        for _ in range(-(-count // BLOCK)):
            began = time.process_time()
            for n in range(BLOCK):
                bundle.explain_images([bundle.read(data[n % len(data)])])
            alone.append(time.process_time() - began)
            spent, passed = node.send(BLOCK)
            through.append(spent)
            seconds.append(passed)
        node.close()
    return median(alone) / BLOCK, median(through) / BLOCK, median(seconds) / BLOCK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of a film")
    parser.add_argument("--memory", type=int, default=0, help="also answer so many films and watch the memory")
    parser.add_argument("--run", type=Path, help="a bundle; by default a small one of random weights")
    options = parser.parse_args()
    from tests.pacs.conftest import bundle_of

    from pellucid.bundle.bundle import load
    from pellucid.pacs.encoding import to_bytes

    with tempfile.TemporaryDirectory() as folder:
        bundle = options.run or bundle_of(Path(folder) / "model", ("normal", "opacity"))
        looks = (films.LOOKS[0], films.LOOKS[1])
        data = [to_bytes(films.film(n, options.side, looks[n % 2])) for n in range(6)]
        loaded = load(bundle, threads=1)
        alone, results = write(loaded, data, options.films)
        print(f"prediction with its map        {alone:.3f} CPU s a film")
        print(f"report, region and capture     {results:.3f} CPU s a film: {results / alone:.2f} times the prediction")
        alone, through, seconds = listen(loaded, data, options.films, options.side)
        times = f"{through / alone:.2f} times the prediction"
        print(f"from C-STORE to STOW           {through:.3f} CPU s a film: {times}; {seconds:.3f} s")
        if options.memory:
            watch(loaded, options.memory, options.side)


def watch(bundle: Bundle, count: int, side: int) -> None:
    """Print the memory of a node at ten moments."""
    with tempfile.TemporaryDirectory() as folder:
        node = Listening(bundle, Path(folder), side)
        for part in range(10):
            node.send(count // 10)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(
                f"after {(part + 1) * (count // 10):5} films  {pages * resource.getpagesize() / 1e6:.0f} MB", flush=True
            )
        node.close()


if __name__ == "__main__":
    main()
