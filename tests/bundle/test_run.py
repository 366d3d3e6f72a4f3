"""Where a run keeps its things, and what is no run."""

import json
from pathlib import Path

import pytest

from pellucid.bundle.run import DataRecord, RunFolder, RunRecord, TrainingRecord, find_bundle
from pellucid.errors import BundleError


def record() -> RunRecord:
    return RunRecord(
        name="a run",
        created="2026-01-01T00:00:00+00:00",
        command=("pellucid", "train", "dät a"),
        seed=3,
        recipe="small",
        versions={"python": "3.11"},
        hardware={"cpu": "two cores"},
        data=DataRecord(source="data", images=3, checksum="0" * 64, counts={"train": {"ant": 1, "bee": 2}}),
        training=TrainingRecord(
            epochs=2, best_epoch=1, monitor="val_loss", best_value=0.1, seconds=1.0, ended="done",
            parameters=10, trainable_parameters=4,
        ),
    )  # fmt: skip


def test_a_record_is_read_as_it_was_written(tmp_path):
    (tmp_path / "run.json").write_text(record().model_dump_json(), encoding="utf-8")
    assert RunFolder(tmp_path).read_record() == record()


def test_a_folder_without_a_record_is_no_run(tmp_path):
    with pytest.raises(BundleError, match=r"is not a run folder: it has no run\.json\. Give the folder that"):
        RunFolder(tmp_path).read_record()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": 3}', "[" * 100_000])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(BundleError, match=r"run\.json cannot be read as a run record"):
        RunFolder(tmp_path).read_record()


def test_an_unknown_key_is_not_passed_over(tmp_path):
    document = {**json.loads(record().model_dump_json()), "surprise": 1}
    (tmp_path / "run.json").write_text(json.dumps(document))
    with pytest.raises(BundleError, match="surprise"):
        RunFolder(tmp_path).read_record()


def test_a_run_and_a_bundle_both_lead_to_the_bundle(exported_bundle, tmp_path):
    assert find_bundle(exported_bundle) == exported_bundle
    run = RunFolder(tmp_path / "run")
    run.bundle.mkdir(parents=True)
    (run.bundle / "manifest.json").touch()
    assert find_bundle(run.root) == run.bundle


@pytest.mark.parametrize("kind", ["no folder", "an empty folder", "a file", "an interrupted run"])
def test_what_holds_no_model_is_refused_in_one_sentence(tmp_path, kind):
    path: Path = tmp_path / "run"
    if kind in {"an empty folder", "an interrupted run"}:
        path.mkdir()
    if kind == "a file":
        path.write_text("x")
    if kind == "an interrupted run":
        (path / "checkpoints").mkdir()
        (path / "model").mkdir()
    with pytest.raises(BundleError) as caught:
        find_bundle(path)
    said = str(caught.value)
    assert str(path) in said
    assert ("There is no folder" in said) == (kind == "no folder")
    assert ("contains no model: it has neither manifest.json nor model/manifest.json" in said) == (kind != "no folder")
