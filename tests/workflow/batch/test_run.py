"""A batch as a whole: every image once, the same for any number of workers, and again after it was killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.workflow.batch.conftest import BAD, GOOD, picture, write_archive
from tests.workflow.batch.rows import rows_of, skipped_of, table_of

import pellucid
from pellucid.bundle.io import checksum
from pellucid.bundle.runtimes import EngineChoice
from pellucid.errors import BundleError, InputError, UnknownNameError
from pellucid.evaluation.outside import REFERENCE, describe_surroundings
from pellucid.preprocessing import GridGeometry
from pellucid.progress import Silent
from pellucid.workflow.batch import local
from pellucid.workflow.batch.job import read_job
from pellucid.workflow.batch.local import Workforce
from pellucid.workflow.batch.parts import part_path
from pellucid.workflow.batch.run import Running, predict_archive
from pellucid.workflow.batch.summary import Summary
from pellucid.workflow.batch.tune import Tuning, tuned


def batch(model: Path, archive: Path, out: Path, workers: int = 2, **options: object) -> Summary:
    return predict_archive(model, [str(archive)], out, part_size=16, running=Running(workers), **options)  # type: ignore[arg-type]


def test_every_image_is_answered_once_or_skipped_with_its_reason(model: Path, archive: Path, tmp_path: Path) -> None:
    summary = batch(model, archive, tmp_path / "out")
    rows, skipped = rows_of(tmp_path / "out"), skipped_of(tmp_path / "out")
    files = sorted(str(p) for p in archive.glob("day*/*"))
    assert sorted([r["path"] for r in rows] + [path for path, _ in skipped]) == files
    assert [Path(path).name for path, _ in skipped] == ["broken.png", "page.jpg", "empty.png"]
    assert all(reason.endswith(".") for _, reason in skipped)
    assert [r["index"] for r in rows] == sorted(r["index"] for r in rows)
    bundle = pellucid.load(model)
    for row in rows:
        expected = bundle.predict(row["path"])
        assert row["decision"] == expected.label
        assert row["confidence"] == pytest.approx(expected.confidence, abs=1e-6)
        assert {c: row[f"p_{c}"] for c in bundle.classes} == pytest.approx(expected.probabilities, abs=1e-6)
        assert row["class"] == max(expected.probabilities, key=expected.probabilities.__getitem__)
        assert row["outside_score"] is None
    assert (summary.items, summary.answered, summary.skipped) == (GOOD + BAD, GOOD, BAD)
    assert summary.decisions == {c: sum(r["decision"] == c for r in rows) for c in bundle.classes}
    assert sum(summary.histogram) == GOOD
    np.testing.assert_array_equal(summary.histogram, np.histogram([r["p_bee"] for r in rows], 20, (0, 1))[0])
    assert summary == Summary.model_validate_json((tmp_path / "out" / "summary.json").read_bytes())


@pytest.mark.parametrize("size", [1, 4])
def test_the_rows_are_the_same_for_any_number_of_workers(model: Path, archive: Path, tmp_path: Path, size: int) -> None:
    for workers in (1, 2, 5):
        batch(model, archive, tmp_path / str(workers), workers, method="grad-cam", batch=size)
    one, two, five = (rows_of(tmp_path / name) for name in ("1", "2", "5"))
    assert one == two == five


def test_another_engine_gives_the_same_answers_and_only_it_can_resume(
    model: Path, archive: Path, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    chosen = EngineChoice("openvino")
    batch(model, archive, tmp_path / "one")
    batch(model, archive, tmp_path / "two", choice=chosen, method="grad-cam")
    one, two = (rows_of(tmp_path / name) for name in ("one", "two"))
    assert [(r["path"], r["decision"]) for r in one] == [(r["path"], r["decision"]) for r in two]
    assert [r["p_bee"] for r in two] == pytest.approx([r["p_bee"] for r in one], abs=1e-5)
    assert (read_job(tmp_path / "two").engine, read_job(tmp_path / "one").engine) == ("openvino", "onnxruntime")
    again = batch(model, archive, tmp_path / "two", choice=chosen, method="grad-cam", resume=True)
    assert again.answered == len(two)
    with pytest.raises(InputError, match=r"was started with `engine=` openvino, and now it is onnxruntime"):
        batch(model, archive, tmp_path / "two", method="grad-cam", resume=True)
    ray = Running(1, "ray")
    with pytest.raises(InputError, match="A Ray cluster runs the model on ONNX Runtime in float32"):
        predict_archive(model, [str(archive)], tmp_path / "three", choice=chosen, running=ray)


def test_processes_give_the_rows_that_threads_give(model: Path, archive: Path, tmp_path: Path) -> None:
    bundle, parts = pellucid.load(model), [local.PlanPart(0, 0, _items(archive))]
    question = local.BatchQuestion("grad-cam", None, 2)
    found = [
        dict(local.answer_locally(parts, bundle.folder, question, Workforce(2, kind), lambda n: None))
        for kind in ("threads", "processes")
    ]
    plain = [
        [(a.path, getattr(a, "prediction", None), getattr(a, "reason", None)) for a in answers[0]] for answers in found
    ]
    assert plain[0] == plain[1]


def _items(archive: Path) -> list[local.Item]:
    from pellucid.workflow.batch.sources import list_items

    return list(list_items([str(archive)]))


def test_a_map_can_be_laid_on_the_image_again(model: Path, archive: Path, tmp_path: Path) -> None:
    batch(model, archive, tmp_path / "out", method="grad-cam", target="bee")
    layout = read_job(tmp_path / "out").maps
    assert layout is not None
    bundle, row = pellucid.load(model), rows_of(tmp_path / "out")[7]
    expected = bundle.explain(row["path"], target="bee")
    grid = np.array(row["map"], np.float32).reshape(layout.shape)
    placed = bundle.preprocessing.to_original(grid, GridGeometry(layout.stride, layout.offset), expected.values.shape)
    assert row["map_target"] == "bee"
    np.testing.assert_allclose(placed, expected.values, atol=2e-3 * float(np.abs(expected.values).max()))
    assert len(row["map"]) * 2 <= 512


def test_a_killed_run_goes_on_repeats_nothing_and_loses_nothing(model: Path, tmp_path: Path) -> None:
    archive, out = write_archive(tmp_path / "archive", 197), tmp_path / "out"
    command = [sys.executable, "-m", "pellucid", "predict", str(model), str(archive), "--out", str(out), "--json"]
    command += ["--part-size", "10", "--workers", "2", "--explain", "occlusion"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not part_path(out, 2).is_file():
        assert running.poll() is None
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in out.glob("part-*.parquet")}
    assert 3 <= len(before) < 20
    assert not (out / "summary.json").exists()
    # What a kill in the middle of writing would leave.
    (out / ".part-000009.parquet.1234.part").write_bytes(b"half")
    part_path(out, 19).write_bytes(b"PAR1 half")
    ended = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    document = json.loads(ended.stdout)
    assert document["answered"] == 197
    assert document["answered_now"] == 200 - 10 * len(before)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert sorted([r["path"] for r in rows_of(out)] + [p for p, _ in skipped_of(out)]) == sorted(
        str(p) for p in archive.glob("day*/*")
    )
    whole = predict_archive(model, [str(archive)], tmp_path / "whole", method="occlusion", part_size=10)
    assert whole.answered == 197
    assert rows_of(tmp_path / "whole") == rows_of(out)


def test_resuming_what_is_finished_computes_nothing(model: Path, archive: Path, tmp_path: Path) -> None:
    batch(model, archive, tmp_path / "out")
    again = batch(model, archive, tmp_path / "out", resume=True)
    assert (again.answered_now, again.answered, again.rate) == (0, GOOD, None)


def test_images_that_come_later_are_not_in_the_plan(model: Path, tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", 20)
    batch(model, archive, tmp_path / "out")
    part_path(tmp_path / "out", 1).unlink()
    picture(archive / "day0" / "aaa.png", 99)
    batch(model, archive, tmp_path / "out", resume=True)
    assert [r["index"] for r in rows_of(tmp_path / "out")] == sorted(r["index"] for r in rows_of(tmp_path / "out"))
    assert not any("aaa" in r["path"] for r in rows_of(tmp_path / "out"))


def test_another_run_in_the_folder_is_refused(model: Path, other_model: Path, archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch(model, archive, out)
    with pytest.raises(InputError, match="`resume=True`"):
        batch(model, archive, out)
    with pytest.raises(InputError, match="`method=` unset, and now it is grad-cam"):
        batch(model, archive, out, resume=True, method="grad-cam")
    with pytest.raises(InputError, match="the source"):
        batch(model, archive / "day0", out, resume=True)
    with pytest.raises(InputError, match="`batch=` 1, and now it is 3"):
        batch(model, archive, out, resume=True, batch=3)
    with pytest.raises(BundleError, match=r"model\.onnx"):
        batch(other_model, archive, out, resume=True)
    changed = shutil.copytree(model, tmp_path / "changed")
    text = (changed / "manifest.json").read_text(encoding="utf-8")
    (changed / "manifest.json").write_text(text.replace('"threshold": 0.', '"threshold": 0.1'), encoding="utf-8")
    with pytest.raises(BundleError, match=r"manifest\.json"):
        batch(changed, archive, out, resume=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="is not the folder of a batch"):
        batch(model, archive, tmp_path / "mine", resume=True)
    with pytest.raises(InputError, match="is a file"):
        batch(model, archive, tmp_path / "mine" / "letter.txt")


def test_two_batches_to_one_folder_at_once(model: Path, archive: Path, tmp_path: Path) -> None:
    """The second is refused whatever the first is at, and the first is not disturbed."""
    out, refused, progress = tmp_path / "out", [], Watched(lambda: second())

    def second() -> None:
        for resume in (False, True):
            with pytest.raises(InputError, match=r"Another program is writing|already holds a batch") as caught:
                batch(model, archive, out, resume=resume)
            refused.append("Another program" in str(caught.value))

    summary = batch(model, archive, out, progress=progress)
    assert progress.bars == ["Listing", "Predicting"]
    assert refused == [True, True, False, True]
    assert (summary.answered, len(rows_of(out))) == (GOOD, GOOD)
    others = ["items.parquet", "job.json", "skipped.csv", "summary.json"]
    assert sorted(p.name for p in out.iterdir()) == sorted([*others, *(part_path(out, k).name for k in range(3))])
    assert batch(model, archive, out, resume=True).answered_now == 0


class Watched(Silent):
    """Does something each time that progress is told."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.then, self.bars = then, list[str]()

    @contextmanager
    def bar(self, description: str) -> Iterator[Callable[[int, int], None]]:
        self.bars.append(description)
        self.then()
        yield lambda done, total: None


def test_a_plan_that_is_gone_is_one_sentence(model: Path, archive: Path, tmp_path: Path) -> None:
    batch(model, archive, tmp_path / "out")
    for content in (b"PAR1", None):
        (tmp_path / "out" / "items.parquet").unlink()
        if content is not None:
            (tmp_path / "out" / "items.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"items\.parquet cannot be read"):
            batch(model, archive, tmp_path / "out", resume=True)


def test_a_part_of_another_batch_is_not_taken_for_ones_own(model: Path, archive: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        batch(model, archive, tmp_path / name)
    shutil.copy(part_path(tmp_path / "b", 1), part_path(tmp_path / "a", 1))
    with pytest.raises(InputError, match="another batch"):
        batch(model, archive, tmp_path / "a", resume=True)


def test_options_that_do_not_fit(model: Path, archive: Path, tmp_path: Path) -> None:
    for options, words in (
        ({"method": "grad-camm"}, "grad-cam"),
        ({"target": "beee"}, "bee"),
    ):
        with pytest.raises(UnknownNameError, match=words):
            batch(model, archive, tmp_path / "out", **options)
    for text in ("best:3", "top", "top:0", "top:x"):
        with pytest.raises(InputError, match="top:100"):
            batch(model, archive, tmp_path / "out", pictures=text)
    with pytest.raises(InputError, match="add `engine='ray'`"):
        predict_archive(model, [str(archive)], tmp_path / "out", running=Running(address="auto"))
    with pytest.raises(InputError, match="nowhere"):
        batch(model, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_sentence_and_the_rest_can_follow(model: Path, archive: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = [sys.executable, "-m", "pellucid", "predict", str(model), str(archive), "--out", str(small / "out")]
    script = (
        f"mount -t tmpfs -o size=24k tmpfs {small} || exit 77; "
        '"$@"; code=$?; ls $0/out; mount -o remount,size=10m $0 || exit 77; "$@" --resume; exit $((code * 10 + $?))'
    )
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, str(small), *command, "--part-size", "4"],
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode in (77, 1, 127) and "pellucid" not in ended.stderr:
        pytest.skip("no file system of a limited size can be mounted here")
    assert ended.returncode == 21, (ended.stdout, ended.stderr)
    assert "is full" in ended.stderr
    assert "--resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"{GOOD} of {GOOD + BAD} images classified" in ended.stdout


def test_memory_stays_bounded(model: Path, tmp_path: Path) -> None:
    """Twelve times the images take next to no more memory."""
    peaks = []
    for name, copies in (("few", 1), ("many", 12)):
        root = tmp_path / name
        picture(root / "0.png", 0, (300, 400))
        for i in range(1, 25 * copies):
            os.link(root / "0.png", root / f"{i}.png")
        code = (
            "import sys, resource; from pellucid.cli.main import main\n"
            "try: main()\nexcept SystemExit: pass\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        arguments = ["predict", str(model), str(root), "--out", str(tmp_path / f"{name}-out"), "--workers", "2"]
        ended = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        peaks.append(int(ended.stdout.split()[-1]) / 1024)
    assert peaks[1] < peaks[0] + 20


def test_warnings_are_kept(model: Path, tmp_path: Path) -> None:
    picture(tmp_path / "data" / "thin.png", 1, (6, 200))
    picture(tmp_path / "data" / "wide.png", 1, (60, 200))
    PIL.Image.new("L", (60, 60), 90).save(tmp_path / "data" / "blank.png")
    summary = batch(model, tmp_path / "data", tmp_path / "out")
    table = table_of(tmp_path / "out").to_pydict()
    assert [len(texts) for texts in table["warnings"]] == [1, 2, 0]
    assert table["warnings"][0] == list(pellucid.load(model).predict(tmp_path / "data" / "blank.png").warnings)
    assert summary.with_warnings == 2
    assert min(table["seconds"]) > 0


@pytest.mark.parametrize("method", [None, "grad-cam", "occlusion"])
def test_the_outside_score_is_that_of_predict(model: Path, archive: Path, tmp_path: Path, method: str | None) -> None:
    known = with_reference(model, [str(p) for p in sorted(archive.glob("day0/film*.png"))], tmp_path / "known")
    summary = batch(known, archive, tmp_path / "out", method=method)
    bundle = pellucid.load(known)
    expected = [bundle.predict(row["path"]) for row in rows_of(tmp_path / "out")]
    found = table_of(tmp_path / "out").to_pydict()
    assert found["outside_score"] == pytest.approx([e.outside_score for e in expected], rel=1e-4)
    assert [tuple(w) for w in found["warnings"]] == [e.warnings for e in expected]
    assert summary.outside == summary.with_warnings == sum(s > 1 for s in found["outside_score"])
    assert 0 < summary.outside < GOOD


def with_reference(model: Path, images: list[str], folder: Path) -> Path:
    """A copy of a bundle that knows some images, the farther half of which it finds strange."""
    bundle = pellucid.load(model)
    _, features = bundle.logits_and_features(bundle.preprocessing.tensors([bundle.read(path) for path in images]))
    surroundings = describe_surroundings(features)
    threshold = float(np.median(surroundings.distances(features)))
    shutil.copytree(model, folder)
    (folder / REFERENCE).write_bytes(surroundings.to_bytes())
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    channels = len(surroundings.mean)
    described = {"layer": "x", "channels": channels, "trained": len(images), "images": len(images)}
    manifest["reference"] = described | {"threshold": threshold}
    manifest["files"][REFERENCE] = checksum(folder / REFERENCE)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def test_settings_that_were_measured_are_taken(model: Path, archive: Path, tmp_path: Path) -> None:
    from pellucid.workflow.batch.tune import tune

    bundle = pellucid.load(model)
    assert not tuned(bundle).measured
    candidates = [Tuning(batch=3, force=Workforce(2)), Tuning(batch=2, force=Workforce(1))]
    found = tune(bundle, seconds=0.1, candidates=candidates)
    assert sorted(t.batch for t in found) == [2, 3]
    assert found[0].rate is not None
    assert found[1].rate is not None
    assert found[0].rate >= found[1].rate > 0
    assert tuned(bundle) == found[0]
    summary = predict_archive(model, [str(archive)], tmp_path / "out")
    assert summary.workers == found[0].force.workers
    assert read_job(tmp_path / "out").batch == found[0].batch
