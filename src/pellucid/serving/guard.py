"""Who may ask: the Host header, cross-site requests, the API key, and how often. An ASGI layer."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from .problems import Problem, response
from .settings import ServerSettings

OPEN_PATHS = frozenset({"/", "/dashboard", "/health", "/livez", "/readyz", "/favicon.ico"})
"""What needs no key: the pages, which hold no data, and what a supervisor asks."""
UNMETERED = frozenset({"/health", "/livez", "/readyz", "/metrics"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MOST_CLIENTS = 10_000
LOCAL_NAMES = ("localhost", "localhost.localdomain")


class Guard:
    """The layer: refuses with 400 (Host), 403 (cross-site), 401 (key) or 429 (rate), in this order."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, refused: Callable[[Problem], None]) -> None:
        self.app, self.refused = app, refused
        self._hosts = Hosts(settings)
        self._key = None if settings.api_key is None else _digest(settings.api_key.encode())
        self._meter = Meter(settings.rate_limit) if settings.rate_limit else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            refusal = self._refusal(scope)
            if refusal is not None:
                self.refused(refusal)
                await response(refusal, scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Problem | None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        headers = dict(scope["headers"])
        host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
        if not self._hosts.trusted(host):
            detail = "This server does not answer to that host name. Its operator can allow it."
            return Problem(400, "host", detail)
        if scope["method"] not in SAFE_METHODS and crosses_sites(headers, host):
            return Problem(403, "cross-site", "Requests from other sites are refused. Use this server's own page.")
        path = scope["path"]
        if (
            self._key is not None
            and not (path in OPEN_PATHS or path.startswith("/static/"))
            and not self._knows_key(headers)
        ):
            detail = "This server needs its API key in the header X-API-Key."
            return Problem(401, "api-key", detail, {"WWW-Authenticate": 'ApiKey realm="pellucid"'})
        if self._meter is not None and path not in UNMETERED and not path.startswith("/static/"):
            wait = self._meter.wait(client_of(scope))
            if wait > 0:
                detail = "Too many requests from this address. Wait a moment and try again."
                return Problem(429, "rate", detail, {"Retry-After": str(int(wait) + 1)})
        return None

    def _knows_key(self, headers: dict[bytes, bytes]) -> bool:
        given = headers.get(b"x-api-key")
        if given is None:
            scheme, _, credential = headers.get(b"authorization", b"").partition(b" ")
            given = credential.strip() if scheme.lower() == b"bearer" else b""
        # Digests have one length, so that not even the length of the key shows in the time taken.
        return self._key is not None and hmac.compare_digest(_digest(given), self._key)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class Hosts:
    """Which Host headers are answered.

    Addresses always are: the attack that the check stops, a name rebound to this server, needs a name. Of names, those
    of `--trusted-host` ("*" for any, "*.example.org" for a domain), or without it those of this machine.
    """

    def __init__(self, settings: ServerSettings) -> None:
        own = (*LOCAL_NAMES, socket.gethostname(), settings.host)
        self._names = {name.lower().rstrip(".") for name in settings.trusted_hosts or own}

    def trusted(self, header: str) -> bool:
        """Whether a Host header (name or address, with or without a port) is one of this server's."""
        name = _host_name(header)
        if name is None:
            return False
        if "*" in self._names or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return any(known.startswith("*.") and name.endswith(known[1:]) for known in self._names)
        return True


def _host_name(header: str) -> str | None:
    """The host of a Host header, in lower case; None for one that is malformed."""
    if not header or not header.isascii() or any(c in header for c in "/\\@?# \t,"):
        return None
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018  raises for an invalid port
    except ValueError:
        return None
    return (parts.hostname or "").rstrip(".") or None


def crosses_sites(headers: dict[bytes, bytes], host: str) -> bool:
    """Whether a browser sent this from another site's page. A client that is no browser sends neither header."""
    if headers.get(b"sec-fetch-site", b"").lower() in (b"cross-site", b"same-site"):
        return True
    origin = headers.get(b"origin")
    if origin is None:
        return False
    try:
        parts = urlsplit(origin.decode("latin-1").lower())
        # The scheme may differ behind a proxy that ends TLS, and with it the port that goes unsaid.
        ports = {443 if parts.scheme == "https" else 80, None}
        own = urlsplit(f"//{host.lower()}")
        same_port = parts.port == own.port or {parts.port, own.port} <= ports
    except ValueError:
        return True
    return not parts.hostname or parts.hostname != own.hostname or not same_port


def client_of(scope: Scope) -> str:
    """Whose requests are counted together: an IPv4 address, or the /64 network of an IPv6 address."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def is_local(scope: Scope) -> bool:
    """Whether a request was made on this machine, as far as that can be seen: not through a proxy on it."""
    forwarded = {b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"}
    if any(name in forwarded for name, _ in scope["headers"]):
        return False
    try:
        address = ipaddress.ip_address((scope.get("client") or ("", 0))[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


class Meter:
    """A bucket of tokens per client: `rate` requests a minute, of which a sixth may come at once."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._fill, self._size, self._clock = rate / 60, max(1.0, rate / 6), clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """0 when the client may ask now, otherwise the seconds until it may."""
        now = self._clock()
        tokens, then = self._buckets.pop(client, (self._size, now))
        tokens = min(self._size, tokens + (now - then) * self._fill)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._fill
