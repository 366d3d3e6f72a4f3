"""A file appears whole, or the old one stays and nothing else remains."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from pellucid.files import write_whole


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    write_whole(file, "größer \udcff")
    assert file.read_bytes() == "größer ".encode() + b"\xff"
    write_whole(file, b"\x00\x01")
    assert file.read_bytes() == b"\x00\x01"
    assert list(tmp_path.iterdir()) == [file]


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            write_whole(file, b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
