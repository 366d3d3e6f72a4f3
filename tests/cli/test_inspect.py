"""`pellucid data inspect` as it is called."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tests.cli.conftest import Cli

from pellucid.data.inspection import Inspection


@pytest.fixture
def planted(phantoms: Path, tmp_path: Path) -> Path:
    """Phantoms with a copy of a training film in test, and a broken file."""
    folder = Path(shutil.copytree(phantoms, tmp_path / "planted"))
    first = min((folder / "train/normal").iterdir())
    shutil.copy(first, folder / "test/normal/copy_of_train.png")
    (folder / "train/normal/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    return folder


def test_clean_phantoms_end_well(cli: Cli, phantoms: Path) -> None:
    ended = cli("data", "inspect", phantoms, "--json")
    assert (ended.code, ended.err) == (0, "")
    found = Inspection.model_validate(json.loads(ended.out))
    assert found.images == 240
    assert not [f for f in found.findings if f.level == "problem"]


def test_what_is_planted_is_found_and_named(cli: Cli, planted: Path) -> None:
    ended = cli("data", "inspect", planted, "--json")
    assert ended.code == 1
    found = Inspection.model_validate(json.loads(ended.out))
    (copies,) = found.identical
    assert copies.images[0].path == "test/normal/copy_of_train.png"
    assert copies.across_splits
    assert [n.path for n in found.unreadable] == ["train/normal/broken.jpg"]
    assert "skipped train/normal/broken.jpg: The file is truncated" in ended.err


def test_a_pipe_gets_one_line_for_each_finding_worst_first(cli: Cli, planted: Path) -> None:
    ended = cli("data", "inspect", planted)
    assert ended.code == 1
    lines = ended.out.splitlines()
    rows = [re.split(" {2,}", line) for line in lines if line.startswith(("problem", "caution", "information", "good"))]
    assert len(rows) >= 8
    levels = [row[0] for row in rows]
    assert levels[0] == "problem"
    assert levels == sorted(levels, key=["problem", "caution", "information", "good"].index)
    assert "copy_of_train.png" in rows[0][2]
    assert "stands against training" in ended.out
    assert "Next, for a page with pictures: pellucid data inspect" in ended.out
    assert all(line == line.rstrip() for line in lines)


def test_unreadable_files_alone_give_exit_code_1(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(phantoms, tmp_path / "films"))
    (folder / "train/normal/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    ended = cli("data", "inspect", folder, "--json")
    assert ended.code == 1
    assert not [f for f in json.loads(ended.out)["findings"] if f["level"] == "problem"]


def test_page_and_document_are_written(cli: Cli, phantoms: Path, tmp_path: Path) -> None:
    ended = cli("data", "inspect", phantoms, "--out", tmp_path / "found", "--group-by", r"(patient\d+)", "--json")
    assert ended.code == 0
    document = json.loads((tmp_path / "found/inspection.json").read_text(encoding="utf-8"))
    assert document == json.loads(ended.out)
    assert document["grouping"]["known"]
    assert (tmp_path / "found/inspection.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_labels_are_checked_with_a_bundle_and_no_torch(cli: Cli, phantoms: Path, run: Path) -> None:
    pytest.importorskip("cleanlab")
    ended = cli("data", "inspect", phantoms, "--bundle", run, "--json")
    labels = json.loads(ended.out)["labels"]
    assert labels["features"] == f"features of the model in {run.name}"
    assert 0 < labels["area"]["low"] < labels["area"]["value"] < labels["area"]["high"] < 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere"], "There is no folder or CSV file"),
        (["DATA", "--positive", "ill"], "There is no class named 'ill'"),
        (["DATA", "--group-by", "z(q)"], "matches none of"),
        (["DATA", "--merge", "ill"], "write NAME="),
        (["DATA", "--bundle", "x", "--weights", "y"], "choose one"),
        (["DATA", "--bundle", "nowhere"], "nowhere"),
        (["DATA", "--backbone", "resnet18"], "--backbone resnet18 needs --weights"),
        (["DATA", "--weights", "nowhere.pth"], "There is no weights file nowhere.pth"),
        (["DATA", "--weights", "nowhere.pth", "--backbone", "mobilenet_v22"], "mobilenet_v2"),
    ],
)
def test_what_cannot_be_done_is_said(cli: Cli, phantoms: Path, options: list[str], words: str) -> None:
    ended = cli("data", "inspect", *(str(phantoms) if o == "DATA" else o for o in options))
    assert ended.code == 2
    assert ended.out == ""
    assert words in ended.err
    assert "Traceback" not in ended.err
