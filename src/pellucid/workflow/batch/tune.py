"""Measure which batch size and workers are fastest on this machine, and keep them (`pellucid doctor`).

On a CPU, one image at a time on each core often beats larger batches on all cores: no core waits for the last image of
a batch, and the data of a pass stay in the core's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
from pydantic import Field, ValidationError

from ...bundle.bundle import Bundle
from ...bundle.runtimes import REFERENCE_RUNTIME
from ...documents import Document
from ...errors import ResourceError
from ...files import write_whole
from ...progress import Progress, Silent
from ...storage import cache_folder
from .local import PlanPart, Workforce, answer_locally
from .sources import Item
from .work import BatchQuestion

TUNING = "tuning.json"
PICTURES = 12
SIZE = (480, 640)
BATCHES = (1, 4, 16)
TURNS = 3
"""Candidates take turns, and the best turn counts, so that other load on the machine does not favour one."""

WORTH = 0.95
"""One image per pass keeps every core busy to the end and takes the least memory: a larger batch must be clearly
faster, or noise decides."""

PROCESSES_WORTH = 0.9
"""Processes take seconds to start and a copy of the model each: they must be clearly faster."""


class Tuning(Document):
    """Settings of a batch, and their measured images per second; `measured` is False for assumed settings."""

    batch: int = Field(default=1, ge=1)
    force: Workforce
    rate: float | None = None
    measured: bool = False


class _Kept(Document):
    schema_version: int = 1
    machines: dict[str, Tuning] = Field(default_factory=dict)


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def assumed() -> Tuning:
    """The settings without a measurement: one image at a time on each core."""
    return Tuning(force=Workforce(cores()))


def tuned(bundle: Bundle) -> Tuning:
    """The settings measured here for models like this one, else `assumed`."""
    folder = cache_folder()
    return (_kept(folder).machines.get(_key(bundle)) if folder else None) or assumed()


def tune(
    bundle: Bundle, *, seconds: float = 2.0, candidates: list[Tuning] | None = None, progress: Progress | None = None
) -> list[Tuning]:
    """Measure settings for about `seconds` each and keep the best; returns all candidates, best first.

    Photographs of 640 x 480 pixels are decoded, resized and classified, as in a batch. Raises ResourceError if the
    settings cannot be stored.
    """
    chosen = candidates or list(_candidates(cores()))
    with tempfile.TemporaryDirectory(prefix="pellucid-") as name, (progress or Silent()).bar("Measuring") as advance:
        items = _photographs(Path(name))
        rates = [0.0] * len(chosen)
        for turn in range(TURNS * len(chosen)):
            i = turn % len(chosen)
            rates[i] = max(rates[i], _rate(bundle, chosen[i], items, seconds / TURNS))
            advance(turn + 1, TURNS * len(chosen))
    found = [c.model_copy(update={"rate": r, "measured": True}) for c, r in zip(chosen, rates, strict=True)]
    found.sort(key=_worth, reverse=True)
    _keep(bundle, found[0])
    return found


def _worth(tuning: Tuning) -> float:
    """The rate of a setting, reduced for processes and large batches."""
    handicap = PROCESSES_WORTH if tuning.force.kind == "processes" else WORTH if tuning.batch > 1 else 1.0
    return (tuning.rate or 0.0) * handicap


def _candidates(number: int) -> Iterator[Tuning]:
    for batch in BATCHES:
        yield Tuning(batch=batch, force=Workforce(number))
    if number > 1:
        yield Tuning(batch=1, force=Workforce(number, "processes"))
        # One pass on all cores, while a second worker decodes.
        yield Tuning(batch=16, force=Workforce(2, "threads", number))


def _rate(bundle: Bundle, tuning: Tuning, items: list[Item], seconds: float) -> float:
    """Images per second, measured after every worker has finished something."""
    rounds, done, began, since = 1000, 0, 0.0, 0
    warm = tuning.force.workers * max(tuning.batch, 8)
    ended = 0.0

    def count(more: int) -> None:
        nonlocal done, began, since, ended
        done, ended = done + more, time.perf_counter()
        if not began and done >= warm:
            began, since = ended, done

    parts = (PlanPart(k, k * len(items), items) for k in range(rounds))
    question = BatchQuestion(batch=tuning.batch).by(bundle.runtime)
    for _ in answer_locally(parts, bundle.folder, question, tuning.force, count):
        if began and ended - began >= seconds:
            break
    return (done - since) / (ended - began) if ended > began else 0.0


def _photographs(folder: Path) -> list[Item]:
    """JPEGs with detail on every scale, like photographs."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(PICTURES):
        pixels = np.zeros((*SIZE, 3), np.float32)
        for octave in range(1, 7):
            cells = rng.normal(0, 60 / octave, (2**octave, 2**octave, 3)).astype(np.float32)
            layers = [
                PIL.Image.fromarray(cells[..., c]).resize(SIZE[::-1], PIL.Image.Resampling.BICUBIC) for c in (0, 1, 2)
            ]
            pixels += np.stack([np.asarray(layer) for layer in layers], axis=2)
        path = folder / f"{number:02d}.jpg"
        PIL.Image.fromarray(np.clip(pixels + 128, 0, 255).astype(np.uint8)).save(path, quality=90)
        items.append(Item(str(path)))
    return items


def _key(bundle: Bundle) -> str:
    """The architecture and the kind of machine: speed does not depend on the weights."""
    import onnxruntime

    manifest, shape = bundle.manifest, bundle.preprocessing
    architecture = {k: v for k, v in manifest.architecture.items() if k != "weights"}
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True, default=str).encode()).hexdigest()[:12]
    name = manifest.architecture.get("backbone", manifest.name)
    device = "cuda" if "CUDAExecutionProvider" in onnxruntime.get_available_providers() else "cpu"
    runtime = "" if bundle.runtime == REFERENCE_RUNTIME else f", {bundle.runtime.key}"
    return f"{name} {digest}, {shape.height} x {shape.width}, {cores()} cores, {device}{runtime}"


def _kept(folder: Path) -> _Kept:
    try:
        return _Kept.model_validate_json((folder / TUNING).read_bytes())
    except (OSError, ValidationError):
        return _Kept()


def _keep(bundle: Bundle, best: Tuning) -> None:
    folder = cache_folder()
    if folder is None:
        raise ResourceError(
            "The settings cannot be stored, because PELLUCID_CACHE is empty: unset it, or name a folder."
        )
    kept = _kept(folder)
    kept.machines[_key(bundle)] = best
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / TUNING, kept.model_dump_json(indent=2) + "\n")
    except OSError as error:
        message = f"The settings cannot be stored in {folder} ({error.strerror}): set PELLUCID_CACHE to another folder."
        raise ResourceError(message) from error
