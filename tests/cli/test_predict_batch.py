"""`pellucid predict --out` and `pellucid doctor --tune` as they are typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.cli.conftest import Cli
from tests.cli.test_wrong_input import refused


def test_a_batch_says_what_predict_says(cli: Cli, run: Path, phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ended = cli("predict", run, phantoms / "test", "--out", out, "--json", "--part-size", 20)
    summary = json.loads(ended.out)
    alone = json.loads(cli("predict", run, phantoms / "test", "--json").out)
    rows = {row["path"]: row for path in sorted(out.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()}
    assert ended.code == 0
    assert summary["answered"] == len(alone) == len(rows)
    for expected in alone:
        row = rows[str(Path(expected["path"]).absolute())]
        assert row["decision"] == expected["label"]
        assert row["p_opacity"] == pytest.approx(expected["probabilities"]["opacity"], abs=1e-6)
        assert row["warnings"] == expected["warnings"]
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == summary


def test_bad_files_are_listed_and_the_exit_code_is_1(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    ended = cli("predict", run, tmp_path / "bad.png", *films, "--out", tmp_path / "out", "--explain", "grad-cam")
    assert ended.code == 1
    assert f"{len(films)} of {len(films) + 1} images classified" in ended.out
    assert "skipped.csv" in ended.err
    assert "bad.png" in (tmp_path / "out" / "skipped.csv").read_text(encoding="utf-8")
    again = cli(
        "predict", run, tmp_path / "bad.png", *films, "--out", tmp_path / "out", "--explain", "grad-cam", "--resume"
    )
    assert again.code == 1
    assert "nothing was computed again" in again.out


def test_pictures_lie_in_a_folder_of_their_own(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    ended = cli("predict", run, *films, "--out", tmp_path / "out", "--pictures", "top:2")
    assert ended.code == 0
    assert "2 pictures" in ended.out
    assert len(list((tmp_path / "out" / "pictures").glob("*-overlay.png"))) == 2


def test_wrong_use_is_one_sentence(cli: Cli, run: Path, films: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(cli("predict", run, *films, "--explain", "grad-cam"), "--out")
    refused(cli("predict", run, *films, "--resume"), "--out")
    refused(cli("predict", run, *films, "--out", out, "--csv"), "--csv")
    refused(cli("predict", run, *films, "--out", out, "--engine", "rya"), "ray")
    refused(cli("predict", run, *films, "--out", out, "--explain", "grad-camm"), "grad-cam")
    refused(cli("predict", run, *films, "--out", out, "--pictures", "best"), "top:100")
    refused(cli("predict", run, *films, "--out", out, "--address", "auto"), "--engine ray")
    refused(cli("predict", run, *films, "--out", out, "--engine", "ray", "--address", "auto"), "--workers")
    refused(cli("predict", run, tmp_path / "none", "--out", out), "none")
    assert cli("predict", run, films[0], "--out", tmp_path / "done").code == 0
    refused(cli("predict", run, films[0], "--out", tmp_path / "done"), "--resume")
    refused(cli("predict", run, films[1], "--out", tmp_path / "done", "--resume"), "source")
    changed = Path(shutil.copytree(run / "model", tmp_path / "model"))
    text = (changed / "manifest.json").read_text(encoding="utf-8")
    (changed / "manifest.json").write_text(text + "\n", encoding="utf-8")
    refused(cli("predict", changed, films[0], "--out", tmp_path / "done", "--resume"), "another model", "manifest.json")


def test_tuning_is_kept_and_taken(
    cli: Cli, run: Path, films: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.workflow.batch import tune
    from pellucid.workflow.batch.local import Workforce

    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    few = [tune.Tuning(batch=5, force=Workforce(3))]
    monkeypatch.setattr(tune, "_candidates", lambda number: iter(few))
    ended = cli("doctor", "--tune", run, "--json")
    assert ended.code == 0
    (found,) = json.loads(ended.out)
    assert (found["batch"], found["force"]["workers"], found["measured"]) == (5, 3, True)
    assert found["rate"] > 0
    summary = json.loads(cli("predict", run, *films, "--out", tmp_path / "out", "--json").out)
    assert summary["workers"] == 3
    assert json.loads((tmp_path / "out" / "job.json").read_text(encoding="utf-8"))["batch"] == 5
    monkeypatch.setenv("PELLUCID_CACHE", "")
    refused(cli("doctor", "--tune", run), "PELLUCID_CACHE")
    refused(cli("doctor", "--tune", tmp_path / "nowhere"), "nowhere")
