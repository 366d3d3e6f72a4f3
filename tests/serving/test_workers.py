from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
import time
import weakref

import pytest

from pellucid.serving.problems import Problem
from pellucid.serving.workers import Cancelled, CancelToken, DaemonThreads, WorkerPool


def test_a_full_pool_refuses_at_once_and_is_free_again_after() -> None:
    async def scene() -> None:
        pool, gate = WorkerPool("test", workers=1, queue=1, seconds=10), threading.Event()
        running = [asyncio.ensure_future(pool.run(lambda _: gate.wait(5))) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert pool.taken == 2
        began = time.monotonic()
        with pytest.raises(Problem) as caught:
            await pool.run(lambda _: True)
        assert time.monotonic() - began < 0.1
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        gate.set()
        assert await asyncio.gather(*running) == [True, True]
        assert await pool.run(lambda _: 7) == 7
        pool.close()

    asyncio.run(scene())


def test_a_deadline_answers_and_the_slot_is_held_until_the_thread_is_free() -> None:
    async def scene() -> None:
        pool, gate, stopped = WorkerPool("test", 1, 0, seconds=0.2), threading.Event(), threading.Event()

        def work(token: CancelToken) -> None:
            gate.wait(5)
            try:
                token.check()
            except Cancelled:
                stopped.set()

        with pytest.raises(Problem) as caught:
            await pool.run(work)
        assert caught.value.code == "deadline"
        assert pool.taken == 1
        with pytest.raises(Problem):
            pool.refuse_when_full()
        gate.set()
        assert stopped.wait(5)
        pool.close()
        assert pool.taken == 0

    asyncio.run(scene())


def test_what_waited_too_long_is_never_begun() -> None:
    async def scene() -> None:
        pool, gate, begun = WorkerPool("test", 1, 1, seconds=0.2), threading.Event(), threading.Event()
        first = asyncio.ensure_future(pool.run(lambda _: gate.wait(5)))
        await asyncio.sleep(0.02)
        with pytest.raises(Problem):
            await pool.run(lambda _: begun.set())
        gate.set()
        with pytest.raises(Problem):
            await first
        pool.close()
        assert not begun.is_set()

    asyncio.run(scene())


def test_errors_of_the_work_come_through() -> None:
    async def scene() -> None:
        pool = WorkerPool("test", 1, 0, 5)

        def work(_: CancelToken) -> None:
            raise KeyError("x")

        with pytest.raises(KeyError):
            await pool.run(work)
        pool.close()
        with pytest.raises(Problem, match="shutting down"):
            await pool.run(lambda _: 1)

    asyncio.run(scene())


def test_a_stuck_thread_keeps_no_process_alive() -> None:
    code = (
        "import threading, time; from pellucid.serving.workers import DaemonThreads;"
        "threads = DaemonThreads(2, 'stuck'); begun = threading.Event();"
        "stuck = threads.submit(lambda: (begun.set(), time.sleep(60))); begun.wait(5);"
        "waiting = [threads.submit(lambda: time.sleep(60)) for _ in range(3)];"
        "threads.close(0.2); assert waiting[-1].cancelled()"
    )
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 30


def test_a_thread_holds_nothing_of_the_work_before() -> None:
    """A body of 32 MB would otherwise be kept until the next request comes."""

    class Body:
        pass

    threads, body = DaemonThreads(1, "test"), Body()
    gone = weakref.ref(body)
    work = functools.partial(lambda held: None, body)
    threads.submit(work).result(5)
    del body, work
    ends = time.monotonic() + 5
    while gone() is not None and time.monotonic() < ends:
        time.sleep(0.01)
    assert gone() is None
    threads.close(5)
