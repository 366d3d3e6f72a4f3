"""From items to rows: the work of one worker, in a thread, a process or a Ray actor."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.bundle import Bundle, load
from ...bundle.runtimes import ModelRuntime
from ...classifier import PREDICTED, Prediction, against, gives_score
from ...errors import ImageError
from ...explanation.catalogue import find_method, settings_of
from ...explanation.maps import predicted_classes
from ...images.pictures import flatness, open_picture
from ...preprocessing import FloatArray, GridGeometry, Uint8Array
from .reading import Reader
from .sources import Item

HalfArray = npt.NDArray[np.float16]

CELLS = 16
"""The most cells per side of a stored raw map; larger maps are averaged down."""


@dataclass(frozen=True, slots=True)
class BatchQuestion:
    """The question to every image: an explanation of `target` (None: the predicted class) by `method`, if given.

    With `against` it is why `target` and not that class.

    `batch` is the number of images per forward pass. It is part of the question because it affects the last digit, as
    the engine and its precision do.
    """

    method: str | None = None
    target: str | None = None
    batch: int = 1
    engine: str = "onnxruntime"
    precision: str = "float32"
    against: str | None = None

    @property
    def asked(self) -> str | None:
        """The target that a method is given."""
        return against(self.target, self.against)

    def by(self, runtime: ModelRuntime) -> BatchQuestion:
        """The same question to a model in a runtime."""
        return replace(self, engine=runtime.engine, precision=runtime.precision)

    def load(self, bundle: Path | str, threads: int) -> Bundle:
        """The bundle that is asked."""
        return load(bundle, threads=threads, engine=self.engine, precision=self.precision)


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """The answer for one image. See `parts.schema_of` for the meaning of each field."""

    index: int
    path: str
    sha256: str
    prediction: Prediction
    most_probable: str
    seconds: float
    map: HalfArray | None = None
    map_target: str | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """A skipped item, and the reason."""

    index: int
    path: str
    reason: str


Answer = AnswerRow | Skip


@dataclass(frozen=True, slots=True)
class _Read:
    index: int
    path: str
    sha256: str
    pixels: Uint8Array
    warnings: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Passed:
    """The result of one pass over N images: logits (N, L), features (N, C), N small maps and their target classes."""

    logits: FloatArray
    features: FloatArray | None
    maps: list[HalfArray] | None = None
    targets: Sequence[str] = ()


class Worker:
    """Reads, classifies and explains. Thread-safe; a pass runs in the calling thread."""

    def __init__(self, bundle: Bundle, question: BatchQuestion, reader: Reader) -> None:
        self._bundle, self._question, self._reader = bundle, question, reader
        self._method = find_method(question.method) if question.method else None
        self._settings = settings_of(self._method) if self._method else None

    def answer(self, first: int, items: Sequence[Item]) -> list[Answer]:
        """Answers for items numbered from `first`, in their order.

        Each pass takes the readable ones among `batch` items, counted from `first`.
        """
        answers: list[Answer] = []
        for start in range(0, len(items), self._question.batch):
            read = [
                self._read(first + start + i, item)
                for i, item in enumerate(items[start : start + self._question.batch])
            ]
            rows = iter(self._rows([r for r in read if isinstance(r, _Read)]))
            answers += [r if isinstance(r, Skip) else next(rows) for r in read]
        return answers

    def _read(self, index: int, item: Item) -> _Read | Skip:
        began = time.perf_counter()
        preprocessing = self._bundle.preprocessing
        try:
            data = self._reader.read(item)
            picture = open_picture(data, at_least=preprocessing.decode_size)
            pixels = preprocessing.resize_image(picture)
        except ImageError as error:
            return Skip(index, item.path, error.reason)
        digest, warnings = hashlib.sha256(data).hexdigest(), picture.warnings + flatness(picture.upright)
        return _Read(index, item.path, digest, pixels, warnings, time.perf_counter() - began)

    def _rows(self, read: Sequence[_Read]) -> list[AnswerRow]:
        if not read:
            return []
        began = time.perf_counter()
        batch = self._bundle.preprocessing.normalise(np.stack([r.pixels for r in read]))
        passed = self._pass(batch)
        each = (time.perf_counter() - began) / len(read)
        rows = []
        for i, r in enumerate(read):
            features = None if passed.features is None else passed.features[i]
            prediction = self._bundle.prediction(passed.logits[i], features=features, path=r.path, warnings=r.warnings)
            kept = (passed.maps[i], passed.targets[i]) if passed.maps else (None, None)
            rows.append(
                AnswerRow(r.index, r.path, r.sha256, prediction, most_probable(prediction), r.seconds + each, *kept)
            )
        return rows

    def _pass(self, batch: FloatArray) -> _Passed:
        """Run the model, in one pass if the method also returns the logits and features."""
        known = self._bundle.manifest.reference is not None
        if self._method is None:
            if known:
                return _Passed(*self._bundle.logits_and_features(batch))
            return _Passed(self._bundle.logits(batch), None)
        maps = self._method.run(self._bundle, batch, self._question.asked, None, self._settings)
        logits, features = maps.logits, maps.features
        if logits is None or (known and features is None):
            logits, features = self._bundle.logits_and_features(batch)
        elif features is not None:
            features = self._bundle.with_looks(features, batch)
        targets = self._targets(maps.targets[0], logits)
        return _Passed(logits, features, [smaller_map(values[0]) for values in maps.values], targets)

    def _targets(self, name: str, logits: FloatArray) -> list[str]:
        """The target class of each map."""
        if name != PREDICTED:
            return [str(name)] * len(logits)
        if gives_score(self._bundle.task):
            return [self._bundle.classes[1]] * len(logits)
        return [self._bundle.classes[i] for i in predicted_classes(self._bundle, logits)]

    def map_geometry(self) -> dict[str, Any] | None:
        """Shape of the stored maps and their position on the model's input; None without an explanation."""
        if self._method is None:
            return None
        shape = self._bundle.preprocessing
        maps = self._method.run(
            self._bundle,
            np.zeros((1, 3, shape.height, shape.width), np.float32),
            self._question.asked,
            None,
            self._settings,
        )
        height, width = maps.values.shape[2:]
        geometry = smaller_geometry(maps.geometry, (height, width))
        kept = min(height, CELLS), min(width, CELLS)
        return {"shape": kept, "stride": geometry.stride, "offset": geometry.offset}


def most_probable(prediction: Prediction) -> str:
    """The class of the highest probability; for a regression, the predicted class."""
    probabilities = prediction.probabilities
    return max(probabilities, key=probabilities.__getitem__) if probabilities else prediction.predicted


def smaller_map(values: FloatArray) -> HalfArray:
    """A raw map (h, w) as float16 with at most 16 cells per side, each the mean of the area it covers."""
    height, width = values.shape
    if height > CELLS or width > CELLS:
        down, across = _means(height, min(height, CELLS)), _means(width, min(width, CELLS))
        values = np.asarray(down @ values @ across.T, np.float32)
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)


def _means(length: int, cells: int) -> FloatArray:
    """Weights (cells, length) that average `length` values into equal cells, by the overlap of value and cell."""
    starts, edges = np.arange(length), np.arange(cells + 1)[:, None] * (length / cells)
    overlap = np.minimum(edges[1:], starts + 1) - np.maximum(edges[:-1], starts)
    return np.asarray(np.maximum(overlap, 0) * (cells / length), np.float32)


def smaller_geometry(geometry: GridGeometry, shape: tuple[int, int]) -> GridGeometry:
    """The geometry of `smaller_map` for a map of `shape` (h, w) with the given geometry."""
    factors = [max(cells / CELLS, 1.0) for cells in shape]
    stride = (geometry.stride[0] * factors[0], geometry.stride[1] * factors[1])
    offset = [geometry.offset[d] + (stride[d] - geometry.stride[d]) / 2 for d in (0, 1)]
    return GridGeometry(stride, (offset[0], offset[1]))
