"""The row of the classes among several outputs of a torch module (two heads, features beside logits)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from ..errors import InputError

WRAP = "Wrap it in a module whose `forward` returns the classes' row alone."


def keep_one_answer(module: nn.Module, classes: int, example: torch.Tensor) -> tuple[str, ...]:
    """Make a module with several outputs give the one (N, K) for K classes, or (N, 1) for two; notes on what it did.

    `example` (N, C, H, W) is what it is run on. A module that gives one tensor stays as it is, except that one number
    for each image (N,) becomes a row (N, 1). Names of layers stay as they are, since the choice is made in a hook.
    Raises InputError where not exactly one output fits.
    """
    try:
        with torch.no_grad():
            answers = module(example)
    except Exception:  # whatever a foreign module raises; what is wrong shows where it is run on purpose
        return ()
    if isinstance(answers, torch.Tensor):
        if answers.shape == example.shape[:1]:  # `squeeze` at the end of a network with one output
            module.register_forward_hook(lambda _module, _inputs, output: output.reshape(-1, 1))
        return ()
    found = dict(_tensors(answers))
    if not found:
        raise InputError(f"The module answers with {type(answers).__name__}, in which no tensor was found. {WRAP}")
    rows = {classes, 1} if classes == 2 else {classes}
    fitting = [place for place, tensor in found.items() if _row(tensor, len(example)) in rows]
    shapes = ", ".join(f"{_named(place)} {tuple(tensor.shape[1:])}" for place, tensor in found.items())
    if len(fitting) != 1:
        many = "none has" if not fitting else f"{len(fitting)} have"
        raise InputError(
            f"The module answers each image with several tensors ({shapes}), of which {many} one number for each of "
            f"{classes} classes. {WRAP}"
        )
    place = fitting[0]
    module.register_forward_hook(lambda _module, _inputs, output: _at(output, place))
    return () if len(found) == 1 else (f"Of the module's outputs ({shapes}), {_named(place)} is the answer.",)


def _tensors(answers: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], torch.Tensor]]:
    """Every tensor in lists, tuples and mappings, with the keys that lead to it."""
    if isinstance(answers, torch.Tensor):
        if answers.ndim:
            yield place, answers
    elif isinstance(answers, Mapping):
        for key, value in answers.items():
            yield from _tensors(value, (*place, key))
    elif isinstance(answers, tuple | list):
        for number, value in enumerate(answers):
            yield from _tensors(value, (*place, number))


def _row(tensor: torch.Tensor, images: int) -> int:
    """How many numbers it has for each image; 0 where these are no row."""
    beside = [n for n in tensor.shape[1:] if n != 1]
    return 0 if tensor.shape[0] != images or len(beside) > 1 else (beside or [1])[0]


def _at(answers: Any, place: tuple[Any, ...]) -> torch.Tensor:
    for key in place:
        answers = answers[key]
    tensor: torch.Tensor = answers
    return tensor


def _named(place: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in place)
