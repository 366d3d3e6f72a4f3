"""`pellucid data split`, `augment` and `download`, from the words typed to the files and the exit code."""

from __future__ import annotations

import errno
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import typer
from typer.testing import CliRunner

from pellucid.cli.data_augment import augment
from pellucid.cli.data_download import download
from pellucid.cli.data_split import split
from pellucid.cli.options import parse_merge
from pellucid.data import augment as augment_module
from pellucid.data.folder import read_dataset
from pellucid.data.phantom import generate_phantoms
from pellucid.errors import InputError, PellucidError, RecipeError, ResourceError, UnknownNameError

app = typer.Typer()
app.command("split")(split)
app.command("augment")(augment)
app.command("download")(download)


def run(*arguments: object, code: int = 0) -> Any:
    """What the command printed: its JSON where that was asked for, otherwise the result with stdout and stderr."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return json.loads(result.stdout) if "--json" in arguments else result


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films") / "data"
    generate_phantoms(folder, images=60, size=48, seed=1)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """30 images of each of three classes, no splits."""
    for label, name in enumerate(("covid", "flu", "normal")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(30):
            pixels = np.random.default_rng(100 * label + i).integers(0, 256, (16, 16), dtype=np.uint8)
            PIL.Image.fromarray(pixels).save(tmp_path / "data" / name / f"p{i // 2}_{i}.png")
    return tmp_path / "data"


# ---- split


def test_split_prints_counts_reasons_and_proof(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(
        "split", "data", "--seed", 4, "--group-by", r"(p\d+)_", "--merge", "ill=covid,flu", "--positive", "ill"
    )
    assert [line.split() for line in result.stdout.splitlines()[:2]] == [
        ["file", "split", "normal", "ill", "images"],
        ["split.csv", "train", "16", "32", "48"],
    ]
    assert "The test set was drawn with seed 4" in result.stdout
    assert "No two splits share an image by content or near-duplicate or group." in result.stdout
    assert "Next: pellucid train split.csv --set data.positive=ill" in result.stdout
    assert result.stderr == ""
    dataset = read_dataset(tmp_path / "split.csv", positive="ill")
    assert dataset.classes == ("normal", "ill")
    assert len(dataset) == 90


def test_split_as_json_is_seeded_and_complete(images: Path, tmp_path: Path) -> None:
    found = [run("split", images, "--out", tmp_path / f"{n}.csv", "--seed", n // 2, "--json") for n in range(4)]
    texts = [(tmp_path / f"{n}.csv").read_text() for n in range(4)]
    assert texts[0] == texts[1] != texts[2] == texts[3]
    document = found[0]
    assert document["files"][0]["counts"]["test"] == {"covid": 6, "flu": 6, "normal": 6}
    assert document["files"][0]["disjoint"] is True
    assert document["files"][0]["checked"] == ["content", "near-duplicate"]
    assert (document["classes"], document["positive"], document["skipped"]) == (["covid", "flu", "normal"], None, [])
    none = run("split", images, "--out", tmp_path / "none.csv", "--test", 0, "--json")
    assert set(none["files"][0]["counts"]) == {"train", "val"}


def test_split_into_folds(images: Path, tmp_path: Path) -> None:
    document = run("split", images, "--folds", 5, "--out", tmp_path / "folds", "--json")
    assert [Path(f["path"]).name for f in document["files"]] == [f"fold-{n}.csv" for n in range(1, 6)]
    assert all(f["counts"]["test"] == {"covid": 6, "flu": 6, "normal": 6} for f in document["files"])
    result = run("split", images, "--folds", 2, "--out", tmp_path / "two")
    assert f"Written: fold-1.csv, fold-2.csv in {tmp_path / 'two'}" in result.stdout
    with pytest.raises(InputError, match="--leave-out-twins applies to existing splits"):
        run("split", images, "--folds", 2, "--leave-out-twins", "--out", tmp_path / "three")


def test_split_with_an_overlap_ends_with_1_unless_twins_are_left_out(phantoms: Path, tmp_path: Path) -> None:
    train = sorted((phantoms / "train" / "normal").iterdir())[0]
    test = sorted((phantoms / "test" / "normal").iterdir())[0]
    copy = train.with_name("copy_of_test.png")
    copy.write_bytes(test.read_bytes())
    try:
        result = run("split", phantoms, "--out", tmp_path / "a.csv", code=1)
        assert f"test/normal/{test.name} and train/normal/copy_of_test.png" in result.stdout
        document = run("split", phantoms, "--out", tmp_path / "b.csv", "--json", code=1)
        assert document["files"][0]["disjoint"] is False
        leaks = [o for o in document["files"][0]["overlaps"] if o["images"]]
        assert [(o["criterion"], o["splits"], o["images"]) for o in leaks] == [("content", ["train", "test"], 1)]
        result = run("split", phantoms, "--out", tmp_path / "c.csv", "--leave-out-twins")
        assert "Left out on request: train/normal/copy_of_test.png" in result.stdout
    finally:
        copy.unlink()


def test_split_names_what_cannot_be_read_and_goes_on(images: Path, tmp_path: Path) -> None:
    (images / "flu" / "no image [odd].jpg").write_bytes(b"<svg/>")
    result = run("split", images, "--out", tmp_path / "a.csv", code=1)
    assert "skipped flu/no image [odd].jpg: " in result.stderr
    assert len(read_dataset(tmp_path / "a.csv")) == 90


@pytest.mark.parametrize("text", ["ill", "ill=", "=covid", "ill=,"])
def test_merge_is_written_in_one_way(text: str) -> None:
    with pytest.raises(InputError, match="write NAME=CLASS,CLASS"):
        parse_merge([text])
    assert parse_merge(["ill=a, b", "ill=c", "x y=d"]) == {"ill": ["a", "b", "c"], "x y": ["d"]}


# ---- augment


def test_augment_leaves_validation_and_test_alone(phantoms: Path, tmp_path: Path) -> None:
    result = run("augment", phantoms, "--out", tmp_path / "aug", "--copies", 2, "--group-by", r"^(patient\d+)")
    before = {p.relative_to(phantoms): p.read_bytes() for p in phantoms.rglob("test/*/*.png")}
    after = {p.relative_to(tmp_path / "aug"): p.read_bytes() for p in (tmp_path / "aug").rglob("test/*/*.png")}
    assert before == after
    dataset = read_dataset(tmp_path / "aug", group_by=r"^(patient\d+)")
    patients = [{s.group for s in dataset.samples if s.split == split} for split in ("train", "val", "test")]
    assert all(patients)
    assert not patients[0] & (patients[1] | patients[2])
    assert f"Next: pellucid train {tmp_path / 'aug'}" in result.stdout
    copies = sum("_aug" in s.path for s in dataset.samples)
    assert copies * 3 == 2 * sum(s.split == "train" for s in dataset.samples)


def test_augment_splits_first_and_balances(images: Path, tmp_path: Path) -> None:
    for i in range(10, 30):
        (images / "flu" / f"p{i // 2}_{i}.png").unlink()
    arguments = ("--copies", 1, "--balance", "--seed", 3, "--set", "augment.brightness=0.1", "--json")
    document = run("augment", images, "--out", tmp_path / "aug", *arguments)
    assert set(document["counts"]) == {"train", "val", "test"}
    assert len(set(document["counts"]["train"].values())) == 1
    assert document["copies"]["flu"] > document["copies"]["covid"] > 0
    assert document["disjoint"] is True
    assert read_dataset(tmp_path / "aug").counts() == document["counts"]
    again = run("augment", images, "--out", tmp_path / "again", *arguments)
    assert again | {"out": ""} == document | {"out": ""}
    origins = [(tmp_path / name / "origins.csv").read_bytes() for name in ("aug", "again")]
    assert origins[0] == origins[1]


def test_augment_names_what_cannot_be_read_and_ends_with_1(images: Path, tmp_path: Path) -> None:
    (images / "flu" / "cut.png").write_bytes((images / "flu" / "p0_0.png").read_bytes()[:60])
    result = run("augment", images, "--out", tmp_path / "aug", code=1)
    assert "skipped flu/cut.png: " in result.stderr
    assert not list((tmp_path / "aug").rglob("cut*"))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (("--recipe", "scratch-cnm"), UnknownNameError, "scratch-cnn"),
        (("--set", "augment.rotate=3"), UnknownNameError, r"augment\.rotation"),
        (("--set", "augment.rotation=300"), RecipeError, "rotation"),
        (("--copies", "0"), InputError, "`copies=` must lie between"),
        (("--group-by", "("), PellucidError, "neither a regular expression"),
    ],
)
def test_augment_refuses_and_leaves_nothing(
    images: Path, tmp_path: Path, arguments: tuple[str, ...], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        run("augment", images, "--out", tmp_path / "aug", *arguments)
    assert [p.name for p in tmp_path.iterdir()] == ["data"]


def test_augment_keeps_off_what_is_there(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="the copies would count as more data"):
        run("augment", images, "--out", images / "augmented")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").touch()
    with pytest.raises(InputError, match="already there and not empty"):
        run("augment", images, "--out", tmp_path / "full")

    def no_room(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(augment_module, "_write_png", no_room)
    with pytest.raises(ResourceError, match="is full"):
        run("augment", images, "--out", tmp_path / "aug")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "full"]


# ---- download


@pytest.fixture
def address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with `data.zip` and `hostile.zip`."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "web"
    folder.mkdir()
    with zipfile.ZipFile(folder / "data.zip", "w") as file:
        for name in ("set/a/1.png", "set/b/2.png"):
            file.writestr(name, b"x" * 500)
        link = zipfile.ZipInfo("set/link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(folder / "hostile.zip", "w") as file:
        file.writestr("../evil.txt", b"x")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_download_unpacks_and_tells_what_it_left_out(address: str, tmp_path: Path) -> None:
    result = run("download", f"{address}/data.zip", tmp_path / "out", code=1)
    assert f"{address}/data.zip: 2 files, 0.0 MB, in {tmp_path / 'out'}" in result.stdout
    assert f"Next: pellucid data inspect {tmp_path / 'out'}" in result.stdout
    assert "skipped set/link: is a link" in result.stderr
    document = run("download", f"{address}/data.zip", tmp_path / "again", "--json", code=1)
    assert (document["files"], document["bytes"], document["out"]) == (2, 1000, str(tmp_path / "again"))
    dataset = read_dataset(tmp_path / "out")
    assert [s.path for s in dataset.samples] == ["set/a/1.png", "set/b/2.png"]


def test_download_appears_whole_or_not_at_all(address: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing was unpacked"):
        run("download", f"{address}/hostile.zip", tmp_path / "out")
    with pytest.raises(ResourceError, match="more than `limit=` allows"):
        run("download", f"{address}/data.zip", tmp_path / "out", "--limit", 0.0000005)
    with pytest.raises(InputError, match="already there and not empty"):
        run("download", f"{address}/data.zip", tmp_path / "web")
    with pytest.raises(InputError, match="nothing to download"):
        run("download", "chest-xray", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["web"]
