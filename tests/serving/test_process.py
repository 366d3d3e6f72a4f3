"""The server as a process of its own: how it starts, and how it ends under load."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pellucid.serving.attacks.client import Reply, Target
from pellucid.serving.attacks.files import encoded, film, plain_png
from pellucid.serving.server import listening_socket

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@contextmanager
def process(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server and its URL."""
    command = [sys.executable, "-m", "pellucid", "serve", *map(str, arguments), "--port", "0", "--store", "none"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert started.stderr is not None
        assert select.select([started.stderr], [], [], 60)[0]
        yield started, json.loads(started.stderr.readline())["url"]
    finally:
        started.kill()
        started.communicate()


def test_sigterm_under_load_finishes_what_runs_and_ends_with_0(served_bundle: Path) -> None:
    slow = encoded(film(480, 640), "PNG")
    with process(served_bundle) as (server, url):
        target, replies = Target(url), []

        def ask() -> None:
            replies.append(target.upload(slow, path="/v1/explain?method=occlusion"))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.4)
        server.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        unready: Reply = target.request("GET", "/readyz")
        for thread in threads:
            thread.join()
        assert (unready.status, unready.code) == (503, "stopping")
        assert [r.status for r in replies] == [200, 200, 200]
        assert server.wait(20) == 0
        assert server.stderr is not None
        events = [json.loads(line)["event"] for line in server.stderr]
    assert events[-1] == "stopped"
    assert events.count("request") == 4


def test_sigterm_at_rest_and_ctrl_c(served_bundle: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with process(served_bundle) as (server, url):
            assert Target(url).upload(plain_png()).status == 200
            began = time.monotonic()
            server.send_signal(number)
            assert server.wait(20) == 0
            assert time.monotonic() - began < 5


def test_a_second_signal_ends_at_once(served_bundle: Path) -> None:
    with process(served_bundle, "--deadline", 300) as (server, url):
        large = encoded(film(480, 640), "PNG")
        thread = threading.Thread(target=lambda: Target(url).upload(large, path="/v1/batch?method=rise"))
        thread.start()
        server.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        thread.join()


def test_it_starts_without_torch(served_bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pellucid.serving.registry import Registry;"
        "from pellucid.serving.service import Service; from pellucid.serving.settings import ServerSettings;"
        "from pellucid.serving.app import create_app;"
        "given = ServerSettings(store='none');"
        "service = Service(Registry({'m': Path(sys.argv[1])}, given), given); create_app(service); service.close();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'torchvision', 'timm')))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(served_bundle)], capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr


def test_small_replies_are_sent_at_once() -> None:
    """Without TCP_NODELAY a reply of two packets waits 40 ms for the first to be acknowledged."""

    async def option_of_a_connection() -> int:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listening_socket("127.0.0.1", 0) as bound:
            async with await asyncio.start_server(accepted, sock=bound):
                _, writer = await asyncio.open_connection(*bound.getsockname())
                option = await found
                writer.close()
                await writer.wait_closed()
        return option

    assert asyncio.run(option_of_a_connection()) == 1
