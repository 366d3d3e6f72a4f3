"""A sealed test: no decision depends on it, and each use of its images is counted."""

from __future__ import annotations

import csv
import hashlib
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pellucid.bundle.run import RunFolder, SealedTest
from pellucid.data.manifest import read_split
from pellucid.data.phantom import generate_phantoms
from pellucid.reporting.html import build_report
from pellucid.reporting.verdict_on_training import seal_in_words
from pellucid.workflow.audit import audit_run
from pellucid.workflow.discovering_run import AuditSettings
from pellucid.workflow.evaluation import evaluate_run
from pellucid.workflow.training import train

SETTINGS = ["train.epochs=2", "data.size=32", "model.filters=[4, 6]", "model.head=[{dense=8}]"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "films"
    generate_phantoms(folder, images=200, size=48, seed=3)
    return folder


@pytest.fixture(scope="module")
def run(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "sealed"
    return train(films, recipe="scratch-cnn", out=out, overrides=SETTINGS, group_by=r"^(patient\d+)", sealed_test=True)


def seal_of(run: Path) -> SealedTest:
    seal = RunFolder(run).read_record().sealed
    assert seal is not None
    return seal


def test_it_is_opened_once_at_the_end_and_its_checksum_is_of_the_files(run: Path, films: Path) -> None:
    seal = seal_of(run)
    test = read_split(run / "split.csv", films).split("test")
    hashes = sorted(hashlib.sha256(test.file(s).read_bytes()).hexdigest() for s in test.samples)
    expected = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    assert (seal.images, seal.checksum) == (len(test), expected)
    assert [(o.by, o.images, o.checksum) for o in seal.openings] == [("train", len(test), expected)]
    assert not RunFolder(run).seal.exists()
    assert "opened 1 time:" in (run / "report.html").read_text(encoding="utf-8")


def test_no_decision_depends_on_the_labels_of_the_test(run: Path, films: Path, tmp_path: Path) -> None:
    """With every test label turned round, weights, best epoch, threshold and calibration stay as they are."""
    turned = tmp_path / "turned.csv"
    dataset = read_split(run / "split.csv", films)
    with turned.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split"])
        for sample in dataset.samples:
            label = 1 - sample.label if sample.split == "test" else sample.label
            table.writerow([dataset.file(sample).resolve(), dataset.classes[label], sample.split])
    other = train(
        turned, recipe="scratch-cnn", out=tmp_path / "other", overrides=SETTINGS, group_by=r"(patient\d+)",
        sealed_test=True,
    )  # fmt: skip
    first, second = (load_file(r / "model" / "weights.safetensors") for r in (run, other))
    assert all((first[name] == second[name]).all() for name in first)
    for path in (run, other):
        assert RunFolder(path).read_record().sealed is not None
    records = [RunFolder(r).read_record().training for r in (run, other)]
    assert records[0] is not None
    assert records[1] is not None
    assert records[0].best_epoch == records[1].best_epoch
    assert records[0].learning == records[1].learning


def test_each_later_use_is_counted_and_said(run: Path, films: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    evaluated = evaluate_run(copy)
    assert evaluated.sealed == seal_of(copy)
    assert "opened 2 times" in seal_in_words(seal_of(copy))
    evaluate_run(copy, split="val")
    assert len(seal_of(copy).openings) == 2  # validation images are not sealed
    audit_run(copy, settings=AuditSettings(images=20))
    assert [o.by for o in seal_of(copy).openings] == ["train", "evaluate", "audit"]
    # The same files under other names, beside others: counted, as far as they are the sealed ones.
    test = read_split(copy / "split.csv", films).split("test")
    for sample in (s for label in (0, 1) for s in [s for s in test.samples if s.label == label][:3]):
        target = tmp_path / "other" / test.classes[sample.label] / f"renamed-{Path(sample.path).name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(test.file(sample), target)
    evaluate_run(copy, tmp_path / "other")
    assert (seal_of(copy).openings[-1].by, seal_of(copy).openings[-1].images) == ("evaluate", 6)
    build_report(copy)
    assert "opened 4 times" in (copy / "report.html").read_text(encoding="utf-8")


def test_a_run_without_a_seal_counts_nothing(films: Path, tmp_path: Path) -> None:
    plain = train(films, recipe="scratch-cnn", out=tmp_path / "plain", overrides=SETTINGS, group_by=r"^(patient\d+)")
    assert evaluate_run(plain).sealed is None
    assert RunFolder(plain).read_record().sealed is None


def test_an_opening_counts_although_the_training_is_interrupted_after_it(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    wanted = {"recipe": "scratch-cnn", "out": tmp_path / "run", "overrides": SETTINGS, "group_by": r"^(patient\d+)"}
    with monkeypatch.context() as patch:
        patch.setattr("pellucid.workflow.training.explain_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(films, sealed_test=True, **wanted)  # type: ignore[arg-type]
    run = train(films, sealed_test=True, resume=True, **wanted)  # type: ignore[arg-type]
    assert [o.by for o in seal_of(run).openings] == ["train", "train"]
