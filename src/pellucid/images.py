"""Bytes or a path to an 8-bit RGB image, and what the file was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .preprocessing import Uint8Array


@dataclass(frozen=True, slots=True)
class Image:
    """An image as pellucid sees it.

    `pixels` (H, W, 3) uint8 RGB, upright. `format` is Pillow's name ("JPEG", "PNG", ...), "DICOM", or "array";
    `mode` is what the file held ("L", "I;16", "CMYK", ...); `stored_size` is (height, width) in the file before
    orientation and before any scaled decoding. `warnings` are sentences for people.
    """

    pixels: Uint8Array
    format: str
    mode: str
    stored_size: tuple[int, int]
    warnings: tuple[str, ...] = ()


def read_image(source: str | Path | bytes, *, at_least: tuple[int, int] | None = None, training: bool = False) -> Image:
    raise NotImplementedError
