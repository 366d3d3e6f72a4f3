"""A training that is killed goes on, by the program itself and a real kill -9, and ends as an unbroken one."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pellucid.data.phantom import generate_phantoms
from pellucid.errors import InputError, ResourceError
from pellucid.storage import draft_of, resumable_folder

SETTINGS = (
    "train.epochs=12",
    "data.size=32",
    "model.filters=[4,6]",
    "model.head=[]",
    "train.batch_size=8",
    "train.average=0.9",
    "train.schedule=plateau",
    "train.plateau_patience=0",
)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "films"
    generate_phantoms(folder, images=160, size=48, seed=3)
    return folder


def command(films: Path, out: Path, *more: str) -> list[str]:
    options = [word for setting in SETTINGS for word in ("--set", setting)]
    return [
        sys.executable,
        "-m",
        "pellucid",
        "train",
        str(films),
        "--recipe",
        "scratch-cnn",
        "--out",
        str(out),
        *options,
        *more,
    ]


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PELLUCID_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_end(films: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(films, whole), env=environment(tmp_path), check=True, capture_output=True)
    process = subprocess.Popen(
        command(films, broken), env=environment(tmp_path), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch   3/"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    assert not broken.exists()
    assert draft_of(broken).is_dir()

    refused = subprocess.run(command(films, broken), env=environment(tmp_path), capture_output=True, text=True)
    assert refused.returncode == 2
    assert "add --resume" in refused.stderr
    other = command(films, broken, "--resume", "--set", "train.learning_rate=0.5")
    refused = subprocess.run(other, env=environment(tmp_path), capture_output=True, text=True)
    assert refused.returncode == 2
    assert "recipe of the unfinished run" in refused.stderr

    went_on = subprocess.run(
        command(films, broken, "--resume"), env=environment(tmp_path), capture_output=True, text=True
    )
    assert went_on.returncode == 0, went_on.stderr
    assert "Resuming after epoch" in went_on.stderr
    assert "epoch   1/" not in went_on.stderr
    assert rows(broken) == rows(whole)
    first, second = (load_file(run / "checkpoints" / "best.safetensors") for run in (whole, broken))
    assert all((first[k] == second[k]).all() for k in first)
    assert sorted(f.name for f in broken.iterdir()) == sorted(f.name for f in whole.iterdir())
    assert not draft_of(broken).exists()


def keep_an_epoch(draft: Path) -> None:
    (draft / "checkpoints").mkdir(exist_ok=True)
    (draft / "checkpoints" / "last-stage-1.safetensors").write_bytes(b"state")
    (draft / "evaluation").mkdir(exist_ok=True)
    (draft / "recipe.toml").write_text("same")


def broken_off(out: Path, error: BaseException, *, after_an_epoch: bool = True) -> None:
    with resumable_folder(out, resume=False) as draft:
        if after_an_epoch:
            keep_an_epoch(draft)
        raise error


class TestFolder:
    def test_before_the_first_epoch_nothing_stays(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            broken_off(tmp_path / "run", ZeroDivisionError(), after_an_epoch=False)
        assert list(tmp_path.iterdir()) == []

    def test_after_it_the_epochs_stay_and_are_gone_on_with_when_asked(self, tmp_path: Path) -> None:
        out = tmp_path / "run"
        with pytest.raises(KeyboardInterrupt, match=r"\.run\.unfinished: add `resume=True` to the same command"):
            broken_off(out, KeyboardInterrupt())
        with pytest.raises(InputError, match="add `resume=True`"):
            broken_off(out, ZeroDivisionError())
        with resumable_folder(out, resume=True) as draft:
            assert sorted(f.name for f in draft.iterdir()) == ["checkpoints", "lock", "recipe.toml"]
        assert sorted(f.name for f in out.iterdir()) == ["checkpoints", "recipe.toml"]
        assert [f.name for f in tmp_path.iterdir()] == ["run"]

    def test_with_nothing_to_go_on_with_it_begins(self, tmp_path: Path) -> None:
        with resumable_folder(tmp_path / "run", resume=True) as draft:
            (draft / "file").touch()
        assert [f.name for f in (tmp_path / "run").iterdir()] == ["file"]

    def test_a_full_disk_is_named_and_can_be_gone_on_from(self, tmp_path: Path) -> None:
        with pytest.raises(ResourceError, match=r"is full\. Make room.*add `resume=True` to the same command"):
            broken_off(tmp_path / "run", OSError(28, "No space left on device"))
        assert draft_of(tmp_path / "run").is_dir()

    def test_two_programs_cannot_write_one_run(self, tmp_path: Path) -> None:
        with (
            resumable_folder(tmp_path / "run", resume=False),
            pytest.raises(InputError, match="Another program is writing"),
            resumable_folder(tmp_path / "run", resume=False),
        ):
            pass

    def test_the_lock_of_a_killed_program_is_open(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from pellucid.storage import resumable_folder\n"
            "with resumable_folder(Path(sys.argv[1]), resume=False): print('in', flush=True); time.sleep(60)"
        )
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        process.kill()
        process.wait()
        process.stdout.close()
        time.sleep(0.01)
        with resumable_folder(tmp_path / "run", resume=False):
            pass
        assert [f.name for f in tmp_path.iterdir()] == ["run"]
