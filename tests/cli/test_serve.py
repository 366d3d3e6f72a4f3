"""`pellucid serve` and `pellucid doctor --attack`: what is refused at the start, in one sentence."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Cli


def sentence(err: str) -> str:
    """The one line on stderr."""
    (line,) = err.strip().splitlines()
    assert line.startswith("pellucid: ")
    return line


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run / "model", tmp_path / "copy"))


def _pickle(folder: Path) -> None:
    (folder / "weights.pkl").write_bytes(b"x")


def _changed(folder: Path) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")


def _newer(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))


def _missing(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def _empty(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


@pytest.mark.parametrize(
    ("breaks", "word"),
    [(_pickle, "pickle"), (_changed, "sha256"), (_newer, "upgrade"), (_missing, "lacks"), (_empty, "manifest")],
)
def test_broken_bundles_are_refused_at_the_start(
    cli: Cli, copy: Path, breaks: Callable[[Path], None], word: str
) -> None:
    breaks(copy)
    ended = cli("serve", copy, "--port", 0, "--store", "none")
    assert ended.code == 2
    assert word in sentence(ended.err)


def test_port_in_use_names_the_option(cli: Cli, run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = cli("serve", run, "--port", taken.getsockname()[1])
    assert ended.code == 2
    assert "--port" in sentence(ended.err)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "no-such-host.invalid"], "--host"),
        (["--host", "192.0.2.1"], "--host"),
        (["--store", "nonsense://x"], "--store"),
        (["--store", "/proc/none/x"], "--store"),
        (["--keep-images", "/proc/none"], "--keep-images"),
    ],
)
def test_settings_that_will_not_do_name_the_option(cli: Cli, run: Path, arguments: list[str], word: str) -> None:
    ended = cli("serve", run, "--port", 0, *arguments)
    assert ended.code == 2
    assert word in sentence(ended.err)


def test_folders_that_are_no_model(cli: Cli, tmp_path: Path, run: Path) -> None:
    assert "contains no model" in sentence(cli("serve", tmp_path, "--port", 0).err)
    assert "There is no folder" in sentence(cli("serve", tmp_path / "none", "--port", 0).err)
    assert "another name" in sentence(cli("serve", run, run, "--port", 0).err)


def test_doctor_without_a_server(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = cli("doctor", "--attack", f"http://127.0.0.1:{port}")
    assert ended.code == 2
    assert "No server answers" in sentence(ended.err)
    assert "address of a server" in sentence(cli("doctor", "--attack", "ftp://x").err)
    assert cli("doctor", "--attack", "http://127.0.0.1:1", "--tune", "nothing").code == 2
