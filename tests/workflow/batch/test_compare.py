from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sklearn.metrics import cohen_kappa_score
from tests.workflow.batch.conftest import GOOD, write_archive
from tests.workflow.batch.rows import rows_of

from pellucid.errors import InputError
from pellucid.evaluation.comparison import Comparison
from pellucid.workflow.batch.compare import compare_batches, write_comparison
from pellucid.workflow.batch.parts import part_path
from pellucid.workflow.batch.run import predict_archive


def test_two_models_on_the_same_images(model: Path, other_model: Path, archive: Path, tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    predict_archive(model, [str(archive)], a)
    # The same pictures under other names, in another order, one of them twice.
    copies = tmp_path / "copies"
    copies.mkdir()
    for i, path in enumerate(sorted(archive.glob("day*/film*.png"), reverse=True)):
        shutil.copy(path, copies / f"{i:03d}.png")
    shutil.copy(copies / "000.png", copies / "zzz.png")
    predict_archive(other_model, [str(copies)], b)
    found, pictures = compare_batches(a, b)
    first = {r["sha256"]: r for r in rows_of(a)}
    second = {r["sha256"]: r for r in rows_of(b)}
    pairs = [(first[key], second[key]) for key in first]
    flipped = [(x, y) for x, y in pairs if x["decision"] != y["decision"]]
    assert 0 < len(flipped) < GOOD
    assert found.agreement is not None
    assert found.agreement.images == GOOD
    assert found.agreement.same.value == pytest.approx(1 - len(flipped) / GOOD)
    kappa = cohen_kappa_score([x["decision"] for x, _ in pairs], [y["decision"] for _, y in pairs])
    assert found.agreement.kappa == pytest.approx(kappa)
    assert found.agreement.shift == pytest.approx(sum(abs(y["p_bee"] - x["p_bee"]) for x, y in pairs) / GOOD)
    assert found.flipped == len(flipped)
    expected = sorted(flipped, key=lambda p: -abs(p[1]["p_bee"] - p[0]["p_bee"]))
    assert [(f.path_a, f.a, f.b) for f in found.flips] == [
        (x["path"], x["decision"], y["decision"]) for x, y in expected
    ]
    assert [f.change for f in found.flips] == pytest.approx([y["p_bee"] - x["p_bee"] for x, y in expected])
    for flip in found.flips[: len(pictures)]:
        assert pictures[flip.sha256] == Path(flip.path_a).read_bytes()
    assert not found.same_model
    assert all(drift.probability is None for drift in found.drifts)


def test_two_archives_by_one_model_show_their_drift(model: Path, tmp_path: Path) -> None:
    old = write_archive(tmp_path / "old", 120)
    predict_archive(model, [str(old)], tmp_path / "a")
    chosen = tmp_path / "new"
    chosen.mkdir()
    rows = rows_of(tmp_path / "a")
    for i, path in enumerate(sorted(write_archive(tmp_path / "pool", 240, first_seed=1000).glob("day*/film*.png"))):
        shutil.copy(path, chosen / f"{i}.png")
    predict_archive(model, [str(chosen)], tmp_path / "pool-out")
    # Only what the model finds likely to be bees comes in the second month.
    middle = sorted(r["p_bee"] for r in rows)[len(rows) // 2]
    for row in rows_of(tmp_path / "pool-out"):
        if row["p_bee"] < middle:
            Path(row["path"]).unlink()
    predict_archive(model, [str(chosen)], tmp_path / "b")
    found, _ = compare_batches(tmp_path / "a", tmp_path / "b")
    score = next(d for d in found.drifts if d.what == "score")
    assert found.agreement is None
    assert score.level == "problem"
    assert score.distance > 0.4
    assert "score" in found.verdict
    again, _ = compare_batches(tmp_path / "a", tmp_path / "a")
    assert again.same_model
    assert again.flipped == 0
    assert again.verdict.startswith("Nothing")


def test_models_of_different_classes(model: Path, three_classes: Path, archive: Path, tmp_path: Path) -> None:
    predict_archive(model, [str(archive)], tmp_path / "a")
    predict_archive(three_classes, [str(archive)], tmp_path / "b")
    found, _ = compare_batches(tmp_path / "a", tmp_path / "b")
    assert [m.name for m in found.mix] == ["ant", "bee", "cat"]
    assert found.mix[2].a.value == 0
    assert [d.what for d in found.drifts] == ["class mix"]
    assert all(flip.change is None for flip in found.flips)


def test_the_page_and_the_document(model: Path, other_model: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "<b>archive", 30)
    predict_archive(model, [str(archive)], tmp_path / "a")
    predict_archive(other_model, [str(archive)], tmp_path / "b")
    found, pictures = compare_batches(tmp_path / "a", tmp_path / "b")
    page = write_comparison(tmp_path / "out", found, pictures)
    text = page.read_text(encoding="utf-8")
    assert text.count('src="data:image/jpeg') == len(pictures)
    assert "<b>archive" not in text
    assert "http" not in text.replace("http-equiv", "")
    document = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert Comparison.model_validate(document) == found


def test_changed_and_vanished_originals_are_not_shown(model: Path, other_model: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", 30)
    for name, chosen in (("a", model), ("b", other_model)):
        predict_archive(chosen, [str(archive)], tmp_path / name)
    found, pictures = compare_batches(tmp_path / "a", tmp_path / "b")
    assert len(pictures) > 2
    Path(found.flips[0].path_a).unlink()
    shutil.copy(found.flips[2].path_a, found.flips[1].path_a)
    _, fewer = compare_batches(tmp_path / "a", tmp_path / "b")
    assert {f.sha256 for f in found.flips[:2]} & fewer.keys() == set()


def test_folders_that_cannot_be_compared(model: Path, archive: Path, tmp_path: Path) -> None:
    predict_archive(model, [str(archive)], tmp_path / "a", part_size=10)
    with pytest.raises(InputError, match=r"job\.json"):
        compare_batches(tmp_path / "a", archive)
    part_path(tmp_path / "a", 1).unlink()
    with pytest.raises(InputError, match="unfinished, 33 of 43"):
        compare_batches(tmp_path / "a", tmp_path / "a")
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "x.png").write_bytes(b"no")
    predict_archive(model, [str(bad)], tmp_path / "b")
    with pytest.raises(InputError, match="no answers"):
        compare_batches(tmp_path / "b", tmp_path / "b")
