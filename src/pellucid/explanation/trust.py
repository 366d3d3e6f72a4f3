"""The trust card: what was measured of explanation methods, and what that means in words. `trust.json`, version 1.

A method is `good` when its curves beat all baselines, its maps change with the weights and stay under a little noise.
It is a `problem`, not reliable here, when it does no better than random maps or does not know the weights.
"""

from __future__ import annotations

from typing import Literal

from ..documents import Document

Level = Literal["good", "caution", "problem", "unknown"]

LEVELS: tuple[Level, ...] = ("good", "caution", "unknown", "problem")
"""From the best to the worst, as methods are ranked."""

BASELINE_NAMES = {"random": "random maps", "centre": "a blob in the centre", "edges": "an edge filter"}
FEWEST = 5
"""Images below which nothing is said of a method."""

SAME_WITHOUT_WEIGHTS, ALIKE_WITHOUT_WEIGHTS = 0.5, 0.3
BLIND = 0.99
UNSTABLE, UNSTABLE_SEED = 0.6, 0.7


class MeanEstimate(Document):
    """A mean over images with its 95 % bootstrap interval; bounds are None for too few images."""

    value: float
    low: float | None = None
    high: float | None = None


class Located(Document):
    """A measure against masks or boxes, what chance gives on the same images, and the paired difference `over` it."""

    found: MeanEstimate
    chance: float
    over: MeanEstimate


class CurveEntry(Document):
    """Mean areas under the curves in the score's unit, their difference, and the mean curves themselves."""

    deletion: MeanEstimate
    insertion: MeanEstimate
    gap: MeanEstimate
    deletion_curve: tuple[float, ...]
    insertion_curve: tuple[float, ...]


class MethodEntry(Document):
    """One method. `seconds` and `passes` are those of one map of one image.

    `against` is by how much its gap exceeds that of each baseline on the same image; `beaten` names the baselines where
    the interval of that lies above 0. `randomisation` maps the number of layers randomised to the size of the mean rank
    correlation with the true maps (0 is right), `noise` and `seed` are rank correlations of repeated maps (1 is right).
    `localisation` is over the images with masks or boxes, for their true class. `silent` counts images without positive
    evidence for the class answered.
    """

    name: str
    level: Level
    verdict: str
    images: int
    silent: int
    seconds: float
    passes: float
    curves: CurveEntry
    against: dict[str, MeanEstimate]
    beaten: tuple[str, ...]
    randomisation: dict[int, float]
    noise: MeanEstimate
    seed: MeanEstimate | None = None
    localisation: dict[str, Located]
    localised: int


class Agreement(Document):
    """Mean rank correlations between methods: `correlation[i][j]` of methods i and j."""

    methods: tuple[str, ...]
    correlation: tuple[tuple[float, ...], ...]


class Budget(Document):
    """What it cost. `wanted` is the budget as it was given; `sentence` says what happened when it was reached.

    `settled` says that fewer images were measured because the intervals that decide were narrow enough.
    """

    wanted: str | None
    reached: bool
    settled: bool = False
    passes: int
    seconds: float
    sentence: str


class TrustCard(Document):
    """`trust.json`: methods with the best first. `model` is the sha256 of the bundle's files, `layers` its layers."""

    schema_version: int = 1
    pellucid_version: str
    name: str
    model: dict[str, str]
    data: str
    images: int
    of: int
    classes: dict[str, int]
    score: str
    layer: str | None
    replacement: str
    seed: int
    intervals: str
    layers: int
    shares: tuple[float, ...]
    baselines: dict[str, CurveEntry]
    methods: tuple[MethodEntry, ...]
    agreement: Agreement
    left_out: dict[str, str]
    budget: Budget
    verdict: str
    notes: tuple[str, ...] = ()


class ImageTrust(Document):
    """The short form for one map of one image, against eight random maps, a blob in the centre and an edge filter.

    `gap` is the insertion area minus the deletion area, in the score's unit; `baselines` are the gaps of the baselines
    (of random maps, the best). `noise` and `seed` are rank correlations of the map with one made again.
    """

    level: Level
    verdict: str
    deletion: float
    insertion: float
    gap: float
    baselines: dict[str, float]
    noise: float | None
    seed: float | None


def judged(
    *,
    images: int,
    against: dict[str, MeanEstimate],
    randomisation: dict[int, float],
    noise: MeanEstimate,
    seed: MeanEstimate | None,
    located: dict[str, Located],
) -> tuple[Level, str]:
    """Level and verdict of a method over a set of images."""
    if images < FEWEST:
        return "unknown", f"Too few images to judge: {images}, where at least {FEWEST} are needed."
    lost = [BASELINE_NAMES[n] for n, f in against.items() if f.low is None or f.low <= 0]
    problems, cautions = [], []
    if "random" in against and BASELINE_NAMES["random"] in lost:
        problems.append(f"no better than {_or(lost)} at finding what the score depends on")
    elif lost:
        cautions.append(f"beats random maps but not {_or(lost)}")
    last = randomisation[max(randomisation)] if randomisation else 0.0
    if last >= SAME_WITHOUT_WEIGHTS:
        problems.append(
            f"does not change when all weights are shuffled (correlation {last:.2f}), so it shows the image alone"
        )
    elif last >= ALIKE_WITHOUT_WEIGHTS:
        cautions.append(f"changes only in part when all weights are shuffled (correlation {last:.2f})")
    first = randomisation[min(randomisation)] if len(randomisation) > 1 else 0.0
    if first >= BLIND:
        cautions.append("does not change with the last layer's weights, so it cannot tell one class from another")
    if noise.value < UNSTABLE:
        cautions.append(f"changes under barely visible noise (correlation {noise.value:.2f})")
    if seed is not None and seed.value < UNSTABLE_SEED:
        cautions.append(f"changes with the seed (correlation {seed.value:.2f}): use more samples")
    if _no_better_located(located):
        cautions.append("puts no more evidence on the marked objects than chance")
    if problems:
        return "problem", _sentence([*problems, *cautions])
    if cautions:
        return "caution", _sentence(cautions)
    return "good", "Beats random maps, a blob in the centre and an edge filter; changes with the weights; stable."


def _no_better_located(located: dict[str, Located]) -> bool:
    """Whether the evidence inside is no more than by chance; False for too few images."""
    energy = located.get("energy_inside")
    return energy is not None and energy.over.low is not None and energy.over.low <= 0


def judged_image(
    *, target: str, gap: float, baselines: dict[str, float], noise: float | None, seed: float | None, silent: bool
) -> tuple[Level, str]:
    """Level and verdict of one map of one image."""
    if silent:
        return "unknown", f"Nothing to check: no positive evidence for {target}."
    lost = [BASELINE_NAMES[n] for n, value in baselines.items() if gap <= value]
    remarks = []
    if noise is not None and noise < UNSTABLE:
        remarks.append(f"the map changes under barely visible noise (correlation {noise:.2f})")
    if seed is not None and seed < UNSTABLE_SEED:
        remarks.append(f"it changes with the seed (correlation {seed:.2f})")
    if gap <= 0 or BASELINE_NAMES["random"] in lost:
        why = f"hiding what it marks lowers the score no more than {_or(lost) if lost else 'hiding at random'}"
        return "problem", _sentence([why, *remarks])
    if lost or remarks:
        first = [f"{_or(lost)} does as well on this image"] if lost else []
        return "caution", _sentence([*first, *remarks])
    return "good", "The score follows this map more than random maps, a blob in the centre or an edge filter."


def ranked(methods: list[MethodEntry]) -> list[MethodEntry]:
    """The best first: by level, then by the gap between insertion and deletion."""
    return sorted(methods, key=lambda m: (LEVELS.index(m.level), -m.curves.gap.value))


def summary(methods: list[MethodEntry]) -> str:
    """The verdict on all ranked methods, in one or two sentences."""
    good = [m.name for m in methods if m.level == "good"]
    bad = [m.name for m in methods if m.level == "problem"]
    if not methods:
        return "No method was measured."
    if all(m.level == "unknown" for m in methods):
        return methods[0].verdict
    if good:
        first = f"{good[0]} can be relied on here" + (f", as can {_and(good[1:])}." if good[1:] else ".")
    elif len(bad) == len(methods):
        return "None of these methods is reliable here. Do not show their maps as reasons."
    else:
        first = f"{methods[0].name} is the best here; read its maps with care."
    return first + (f" Not reliable here: {_and(bad)}." if bad else "")


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _or(names: list[str]) -> str:
    return _joined(names, "or")


def _and(names: list[str]) -> str:
    return _joined(names, "and")


def _joined(names: list[str], word: str) -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
