"""A batch from sources to its folder: list the images, answer those without an answer, summarise."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ...bundle.bundle import Bundle, load_chosen
from ...bundle.run import find_bundle
from ...bundle.runtimes import REFERENCE_RUNTIME, USUAL_ENGINE, EngineChoice
from ...classifier import selected_targets
from ...data.table import TableOptions
from ...errors import InputError
from ...explanation.catalogue import find_method
from ...progress import Progress, Silent
from ...stopping import keeping
from ...storage import full_disk_named, locked
from .files import located
from .job import JOB, BatchRecord, batch_to_resume, check_folder, check_same, new_job, write_job
from .local import PlanPart, Workforce, answer_locally
from .parts import finished_parts, write_part, write_skipped
from .pictures import Wanted, draw_pictures
from .plan import PLAN, Plan, write_plan
from .reading import Reader
from .sources import list_items
from .summary import BatchSession, Summary, summarise
from .tune import Tuning, tuned
from .work import BatchQuestion, Worker

Engine = Literal["local", "ray"]
PART_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Running:
    """How a batch runs; its rows do not depend on it. None: as tuned for this model and machine.

    `address` is that of a Ray cluster; without it the `ray` engine starts a local Ray.
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
    against: str | None = None,
    pictures: str | None = None,
    resume: bool = False,
    batch: int | None = None,
    part_size: int = PART_SIZE,
    table: TableOptions | None = None,
    running: Running = Running(),
    choice: EngineChoice = USUAL_ENGINE,
    progress: Progress | None = None,
) -> Summary:
    """Classify every image of `sources` into Parquet parts in `out`, with `method` also explain it.

    What is explained is `target`, by default the predicted class; with `against`, why `target` and not that class.
    `sources` are folders, globs, CSV lists, ZIP and TAR archives, Parquet files of bytes, or image files, local or as
    URLs; `table` names the column of the files in CSV lists, and their folder. Files that cannot be read are listed in
    `skipped.csv`, where text that a spreadsheet would run as a formula begins with a quote. Parts appear whole,
    `part_size` images each; `resume` keeps finished parts. All columns except `seconds` depend on model, images and
    `batch` only (and on `choice`, the engine that runs the model), not on how the batch is shared out.

    Raises InputError for an invalid source or option, for a folder that holds another batch, and for one that another
    program is writing; BundleError for another model than the batch was started with; ResourceError when disk, network
    or a worker fails, with what is kept.
    """
    folder, bundle = Path(out), load_chosen(run, choice, threads=1)
    wanted = Wanted.parse(pictures) if pictures else None
    _check(bundle, method, BatchQuestion(method, target, against=against).asked, part_size, running)
    tuning = tuned(bundle)
    named = tuple(located(source) for source in sources)
    shown = progress or Silent()
    with keeping(lambda: _what_is_kept(folder)), _disk(folder), _owned(folder, resume=resume):
        job = batch_to_resume(folder)
        if job is not None:
            question = BatchQuestion(method, target, batch or job.batch, against=against).by(bundle.runtime)
            check_same(job, bundle, named, question, folder)
        else:
            question = BatchQuestion(method, target, batch or tuning.batch, against=against).by(bundle.runtime)
            job = _begin(bundle, folder, named, question, part_size, table, shown)
        session = _answer(bundle, folder, job, _force(running, tuning), running, shown)
        skipped = write_skipped(folder)
        drawn = draw_pictures(bundle, folder, job, wanted, shown) if wanted else 0
        return summarise(folder, job, session, skipped=skipped, pictures=drawn)


def _check(bundle: Bundle, method: str | None, target: str | None, part_size: int, running: Running) -> None:
    if method:
        find_method(method)
    selected_targets(bundle.classes, bundle.task, 1, target, None)
    if part_size < 1 or (running.workers is not None and running.workers < 1):
        raise InputError("`workers=` and `part_size=` must be at least 1.")
    if running.engine == "ray" and bundle.runtime != REFERENCE_RUNTIME:
        raise InputError(
            f"A Ray cluster runs the model on ONNX Runtime in float32, and {bundle.runtime.title} was asked."
        )
    if running.address and running.engine != "ray":
        raise InputError("`address=` is that of a Ray cluster: add `engine='ray'`.")
    if running.address and running.workers is None:
        raise InputError("Say how much of the cluster may be used: add `workers=`.")


def _force(running: Running, tuning: Tuning) -> Workforce:
    return replace(tuning.force, workers=running.workers) if running.workers else tuning.force


def _begin(
    bundle: Bundle,
    out: Path,
    sources: tuple[str, ...],
    question: BatchQuestion,
    part_size: int,
    table: TableOptions | None,
    progress: Progress,
) -> BatchRecord:
    """List the sources, and write the plan and the record."""
    with Reader() as reader:
        maps = Worker(bundle, question, reader).map_geometry()
    with progress.bar("Listing") as advance:
        listed = list_items(sources, table, progress.say)
        items = write_plan(out / PLAN, listed, part_size, lambda total: advance(total, total))
    job = new_job(bundle, sources, question, items, part_size, maps)
    write_job(out, job)
    return job


def _answer(
    bundle: Bundle, out: Path, job: BatchRecord, force: Workforce, running: Running, progress: Progress
) -> BatchSession:
    """Answer the missing parts."""
    engine, began = answer_locally, time.perf_counter()
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

        parts = (PlanPart(k, k * job.part_size, plan.part(k)) for k in missing)
        for number, answers in engine(parts, find_bundle(bundle.folder), job.question, force, count):
            write_part(out, job, number, answers)
    return BatchSession(running.engine, force.workers, total, time.perf_counter() - began)


@contextmanager
def _owned(out: Path, *, resume: bool) -> Iterator[None]:
    """The folder of a batch, which no other program writes to meanwhile.

    It is checked again when nobody else can write to it. A folder that was made here and holds no batch in the end is
    removed.
    """
    check_folder(out, resume=resume)
    fresh = not out.exists()
    try:
        with locked(out, out):
            check_folder(out, resume=resume)
            yield
    finally:
        if fresh and not (out / JOB).exists():
            with suppress(OSError):
                out.rmdir()


def _what_is_kept(out: Path) -> str:
    job = batch_to_resume(out)
    if job is None:
        return ""
    done, parts = sum(1 for _ in out.glob("part-*.parquet")), -(-job.items // job.part_size)
    return f"{done:,} of {parts:,} parts are kept in {out}: add `resume=True` to the same command to resume the batch."


@contextmanager
def _disk(out: Path) -> Iterator[None]:
    """Say in a sentence what the disk refuses. Raises ResourceError or InputError."""
    try:
        with full_disk_named(out):
            yield
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}:
            raise InputError(f"{out} cannot be written to ({error.strerror}). Choose another `out=`.") from error
        raise
