"""`validation.csv`: what the model answered on its validation images, kept so that a threshold can be chosen again."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import BundleError, ResourceError
from ..files import write_whole
from ..preprocessing import FloatArray
from .intervals import Indices, Values

VALIDATION_FILE = "validation.csv"
OUTSIDE, SUBGROUP = "outside", "subgroup"


@dataclass(frozen=True, slots=True)
class ValidationAnswers:
    """Logits (N, L) before any calibration, labels (N,) that index the classes, paths and groups ("" for none).

    `outside` (N,) are the outside scores, None where the model does not know them, and `subgroups` (N,) the kind that
    each image is of by the model's rules, "" for none; empty where no kinds are told apart.
    """

    paths: tuple[str, ...]
    labels: Indices
    groups: tuple[str, ...]
    logits: FloatArray
    outside: Values | None = None
    subgroups: tuple[str, ...] = ()


def write_validation(answers: ValidationAnswers, classes: tuple[str, ...], folder: Path) -> None:
    """Write the columns path, label, group, logit_1, logit_2, ..., and outside and subgroup where known.

    Raises ResourceError if it fails.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    beside: dict[str, Sequence[object]] = {} if answers.outside is None else {OUTSIDE: list(answers.outside)}
    if answers.subgroups:
        beside[SUBGROUP] = answers.subgroups
    table.writerow([*_columns(answers.logits.shape[1]), *beside])
    for i, (path, label, group, row) in enumerate(
        zip(answers.paths, answers.labels, answers.groups, answers.logits, strict=True)
    ):
        table.writerow([path, classes[label], group, *map(str, row), *(str(column[i]) for column in beside.values())])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / VALIDATION_FILE, text.getvalue())
    except OSError as error:
        raise ResourceError(f"{folder / VALIDATION_FILE} cannot be written: {error.strerror}.") from error


def read_validation(folder: Path, classes: tuple[str, ...], logits: int) -> ValidationAnswers | None:
    """Read back what `write_validation` wrote, to the last bit; None without the file. BundleError when damaged."""
    path = folder / VALIDATION_FILE
    if not path.is_file():
        return None
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    lines = csv.DictReader(io.StringIO(text, newline=""))
    columns = _columns(logits)
    more = [] if lines.fieldnames is None else list(lines.fieldnames)[len(columns) :]
    if lines.fieldnames != [*columns, *more] or more not in ([], [OUTSIDE], [SUBGROUP], [OUTSIDE, SUBGROUP]):
        raise BundleError(f"{path} should have the columns {', '.join(columns)}. Remove it, and it is made again.")
    rows = list(lines)
    if any(None in row or None in row.values() for row in rows):
        raise BundleError(
            f"{path} is damaged (a row has not {len(columns) + len(more)} fields). Remove it, and it is made again."
        )
    try:
        return ValidationAnswers(
            paths=tuple(row["path"] for row in rows),
            labels=np.array([classes.index(row["label"]) for row in rows], np.int64),
            groups=tuple(row["group"] for row in rows),
            logits=np.array([[row[c] for c in columns[3:]] for row in rows], np.float32).reshape(-1, logits),
            outside=np.array([row[OUTSIDE] for row in rows], np.float64) if OUTSIDE in more else None,
            subgroups=tuple(row[SUBGROUP] for row in rows) if SUBGROUP in more else (),
        )
    except ValueError as error:
        raise BundleError(f"{path} is damaged ({error}). Remove it, and it is made again.") from error


def _columns(logits: int) -> list[str]:
    return ["path", "label", "group", *(f"logit_{k + 1}" for k in range(logits))]
