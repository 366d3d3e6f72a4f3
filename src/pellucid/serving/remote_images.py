"""Images fetched by URL, without letting a stranger use this server to look around its own network.

Every address that a name resolves to must be public, and the connection goes to the address that was checked, so that a
name cannot be rebound in between. Redirects are checked in the same way. One deadline covers it all, bytes are counted
as they come, and whatever goes wrong is answered with the same sentence.

Reference: OWASP, Server-Side Request Forgery Prevention Cheat Sheet.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpcore

from .problems import Problem
from .workers import DaemonThreads

MOST_REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

# Public by the registries, and yet inside: Azure's host, and IPv6 that carries an IPv4 address to a translator.
ALSO_INSIDE = tuple(
    ipaddress.ip_network(n)
    for n in (
        "168.63.129.16/32",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "fec0::/10",
        "3fff::/20",
    )
)

_RESOLVING = DaemonThreads(4, "pellucid-names")


class Refused(Exception):
    """The address may not be fetched, or could not be; never says which."""


def is_public(text: str) -> bool:
    """Whether an IP address is out on the internet. Addresses that carry another one are judged as inside."""
    try:
        address: Address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or int(address) < 2**32):
        return False
    if any(address.version == network.version and address in network for network in ALSO_INSIDE):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, by the system's resolver."""
    # In threads of its own: a resolver that does not answer must keep nothing else waiting, nor the process alive.
    asked = _RESOLVING.submit(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    found = await asyncio.wrap_future(asked)
    return [str(entry[4][0]) for entry in found]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to an address only after all addresses of the name have been judged, and to one of those.

    TLS and the Host header still go by the name, as they are made above this.
    """

    def __init__(self, resolver: Resolve, permitted: Callable[[str], bool]) -> None:
        self._resolve, self._permitted = resolver, permitted
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve, judge, connect. Raises Refused."""
        addresses = await self._resolve(host, port)
        if not addresses or not all(self._permitted(a) for a in addresses):
            raise Refused
        return await self._network.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise Refused

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


class RemoteImages:
    """Fetches by URL within `seconds` and `most` bytes. `resolver` and the rules can be changed by a test only."""

    def __init__(
        self,
        seconds: float,
        most: int,
        *,
        resolver: Resolve = resolve,
        permitted: Callable[[str], bool] = is_public,
        ports: frozenset[int] = frozenset(PORTS.values()),
    ) -> None:
        self._seconds, self._most, self._ports = seconds, most, ports
        self._network = CheckedNetwork(resolver, permitted)

    async def fetch(self, url: str) -> bytes:
        """The bytes at a URL. Raises Problem 422, the same for every reason."""
        try:
            with anyio.fail_after(self._seconds):
                async with httpcore.AsyncConnectionPool(network_backend=self._network, max_connections=1) as pool:
                    return await self._follow(pool, url)
        except Exception:
            # Refusals, unknown names, timeouts, protocol errors: telling them apart would map the network behind us.
            detail = "The image could not be fetched from that address. Send the file itself."
            raise Problem(422, "url", detail) from None

    async def _follow(self, pool: httpcore.AsyncConnectionPool, url: str) -> bytes:
        for _ in range(MOST_REDIRECTS + 1):
            target = self._checked(url)
            # No compression is asked for and none is undone: there is nothing to blow up.
            headers = [(b"Accept", b"image/*"), (b"Accept-Encoding", b"identity"), (b"User-Agent", b"pellucid")]
            async with pool.stream("GET", target, headers=headers) as response:
                received = {name.lower(): value for name, value in response.headers}
                if response.status in (301, 302, 303, 307, 308):
                    url = urljoin(url, received[b"location"].decode("latin-1"))
                    continue
                if response.status != 200 or received.get(b"content-encoding", b"identity").lower() != b"identity":
                    raise Refused
                return await self._body(response, received)
        raise Refused

    async def _body(self, response: httpcore.Response, headers: dict[bytes, bytes]) -> bytes:
        if int(headers.get(b"content-length", b"0")) > self._most:
            raise Refused
        body = bytearray()
        async for block in response.aiter_stream():
            body += block
            if len(body) > self._most:
                raise Refused
        return bytes(body)

    def _checked(self, url: str) -> str:
        """The URL without its fragment; Refused for another scheme, port, or with a name and password."""
        if len(url) > 2048 or any(ord(c) <= 32 or ord(c) == 127 for c in url):
            raise Refused
        parts = urlsplit(url)
        if parts.scheme not in PORTS or not parts.hostname or "@" in parts.netloc or "\\" in url:
            raise Refused
        if (parts.port or PORTS[parts.scheme]) not in self._ports:
            raise Refused
        return parts._replace(fragment="").geturl()
