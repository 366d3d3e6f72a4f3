"""A model read from a file, made fit for images of one size: checked to run on them, and its outputs counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..models.further_graphs import root_sentence
from ..preprocessing import FloatArray
from .imported import Source
from .module_graph import ModuleGraph, check_sizes
from .onnx_black_box import OnnxModule
from .onnx_model import ONE_AT_A_TIME
from .onnx_reading import check_lengths
from .pictures import made_up_pictures

AGREEMENT = 1e-3
DEPENDENCE = 1e-4
SUM_TOLERANCE = 1e-2
PROBES = 4


@dataclass(frozen=True)
class Settled:
    """A source that runs on images of its size, and its outputs (N, K) on pictures in several ranges of values."""

    source: Source
    outputs: FloatArray

    @property
    def units(self) -> int:
        """How many numbers the model answers for an image."""
        return int(self.outputs.shape[1])


def settled(source: Source, size: tuple[int, int]) -> Settled:
    """A source for images of a size.

    Where a converted graph does not compute what its own runtime does, the black box takes its place. Raises InputError
    when the model does not fit the size, or is no classifier.
    """
    box = source.black_box if source.black_box is not None else source.network
    if isinstance(box, OnnxModule):
        check_lengths(box.proto, "The model", size)
    if source.black_box is not None and not _agrees(source, size):
        note = "The graph could not be differentiated faithfully, so it is a black box: probabilities explain it."
        source = replace(source, network=source.black_box, black_box=None, notes=(*source.notes, note))
    elif isinstance(source.network, ModuleGraph):
        check_sizes(source.network, source.channels, size)
    probes = probe_pictures(source, size)
    _check_answer(_run(source, np.zeros((2, *probes.shape[1:]), np.float32), size))
    outputs = _check_answer(_run(source, probes, size))
    if isinstance(source.network, OnnxModule) and source.batchable and _depends(source.network, probes):
        source = _one_at_a_time(source)
        outputs = _check_answer(_run(source, probes, size))
    source = _without_a_truth_that_fails(source, probes)
    _check_ending(source, probes)
    return Settled(source, outputs)


def _without_a_truth_that_fails(source: Source, images: FloatArray) -> Source:
    """The source without its second truth where that cannot run what this package can."""
    if source.original is None or source.second is None:
        return source
    try:
        source.original(images[:1])
    except Exception:  # another library raises whatever its layers raise
        return replace(source, original=None, runtime=source.second)
    return source


def probe_pictures(source: Source, size: tuple[int, int]) -> FloatArray:
    """Pictures as values 0..1, -1..1 and 0..255, or only the last where the model takes pixels; (N, C, H, W)."""
    count = PROBES if size[0] * size[1] <= 1 << 20 else 1
    pictures = np.moveaxis(made_up_pictures(count, size), -1, 1)[:, : source.channels].astype(np.float32)
    if source.pixels is not None:
        return np.ascontiguousarray(pictures)
    return np.concatenate([pictures / 255, pictures / 127.5 - 1, pictures])


def _run(source: Source, images: FloatArray, size: tuple[int, int]) -> Any:
    try:
        with torch.no_grad():
            if isinstance(source.network, OnnxModule) and source.activation == "linear":
                return source.network.run(images)
            answers = source.network(torch.from_numpy(images))
            return answers.numpy() if isinstance(answers, torch.Tensor) else answers
    except Exception as error:  # whatever a foreign model raises
        raise InputError(
            f"The model does not run on images of {size[0]} x {size[1]} pixels: {root_sentence(error)}."
        ) from error


def _check_answer(answers: Any) -> FloatArray:
    """The answers as (N, K); InputError for what no classifier gives."""
    if not isinstance(answers, np.ndarray) or answers.ndim < 1 or answers.dtype.kind != "f":
        what = f"an array of {answers.dtype}" if isinstance(answers, np.ndarray) else f"a {type(answers).__name__}"
        raise InputError(
            f"The model does not give one row of numbers for each image, but {what}: wrap it so that it returns the "
            "row of the classes alone."
        )
    beside = [n for n in answers.shape[1:] if n != 1]
    if len(beside) > 1:
        raise InputError(
            f"The model answers each image by {' x '.join(map(str, answers.shape[1:]))} numbers, so it looks like a "
            "detector or a segmenter; a classifier answers by one number for each class."
        )
    if not np.isfinite(answers).all():
        raise InputError(
            "The model's answer to a plain picture is no finite number: it is damaged, or its training failed."
        )
    rows: FloatArray = answers.reshape(len(answers), -1).astype(np.float32)
    return rows


def _depends(box: OnnxModule, images: FloatArray) -> bool:
    """Whether the answer for an image changes with the other images of its batch."""
    if box.fixed is not None:
        return False
    together, alone = box.run(images), box.at_most(1).run(images)
    return not np.allclose(together, alone, rtol=DEPENDENCE, atol=DEPENDENCE)


def _one_at_a_time(source: Source) -> Source:
    box = source.network
    if not isinstance(box, OnnxModule):
        return source
    lone = box.at_most(1)
    note = ONE_AT_A_TIME.format(reason="as a comparison of batches shows")
    return replace(source, network=lone, original=lone.run, batchable=False, notes=(*source.notes, note))


def _check_ending(source: Source, images: FloatArray) -> None:
    """Raise InputError when a last softmax does not go over the whole answer."""
    if source.activation != "softmax" or source.original is None:
        return
    answers = np.asarray(source.original(images), np.float64).reshape(len(images), -1)
    if np.abs(answers.sum(axis=1) - 1).max() > SUM_TOLERANCE:
        raise InputError(
            f"The model ends in a softmax, but its {answers.shape[1]} outputs sum to {answers[0].sum():.3g}: it looks "
            "like a detector or a segmenter, or like a softmax over the images of a batch."
        )


def _agrees(source: Source, size: tuple[int, int]) -> bool:
    images = probe_pictures(source, size)
    try:
        with torch.no_grad():
            ours = source.network(torch.from_numpy(images))
            ours = ours.reshape(len(images), -1)
            theirs = source.black_box(torch.from_numpy(images)).flatten(1) if source.black_box else ours
            finish = {"softmax": lambda z: torch.softmax(z, 1), "sigmoid": torch.sigmoid}
            finish["log_softmax"] = finish["softmax"]
            ours, theirs = (finish[source.activation](v) if source.activation in finish else v for v in (ours, theirs))
    except Exception:  # an operator used in a way that is not known, or the wrong size: the black box will say
        return False
    scale = max(1.0, float(theirs.abs().max()))
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= AGREEMENT * scale)
