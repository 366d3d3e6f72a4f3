"""A folder appears whole or not at all, whatever happens on the way."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pellucid import storage
from pellucid.errors import InputError, ResourceError
from pellucid.recipe import Recipe, same_recipe
from pellucid.storage import cache_folder, locked, new_folder, resumable_folder, the_same_as_before


def left(folder):
    return sorted(p.name for p in folder.iterdir())


def full(number):
    return OSError(number, os.strerror(number))


class TestSuccess:
    def test_the_folder_gets_its_name_at_the_end(self, tmp_path):
        out = tmp_path / "run"
        with new_folder(out) as draft:
            (draft / "file").write_text("words")
            assert not out.exists()
            assert draft.parent == tmp_path
        assert left(tmp_path) == ["run"]
        assert (out / "file").read_text() == "words"

    def test_its_rights_are_those_of_any_new_folder(self, tmp_path):
        (tmp_path / "plain").mkdir()
        with new_folder(tmp_path / "run"):
            pass
        assert (tmp_path / "run").stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_folders_above_are_made(self, tmp_path):
        with new_folder(tmp_path / "a" / "b" / "run") as draft:
            (draft / "file").touch()
        assert left(tmp_path / "a" / "b") == ["run"]

    def test_an_empty_folder_is_taken(self, tmp_path):
        (tmp_path / "run").mkdir()
        with new_folder(tmp_path / "run") as draft:
            (draft / "file").touch()
        assert left(tmp_path / "run") == ["file"]

    def test_the_empty_folder_one_is_in_is_taken(self, tmp_path, monkeypatch):
        (tmp_path / "run").mkdir()
        monkeypatch.chdir(tmp_path / "run")
        with new_folder(Path()) as draft:
            (draft / "file").touch()
        assert left(tmp_path / "run") == ["file"]

    def test_a_link_to_an_empty_folder_is_followed(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "real")
        with new_folder(tmp_path / "link") as draft:
            (draft / "file").touch()
        assert (tmp_path / "link").is_symlink()
        assert left(tmp_path / "real") == ["file"]

    def test_what_a_killed_process_left_is_in_nobodys_way(self, tmp_path):
        (tmp_path / f".run.{os.getpid()}.part").mkdir()
        with new_folder(tmp_path / "run"):
            pass
        assert (tmp_path / "run").is_dir()

    def test_another_thread_may_make_one(self, tmp_path):
        def make():
            with new_folder(tmp_path / "run") as draft:
                (draft / "file").touch()

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        assert left(tmp_path / "run") == ["file"]

    def test_the_signal_is_given_back(self, tmp_path):
        before = signal.getsignal(signal.SIGTERM)
        with new_folder(tmp_path / "run"):
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) is before


class TestRefusals:
    def test_a_folder_with_anything_in_it_stays_as_it_is(self, tmp_path):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "mine").write_text("mine")
        with (
            pytest.raises(InputError, match=r"run is already there and not empty.*`out=`"),
            new_folder(tmp_path / "run"),
        ):
            pytest.fail("the body must not run")
        assert left(tmp_path) == ["run"]
        assert (tmp_path / "run" / "mine").read_text() == "mine"

    def test_a_file_stays_as_it_is(self, tmp_path):
        (tmp_path / "run").write_text("mine")
        with pytest.raises(InputError, match="already there"), new_folder(tmp_path / "run"):
            pytest.fail("the body must not run")
        assert (tmp_path / "run").read_text() == "mine"

    def test_a_parent_that_is_a_file(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"file cannot be written to \(.+\)\. Choose another `out=`"):
            new_folder(tmp_path / "file" / "run").__enter__()

    @pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
    def test_a_parent_that_is_closed(self, tmp_path):
        tmp_path.chmod(0o500)
        try:
            with pytest.raises(InputError, match=r"cannot be written to \(Permission denied\)"):
                new_folder(tmp_path / "run").__enter__()
        finally:
            tmp_path.chmod(0o700)

    def test_a_name_that_is_too_long(self, tmp_path):
        with pytest.raises(InputError, match="name too long"):
            new_folder(tmp_path / ("x" * 250)).__enter__()


class TestFailure:
    @pytest.mark.parametrize(
        "error", [ValueError("x"), InputError("x"), KeyboardInterrupt(), SystemExit(3), full(errno.EACCES)]
    )
    def test_nothing_is_left_and_the_error_goes_on(self, tmp_path, error):
        def fail():
            with new_folder(tmp_path / "run") as draft:
                (draft / "deep").mkdir()
                (draft / "deep" / "file").touch()
                raise error

        with pytest.raises(type(error)) as raised:
            fail()
        assert raised.value is error
        assert left(tmp_path) == []

    def test_an_empty_folder_that_was_there_stays(self, tmp_path):
        (tmp_path / "run").mkdir()
        with pytest.raises(ValueError, match="x"), new_folder(tmp_path / "run"):
            raise ValueError("x")
        assert left(tmp_path) == ["run"]

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_named(self, tmp_path, number):
        with (
            pytest.raises(ResourceError, match=r"The disk that holds .+ is full\. Make room, or choose another `out=`"),
            new_folder(tmp_path / "run"),
        ):
            raise full(number)
        assert left(tmp_path) == []

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_disk_that_is_really_full(self, tmp_path):
        def write():
            with new_folder(tmp_path / "run") as draft:
                (draft / "file").symlink_to("/dev/full")
                (draft / "file").write_text("words")

        with pytest.raises(ResourceError, match="is full"):
            write()
        assert left(tmp_path) == []

    def test_being_terminated_leaves_nothing(self, tmp_path):
        program = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from pellucid.storage import new_folder\n"
            "with new_folder(Path(sys.argv[1])) as draft:\n"
            "    (draft / 'file').touch()\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(60)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", program, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
        with child:
            assert child.stdout.readline() == "ready\n"
            (draft,) = left(tmp_path)
            assert draft.startswith(".run.")
            child.terminate()
            assert child.wait(timeout=30) == 128 + signal.SIGTERM
        assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, "~/.cache/pellucid"),
        ({"XDG_CACHE_HOME": "/far"}, "/far/pellucid"),
        ({"PELLUCID_CACHE": "/mine", "XDG_CACHE_HOME": "/far"}, "/mine"),
        ({"PELLUCID_CACHE": ""}, None),
    ],
)
def test_where_decoded_images_are_kept(monkeypatch, variables, wanted):
    for name in ("PELLUCID_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == (None if wanted is None else Path(wanted).expanduser())


def test_a_result_is_not_lost_when_another_program_took_its_name(tmp_path):
    out = tmp_path / "run"

    def work() -> None:
        with new_folder(out) as draft:
            (draft / "mine").write_text("hours of work")
            out.mkdir()
            (out / "theirs").touch()

    with pytest.raises(InputError, match="run-2"):
        work()
    assert (tmp_path / "run-2" / "mine").read_text() == "hours of work"
    assert sorted(f.name for f in tmp_path.iterdir()) == ["run", "run-2"]


class TestResumedFiles:
    """The files that a resumed run must have in common with the unfinished one."""

    @pytest.fixture
    def draft(self, tmp_path):
        kept = tmp_path / ".run.unfinished"
        (kept / "checkpoints").mkdir(parents=True)
        (kept / "checkpoints" / "last-stage-1.safetensors").touch()
        (kept / "recipe.toml").write_text("a = 1\n")
        (kept / "split.csv").write_text("path\n")
        return kept

    def write(self, draft, recipe="a = 1\n", error=None, **options):
        with the_same_as_before(draft, "recipe.toml", "split.csv", **options):
            (draft / "recipe.toml").write_text(recipe)
            if error:
                raise error
            (draft / "split.csv").write_text("path\n")

    def test_equal_files_are_taken(self, draft):
        self.write(draft)
        assert left(draft) == ["checkpoints", "recipe.toml", "split.csv"]

    def test_another_file_is_refused_and_the_old_one_stays(self, draft):
        with pytest.raises(InputError, match="recipe of the unfinished run"):
            self.write(draft, recipe="a = 2\n")
        assert (draft / "recipe.toml").read_text() == "a = 1\n"
        assert left(draft) == ["checkpoints", "recipe.toml", "split.csv"]

    @pytest.mark.parametrize("error", [full(errno.ENOSPC), KeyboardInterrupt()])
    def test_a_disk_that_fills_while_they_are_written_costs_nothing(self, draft, error):
        with pytest.raises(type(error)):
            self.write(draft, recipe="", error=error)
        self.write(draft)
        assert left(draft) == ["checkpoints", "recipe.toml", "split.csv"]

    def test_a_kill_while_they_are_written_costs_nothing(self, draft):
        (draft / "recipe.toml").rename(draft / "recipe.toml.before")
        (draft / "recipe.toml").write_text("a")
        with resumable_folder(draft.parent / "run", resume=True) as again:
            assert again == draft
            self.write(draft)
            assert left(draft) == ["checkpoints", "lock", "recipe.toml", "split.csv"]

    def test_a_recipe_without_a_newer_key_is_the_same(self, draft):
        now = Recipe(name="x").to_toml()
        older = now.replace(next(line for line in now.splitlines() if line.startswith("interpolation")) + "\n", "")
        assert older != now
        (draft / "recipe.toml").write_text(older)
        self.write(draft, recipe=now, same={"recipe.toml": same_recipe})
        assert (draft / "recipe.toml").read_text() == now
        with pytest.raises(InputError):
            self.write(draft, recipe=now.replace("bilinear", "bicubic"), same={"recipe.toml": same_recipe})


class TestLock:
    def test_a_second_program_is_refused_until_the_first_ends(self, tmp_path):
        with locked(tmp_path / "out", tmp_path / "out"):
            with pytest.raises(InputError, match="Another program is writing"), locked(tmp_path / "out", tmp_path):
                pass
            assert left(tmp_path / "out") == ["lock"]
        with locked(tmp_path / "out", tmp_path / "out"):
            pass
        assert left(tmp_path / "out") == []

    def test_a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_one(self, tmp_path, monkeypatch):
        """Between opening and locking, the program that held it ends and a third one begins."""
        out, third, opened = tmp_path / "out", [], []
        real = storage._lock

        def lock(file, where):
            real(file, where)
            opened.append(file.name)
            if len(opened) == 1:
                (out / "lock").unlink()
                third.append((out / "lock").open("w"))
                real(third[0], where)

        monkeypatch.setattr(storage, "_lock", lock)
        with pytest.raises(InputError, match="Another program is writing"), locked(out, out):
            pass
        third[0].close()
