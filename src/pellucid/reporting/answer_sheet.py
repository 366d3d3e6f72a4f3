"""A sheet of images with what the model answered written below each: a look at a test set on one page."""

from __future__ import annotations

import numpy as np
import PIL.Image
import PIL.ImageDraw

from ..evaluation.result import EvaluationResult
from ..preprocessing import Uint8Array
from .pictures import font
from .style import ACCENT, INK, PAPER, SOFT
from .words import count, number, printable

TILE, GAP, CAPTION, TITLE = 132, 12, 34, 46
COLUMNS, MOST = 8, 48
WRONG = "#b8420f"


def answer_sheet(pixels: Uint8Array, result: EvaluationResult, *, most: int = MOST) -> Uint8Array:
    """A sheet (H, W, 3) of at most `most` images, `pixels` (N, height, width, 3), in the order of the result.

    Every class gets as many as it has of `most` shares, wrong answers first where there are any. Below each image stand
    the answer, or the predicted score of a regression, and the truth where they differ.
    """
    chosen = _chosen(result, most)
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    width = max(columns * (TILE + GAP) + GAP, 420)
    sheet = PIL.Image.new("RGB", (width, TITLE + rows * (TILE + CAPTION + GAP)), PAPER)
    pen = PIL.ImageDraw.Draw(sheet)
    pen.text((GAP, TITLE / 2), _title(result, len(chosen)), INK, font(15, bold=True), anchor="lm")
    predicted = result.predicted
    for place, index in enumerate(chosen):
        left = GAP + place % columns * (TILE + GAP)
        top = TITLE + place // columns * (TILE + CAPTION + GAP)
        tile = PIL.Image.fromarray(np.asarray(pixels[index])).resize((TILE, TILE), PIL.Image.Resampling.LANCZOS)
        sheet.paste(tile, (left, top))
        right = bool(predicted[index] == result.labels[index])
        pen.text((left, top + TILE + 4), _answer(result, index), ACCENT if right else WRONG, font(12, bold=True))
        truth = printable(result.classes[result.labels[index]])
        pen.text((left, top + TILE + 18), truth if right else f"wrong: {truth}", SOFT if right else WRONG, font(11))
    return np.asarray(sheet)


def _chosen(result: EvaluationResult, most: int) -> list[int]:
    """Positions to show: an equal share for each class, up to half of it mistakes, spread over the rest evenly."""
    wrong = result.predicted != result.labels
    share = max(1, most // len(result.classes))
    found: list[int] = []
    for k in range(len(result.classes)):
        mistakes, hits = (np.flatnonzero((result.labels == k) & (wrong == state)) for state in (True, False))
        mistakes = mistakes[: max(share // 2, share - len(hits))]
        room = min(len(hits), share - len(mistakes))
        spread = hits[np.linspace(0, len(hits) - 1, room).round().astype(int)] if room else hits[:0]
        found += [*mistakes.tolist(), *spread.tolist()]
    return found[:most]


def _answer(result: EvaluationResult, index: int) -> str:
    if result.outputs is not None:
        return f"score {number(float(result.outputs[index]))}"
    label = int(result.predicted[index])
    words = printable(result.classes[label])
    shown = words if len(words) <= 13 else f"{words[:12]}…"
    return f"{shown} {number(float(result.probabilities[index, label]))}"


def _title(result: EvaluationResult, shown: int) -> str:
    wrong = int((result.predicted != result.labels).sum())
    return f"{shown} of {count(len(result.labels), f'{result.split} image')}; {wrong:,} misclassified in all"
