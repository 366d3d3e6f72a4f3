"""`job.json`: what a batch was asked, so that only the same question to the same model can resume it."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..._version import __version__
from ...bundle.bundle import Bundle
from ...bundle.io import checksum
from ...bundle.manifest import MANIFEST
from ...classifier import NONE_OF_THESE, REFER
from ...documents import Document
from ...errors import BundleError, InputError
from ...files import write_whole
from ...storage import LOCK
from ..provenance import now
from .plan import PLAN
from .work import BatchQuestion

JOB = "job.json"
VERSION = 1


class MapLayout(Document):
    """The raw maps of a batch: `shape` (h, w) of each, and where its cells lie on the model's input (GridGeometry)."""

    shape: tuple[int, int]
    stride: tuple[float, float]
    offset: tuple[float, float]


class BatchRecord(Document):
    """The settings of a batch. `model` has the sha256 of each file of the bundle; `items` counts the planned images.

    `answering` says whether the bundle has rules of what is answered, so that the parts have their columns.
    """

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
    against: str | None = None
    batch: int
    engine: str = "onnxruntime"
    precision: str = "float32"
    maps: MapLayout | None = None
    answering: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """All that can be answered: the classes, and with rules of answering what takes their place."""
        return (*self.classes, NONE_OF_THESE, REFER) if self.answering else self.classes

    @property
    def question(self) -> BatchQuestion:
        """The question to every image."""
        return BatchQuestion(self.method, self.target, self.batch, self.engine, self.precision, self.against)


def new_job(
    bundle: Bundle,
    sources: tuple[str, ...],
    question: BatchQuestion,
    items: int,
    part_size: int,
    maps: dict[str, Any] | None,
) -> BatchRecord:
    """The record of a new batch."""
    return BatchRecord(
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
        against=question.against,
        batch=question.batch,
        engine=question.engine,
        precision=question.precision,
        maps=None if maps is None else MapLayout(**maps),
        answering=bundle.manifest.answering is not None,
    )


def model_of(bundle: Bundle) -> dict[str, str]:
    """The sha256 of the bundle's files, including the manifest (classes, threshold, calibration)."""
    return bundle.manifest.files | {MANIFEST: checksum(bundle.folder / MANIFEST)}


def write_job(out: Path, job: BatchRecord) -> None:
    """Write the record; from then on the batch can be resumed."""
    write_whole(out / JOB, job.model_dump_json(indent=2) + "\n")


def read_job(out: Path) -> BatchRecord:
    """The record of a batch. Raises InputError for a folder that `pellucid predict` did not write."""
    try:
        return BatchRecord.model_validate_json((out / JOB).read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{out} is not the folder of a batch: it has no {JOB}. Give the `out=` of an earlier `pellucid predict`."
        ) from None
    except (ValidationError, OSError) as error:
        raise InputError(
            f"{out / JOB} cannot be read as the record of a batch: {str(error).splitlines()[0]}"
        ) from error


def check_folder(out: Path, *, resume: bool) -> None:
    """Raise InputError for a folder that holds a batch and is not to be resumed, or that holds anything else."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose another `out=`.")
    if not out.exists() or all(_leftover(path) for path in out.iterdir()):
        return
    if not (out / JOB).is_file():
        raise InputError(f"{out} already exists and is not the folder of a batch. Choose another `out=`.")
    if not resume:
        raise InputError(f"{out} already holds a batch: add `resume=True` to resume it, or choose another `out=`.")


def batch_to_resume(out: Path) -> BatchRecord | None:
    """The batch that `out` holds; None where a new one is to begin."""
    return read_job(out) if (out / JOB).is_file() else None


def _leftover(path: Path) -> bool:
    """What a batch that was killed before its first part leaves."""
    return path.name in (PLAN, LOCK) or (path.name.startswith(".") and path.name.endswith(".part"))


def check_same(job: BatchRecord, bundle: Bundle, sources: tuple[str, ...], question: BatchQuestion, out: Path) -> None:
    """Raise BundleError for another model than the batch was started with, InputError for another question."""
    model = model_of(bundle)
    changed = sorted(name for name in job.model.keys() | model.keys() if job.model.get(name) != model.get(name))
    if changed:
        raise BundleError(
            f"The batch in {out} was started with another model: the sha256 of {', '.join(changed)} differs. "
            "Give the same model, or choose another `out=`."
        )
    pairs = (
        ("the source", list(job.sources), list(sources)),
        ("`method=`", job.method, question.method),
        ("`target=`", job.target, question.target),
        ("`against=`", job.against, question.against),
        ("`batch=`", job.batch, question.batch),
        ("`engine=`", job.engine, question.engine),
        ("`precision=`", job.precision, question.precision),
    )
    for what, before, after in pairs:
        if before != after:
            raise InputError(
                f"The batch in {out} was started with {what} {_shown(before)}, and now it is {_shown(after)}: "
                "only the same settings can resume it. Choose another `out=`."
            )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value[:3]) + (f" and {len(value) - 3} more" if len(value) > 3 else "")
    return "unset" if value is None else str(value)
