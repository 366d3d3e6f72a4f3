"""Regions and their probes, on scorers whose only source of knowledge is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from pellucid.evaluation.regions import CORNERS, average_picture, hide, probed_regions
from pellucid.evaluation.shortcuts import RegionProbe, Scores, probe_regions
from pellucid.preprocessing import Uint8Array

SIDE, N = 40, 120


def pictures(seed: int = 0) -> tuple[Uint8Array, npt.NDArray[np.int64]]:
    """Noise in which the bottom left corner is brighter for class 1, and the middle a little brighter."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], N // 2)
    pixels = rng.integers(60, 120, (N, SIDE, SIDE, 3))
    pixels[labels == 1, -6:-2, 2:6] += 60
    pixels[labels == 1, 15:25, 15:25] += 8
    return pixels.astype(np.uint8), labels


def looking_at(rows: slice, columns: slice, cut: float) -> object:
    def scorer(pixels: Uint8Array) -> Scores:
        values = pixels[:, rows, columns].mean(axis=(1, 2, 3), dtype=np.float64)
        return Scores(values[:, None], (values > cut).astype(np.int64))

    return scorer


def probes_of(scorer: object) -> dict[str, RegionProbe]:
    pixels, labels = pictures()
    regions = probed_regions(SIDE, SIDE)
    found = probe_regions(scorer, pixels, scorer(pixels), labels, np.arange(N), regions, lambda done, total: None)  # type: ignore[operator,arg-type]
    return {probe.region: probe for probe in found}


def test_regions_do_not_overlap_and_lie_where_they_say() -> None:
    regions = {r.name: r for r in probed_regions(50, 100)}
    assert sum(r.mask.astype(int) for r in regions.values()).max() == 1
    rows, columns = np.nonzero(regions["bottom left corner"].mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (40, 49, 0, 19)
    assert regions["top right corner"].share == pytest.approx(0.04)
    assert regions["centre"].share == pytest.approx(0.36)
    border = regions["border"].mask
    assert border[0, 50]
    assert border[25, 99]
    assert not border[0, 0]
    assert not border[25, 50]


def test_what_is_hidden_says_nothing_of_the_picture() -> None:
    pixels, _ = pictures()
    region = probed_regions(SIDE, SIDE)[0]
    hidden = hide(pixels, region.mask, average_picture(pixels))
    assert np.unique(hidden[:, region.mask].reshape(N, -1), axis=0).shape[0] == 1
    assert np.array_equal(hidden[:, ~region.mask], pixels[:, ~region.mask])
    assert average_picture(pixels, chunk=7) == pytest.approx(pixels.mean(axis=0), abs=1e-3)


def test_a_model_that_looks_at_a_corner_is_told_by_that_corner_and_no_other() -> None:
    found = probes_of(looking_at(slice(-8, None), slice(0, 8), 95))
    corner = found["bottom left corner"]
    assert corner.alone.value == 1
    # Hidden, all pictures look the same to it: a guess.
    assert corner.lost.value == pytest.approx(0.5)
    assert corner.changed == pytest.approx(0.5)
    for name in {*CORNERS, "border", "centre"} - {"bottom left corner"}:
        assert found[name].alone.value < 0.6 or name == "border"
        assert found[name].lost.value == pytest.approx(0, abs=0.01) or name == "border"


def test_a_model_that_looks_at_the_middle_needs_no_edge() -> None:
    found = probes_of(looking_at(slice(15, 25), slice(15, 25), 94))
    assert found["centre"].alone.value == 1
    assert found["centre"].lost.value == pytest.approx(0.5)
    for name in (*CORNERS, "border"):
        assert found[name].alone.value == pytest.approx(0.5)
        assert found[name].lost.value == 0
        assert found[name].changed == 0
