"""Where work runs: threads beside the event loop, a bounded queue, a deadline, an end when the client goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import Request

from .problems import ClientGone, busy

T = TypeVar("T")


class Stopped(Exception):
    """The work was called off; raised inside the worker."""


class Ticket:
    """What work looks at between passes: whether it is still wanted. `alone` says that nothing else ran as it began."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self.alone = False
        self._off = threading.Event()

    def call_off(self) -> None:
        """Make the next `check` raise."""
        self._off.set()

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.ends - time.monotonic())

    def check(self) -> None:
        """Raise Stopped when the client has gone or the deadline has passed."""
        if self._off.is_set() or time.monotonic() > self.ends:
            raise Stopped


class Lane:
    """`workers` threads and a queue of `queue` more. Its count is exact: a slot is free only once its thread is."""

    def __init__(self, name: str, workers: int, queue: int, seconds: float) -> None:
        self.name, self.workers, self.capacity, self.seconds = name, workers, workers + queue, seconds
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=f"pellucid-{name}")
        self._lock = threading.Lock()
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many slots are taken, running and waiting."""
        return self._taken

    def refuse_when_full(self) -> None:
        """Raise the 503 that a further request would get; called before its body is read."""
        if self._taken >= self.capacity:
            raise busy(f"The server is busy: {self.capacity} requests are running or waiting. Try again in a moment.")

    def start(self, work: Callable[[Ticket], T], ticket: Ticket) -> Future[T]:
        """Queue `work`, or raise the 503 of a full lane at once."""
        with self._lock:
            self.refuse_when_full()
            self._taken += 1

        def guarded() -> T:
            ticket.check()
            ticket.alone = self._taken == 1
            return work(ticket)

        try:
            future = self._threads.submit(guarded)
        except RuntimeError:
            self._free()
            raise busy("The server is shutting down.", after=5, code="stopping") from None
        future.add_done_callback(lambda _: self._free())
        return future

    def _free(self) -> None:
        with self._lock:
            self._taken -= 1

    async def run(self, work: Callable[[Ticket], T], request: Request | None = None) -> T:
        """The result of `work` in a thread.

        Raises Problem 503 when the lane is full or the deadline passes, ClientGone when `request`'s client hangs up.
        The request's body must have been read to its end.
        """
        ticket = Ticket(self.seconds)
        future = self.start(work, ticket)
        answer = asyncio.wrap_future(future)
        watch = None if request is None else asyncio.ensure_future(_hung_up(request))
        try:
            awaited: set[asyncio.Future[Any]] = {answer} if watch is None else {answer, watch}
            await asyncio.wait(awaited, timeout=ticket.left, return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
            if watch is not None and watch.done():
                raise ClientGone
            raise _too_slow(self.seconds)
        except Stopped:
            raise _too_slow(self.seconds) from None
        finally:
            ticket.call_off()
            if watch is not None:
                watch.cancel()
            if not answer.done():
                answer.cancel()

    def close(self) -> None:
        """Wait for the threads to end; what still waits is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)


def _too_slow(seconds: float) -> Exception:
    return busy(
        f"The answer was not ready within {seconds:g} seconds. Try again, or a faster method.", after=5, code="deadline"
    )


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
