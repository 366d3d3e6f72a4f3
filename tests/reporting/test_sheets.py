"""Sheets of several maps, and superpixels on the original: what lies where, by slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from tests.reporting.reporting_samples import attribution, blob, film

from pellucid.preprocessing import Preprocessing
from pellucid.reporting.overlay import overlay
from pellucid.reporting.sheets import CELL, Cell, Pieces, comparison_sheet, labels_on_original, superpixel_picture

TEAL, ORANGE = np.array((98, 198, 191)), np.array((240, 142, 60))


def cells(count: int, side: tuple[int, int] = (90, 120)) -> list[Cell | None]:
    image = film(np.random.default_rng(0), max(side))[: side[0], : side[1]]
    explained = attribution(blob(side, 0.5, 0.5, 0.1))
    maps = [Cell(f"method {i}", overlay(image, explained, limit=3.2), explained, 3.2) for i in range(count - 1)]
    return [Cell("image", image), *maps]


@pytest.mark.parametrize(("count", "columns"), [(2, 2), (4, 4), (5, 5), (6, 3), (8, 4), (13, 5)])
def test_a_long_row_is_broken_evenly(count: int, columns: int) -> None:
    sheet = comparison_sheet("Predicted opacity", [cells(count)])
    assert sheet.shape[1] == columns * CELL + (columns + 1) * 20


def test_cells_hold_their_pictures_and_an_empty_place_stays_white() -> None:
    row = cells(2, (288, 288))
    sheet = comparison_sheet("t", [row, [None, row[1]]])
    picture = row[1].picture if row[1] else None
    assert picture is not None
    found = [y for y in range(sheet.shape[0] - CELL) if np.array_equal(sheet[y : y + CELL, 328 : 328 + CELL], picture)]
    assert len(found) == 2
    assert (sheet[found[1] : found[1] + CELL, 20:308] == 255).all()


def test_a_silent_map_has_words_and_no_bar() -> None:
    silent = attribution(-np.ones((90, 120)))
    image = film(np.random.default_rng(0), 120)[:90]
    sheet = comparison_sheet("t", [[Cell("lime", image, silent, 0.0)]])
    saturation = sheet.max(axis=2).astype(int) - sheet.min(axis=2)
    assert saturation.max() < 20


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
def test_superpixels_lie_on_the_original_where_the_model_saw_them(fit: str) -> None:
    preprocessing = Preprocessing(height=24, width=32, fit=fit, crop_share=0.8 if fit == "crop" else 1.0)
    labels = np.arange(24 * 32).reshape(24, 32)
    size = (50, 80)
    found = labels_on_original(labels, preprocessing, size)
    place = preprocessing.placement(size)
    for y in range(0, 50, 7):
        for x in range(0, 80, 9):
            v = (y + 0.5) * place.scale[0] + place.shift[0]
            u = (x + 0.5) * place.scale[1] + place.shift[1]
            seen = 0 <= v < 24 and 0 <= u < 32
            assert found[y, x] == (labels[int(v), int(u)] if seen else -1)
    assert (found == -1).any() == (fit == "crop")


def test_top_superpixels_are_framed_by_their_sign_and_the_rest_is_dimmed() -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    labels = np.kron(np.arange(4).reshape(2, 2), np.ones((32, 32), int))
    pieces = Pieces(
        labels,
        np.array([2.0, 0.1, -1.0, 0.0], np.float32),
        np.full(4, 0.2, np.float32),
        [0, 2],
        "log-odds per superpixel",
    )
    sheet = superpixel_picture(image, pieces, Preprocessing(height=64, width=64), title="t")
    teal = np.abs(sheet.astype(int) - TEAL).max(axis=2) <= 2
    orange = np.abs(sheet.astype(int) - ORANGE).max(axis=2) <= 2
    picture = slice(50, 50 + 600), slice(20, 640)
    rows, columns = np.nonzero(teal[picture])
    assert len(rows) > 1000
    assert columns.max() < 345
    rows, columns = np.nonzero(orange[picture])
    assert columns.max() < 345
    assert rows.min() > 270
    assert (sheet == 90).all(axis=2).sum() > 100_000  # 0.45 of 200: the two pieces that are not on top


def test_nothing_on_top_is_said() -> None:
    pieces = Pieces(np.zeros((8, 8), int), np.zeros(1, np.float32), np.zeros(1, np.float32), [], "u")
    image = np.full((64, 64, 3), 200, np.uint8)
    preprocessing = Preprocessing(height=8, width=8)
    some = superpixel_picture(image, pieces, preprocessing, title="t")
    assert some.ndim == 3
    assert (some[-80:] == (27, 35, 38)).all(axis=2).any()
