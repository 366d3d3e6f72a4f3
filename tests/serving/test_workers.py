from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pellucid.serving.problems import Problem
from pellucid.serving.workers import Cancelled, CancelToken, WorkerPool


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
