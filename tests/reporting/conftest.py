"""Run folders to report on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.reporting.reporting_samples import write_run


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a new run folder with what `write_run` takes."""

    def make(*args: Any, **changes: Any) -> Path:
        return write_run(tmp_path_factory.mktemp("run"), *args, **changes)

    return make


@pytest.fixture(scope="session")
def run_folder(make_run: Callable[..., Path]) -> Path:
    """A run on two classes of synthetic films, with everything that a report can show."""
    return make_run()
