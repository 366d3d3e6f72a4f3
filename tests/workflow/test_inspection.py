"""The whole audit, on phantoms whose truth is known, and with features of real networks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.audit_samples import about, write_folder

from pellucid.data.inspection import Inspection
from pellucid.data.phantom import Shortcut, generate_phantoms
from pellucid.errors import DataError, InputError, WeightsError
from pellucid.workflow.inspection import FeatureSource, inspect_data


def phantoms(out: Path, seed: int, *shortcuts: Shortcut, images: int = 120, size: int = 48) -> Path:
    generate_phantoms(out, images=images, size=size, seed=seed, shortcuts=shortcuts)
    return out


def alarms(inspection: Inspection) -> list[str]:
    return [f"{f.topic}: {f.text}" for f in inspection.findings if f.level in ("problem", "caution")]


@pytest.mark.parametrize("seed", range(10))
def test_clean_phantoms_raise_no_alarm(tmp_path: Path, seed: int) -> None:
    found = inspect_data(phantoms(tmp_path / "films", seed), group_by=r"(patient\d+)").inspection
    assert alarms(found) == []
    assert not found.serious


@pytest.mark.parametrize("kind", ["corner-tag", "border", "blur"])
def test_planted_shortcuts_are_found(tmp_path: Path, kind: str) -> None:
    folder = phantoms(tmp_path / "films", 1, Shortcut.parse(f"{kind}=0.95"))
    found = inspect_data(folder, group_by=r"(patient\d+)").inspection
    assert found.serious
    (finding,) = about(found, "Shortcut")
    assert finding.level == "problem"
    assert found.metadata is not None
    leading = {
        "corner-tag": {"corner_top_left"},
        "border": {"border_brightness", "border_contrast"},
        "blur": {"sharpness", "bytes_per_pixel"},
    }
    assert found.metadata.measures[0].name in leading[kind]


def test_groups_are_guessed_from_names_and_keep_films_of_a_patient_together(tmp_path: Path) -> None:
    folder = phantoms(tmp_path / "films", 2)
    guessed, known = inspect_data(folder).inspection, inspect_data(folder, group_by=r"(patient\d+)").inspection
    assert guessed.grouping is not None
    assert known.grouping is not None
    assert (guessed.grouping.known, guessed.grouping.pattern) == (False, r"^(patient\d+)")
    assert (known.grouping.known, known.grouping.pattern) == (True, None)
    assert guessed.grouping.groups == known.grouping.groups
    assert guessed.metadata == known.metadata
    assert guessed.metadata is not None
    assert guessed.metadata.units == guessed.grouping.groups
    assert [f.level for f in about(guessed, "Groups")] == ["caution"]
    train = min((folder / "train/normal").iterdir())
    shutil.copy(train, folder / "test/opacity" / train.name.replace("_", "_9"))
    leaked = inspect_data(folder).inspection
    assert "1 group is in more than one split" in about(leaked, "Groups")[0].text
    assert about(inspect_data(folder, group_by=r"(patient\d+)").inspection, "Groups")[0].level == "problem"


def test_options_reach_the_dataset(tmp_path: Path) -> None:
    write_folder(tmp_path / "data", sizes={"train": 12})
    shutil.copytree(tmp_path / "data/train/ill", tmp_path / "data/train/worse")
    found = inspect_data(tmp_path / "data", merge={"bad": ["ill", "worse"]}, positive="normal").inspection
    assert (found.classes, found.positive) == (("bad", "normal"), "normal")
    assert len(found.identical) == 12
    with pytest.raises(DataError, match="no folder or CSV"):
        inspect_data(tmp_path / "nowhere")


def test_features_that_cannot_be_had_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(WeightsError, match="no weights file"):
        inspect_data(tmp_path / "nowhere", features=FeatureSource("mobilenet_v2", str(tmp_path / "none.pth")))
    with pytest.raises(InputError, match="`backbone=mobilenet_v2` needs `weights=`"):
        inspect_data(tmp_path / "nowhere", features=FeatureSource("mobilenet_v2"))


@pytest.fixture
def discs(tmp_path: Path) -> tuple[Path, set[str]]:
    """Discs and crosses, of which three of each are filed as the other."""
    rng, wrong = np.random.default_rng(0), set()
    yy, xx = np.mgrid[:48, :48]
    for i in range(60):
        for kind in ("cross", "disc"):
            y, x = rng.integers(16, 32, 2)
            disc = (yy - y) ** 2 + (xx - x) ** 2 < 100
            cross = ((abs(yy - y) < 3) | (abs(xx - x) < 3)) & (abs(yy - y) + abs(xx - x) < 20)
            shape = disc if kind == "disc" else cross
            pixels = np.clip(60 + 120 * shape + rng.normal(0, 12, (48, 48)), 0, 255).astype(np.uint8)
            filed = kind if i >= 3 else {"cross": "disc", "disc": "cross"}[kind]
            path = tmp_path / "shapes" / filed / f"{kind[0]}{rng.integers(1 << 50):x}z.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(pixels).save(path)
            if i < 3:
                wrong.add(f"{filed}/{path.name}")
    return tmp_path / "shapes", wrong


def test_labels_are_checked_by_a_backbone_with_its_weights(
    discs: tuple[Path, set[str]], shared_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("cleanlab")
    monkeypatch.setenv("PELLUCID_CACHE", str(tmp_path / "cache"))
    weights = shared_data.parent / "weights" / "mobilenet_v2-imagenet.safetensors"
    folder, wrong = discs
    found = inspect_data(folder, features=FeatureSource("mobilenet_v2", str(weights))).inspection
    assert found.labels is not None
    assert found.labels.features == "features of mobilenet_v2"
    assert found.labels.area.value > 0.9
    assert {s.path for s in found.labels.suspects} == wrong
    assert about(found, "Labels")[0].level == "caution"
    again = inspect_data(folder, features=FeatureSource("mobilenet_v2", str(weights))).inspection
    assert again == found
