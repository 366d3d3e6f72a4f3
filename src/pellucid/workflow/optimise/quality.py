"""How far a bundle in another runtime lies from the same bundle on ONNX Runtime in float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...bundle.bundle import Bundle
from ...bundle.certificate import Interval, Quality
from ...bundle.nearness import is_near, largest_move
from ...classifier import gives_score
from ...evaluation.answering import UNLIKE, confidences
from ...evaluation.intervals import wilson
from ...evaluation.paired import metric_difference
from ...evaluation.tally import Answers
from ...explanation.agreement import rank_correlation
from ...explanation.cam import grad_cam
from ...explanation.explain import explain_tensors
from ...explanation.faithfulness import CurveSettings, deletion_insertion
from ...preprocessing import FloatArray
from ...progress import Advance
from ..prediction import answers_on_pixels
from .images import Compared

MAPPED, FOLLOWED = 128, 8
"""Images whose maps are compared, and images whose maps are followed by deletion and insertion."""
CURVES = CurveSettings(steps=8)


Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Answered:
    """What a bundle says of the compared images: logits (N, L), outside scores (N,) and maps (M, h, w) of some.

    Below float32 an engine rounds differently when an image is alone, in a batch, or asked for fewer outputs. `ways`
    are the logits of all these, each with its images (rows); `logits` are those in batches.
    """

    bundle: Bundle
    logits: FloatArray
    ways: tuple[tuple[Rows, FloatArray], ...]
    outside: npt.NDArray[np.float64] | None
    maps: FloatArray | None

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Class indices (N,) at the operating point."""
        return self.bundle.predicted(self.logits)

    def outcomes(self, logits: FloatArray, rows: Rows) -> npt.NDArray[np.int64]:
        """What is answered: class indices, or a negative number for answers that are withheld."""
        manifest, predicted = self.bundle.manifest, self.bundle.predicted(logits)
        if manifest.answering is None:
            return predicted
        sure = confidences(manifest.task, self.scores(logits), predicted, manifest.threshold)
        outside = None if self.outside is None else self.outside[rows]
        withheld = manifest.answering.withheld(sure, predicted, outside)
        return np.where(withheld > 0, -withheld, predicted)

    def covered(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Whether the prediction set of each image (N,) holds its class, or its interval; None without such a rule."""
        rules, scores = self.bundle.manifest.answering, self.scores(self.logits)
        if rules is None:
            return None
        if rules.sets is not None:
            return np.asarray(rules.sets.members(scores)[np.arange(len(labels)), labels])
        if rules.interval is None:
            return None
        low, high = rules.interval.around(scores[:, 0], self.outside)
        return np.asarray((low <= labels) & (labels <= high))

    def scores(self, logits: FloatArray) -> FloatArray:
        """Probabilities (n, K) of logits (n, L), or the outputs of a regression as they are."""
        return logits if gives_score(self.bundle.task) else self.bundle.probabilities_of(logits)


def answered(
    bundle: Bundle, images: Compared, advance: Advance, targets: npt.NDArray[np.int64] | None = None
) -> Answered:
    """Answers for all images, and Grad-CAM maps (M, h, w) of some; `targets` (N,) are the classes that maps explain.

    Without targets the maps are of the classes that the bundle itself predicts.
    """
    logits, features = answers_on_pixels(bundle, images.pixels, advance)
    outside = None if features is None else bundle.outside_scores(features, logits)
    every, rows = np.arange(len(logits)), mapped_rows(len(logits))
    ways = [(every, logits)]
    if bundle.runtime.precision != "float32":
        ways += [(rows, _alone(bundle, images, rows, bundle.logits))]
        ways += [(rows, _alone(bundle, images, rows, lambda batch: bundle.logits_and_features(batch)[0]))]
    maps = None
    if bundle.manifest.layer is not None:
        maps, own = _maps(bundle, images, rows, (bundle.predicted(logits) if targets is None else targets)[rows])
        ways.append((rows, own))
    return Answered(bundle, logits, tuple(ways), outside, maps)


def _alone(bundle: Bundle, images: Compared, rows: Rows, ask: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """The logits (M, L) of images that are asked for one at a time."""
    return np.concatenate([ask(bundle.preprocessing.normalise(images.pixels[row : row + 1])) for row in rows])


def mapped_rows(count: int) -> Rows:
    """The images whose maps are compared, in equal steps."""
    return np.linspace(0, count - 1, min(MAPPED, count)).round().astype(np.intp)


def quality(base: Answered, other: Answered, images: Compared) -> Quality:
    """The losses of one runtime; `other` has its maps for the classes that `base` predicts.

    An answer counts as changed when it changes in any of the ways in which it can be asked for.
    """
    count = len(images.pixels)
    changes = [np.abs(base.scores(z).astype(np.float64) - base.scores(base.logits[rows])) for rows, z in other.ways]
    finite = all(np.isfinite(change).all() for change in changes)
    changed = np.zeros(count, bool)
    for rows, z in other.ways:
        changed[rows] |= other.outcomes(z, rows) != base.outcomes(base.logits[rows], rows)
    unusual, outside_margin = None, 0.0
    if base.outside is not None and other.outside is not None:
        unusual = _share(int(((base.outside > UNLIKE) != (other.outside > UNLIKE)).sum()), count)
        outside_margin = float(np.nan_to_num(np.abs(other.outside - base.outside)).max())
    held, now = base.covered(images.labels), other.covered(images.labels)
    moves = [largest_move(base.bundle.manifest, base.logits[rows], z) for rows, z in other.ways] if finite else []
    margin = max(moves, default=0.0)
    return Quality(
        images=count,
        probability=float(max(change.max() for change in changes)) if finite else None,
        mean=float(changes[0].mean()) if finite else None,
        changed=int(changed.sum()),
        decisions=_share(int(changed.sum()), count),
        unusual=unusual,
        auc=_ranking(base, other, images) if finite else None,
        loss=_loss(base, other, images) if finite else None,
        margin=margin,
        outside_margin=outside_margin,
        near=None if other.bundle.runtime.exact or not finite else _near(other, margin, outside_margin),
        uncovered=None if held is None or now is None else _share(int((held & ~now).sum()), count),
        **(_of_maps(base, other, images) if finite else {}),
    )


def _near(said: Answered, margin: float, outside_margin: float) -> float:
    """The share of answers that have the warning of `prediction` for lower precisions."""
    manifest, outside = said.bundle.manifest, said.outside
    scores = [None] * len(said.logits) if outside is None else [float(score) for score in outside]
    near = [is_near(manifest, z, margin, o, outside_margin) for z, o in zip(said.logits, scores, strict=True)]
    return sum(near) / len(near)


def _share(changed: int, count: int) -> Interval:
    low, high = wilson(changed, count)
    return Interval(value=changed / count, low=low if changed else 0.0, high=high)


def _ranking(base: Answered, other: Answered, images: Compared) -> Interval | None:
    """The difference of the AUC (R2 of a regression), on the same images; None where it is not defined."""
    bundle = base.bundle
    regression = bundle.task == "regression"
    theirs, ours = (
        Answers(bundle.task, len(bundle.classes), images.labels, a.predicted, a.scores(a.logits)) for a in (base, other)
    )
    found = metric_difference("r2" if regression else "roc_auc", ours, theirs, images.groups)
    if found.difference is None or found.low is None or found.high is None:
        return None
    return Interval(value=found.difference, low=found.low, high=found.high)


def _loss(base: Answered, other: Answered, images: Compared) -> float | None:
    """The change of the mean cross-entropy, in nats."""
    if gives_score(base.bundle.task):
        return None
    rows = np.arange(len(images.labels))
    shares = [a.scores(a.logits)[rows, images.labels].astype(np.float64) for a in (base, other)]
    losses = [-np.log(np.maximum(share, 1e-7)).mean() for share in shares]
    return float(losses[1] - losses[0])


def _maps(
    bundle: Bundle, images: Compared, rows: Rows, targets: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Grad-CAM maps (M, h, w) of images, each for its own target (M,), and the logits (M, L) of the same passes."""
    maps, logits = [], []
    for row, target in zip(rows, targets, strict=True):
        batch = bundle.preprocessing.normalise(images.pixels[row : row + 1])
        evidence = bundle.evidence(batch, bundle.classes[int(target)])
        maps.append(grad_cam(evidence.activations, evidence.gradients)[:, 0])
        logits.append(evidence.logits)
    return np.concatenate(maps), np.concatenate(logits)


def map_correlations(one: FloatArray, other: FloatArray) -> npt.NDArray[np.float64]:
    """Rank correlations (N,) of maps (N, h, w); of two maps that are the same everywhere 1, of one that is 0."""
    found = rank_correlation(one, other)
    flat = [np.ptp(m.reshape(len(m), -1), axis=1) == 0 for m in (one, other)]
    return np.where(np.isfinite(found), found, np.where(flat[0] & flat[1], 1.0, 0.0))


def _of_maps(base: Answered, other: Answered, images: Compared) -> dict[str, Any]:
    if base.maps is None or other.maps is None or not np.isfinite(other.maps).all():
        return {}
    alike = map_correlations(base.maps, other.maps)
    places = [m.reshape(len(m), -1).argmax(axis=1) for m in (base.maps, other.maps)]
    return {
        "maps": len(alike),
        "correlation": float(np.median(alike)),
        "correlation_least": float(alike.min()),
        "moved": float((places[0] != places[1]).mean()),
        "faithfulness": _followed(base, other, images),
    }


def _followed(base: Answered, other: Answered, images: Compared) -> Interval | None:
    """The change of insertion minus deletion when the maps are those of the other runtime, asked of the base."""
    rows = mapped_rows(len(images.pixels))
    rows = rows[np.linspace(0, len(rows) - 1, min(FOLLOWED, len(rows))).round().astype(np.intp)]
    bundle = base.bundle
    size = (bundle.preprocessing.width, bundle.preprocessing.height)
    gaps: list[list[float]] = [[], []]
    for row in rows:
        batch = bundle.preprocessing.normalise(images.pixels[row : row + 1])
        target = bundle.classes[int(base.predicted[row])]
        for gap, side in zip(gaps, (base, other), strict=True):
            found = explain_tensors(side.bundle, batch, [size], target=target)[0].attributions[0]
            curves = deletion_insertion(bundle, batch, found.values[None], [target], settings=CURVES)
            gap.append(float(curves.gap[0]))
    change = np.subtract(gaps[1], gaps[0])
    if not np.isfinite(change).all():
        return None
    spread = 1.96 * float(change.std(ddof=1)) / np.sqrt(len(change)) if len(change) > 1 else 0.0
    mean = float(change.mean())
    return Interval(value=mean, low=mean - spread, high=mean + spread)
