from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.audit_samples import look, save, write_folder

from pellucid.data.inspection import AreaEntry, Inspection, MeasureEntry
from pellucid.data.statistics import ImageMeasurements
from pellucid.reporting.inspection_pictures import (
    SIDE,
    averages,
    difference,
    effect_size,
    ends_of,
    leading,
    picture_of,
    spread_figure,
    spread_figures,
)


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inspection, ImageMeasurements]:
    def brighter(path: Path, pixels: np.ndarray, ill: bool) -> None:
        save(path.with_suffix(".png"), np.clip(pixels.astype(int) + 40 * ill, 0, 255).astype(np.uint8))

    return look(
        write_folder(tmp_path_factory.mktemp("pictures") / "data", brighter, sizes={"train": 20}), metadata=True
    )


def decoded(address: str) -> PIL.Image.Image:
    kind, _, data = address.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_is_the_file_made_small(tmp_path: Path) -> None:
    pixels = np.zeros((400, 800, 3), np.uint8)
    pixels[:, 400:] = (200, 100, 50)
    picture = decoded(picture_of(save(tmp_path / "x.png", pixels)))
    assert picture.size == (SIDE, SIDE // 2)
    np.testing.assert_allclose(np.asarray(picture)[72, 240], (200, 100, 50), atol=4)
    small = decoded(picture_of(save(tmp_path / "y.png", pixels[:10, :20])))
    assert small.size == (20, 10)
    (tmp_path / "bad.png").write_bytes(b"nothing")
    assert picture_of(tmp_path / "bad.png") == picture_of(tmp_path / "gone.png") == ""


def test_averages_are_those_of_the_classes(looked: tuple[Inspection, ImageMeasurements]) -> None:
    _, found = looked
    shown = averages(found)
    assert [a.title for a in shown] == ["normal", "ill"]
    for average, mean in zip(shown, found.means, strict=True):
        np.testing.assert_allclose(np.asarray(decoded(average.picture)), mean, atol=0.51)


def test_the_difference_is_cohens_d(looked: tuple[Inspection, ImageMeasurements]) -> None:
    _, found = looked
    normal, ill = (
        np.stack(
            [
                np.asarray(PIL.Image.open(io.BytesIO((found.dataset.root / s.path).read_bytes())).resize((96, 96), 4))
                for s in found.dataset.samples
                if s.label == k
            ]
        ).astype(float)
        for k in (0, 1)
    )
    expected = (ill.mean(axis=0) - normal.mean(axis=0)) / np.sqrt((ill.var(axis=0) + normal.var(axis=0)) / 2 + 1)
    np.testing.assert_allclose(effect_size(found), expected, atol=0.02)
    picture = difference(found)
    assert picture is not None
    assert picture.title == "ill less normal"
    red, _, blue = np.asarray(decoded(picture.picture)).astype(int).transpose(2, 0, 1)
    assert (red > blue)[expected > 0.3].all()
    three = replace(found, dataset=replace(found.dataset, classes=("a", "b", "c")))
    assert difference(three) is None


def test_the_ends_of_a_measure(looked: tuple[Inspection, ImageMeasurements]) -> None:
    _, found = looked
    values = found.values["brightness"]
    low, high = ends_of(found, "brightness", 3)
    assert values[low].tolist() == sorted(values)[:3]
    assert values[high].tolist() == sorted(values, reverse=True)[:3]
    assert ends_of(found, "jpeg_quality") == ([], [])


def test_only_measures_that_tell_something_are_drawn(looked: tuple[Inspection, ImageMeasurements]) -> None:
    inspection, found = looked
    names = [m.name for m in leading(inspection, found)]
    assert names[0] in ("brightness", "border_brightness")
    assert inspection.metadata is not None
    assert len(names) < len(inspection.metadata.measures)
    figures = list(spread_figures(inspection, found, most=1))
    assert len(figures) == 1
    assert "ill images are brighter" in figures[0].finding
    assert list(spread_figures(inspection.model_copy(update={"metadata": None}), found)) == []


def test_a_spread_shows_the_share_of_each_class() -> None:
    rng = np.random.default_rng(0)
    labels = ["a"] * 300 + ["b"] * 100
    values = np.concatenate([rng.normal(0, 1, 300), rng.normal(3, 1, 100)])
    area = AreaEntry(value=0.98, low=0.97, high=0.99)
    entry = MeasureEntry(
        name="x", title="Width", unit="px", family="file", label="b", area=area, sentence="b images are wider"
    )
    figure = spread_figure(entry, values, labels, ("a", "b"))
    upper, lower = figure.axes
    assert [axes.get_title(loc="left") for axes in (upper, lower)] == ["a, n = 300", "b, n = 100"]
    for axes, mine in ((upper, values[:300]), (lower, values[300:])):
        # All but the outermost half per cent of the images at either end are drawn.
        assert sum(patch.get_height() for patch in axes.patches) == pytest.approx(1, abs=0.03)
        assert axes.lines[0].get_xdata()[0] == np.median(mine)
    assert lower.get_xlabel() == "width, px"
    assert figure.get_suptitle().replace("\n", " ") == "b images are wider; alone, AUC 0.980"
    many = spread_figure(entry, values, labels, ("a", "b", "c"))
    assert [axes.get_title(loc="left") for axes in many.axes] == ["b, n = 100", "the rest, n = 300"]
