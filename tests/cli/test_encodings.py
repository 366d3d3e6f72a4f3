"""Any encoding of standard output: names that it lacks are escaped, and JSON and CSV are UTF-8 always."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.data.phantom import generate_phantoms

STRANGE = "日本é.png"
ENCODINGS = ["ascii", "cp1252", "latin-1", "utf-8", "utf-16"]


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory, films: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("日本")
    shutil.copy(films[0], folder / STRANGE)
    (folder / "ä.png").write_bytes(b"")
    return folder


def ran(encoding: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "pellucid", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=False, env=environment)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_is_printed_in_any_encoding(run: Path, named: Path, encoding: str) -> None:
    ended = ran(encoding, "predict", run, named)
    out, err = (text.decode(encoding) for text in (ended.stdout, ended.stderr))
    assert ended.returncode == 1, err
    assert "Traceback" not in err
    assert (STRANGE if encoding.startswith("utf") else "\\u65e5\\u672c") in out
    assert "skipped" in err


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["--json", "--csv"])
def test_documents_are_utf_8(run: Path, named: Path, encoding: str, kind: str) -> None:
    ended = ran(encoding, "predict", run, named, kind)
    assert ended.returncode == 1, ended.stderr
    text = ended.stdout.decode("utf-8")
    paths = (
        [answer["path"] for answer in json.loads(text)]
        if kind == "--json"
        else [row["path"] for row in csv.DictReader(io.StringIO(text))]
    )
    assert paths == [str(named / STRANGE)]


def test_errors_name_what_the_encoding_lacks(named: Path) -> None:
    ended = ran("ascii", "predict", named / "nö", named)
    assert ended.returncode == 2
    assert b"Traceback" not in ended.stderr
    assert b"n\\xf6" in ended.stderr


def test_a_class_beyond_ascii_is_trained_and_evaluated(tmp_path: Path) -> None:
    generate_phantoms(tmp_path / "films", images=120, size=32, seed=1)
    for split in ("train", "val", "test"):
        (tmp_path / "films" / split / "opacity").rename(tmp_path / "films" / split / "né日")
    settings = ["data.size=32", "model.filters=[4]", "model.head=[{dense=4}]", "train.epochs=1"]
    shown = [part for value in settings for part in ("--set", value)]
    options = ["--recipe", "scratch-cnn", "--positive", "né日", *shown]
    ended = ran("ascii", "train", tmp_path / "films", "--out", tmp_path / "run", *options)
    assert ended.returncode in (0, 1), ended.stderr  # 1: one epoch on 120 films teaches nothing
    ended = ran("cp1252", "evaluate", tmp_path / "run")
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
