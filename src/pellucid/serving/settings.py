"""What an operator can set, in one place."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from ..images import Limits
from ..images.formats import SERVED_FORMATS

MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server; the defaults are safe for an open port.

    `max_upload` and `max_batch_upload` bound request bodies in bytes, `max_pixels` bounds a picture before it is
    decoded; `allow_tiff` adds TIFF to the formats that are read. `workers` passes run side by side and `queue` more
    requests may wait; `slow_queue` is the same for explanations that take hundreds of passes, which have a worker of
    their own. `engine` and `precision` run the models, as in
    `pellucid.load`. `deadline` is the most seconds that a request may wait and run. `rate_limit` is requests per minute
    per client, 0 for none. `store` is a SQLAlchemy URL, a file, or "none"; answers that it does not accept wait in the
    file `spool`. `drain` is the most seconds that stopping takes.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None
    max_upload: int = 32 * MEGABYTE
    max_batch_upload: int = 256 * MEGABYTE
    max_batch_files: int = 1000
    max_pixels: int = 64_000_000
    rate_limit: int = 0
    allow_url: bool = False
    allow_tiff: bool = False
    trusted_hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    keep_images: Path | None = None
    store: str | None = None
    store_days: int = 365
    spool: Path | None = None
    examples: bool | None = None
    workers: int = field(default_factory=lambda: min(16, (os.cpu_count() or 1) + 1))
    threads: int | None = None
    engine: str = "onnxruntime"
    precision: str = "float32"
    queue: int = 32
    slow_queue: int = 4
    deadline: float = 60.0
    store_deadline: float = 10.0
    body_grace: float = 10.0
    body_rate: int = 16 * 1024
    drain: float = 30.0
    url_deadline: float = 10.0
    picture_side: int = 384

    @property
    def closing_seconds(self) -> float:
        """The last part of `drain`: for the store, after requests have been answered."""
        return min(5.0, self.drain / 4)

    @property
    def limits(self) -> Limits:
        """What one picture may be before it is decoded."""
        formats = SERVED_FORMATS | {"TIFF"} if self.allow_tiff else SERVED_FORMATS
        return Limits(pixels=self.max_pixels, file_bytes=self.max_upload, formats=formats)
