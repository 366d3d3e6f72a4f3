"""All results about one film."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .captures import secondary_capture
from .findings import Findings
from .kinds import KINDS
from .objects import InstanceReference, Result
from .origin import ResultOrigin
from .parametric import parametric_map
from .presentations import presentation_state
from .reports import region_report, report
from .segments import segmentation

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REPORTS = {"sr": report, "region": region_report}
PICTURES: dict[str, Callable[[Findings, ResultOrigin], Dataset | None]] = {
    "sc": secondary_capture,
    "seg": segmentation,
    "map": parametric_map,
    "gsps": presentation_state,
}


def make_results(
    findings: Findings,
    origin: ResultOrigin,
    kinds: Sequence[str],
    *,
    before: Mapping[str, Sequence[InstanceReference]] | None = None,
) -> list[Result]:
    """The objects of the groups `kinds` (see `kinds.GROUPS`) about one film; key objects are about a whole study.

    `before` are the reports of an earlier bundle about the same film by kind, which the new ones replace. A kind that
    shows a region is left out where no evidence speaks for the class.
    """
    made: list[Result] = []
    for kind in KINDS:
        if kind.group not in kinds or (kind.map and findings.attribution is None):
            continue
        done = None
        if kind.name in REPORTS:
            done = REPORTS[kind.name](findings, origin, before or {})
        elif kind.name in PICTURES:
            done = PICTURES[kind.name](findings, origin)
        if done is not None:
            made.append(Result(kind.name, done))
    return made
