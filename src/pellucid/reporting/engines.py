"""What other engines and precisions gain and lose, in words and as a table."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ResourceError
from ..files import write_whole

if TYPE_CHECKING:
    from ..bundle.certificate import Candidate, Certificate, Interval, Loss, Quality, Untried

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

COLUMNS = (
    ("engine", False),
    ("ms, 1 thread", True),
    ("ms, all cores", True),
    ("ms in batches", True),
    ("answers changed", True),
    ("probability", True),
    ("AUC", True),
    ("maps", True),
    ("verdict", False),
)


def write_engines(certificate: Certificate, folder: Path, lines: list[str]) -> Path:
    """Write the table and the sentences `lines` as `engines.md`. ResourceError when it cannot be written."""
    machine = certificate.machine
    rule = ["---:" if right else "---" for _, right in COLUMNS]
    rows = [[title for title, _ in COLUMNS], rule, *(list(astuple(row)) for row in engine_rows(certificate))]
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
        lines.append(f"{candidate.runtime.title}: {state}. {proof_in_words(candidate)}")
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
    proofs = " ".join(f"{c.runtime.title}: {proof_in_words(c)}" for c in accepted)
    return f"{own} Also accepted, on {certificate.machine.cpu}: {proofs}"


def untried_in_words(untried: Untried) -> str:
    """Why a runtime was not measured."""
    detail = (
        f" ({untried.detail.rstrip('.')})" if untried.detail and untried.reason in ("failed", "not installed") else ""
    )
    return UNTRIED[untried.reason] + detail


def proof_in_words(candidate: Candidate) -> str:
    """What a runtime changes, compared with ONNX Runtime in float32, in two sentences."""
    held = candidate.quality
    if held is None:
        return "Every figure of the model was fitted to its answers."
    if held.probability is None:
        return "Some of its answers are not numbers."
    answers = (
        f"On {held.images:,} images it changed {_counted(held.changed)} "
        f"(at most {_percent(held.decisions.high)} of all such images) and a probability by at most "
        f"{held.probability:.2g}"
    )
    if held.auc is not None:
        answers += f"; the AUC by {held.auc.value:+.4f} {_bounds(held.auc)}"
    if held.correlation is None:
        return f"{answers}."
    maps = (
        f"Over {held.maps} heat maps the rank correlation is {held.correlation:.3f} in the median and "
        f"{held.correlation_least or 0:.3f} at least, and the strongest cell moved in {_percent(held.moved or 0)}."
    )
    return f"{answers}. {maps}"


def _counted(changed: int) -> str:
    return "no answer" if not changed else "1 answer" if changed == 1 else f"{changed:,} answers"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _bounds(found: Interval) -> str:
    return f"[{found.low:+.4f}, {found.high:+.4f}]"
