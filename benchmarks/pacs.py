"""What results in a picture archive cost, against `predict --explain` alone, on phantom films of 1024 x 1024 pixels.

    python benchmarks/pacs.py [--films 40] [--memory 2000] [--side 1024]

Both sides run in one process, film by film in turn, so that a busy machine slows both. Seconds are CPU seconds of this
process: load, waiting, and the sender and archive, which are processes of their own, do not count. The first line is
reading, prediction and map of a film; the second a report, its region report and a capture, as bytes; the third the
node from C-STORE to an archive that takes everything.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pacs import films
from tests.pacs.archives import free_port


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


def write(bundle_folder: Path, data: list[bytes], count: int) -> tuple[float, float]:
    """Median CPU seconds of (prediction with its map, results) of a film."""
    from pellucid.bundle.bundle import load
    from pellucid.pacs.codes import CodeTable
    from pellucid.pacs.findings import find
    from pellucid.pacs.make import make_results
    from pellucid.pacs.origin import ResultOrigin
    from pellucid.pacs.source import read_source

    bundle = load(bundle_folder, threads=1)
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


def sender(port: int, first: int, count: int, side: int) -> None:
    """A process: the modality, which sends `count` films over one association."""
    from pynetdicom import AE

    made = [films.film(n, side, films.LOOKS[0]) for n in range(6)]
    ae = AE(ae_title="XRAY1")
    ae.add_requested_context(made[0].SOPClassUID, made[0].file_meta.TransferSyntaxUID)
    link = ae.associate("127.0.0.1", port, ae_title="PELLUCID")
    for n in range(first, first + count):
        film = made[n % 6]
        film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = f"2.25.{n + 1}"
        assert link.send_c_store(film).Status == 0
    link.release()


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def listen(bundle_folder: Path, count: int, side: int) -> float:
    """Mean CPU seconds of a film in the node, from C-STORE to STOW. Sender and archive are other processes."""
    from tests.pacs.nodes import configured, listening, until

    from pellucid.bundle.bundle import load
    from pellucid.pacs.codes import CodeTable
    from pellucid.pacs.node import Node
    from pellucid.pacs.origin import ResultOrigin

    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    pacs = context.Process(target=archive, args=(theirs,), daemon=True)
    pacs.start()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        text = listening(port, f'stow = "http://127.0.0.1:{ours.recv()}"').replace('"sr"', '"sr,sc"')
        origin = ResultOrigin(load(bundle_folder, threads=1), CodeTable())
        node = Node(origin, configured(Path(folder), text), io.StringIO())
        thread = threading.Thread(target=node.run)
        thread.start()
        until(lambda: answers(port))
        began = 0.0
        for first, films_sent in ((0, 3), (3, count)):  # the first three warm up
            began = time.process_time()
            modality = context.Process(target=sender, args=(port, first, films_sent, side))
            modality.start()
            expected = 3 * (first + films_sent)
            until(lambda expected=expected: node.journal.counts["results_stored"] >= expected, 600)
            modality.join()
        spent = time.process_time() - began
        node.stop()
        thread.join()
    pacs.terminate()
    return spent / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--side", type=int, default=1024, help="rows and columns of a film")
    parser.add_argument("--memory", type=int, default=0, help="also answer so many films and watch the memory")
    parser.add_argument("--run", type=Path, help="a bundle; by default a small one of random weights")
    options = parser.parse_args()
    from tests.pacs.conftest import bundle_of

    from pellucid.pacs.encoding import to_bytes

    with tempfile.TemporaryDirectory() as folder:
        bundle = options.run or bundle_of(Path(folder) / "model", ("normal", "opacity"))
        looks = (films.LOOKS[0], films.LOOKS[1])
        data = [to_bytes(films.film(n, options.side, looks[n % 2])) for n in range(6)]
        alone, results = write(bundle, data, options.films)
        print(f"prediction with its map        {alone:.3f} CPU s a film")
        print(f"report, region and capture     {results:.3f} CPU s a film: {results / alone:.2f} times the prediction")
        through = listen(bundle, options.films, options.side)
        print(f"from C-STORE to STOW           {through:.3f} CPU s a film: {through / alone:.2f} times the prediction")
        if options.memory:
            watch(bundle, data, options.memory)


def watch(bundle_folder: Path, data: list[bytes], count: int) -> None:
    """Print the memory at ten moments of a long run."""
    from pellucid.bundle.bundle import load
    from pellucid.pacs.codes import CodeTable
    from pellucid.pacs.findings import find
    from pellucid.pacs.make import make_results
    from pellucid.pacs.origin import ResultOrigin
    from pellucid.pacs.source import read_source

    bundle = load(bundle_folder, threads=1)
    origin = ResultOrigin(bundle, CodeTable())
    for n in range(count):
        source = read_source(data[n % len(data)])
        for result in make_results(find(bundle, data[n % len(data)], source, source.time), origin, ["sr", "sc"]):
            result.to_bytes()
        if n % max(1, count // 10) == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(f"after {n + 1:5} films  {pages * resource.getpagesize() / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
