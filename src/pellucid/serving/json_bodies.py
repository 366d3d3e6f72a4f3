"""JSON bodies at a cost that no client chooses.

Python's parser keeps the interpreter lock to the end of a document and builds an object for every value, so 8 MB of
brackets stop the server for seconds. Only small documents are parsed whole. In a larger one the long strings (images in
base64) and one array of numbers (a tensor) are cut out first, step by step; what is left must be small.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

import numpy as np

from ..preprocessing import FloatArray
from .problems import Problem

SMALL = 32 * 1024
LONG = 1024
MOST_STRINGS, MOST_BRACKETS = 1000, 400_000
STEP = 1 << 16
"""Bytes looked at in one call, between which other threads get their turn."""

_SHORT_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ARRAY = re.compile(rb'"data"\s{0,100}:\s{0,100}\[')
_STRUCTURE = re.compile(rb'[\[\]{}:"]')
_UNLIKE_ARRAY = re.compile(rb"[^\s,\[]\s*\[|\]\s*[^\s,\]]")


def parse_json(body: bytes) -> Any:
    """A JSON document of at most 32 kB. Raises Problem 400 for one that is malformed or too deep; NaN is malformed."""
    if len(body) > SMALL:
        raise malformed(f"The JSON holds more than {SMALL // 1024} kB beside an image or a tensor.")
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_not_json)
    except (ValueError, RecursionError):
        raise malformed("The body is not valid JSON, or is nested too deeply.") from None


def malformed(detail: str) -> Problem:
    """The refusal of a body that is not as it should be."""
    return Problem(400, "malformed", detail)


def _not_json(constant: str) -> None:
    raise ValueError


class LargeJson:
    """A JSON document of any length whose long parts are apart; to be made in a worker.

    `document` is the rest, parsed. In it a mark that `text` takes stands for a long string, and one that `numbers`
    takes for the numbers of `"data"`, when they are many. Raises Problem 400 for what is not valid.
    """

    def __init__(self, body: bytes) -> None:
        rest, self._strings = _without_long_strings(body)
        self._array: bytes | None = None
        if len(rest) > SMALL:
            rest, self._array = _without_array(rest)
        self.document = parse_json(rest)

    def text(self, value: str) -> bytes:
        """The bytes of a string of `document`."""
        mark, _, number = value.partition("\0")
        if not mark and number.isdecimal() and int(number) < len(self._strings):
            return bytes(self._strings[int(number)])
        return value.encode("utf-8", "replace")

    def numbers(self, value: Any, most: int) -> FloatArray:
        """An array of `document`, nested or flat, as a flat float32 array. Raises ValueError for what is none.

        Nothing of an array of more than `most` numbers is read.
        """
        if value == ["\0"] and self._array is not None:
            return _numbers(self._array, most)
        with np.errstate(over="ignore"):
            return np.asarray(value, np.float32).ravel()


def _without_long_strings(body: bytes) -> tuple[bytes, list[memoryview]]:
    view, kept, strings, at = memoryview(body), list[bytes | memoryview](), list[memoryview](), 0
    for _ in range(MOST_STRINGS):
        start = body.find(b'"', at)
        if start < 0:
            break
        kept.append(view[at:start])
        short = _SHORT_STRING.match(body, start, start + LONG)
        if short is not None:
            at = short.end()
            kept.append(view[start:at])
            continue
        end = body.find(b'"', start + 1)
        if end < 0 or body[end - 1 : end] == b"\\":
            raise malformed("The body is not valid JSON: a long text in it does not end, or holds a quotation mark.")
        kept.append(b'"\\u0000%d"' % len(strings))
        strings.append(view[start + 1 : end])
        at = end + 1
    else:
        raise malformed(f"The body is not valid here: it holds more than {MOST_STRINGS:,} texts.")
    return b"".join([*kept, view[at:]]), strings


def _without_array(rest: bytes) -> tuple[bytes, bytes]:
    """Take the array of the first `"data"` out of a document, without the brackets around it."""
    opened, key = None, rest.find(b'"data"')
    while opened is None:
        if key < 0:
            return rest, b""
        opened, key = _ARRAY.match(rest, key), rest.find(b'"data"', key + 1)
    at, depth, brackets = opened.end(), 1, 0
    while depth:
        found = _STRUCTURE.search(rest, at, at + STEP)
        if found is None:
            at += STEP
            if at >= len(rest):
                raise malformed("The body is not valid JSON: its data does not end.")
            continue
        brackets += 1
        if found[0] not in b"[]" or brackets > MOST_BRACKETS:
            raise malformed("The body is not valid here: data may hold numbers or base64 texts only.")
        depth += 1 if found[0] == b"[" else -1
        at = found.end()
    return b"".join([rest[: opened.end()], b'"\\u0000"', rest[at - 1 :]]), rest[opened.end() : at - 1]


def _numbers(array: bytes, most: int) -> FloatArray:
    commas = sum(array.count(b",", at, at + STEP) for at in range(0, len(array), STEP))
    if commas >= most:
        raise ValueError
    parts, at = [], 0
    while at < len(array):
        cut = array.find(b",", min(len(array), at + STEP))
        end = len(array) if cut < 0 else cut
        # Cut at commas: what stands between two values is whole in one of the pieces.
        piece = array[at:end]
        if _UNLIKE_ARRAY.search(piece):
            raise ValueError
        with np.errstate(over="ignore"):
            parts.append(np.asarray(json.loads(b"[" + piece.translate(None, b"[]") + b"]"), np.float32))
        at = end + 1
    if sum(map(len, parts)) != commas + 1:
        raise ValueError
    return np.concatenate(parts)


def from_base64(text: bytes) -> bytes:
    """The bytes of base64, as one line or several, also behind `data:image/png;base64,`. Raises Problem 400."""
    if text.startswith(b"data:"):
        text = text[text.find(b",", 0, 256) + 1 :]
    # PHP writes \/ for /; line ends come as \n.
    plain = text.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"").translate(None, b" \r\n\t")
    try:
        steps = range(0, len(plain), STEP)
        return b"".join([base64.b64decode(plain[at : at + STEP], validate=True) for at in steps])
    except binascii.Error:
        raise malformed("The image is not valid base64.") from None
