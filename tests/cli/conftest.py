from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pellucid.cli.main import main
from pellucid.data.phantom import generate_phantoms


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Ended]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run the program in this process: `cli("predict", run, image)` -> exit code, stdout, stderr."""

    def call(*arguments: object) -> Ended:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        return Ended(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("PELLUCID_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 small films, enough for a validation set of 20 per class."""
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    generate_phantoms(folder, images=240, size=64, seed=3)
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, phantoms: Path) -> Path:
    """A run trained for two epochs: everything is there, nothing is good."""
    from pellucid.workflow.training import train

    settings = ["train.epochs=2", "data.size=64", "model.filters=[8, 8, 16]", "model.head=[{dense=16}]"]
    out = tmp_path_factory.mktemp("runs") / "small"
    return train(phantoms, recipe="scratch-cnn", out=out, overrides=settings, group_by=r"^(patient\d+)")


@pytest.fixture(scope="session")
def films(phantoms: Path) -> list[Path]:
    return sorted((phantoms / "test").rglob("*.png"))[:5]
