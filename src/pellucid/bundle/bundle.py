"""A loaded bundle: what `pellucid.load` returns. Predicts and explains images; no torch anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from ..classifier import Evidence, Prediction, Score, Target, Task
from ..evaluation.outside import Surroundings, outside_warning, read_surroundings
from ..explanation.attribution import Attribution
from ..explanation.explain import Explained, explain_tensors
from ..images import Image, as_image, read_image
from ..preprocessing import FloatArray, Preprocessing
from .io import model_session, read_bundle
from .manifest import MODEL, Manifest
from .onnx_classifier import OnnxClassifier
from .run import find_bundle


class Bundle:
    """A trained classifier loaded from its folder.

    It is an EvidenceClassifier (tensors in, arrays out), and takes images directly by `predict` and `explain`.
    """

    def __init__(
        self, folder: Path, manifest: Manifest, classifier: OnnxClassifier, surroundings: Surroundings | None = None
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._classifier = classifier
        self._surroundings = surroundings

    def __repr__(self) -> str:
        return f"Bundle({str(self.folder)!r}, classes={self.classes})"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; for a binary model (negative, positive)."""
        return self.manifest.classes

    @property
    def task(self) -> Task:
        """binary, multiclass or regression."""
        return self.manifest.task

    @property
    def preprocessing(self) -> Preprocessing:
        """The preprocessing that the model was trained with."""
        return self.manifest.preprocessing

    def probabilities(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to calibrated class probabilities (N, K)."""
        return self._classifier.probabilities(batch)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to logits (N, L)."""
        return self._classifier.logits(batch)

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L) and features (N, C) of one pass: all that `prediction` takes. None where there are none."""
        return self._classifier.logits_and_features(batch)

    def probabilities_of(self, logits: FloatArray) -> FloatArray:
        """Logits (N, L) to calibrated class probabilities (N, K)."""
        return self.manifest.probabilities(logits)

    def predicted(self, logits: FloatArray) -> npt.NDArray[np.int64]:
        """The class index (N,) that logits (N, L) are answered with, at the operating point."""
        return self.manifest.predicted(logits)

    def outside_scores(self, features: FloatArray) -> npt.NDArray[np.float64] | None:
        """How far images with features (N, C) lie from those trained on: (N,), above 1 too far. None if unknown."""
        return None if self._surroundings is None else self._surroundings.scores(features)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Logits, activations and gradients of a batch of tensors; see EvidenceClassifier."""
        return self._classifier.evidence(batch, target, score)

    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 16) -> list[Prediction]: ...
    @overload
    def predict(self, images: Any, *, batch_size: int = 16) -> Prediction: ...
    def predict(self, images: Any, *, batch_size: int = 16) -> Prediction | list[Prediction]:
        """Classify an image, or a list of them: paths, bytes, PIL images, arrays (H, W, 3) uint8, or Image.

        A list gives a list, in order. Raises ImageError for the first image that cannot be used.
        """
        if not isinstance(images, list | tuple):
            return next(self._predict([images], 1))
        return list(self._predict(images, batch_size))

    def _predict(self, images: Sequence[Any], batch_size: int) -> Iterator[Prediction]:
        for start in range(0, len(images), batch_size):
            chunk = images[start : start + batch_size]
            read = [self.read(image) for image in chunk]
            paths = [str(given) if isinstance(given, str | Path) else None for given in chunk]
            yield from self.predict_images(read, paths=paths)

    def predict_images(self, images: Sequence[Image], *, paths: Sequence[str | None] = ()) -> list[Prediction]:
        """Predictions of images already read, in one batch, with the warnings of each; `paths` are for the answers."""
        logits, features = self.logits_and_features(self.preprocessing.tensors(images))
        return [
            self.prediction(
                logits[i],
                features=None if features is None else features[i],
                path=paths[i] if paths else None,
                warnings=image.warnings,
            )
            for i, image in enumerate(images)
        ]

    def read(self, image: Any) -> Image:
        """Read an image no larger than the model needs; its `size` is still that of the original."""
        if isinstance(image, str | Path | bytes):
            return read_image(image, at_least=self.preprocessing.decode_size)
        return as_image(image)

    def prediction(
        self,
        logits: FloatArray,
        *,
        features: FloatArray | None = None,
        path: str | None = None,
        warnings: tuple[str, ...] = (),
    ) -> Prediction:
        """What one row of logits (L,) means: the class at the operating point, and the probability of each.

        With the `features` (C,) of the same pass it also says whether the image is unlike those trained on.
        """
        score = None
        if features is not None and (scores := self.outside_scores(features[None])) is not None:
            score = float(scores[0])
            warnings = (outside_warning(self.classes), *warnings) if score > 1 else warnings
        index = int(self.predicted(logits[None])[0])
        if self.task == "regression":
            return Prediction(self.classes[index], None, {}, float(logits[0]), path, warnings, score)
        row = self.probabilities_of(logits[None])[0]
        by_class = {c: float(p) for c, p in zip(self.classes, row, strict=True)}
        return Prediction(self.classes[index], float(row[index]), by_class, None, path, warnings, score)

    @overload
    def explain(
        self,
        image: Any,
        *,
        method: str = "grad-cam",
        target: str | None = None,
        score: Score | None = None,
        settings: Any = None,
    ) -> Attribution: ...
    @overload
    def explain(
        self,
        image: Any,
        *,
        method: str = "grad-cam",
        target: tuple[str, ...],
        score: Score | None = None,
        settings: Any = None,
    ) -> tuple[Attribution, ...]: ...
    def explain(
        self,
        image: Any,
        *,
        method: str = "grad-cam",
        target: Target = None,
        score: Score | None = None,
        settings: Any = None,
    ) -> Attribution | tuple[Attribution, ...]:
        """Explain one image for a class (the predicted one by default), or for several at once.

        The attribution lies on the image's own pixels. `settings` are of the method's own type. Raises ImageError, or
        UnknownNameError for a method or class.
        """
        answered = self.explain_images([self.read(image)], method=method, target=target, score=score, settings=settings)
        attributions = answered[0].attributions
        return attributions if isinstance(target, tuple) else attributions[0]

    def explain_images(
        self,
        images: Sequence[Image],
        *,
        method: str = "grad-cam",
        target: Target = None,
        score: Score | None = None,
        settings: Any = None,
    ) -> list[Explained]:
        """Answers and explanations of images already read, in one batch; `answer` says what an answer means."""
        batch, sizes = self.preprocessing.tensors(images), [image.size for image in images]
        found = explain_tensors(self, batch, sizes, method=method, target=target, score=score, settings=settings)
        if self._surroundings is None or not found or found[0].features is not None:
            return found
        # A method that asks for answers only: one more pass, beside its hundreds, tells whether the image is outside.
        _, features = self.logits_and_features(batch)
        return found if features is None else [replace(f, features=row) for f, row in zip(found, features, strict=True)]

    def answer(self, explained: Explained, *, path: str | None = None, warnings: tuple[str, ...] = ()) -> Prediction:
        """The prediction that came with an explanation of `explain_images`."""
        if explained.logits is None:
            raise ValueError("an explanation of a bundle always has logits")
        return self.prediction(explained.logits, features=explained.features, path=path, warnings=warnings)


def load(path: str | Path, *, threads: int | None = None) -> Bundle:
    """Load a run or a bundle folder. `threads` limits the cores that one pass uses.

    Raises BundleError when the folder holds no bundle, or a file in it is missing or was changed.
    """
    folder = find_bundle(Path(path))
    manifest = read_bundle(folder)
    reference = manifest.reference
    surroundings = None if reference is None else read_surroundings(folder / reference.file, reference.threshold)
    return Bundle(folder, manifest, OnnxClassifier(manifest, model_session(folder / MODEL, threads)), surroundings)
