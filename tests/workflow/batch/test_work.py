from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import pellucid
from pellucid.preprocessing import GridGeometry
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.sources import Item
from pellucid.workflow.batch.work import CELLS, AnswerRow, BatchQuestion, Skip, Worker, smaller_geometry, smaller_map


def answers(
    model: Path, items: list[Item], question: BatchQuestion | None = None, first: int = 0
) -> list[AnswerRow | Skip]:
    with Reader() as reader:
        return Worker(pellucid.load(model, threads=1), question or BatchQuestion(), reader).answer(first, items)


@pytest.fixture
def items(archive: Path) -> list[Item]:
    return [Item(str(path)) for path in sorted((archive / "day0").iterdir())]


def test_rows_are_those_of_predict(model: Path, items: list[Item]) -> None:
    bundle = pellucid.load(model)
    found = answers(model, items, first=100)
    assert [a.index for a in found] == list(range(100, 100 + len(items)))
    for item, answer in zip(items, found, strict=True):
        if "broken" in item.path:
            assert isinstance(answer, Skip)
            assert "damaged" in answer.reason or "truncated" in answer.reason
            continue
        assert isinstance(answer, AnswerRow)
        expected = bundle.predict(item.path)
        assert answer.prediction.label == expected.label
        assert answer.prediction.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
        assert answer.sha256 == hashlib.sha256(Path(item.path).read_bytes()).hexdigest()
        assert answer.seconds > 0


@pytest.mark.parametrize("batch", [1, 4])
def test_maps_are_the_grids_of_explain(model: Path, items: list[Item], batch: int) -> None:
    bundle = pellucid.load(model)
    found = answers(model, items, BatchQuestion("grad-cam", None, batch))
    for item, answer in zip(items, found, strict=True):
        if isinstance(answer, AnswerRow):
            expected = bundle.explain(item.path)
            assert expected.grid is not None
            assert answer.map_target == expected.target == answer.prediction.label
            assert answer.map is not None
            assert answer.map.dtype == np.float16
            top = float(np.abs(expected.grid).max())
            np.testing.assert_allclose(answer.map, expected.grid, atol=max(1e-3 * top, 1e-7))


def test_a_map_for_a_class_asked_for(model: Path, items: list[Item]) -> None:
    one, two = (answers(model, items[:4], BatchQuestion("hirescam", name, 1)) for name in ("ant", "bee"))
    for a, b in zip(one, two, strict=True):
        if isinstance(a, AnswerRow) and isinstance(b, AnswerRow) and a.map is not None and b.map is not None:
            assert (a.map_target, b.map_target) == ("ant", "bee")
            np.testing.assert_array_equal(a.map, -b.map)


def test_large_maps_are_averaged_and_keep_their_place() -> None:
    values = np.arange(24 * 32, dtype=np.float32).reshape(24, 32)
    kept = smaller_map(values)
    assert kept.shape == (CELLS, CELLS)
    # Along the width two cells become one; along the height 1.5, of which the box takes whole and half cells.
    rows = np.repeat(values, 2, axis=0).reshape(CELLS, 3, 32).mean(axis=1)
    np.testing.assert_allclose(kept, rows.reshape(CELLS, CELLS, 2).mean(axis=2), rtol=1e-3)
    geometry = smaller_geometry(GridGeometry((1.0, 1.0), (0.5, 0.5)), (24, 32))
    # Cells cover the same 24 x 32 pixels: the first centre is half a cell in, the last half a cell before the end.
    assert geometry == GridGeometry((1.5, 2.0), (0.75, 1.0))
    small = np.ones((7, 9), np.float32)
    assert smaller_map(small).shape == (7, 9)
    unchanged = GridGeometry((8.0, 8.0), (3.5, 3.5))
    assert smaller_geometry(unchanged, (7, 9)) == unchanged


def test_values_beyond_half_precision_are_clipped_and_not_infinite() -> None:
    assert np.isfinite(smaller_map(np.array([[1e9, -1e9]], np.float32))).all()


def test_black_box_maps_are_small_too(model: Path, items: list[Item]) -> None:
    (answer, *_) = answers(model, items[1:2], BatchQuestion("occlusion", "bee", 1))
    assert isinstance(answer, AnswerRow)
    assert answer.map is not None
    assert answer.map.shape == (CELLS, CELLS)
    assert answer.map.nbytes == 512
