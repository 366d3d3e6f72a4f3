"""The sheet of answers: which images it shows, and that each stands where it should."""

from __future__ import annotations

import numpy as np
from tests.reporting.reporting_samples import evaluation
from tests.reporting.test_figures import regression

from pellucid.reporting.answer_sheet import CAPTION, GAP, TILE, TITLE, _chosen, answer_sheet


def test_every_class_is_shown_and_mistakes_are_among_them() -> None:
    result = evaluation(("a", "b", "c"), 200, skill=1.0)
    chosen = _chosen(result, 30)
    assert len(set(chosen)) == 30
    assert np.bincount(result.labels[chosen]).tolist() == [10, 10, 10]
    wrong = result.predicted[chosen] != result.labels[chosen]
    assert 10 <= wrong.sum() <= 15


def test_few_images_are_all_shown() -> None:
    result = evaluation(images=12)
    assert sorted(_chosen(result, 48)) == list(range(12))


def test_each_image_stands_in_its_place_with_ink_below_it() -> None:
    result = regression()
    shades = np.linspace(30, 220, len(result.labels)).astype(np.uint8)
    pixels = np.broadcast_to(shades[:, None, None, None], (len(shades), 20, 20, 3))
    sheet, chosen = answer_sheet(pixels, result, most=20), _chosen(result, 20)
    for place in (0, 7, 8, 19):
        left, top = GAP + place % 8 * (TILE + GAP), TITLE + place // 8 * (TILE + CAPTION + GAP)
        assert (sheet[top : top + TILE, left : left + TILE] == shades[chosen[place]]).all()
        assert sheet[top + TILE : top + TILE + CAPTION, left : left + TILE].min() < 140
