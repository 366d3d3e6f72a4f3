from __future__ import annotations

import asyncio
import threading
import time

import pytest

from pellucid.serving.lanes import Lane, Stopped, Ticket
from pellucid.serving.problems import Problem


def test_a_full_lane_refuses_at_once_and_is_free_again_after() -> None:
    async def scene() -> None:
        lane, gate = Lane("test", workers=1, queue=1, seconds=10), threading.Event()
        running = [asyncio.ensure_future(lane.run(lambda _: gate.wait(5))) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert lane.taken == 2
        began = time.monotonic()
        with pytest.raises(Problem) as caught:
            await lane.run(lambda _: True)
        assert time.monotonic() - began < 0.1
        assert (caught.value.status, caught.value.headers) == (503, {"Retry-After": "1"})
        gate.set()
        assert await asyncio.gather(*running) == [True, True]
        assert await lane.run(lambda _: 7) == 7
        lane.close()

    asyncio.run(scene())


def test_a_deadline_answers_and_the_slot_is_held_until_the_thread_is_free() -> None:
    async def scene() -> None:
        lane, gate, stopped = Lane("test", 1, 0, seconds=0.2), threading.Event(), threading.Event()

        def work(ticket: Ticket) -> None:
            gate.wait(5)
            try:
                ticket.check()
            except Stopped:
                stopped.set()

        with pytest.raises(Problem) as caught:
            await lane.run(work)
        assert caught.value.code == "deadline"
        assert lane.taken == 1
        with pytest.raises(Problem):
            lane.refuse_when_full()
        gate.set()
        assert stopped.wait(5)
        lane.close()
        assert lane.taken == 0

    asyncio.run(scene())


def test_what_waited_too_long_is_never_begun() -> None:
    async def scene() -> None:
        lane, gate, begun = Lane("test", 1, 1, seconds=0.2), threading.Event(), threading.Event()
        first = asyncio.ensure_future(lane.run(lambda _: gate.wait(5)))
        await asyncio.sleep(0.02)
        with pytest.raises(Problem):
            await lane.run(lambda _: begun.set())
        gate.set()
        with pytest.raises(Problem):
            await first
        lane.close()
        assert not begun.is_set()

    asyncio.run(scene())


def test_errors_of_the_work_come_through() -> None:
    async def scene() -> None:
        lane = Lane("test", 1, 0, 5)

        def work(_: Ticket) -> None:
            raise KeyError("x")

        with pytest.raises(KeyError):
            await lane.run(work)
        lane.close()
        with pytest.raises(Problem, match="shutting down"):
            await lane.run(lambda _: 1)

    asyncio.run(scene())
