"""A batch from sources to its folder: list, answer what is not yet answered, sum up."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ...bundle.bundle import Bundle, load
from ...bundle.run import find_bundle
from ...classifier import selected_targets
from ...data.table import TableOptions
from ...errors import InputError, ResourceError
from ...explanation.catalogue import find_method
from ...progress import Progress, Silent
from .files import located
from .job import Job, check_same, new_job, taken_up, write_job
from .local import Part, Workforce, answer_locally
from .parts import finished_parts, write_part, write_skipped
from .pictures import Wanted, draw_pictures
from .plan import PLAN, Plan, write_plan
from .reading import Reader
from .sources import list_items
from .summary import Summary, summarise
from .tune import Tuning, tuned
from .work import Question, Worker

Engine = Literal["local", "ray"]
PART_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Running:
    """How a batch runs, which changes nothing in its rows. None: as tuned for this model and machine.

    `address` is that of a Ray cluster; without one the `ray` engine starts a Ray of its own.
    """

    workers: int | None = None
    engine: Engine = "local"
    address: str | None = None


def predict_archive(
    run: str | Path,
    sources: Sequence[str],
    out: str | Path,
    *,
    method: str | None = None,
    target: str | None = None,
    pictures: str | None = None,
    resume: bool = False,
    batch: int | None = None,
    part_size: int = PART_SIZE,
    table: TableOptions | None = None,
    running: Running = Running(),
    progress: Progress | None = None,
) -> Summary:
    """Classify every image of `sources` into Parquet parts in `out`, with `method` also explain it.

    `sources` are folders, globs, CSV lists, ZIP and TAR archives, Parquet files of bytes, or image files, local or as
    URLs; `table` names the column of the files in CSV lists, and their folder. Files that cannot be read are listed in
    `skipped.csv`. Parts appear whole, `part_size` images each; with `resume` the finished ones are kept, and at most
    the part in hand is computed again. The rows depend on model, images and `batch` only, neither on the engine nor on
    the number of workers, but for `seconds`.

    Raises InputError for a source or option that does not fit and for a folder that holds another batch, BundleError
    for another model than the batch was begun with, ResourceError when disk, network or a worker gives out.
    """
    folder, bundle = Path(out), load(run, threads=1)
    wanted = Wanted.parse(pictures) if pictures else None
    _check(bundle, method, target, part_size, running)
    tuning = tuned(bundle)
    named = tuple(located(source) for source in sources)
    shown = progress or Silent()
    with _disk(folder):
        job = taken_up(folder, resume=resume)
        if job is not None:
            check_same(job, bundle, named, Question(method, target, batch or job.batch), folder)
        else:
            question = Question(method, target, batch or tuning.batch)
            job = _begin(bundle, folder, named, question, part_size, table, shown)
        began = time.perf_counter()
        force = _force(running, tuning)
        answered = _answer(bundle, folder, job, force, running, shown)
        seconds = time.perf_counter() - began
        skipped = write_skipped(folder)
        drawn = draw_pictures(bundle, folder, job, wanted, shown) if wanted else 0
        return summarise(
            folder,
            job,
            skipped=skipped,
            pictures=drawn,
            engine=running.engine,
            workers=force.workers,
            answered_now=answered,
            seconds=seconds,
        )


def _check(bundle: Bundle, method: str | None, target: str | None, part_size: int, running: Running) -> None:
    if method:
        find_method(method)
    selected_targets(bundle.classes, bundle.task, 1, target, None)
    if part_size < 1 or (running.workers is not None and running.workers < 1):
        raise InputError("The number of workers and the images of a part must be at least 1.")
    if running.address and running.engine != "ray":
        raise InputError("--address is that of a Ray cluster: add --engine ray.")
    if running.address and running.workers is None:
        raise InputError("How much of the cluster may be used is for you to say: add --workers.")


def _force(running: Running, tuning: Tuning) -> Workforce:
    return replace(tuning.force, workers=running.workers) if running.workers else tuning.force


def _begin(
    bundle: Bundle,
    out: Path,
    sources: tuple[str, ...],
    question: Question,
    part_size: int,
    table: TableOptions | None,
    progress: Progress,
) -> Job:
    """List the sources and write down what is asked of them."""
    with Reader() as reader:
        maps = Worker(bundle, question, reader).map_geometry()
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with progress.bar("Listing") as advance:
            listed = list_items(sources, table, progress.say)
            items = write_plan(out / PLAN, listed, part_size, lambda total: advance(total, total))
    except BaseException:
        if fresh:
            out.rmdir()
        raise
    job = new_job(bundle, sources, question, items, part_size, maps)
    write_job(out, job)
    return job


def _answer(bundle: Bundle, out: Path, job: Job, force: Workforce, running: Running, progress: Progress) -> int:
    """Answer the parts that are not there yet; returns how many images that were."""
    engine = answer_locally
    if running.engine == "ray":
        from .ray_engine import answer_by_ray

        engine = partial(answer_by_ray, address=running.address)
    with Plan(out / PLAN) as plan, progress.bar("Predicting") as advance:
        finished = finished_parts(out, job, plan)
        missing = [k for k in range(plan.parts) if k not in finished]
        total, done = sum(plan.length(k) for k in missing), 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            advance(done, total)

        parts = (Part(k, k * job.part_size, plan.part(k)) for k in missing)
        for number, answers in engine(parts, find_bundle(bundle.folder), job.question, force, count):
            write_part(out, job, number, answers)
    return total


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Say in a sentence what the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise ResourceError(
                f"The disk that holds {out} is full. Make room, then go on with --resume: what is finished is kept."
            ) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise InputError(f"{out} cannot be written to ({error.strerror}). Choose another --out.") from error
        raise
