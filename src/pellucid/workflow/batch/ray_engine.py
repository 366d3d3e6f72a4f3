"""The engine on a Ray cluster, by Ray Data: parts of the plan go to a pool of actors that hold the bundle.

The answers return to the calling program, which writes the same parts as the engine on one machine. So either engine
can resume a folder of the other, no worker needs access to the folder, and Ray gives the part of a lost worker to
another one.
"""

from __future__ import annotations

import logging
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from ..._optional import require
from ...bundle.bundle import load
from ...bundle.manifest import MANIFEST, MODEL, WEIGHTS
from ...errors import PellucidError, ResourceError
from .local import Answered, PlanPart, Workforce
from .reading import Reader
from .work import BatchQuestion, Worker

WAVE = 1024
"""Parts whose items are in Ray's memory at a time."""

STORE = 200 * 2**20
"""Bytes of object store for a Ray that is started here: parts are small, and /dev/shm often is."""

READERS = 2
"""Threads per actor: one reads while the other computes."""


def answer_by_ray(
    parts: Iterable[PlanPart],
    bundle: Path,
    question: BatchQuestion,
    force: Workforce,
    advance: Callable[[int], None],
    *,
    address: str | None = None,
) -> Iterator[Answered]:
    """Answers part by part, as they finish; `advance` is called with the number of items just finished.

    Without an `address`, a Ray of `force.workers` cores is started here and stopped at the end. With one (`auto` or
    `ray://HOST:PORT`), that cluster is used. An actor uses a GPU if both the cluster and ONNX Runtime have one. Raises
    MissingDependencyError without Ray, ResourceError if no cluster can be reached or it fails.
    """
    require("ray.data", extra="ray")
    with _cluster(address, force.workers) as ray:
        files = ray.put({name: (bundle / name).read_bytes() for name in _files(bundle)})
        gpus = _gpus(ray)
        walk = iter(parts)
        while wave := list(islice(walk, WAVE)):
            rows = [{"number": p.number, "part": pickle.dumps(p)} for p in wave]
            answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                _Actor,
                fn_constructor_args=(files, question, force.threads),
                compute=ray.data.ActorPoolStrategy(size=min(force.workers, gpus or force.workers, len(rows))),
                num_cpus=1,
                num_gpus=1 if gpus else None,
            )
            lengths = {p.number: len(p.items) for p in wave}
            for number, answers in _rows(answered):
                advance(lengths[number])
                yield number, answers


class _Actor:
    """A worker with its own copy of the bundle, delivered by Ray."""

    def __init__(self, files: Any, question: BatchQuestion, threads: int) -> None:
        import ray

        with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
            for name, content in ray.get(files).items():
                (Path(folder) / name).write_bytes(content)
            self._worker = Worker(load(folder, threads=threads), question, Reader())
        self._batch = question.batch
        self._threads = ThreadPoolExecutor(READERS)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        part: PlanPart = pickle.loads(row["part"])
        starts = range(0, len(part.items), self._batch)
        slices = [part.items[start : start + self._batch] for start in starts]
        found = self._threads.map(self._worker.answer, [part.first + start for start in starts], slices)
        answers = [answer for several in found for answer in several]
        return {"number": part.number, "answers": pickle.dumps(answers)}


def _rows(answered: Any) -> Iterator[Answered]:
    """The rows of a Ray dataset; a PellucidError in a worker is raised unwrapped."""
    try:
        for row in answered.iter_rows():
            yield int(row["number"]), pickle.loads(row["answers"])
    except PellucidError:
        raise
    except Exception as error:  # Ray wraps what a worker raises, several times over
        inner: BaseException | None = error
        while inner is not None:
            if isinstance(inner, PellucidError):
                raise inner from error
            inner = inner.__cause__
        raise ResourceError(f"Ray gave up: {_last_line(error)}.") from error


def _last_line(error: Exception) -> str:
    """The last line of a Ray error, which says what happened."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()[:300].rstrip(".")


def _files(bundle: Path) -> list[str]:
    return sorted({MANIFEST, MODEL, WEIGHTS} | {f.name for f in bundle.iterdir() if f.is_file()})


def _gpus(ray: Any) -> int:
    import onnxruntime

    usable = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    return int(ray.cluster_resources().get("GPU", 0)) if usable else 0


@contextmanager
def _cluster(address: str | None, workers: int) -> Iterator[Any]:
    """Ray, connected; disconnected at the end unless it was connected before."""
    # Set before the import: no usage statistics, and a slow object store is allowed.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_OBJECT_STORE_ALLOW_SLOW_STORAGE", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray
    import ray.data

    started = not ray.is_initialized()
    local: dict[str, Any] = {"num_cpus": workers, "object_store_memory": STORE, "include_dashboard": False}
    if started:
        try:
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                **({} if address else local),
            )
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = f"at {address}" if address else "on this machine"
            message = f"Ray cannot be reached {where}: {_last_line(error)}. Start a cluster with `ray start` first."
            raise ResourceError(message) from error
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()
