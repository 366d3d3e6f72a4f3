"""Where the tests of the page find its runtime: as the program does, else by npm, else they are skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pellucid.errors import InputError
from pellucid.private_page.runtime import COMMAND, PACKAGE, find_runtime


def runtime_place(folder: Path, *, graphics: bool = False) -> Path | None:
    """What `runtime=` is to be given here: None where the program finds the runtime by itself."""
    try:
        find_runtime(graphics=graphics)
    except InputError:
        if (named := os.environ.get("PELLUCID_TEST_RUNTIME")) is not None:
            return Path(named)
        if shutil.which("npm") is None:
            pytest.skip(f"no onnxruntime-web here, and no npm to get it: {COMMAND}")
        got = subprocess.run(COMMAND.split(), cwd=folder, capture_output=True, timeout=120, check=False)
        if got.returncode:
            pytest.skip(f"npm has no onnxruntime-web here: {COMMAND}")
        return folder / PACKAGE
    return None


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return runtime_place(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def graphics_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    return runtime_place(tmp_path_factory.mktemp("graphics-runtime"), graphics=True)
