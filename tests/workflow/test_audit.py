"""The audit end to end: a model that took a planted shortcut is caught, one that had none is not."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.phantom import Shortcut, generate_phantoms
from pellucid.errors import DataError, InputError
from pellucid.evaluation.audit import AuditDocument
from pellucid.workflow.audit import _subgroups, audit_run
from pellucid.workflow.discovering_run import AuditSettings, answer_concept

GROUP_BY = r"^(patient\d+)"


def checksums(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def timeless(found: AuditDocument) -> AuditDocument:
    """The document without when it was made, and how long the search took."""
    assert found.discovered is not None
    discovered = found.discovered.model_copy(update={"seconds": 0.0})
    return found.model_copy(update={"created": "", "discovered": discovered})


def trained(folder: Path, *shortcuts: Shortcut) -> Path:
    from pellucid.workflow.training import train

    generate_phantoms(folder / "films", images=240, size=64, seed=1, shortcuts=shortcuts)
    settings = [
        "train.epochs=6",
        "data.size=64",
        "model.filters=[8, 12, 16]",
        "augment.flip=false",
        "train.batch_size=8",
    ]
    return train(folder / "films", recipe="phantom", out=folder / "run", overrides=settings, group_by=GROUP_BY)


@pytest.fixture(scope="module")
def cheat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on films whose upper left corner has a letter that agrees with the class."""
    return trained(tmp_path_factory.mktemp("cheat"), Shortcut("corner-tag", 0.95))


def test_a_planted_shortcut_raises_the_alarm_and_its_corner_is_named(cheat: Path) -> None:
    found, folder = audit_run(cheat)
    assert found.serious
    assert "top left corner" in found.verdict
    corner = next(r for r in found.regions if r.region == "top left corner")
    assert corner.alone.low > 0.75
    assert corner.lost.low > 0.1
    others = [r for r in found.regions if r.region.endswith("corner") and r is not corner]
    assert all(r.alone.low < 0.6 for r in others)
    assert found.metadata is not None
    assert "top left corner" in found.metadata.strongest[0]
    assert AuditDocument.model_validate_json((folder / "audit.json").read_bytes()) == found


def test_what_the_model_goes_by_is_found_without_masks_shown_and_answered_for(cheat: Path, tmp_path: Path) -> None:
    before = checksums(cheat / "model")
    found, folder = audit_run(cheat, out=tmp_path, settings=AuditSettings(discover=True))
    assert found.discovered is not None
    first = found.discovered.concepts[0]
    assert first.label == "opacity"
    assert first.effect is not None
    assert first.effect.proven
    assert np.mean([p.y < 0.3 and p.x < 0.3 for p in first.patches]) > 0.8
    assert first.position == "one place"
    assert (folder / str(first.gallery)).is_file()
    assert any(first.name in f.text for f in found.findings if f.level == "problem")
    judged, _ = answer_concept(cheat, first.name, "the side marker", belongs=False, out=tmp_path)
    assert any("the side marker" in f.text for f in judged.findings if f.level == "problem")
    judged, _ = answer_concept(cheat, first.name, "an opacity", belongs=True, out=tmp_path)
    assert not any(first.name in f.text and f.level != "good" for f in judged.findings)
    # The answer outlives another audit of the same model.
    again, _ = audit_run(cheat, out=tmp_path, settings=AuditSettings(discover=True))
    assert again.discovered is not None
    assert again.discovered.concepts[0].answer is not None
    assert again.discovered.concepts[0].answer.words == "an opacity"
    assert checksums(cheat / "model") == before


def test_answers_need_a_concept_of_an_audit(cheat: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="run the audit first"):
        answer_concept(cheat, "concept-1", "x", belongs=True, out=tmp_path / "none")
    audit_run(cheat, out=tmp_path, settings=AuditSettings(discover=False))
    with pytest.raises(InputError, match="found no concepts"):
        answer_concept(cheat, "concept-1", "x", belongs=True, out=tmp_path)


def test_too_few_images_are_told(cheat: Path, tmp_path: Path) -> None:
    found, _ = audit_run(cheat, out=tmp_path, settings=AuditSettings(images=20, discover=True))
    assert found.discovered is not None
    assert not found.discovered.concepts
    assert "at least 12 of each" in found.discovered.left_out["opacity"]


def test_figures_are_those_of_the_evaluation(cheat: Path) -> None:
    from pellucid.evaluation.schema import read_evaluation

    found, _ = audit_run(cheat)
    known = read_evaluation(cheat / "evaluation")
    assert found.images == len(known.labels)
    assert found.accuracy.value == pytest.approx(known.metrics["accuracy"].value)
    assert found.area.value == pytest.approx(known.metrics["roc_auc"].value)


def test_the_same_seed_draws_the_same_images(cheat: Path, tmp_path: Path) -> None:
    settings = AuditSettings(images=40, seed=3)
    found = [audit_run(cheat, settings=settings, out=tmp_path / name)[0] for name in "ab"]
    assert timeless(found[0]) == timeless(found[1])
    assert (found[0].images, found[0].sampled_from) == (40, len(list((cheat.parent / "films" / "test").rglob("*.png"))))


def test_masks_of_a_folder_replace_those_found(cheat: Path, tmp_path: Path) -> None:
    found, _ = audit_run(cheat, settings=AuditSettings(masks=cheat.parent / "films" / "masks" / "lungs"), out=tmp_path)
    own, _ = audit_run(cheat, out=tmp_path / "own")
    assert found.masks is not None
    assert own.masks is not None
    assert found.masks.images > own.masks.images
    # Lungs are large, opacities are small.
    assert found.masks.chance > 2 * own.masks.chance


def test_subgroups_by_pattern(cheat: Path, tmp_path: Path) -> None:
    found, _ = audit_run(cheat, settings=AuditSettings(subgroup=r"_0(1|2)"), out=tmp_path)
    assert {s.name for s in found.subgroups} == {"1", "2"}
    assert any(f.topic == "Subgroups" for f in found.findings)


def test_subgroups_by_a_column_of_the_csv(tmp_path: Path) -> None:
    rows = ["a.png,x,north", "b.png,y,south", "c.png,x,"]
    (tmp_path / "list.csv").write_text("path,label,hospital\n" + "\n".join(rows) + "\n", encoding="utf-8")
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    dataset = Dataset(tmp_path, ("x", "y"), tuple(Sample(f"{n}.png", i) for n, i in (("c", 0), ("a", 0), ("b", 1))))
    assert _subgroups(dataset, tmp_path / "list.csv", "hospital") == ["", "north", "south"]
    assert _subgroups(dataset, tmp_path / "list.csv", "(a|b)") == ["", "a", "b"]


def test_wrong_input_is_one_sentence(cheat: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for settings in (AuditSettings(masks=tmp_path / "masks"), AuditSettings(masks=tmp_path / "none")):
        with pytest.raises(InputError, match="mask"):
            audit_run(cheat, settings=settings)
    with pytest.raises(InputError, match="tells no subgroups apart"):
        audit_run(cheat, settings=AuditSettings(subgroup="zzz"))
    one = tmp_path / "one" / "opacity"
    shutil.copytree(cheat.parent / "films" / "test" / "opacity", one)
    (tmp_path / "one" / "normal").mkdir()
    (tmp_path / "one" / "normal" / "broken.png").write_bytes(b"no image")
    found, _ = audit_run(cheat, tmp_path / "one", out=tmp_path / "out")
    assert (found.area, found.absent) == (None, ("normal",))
    shutil.rmtree(one)
    with pytest.raises(DataError):
        audit_run(cheat, tmp_path / "one", out=tmp_path / "none")


@pytest.mark.slow
def test_a_clean_model_raises_no_alarm(tmp_path: Path) -> None:
    found, _ = audit_run(trained(tmp_path))
    edges = [r for r in found.regions if r.region != "centre"]
    assert not [f for f in found.findings if f.topic in {"Shortcut", "Metadata"} and f.level != "good"]
    assert np.median([r.alone.value for r in edges]) < 0.6
