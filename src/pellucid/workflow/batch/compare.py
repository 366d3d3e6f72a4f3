"""Compare two batch folders, joined by the checksums of their images (`pellucid compare`)."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...classifier import gives_score
from ...errors import ImageError, InputError, ResourceError
from ...evaluation.comparison import (
    BatchEstimate,
    ClassMix,
    Comparison,
    Drift,
    Flip,
    Side,
    agreement_of,
    estimate_of,
    findings_of,
    mix_drift,
    number_drift,
    share_of,
)
from ...evaluation.exchangeability import StreamTest, judge_stream
from ...files import write_whole
from .job import BatchRecord, read_job
from .parts import read_parts, read_skipped
from .plan import PLAN, Plan
from .reading import Reader

DOCUMENT, PAGE = "compare.json", "compare.html"
MOST_FLIPS = 100
PICTURED = 24
MOST_IN_STREAM = 20_000


@dataclass(frozen=True, slots=True)
class _Answers:
    """The part of a batch that a comparison needs: arrays over its N answers."""

    out: Path
    job: BatchRecord
    index: npt.NDArray[np.int64]
    key: npt.NDArray[np.bytes_]
    decision: npt.NDArray[np.int64]
    score: npt.NDArray[np.float64]
    outside: npt.NDArray[np.float64]


def compare_batches(a: str | Path, b: str | Path) -> tuple[Comparison, dict[str, bytes]]:
    """Compare two batches; also returns the bytes of flipped images by checksum, if they can still be read.

    An image that occurs several times in a batch counts once in the agreement. Raises InputError for a folder that is
    not a batch, and for a batch that is unfinished or has no answers.
    """
    one, two = _read(Path(a)), _read(Path(b))
    classes = _labels(one, two)
    first, second = _common(one, two)
    place = {name: i for i, name in enumerate(classes)}
    named = [np.array([place.get(c, 0) for c in side.job.labels], np.int64) for side in (one, two)]
    decided = named[0][one.decision], named[1][two.decision]
    changes = two.score[second] - one.score[first] if _comparable(one.job, two.job) else None
    places = np.flatnonzero(decided[0][first] != decided[1][second])
    if changes is not None:
        places = places[np.argsort(-np.abs(changes[places]), kind="stable")]
    names = [[classes[i] for i in d[rows]] for d, rows in zip(decided, (first, second), strict=True)]
    agreement = agreement_of(names[0], names[1], classes, changes) if len(first) else None
    flips, pictures = _flips(one, two, first[places], second[places], changes, places)
    fresh = np.ones(len(one.index), bool), np.ones(len(two.index), bool)
    fresh[0][np.isin(one.key, two.key)] = False
    fresh[1][np.isin(two.key, one.key)] = False
    drifts, mix = _drifts((one, two), decided, fresh, classes)
    same_model = one.job.model == two.job.model
    stream = _stream(one, two, fresh) if same_model else None
    estimate = _estimate(one, two, drifts) if same_model else None
    known = one.job.classes, two.job.classes
    findings, verdict = findings_of(agreement, len(places), drifts, same_model, stream, estimate, known)
    comparison = Comparison(
        a=_side(one, int(fresh[0].sum())),
        b=_side(two, int(fresh[1].sum())),
        same_model=same_model,
        agreement=agreement,
        flipped=len(places),
        flips=tuple(flips),
        mix=mix,
        drifts=tuple(drifts),
        outside_a=_outside(one),
        outside_b=_outside(two),
        stream=stream,
        findings=findings,
        verdict=verdict,
        estimate=estimate,
    )
    return comparison, pictures


def _labels(a: _Answers, b: _Answers) -> list[str]:
    """The classes of both, then what takes their place where that occurs in either."""
    classes = list(dict.fromkeys((*a.job.classes, *b.job.classes)))
    met = [side.job.labels[i] for side in (a, b) for i in np.unique(side.decision) if i >= len(side.job.classes)]
    return [*classes, *dict.fromkeys(name for name in met if name not in classes)]


def write_comparison(folder: Path, comparison: Comparison, pictures: Mapping[str, bytes]) -> Path:
    """Write `compare.json` and `compare.html` into `folder`; returns the page. Raises ResourceError."""
    from ...reporting.comparison import render_comparison

    page = render_comparison(comparison, pictures)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / DOCUMENT, comparison.model_dump_json(indent=2) + "\n")
        write_whole(folder / PAGE, page.encode("utf-8", "replace"))
    except OSError as error:
        message = f"{folder} cannot be written to ({error.strerror}). Choose another `out=`, or make room."
        raise ResourceError(message) from error
    return folder / PAGE


def _read(out: Path) -> _Answers:
    job = read_job(out)
    score = "output" if gives_score(job.task) else f"p_{job.classes[-1]}" if job.task == "binary" else "confidence"
    index: list[Any] = []
    keys: list[Any] = []
    decisions: list[Any] = []
    scores: list[Any] = []
    outside: list[Any] = []
    number = {name: i for i, name in enumerate(job.labels)}
    for table in read_parts(out, ["index", "sha256", "decision", score, "outside_score"]):
        index.append(table["index"].to_numpy())
        # Half of a SHA-256 identifies an image just as well, in half the memory.
        keys.append(np.array([text[:32] for text in table["sha256"].to_pylist()], "S32"))
        decisions.append(np.array([number[name] for name in table["decision"].to_pylist()], np.int64))
        scores.append(table[score].to_numpy().astype(np.float64))
        outside.append(table["outside_score"].fill_null(float("nan")).to_numpy().astype(np.float64))
    skipped = sum(1 for _ in read_skipped(out))
    answered = sum(map(len, index))
    if answered + skipped < job.items:
        raise InputError(
            f"The batch in {out} is unfinished, {answered + skipped:,} of {job.items:,} images: resume it first."
        )
    if not answered:
        raise InputError(f"The batch in {out} has no answers: none of its images could be read.")
    joined = (np.concatenate(values) for values in (index, keys, decisions, scores, outside))
    return _Answers(out, job, *joined)


def _common(a: _Answers, b: _Answers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows in both batches that belong to the same images."""
    ones, first = np.unique(a.key, return_index=True)
    twos, second = np.unique(b.key, return_index=True)
    _, i, j = np.intersect1d(ones, twos, assume_unique=True, return_indices=True)
    rows = np.argsort(first[i], kind="stable")
    return first[i][rows].astype(np.int64), second[j][rows].astype(np.int64)


def _comparable(a: BatchRecord, b: BatchRecord) -> bool:
    return a.task == b.task and a.task != "multiclass" and a.classes == b.classes


def _flips(
    a: _Answers,
    b: _Answers,
    first: npt.NDArray[np.int64],
    second: npt.NDArray[np.int64],
    changes: npt.NDArray[np.float64] | None,
    places: npt.NDArray[np.int64],
) -> tuple[list[Flip], dict[str, bytes]]:
    """The flips to list, the largest change first, and the bytes of those to show."""
    first, second, places = first[:MOST_FLIPS], second[:MOST_FLIPS], places[:MOST_FLIPS]
    flips: list[Flip] = []
    pictures: dict[str, bytes] = {}
    with Plan(a.out / PLAN) as plan_a, Plan(b.out / PLAN) as plan_b, Reader() as reader:
        items_a = dict(plan_a.pick((int(i) for i in a.index[first]), a.job.part_size))
        items_b = dict(plan_b.pick((int(i) for i in b.index[second]), b.job.part_size))
        for x, y, place in zip(first, second, places, strict=True):
            items = items_a[int(a.index[x])], items_b[int(b.index[y])]
            key = a.key[x].decode()
            flips.append(
                Flip(
                    sha256=key,
                    path_a=items[0].path,
                    path_b=items[1].path,
                    a=a.job.labels[a.decision[x]],
                    b=b.job.labels[b.decision[y]],
                    change=None if changes is None else float(changes[place]),
                )
            )
            for item in items:
                if len(pictures) < PICTURED and key not in pictures:
                    try:
                        data = reader.read(item)
                    except (ImageError, ResourceError):
                        continue
                    # A file that has changed since is not the image that was classified.
                    if hashlib.sha256(data).hexdigest().startswith(key):
                        pictures[key] = data
    return flips, pictures


def _drifts(
    sides: tuple[_Answers, _Answers],
    decided: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    fresh: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]],
    classes: list[str],
) -> tuple[list[Drift], tuple[ClassMix, ...]]:
    counts = [_counts(d, classes) for d in decided]
    new = [_counts(d[f], classes) for d, f in zip(decided, fresh, strict=True)]
    drifts = [mix_drift(counts[0], counts[1], new[0], new[1])]
    names: tuple[Literal["score", "distance to the training images"], ...] = (
        "score",
        "distance to the training images",
    )
    a, b = sides
    for name in names:
        if name == "score" and not (_comparable(a.job, b.job)):
            continue
        values = (a.score, b.score) if name == "score" else (a.outside, b.outside)
        known = [np.isfinite(v) for v in values]
        drift = number_drift(
            name,
            values[0][known[0]],
            values[1][known[1]],
            values[0][known[0] & fresh[0]],
            values[1][known[1] & fresh[1]],
        )
        drifts += [drift] if drift is not None else []
    totals = len(decided[0]), len(decided[1])
    mix = tuple(
        ClassMix(name=c, a=share_of(counts[0][c], totals[0]), b=share_of(counts[1][c], totals[1])) for c in classes
    )
    return drifts, mix


def _stream(a: _Answers, b: _Answers, fresh: tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]) -> StreamTest | None:
    """The test of the second batch's new images, in its order, against the first's; None without distances."""
    known, new = a.outside[fresh[0]], b.outside[fresh[1]]
    known, new = known[np.isfinite(known)][:MOST_IN_STREAM], new[np.isfinite(new)][:MOST_IN_STREAM]
    return judge_stream(new, known.tolist()) if len(known) and len(new) else None


def _estimate(one: _Answers, two: _Answers, drifts: list[Drift]) -> BatchEstimate | None:
    """What one model's probabilities say of the second batch without labels; of two classes only."""
    if one.job.task != "binary":
        return None
    negative, positive = one.job.classes
    return estimate_of(one.score, two.score, (negative, positive), drifts, one.job.threshold)


def _counts(decided: npt.NDArray[np.int64], classes: list[str]) -> dict[str, int]:
    found = Counter(decided.tolist())
    return {name: found[i] for i, name in enumerate(classes)}


def _outside(side: _Answers) -> Any:
    known = np.isfinite(side.outside)
    return share_of(int((side.outside[known] > 1).sum()), int(known.sum())) if known.any() else None


def _side(side: _Answers, new: int) -> Side:
    return Side(
        out=str(side.out.resolve()),
        model_name=side.job.model_name,
        model=side.job.model.get("model.onnx", "")[:12],
        created=side.job.created,
        answered=len(side.index),
        skipped=side.job.items - len(side.index),
        new=new,
    )
