"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pellucid.data.dataset import Dataset
    from pellucid.data.fingerprint import Fingerprints


@pytest.fixture(autouse=True)
def no_proxy_is_left() -> Iterator[None]:
    """urllib keeps the proxies that its first call finds: one test's proxy would be that of every later test."""
    yield
    urllib.request.install_opener(None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real images beside the checkout; the test is skipped where they are not there."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real images in {folder}")
    return folder


@pytest.fixture(scope="session")
def pneumonia(shared_data: Path) -> tuple[Dataset, Fingerprints]:
    """The 5,232 X-rays grouped by patient, and their fingerprints (about five seconds)."""
    from pellucid.data.fingerprint import fingerprint
    from pellucid.data.folder import read_dataset

    dataset = read_dataset(shared_data / "pneumonia", group_by=r"(person\d+_[a-z]+)|((?:NORMAL2-)?IM-\d+)")
    return dataset, fingerprint(dataset)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 1 MB in memory, where this program may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
