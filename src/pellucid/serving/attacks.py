"""The hostile list as data: what is sent, and what must come of it. The tests and `doctor --attack` share it.

Rows have the numbers of docs/reference/http.md. An attack that cannot be judged from outside, or not on the
server at hand, says so by raising Skipped.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from . import attack_files as files
from .attack_client import BOUNDARY, Reply, Target, form, trickle

FORM = f"multipart/form-data; boundary={BOUNDARY}"
JSON = "application/json"
MOST_SECONDS = 45.0
MEGABYTE = 2**20


class Skipped(Exception):
    """The attack does not apply here."""


class Failed(Exception):
    """The server did not hold; the text says what was seen."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack of a row. `run` sends it and returns what was seen, or raises Failed or Skipped."""

    row: int
    title: str
    expected: str
    run: Callable[[Target], str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attack ended; `held` is None when it was skipped."""

    row: int
    title: str
    expected: str
    seen: str
    held: bool | None

    def as_document(self) -> dict[str, Any]:
        """As JSON prints it."""
        return {"row": self.row, "title": self.title, "expected": self.expected, "seen": self.seen, "held": self.held}


def run_attacks(url: str, api_key: str | None = None) -> list[Outcome]:
    """Send every attack to a server, one after the other, and see after each that it still answers.

    Raises InputError when there is no pellucid server at `url`.
    """
    target = Target(url, api_key)
    if "models" not in (target.request("GET", "/v1/models").document or {}):
        raise InputError(f"{url} is not a pellucid server, or needs another --api-key.")
    return [outcome_of(attack, target) for attack in ATTACKS]


def outcome_of(attack: Attack, target: Target) -> Outcome:
    """Run one attack and judge it."""
    held: bool | None = True
    try:
        seen = attack.run(target)
        if target.request("GET", "/health").status != 200:
            held, seen = False, f"{seen}, and /health does not answer any more"
    except Skipped as reason:
        held, seen = None, str(reason)
    except (Failed, InputError) as reason:
        held, seen = False, str(reason)
    return Outcome(attack.row, attack.title, attack.expected, seen, held)


def judged(reply: Reply, *statuses: int) -> Reply:
    """The reply, when its status is one of `statuses` and its form is right; raises Failed else.

    A refusal must be problem+json with a code and a sentence, in time, without a trace of the program's insides.
    """
    shown = f"{reply.status or 'closed'}{' ' + reply.code if reply.code else ''}"
    if reply.status not in statuses:
        raise Failed(shown)
    if reply.seconds > MOST_SECONDS:
        raise Failed(f"{shown} after {reply.seconds:.0f} s")
    if b"Traceback" in reply.body or b'File "' in reply.body:
        raise Failed(f"{shown} with a stack trace")
    if reply.status >= 400:
        document = reply.document
        if not reply.headers.get("content-type", "").startswith("application/problem+json"):
            raise Failed(f"{shown} that is not problem+json")
        if not isinstance(document, dict) or not document.get("code") or len(str(document.get("detail", ""))) < 10:
            raise Failed(f"{shown} without a code or a sentence")
        if reply.status in (429, 503) and "retry-after" not in reply.headers:
            raise Failed(f"{shown} without Retry-After")
    return reply


def seen(reply: Reply) -> str:
    """A reply in two words."""
    return f"{reply.status or 'closed'} {reply.code}".strip()


def sends(row: int, title: str, send: Callable[[Target], Reply], *statuses: int) -> Attack:
    """An attack that is judged by its status alone."""
    expected = " / ".join("closed" if s == 0 else str(s) for s in statuses)
    return Attack(row, title, expected, lambda target: seen(judged(send(target), *statuses)))


def uploads(row: int, title: str, make: Callable[[], bytes], *statuses: int, declared: str = "image/png") -> Attack:
    """An attack that uploads one file."""
    return sends(row, title, lambda target: target.upload(make(), declared), *statuses)


def _card(target: Target) -> dict[str, Any]:
    return dict(judged(target.request("GET", "/v1/model"), 200).document)


def _limit(target: Target) -> int:
    return int(_card(target)["limits"]["max_upload_bytes"])


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


def _unechoed(tail: Callable[[], bytes]) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        for path in ("/v1/predict", "/predict", "/v1/explain?pictures=overlay,map,seen"):
            reply = judged(target.upload(files.jpeg_and(tail()), "image/jpeg", path=path), 200)
            if files.CANARY.encode() in reply.body or b"<script>" in reply.body:
                raise Failed("the bytes behind the picture came back")
        return "200, nothing came back"

    return run


def _probabilities(target: Target, data: bytes, declared: str = "image/png") -> dict[str, Any]:
    document = judged(target.upload(data, declared), 200).document
    return {"label": document["label"], "p": document["probabilities"] or {"output": document["output"]}}


def _apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    return float(max(abs(a["p"][c] - b["p"][c]) for c in a["p"]))


def _sixteen_bits(target: Target) -> str:
    eight, sixteen = _probabilities(target, files.plain_png()), _probabilities(target, files.sixteen_bits())
    if eight["label"] != sixteen["label"] or _apart(eight, sixteen) > 1e-6:
        raise Failed(f"{sixteen['label']}, and {eight['label']} for its 8-bit version")
    return "200, the same answer"


def _orientations(target: Target) -> str:
    first = _probabilities(target, files.oriented(1))
    for orientation in range(2, 9):
        if _apart(first, _probabilities(target, files.oriented(orientation))) > 1e-6:
            raise Failed(f"orientation {orientation} is answered differently")
    return "200, identical"


def _frames(kind: str, declared: str) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        reply = judged(target.upload(files.frames(kind), declared), 200, 422)
        if reply.status == 200 and not reply.document["warnings"]:
            raise Failed("200 without a warning")
        return seen(reply)

    return run


def _thin(data: Callable[[], bytes]) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        reply = judged(target.upload(data()), 200, 422)
        if reply.status == 200 and not reply.document["warnings"]:
            raise Failed("200 without a warning")
        return seen(reply)

    return run


def _no_canary(target: Target) -> str:
    declared = {"dicom": "application/dicom"}
    for kind, data in files.canary_files().items():
        for path in ("/v1/predict", "/predict", "/v1/explain?pictures=overlay,map,seen"):
            name = f"{files.CANARY}.{kind}".encode()
            reply = target.upload(data, declared.get(kind, f"image/{kind}"), name, path)
            if kind == "dicom" and reply.status == 415:
                continue
            _free_of_canary(judged(reply, 200), f"the reply to a {kind}")
    for path in ("/metrics", "/v1/stats", "/v1/stats.csv", "/v1/feedback.csv"):
        _free_of_canary(target.request("GET", path), path)
    return "200, absent everywhere"


def _free_of_canary(reply: Reply, where: str) -> None:
    if b"CANARY" in reply.body or "CANARY" in str(reply.headers):
        raise Failed(f"it is in {where}")


def _dicom(make: Callable[[], bytes], *statuses: int) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        reply = target.upload(make(), "application/dicom")
        if reply.status == 415 and "pydicom" in str(reply.document):
            raise Skipped("the server has no pydicom")
        return seen(judged(reply, *statuses))

    return run


def _inverted(target: Target) -> str:
    _dicom(files.dicom, 200)(target)
    negative = np.asarray(255 - files.film(), np.uint8)
    one = _probabilities(target, files.dicom("MONOCHROME1", values=negative), "application/dicom")
    two = _probabilities(target, files.dicom("MONOCHROME2"), "application/dicom")
    if _apart(one, two) > 1e-6:
        raise Failed("MONOCHROME1 is not inverted")
    return "200, inverted"


def _outside(make: Callable[[], bytes]) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        if not _card(target)["outside"]["available"]:
            raise Skipped("the model does not know its training images")
        document = judged(target.upload(make()), 200).document
        if not (document["outside"] or {}).get("flagged"):
            raise Failed("200 without a warning")
        return "200 with a warning"

    return run


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
    if _card(target)["limits"]["allow_url"]:
        raise Skipped("the operator has switched it on")
    reply = judged(target.url("https://example.org/x.png"), 422)
    if reply.code != "url-off":
        raise Failed(seen(reply))
    return "422, off"


def _without_key(target: Target) -> str:
    if target.request("GET", "/v1/models", key=False).status == 200:
        raise Skipped("the server has no key")
    for wrong in ("", "wrong", "x" * 10_000):
        judged(target.request("GET", "/v1/models", headers={"X-API-Key": wrong}, key=False), 401)
    return "401"


SLOW = "/v1/explain?method=occlusion"


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


def _elsewhere(row: int, title: str, expected: str) -> Attack:
    def run(_: Target) -> str:
        raise Skipped("cannot be judged from outside; pellucid's own tests do")

    return Attack(row, title, expected, run)


def _thread() -> bytes:
    return files.encoded(files.film(1, 65_000), "PNG")


def _windowed() -> bytes:
    return files.dicom(rescale=(-10, 2), window=(120, 200))


def _constant() -> bytes:
    return files.encoded(np.full((128, 128), 128, np.uint8), "PNG")


def _noise() -> bytes:
    return files.encoded(np.random.default_rng(5).integers(0, 256, (256, 256, 3), dtype=np.uint8), "PNG")


def _photograph() -> bytes:
    """Something with the colours of a landscape."""
    y, x = np.mgrid[0:1:256j, 0:1:320j]
    sky = np.stack([90 + 60 * y, 140 + 50 * y, 230 - 20 * x], -1)
    grass = np.stack([60 + 40 * x, 150 - 40 * y, 40 + 0 * x], -1)
    horizon = (y + 0.05 * np.sin(12 * x) < 0.5)[..., None]
    return files.encoded(np.where(horizon, sky, grass).astype(np.uint8), "PNG")


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


def _names(target: Target) -> str:
    for what, name in NAMES.items():
        reply = target.upload(files.plain_png(), name=name.replace(b"\r\n", b"%0D%0A") if what == "CRLF" else name)
        if reply.status != 200:
            raise Failed(f"{seen(reply)} for {what}")
        if "x-injected" in reply.headers:
            raise Failed("a header was injected")
    return "200 for each"


def _modes() -> dict[str, tuple[bytes, str]]:
    import PIL.Image

    grey = PIL.Image.fromarray(files.film())
    palette = grey.convert("P")
    return {
        "CMYK": (files.encoded(grey.convert("CMYK"), "JPEG"), "image/jpeg"),
        "palette with alpha": (files.encoded(palette, "PNG", transparency=bytes(range(256))), "image/png"),
        "1-bit": (files.encoded(grey.convert("1"), "PNG"), "image/png"),
        "LA": (files.encoded(grey.convert("LA"), "PNG"), "image/png"),
        "RGBA": (files.encoded(grey.convert("RGBA"), "PNG"), "image/png"),
        "16-bit RGB by 32-bit BMP": (files.encoded(grey.convert("RGBA"), "BMP"), "image/bmp"),
    }


def _converted(target: Target) -> str:
    for what, (data, declared) in _modes().items():
        reply = target.upload(data, declared)
        if reply.status != 200:
            raise Failed(f"{seen(reply)} for {what}")
    return "200 for each"


ATTACKS: tuple[Attack, ...] = (
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
    *(uploads(7, f"{what} named .png", lambda d=data: d, 415) for what, data in files.OTHERS.items()),  # type: ignore[misc]
    uploads(7, "TIFF named .png", files.tiff, 415),
    uploads(8, "a PNG declared as JPEG", files.plain_png, 415, declared="image/jpeg"),
    uploads(8, "a PNG declared as text", files.plain_png, 415, declared="text/html"),
    Attack(9, "JPEG with a ZIP behind it", "200, not echoed", _unechoed(files.zip_tail)),
    Attack(9, "JPEG with HTML behind it", "200, not echoed", _unechoed(lambda: files.OTHERS["HTML"])),
    uploads(10, "truncated JPEG", lambda: files.plain_jpeg()[:-200], 422, declared="image/jpeg"),
    uploads(10, "truncated PNG", lambda: files.plain_png()[:-200], 422),
    uploads(11, "PNG of 60,000 x 60,000 pixels", files.huge_png, 422),
    uploads(11, "PNG of 177 megapixels in 20 kB", files.large_png, 422),
    uploads(11, "PNG with a text of 200 MB", files.text_bomb, 422),
    Attack(12, "1 x 1 pixel", "422 / 200 with a warning", _thin(lambda: files.encoded(files.film(1, 1), "PNG"))),
    Attack(
        12, "65,000 x 1 pixels", "422 / 200 with a warning", _thin(lambda: files.encoded(files.film(1, 65_000), "PNG"))
    ),
    Attack(13, "GIF of 500 frames", "200 with a warning / 422", _frames("GIF", "image/gif")),
    Attack(13, "PNG of 500 frames", "200 with a warning / 422", _frames("PNG", "image/png")),
    Attack(13, "WebP of 500 frames", "200 with a warning / 422", _frames("WEBP", "image/webp")),
    Attack(14, "16-bit grey PNG", "200, as its 8-bit version", _sixteen_bits),
    Attack(15, "CMYK, palette with alpha, 1-bit, LA, RGBA", "200", _converted),
    Attack(16, "EXIF orientation 1 to 8", "200, identical", _orientations),
    Attack(17, "a name and a place in EXIF, text, XMP, DICOM", "200, absent everywhere", _no_canary),
    Attack(18, "DICOM MONOCHROME1", "200, inverted", _inverted),
    Attack(
        18,
        "DICOM with rescale and window",
        "200",
        _dicom(lambda: files.dicom(rescale=(-10, 2), window=(120, 200)), 200),
    ),
    Attack(18, "DICOM of several frames", "422", _dicom(lambda: files.dicom(frames=3), 422)),
    Attack(18, "DICOM without pixels", "422", _dicom(lambda: files.dicom(pixels=False), 422)),
    Attack(19, "file names with paths, NUL, line ends, 4 kB", "200", _names),
    Attack(
        20,
        "constant image",
        "200 with a warning",
        _outside(lambda: files.encoded(np.full((128, 128), 128, np.uint8), "PNG")),
    ),
    Attack(20, "noise", "200 with a warning", _outside(_noise)),
    Attack(20, "a coloured scene", "200 with a warning", _outside(_photograph)),
    sends(21, "malformed JSON", _json(b'{"url": '), 400),
    sends(21, "JSON 10,000 deep", _json(b"[" * 10_000 + b"]" * 10_000), 400),
    sends(21, "url is not a text", _json(b'{"url": 7}'), 400),
    Attack(
        22,
        "url with file, gopher, data, ftp",
        "422",
        _urls("file:///etc/passwd", "gopher://x/", "data:,x", "ftp://x/y"),
    ),
    Attack(23, "url to this machine in every spelling", "422", _urls(*LOCAL)),
    Attack(23, "url to private networks and metadata services", "422", _urls(*INSIDE)),
    _elsewhere(24, "a name that resolves to a public and a private address; rebinding", "422"),
    _elsewhere(25, "redirect to a private address, another scheme, in a loop", "422"),
    _elsewhere(26, "url that never ends, trickles, or is compressed", "422"),
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
    _elsewhere(33, "SIGTERM under load", "requests finish, exit 0"),
    _elsewhere(34, "a broken bundle", "refused at the start"),
    _elsewhere(35, "port in use", "one sentence, exit not 0"),
)
