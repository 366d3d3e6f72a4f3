"""The rows of the hostile list about the request around the picture: forms, bodies, addresses, headers and load."""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator

from . import files
from .client import BOUNDARY, Reply, Target, form, trickle
from .verdicts import Attack, Failed, NotApplicable, card, elsewhere, judged, seen, sends, uploads

FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"
MEGABYTE = 2**20
SLOW = "/v1/explain?method=occlusion"
SCHEMES = ("file:///etc/passwd", "gopher://x/", "data:,x", "ftp://x/y")
LOCAL = (
    "http://2130706433/", "http://0177.0.0.1/", "http://0x7f000001/", "http://127.1/", "http://localhost./",
    "http://[::1]/", "http://[::]/", "http://0.0.0.0/",
)  # fmt: skip
INSIDE = (
    "http://169.254.169.254/", "http://100.100.100.200/", "http://168.63.129.16/", "http://[fd00:ec2::254]/",
    "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://10.0.0.1/",
    "http://172.16.0.1/", "http://192.168.0.1/", "http://100.64.0.1/",
)  # fmt: skip
NAMES = {
    "a path": b"../../../etc/passwd",
    "NUL": b"a\0b.png",
    "CRLF": b"a\r\nX-Injected: 1\r\n.png",
    "right-to-left": "\u202egnp.exe".encode(),
    "4 kB": b"a" * 4096 + b".png",
}


def _limit(target: Target) -> int:
    return int(card(target)["limits"]["max_upload_bytes"])


def _wrong_field(target: Target) -> Reply:
    return target.request("POST", "/v1/predict", form(files.plain_png(), field="image"), {"Content-Type": FORM})


def _many_parts(target: Target) -> Reply:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()
    return target.request("POST", "/v1/predict", part * 10_000 + f"--{BOUNDARY}--\r\n".encode(), {"Content-Type": FORM})


def _huge_part_header(target: Target) -> Reply:
    return target.upload(files.plain_png(), name=b"a" * MEGABYTE)


def _no_boundary(target: Target) -> Reply:
    return target.request("POST", "/v1/predict", form(files.plain_png()), {"Content-Type": "multipart/form-data"})


def _other_boundary(target: Target) -> Reply:
    kind = "multipart/form-data; boundary=another"
    return target.request("POST", "/v1/predict", form(files.plain_png()), {"Content-Type": kind})


def _declared_too_long(target: Target) -> Reply:
    headers = {"Content-Type": FORM, "Content-Length": str(_limit(target) + 1)}
    return target.send([target.head("POST", "/v1/predict", headers)])


def _chunks_too_long(target: Target) -> Reply:
    block = bytes(64 * 1024)
    count = _limit(target) // len(block) + 64
    head = target.head("POST", "/v1/predict", {"Content-Type": FORM, "Transfer-Encoding": "chunked"})

    def blocks() -> Iterator[bytes]:
        yield head
        for _ in range(count):
            yield b"%x\r\n" % len(block) + block + b"\r\n"

    return target.send(blocks())


def _trickling(target: Target) -> Reply:
    headers = {"Content-Type": FORM, "Content-Length": "100000"}
    return target.send(trickle(target.head("POST", "/v1/predict", headers)), most=40)


def _names(target: Target) -> str:
    for what, name in NAMES.items():
        reply = target.upload(files.plain_png(), name=name.replace(b"\r\n", b"%0D%0A") if what == "CRLF" else name)
        if reply.status != 200:
            raise Failed(f"{seen(reply)} for {what}")
        if "x-injected" in reply.headers:
            raise Failed("a header was injected")
    return "200 for each"


def _json(body: bytes) -> Callable[[Target], Reply]:
    return lambda target: target.request("POST", "/v1/predict", body, {"Content-Type": JSON})


def _urls(*addresses: str) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        for address in addresses:
            reply = target.url(address)
            if reply.status != 422:
                raise Failed(f"{seen(reply)} for {address}")
            judged(reply, 422)
        return "422 for each"

    return run


def _one_answer(target: Target) -> str:
    addresses = ("http://127.0.0.1:1/", "http://no-such-host.invalid/", "http://10.0.0.1/", "http://192.168.0.1:22/")
    bodies = {judged(target.url(a), 422).body for a in addresses}
    if len(bodies) != 1:
        raise Failed(f"{len(bodies)} different answers")
    return "422, one answer"


def _switched_off(target: Target) -> str:
    if card(target)["limits"]["allow_url"]:
        raise NotApplicable("the operator has switched it on")
    reply = judged(target.url("https://example.org/x.png"), 422)
    if reply.code != "url-off":
        raise Failed(seen(reply))
    return "422, off"


def _without_key(target: Target) -> str:
    if target.request("GET", "/v1/models", key=False).status == 200:
        raise NotApplicable("the server has no key")
    for wrong in ("", "wrong", "x" * 10_000):
        judged(target.request("GET", "/v1/models", headers={"X-API-Key": wrong}, key=False), 401)
    return "401"


def _flood(target: Target) -> str:
    """More slow requests than any queue holds; the server must refuse some at once and stay awake."""
    large = files.encoded(files.film(480, 640), "PNG")
    with concurrent.futures.ThreadPoolExecutor(64) as threads:
        futures = [threads.submit(target.upload, large, path=SLOW) for _ in range(64)]
        time.sleep(0.3)
        health = judged(target.request("GET", "/health"), 200)
        replies = [f.result() for f in futures]
    for reply in replies:
        judged(reply, 200, 429, 503)
    refused = [r for r in replies if r.status in (429, 503)]
    if not refused:
        raise Failed("nothing was refused")
    if health.seconds > 1:
        raise Failed(f"/health took {health.seconds:.1f} s")
    return f"{len(refused)} of {len(replies)} refused, /health in {1000 * health.seconds:.0f} ms"


def _hang_up(target: Target) -> str:
    """Ask for slow work and leave, many times: slots that were not freed would be missed."""
    body = form(files.plain_png())
    head = target.head("POST", SLOW, {"Content-Type": FORM, "Content-Length": str(len(body))})
    for _ in range(40):
        with target.connect() as connection:
            connection.sendall(head + body)
            time.sleep(0.02)
    began = time.monotonic()
    while time.monotonic() - began < 20:
        reply = target.upload(files.plain_png(), path=SLOW)
        if reply.status == 200:
            return f"200 after {time.monotonic() - began:.1f} s"
        time.sleep(0.2)
    raise Failed(f"{seen(reply)}: the slots were not freed")


REQUESTS: tuple[Attack, ...] = (
    sends(1, "no body", lambda t: t.request("POST", "/v1/predict"), 400),
    sends(1, "a form without a file", lambda t: t.upload(b"", name=b""), 400),
    sends(1, "wrong field name", _wrong_field, 400),
    uploads(2, "empty file", bytes, 422),
    sends(3, "no boundary", _no_boundary, 400),
    sends(3, "another boundary", _other_boundary, 400),
    sends(3, "10,000 parts", _many_parts, 400, 413),
    sends(3, "a part header of 1 MB", _huge_part_header, 400, 413),
    sends(4, "declared length over the limit", _declared_too_long, 413),
    sends(5, "chunked body over the limit", _chunks_too_long, 413),
    sends(6, "a body that trickles in", _trickling, 408, 0),
    Attack(19, "file names with paths, NUL, line ends, 4 kB", "200", _names),
    sends(21, "malformed JSON", _json(b'{"url": '), 400),
    sends(21, "JSON 10,000 deep", _json(b"[" * 10_000 + b"]" * 10_000), 400),
    sends(21, "url is not a text", _json(b'{"url": 7}'), 400),
    Attack(22, "url with file, gopher, data, ftp", "422", _urls(*SCHEMES)),
    Attack(23, "url to this machine in every spelling", "422", _urls(*LOCAL)),
    Attack(23, "url to private networks and metadata services", "422", _urls(*INSIDE)),
    elsewhere(24, "a name that resolves to a public and a private address; rebinding", "422"),
    elsewhere(25, "redirect to a private address, another scheme, in a loop", "422"),
    elsewhere(26, "url that never ends, trickles, or is compressed", "422"),
    Attack(27, "refused, unknown and blocked addresses", "one identical 422", _one_answer),
    Attack(28, "fetching by URL", "422 unless switched on", _switched_off),
    sends(
        29,
        "Origin of another site",
        lambda t: t.upload(files.plain_png(), headers={"Origin": "https://evil.example"}),
        403,
    ),
    sends(29, "Origin null", lambda t: t.upload(files.plain_png(), headers={"Origin": "null"}), 403),
    sends(
        29, "cross-site form post", lambda t: t.upload(files.plain_png(), headers={"Sec-Fetch-Site": "cross-site"}), 403
    ),
    sends(29, "forged Host", lambda t: t.request("GET", "/v1/models", headers={"Host": "evil.example"}), 400),
    Attack(30, "wrong API key", "401", _without_key),
    Attack(31, "more requests than the queue holds", "503, /health answers", _flood),
    Attack(32, "clients that hang up", "slots freed", _hang_up),
    elsewhere(33, "SIGTERM under load", "requests finish, exit 0"),
    elsewhere(34, "a broken bundle", "refused at the start"),
    elsewhere(35, "port in use", "one sentence, exit not 0"),
)
