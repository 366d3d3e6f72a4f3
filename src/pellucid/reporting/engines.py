"""What other engines and precisions gain and lose, in words and as a table."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ResourceError
from ..files import write_whole

if TYPE_CHECKING:
    from ..bundle.certificate import Candidate, Certificate, Interval, Loss, Quality, Untried
    from ..classifier import Task

LOSSES: dict[Loss, str] = {
    "decisions": "too many answers change",
    "unusual images": "the warning for unusual images changes too often",
    "sets": "too many prediction sets lose the true class",
    "auc": "the AUC falls",
    "maps": "the heat maps change too much",
    "no evidence compared": "the heat maps cannot be compared",
    "not a number": "some answers are not numbers",
}

UNTRIED: dict[str, str] = {
    "not installed": "not tried, because it is not installed",
    "no units": "not tried, because this CPU has no units for it",
    "no training images": "not tried, because it takes its ranges from training images: give `data=` "
    "with a train split",
    "failed": "not tried, because it failed",
}


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One line of the table: times in ms, losses, and a verdict."""

    title: str
    one_thread: str
    all_cores: str
    batch: str
    changed: str
    probability: str
    auc: str
    maps: str
    verdict: str


PAGE = "engines.md"


def columns(task: Task | None = None) -> list[tuple[str, bool]]:
    """Titles of the table's columns, and whether each is aligned to the right."""
    value = {"regression": "output", "anomaly": "score"}.get(task or "", "probability")
    numbers = ("ms, 1 thread", "ms, all cores", "ms in batches", "answers changed", value)
    ranking = "R²" if task == "regression" else "AUC"
    return [("engine", False), *((title, True) for title in (*numbers, ranking, "maps")), ("verdict", False)]


def write_engines(certificate: Certificate, folder: Path, lines: list[str]) -> Path:
    """Write the table and the sentences `lines` as `engines.md`. ResourceError when it cannot be written."""
    machine = certificate.machine
    titles = columns(certificate.task)
    rule = ["---:" if right else "---" for _, right in titles]
    rows = [[title for title, _ in titles], rule, *(list(astuple(row)) for row in engine_rows(certificate))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    measured = (
        f"Measured on {machine.cpu}, {machine.cores} cores, with ONNX Runtime {machine.onnxruntime} and OpenVINO "
        f"{machine.openvino or '(not installed)'}, {certificate.created}: {certificate.images:,} {certificate.data}."
    )
    refused = (
        f"Refused is what surely changes more than {100 * certificate.tolerance.decisions:g} % of the answers, surely "
        f"loses more than {certificate.tolerance.auc:g} of AUC, or has a median map correlation below "
        f"{certificate.tolerance.maps:g}."
    )
    text = "\n\n".join(["# Engines", measured, table, "\n".join(f"- {line}" for line in lines), refused])
    target = folder / PAGE
    try:
        write_whole(target, text + "\n")
    except OSError as error:
        raise ResourceError(f"{target} cannot be written ({error.strerror}). Free space there.") from error
    return target


def engine_rows(certificate: Certificate) -> list[EngineRow]:
    """All candidates in order, each with what it gains over the first and loses."""
    base, advised = certificate.candidates[0], certificate.advised()
    rows = []
    for candidate in certificate.candidates:
        speed, first, held = candidate.speed, base.speed, candidate.quality
        times = [
            f"{1000 * own:.1f}" + ("" if candidate is base else f" ({theirs / own:.2f}x)")
            for own, theirs in (
                (speed.one_thread, first.one_thread),
                (speed.all_cores, first.all_cores),
                (speed.batch, first.batch),
            )
        ]
        lost = certificate.losses(candidate)
        verdict = "refused" if lost else "accepted" if candidate is not base else "as today"
        if candidate is advised:
            verdict = "advised"
        one, every, batch = times
        rows.append(EngineRow(candidate.runtime.title, one, every, batch, *_held(held), verdict))
    return rows


def _held(held: Quality | None) -> tuple[str, str, str, str]:
    if held is None:
        return "-", "-", "-", "-"
    changed = f"{held.changed} of {held.images:,}"
    probability = "not a number" if held.probability is None else f"{held.probability:.2g}"
    auc = "-" if held.auc is None else f"{held.auc.value:+.4f}"
    return changed, probability, auc, "-" if held.correlation is None else f"{held.correlation:.3f}"


def certificate_in_words(certificate: Certificate) -> list[str]:
    """What was found, as sentences: the advice, each candidate, and what was not tried."""
    advised, one = certificate.advised(), certificate.advised(one_thread=True)
    base = certificate.candidates[0]
    if advised is base and one is base:
        lead = f"Advised: {base.runtime.title}, as today. Nothing accepted is faster here in every way measured."
    else:
        gain = base.speed.all_cores / advised.speed.all_cores
        lead = f"Advised: {advised.runtime.title}" + (
            ", as today" if advised is base else f", {gain:.2g} times as fast for one explained image on all cores"
        )
        if one is not advised:
            lead += f"; for passes of one thread {one.runtime.title}, "
            lead += f"{base.speed.one_thread / one.speed.one_thread:.2g} times as fast"
        lead += ". Other commands take it by `engine='auto'`."
    lines = [lead]
    for candidate in certificate.candidates[1:]:
        lost = certificate.losses(candidate)
        state = "accepted" if not lost else "refused, because " + " and ".join(LOSSES[name] for name in lost)
        lines.append(f"{candidate.runtime.title}: {state}. {proof_in_words(candidate, certificate.task)}")
    lines += [f"{u.runtime.title}: {untried_in_words(u)}." for u in certificate.untried]
    return lines


def engines_in_words(certificate: Certificate | None) -> str:
    """What a model may run on, in one line of its card."""
    own = "ONNX Runtime, float32: all figures here are of its answers."
    if certificate is None:
        return own
    accepted = [c for c in certificate.candidates[1:] if not certificate.losses(c)]
    if not accepted:
        return f"{own} No other engine was accepted on {certificate.machine.cpu}."
    proofs = "; ".join(f"{c.runtime.title} ({_in_short(c)})" for c in accepted)
    return f"{own} Also accepted, on {certificate.machine.cpu}, by {certificate.images:,} {certificate.data}: {proofs}."


def _in_short(candidate: Candidate) -> str:
    """The changes that decide, in a few words."""
    held = candidate.quality
    if held is None:
        return ""
    maps = "" if held.correlation is None else f", maps correlate by {held.correlation:.3f} in the median"
    auc = "" if held.auc is None else f", AUC {held.auc.value:+.4f}"
    return f"changed {_counted(held.changed)}{auc}{maps}"


def untried_in_words(untried: Untried) -> str:
    """Why a runtime was not measured."""
    detail = (
        f" ({untried.detail.rstrip('.')})" if untried.detail and untried.reason in ("failed", "not installed") else ""
    )
    return UNTRIED[untried.reason] + detail


def proof_in_words(candidate: Candidate, task: Task | None = None) -> str:
    """What a runtime changes, compared with ONNX Runtime in float32, in a few sentences."""
    held = candidate.quality
    if held is None:
        return "Every figure of the model was fitted to its answers."
    if held.probability is None:
        return "Some of its answers are not numbers."
    parts = [_answers(held, task)]
    if (withheld := _rules(held)) is not None:
        parts.append(withheld)
    if held.correlation is not None:
        parts.append(_maps(held))
    if held.near:
        parts.append(f"{_percent(held.near)} of the answers lie so near to where they change that they have a warning.")
    return " ".join(parts)


def _answers(held: Quality, task: Task | None) -> str:
    of_class = task not in ("regression", "anomaly")
    value = "a probability" if of_class else "an output" if task == "regression" else "a score"
    mean = "" if held.mean is None else f" ({held.mean:.2g} on average)"
    text = (
        f"On {held.images:,} images it changed {_counted(held.changed)} "
        f"(at most {_percent(held.decisions.high)} of all such images) and {value} by at most "
        f"{held.probability:.2g}{mean}"
    )
    if held.auc is not None:
        text += f"; {'the AUC' if task != 'regression' else 'R²'} by {held.auc.value:+.4f} {_bounds(held.auc)}"
    if held.loss is not None:
        text += f"; the cross-entropy by {held.loss:+.2g}"
    return f"{text}."


def _rules(held: Quality) -> str | None:
    """What changed in warnings for unusual images and in prediction sets, where the model has these."""
    found = []
    if held.unusual is not None:
        found.append(f"the warning for unusual images changed in {_percent(held.unusual.value)}")
    if held.uncovered is not None:
        found.append(f"the true value left the prediction set or interval in {_percent(held.uncovered.value)}")
    text = " and ".join(found)
    return f"{text[0].upper()}{text[1:]}." if text else None


def _maps(held: Quality) -> str:
    text = (
        f"Over {held.maps} heat maps the rank correlation is {held.correlation:.3f} in the median and "
        f"{held.correlation_least or 0:.3f} at least, and the strongest cell moved in {_percent(held.moved or 0)}"
    )
    if (gap := held.faithfulness) is not None:
        text += f"; insertion minus deletion changed by {gap.value:+.2g} [{gap.low:+.2g}, {gap.high:+.2g}]"
    return f"{text}."


def _counted(changed: int) -> str:
    return "no answer" if not changed else "1 answer" if changed == 1 else f"{changed:,} answers"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _bounds(found: Interval) -> str:
    return f"[{found.low:+.4f}, {found.high:+.4f}]"
