"""Where work runs: threads beside the event loop, a bounded queue, a deadline, an end when the client goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from starlette.requests import Request

from .problems import ClientGone, busy

T = TypeVar("T")


class Cancelled(Exception):
    """The work was called off; raised inside the worker."""


class CancelToken:
    """What work looks at between passes: whether it is still wanted. `alone` says that nothing else ran as it began."""

    def __init__(self, seconds: float) -> None:
        self.ends = time.monotonic() + seconds
        self.alone = False
        self._off = threading.Event()

    def cancel(self) -> None:
        """Make the next `check` raise."""
        self._off.set()

    @property
    def left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.ends - time.monotonic())

    def check(self) -> None:
        """Raise Cancelled when the client has gone or the deadline has passed."""
        if self._off.is_set() or time.monotonic() > self.ends:
            raise Cancelled


class DaemonThreads:
    """Threads that take work in order. One that is stuck, on a frozen database say, does not keep the process alive."""

    def __init__(self, count: int, name: str) -> None:
        self._work: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._closed = False
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Queue work. Raises RuntimeError once closed."""
        if self._closed:
            raise RuntimeError
        future: Future[T] = Future()
        self._work.put((work, future))
        return future

    def close(self, seconds: float) -> None:
        """Drop what waits, and wait for what runs, at most so long."""
        self._closed = True
        try:
            while (entry := self._work.get_nowait()) is not None:
                entry[1].cancel()
        except Empty:
            pass
        for _ in self._threads:
            self._work.put(None)
        ends = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))

    def _run(self) -> None:
        while (entry := self._work.get()) is not None:
            work, future = entry
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            del entry, work, future  # what a request brought is not held until the next one comes


class WorkerPool:
    """`workers` threads and a queue of `queue` more. Its count is exact: a slot is free only once its thread is."""

    def __init__(self, name: str, workers: int, queue: int, seconds: float) -> None:
        self.name, self.workers, self.capacity, self.seconds = name, workers, workers + queue, seconds
        self._threads = DaemonThreads(workers, f"pellucid-{name}")
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

    def start(self, work: Callable[[CancelToken], T], token: CancelToken) -> Future[T]:
        """Queue `work`, or raise the 503 of a full pool at once."""
        with self._lock:
            self.refuse_when_full()
            self._taken += 1

        def guarded() -> T:
            token.check()
            token.alone = self._taken == 1
            return work(token)

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

    async def run(self, work: Callable[[CancelToken], T], request: Request | None = None) -> T:
        """The result of `work` in a thread.

        Raises Problem 503 when the pool is full or the deadline passes, ClientGone when `request`'s client hangs up.
        The request's body must have been read to its end.
        """
        token = CancelToken(self.seconds)
        future = self.start(work, token)
        answer = asyncio.wrap_future(future)
        watch = None if request is None else asyncio.ensure_future(_hung_up(request))
        try:
            awaited: set[asyncio.Future[Any]] = {answer} if watch is None else {answer, watch}
            await asyncio.wait(awaited, timeout=token.left, return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
            if watch is not None and watch.done():
                raise ClientGone
            raise _too_slow(self.seconds)
        except Cancelled:
            raise _too_slow(self.seconds) from None
        finally:
            token.cancel()
            if watch is not None:
                watch.cancel()
            if not answer.done():
                answer.cancel()

    def close(self, seconds: float = 60.0) -> None:
        """Wait for the threads to end, at most so long; what still waits is dropped."""
        self._threads.close(seconds)


def _too_slow(seconds: float) -> Exception:
    return busy(
        f"The answer was not ready within {seconds:g} seconds. Try again, or a faster method.", after=5, code="deadline"
    )


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
