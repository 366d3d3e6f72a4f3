"""Ctrl-C and SIGTERM: the stack unwinds, what was begun is cleaned up, and one sentence says what is kept.

Work that keeps something runs within `keeping`. Whoever catches the interruption at the top, the command line, prints
the sentence that came with it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import ResourceError


class Interrupted(SystemExit):
    """A signal asked this program to stop; `kept` says what is kept and how to resume, "" where nothing is.

    Its code is what a shell expects: 128 and the signal's number, 130 for Ctrl-C and 143 for SIGTERM. It is not a
    KeyboardInterrupt, which frameworks turn into an exit code without the sentence.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.kept = ""


@contextmanager
def stoppable(*numbers: int) -> Iterator[None]:
    """Raise Interrupted in the body where one of the signals arrives; SIGINT and SIGTERM by default.

    A signal that something else handles already is left to it, and so is every signal outside of the main thread.
    """
    wanted = numbers or (signal.SIGINT, signal.SIGTERM)
    before = {}
    if threading.current_thread() is threading.main_thread():
        usual = (signal.SIG_DFL, signal.default_int_handler)
        before = {n: handler for n in wanted if (handler := signal.getsignal(n)) in usual}
    for number in before:
        signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


@contextmanager
def keeping(kept: Callable[[], str]) -> Iterator[None]:
    """Let an interruption of the body, or a ResourceError, say what is kept.

    `kept` is asked when that happens; the innermost `keeping` has the say. "" says nothing.
    """
    try:
        yield
    except Interrupted as stop:
        stop.kept = stop.kept or kept()
        raise
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(*error.args or (kept(),)) from error
    except ResourceError as error:
        if error.kept or not (sentence := kept()):
            raise
        raise ResourceError(str(error), kept=sentence) from error
