"""The rows of the hostile list about what is uploaded: files that are no pictures, and pictures made to mislead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image

from . import files
from .client import Reply, Target
from .verdicts import Attack, Failed, NotApplicable, card, judged, seen, uploads


def _unechoed(tail: Callable[[], bytes]) -> Callable[[Target], str]:
    def run(target: Target) -> str:
        for path in ("/v1/predict", "/predict", "/v1/explain?pictures=overlay,map,seen"):
            reply = judged(target.upload(files.jpeg_and(tail()), "image/jpeg", path=path), 200)
            if files.CANARY.encode() in reply.body or b"<script>" in reply.body:
                raise Failed("the bytes behind the picture came back")
        return "200, nothing came back"

    return run


def _warned(data: Callable[[], bytes], declared: str = "image/png") -> Callable[[Target], str]:
    """Refused, or answered with a warning."""

    def run(target: Target) -> str:
        reply = judged(target.upload(data(), declared), 200, 422)
        if reply.status == 200 and not reply.document["warnings"]:
            raise Failed("200 without a warning")
        return seen(reply)

    return run


def _renamed(declared: str) -> Callable[[Target], str]:
    """An image of another format than declared is an everyday file: read, with a warning that says what it is."""

    def run(target: Target) -> str:
        reply = judged(target.upload(files.plain_png(), declared), 200)
        if not any("PNG" in warning for warning in reply.document["warnings"]):
            raise Failed("200 without a warning that says what it is")
        return "200 with a warning"

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


def _modes() -> dict[str, tuple[bytes, str]]:
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


def _orientations(target: Target) -> str:
    first = _probabilities(target, files.oriented(1))
    for orientation in range(2, 9):
        if _apart(first, _probabilities(target, files.oriented(orientation))) > 1e-6:
            raise Failed(f"orientation {orientation} is answered differently")
    return "200, identical"


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
            raise NotApplicable("the server has no pydicom")
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
        if not card(target)["outside"]["available"]:
            raise NotApplicable("the model does not know its training images")
        document = judged(target.upload(make()), 200).document
        if not (document["outside"] or {}).get("flagged"):
            raise Failed("200 without a warning")
        return "200 with a warning"

    return run


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


PICTURES: tuple[Attack, ...] = (
    *(uploads(7, f"{what} named .png", lambda d=data: d, 415) for what, data in files.OTHERS.items()),  # type: ignore[misc]
    uploads(7, "TIFF named .png", files.tiff, 415),
    Attack(8, "a PNG declared as JPEG", "200 with a warning", _renamed("image/jpeg")),
    Attack(8, "a PNG declared as text", "200 with a warning", _renamed("text/html")),
    uploads(8, "a web page declared as JPEG", lambda: files.OTHERS["HTML"], 415, declared="image/jpeg"),
    Attack(9, "JPEG with a ZIP behind it", "200, not echoed", _unechoed(files.zip_tail)),
    Attack(9, "JPEG with HTML behind it", "200, not echoed", _unechoed(lambda: files.OTHERS["HTML"])),
    uploads(10, "truncated JPEG", lambda: files.plain_jpeg()[:-200], 422, declared="image/jpeg"),
    uploads(10, "truncated PNG", lambda: files.plain_png()[:-200], 422),
    uploads(11, "PNG of 60,000 x 60,000 pixels", files.huge_png, 422),
    uploads(11, "PNG of 177 megapixels in 20 kB", files.large_png, 422),
    uploads(11, "PNG with a text of 200 MB", files.text_bomb, 422),
    Attack(12, "1 x 1 pixel", "422 / 200 with a warning", _warned(lambda: files.encoded(files.film(1, 1), "PNG"))),
    Attack(12, "65,000 x 1 pixels", "422 / 200 with a warning", _warned(_thread)),
    Attack(13, "GIF of 500 frames", "200 with a warning / 422", _warned(lambda: files.frames("GIF"), "image/gif")),
    Attack(13, "PNG of 500 frames", "200 with a warning / 422", _warned(lambda: files.frames("PNG"))),
    Attack(13, "WebP of 500 frames", "200 with a warning / 422", _warned(lambda: files.frames("WEBP"), "image/webp")),
    Attack(14, "16-bit grey PNG", "200, as its 8-bit version", _sixteen_bits),
    Attack(15, "CMYK, palette with alpha, 1-bit, LA, RGBA", "200", _converted),
    Attack(16, "EXIF orientation 1 to 8", "200, identical", _orientations),
    Attack(17, "a name and a place in EXIF, text, XMP, DICOM", "200, absent everywhere", _no_canary),
    Attack(18, "DICOM MONOCHROME1", "200, inverted", _inverted),
    Attack(18, "DICOM with rescale and window", "200", _dicom(_windowed, 200)),
    Attack(18, "DICOM of several frames", "422", _dicom(lambda: files.dicom(frames=3), 422)),
    Attack(18, "DICOM without pixels", "422", _dicom(lambda: files.dicom(pixels=False), 422)),
    Attack(20, "constant image", "200 with a warning", _outside(_constant)),
    Attack(20, "noise", "200 with a warning", _outside(_noise)),
    Attack(20, "a coloured scene", "200 with a warning", _outside(_photograph)),
)
