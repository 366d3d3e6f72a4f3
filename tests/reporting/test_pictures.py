"""Pictures for people: text legible at any size, words where there is nothing to see, files that match their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.reporting.reporting_samples import attribution, blob, film

from pellucid.reporting.overlay import colour_table, overlay
from pellucid.reporting.pictures import explanation_pictures, save_explanation, smaller, stamped, with_colour_bar

INK = (27, 35, 38)


def sheet(side: tuple[int, int], values: np.ndarray | None = None, title: str = "opacity 0.97") -> np.ndarray:
    image = np.full((*side, 3), 128, np.uint8)
    explained = attribution(blob(side, 0.5, 0.5, 0.1) if values is None else values)
    limit = float(max(explained.values.max(), 0))
    return with_colour_bar(overlay(image, explained, limit=limit), explained, limit=limit, title=title)


@pytest.mark.parametrize("side", [(128, 128), (64, 200), (300, 90), (1400, 1400), (1400, 300)])
def test_text_is_at_least_a_fiftieth_of_the_picture_and_15_pixels(side: tuple[int, int]) -> None:
    drawn = sheet(side)
    # The title is the first thing below the margin: the rows that hold ink before the picture begins.
    first_ink = np.flatnonzero((drawn == INK).all(axis=2).any(axis=1))
    run = np.split(first_ink, np.flatnonzero(np.diff(first_ink) > 1) + 1)[0]
    assert len(run) >= max(10, max(side) / 70)
    assert drawn.shape[1] >= 400


def test_small_pictures_are_enlarged_by_a_whole_factor_and_large_ones_left_alone() -> None:
    large = sheet((700, 900))
    assert large.shape[1] - 900 == 2 * round(900 / 42)
    assert 512 < sheet((128, 128)).shape[1] < 560


def test_colour_bar_runs_from_the_low_to_the_high_end() -> None:
    drawn, margin = sheet((600, 600)), 15
    inner = drawn[650:, margin + 1 : -margin - 1].astype(int)
    expected = colour_table("inferno")[np.linspace(0, 256, inner.shape[1]).astype(int)]
    rows = np.abs(inner - expected).max(axis=(1, 2)) < 12
    assert rows.sum() >= 10


def test_a_sheet_without_evidence_has_words_and_no_bar() -> None:
    drawn = sheet((300, 300), -np.ones((300, 300), np.float32))
    saturation = drawn.max(axis=2).astype(int) - drawn.min(axis=2)
    assert saturation.max() < 20
    below = drawn[-60:]
    assert (below == INK).all(axis=2).any()


def test_long_titles_wrap_instead_of_running_out() -> None:
    short, long = sheet((200, 200), title="a"), sheet((200, 200), title="word " * 40 + "x" * 200)
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 60
    assert (long[:, :10] == 255).all()
    assert (long[:, -10:] == 255).all()


def test_grey_maps_can_be_shown_too() -> None:
    explained = attribution(blob((200, 200), 0.5, 0.5, 0.1))
    assert with_colour_bar(np.zeros((200, 200), np.uint8), explained, limit=1.0).shape[2] == 3


def test_explanation_pictures_by_name(tmp_path: Path) -> None:
    image = film(np.random.default_rng(0), 700)
    explained = attribution(blob((700, 700), 0.3, 0.3, 0.1))
    pictures = explanation_pictures(image, explained, limit=3.2)
    assert {name: p.shape for name, p in pictures.items()} == {
        "image": (512, 512, 3),
        "attention": (700, 700),
        "heatmap": (700, 700, 3),
        "overlay": (700, 700, 3),
    }
    assert np.array_equal(pictures["overlay"], overlay(image, explained, limit=3.2))
    files = save_explanation(tmp_path / "new", "scan", pictures)
    assert files["overlay"] == "scan-overlay.png"
    for name, file in files.items():
        assert np.array_equal(np.asarray(PIL.Image.open(tmp_path / "new" / file)), pictures[name])


def test_empty_pictures_carry_words_and_keep_the_rest(tmp_path: Path) -> None:
    image = film(np.random.default_rng(0), 160)
    nothing = attribution(-np.ones((160, 160)))
    pictures = explanation_pictures(image, nothing, limit=0.0)
    assert np.array_equal(pictures["image"], image)
    for name in ("attention", "heatmap", "overlay"):
        band = pictures[name][-20:]
        assert band.max() > 200, name
        assert (band < 30).mean() > 0.5, name
    assert np.array_equal(pictures["overlay"][:130], image[:130])
    assert not pictures["attention"][:130].any()


@pytest.mark.parametrize("size", [(24, 24), (48, 300), (900, 60)])
def test_stamps_stay_inside_any_picture(size: tuple[int, int]) -> None:
    plain = np.full((*size, 3), 90, np.uint8)
    marked = stamped(plain, "no positive evidence")
    assert marked.shape == plain.shape
    assert (marked != plain).any()
    assert (plain == 90).all()


@pytest.mark.parametrize("side", [16, 24, 32, 48, 64, 96, 128, 224, 512])
@pytest.mark.parametrize("words", ["no positive evidence", "almost no evidence on this scale"])
def test_a_stamp_leaves_four_fifths_of_a_picture(side: int, words: str) -> None:
    plain = np.full((side, side, 3), 90, np.uint8)
    rows = (stamped(plain, words) != plain).any(axis=(1, 2))
    assert 0 < rows.mean() <= 0.21
    # The band lies along the lower edge and nothing sticks out of it.
    assert rows[-int(rows.sum()) :].all()


def test_smaller_never_enlarges() -> None:
    assert smaller(PIL.Image.new("RGB", (40, 30)), 100).size == (40, 30)
    assert smaller(PIL.Image.new("RGB", (400, 300)), 100).size == (100, 75)
