"""Ctrl-C and SIGTERM: one sentence that says what is kept, exit codes 130 and 143, and nothing half-made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import pytest
from tests.fixtures.unpacked import unpack

from pellucid.errors import ResourceError
from pellucid.stopping import Interrupted, keeping, stoppable

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """A shell starts background commands with SIGINT ignored, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and films."""
    return unpack(tmp_path_factory.mktemp("older"))


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_unwinds_the_stack_and_carries_what_is_kept(number: int, code: int) -> None:
    before, cleaned = signal.getsignal(number), []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            cleaned.append(True)

    with pytest.raises(Interrupted) as caught, stoppable(), keeping(lambda: "Outer."), keeping(lambda: "Inner."):
        work()
    assert (caught.value.code, caught.value.kept, cleaned) == (code, "Inner.", [True])
    assert signal.getsignal(number) is before


def test_what_others_handle_is_left_to_them() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]
    ended: list[bool] = []

    def elsewhere() -> None:
        with stoppable():
            ended.append(True)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert ended == [True]


def test_callers_in_python_get_the_sentence_too() -> None:
    with pytest.raises(KeyboardInterrupt, match="Kept"), keeping(lambda: "Kept."):
        raise KeyboardInterrupt
    with pytest.raises(ResourceError, match=r"^Full\. Kept\.$"), keeping(lambda: "Outer."), keeping(lambda: "Kept."):
        raise ResourceError("Full.")
    with pytest.raises(ResourceError, match=r"^Full\.$"), keeping(lambda: ""):
        raise ResourceError("Full.")


def stopped(arguments: list[object], when: Callable[[], bool], number: int) -> subprocess.CompletedProcess[str]:
    """Run the program, and send it a signal once `when` holds."""
    command = [sys.executable, "-m", "pellucid", *map(str, arguments)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not when():
            assert running.poll() is None, running.communicate()
            time.sleep(0.01)
        running.send_signal(number)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
    return subprocess.CompletedProcess(command, running.returncode, out, err)


def enlarged(films: Path, folder: Path, count: int) -> Path:
    """So many images that take a while."""
    folder.mkdir()
    film = PIL.Image.open(next(films.rglob("*.png")))
    film.resize((1500, 1500)).save(folder / "0.png")
    for number in range(1, count):
        os.link(folder / "0.png", folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_batch_says_how_many_parts_are_kept(older: Path, tmp_path: Path, number: int, code: int) -> None:
    images, out = enlarged(older / "films" / "test", tmp_path / "images", 400), tmp_path / "out"
    batch = ["predict", older / "run", images, "--out", out, "--part-size", 5, "--workers", 1]
    ended = stopped(batch, (out / "part-000001.parquet").is_file, number)
    parts = len(list(out.glob("part-*.parquet")))
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"pellucid: Interrupted. {parts} of 80 parts are kept in {out}: "
        "add --resume to the same command to resume the batch."
    )
    assert not (out / "lock").exists()


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_batch_that_was_only_listing_leaves_nothing(older: Path, tmp_path: Path, number: int, code: int) -> None:
    out, fifo = tmp_path / "out", tmp_path / "list.csv"
    os.mkfifo(fifo)
    ended = stopped(["predict", older / "run", fifo, "--out", out], (out / "lock").is_file, number)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr == "pellucid: Interrupted. No partial output was left behind: run the same command again.\n"
    assert not out.exists()


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_training_says_where_its_epochs_are(older: Path, tmp_path: Path, number: int, code: int) -> None:
    out, draft = tmp_path / "run", tmp_path / ".run.unfinished"
    tiny = ["data.size=32", "model.filters=[4, 4]", "model.head=[{dense=4}]", "train.epochs=500", "train.patience=500"]
    settings = [part for value in tiny for part in ("--set", value)]
    training = ["train", older / "films", "--recipe", "scratch-cnn", "--out", out, "-q", *settings]
    ended = stopped(training, lambda: any(draft.rglob("*stage-*.safetensors")), number)
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.splitlines()[-1] == (
        f"pellucid: Interrupted. Finished epochs are kept in {draft}: add --resume to the same command to resume it."
    )
    assert not out.exists()


def test_a_reader_that_goes_away_is_no_failure(older: Path) -> None:
    images = sorted((older / "films" / "test").rglob("*.png")) * 40
    command = [sys.executable, "-m", "pellucid", "predict", older / "run", *images, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.read(1) == b"["
        running.stdout.close()
        assert b"Traceback" not in running.stderr.read()
    assert running.returncode == 0
