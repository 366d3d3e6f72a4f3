"""The engine on one machine: workers in threads or processes, each running the model on one core of its own."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import ResourceError
from .reading import Reader
from .sources import Item
from .work import Answer, BatchQuestion, Worker

SLICE = 8
"""The fewest images per task: enough to make its overhead negligible, few enough to balance the workers."""

AHEAD = 3
"""Tasks in flight per worker, including waiting ones. This bounds the memory."""


@dataclass(frozen=True, slots=True)
class PlanPart:
    """One part of the plan to process; `first` is the index of its first item in the source."""

    number: int
    first: int
    items: Sequence[Item]


@dataclass(frozen=True, slots=True)
class Workforce:
    """The number and kind of workers, and the number of threads for one forward pass."""

    workers: int
    kind: Literal["threads", "processes"] = "threads"
    threads: int = 1


Answered = tuple[int, list[Answer]]


def answer_locally(
    parts: Iterable[PlanPart], bundle: Path, question: BatchQuestion, force: Workforce, advance: Callable[[int], None]
) -> Iterator[Answered]:
    """Answers part by part, in order; `advance` is called with the number of items just finished.

    Raises ResourceError when a worker process dies.
    """
    size = max(question.batch, SLICE // question.batch * question.batch)
    with _workers(bundle, question, force) as (pool, ask):
        waiting: deque[tuple[int, bool, Future[list[Answer]]]] = deque()
        done: list[Answer] = []

        def oldest() -> Iterator[Answered]:
            nonlocal done
            number, last, future = waiting.popleft()
            done += (got := future.result())
            advance(len(got))
            if last:
                yield number, done
                done = []

        try:
            for part in parts:
                starts = range(0, len(part.items), size)
                for start in starts:
                    chunk = part.items[start : start + size]
                    future = pool.submit(ask, part.first + start, chunk)
                    waiting.append((part.number, start == starts[-1], future))
                    while len(waiting) >= AHEAD * force.workers:
                        yield from oldest()
            while waiting:
                yield from oldest()
        except BrokenProcessPool as error:
            message = "A worker process was killed, perhaps because memory ran out. Try fewer `workers=`."
            raise ResourceError(message) from error


Ask = Callable[[int, Sequence[Item]], list[Answer]]


@contextmanager
def _workers(bundle: Path, question: BatchQuestion, force: Workforce) -> Iterator[tuple[Executor, Ask]]:
    """A worker pool and the function to submit to it. Tasks that have not started are dropped at the end."""
    if force.kind == "processes":
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(force.workers, context, _begin, (str(bundle), question, force.threads))
        try:
            yield pool, _ask
        finally:
            pool.shutdown(cancel_futures=True)
        return
    with Reader() as reader:
        worker = Worker(question.load(bundle, force.threads), question, reader)
        threads = ThreadPoolExecutor(force.workers)
        try:
            yield threads, worker.answer
        finally:
            threads.shutdown(cancel_futures=True)


_worker: Worker | None = None
"""The worker of this process, if `_workers` started it."""


def _begin(bundle: str, question: BatchQuestion, threads: int) -> None:
    global _worker
    # Ctrl-C reaches every process of the terminal; the one that asked stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = Worker(question.load(bundle, threads), question, Reader())


def _ask(first: int, items: Sequence[Item]) -> list[Answer]:
    if _worker is None:
        raise RuntimeError("this worker process was not initialised")
    return _worker.answer(first, items)
