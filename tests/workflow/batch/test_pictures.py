from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.workflow.batch.conftest import GOOD, write_archive
from tests.workflow.batch.rows import rows_of

import pellucid
from pellucid.images import read_image
from pellucid.workflow.batch.job import read_job
from pellucid.workflow.batch.pictures import PICTURES
from pellucid.workflow.batch.run import predict_archive


def explained(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / PICTURES / "manifest.json").read_text(encoding="utf-8"))["images"]
    return found


def test_the_most_positive_are_drawn_first_one_first(model: Path, archive: Path, tmp_path: Path) -> None:
    summary = predict_archive(model, [str(archive)], tmp_path / "out", pictures="top:5", part_size=8)
    rows = sorted(rows_of(tmp_path / "out"), key=lambda r: (-r["p_bee"], r["index"]))
    records = explained(tmp_path / "out")
    assert summary.pictures == 5
    assert [r["path"] for r in records] == [r["path"] for r in rows[:5]]
    assert {r["target"] for r in records} == {"bee"}
    for record, row in zip(records, rows, strict=False):
        attribution = pellucid.load(model).explain(row["path"], target="bee")
        assert record["largest"] == pytest.approx(float(attribution.values.max()), rel=1e-4, abs=1e-7)
        drawn = read_image(tmp_path / "out" / PICTURES / record["files"]["overlay"])
        assert drawn.size == read_image(row["path"]).size


def test_the_most_uncertain_are_those_nearest_to_the_threshold(model: Path, archive: Path, tmp_path: Path) -> None:
    predict_archive(model, [str(archive)], tmp_path / "out", method="hirescam", pictures="uncertain:4")
    threshold = read_job(tmp_path / "out").threshold
    rows = sorted(rows_of(tmp_path / "out"), key=lambda r: abs(r["p_bee"] - threshold))
    assert [r["path"] for r in explained(tmp_path / "out")] == [r["path"] for r in rows[:4]]
    assert {r["method"] for r in explained(tmp_path / "out")} == {"hirescam"}


def test_several_classes_have_no_positive_one_so_the_doubtful_come_first(
    three_classes: Path, archive: Path, tmp_path: Path
) -> None:
    predict_archive(three_classes, [str(archive)], tmp_path / "out", pictures="top:6")
    rows = rows_of(tmp_path / "out")
    ordered = np.sort([[r[f"p_{c}"] for c in ("ant", "bee", "cat")] for r in rows], axis=1)
    margin = ordered[:, 2] - ordered[:, 1]
    expected = [rows[i]["path"] for i in np.argsort(margin, kind="stable")[:6]]
    assert [r["path"] for r in explained(tmp_path / "out")] == expected


def test_more_than_there_are_and_images_that_went_away(model: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", 9)
    assert predict_archive(model, [str(archive)], tmp_path / "out", pictures="top:100").pictures == 9
    (archive / "day0" / "film003.png").unlink()
    again = predict_archive(model, [str(archive)], tmp_path / "out", pictures="top:100", resume=True)
    assert again.pictures == 8
    assert len(list((tmp_path / "out" / PICTURES).glob("*-overlay.png"))) == 8


def test_pictures_of_members_of_an_archive(model: Path, archive: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "x"), "zip", archive)
    summary = predict_archive(model, [str(tmp_path / "x.zip")], tmp_path / "out", pictures="top:2")
    assert (summary.answered, summary.pictures) == (GOOD, 2)
    assert all(r["path"].startswith(f"{tmp_path}/x.zip/day") for r in explained(tmp_path / "out"))
