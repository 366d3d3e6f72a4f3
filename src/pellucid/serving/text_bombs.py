"""PNG files whose compressed texts unpack to far more than they are.

No decoder here reads those texts, but whoever gets such a file next might.
"""

from __future__ import annotations

import struct
import zlib

from .problems import Problem

MOST_TEXT = 8 * 2**20
PIECE, STEP = 16 * 1024, 64 * 1024
"""How many bytes go into the decompressor at once, and how many come out."""


def refuse_text_bombs(data: bytes) -> None:
    """Raise Problem 422 for a PNG whose texts and profile unpack to more than 8 MB in all.

    Every chunk is looked at, those behind the picture too. A broken text costs at least one step of the 8 MB, so that
    no file makes this take longer than unpacking 8 MB does.
    """
    view, at, left = memoryview(data), 8, MOST_TEXT
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            left -= _unpacked(kind, view[at + 8 : at + 8 + length], left)
            if left < 0:
                detail = "The texts in the PNG unpack to more than 8 MB, or are damaged. Save it without metadata."
                raise Problem(422, "too-large", detail)
        at += 12 + length


def _unpacked(kind: bytes, body: memoryview, most: int) -> int:
    """How many bytes a text chunk unpacks to, counted up to a little more than `most`."""
    head = bytes(body[:1024])
    keyword = head.find(b"\0") + 1
    start = keyword + 1
    if kind == b"iTXt":
        if head[keyword : keyword + 1] != b"\1":
            return len(body)
        language = head.find(b"\0", keyword + 2) + 1
        start = head.find(b"\0", language) + 1
    return _inflated(body[start:], most)


def _inflated(packed: memoryview, most: int) -> int:
    inflater, count = zlib.decompressobj(), 0
    for at in range(0, len(packed), PIECE):
        piece: bytes | memoryview = packed[at : at + PIECE]
        while len(piece) and not inflater.eof:
            try:
                count += len(inflater.decompress(piece, STEP))
            except zlib.error:
                return count + STEP
            if count > most:
                return count
            piece = inflater.unconsumed_tail
        if inflater.eof:
            break
    return count
