"""What clients do to a connection: absolute addresses, half-closing, not reading, taking every descriptor."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.serving.running import Running, running

from pellucid.serving import protocol
from pellucid.serving.attacks.client import BOUNDARY, Target, form
from pellucid.serving.attacks.files import plain_png
from pellucid.serving.attacks.run import ATTACKS, outcome_of

FORM = f"multipart/form-data; boundary={BOUNDARY}"


def exchanged(server: Running, request: bytes, *, half_close: bool = False) -> bytes:
    with server.target().connect() as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return answer


def final(answer: bytes) -> bytes:
    """An answer without the interim ones before it."""
    while answer.startswith(b"HTTP/1.1 100"):
        answer = answer.partition(b"\r\n\r\n")[2]
    return answer


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/livez", "localhost", 200),
        ("http://localhost:1234/v1/models?x=1", "elsewhere.example", 200),
        ("HTTP://LOCALHOST", "localhost", 200),
        ("http://evil.example/livez", "localhost", 400),
        ("ftp://localhost/livez", "localhost", 404),
    ],
)
def test_absolute_addresses_are_answered_for_their_host(server: Running, target: str, host: str, status: int) -> None:
    """The host of the address counts, and not the Host header beside it (RFC 9112, 3.2.2)."""
    request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    assert exchanged(server, request).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("path", ["/livez", "/v1/predict", "/v1/explain?method=occlusion"])
def test_a_client_that_closes_its_half_gets_its_answer(server: Running, path: str) -> None:
    target = server.target()
    if path == "/livez":
        request = target.head("GET", path, {})
    else:
        body = form(plain_png())
        request = target.head("POST", path, {"Content-Type": FORM, "Content-Length": str(len(body))}) + body
    answer = final(exchanged(server, request, half_close=True))
    assert answer.startswith(b"HTTP/1.1 200 ")
    json.loads(answer.partition(b"\r\n\r\n")[2])


def test_half_of_a_request_is_not_waited_for(server: Running) -> None:
    head = server.target().head("POST", "/v1/predict", {"Content-Type": FORM, "Content-Length": "1000"})
    began = time.monotonic()
    exchanged(server, head + b"--", half_close=True)
    exchanged(server, b"GET /livez HTTP", half_close=True)
    assert time.monotonic() - began < 2


def test_a_client_that_does_not_read_is_let_go(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.5)
    connections = server.server.server_state.connections
    with socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.connect((server.target().host, server.target().port))
        greedy.settimeout(5)
        asked = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400
        with contextlib.suppress(OSError):
            greedy.sendall(asked)
        ends = time.monotonic() + 10
        while any(c.client and c.client[1] == greedy.getsockname()[1] for c in list(connections)):
            assert time.monotonic() < ends
            time.sleep(0.05)
    assert server.target().request("GET", "/livez").status == 200


def test_the_attack_of_a_client_that_does_not_read(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "WRITE_SECONDS", 0.5)
    (attack,) = (a for a in ATTACKS if a.row == 40)
    outcome = outcome_of(attack, server.target())
    assert outcome.held is True, outcome.seen


def test_a_slow_reader_gets_all_of_a_large_answer(server: Running) -> None:
    whole = server.target().request("GET", "/openapi.json").body
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((server.target().host, server.target().port))
        slow.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while block := slow.recv(2048):
            answer += block
            time.sleep(0.002)
    assert answer.partition(b"\r\n\r\n")[2] == whole


def test_models_are_exchanged_by_those_who_may(served_bundle: Path) -> None:
    with running({"one": served_bundle}) as server:
        target = server.target()
        assert target.request("POST", "/v1/reload").status == 200
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
            refused = target.request("POST", "/v1/reload", headers={name: "192.0.2.1"})
            assert (refused.status, refused.code) == (403, "local-only")
    with running({"one": served_bundle}, api_key="sesame") as server:
        assert server.target().request("POST", "/v1/reload").status == 401
        assert server.target("sesame").request("POST", "/v1/reload", headers={"X-Forwarded-For": "::1"}).status == 200
    with running({"one": served_bundle}, proxies=("127.0.0.1",)) as server:
        assert server.target().request("POST", "/v1/reload", headers={"X-Forwarded-For": "192.0.2.1"}).status == 403


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_it_lives_with_24_descriptors(served_bundle: Path, tmp_path: Path) -> None:
    """Every one of them taken by idle clients: the next is answered, and none is without a word."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24));"
        "from pellucid.cli.main import main; sys.argv = ['pellucid', *sys.argv[1:]]; sys.exit(main())"
    )
    options = ["serve", str(served_bundle), "--port", "0", "--store", str(tmp_path / "s")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", code, *options], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr is not None
            target = Target(json.loads(process.stderr.readline())["url"])
            idle = []
            for _ in range(30):
                connection = target.connect()
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
                idle.append(connection)
            for _ in range(3):
                reply = target.upload(plain_png())
                assert (reply.status, reply.document["stored"]) == (200, True)
            assert target.request("GET", "/v1/stats").status == 200
            for connection in idle:
                connection.close()
        finally:
            process.terminate()
            assert process.wait(30) == 0
