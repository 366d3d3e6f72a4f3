"""Pictures of evidence: the colours say what the numbers say, and nothing is made of nothing."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.reporting.reporting_samples import attribution, blob, film

from pellucid.classifier import Prediction
from pellucid.errors import InputError, UnknownNameError
from pellucid.reporting.overlay import (
    COLOURS,
    LITTLE_EVIDENCE,
    NO_EVIDENCE,
    attention_map,
    colour_table,
    display_limit,
    heat_map,
    overlay,
    reading,
    verdict,
)

SHAPE = (60, 80)
MAPS = ["inferno", "viridis", "magma", "jet", "hot", "turbo", "gray", "RdBu_r", "coolwarm"]


@pytest.fixture
def image() -> np.ndarray:
    return film(np.random.default_rng(0), 80)[:60]


def ramp() -> np.ndarray:
    """Values from 0 to 1, each row alike, so that one row holds the whole scale."""
    return np.tile(np.linspace(0, 1, SHAPE[1], dtype=np.float32), (SHAPE[0], 1))


@pytest.mark.parametrize("name", MAPS)
def test_most_important_is_the_high_end_of_any_map(name: str) -> None:
    colours = heat_map(attribution(ramp()), name, 1.0)
    expected = np.rint(255 * matplotlib.colormaps[name](np.array([0.0, 1.0]))[:, :3])
    assert np.array_equal(colours[0, 0], expected[0])
    assert np.array_equal(colours[0, -1], expected[1])


def test_heat_map_follows_matplotlib_value_by_value() -> None:
    values = np.random.default_rng(1).uniform(-1, 4, SHAPE)
    ours = heat_map(attribution(values), "viridis", 3.0).astype(int)
    theirs = np.rint(255 * matplotlib.colormaps["viridis"](np.clip(values / 3, 0, 1))[..., :3]).astype(int)
    # 257 steps against matplotlib's 256: neighbouring entries of the table at most.
    assert np.abs(ours - theirs).max() <= 4


def test_attention_map_is_brightness_in_proportion() -> None:
    values = np.array([[-2.0, 0.0, 1.0, 2.0, 4.0, 9.0]])
    assert attention_map(attribution(values), 4.0).tolist() == [[0, 0, 64, 128, 255, 255]]


def test_signed_maps_are_centred_on_zero_and_even_on_both_sides() -> None:
    values = np.array([[-3.0, -1.5, 0.0, 1.5, 3.0]])
    colours = heat_map(attribution(values, signed=True), None, 3.0, signed=True)
    table = colour_table("RdBu_r")
    assert np.array_equal(colours[0], table[[0, 64, 128, 192, 256]])
    blue, white, red = colours[0, 0].astype(int), colours[0, 2], colours[0, 4].astype(int)
    assert blue[2] > blue[0] + 50
    assert red[0] > red[2] + 50
    assert white.min() > 240


def test_signed_evidence_refuses_a_one_sided_map() -> None:
    with pytest.raises(InputError, match=r"diverging colour map such as RdBu_r.*'inferno' is not one"):
        heat_map(attribution(ramp(), signed=True), "inferno", 1.0, signed=True)


def test_unknown_colour_map_offers_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean viridis"):
        heat_map(attribution(ramp()), "virids", 1.0)


def test_colour_tables_are_shared_and_cannot_be_spoilt() -> None:
    table = colour_table("inferno")
    assert table.shape == (COLOURS, 3)
    assert colour_table("inferno") is table
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0


def test_overlay_is_the_blend_that_its_documentation_states(image: np.ndarray) -> None:
    values = blob(SHAPE, 0.4, 0.6, 0.15)
    shown = overlay(image, attribution(values), limit=3.2, alpha=0.6, colormap="viridis")
    colours = heat_map(attribution(values), "viridis", 3.2)
    for y, x in ((0, 0), (10, 20), (24, 48), (30, 60), (59, 79)):
        rise = min(1.0, min(1.0, values[y, x] / 3.2) / 0.7)
        opacity = 0.6 * rise**2 * (3 - 2 * rise)
        expected = (1 - opacity) * image[y, x] + opacity * colours[y, x]
        assert np.abs(shown[y, x] - expected).max() <= 0.51


def test_where_there_is_no_evidence_the_image_shows_unchanged(image: np.ndarray) -> None:
    values = np.where(np.arange(80) < 40, -1.0, 2.0) * np.ones(SHAPE)
    shown = overlay(image, attribution(values), limit=2.0)
    assert np.array_equal(shown[:, :40], image[:, :40])
    assert (shown[:, 40:] != image[:, 40:]).any(axis=2).mean() > 0.95


def test_alpha_runs_from_the_image_to_the_map(image: np.ndarray) -> None:
    flat = attribution(np.ones(SHAPE))
    assert np.array_equal(overlay(image, flat, limit=1.0, alpha=0), image)
    assert np.array_equal(overlay(image, flat, limit=1.0, alpha=1), heat_map(flat, None, 1.0))
    for alpha in (-0.01, 1.01, float("nan")):
        with pytest.raises(InputError, match="between 0"):
            overlay(image, flat, limit=1.0, alpha=alpha)


@pytest.mark.parametrize("scale", ["image", "model"])
def test_no_positive_evidence_is_the_plain_image_and_words(image: np.ndarray, scale: str) -> None:
    against = attribution(-np.abs(np.random.default_rng(2).normal(size=SHAPE)))
    limit = display_limit(against, scale, 5.0)  # type: ignore[arg-type]
    assert np.array_equal(overlay(image, against, limit=max(limit, 0)), image)
    assert not attention_map(against, max(limit, 0)).any()
    assert reading(against, limit) == NO_EVIDENCE == "no positive evidence"
    assert verdict(against) == "No positive evidence for opacity."


def test_noise_is_not_inflated_on_the_model_s_scale(image: np.ndarray) -> None:
    noise = attribution(np.random.default_rng(3).uniform(0, 1e-3, SHAPE))
    limit = display_limit(noise, "model", 2.0)
    assert limit == 2.0
    assert np.abs(overlay(image, noise, limit=limit).astype(int) - image).max() == 0
    assert reading(noise, limit) == LITTLE_EVIDENCE
    assert reading(noise, display_limit(noise)) is None


def test_display_limit_is_the_largest_value() -> None:
    values = np.array([[-7.0, 1.0], [2.5, 0.0]])
    assert display_limit(attribution(values)) == 2.5
    assert display_limit(attribution(values, signed=True), signed=True) == 7.0
    assert display_limit(attribution(-np.abs(values))) == 0.0


def test_single_pixels_do_not_hide_the_rest_where_the_top_is_a_share_of_the_evidence() -> None:
    values = np.full((100, 100), 1.0)
    values[:10, :10] = 4.0
    values[50, 50] = 1000.0
    # 1,000 of 11,299 in one pixel: 0.05 is held by it alone, 0.1 by it and some of the fours.
    assert display_limit(attribution(values), above=0.05) == 1000.0
    assert display_limit(attribution(values), above=0.1) == 4.0
    assert display_limit(attribution(-values, signed=True), above=0.1, signed=True) == 4.0
    noise = np.random.default_rng(0).uniform(0.9, 1, (50, 50))
    assert display_limit(attribution(noise), above=0.1) > 0.98
    assert display_limit(attribution(-values), above=0.1) == 0


@pytest.mark.parametrize("model_limit", [None, 0.0, -1.0, float("nan")])
def test_a_model_without_a_scale_says_so(model_limit: float | None) -> None:
    with pytest.raises(InputError, match="no scale of its own"):
        display_limit(attribution(ramp()), "model", model_limit)


def test_bad_input_is_refused_in_words(image: np.ndarray) -> None:
    with pytest.raises(UnknownNameError, match="scale"):
        display_limit(attribution(ramp()), "imge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"\(60, 80\) and the image \(50, 80\)"):
        overlay(image[:50], attribution(ramp()), limit=1.0)
    with pytest.raises(InputError, match="8-bit RGB"):
        overlay(image.astype(np.float32), attribution(ramp()), limit=1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least 0"):
        attention_map(attribution(ramp()), -1.0)
    broken = ramp()
    broken[3, 4] = np.nan
    for call in (lambda a: attention_map(a, 1.0), verdict, display_limit):
        with pytest.raises(InputError, match="not finite"):
            call(attribution(broken))


@pytest.mark.parametrize(
    ("y", "x", "place"),
    [
        (0.15, 0.15, "in the upper left"),
        (0.15, 0.5, "at the top"),
        (0.15, 0.85, "in the upper right"),
        (0.5, 0.15, "on the left"),
        (0.5, 0.5, "in the centre"),
        (0.5, 0.85, "on the right"),
        (0.85, 0.15, "in the lower left"),
        (0.85, 0.5, "at the bottom"),
        (0.85, 0.85, "in the lower right"),
    ],
)
def test_verdict_names_the_place(y: float, x: float, place: str) -> None:
    assert f"is strongest {place};" in verdict(attribution(blob((90, 120), y, x, 0.05)))


def test_verdict_states_the_share_that_holds_half() -> None:
    values = np.zeros((100, 100))
    values[10:20, 10:22] = 1.0
    # 120 even pixels: half of the evidence takes 60 of 10,000.
    expected = "Evidence for opacity is strongest in the upper left; half of it lies in 1 % of the image."
    assert verdict(attribution(values)) == expected
    # A Gaussian of standard deviation s holds half its mass within a radius of s sqrt(2 ln 2): 2 pi ln 2 s^2.
    share = 2 * np.pi * np.log(2) * 0.1**2
    assert f"half of it lies in {100 * share:.0f} % of" in verdict(attribution(blob((400, 400), 0.5, 0.5, 0.1)))


def test_verdict_of_an_even_map_names_no_place() -> None:
    assert verdict(attribution(np.ones(SHAPE))) == (
        "The evidence for opacity is spread out; half of it covers 50 % of the image."
    )


def test_verdict_names_the_answer_when_another_class_is_explained() -> None:
    answer = Prediction("clear", 0.9, {"clear": 0.9, "opacity": 0.1})
    assert verdict(attribution(blob(SHAPE, 0.5, 0.5, 0.05)), answer).startswith(
        "Evidence for opacity (the answer is clear) is strongest in the centre;"
    )
    assert verdict(attribution(-np.ones(SHAPE)), answer) == "No positive evidence for opacity (the answer is clear)."


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.float32, (6, 7), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(0, 1),
    st.one_of(st.just(0.0), st.floats(1e-3, 1e9)),
)
def test_more_evidence_is_never_drawn_weaker(values: np.ndarray, alpha: float, limit: float) -> None:
    explained = attribution(values)
    grey = attention_map(explained, limit).ravel()
    order = np.argsort(values.ravel(), kind="stable")
    assert (np.diff(grey[order].astype(int)) >= 0).all()
    image = np.full((6, 7, 3), 90, np.uint8)
    shown = overlay(image, explained, limit=limit, alpha=alpha)
    assert np.array_equal(shown[values <= 0], image[values <= 0])
