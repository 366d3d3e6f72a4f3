"""What becomes of an image, and by which rules, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..classifier import NONE_OF_THESE, Decision, Reason
from ..evaluation.abstention import Abstention
from ..evaluation.answered import AnsweringEntry, ShareEntry
from ..evaluation.answering import AnsweringRules
from ..evaluation.calibration import VALIDATION
from ..evaluation.conformal import ClassSets, ScoreInterval
from ..evaluation.outside import Reference

_RATES = {
    "errors": "wrong answers among those given",
    "fn": "negative answers among the answered images of the positive class",
    "fp": "positive answers among the answered images of the negative class",
}


def percent_of(share: float) -> str:
    """A share in per cent with as many digits as it takes: `95 %`, `0.5 %`."""
    return f"{float(f'{100 * share:.3g}'):g} %"


def reason_words(reason: Reason) -> str:
    """Why no class is answered, as a sentence."""
    if reason.code == "unlike":
        return f"It is {reason.value:.2g} times as far from the training images as one may be."
    if reason.code == "unpromised":
        return f"No answer is given: an error of at most {percent_of(reason.limit or 0)} could not be promised."
    return f"The answer's confidence is {reason.value:.3g}, and {reason.limit:.3g} is asked."


def decision_document(decision: Decision | None) -> dict[str, Any] | None:
    """A decision in plain JSON values, each reason with its sentence."""
    if decision is None:
        return None
    return {
        "outcome": decision.outcome,
        "label": decision.label,
        "predicted": decision.predicted,
        "set": None if decision.candidates is None else list(decision.candidates),
        "interval": None if decision.interval is None else list(decision.interval),
        "coverage": decision.coverage,
        "probabilities": decision.probabilities,
        "threshold": decision.threshold,
        "reasons": [{**asdict(r), "text": reason_words(r)} for r in decision.reasons],
    }


def set_words(decision: Decision) -> str:
    """The prediction set or the interval in short: `cat, dog`, `0.21 to 0.55`; "" without one."""
    if decision.interval is not None:
        return f"{decision.interval[0]:.3g} to {decision.interval[1]:.3g}"
    return ", ".join(decision.candidates or ())


def abstention_words(rule: Abstention, of: str = VALIDATION) -> str:
    """What an error limit promises, as a sentence or two; `of` says what images it was fitted to."""
    units = f"{rule.images:,} {of}" + (f" ({rule.groups:,} groups)" if rule.groups else "")
    sure = f"with {percent_of(rule.confidence)} confidence"
    if rule.bound is not None:
        given = f"{percent_of(rule.answered)} of the {of} are answered, the others are withheld"
        return (
            f"{f'All {of} are answered' if rule.answered == 1 else given}: "
            f"{sure} at most {percent_of(rule.bound)} {_RATES[rule.wrong]} (asked: {rule.asked}; {units})."
        )
    other = f" {rule.wrong}<={rule.attainable:g} could be promised." if rule.attainable else ""
    return (
        f"{rule.asked} cannot be promised {sure} on {units}, and takes at least {rule.needed:,} without an error: "
        f"every image is referred to a person.{other}"
    )


def flag_words(reference: Reference) -> str:
    """When an image is flagged as unusual, as a sentence."""
    share = f"{100 * (1 - reference.quantile):.2g} %"
    if not reference.confidence:
        return (
            f"An image is flagged when it lies farther from {reference.trained:,} training images than all but {share} "
            f"of {reference.images:,} validation images."
        )
    units = f"{reference.images:,} validation images" + (f" ({reference.groups:,} groups)" if reference.groups else "")
    return (
        f"An image is flagged when it lies far from {reference.trained:,} training images: with "
        f"{percent_of(reference.confidence)} confidence at most {share} of images like the {units} do."
    )


def sets_words(rule: ClassSets | ScoreInterval, fitted_to: str = VALIDATION) -> str:
    """What prediction sets or intervals promise, as a sentence."""
    share = percent_of(rule.coverage)
    if isinstance(rule, ScoreInterval):
        width = f"{rule.half_width:.3g}" + (" times the expected error" if rule.normalised else "")
        of_each = " of each subgroup" if rule.by == "subgroup" else " like these"
        return f"The interval, output ± {width}, holds the target of {share} of images{of_each}."
    of = {"all": "images like these", "class": "the images of each class", "subgroup": "the images of each subgroup"}
    images = sum(rule.images)
    return f"A prediction set holds the true class of {share} of {of[rule.by]} (fitted to {images:,} {fitted_to})."


@dataclass(frozen=True, slots=True)
class AnsweringRow:
    """One line of the table of what the rules of answering give: what, the figure, what was promised, the verdict."""

    name: str
    rate: ShareEntry
    promised: str
    verdict: str


_VERDICTS = {"yes": "kept", "perhaps": "missed, which may be chance", "no": "missed"}


def answering_rows(entry: AnsweringEntry) -> list[AnsweringRow]:
    """Coverage overall, by class and by subgroup, then what is answered and how much of that is wrong."""
    coverage, given = entry.coverage, entry.given
    rows = []
    if coverage is not None:
        promised = f"at least {percent_of(coverage.promised)}"
        verdict = _VERDICTS[coverage.kept]
        whole = "" if coverage.of_groups is not None else verdict
        rows.append(AnsweringRow("sets that hold the true class", coverage.overall, promised, whole))
        if coverage.of_groups is not None:
            rows.append(AnsweringRow("the same, each group once", coverage.of_groups, promised, verdict))
        named = {**coverage.by_class, **coverage.by_subgroup}
        rows += [AnsweringRow(f"of {name}", rate, "", "") for name, rate in named.items()]
    if given.asked is not None or given.none.value:
        limit = "" if given.asked is None else f"at most {percent_of(float(given.asked.partition('<=')[2]))}"
        verdict = "" if not limit else "nothing to judge" if given.error.value is None else _VERDICTS[given.kept]
        rows.append(AnsweringRow("answered", given.answered, "", ""))
        rows.append(AnsweringRow(_RATES[given.wrong], given.error, limit, verdict))
        rows.append(AnsweringRow("referred to a person", given.referred, "", ""))
        rows.append(AnsweringRow(NONE_OF_THESE, given.none, "", ""))
    return rows


def sizes_words(entry: AnsweringEntry) -> str:
    """How large the sets are, as a sentence; "" without sets."""
    coverage = entry.coverage
    if coverage is None or not coverage.sizes:
        return ""
    total = sum(coverage.sizes.values())
    shares = [
        f"{percent_of(n / total)} hold {k} class{'es' if k != '1' else ''}" for k, n in coverage.sizes.items() if n
    ]
    return f"Of the sets {', '.join(shares)}; the mean is {coverage.mean_size:.3g}."


def rules_words(rules: AnsweringRules | None, of: str = VALIDATION) -> list[tuple[str, str]]:
    """All that rules fitted to images `of` some kind promise: (`sets`, `abstention` or `reject`, a sentence)."""
    if rules is None:
        return []
    said = [("sets", sets_words(rule, of)) for rule in (rules.sets, rules.interval) if rule is not None]
    if rules.abstention is not None:
        said.append(("abstention", abstention_words(rules.abstention, of)))
    if rules.reject == "unlike":
        said.append(("reject", f"An unusual image gets the answer “{NONE_OF_THESE}”."))
    return said
