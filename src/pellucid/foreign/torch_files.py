"""TorchScript archives and exported programs: written as ONNX by torch itself, and read from there like any ONNX graph.

Torch's loaders of both trust the file they are given (pytorch's SECURITY.md), so they are used only when told to.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, PellucidError
from ..preprocessing import FloatArray
from .imported import Source
from .onnx_model import read_onnx_model


def read_torchscript(path: Path, size: tuple[int, int] | None, *, trust: bool) -> Source:
    """Read a TorchScript archive of a model of images (N, 3, height, width). InputError without a size, or trust."""
    _must_trust(path, trust)
    if size is None:
        raise InputError(f"{path} does not say how large its images are: give --input-size.")
    with _one_sentence(path):
        module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        blank = torch.zeros(1, 3, *size)

        def write(target: str) -> None:
            axes = {"image": {0: "images"}}
            torch.onnx.export(module, (blank,), target, dynamo=False, input_names=["image"], dynamic_axes=axes)

        return replace(_by_way_of_onnx(path, write, module), kind="TorchScript", size=size)


def read_exported_program(path: Path, *, trust: bool) -> Source:
    """Read a program saved by torch.export.save."""
    _must_trust(path, trust)
    with _one_sentence(path):
        program = torch.export.load(str(path))

        def write(target: str) -> None:
            exported: Any = torch.onnx.export(program, dynamo=True, verbose=False)
            exported.save(target, external_data=False)

        return replace(_by_way_of_onnx(path, write, program.module()), kind="exported program")


def _must_trust(path: Path, trust: bool) -> None:
    if not trust:
        raise InputError(
            f"{path} would be opened by torch's own loader, which can run code from the file. If you trust where it "
            f"comes "
            "from, add --trust; otherwise ask for an ONNX file."
        )


def _by_way_of_onnx(path: Path, write: Callable[[str], None], module: Any) -> Source:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(folder) / path.with_suffix(".onnx").name
        write(str(target))
        found = read_onnx_model(target)

    def original(batch: FloatArray) -> FloatArray:
        with torch.no_grad():
            answers: FloatArray = module(torch.from_numpy(batch)).numpy()
            return answers

    return replace(found, runtime="torch", original=original, versions={})


@contextmanager
def _one_sentence(path: Path) -> Iterator[None]:
    try:
        yield
    except (PellucidError, MemoryError):
        raise
    except Exception as error:  # torch's loaders and exporters share no base
        said = str(error).strip().partition("\n")[0][:200].rstrip(".")
        raise InputError(f"{path} cannot be read by torch {torch.__version__}: {said}.") from error
