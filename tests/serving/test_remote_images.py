"""Rows 22 to 27: nothing inside is reached by URL, whatever the trick; public images still are."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.serving.running import running

from pellucid.serving.attacks.client import Reply
from pellucid.serving.attacks.files import plain_png
from pellucid.serving.problems import Problem
from pellucid.serving.remote_images import RemoteImages, is_public

HITS: list[str] = []


class Site(http.server.BaseHTTPRequestHandler):
    """A site with an image, and everything that a site should not do."""

    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        HITS.append(f"{self.headers['Host']}{self.path}")
        action = getattr(self, self.path.strip("/").split("?")[0] or "image", None)
        with contextlib.suppress(OSError):
            action() if action else self.send_error(404)

    def log_message(self, *_: object) -> None: ...

    def _head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def image(self) -> None:
        self._head()
        self.wfile.write(plain_png())

    def squeezed(self) -> None:
        self._head(Content_Encoding="gzip")
        self.wfile.write(gzip.compress(bytes(10_000_000)))

    def endless(self) -> None:
        self._head()
        while True:
            self.wfile.write(bytes(65536))

    def trickle(self) -> None:
        self._head()
        for _ in range(200):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def declared(self) -> None:
        self._head(Content_Length="99999999999")

    def loop(self) -> None:
        self._head(302, Location="/loop")

    def once(self) -> None:
        self._head(302, Location="/image")

    def inside(self) -> None:
        self._head(302, Location=f"http://inside.example:{self.server.server_address[1]}/image")

    def scheme(self) -> None:
        self._head(302, Location="file:///etc/passwd")

    def nowhere(self) -> None:
        self._head(302)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def fetcher(port: int, names: dict[str, list[list[str]]], seconds: float = 2.0) -> RemoteImages:
    """A fetcher for which 127.0.0.1 is public and 127.0.0.2 is inside. `names` give answers one after the other."""
    asked = {name: iter(answers) for name, answers in names.items()}

    async def resolve(host: str, _: int) -> list[str]:
        return next(asked[host])

    ports = frozenset({80, 443, port})
    return RemoteImages(seconds, 500_000, resolver=resolve, permitted=lambda a: a == "127.0.0.1", ports=ports)


def fetched(fetch: RemoteImages, url: str) -> bytes:
    return asyncio.run(fetch.fetch(url))


def refused(fetch: RemoteImages, url: str) -> Problem:
    with pytest.raises(Problem) as caught:
        fetched(fetch, url)
    assert caught.value.status == 422
    return caught.value


PUBLIC = [["127.0.0.1"]] * 9


def test_a_public_image_is_fetched_under_its_own_name(port: int) -> None:
    assert fetched(fetcher(port, {"site.example": PUBLIC}), f"http://site.example:{port}/image") == plain_png()
    assert HITS[-1] == f"site.example:{port}/image"
    assert fetched(fetcher(port, {"site.example": PUBLIC}), f"http://site.example:{port}/once") == plain_png()


def test_one_private_address_among_several_is_enough(port: int) -> None:
    before = len(HITS)
    refused(fetcher(port, {"both.example": [["127.0.0.1", "127.0.0.2"]]}), f"http://both.example:{port}/image")
    refused(fetcher(port, {"both.example": [["127.0.0.2", "127.0.0.1"]]}), f"http://both.example:{port}/image")
    assert len(HITS) == before


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to(port: int) -> None:
    """A second look-up, which a rebound name would answer differently, would find nothing more to give here."""
    fetch = fetcher(port, {"rebound.example": [["127.0.0.1"]]})
    assert fetched(fetch, f"http://rebound.example:{port}/image") == plain_png()


def test_redirects_are_checked_like_the_first_address(port: int) -> None:
    names = {"site.example": PUBLIC, "inside.example": [["127.0.0.2"]]}
    before = [h for h in HITS if h.startswith("inside")]
    for path in ("inside", "scheme", "loop", "nowhere"):
        refused(fetcher(port, names), f"http://site.example:{port}/{path}")
    assert [h for h in HITS if h.startswith("inside")] == before


@pytest.mark.parametrize("path", ["endless", "trickle", "squeezed", "declared", "missing"])
def test_what_never_ends_or_grows_is_cut_off(port: int, path: str) -> None:
    began = time.monotonic()
    refused(fetcher(port, {"site.example": PUBLIC}, seconds=1.0), f"http://site.example:{port}/{path}")
    assert time.monotonic() - began < 3


def test_every_refusal_is_the_same(port: int) -> None:
    fetch = fetcher(port, {"site.example": PUBLIC, "inside.example": [["127.0.0.2"]] * 9, "closed.example": PUBLIC})
    urls = (
        f"http://site.example:{port}/missing",
        f"http://inside.example:{port}/",
        "http://unknown.example/",
        "http://closed.example:80/",
        "file:///etc/passwd",
        "http://user:pw@site.example/",
        "http://site.example:22/",
        f"http://site.example:{port}/a b",
        "http://[::1",
        "//site.example/",
    )
    assert len({(p.code, p.detail) for p in (refused(fetch, u) for u in urls)}) == 1


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255",
        "240.0.0.1", "192.0.2.1", "198.18.0.1", "::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
        "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "64:ff9b::7f00:1", "64:ff9b:1::1",
        "2002:7f00:1::", "2001::1", "2001:db8::1", "fec0::1", "3fff::1", "3fff:fff:ffff::1", "x",
    ],
)  # fmt: skip
def test_addresses_inside(address: str) -> None:
    assert not is_public(address)


class Names:
    """A resolver whose answers change from one question to the next; the last one stays."""

    def __init__(self, **answers: list[str]) -> None:
        self.answers, self.asked = answers, 0

    async def __call__(self, host: str, _: int) -> list[str]:
        self.asked += 1
        left = self.answers[host.partition(".")[0]]
        return [left.pop(0) if len(left) > 1 else left[0]]


@pytest.fixture
def fetching(served_bundle: Path, port: int) -> Iterator[Callable[[Names, str], Reply]]:
    """Ask a live server for the image at a URL, under a resolver; 127.0.0.1 counts as public, 127.0.0.2 as inside."""
    with running({"small": served_bundle}, allow_url=True) as server:

        def ask(names: Names, url: str) -> Reply:
            ports = frozenset({80, 443, port})
            server.service.remote = RemoteImages(
                2.0, 500_000, resolver=names, permitted=lambda a: a == "127.0.0.1", ports=ports
            )
            return server.target().url(url)

        yield ask


def test_a_live_server_is_not_rebound(fetching: Callable[[Names, str], Reply], port: int) -> None:
    before = len(HITS)
    first = Names(rebound=["127.0.0.1", "127.0.0.2"])
    assert fetching(first, f"http://rebound.example:{port}/image").status == 200
    assert first.asked == 1  # what was judged is what was connected to
    assert len(HITS) == before + 1
    second = fetching(Names(rebound=["127.0.0.2", "127.0.0.1"]), f"http://rebound.example:{port}/image")
    assert (second.status, second.code) == (422, "url")
    assert len(HITS) == before + 1


def test_a_live_server_follows_no_redirect_inside(fetching: Callable[[Names, str], Reply], port: int) -> None:
    before = [h for h in HITS if h.startswith("inside")]
    refusals = set()
    for path in ("inside", "scheme", "loop", "nowhere", "missing", "endless", "squeezed"):
        names = Names(site=["127.0.0.1"], inside=["127.0.0.2"])
        reply = fetching(names, f"http://site.example:{port}/{path}")
        assert reply.status == 422
        refusals.add(reply.body)
    # A host that is public when it is named and inside when it is redirected to.
    turning = Names(site=["127.0.0.1"], inside=["127.0.0.1", "127.0.0.2"])
    assert fetching(turning, f"http://inside.example:{port}/inside").status == 422
    assert len(refusals) == 1
    assert len([h for h in HITS if h.startswith("inside")]) == len(before) + 1
    assert fetching(Names(site=["127.0.0.1"]), f"http://site.example:{port}/once").status == 200
