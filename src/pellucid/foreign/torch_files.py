"""TorchScript archives and exported programs: written as ONNX by torch itself, and read from there like any ONNX graph.

Torch's loaders of both trust the file they are given (pytorch's SECURITY.md), so they need permission.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError, PellucidError
from ..models.further_graphs import root_sentence
from ..models.onnx_file import quiet
from ..preprocessing import FloatArray
from .imported import Source
from .onnx_model import read_onnx_model


def must_allow(path: Path, allow_code: bool, size: tuple[int, int] | None = (0, 0)) -> None:
    """Raise InputError for a file of torch that may not be opened, or that lacks the size of its images."""
    if not allow_code:
        raise InputError(
            f"{path} would be opened by torch's own loader, which can run code from the file. If you trust its "
            "origin, repeat with `allow_code=`; otherwise ask for an ONNX file."
        )
    if size is None:
        raise InputError(f"{path} does not say how large its images are: give `size=`, for example 224.")


def read_torchscript(path: Path, size: tuple[int, int] | None) -> Source:
    """Read a TorchScript archive of a model of images (N, 3 or 1, height, width). Runs torch's own loader."""
    with _one_sentence(path):
        module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        channels = channels_of(module, size or (224, 224))
        blank = torch.zeros(1, channels, *(size or (224, 224)))

        def write(target: str) -> None:
            axes = {"image": {0: "images"}}
            torch.onnx.export(module, (blank,), target, dynamo=False, input_names=["image"], dynamic_axes=axes)

        source = _by_way_of_onnx(path, write, module)
        return replace(source, kind="TorchScript", size=size or (None, None), channels=channels)


def channels_of(module: Any, size: tuple[int, int]) -> int:
    """3, or 1 for a module that runs on images of one channel only."""
    for channels in (3, 1):
        try:
            with torch.no_grad():
                module(torch.zeros(2, channels, *size))
        except Exception:  # whatever a foreign module raises; what is wrong shows where it is run on purpose
            continue
        return channels
    return 3


def read_exported_program(path: Path) -> Source:
    """Read a program saved by torch.export.save. Runs torch's own loader."""
    with _one_sentence(path):
        program = torch.export.load(str(path))

        def write(target: str) -> None:
            exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
            exported.save(target, external_data=False)

        return replace(_by_way_of_onnx(path, write, program.module()), kind="exported program")


def _by_way_of_onnx(path: Path, write: Callable[[str], None], module: Any) -> Source:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.with_suffix(".onnx").name
        write(str(target))
        source = read_onnx_model(target)

    return replace(source, runtime=f"torch {torch.__version__}", original=original_of(module), versions={})


def original_of(module: Any) -> Callable[[FloatArray], FloatArray]:
    """A torch module as a function of images (N, C, H, W) to its answers (N, K), one at a time where it must be."""

    def run(batch: FloatArray) -> FloatArray:
        with torch.no_grad():
            answers: FloatArray = module(torch.from_numpy(np.ascontiguousarray(batch))).numpy()
            return answers.reshape(len(batch), -1)

    def original(batch: FloatArray) -> FloatArray:
        try:
            return run(batch)
        except Exception:  # a module that was traced for one image raises whatever its operators raise
            return np.concatenate([run(image[None]) for image in batch])

    return original


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's loaders and exporters share no base
        raise InputError(f"{path} cannot be read by torch {torch.__version__}: {root_sentence(error)}.") from error
