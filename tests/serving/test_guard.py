from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.running import running

from pellucid.serving.attacks.files import plain_png
from pellucid.serving.guard import Hosts, Meter, client_of, crosses_sites
from pellucid.serving.settings import ServerSettings


@pytest.mark.parametrize(
    "header", ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:1", "[::1]:8000", "10.0.0.7"]
)
def test_this_machine_is_answered_for(header: str) -> None:
    assert Hosts(ServerSettings()).trusted(header)


@pytest.mark.parametrize(
    "header", ["", "evil.example", "localhost:x", "a@localhost", "localhost/", "localhost,evil", "é"]
)
def test_other_names_are_not(header: str) -> None:
    assert not Hosts(ServerSettings()).trusted(header)


def test_names_that_the_operator_gives() -> None:
    hosts = Hosts(ServerSettings(trusted_hosts=("films.example.org", "*.lab.example.org")))
    assert hosts.trusted("films.example.org:443")
    assert hosts.trusted("a.lab.example.org")
    assert not hosts.trusted("lab.example.org.evil.example")
    assert not hosts.trusted("evil-lab.example.org")
    assert Hosts(ServerSettings(trusted_hosts=("*",))).trusted("anything.example")


@pytest.mark.parametrize(
    ("headers", "host", "crosses"),
    [
        ({}, "localhost:8000", False),
        ({b"origin": b"http://localhost:8000"}, "localhost:8000", False),
        ({b"origin": b"https://films.example.org"}, "films.example.org", False),
        ({b"origin": b"https://films.example.org:443"}, "films.example.org", False),
        ({b"origin": b"http://localhost:9000"}, "localhost:8000", True),
        ({b"origin": b"http://localhost"}, "localhost:8000", True),
        ({b"origin": b"https://evil.example"}, "localhost:8000", True),
        ({b"origin": b"null"}, "localhost:8000", True),
        ({b"origin": b""}, "localhost:8000", True),
        ({b"origin": b"http://localhost:x"}, "localhost:8000", True),
        ({b"sec-fetch-site": b"same-origin"}, "localhost:8000", False),
        ({b"sec-fetch-site": b"none"}, "localhost:8000", False),
        ({b"sec-fetch-site": b"same-site"}, "localhost:8000", True),
        ({b"sec-fetch-site": b"cross-site"}, "localhost:8000", True),
    ],
)
def test_what_comes_from_another_site(headers: dict[bytes, bytes], host: str, crosses: bool) -> None:
    assert crosses_sites(headers, host) is crosses


def test_meter_by_its_closed_form() -> None:
    now = [0.0]
    meter = Meter(60, clock=lambda: now[0])
    assert [meter.wait("a") for _ in range(10)] == [0.0] * 10
    assert meter.wait("a") == pytest.approx(1.0)
    assert meter.wait("b") == 0.0
    now[0] = 0.4
    assert meter.wait("a") == pytest.approx(0.6)
    now[0] = 1.0
    assert meter.wait("a") == 0.0
    assert meter.wait("a") > 0
    now[0] = 1000.0
    assert sum(meter.wait("a") == 0 for _ in range(20)) == 10


def test_clients_are_told_apart() -> None:
    assert client_of({"client": ("192.0.2.7", 1)}) == "192.0.2.7"
    assert client_of({"client": ("::ffff:192.0.2.7", 1)}) == "192.0.2.7"
    one, two = ({"client": (f"2001:db8:0:1::{n}", 1)} for n in (1, 2))
    assert client_of(one) == client_of(two) != client_of({"client": ("2001:db8:0:2::1", 1)})
    assert client_of({"client": None}) == "unknown"


def test_too_many_requests_wait_and_supervision_does_not(served_bundle: Path) -> None:
    with running({"small": served_bundle}, rate_limit=18) as server:
        target = server.target()
        replies = [target.upload(plain_png()) for _ in range(5)]
        assert [r.status for r in replies[:3]] == [200] * 3
        assert (replies[-1].status, replies[-1].code) == (429, "rate")
        assert 1 <= int(replies[-1].headers["retry-after"]) <= 4
        assert target.request("GET", "/health").status == 200
        assert b"pellucid_refusals_total" in target.request("GET", "/metrics").body


def test_a_forwarded_address_is_believed_from_a_known_proxy_only(served_bundle: Path) -> None:
    def served_to_ten(**settings: object) -> int:
        with running({"small": served_bundle}, rate_limit=6, **settings) as server:
            target = server.target()
            asked = (
                target.request("GET", "/v1/models", headers={"X-Forwarded-For": f"192.0.2.{n}"}) for n in range(10)
            )
            return sum(r.status == 200 for r in asked)

    assert served_to_ten() == 1
    assert served_to_ten(proxies=("127.0.0.1",)) == 10
