"""A loaded bundle: what `pellucid.load` returns. Predicts and explains images; no torch anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args, overload

import numpy as np
import numpy.typing as npt

from ..classifier import Evidence, InputGradients, Prediction, Score, Target, gives_score, versus
from ..errors import InputError, UnknownNameError
from ..evaluation.flags import Flag, read_flag
from ..evaluation.looks import looks_of
from ..evaluation.outside import REFERENCE, outside_warning
from ..explanation.attribution import Attribution
from ..explanation.catalogue import find_method, usual_method
from ..explanation.explain import Explained, explain_tensors
from ..images import Image, as_image, read_image
from ..preprocessing import Decode, FloatArray
from .certificate import Candidate, chosen_runtime
from .engine import Engine
from .graphs import check_graphs, depends_on_batch, graph_session
from .io import read_bundle
from .manifest import MODEL, Manifest
from .manifest_classifier import ManifestClassifier
from .nearness import NEAR, is_near
from .onnx_classifier import OnnxClassifier
from .run import find_bundle
from .runtimes import REFERENCE_RUNTIME, EngineChoice, ModelRuntime, runtime_session
from .shared_passes import SharedPasses


@dataclass(frozen=True, slots=True)
class ProvenRuntime:
    """What a bundle runs on, and what was measured of it."""

    runtime: ModelRuntime = REFERENCE_RUNTIME
    proof: Candidate | None = None


class Bundle(ManifestClassifier):
    """A trained classifier loaded from its folder.

    It is an EvidenceClassifier (tensors in, arrays out), and takes images directly by `predict` and `explain`.
    """

    def __init__(
        self,
        folder: Path | None,
        manifest: Manifest,
        classifier: Engine,
        flag: Flag | None = None,
        running: ProvenRuntime = ProvenRuntime(),
    ) -> None:
        super().__init__(manifest)
        self._folder, self._running = folder, running
        self._classifier = classifier
        self._flag = flag

    def __repr__(self) -> str:
        return f"Bundle({str(self._folder or self.manifest.name)!r}, classes={self.classes})"

    @property
    def folder(self) -> Path:
        """The bundle's folder; InputError for a classifier without one, such as a function."""
        if self._folder is None:
            raise InputError(f"{self.manifest.name} is not a folder: it was made in this program, by from_function.")
        return self._folder

    @property
    def runtime(self) -> ModelRuntime:
        """The engine and precision that answers come from."""
        return self._running.runtime

    @property
    def proof(self) -> Candidate | None:
        """What was measured of this runtime before it was accepted; None in float32, which the figures are of."""
        return self._running.proof

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that can be explained, the default layer first; empty for a black box."""
        layers = () if self.manifest.layer is None else (self.manifest.layer, *self.manifest.layers)
        return tuple(layer.name for layer in layers)

    @property
    def usual_method(self) -> str:
        """The explanation method that is used where none is named."""
        return usual_method(self.manifest)

    def at(self, layer: str) -> Engine:
        """The classifier with its evidence taken at another of `layers`; UnknownNameError for an unknown layer."""
        return self._classifier.at(layer)

    def logits(self, batch: FloatArray) -> FloatArray:
        """Tensors (N, 3, height, width) to logits (N, L)."""
        return self._classifier.logits(batch)

    def logits_and_features(self, batch: FloatArray) -> tuple[FloatArray, FloatArray | None]:
        """Logits (N, L) and features (N, C) of one pass, as `prediction` takes them; no features for a black box."""
        # Before the pass, while the tensors are still in the processor's cache.
        looks = looks_of(batch, self.preprocessing) if self.looks else None
        logits, features = self._classifier.logits_and_features(batch)
        if features is not None and looks is not None:
            features = np.concatenate([features, looks], axis=1)
        return logits, features

    @property
    def looks(self) -> int:
        """How many of the last features say how the image looks; the others are of the explained layer."""
        return 0 if self._flag is None else self._flag.looks

    def with_looks(self, features: FloatArray, batch: FloatArray) -> FloatArray:
        """Features of the explained layer (N, C) with how the images of the batch look, where the flag asks for it."""
        return np.concatenate([features, looks_of(batch, self.preprocessing)], axis=1) if self.looks else features

    def of_layer(self, features: FloatArray) -> FloatArray:
        """Features (N, C) without how the images look."""
        return features[:, : -self.looks] if self.looks else features

    def outside_scores(self, features: FloatArray, logits: FloatArray | None = None) -> npt.NDArray[np.float64] | None:
        """Distances (N,) of images from the training images; above 1 gives a warning. None if unknown.

        `features` (N, C) and `logits` (N, L) are of one pass; the logits are needed by bundles that flag by energy.
        """
        return None if self._flag is None else self._flag.scores(features, logits)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        """Logits, activations and gradients of a batch of tensors; see EvidenceClassifier."""
        return self._classifier.evidence(batch, target, score)

    def layered_evidence(
        self, batch: FloatArray, target: Target = None, score: Score | None = None
    ) -> tuple[Evidence, ...]:
        """Evidence of several layers from one pass, front to back; InputError for a bundle without that graph."""
        return self._classifier.layered_evidence(batch, target, score)

    def input_gradients(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> InputGradients:
        """Gradients of a batch of tensors with respect to the pixels; InputError for a bundle without that graph."""
        return self._classifier.input_gradients(batch, target, score)

    def tail(self, activations: FloatArray) -> FloatArray:
        """Activations (M, C, h, w) of the explained layer to logits (M, L); InputError for a bundle without a tail."""
        return self._classifier.tail(activations)

    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], *, batch_size: int = 16) -> list[Prediction]: ...
    @overload
    def predict(self, images: Any, *, batch_size: int = 16) -> Prediction: ...
    def predict(self, images: Any, *, batch_size: int = 16) -> Prediction | list[Prediction]:
        """Classify one image or a list: paths, bytes, PIL images, arrays (H, W, 3) uint8, or Image.

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
        """Predictions of images that were read before, in one batch. `paths` become the paths of the predictions."""
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
        """Read an image at the resolution that the model needs; its `size` is that of the original."""
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
        """The prediction for one row of logits (L,): what is answered, and all probabilities.

        With the `features` (C,) of the same pass it also says how far the image is from the training images.
        """
        score = None
        if features is not None and self._flag is not None:
            score = self._flag.score(features, logits)
            warnings = (outside_warning(self.classes), *warnings) if score > 1 else warnings
        quality = None if self.proof is None else self.proof.quality
        if quality is not None and not self.runtime.exact:
            near = is_near(self.manifest, logits, quality.margin, score, quality.outside_margin)
            warnings = (*warnings, NEAR) if near else warnings
        if gives_score(self.task):
            index = int(self.predicted(logits[None])[0])
            decided = self.manifest.decision(logits, index, score)
            return Prediction(decided.label, None, {}, float(logits[0]), path, warnings, score, decided)
        probabilities = self.probabilities_of(logits[None])
        index, row = int(self.manifest.predicted(logits[None], probabilities)[0]), probabilities[0]
        decided = self.manifest.decision(row, index, score)
        sure = float(row[index])
        return Prediction(decided.label, sure, decided.probabilities, None, path, warnings, score, decided)

    @overload
    def explain(
        self,
        image: Any,
        *,
        method: str | None = None,
        target: str | None = None,
        against: str | None = None,
        score: Score | None = None,
        layer: str | None = None,
        settings: Any = None,
    ) -> Attribution: ...
    @overload
    def explain(
        self,
        image: Any,
        *,
        method: str | None = None,
        target: tuple[str, ...],
        score: Score | None = None,
        layer: str | None = None,
        settings: Any = None,
    ) -> tuple[Attribution, ...]: ...
    def explain(
        self,
        image: Any,
        *,
        method: str | None = None,
        target: Target = None,
        against: str | None = None,
        score: Score | None = None,
        layer: str | None = None,
        settings: Any = None,
    ) -> Attribution | tuple[Attribution, ...]:
        """Explain one image for a class (the predicted one by default), or for several at once.

        Without a `method` it is `usual_method`: grad-cam, or the anomaly map of an anomaly detector.
        With `against` the question is why `target` and not that class: the score is the log of the ratio of their
        probabilities. The attribution lies on the image's own pixels. `layer` is one of `layers`, for methods that look
        at a layer; `settings` are of the method's own type. Raises ImageError, or UnknownNameError for a method, class
        or layer.
        """
        if against is not None:
            if isinstance(target, tuple):
                raise InputError("`against=` goes with one class in `target=`.")
            target = versus(target, against)
        answered = self.explain_images(
            [self.read(image)], method=method, target=target, score=score, layer=layer, settings=settings
        )
        attributions = answered[0].attributions
        return attributions if isinstance(target, tuple) else attributions[0]

    def explain_images(
        self,
        images: Sequence[Image],
        *,
        method: str | None = None,
        target: Target = None,
        score: Score | None = None,
        layer: str | None = None,
        settings: Any = None,
    ) -> list[Explained]:
        """Logits and explanations of images that were read before, in one batch; `answer` gives their predictions."""
        method = method or self.usual_method
        if layer is not None:
            find_method(method).check_layer(layer)
        return self.explain_by_methods(images, {method: settings}, target=target, score=score, layer=layer)[0]

    def explain_by_methods(
        self,
        images: Sequence[Image],
        methods: Mapping[str, Any],
        *,
        target: Target = None,
        score: Score | None = None,
        layer: str | None = None,
    ) -> list[list[Explained]]:
        """For each of `methods` (name to settings, None for the defaults), what it says of each image.

        Passes that several methods need run once. `layer` is for the methods that look at one.
        """
        batch, sizes = self.preprocessing.tensors(images), [image.size for image in images]
        whole = SharedPasses(self, self.manifest, batch)
        other = whole if layer is None else SharedPasses(self.at(layer), self.manifest, batch)
        answered = []
        for method, settings in methods.items():
            self._check_kind(method)
            at = other if find_method(method).looks_at_layer else whole
            found = explain_tensors(at, batch, sizes, method=method, target=target, score=score, settings=settings)
            if at is not whole:  # the training images are described by features of the default layer
                found = [replace(f, features=None) for f in found]
            answered.append(self._with_features(found, whole, batch))
        return answered

    def _check_kind(self, method: str) -> None:
        """InputError for a method that explains classes, of an anomaly detector."""
        lack = find_method(method).lacking(self.manifest)
        if lack is not None and lack.what == "class":
            raise InputError(
                f"{self.manifest.name} measures distances from normal images and has no evidence for classes, which "
                f"{method} needs: use {self.usual_method}, or occlusion."
            )

    def _with_features(self, found: list[Explained], whole: SharedPasses, batch: FloatArray) -> list[Explained]:
        """Add the features that tell how unusual an image is, where a method did not give them."""
        if self._flag is None or not found:
            return found
        had = [f.features for f in found if f.features is not None]
        if had and not self.looks:
            return found
        # After a method that asks for probabilities only, one more pass tells how unusual the image is.
        features = self.with_looks(np.stack(had), batch) if had else whole.logits_and_features(batch)[1]
        return found if features is None else [replace(f, features=row) for f, row in zip(found, features, strict=True)]

    def answer(self, explained: Explained, *, path: str | None = None, warnings: tuple[str, ...] = ()) -> Prediction:
        """The prediction that came with an explanation of `explain_images`."""
        if explained.logits is None:
            raise ValueError("an explanation of a bundle always has logits")
        return self.prediction(explained.logits, features=explained.features, path=path, warnings=warnings)


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    decode: Decode | None = None,
    engine: str = "onnxruntime",
    precision: str = "float32",
) -> Bundle:
    """Load a run or a bundle folder. `threads` limits the cores of one forward pass; all by default.

    `decode` is `full` to decode large JPEGs whole, as the private page does, or `draft`, at a reduced size; by default
    as the model was trained.

    `engine` is onnxruntime, openvino, or auto for what `pellucid optimise` advises here. `precision` is float32,
    bfloat16 or int8; those below float32 need OpenVINO, and a proof by `pellucid optimise` that answers and maps stay
    as they are.

    Raises BundleError when the folder holds no bundle, when a file in it is missing or was changed, or when a graph
    reads a file that is not part of the bundle. Raises InputError for a precision that is not proven or was refused,
    UnknownNameError for other names, MissingDependencyError without OpenVINO.
    """
    folder = find_bundle(Path(path))
    manifest = read_bundle(folder)
    runtime, proof = chosen_runtime(folder, manifest, engine, precision, threads)
    if decode is not None:
        if decode not in get_args(Decode):
            raise UnknownNameError("way of decoding", str(decode), get_args(Decode), "Use draft or full.")
        shape = manifest.preprocessing.model_copy(update={"decode": decode})
        manifest = manifest.model_copy(update={"preprocessing": shape})
    return open_bundle(folder, manifest, ProvenRuntime(runtime, proof), threads)


def load_chosen(path: str | Path, choice: EngineChoice, *, threads: int | None = None) -> Bundle:
    """`load` with an engine and a precision that were asked for together."""
    return load(path, threads=threads, engine=choice.engine, precision=choice.precision)


def open_bundle(
    folder: Path, manifest: Manifest, running: ProvenRuntime, threads: int | None = None, *, graph: Path | None = None
) -> Bundle:
    """A bundle in a runtime that was chosen before, proven or not; `graph` is run in place of the bundle's main one.

    Graphs beside the main one run on ONNX Runtime in float32.
    """
    reference = manifest.reference
    flag = None if reference is None else read_flag(folder / REFERENCE, reference)
    check_graphs(folder, manifest)
    if depends_on_batch(folder):  # also where an older pellucid imported the model
        manifest = manifest.model_copy(update={"batchable": False})
    others = cache(lambda name: graph_session(folder, manifest, name, threads))
    own = running.proof.graph if running.proof is not None and running.proof.graph else MODEL
    session = runtime_session(graph or folder / own, running.runtime, threads)
    return Bundle(folder, manifest, OnnxClassifier(manifest, session, others), flag, running)
