"""The bundles that a server offers, by name, and how they are exchanged while it runs."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..bundle.bundle import Bundle, load
from ..bundle.goes_by import KnownConcepts
from ..bundle.manifest import MODEL
from ..bundle.run import RunFolder, RunRecord
from ..errors import BundleError, InputError
from ..evaluation.kept_out import AbroadRecord
from ..evaluation.schema import METRICS_FILE, MetricsDocument
from .problems import Problem
from .settings import ServerSettings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_EXAMPLES = 4


@dataclass(frozen=True)
class Served:
    """One bundle under its name, with what its run tells beside it, `concepts` being those that an audit found.

    `bundle` takes all cores for a pass, which is quickest for a request alone; `shared` takes few, which serves most
    requests a second when several run side by side.
    """

    name: str
    path: Path
    bundle: Bundle
    shared: Bundle
    metrics: MetricsDocument | None
    record: RunRecord | None
    examples: tuple[Path, ...]
    concepts: KnownConcepts | None = None

    def session(self, alone: bool) -> Bundle:
        """The bundle to run a request with."""
        return self.bundle if alone else self.shared

    @property
    def abroad(self) -> AbroadRecord | None:
        """What is known of it on images from elsewhere, by its bundle, or by its run where that is older."""
        return self.bundle.manifest.abroad or (self.record.abroad if self.record is not None else None)

    @property
    def checksum(self) -> str:
        """The sha256 of the graph: what tells one model from another."""
        return self.bundle.manifest.files[MODEL]


def parse_names(given: Sequence[str]) -> dict[str, Path]:
    """`RUN` or `NAME=RUN` of the command line as {name: path}, in order. Raises InputError for a name given twice."""
    found: dict[str, Path] = {}
    for text in given:
        head, equals, tail = text.partition("=")
        named = bool(equals) and NAME.fullmatch(head) is not None and not Path(text).exists()
        path = Path(tail if named else text)
        name = head if named else _name_of(path)
        if name in found:
            raise InputError(f"Two models are named {name!r}. Give one another name: {name}-2={path}.")
        found[name] = path
    return found


def _name_of(path: Path) -> str:
    resolved = path.resolve()
    base = resolved.parent.name if resolved.name == "model" else resolved.name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", base).strip("-._")[:64]
    return name or "model"


class Registry:
    """Models by name; the first is the default. Requests keep the model that they began with."""

    def __init__(self, paths: dict[str, Path], settings: ServerSettings) -> None:
        if not paths:
            raise InputError("Nothing to serve: give at least one run or bundle folder.")
        self._paths, self._settings = dict(paths), settings
        self._models = {name: self._load(name, path) for name, path in paths.items()}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """All names, the default first."""
        return list(self._models)

    def find(self, name: str | None = None) -> Served:
        """The model of a name, the default without one. Raises Problem 404 for an unknown name."""
        models = self._models
        served = next(iter(models.values())) if name is None else models.get(name)
        if served is None:
            raise Problem(404, "unknown-model", "There is no model of that name on this server; /v1/models lists them.")
        return served

    def reload(self) -> list[str]:
        """Read again every folder whose model has changed, and exchange all at once; the names that changed.

        When a folder cannot be read, nothing is exchanged and BundleError is raised.
        """
        with self._lock:
            read = {name: self._load(name, path) for name, path in self._paths.items()}
            changed = [n for n, new in read.items() if new.bundle.manifest != self._models[n].bundle.manifest]
            self._models = read
        return changed

    def _load(self, name: str, path: Path) -> Served:
        given = self._settings.threads
        bundle = load(path, threads=given, engine=self._settings.engine, precision=self._settings.precision)
        few = max(1, (os.cpu_count() or 1) // self._settings.workers)
        # Both in one runtime, so that a request's answer does not depend on its company.
        engine, precision = bundle.runtime.engine, bundle.runtime.precision
        shared = bundle if given is not None else load(path, threads=few, engine=engine, precision=precision)
        # A graph that cannot run is found now; and the first pass is the slowest.
        size = bundle.preprocessing
        for each in (bundle, shared):
            each.logits_and_features(np.zeros((1, 3, size.height, size.width), np.float32))
        run = RunFolder(path)
        record = _record(run)
        examples = self._examples(run, bundle, record)
        return Served(
            name, path, bundle, shared, _metrics(run), record, examples, KnownConcepts.readable(run.audit, bundle)
        )

    def _examples(self, run: RunFolder, bundle: Bundle, record: RunRecord | None) -> tuple[Path, ...]:
        """Test images to try. Those of real patients are offered only when the operator says so."""
        private = bundle.manifest.medical and not (record is not None and record.data.synthetic)
        wanted = not private if self._settings.examples is None else self._settings.examples
        if not wanted or not run.explanations.is_dir():
            return ()
        found = sorted(run.explanations.glob("*-image.png"))
        step = max(1, len(found) // MOST_EXAMPLES)
        return tuple(found[::step][:MOST_EXAMPLES])


def _record(run: RunFolder) -> RunRecord | None:
    try:
        return run.read_record()
    except BundleError:
        return None


def _metrics(run: RunFolder) -> MetricsDocument | None:
    """What the run's own test found; None for a bundle alone, or when it was not evaluated."""
    try:
        return MetricsDocument.model_validate_json((run.evaluation / METRICS_FILE).read_bytes())
    except (OSError, ValueError):
        return None
