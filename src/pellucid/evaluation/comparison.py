"""Two batches of answers side by side: how far they agree on the same images, and whether what came in has changed.

Agreement is measured on the images in both batches, matched by the checksum of their bytes: it compares models. Drift
is tested on the images in one batch only, because the tests assume two independent sets of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from ..classifier import reaches
from ..data.finding import Finding
from ..documents import Document
from .exchangeability import StreamTest
from .intervals import wilson
from .unlabelled import class_mix

Floats = npt.NDArray[np.float64]
Counts = dict[str, int]

LEVEL = 0.001
"""A difference less probable than this by chance is named; with archives of thousands, 0.05 names everything."""

SMALL, LARGE = 0.05, 0.15
"""A distance between two distributions (0 to 1) below the first is too small to matter; above the second it is large.
These limits are conventions of pellucid."""


class Share(Document):
    """A share 0..1 and its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float


class Side(Document):
    """One of the two batches; `new` counts its images that are not in the other one."""

    out: str
    model_name: str
    model: str
    created: str
    answered: int
    skipped: int
    new: int


class BatchAgreement(Document):
    """How two batches answer the same images.

    `table[a][b]` counts images by decision. `kappa` is Cohen's: 1 for full agreement, 0 for as much as chance gives,
    None where both give one answer only. `shift` is the mean absolute change of the score, None without common
    images.
    """

    images: int
    same: Share
    kappa: float | None
    table: dict[str, Counts]
    shift: float | None


class Flip(Document):
    """One image that is answered differently; `change` is that of the score, 0..1, None where it is not known."""

    sha256: str
    path_a: str
    path_b: str
    a: str
    b: str
    change: float | None


class ClassMix(Document):
    """What share of the answers each class has in either batch."""

    name: str
    a: Share
    b: Share


class Drift(Document):
    """How far two distributions lie apart: `distance` 0..1, and the probability of as much by chance.

    For classes the distance is the total variation and the test chi-square; for numbers both are Kolmogorov and
    Smirnov's. `probability` is None where too few images are new to test. `median_a` and `median_b` are those of
    numbers.
    """

    what: Literal["class mix", "score", "distance to the training images"]
    distance: float
    probability: float | None
    images: tuple[int, int]
    median_a: float | None = None
    median_b: float | None = None

    @property
    def level(self) -> Literal["problem", "caution", "good", "information"]:
        """How grave it is; `information` where it could not be tested, or is real and too small to matter."""
        if self.probability is None:
            return "information"
        if self.probability > LEVEL:
            return "good"
        if self.distance < SMALL:
            return "information"
        return "problem" if self.distance > LARGE else "caution"


class BatchEstimate(Document):
    """What can be said of the second batch without labels, by one model of two classes.

    `mix` is the share of each class by expectation maximisation, from the first batch's, `mix_a`. `accuracy_change` is
    how much higher the accuracy is than in the first batch, by the difference of confidences; None where the images
    have moved too, and it cannot be estimated.
    """

    mix_a: dict[str, float]
    mix: dict[str, float]
    accuracy_change: float | None


class Comparison(Document):
    """`compare.json`: two batches side by side. `flips` are those of the largest change, of `flipped` in all.

    `stream` tests whether the new images of the second batch, in its order, look like those of the first and like each
    other; None for two models, or where no distance to the training images is known.
    """

    schema_version: int = 1
    a: Side
    b: Side
    same_model: bool
    agreement: BatchAgreement | None
    flipped: int
    flips: tuple[Flip, ...]
    mix: tuple[ClassMix, ...]
    drifts: tuple[Drift, ...]
    outside_a: Share | None
    outside_b: Share | None
    stream: StreamTest | None = None
    findings: tuple[Finding, ...]
    verdict: str
    estimate: BatchEstimate | None = None


def share_of(part: int, whole: int) -> Share:
    """`part` of `whole` with its interval."""
    low, high = wilson(part, whole)
    return Share(value=part / whole, low=low, high=high)


def agreement_of(a: Sequence[str], b: Sequence[str], classes: Sequence[str], changes: Floats | None) -> BatchAgreement:
    """Agreement of two lists of decisions on the same images, at least one. `changes` are those of the score.

    Reference for kappa: Cohen, Educ. Psychol. Meas. 20 (1960) 37.
    """
    index = {name: i for i, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, ([index[x] for x in a], [index[x] for x in b]), 1)
    n = int(counts.sum())
    chance = float(counts.sum(axis=0) @ counts.sum(axis=1)) / n**2
    same = int(np.trace(counts))
    return BatchAgreement(
        images=n,
        same=share_of(same, n),
        kappa=None if chance == 1 else (same / n - chance) / (1 - chance),
        table={x: {y: int(counts[i, j]) for y, j in index.items()} for x, i in index.items()},
        shift=None if changes is None else float(np.abs(changes).mean()),
    )


def mix_drift(a: Counts, b: Counts, new_a: Counts, new_b: Counts) -> Drift:
    """Drift of the class mix: the distance of all answers, tested on the new ones alone."""
    names = sorted(a.keys() | b.keys())
    shares = [np.array([of.get(n, 0) for n in names]) / max(sum(of.values()), 1) for of in (a, b)]
    table = np.array([[of.get(n, 0) for n in names] for of in (new_a, new_b)])
    table = table[:, table.sum(axis=0) > 0]
    tested = table.shape[1] > 0 and bool((table.sum(axis=1) > 0).all())
    probability: float | None = None
    if tested:
        # With one class in all, there is nothing that could differ.
        probability = float(stats.chi2_contingency(table, correction=False).pvalue) if table.shape[1] > 1 else 1.0
    return Drift(
        what="class mix",
        distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        probability=probability,
        images=(sum(new_a.values()), sum(new_b.values())),
    )


def number_drift(
    what: Literal["score", "distance to the training images"], a: Floats, b: Floats, new_a: Floats, new_b: Floats
) -> Drift | None:
    """Drift of numbers: the distance over all images, tested on the new ones; None where a side has none."""
    if not len(a) or not len(b):
        return None
    tested = len(new_a) > 0 and len(new_b) > 0
    return Drift(
        what=what,
        distance=float(stats.ks_2samp(a, b, method="asymp").statistic),
        probability=float(stats.ks_2samp(new_a, new_b, method="asymp").pvalue) if tested else None,
        images=(len(new_a), len(new_b)),
        median_a=float(np.median(a)),
        median_b=float(np.median(b)),
    )


def findings_of(
    agreement: BatchAgreement | None,
    flipped: int,
    drifts: Sequence[Drift],
    same_model: bool,
    stream: StreamTest | None = None,
    estimate: BatchEstimate | None = None,
    classes: tuple[Sequence[str], Sequence[str]] | None = None,
) -> tuple[tuple[Finding, ...], str]:
    """What is to be said of a comparison, worst first, and the verdict in one sentence. `classes` are the models'."""
    found = [] if classes is None else _about_classes(*classes)
    if agreement is not None:
        found.append(_about_agreement(agreement, flipped, same_model))
    else:
        text = "No image is in both, so that nothing can be said of agreement."
        found.append(Finding(level="information", topic="agreement", text=text))
    found += [_about(drift) for drift in drifts]
    found += [] if stream is None else [_about_stream(stream)]
    found += [] if estimate is None else [_about_estimate(estimate)]
    order = ("problem", "caution", "good", "information")
    found.sort(key=lambda f: order.index(f.level))
    worst = [f.topic for f in found if f.level in ("problem", "caution")]
    if worst:
        return tuple(found), f"The two differ: {' and '.join(dict.fromkeys(worst))}."
    return tuple(found), "Nothing speaks for a difference that matters."


def estimate_of(
    a: Floats, b: Floats, classes: tuple[str, str], drifts: Sequence[Drift], threshold: float = 0.5
) -> BatchEstimate | None:
    """What probabilities (N,) and (M,) of the second class say of the second batch; None for few images on a side.

    From `threshold` on the second class is answered: how probable the answers are says how often they are right.
    """
    if min(len(a), len(b)) < FEWEST_ESTIMATED:
        return None
    mean = float(a.mean())
    home = np.array([1 - mean, mean])
    if not 0 < mean < 1:
        return None
    mix = class_mix(np.stack([1 - b, b], axis=1), home)
    distance = next((d for d in drifts if d.what == "distance to the training images"), None)
    alike = distance is not None and distance.level in ("good", "information") and distance.probability is not None
    sure_a, sure_b = (float(np.where(reaches(p, threshold), p, 1 - p).mean()) for p in (a, b))
    change = sure_b - sure_a if alike else None
    shares = [dict(zip(classes, map(float, of), strict=True)) for of in (home, mix)]
    return BatchEstimate(mix_a=shares[0], mix=shares[1], accuracy_change=change)


FEWEST_ESTIMATED = 30


def _about_estimate(found: BatchEstimate) -> Finding:
    shares = ", ".join(f"{name} {share:.3f} ({found.mix_a[name]:.3f} in A)" for name, share in found.mix.items())
    text = f"Class mix of B without labels, by expectation maximisation: {shares}."
    if found.accuracy_change is None:
        said = "The accuracy in B cannot be estimated: its images differ from those in A, or it is not known whether."
        advice = "Run `pellucid evaluate` on the images of B with `unlabelled=`, or label some 100 of these."
        return Finding(level="information", topic="without labels", text=f"{text} {said}", advice=advice)
    said = f"By confidence the accuracy in B is {found.accuracy_change:+.3f} against A, if only the mix has changed."
    return Finding(level="information", topic="without labels", text=f"{text} {said}")


def _about_classes(a: Sequence[str], b: Sequence[str]) -> list[Finding]:
    """That the two models do not know the same classes, so that their answers cannot all agree."""
    if set(a) == set(b):
        return []
    shared = bool(set(a) & set(b))
    said = "The two models do not know the same classes" if shared else "The two models have no class in common"
    text = f"{said}: {_named(a)} in A, {_named(b)} in B. Answers that differ for this reason say nothing of the images."
    advice = "Compare batches of models that answer one question."
    return [Finding(level="caution" if shared else "problem", topic="classes", text=text, advice=advice)]


def _named(classes: Sequence[str], most: int = 6) -> str:
    shown = [*classes[:most], *([f"{len(classes) - most} more"] if len(classes) > most else [])]
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _about_agreement(agreement: BatchAgreement, flipped: int, same_model: bool) -> Finding:
    same = agreement.same
    text = (
        f"{agreement.images - flipped:,} of {agreement.images:,} images agree, {100 * same.value:.1f} % "
        f"[{100 * same.low:.1f}, {100 * same.high:.1f}]"
    )
    kappa = "" if agreement.kappa is None else f", kappa {agreement.kappa:.2f}"
    if flipped and same_model:
        advice = "One model on the same bytes should not: compare the versions and the settings of the two runs."
        return Finding(level="problem", topic="agreement", text=f"{text}{kappa}.", advice=advice)
    level: Literal["good", "caution", "problem"] = "good" if same.value >= 0.99 else "caution"
    if same.value < 0.9:
        level = "problem"
    advice = "Look at the flips: which of the two is right?" if flipped else ""
    return Finding(level=level, topic="agreement", text=f"{text}{kappa}.", advice=advice)


def _about(drift: Drift) -> Finding:
    medians = ""
    if drift.median_a is not None and drift.median_b is not None:
        medians = f" (median {drift.median_a:.3g} in A, {drift.median_b:.3g} in B)"
    size = f"distance {drift.distance:.3f} of at most 1{medians}"
    if drift.probability is None:
        why = "one batch has no image of its own" if any(drift.images) else "the images are the same"
        return Finding(level="information", topic=drift.what, text=f"Not tested, as {why}: {size}.")
    chance = f"less than {LEVEL:g}" if drift.probability < LEVEL else f"{drift.probability:.2g}"
    said, advice = "No difference to be seen", ""
    if drift.level == "information":
        said = "A small difference"
    elif drift.level != "good":
        said = "A large difference" if drift.level == "problem" else "A difference"
        advice = {
            "class mix": "Is it the archive that has changed, or the device, the place, the people?",
            "score": "Evaluate the model on labelled images of archive B.",
            "distance to the training images": "Archive B is unlike archive A: evaluate the model there.",
        }[drift.what]
    text = f"{said}: {size}; as much would come by chance with probability {chance}."
    return Finding(level=drift.level, topic=drift.what, text=text, advice=advice)


def _about_stream(stream: StreamTest) -> Finding:
    asked = f"wealth {stream.largest:.3g}, and {stream.limit:g} raises the alarm"
    if stream.at is None:
        text = f"The {stream.images:,} new images of archive B, in its order, show no change ({asked})."
        return Finding(level="good", topic="order of images", text=text)
    text = f"Archive B has changed by its new image {stream.at:,} of {stream.images:,} ({asked})."
    advice = "If B is in the order of time, look at what changed there; an order by class or place can cause it too."
    return Finding(level="caution", topic="order of images", text=text, advice=advice)
