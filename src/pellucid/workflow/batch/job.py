"""`job.json`: what a batch was asked, so that it is taken up again by the same question to the same model only."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..._version import __version__
from ...bundle.bundle import Bundle
from ...bundle.io import checksum
from ...bundle.manifest import MANIFEST
from ...errors import BundleError, InputError
from ...files import write_whole
from ..provenance import now
from .plan import PLAN
from .work import Question

JOB = "job.json"
VERSION = 1


class MapLayout(BaseModel):
    """The raw maps of a batch: `shape` (h, w) of each, and where its cells lie on the model's input (GridGeometry)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]


class Job(BaseModel):
    """The settings of a batch. `model` are the sha256 of the bundle's files; `items` counts the images of the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = VERSION
    id: str
    pellucid_version: str
    created: str
    sources: tuple[str, ...]
    items: int
    part_size: int
    model_name: str
    model: dict[str, str]
    task: str
    classes: tuple[str, ...]
    threshold: float
    medical: bool = False
    method: str | None
    target: str | None
    batch: int
    maps: MapLayout | None = None

    @property
    def question(self) -> Question:
        """What is asked of every image."""
        return Question(self.method, self.target, self.batch)


def new_job(
    bundle: Bundle,
    sources: tuple[str, ...],
    question: Question,
    items: int,
    part_size: int,
    maps: dict[str, Any] | None,
) -> Job:
    """The record of a batch that begins now."""
    return Job(
        id=secrets.token_hex(8),
        pellucid_version=__version__,
        created=now(),
        sources=sources,
        items=items,
        part_size=part_size,
        model_name=bundle.manifest.name,
        model=model_of(bundle),
        task=bundle.task,
        classes=bundle.classes,
        threshold=bundle.manifest.threshold,
        medical=bundle.manifest.medical,
        method=question.method,
        target=question.target,
        batch=question.batch,
        maps=None if maps is None else MapLayout(**maps),
    )


def model_of(bundle: Bundle) -> dict[str, str]:
    """The sha256 of the bundle's files, the manifest (classes, threshold, calibration) among them."""
    return bundle.manifest.files | {MANIFEST: checksum(bundle.folder / MANIFEST)}


def write_job(out: Path, job: Job) -> None:
    """Write the record; from then on the folder is a batch that can be taken up again."""
    write_whole(out / JOB, job.model_dump_json(indent=2) + "\n")


def read_job(out: Path) -> Job:
    """The record of a batch. Raises InputError when the folder is none of ours."""
    try:
        return Job.model_validate_json((out / JOB).read_bytes())
    except FileNotFoundError:
        raise InputError(f"{out} is not the folder of a batch: it has no {JOB}. Give what --out named.") from None
    except (ValidationError, OSError) as error:
        raise InputError(
            f"{out / JOB} cannot be read as the record of a batch: {str(error).splitlines()[0]}"
        ) from error


def taken_up(out: Path, *, resume: bool) -> Job | None:
    """The batch that `out` holds, to be gone on with; None for a new one.

    Raises InputError for a folder that holds a batch and `resume` was not asked, or that holds anything else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another --out.")
    if not out.exists() or all(_leftover(path) for path in out.iterdir()):
        return None
    if not (out / JOB).is_file():
        raise InputError(f"{out} is there already and holds something else than a batch. Choose another --out.")
    if not resume:
        raise InputError(f"{out} holds a batch already: --resume goes on with it; for a new one choose another --out.")
    return read_job(out)


def _leftover(path: Path) -> bool:
    """What a batch that was killed before its first part leaves."""
    return path.name == PLAN or (path.name.startswith(".") and path.name.endswith(".part"))


def check_same(job: Job, bundle: Bundle, sources: tuple[str, ...], question: Question, out: Path) -> None:
    """Raise BundleError when the model is not the one the batch began with, InputError for another question."""
    model = model_of(bundle)
    changed = sorted(name for name in job.model.keys() | model.keys() if job.model.get(name) != model.get(name))
    if changed:
        raise BundleError(
            f"The batch in {out} was begun with another model: the sha256 of {', '.join(changed)} differs. "
            "Give the model it was begun with, or choose another --out."
        )
    pairs = (
        ("the source", list(job.sources), list(sources)),
        ("--explain", job.method, question.method),
        ("--target", job.target, question.target),
        ("--batch-size", job.batch, question.batch),
    )
    for what, before, after in pairs:
        if before != after:
            raise InputError(
                f"The batch in {out} was begun with {what} {_said(before)}, and now it is {_said(after)}: "
                "--resume goes on with the same settings only. Choose another --out."
            )


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value[:3]) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return "unset" if value is None else str(value)
