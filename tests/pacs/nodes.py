"""Nodes for the tests: configured, running in a thread, and with films to take."""

from __future__ import annotations

import gc
import io
import json
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pynetdicom import AE
from tests.pacs.archives import Orthanc

from pellucid.pacs.config import PacsConfig, read_config
from pellucid.pacs.node import Node
from pellucid.pacs.write import open_origin

SECONDS = 60


def configured(folder: Path, text: str) -> PacsConfig:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pacs.toml"
    path.write_text('state = "state"\n' + text, encoding="utf-8")
    return read_config(path)


def polling(orthanc: Orthanc, more: str = "", kinds: str = "sr,sc") -> str:
    return (
        f'kinds = "{kinds}"\n[poll]\northanc = "{orthanc.root}"\nevery = 0.2\n'
        f'[store]\nstow = "{orthanc.root}/dicom-web"\n[accept]\nnewest_days = 0\n{more}'
    )


@contextmanager
def running(run: Path, config: PacsConfig) -> Iterator[tuple[Node, io.StringIO]]:
    stream = io.StringIO()
    node = Node(open_origin(run, None, research=False, threads=1), config, stream)
    thread = threading.Thread(target=node.run)
    thread.start()
    try:
        yield node, stream
    finally:
        node.stop()
        thread.join(SECONDS)


def collected() -> Iterator[None]:
    """What a fixture does: pynetdicom leaves the socket of a refused association to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def until(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def once(run: Path, config: PacsConfig) -> str:
    stream = io.StringIO()
    Node(open_origin(run, None, research=False, threads=1), config, stream).run(once=True)
    return stream.getvalue()


def send(port: int, made: Any, *, caller: str = "XRAY1", tls: Any = None) -> int | None:
    """C-STORE of one film; its status, None when the association was refused."""
    ae = AE(ae_title=caller)
    ae.add_requested_context(made.SOPClassUID, made.file_meta.TransferSyntaxUID)
    link = ae.associate("127.0.0.1", port, ae_title="PELLUCID", tls_args=tls)
    if not link.is_established:
        return None
    status = link.send_c_store(made)
    link.release()
    return int(status.Status)


def listening(port: int, store: str, more: str = "") -> str:
    return (
        f'kinds = "sr"\n[listen]\nport = {port}\ncallers = ["XRAY1"]\n'
        f"[store]\n{store}\n[accept]\nnewest_days = 0\n{more}"
    )


class Liar(BaseHTTPRequestHandler):
    """An archive that answers 200 and stores nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"00081199": {"vr": "SQ"}, "00081198": {"vr": "SQ"}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def liar() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
