"""What `train --hide` names: a region of the picture, or a concept that an audit found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, UnknownNameError
from ..evaluation.audit import AUDIT_FILE
from ..evaluation.regions import BORDER, CORNERS

AUDIT = "audit"
REGIONS = (*CORNERS, BORDER)


@dataclass(frozen=True, slots=True)
class Accused:
    """One thing to hide: a region, or a concept of the last audit of a run."""

    words: str
    region: str = ""
    run: Path = Path()
    concept: str = ""


def parse_accused(text: str) -> Accused:
    """Read `RUN:concept-1` or the name of a region, with blanks or hyphens. Raises UnknownNameError, InputError."""
    plain = text.strip().replace("-", " ")
    if plain in REGIONS:
        return Accused(plain, region=plain)
    run, colon, concept = text.strip().rpartition(":")
    if not colon:
        remedy = f"`hide=` takes RUN:concept-1, for a concept that an audit of RUN found, or {', '.join(REGIONS)}."
        raise UnknownNameError("region", text, REGIONS, remedy)
    if not (Path(run) / AUDIT / AUDIT_FILE).is_file():
        raise InputError(
            f"{run} has no audit: run `pellucid audit {run}` first, with `discover=`, then hide {concept}."
        )
    return Accused(text.strip(), run=Path(run), concept=concept)
