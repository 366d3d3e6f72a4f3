"""`pellucid export`: what is asked wrongly gets one sentence that says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Cli


def test_it_says_what_can_be_written(cli: Cli, run: Path) -> None:
    ended = cli("export", run)
    assert ended.code == 2
    assert "--web page.html" in ended.err


def test_without_a_runtime_it_says_how_to_get_it(
    cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    ended = cli("export", run, "--web", tmp_path / "page.html")
    assert ended.code == 2
    assert "npm pack onnxruntime-web@1.30.0" in ended.err
    assert "--runtime onnxruntime-web-1.30.0.tgz" in ended.err
    ended = cli("export", run, "--web", tmp_path / "page.html", "--runtime", tmp_path)
    assert ended.code == 2
    assert "holds no onnxruntime-web" in ended.err
    assert not (tmp_path / "page.html").exists()


def test_nothing_is_overwritten(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    ended = cli("export", run, "--web", tmp_path / "page.html")
    assert ended.code == 2
    assert "already there" in ended.err
    assert (tmp_path / "page.html").read_text() == "mine"


def test_a_folder_without_a_model_is_refused(cli: Cli, tmp_path: Path) -> None:
    ended = cli("export", tmp_path, "--web", tmp_path / "page.html")
    assert ended.code == 2
    assert ended.err.count("pellucid:") == 1
