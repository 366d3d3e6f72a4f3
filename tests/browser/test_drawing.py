"""Colours and sentences that the page makes itself are those that the library makes."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from pellucid.explanation.attribution import Attribution
from pellucid.reporting.overlay import colour_table, display_limit, heat_map, reading, verdict

MAPS = ("inferno", "viridis", "magma", "turbo", "jet", "hot", "RdBu_r")
PAINT = """async ({ grid, map, limit, opaque }) => {
  const { decodeGrid, paint } = await import("/static/js/heat.js");
  return [...paint(decodeGrid(grid), { map, limit, opacity: 1, opaque })];
}"""


def attribution(values: np.ndarray) -> Attribution:
    return Attribution(values.astype(np.float32), "grad-cam", "ant", "log-odds", "log-odds per cell", True)


def grid_of(values: np.ndarray) -> dict[str, Any]:
    text = base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
    return {"width": values.shape[1], "height": values.shape[0], "values": text}


@pytest.mark.parametrize("name", MAPS)
def test_colours_are_those_of_the_library(visit: Any, name: str) -> None:
    page = visit()
    colours = page.evaluate("async (name) => [...(await import('/static/js/colours.js')).table(name)]", name)
    np.testing.assert_array_equal(np.reshape(colours, (257, 3)), colour_table(name))
    values = np.random.default_rng(1).normal(size=(12, 17)).astype(np.float32)
    signed = name == "RdBu_r"
    limit = display_limit(attribution(values), signed=signed)
    asked = {"grid": grid_of(values), "map": name, "limit": limit, "opaque": True}
    painted = np.reshape(page.evaluate(PAINT, asked), (12, 17, 4))
    expected = heat_map(attribution(values), name, limit, signed=signed)
    # A value on the edge between two of the 257 colours may fall to either side.
    assert (np.abs(painted[..., :3].astype(int) - expected.astype(int)).max(axis=2) > 12).sum() == 0
    assert (painted[..., :3] != expected).any(axis=2).mean() < 0.02
    assert (painted[..., 3] == 255).all()


def blob(height: int, width: int, row: float, column: float, spread: float) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.exp(-((y - row * height) ** 2 + (x - column * width) ** 2) / (2 * spread**2)) - 0.05


def test_sentences_are_those_of_the_library(visit: Any) -> None:
    page = visit()
    places = [(r, c) for r in (0.1, 0.5, 0.9) for c in (0.1, 0.5, 0.9)]
    cases = [blob(40, 60, r, c, 5) for r, c in places]
    cases += [blob(30, 30, 0.5, 0.5, 40) + 0.2, -np.ones((8, 9)), np.zeros((5, 5)), np.eye(9)]
    said = page.evaluate(
        """async (grids) => {
          const { decodeGrid } = await import("/static/js/heat.js");
          const { verdictWords } = await import("/static/js/words.js");
          const tell = (grid) => verdictWords({ grid: decodeGrid(grid), target: "ant" }, { label: "ant" });
          return grids.map(tell);
        }""",
        [grid_of(values) for values in cases],
    )
    expected = [verdict(attribution(values)).replace(" %", "%") for values in cases]
    assert [text.replace("<\N{NO-BREAK SPACE}1%", "less than 1%") for text in said] == expected


def test_what_shows_nothing_says_so(visit: Any) -> None:
    page = visit()
    for values, limit in ((-np.ones((3, 3)), 1.0), (np.full((3, 3), 0.01), 1.0), (np.full((3, 3), 0.5), 1.0)):
        found = page.evaluate(
            """async ([grid, limit]) => {
              const { decodeGrid, reading } = await import("/static/js/heat.js");
              return reading(decodeGrid(grid), limit, false);
            }""",
            [grid_of(values), limit],
        )
        words = {"none": "no positive evidence", "little": "almost no evidence on this scale", None: None}
        assert words[found] == reading(attribution(values), limit)


def test_what_is_close_is_close_to_the_threshold(visit: Any) -> None:
    page = visit()
    cases = [
        # threshold, probability of the positive class, what the page says
        (0.5, 0.58, "trust.close"),
        (0.5, 0.35, "trust.good"),
        (0.05, 0.001, "trust.good"),
        (0.05, 0.05, "trust.threshold"),
        (0.81, 0.78, "trust.threshold"),
        (0.81, 0.60, "trust.good"),
        (1.0, 0.5, "trust.good"),
    ]
    said = page.evaluate(
        """async (cases) => {
          const { trust } = await import("/static/js/words.js");
          return cases.map(([threshold, p]) => {
            const answer = { confidence: Math.max(p, 1 - p), probabilities: { ant: 1 - p, bee: p }, outside: {} };
            return trust(answer, { task: "binary", classes: ["ant", "bee"], threshold }).key;
          });
        }""",
        [list(case[:2]) for case in cases],
    )
    assert said == [case[2] for case in cases]
    lacking = page.evaluate(
        """async () => {
          const { trust } = await import("/static/js/words.js");
          const card = { task: "binary", classes: ["ant", "bee"], threshold: 0.81 };
          return [["bee"], ["bee", "ant"]].map((set) => {
            const decided = { outcome: "answer", predicted: "ant", set };
            const probabilities = { ant: 0.3, bee: 0.7 };
            return trust({ confidence: 0.3, probabilities, outside: {}, answer: decided }, card).key;
          });
        }"""
    )
    assert lacking == ["trust.lacking", "trust.good"]


def test_models_of_one_title_are_told_apart_by_their_names(visit: Any) -> None:
    page = visit()
    shown = page.evaluate(
        """async () => {
          const { startModels } = await import("/static/js/chrome.js");
          const models = [["here", "lungs"], ["there", "lungs"], ["moles", "skin"]];
          startModels(models.map(([name, title]) => ({ name, title })), "here", () => {});
          return [...document.querySelectorAll("#model option")].map((option) => option.textContent);
        }"""
    )
    assert shown == ["lungs (here)", "lungs (there)", "skin"]
