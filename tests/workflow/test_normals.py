"""Bad images among the normal ones, before anything is fitted: in `inspect_data`."""

from pathlib import Path

import numpy as np
import pytest
from tests.anomaly_images import defect, save, surface

from pellucid.errors import InputError
from pellucid.recipe import Recipe, load_recipe
from pellucid.reporting.inspection import render_inspection
from pellucid.workflow.inspection import FeatureSource, inspect_data


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe with a tiny network instead of a pretrained one."""
    overrides = ["data.size=64", "data.values=unit", "model.backbone=cnn", "model.weights=none", "model.filters=[8,16]"]
    recipe = load_recipe("one-class", overrides)
    monkeypatch.setattr("pellucid.workflow.inspection.load_recipe", lambda *given: recipe)
    return recipe


def test_bad_images_among_the_normal_ones_are_shown(small: Recipe, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for i in range(36):
        picture = defect(rng, surface(rng), "hole")[0] if i % 12 == 5 else surface(rng)
        save(picture, tmp_path / f"{i:02}.png")
    inspected = inspect_data(tmp_path, one_class=True)
    found = inspected.inspection
    assert found.classes == ("normal",)
    assert found.odd is not None
    assert found.odd.images == 36
    named = [image.path for image in found.odd.found]
    assert set(named) >= {"05.png", "17.png", "29.png"}
    assert len(named) <= 5
    assert [image.score for image in found.odd.found] == sorted((i.score for i in found.odd.found), reverse=True)
    finding = next(f for f in found.findings if f.topic == "Odd images")
    assert finding.level == "caution"
    assert named[0] in finding.text
    assert not any(f.topic in ("Labels", "Balance") for f in found.findings)
    page = render_inspection(found, inspected.measurements)
    assert "Are the normal images normal?" in page
    assert all(name in page for name in named)


def test_options_of_classes_are_refused(tmp_path: Path) -> None:
    save(surface(np.random.default_rng(0)), tmp_path / "a.png")
    with pytest.raises(InputError, match="normal or bad, and nothing else"):
        inspect_data(tmp_path, one_class=True, positive="bad")
    with pytest.raises(InputError, match="come from a backbone"):
        inspect_data(tmp_path, one_class=True, features=FeatureSource(bundle=tmp_path))
