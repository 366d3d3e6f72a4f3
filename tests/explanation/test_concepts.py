"""Concepts: planted factors are recovered, and the cells are those that a slow loop finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from pellucid.classifier import Evidence, Score, Target, Task
from pellucid.explanation.concepts import EvidenceCells, evidence_cells, factor
from pellucid.preprocessing import FloatArray, GridGeometry, Preprocessing


def test_planted_factors_are_recovered() -> None:
    rng = np.random.default_rng(0)
    parts = np.zeros((4, 20))
    for k in range(4):
        parts[k, 5 * k : 5 * k + 5] = rng.uniform(0.5, 1, 5)
    parts /= parts.sum(axis=1, keepdims=True)
    amounts = rng.exponential(1, (300, 4)) * (rng.random((300, 4)) < 0.4)
    found = factor((amounts @ parts + rng.uniform(0, 1e-3, (300, 20))).astype(np.float32), 4, 0)
    likeness = np.corrcoef(np.concatenate([parts, found.parts]))[:4, 4:]
    rows, columns = linear_sum_assignment(-likeness)
    assert (likeness[rows, columns] > 0.98).all()
    assert np.allclose(found.parts.sum(axis=1), 1)
    for row, column in zip(rows, columns, strict=True):
        assert np.corrcoef(amounts[:, row], found.amounts[:, column])[0, 1] > 0.98
    clear = np.sort(amounts, axis=1)[:, -1] > 2 * np.sort(amounts, axis=1)[:, -2] + 0.1
    order = columns[np.argsort(rows)]
    assert (found.leading[clear] == order[amounts[clear].argmax(axis=1)]).mean() > 0.97


def test_factors_that_are_one_are_joined() -> None:
    vectors = np.outer(np.arange(1, 40), [0.2, 0.5, 0.3]).astype(np.float32)
    found = factor(vectors, 3, 0)
    assert len(found.parts) == 1
    assert np.allclose(found.parts[0], [0.2, 0.5, 0.3], atol=1e-2)
    assert np.allclose(found.amounts[:, 0], vectors.sum(axis=1), rtol=2e-2)


class OneCell:
    """A classifier of 8 x 8 cells of four pixels: channel c is the mean of colour c, and red speaks for the class."""

    classes = ("plain", "red")
    task: Task = "binary"
    preprocessing = Preprocessing(height=32, width=32)
    weights = np.array([2.0, -1.0, 0.5], np.float32)

    def activations(self, batch: FloatArray) -> FloatArray:
        means: FloatArray = batch.reshape(len(batch), 3, 8, 4, 8, 4).mean(axis=(3, 5))
        return means

    def probabilities(self, batch: FloatArray) -> FloatArray:
        raise NotImplementedError

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        cells = self.activations(batch)
        signs = np.array([1.0 if name == "red" else -1.0 for name in target or ()], np.float32)
        gradients = signs[None, :, None, None, None] * self.weights[None, None, :, None, None] / 64
        spread = np.broadcast_to(gradients, (len(batch), len(signs), 3, 8, 8))
        return Evidence(np.zeros((len(batch), 1), np.float32), cells, spread, GridGeometry((4, 4), (2, 2)), "cells")


def cells_of(pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> list[EvidenceCells]:
    return evidence_cells(OneCell(), pixels, labels, OneCell.classes, lambda done, total: None)


def test_the_strongest_cells_are_where_the_evidence_is_and_only_what_others_lack_counts() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(90, 110, (30, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(30) % 2
    places = rng.integers(0, 8, (30, 2))
    for i in np.flatnonzero(labels == 1):
        row, column = 4 * places[i]
        pixels[i, row : row + 4, column : column + 4, 0] = 255
    found = cells_of(pixels, labels)[1]
    for i in np.flatnonzero(labels == 1):
        mine = np.flatnonzero(found.image == i)
        best = mine[found.weight[mine].argmax()]
        assert (found.row[best], found.column[best]) == tuple(places[i])
        assert found.centre(np.array([best])).tolist() == [[4 * places[i][0] + 2, 4 * places[i][1] + 2]]
        # Slowly: the contribution of red beyond its mean in images of the other class, spread as the image's own is.
        red = OneCell().activations(OneCell.preprocessing.normalise(pixels[i : i + 1]))[0, 0] * 2 / 64
        others = OneCell().activations(OneCell.preprocessing.normalise(pixels[labels == 0]))[:, 0] * 2 / 64
        beyond = 1 - others.sum(axis=(1, 2)).mean() / red.sum()
        assert np.isclose(found.vectors[best, 0], red[tuple(places[i])] * max(beyond, 0), rtol=1e-4)
    assert ((found.share >= 0) & (found.share <= 1)).all()
