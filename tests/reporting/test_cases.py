"""Example pictures: small, mistakes first, within the room there is, and only from their own folder."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.classifier import REFER
from pellucid.errors import BundleError
from pellucid.explanation.record import ExplanationManifest
from pellucid.reporting.cases import PICTURE_SIDE, read_cases


def manifest_of(folder: Path) -> ExplanationManifest:
    return ExplanationManifest.model_validate_json((folder / "manifest.json").read_bytes())


def decoded(address: str) -> PIL.Image.Image:
    head, _, data = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return PIL.Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture(scope="module")
def many(make_run: Callable[..., Path]) -> Path:
    return make_run(("daisy", "rose", "tulip"), explained=18, side=380) / "explanations"


def test_mistakes_come_first_and_surest(many: Path) -> None:
    manifest = manifest_of(many)
    cases = read_cases(manifest, many)
    wrong = [r for r in manifest.images if r.label != r.true_label]
    sureness = sorted((r.confidence for r in wrong if r.confidence), reverse=True)
    assert [c.confidence for c in cases.wrong] == [f"{s:.3f}" for s in sureness]
    assert all(c.right is False and c.label != c.true_label for c in cases.wrong)
    assert all(c.right and c.label == c.true_label for c in cases.right)
    assert {c.label for c in cases.right[:3]} == {"daisy", "rose", "tulip"}
    assert len(cases.all) + cases.left_out == 18


def test_withheld_answers_are_neither_right_nor_wrong(many: Path) -> None:
    manifest = manifest_of(many)
    images = tuple(
        r.model_copy(update={"label": REFER, "predicted": r.label, "outcome": "refer"}) if k % 2 else r
        for k, r in enumerate(manifest.images)
    )
    cases = read_cases(manifest.model_copy(update={"images": images}), many)
    assert {c.path for c in cases.withheld} == {r.path for r in images[1::2]}
    assert all(c.right is None and c.label == REFER and c.predicted != REFER for c in cases.withheld)
    assert {c.path for c in (*cases.wrong, *cases.right)} == {r.path for r in images[::2]}


def test_pictures_are_small_jpegs_of_the_right_files(many: Path) -> None:
    manifest = manifest_of(many)
    case = read_cases(manifest, many).wrong[0]
    record = next(r for r in manifest.images if r.path == case.path)
    for address, name in ((case.picture, "image"), (case.heat, "overlay")):
        shown = decoded(address)
        assert max(shown.size) == PICTURE_SIDE
        original = (
            PIL.Image.open(many / record.files[name]).convert("RGB").resize(shown.size, PIL.Image.Resampling.LANCZOS)
        )
        assert np.abs(np.asarray(shown, float) - np.asarray(original, float)).mean() < 6


def test_there_is_never_more_than_there_is_room_for(many: Path) -> None:
    manifest = manifest_of(many)
    everything = read_cases(manifest, many)
    room = sum(case.size for case in everything.all) // 3
    some = read_cases(manifest, many, room=room)
    assert sum(case.size for case in some.all) <= room
    assert some.wrong
    assert some.right
    assert some.left_out == 18 - len(some.all)
    few = read_cases(manifest, many, each=2)
    assert (len(few.wrong), len(few.right), few.left_out) == (2, 2, 14)


def test_colour_scale_of_each_case(run_folder: Path) -> None:
    folder = run_folder / "explanations"
    manifest = manifest_of(folder)
    by_path = {r.path: r for r in manifest.images}
    for case in read_cases(manifest, folder).all:
        record = by_path[case.path]
        expected = None if record.largest <= 0 else ("0", f"{record.largest:.2f}")
        assert case.scale == expected
        assert (case.scale is None) == case.verdict.startswith("No positive evidence")
    signed = manifest.model_copy(
        update={
            "colormap": "RdBu_r",
            "images": tuple(r.model_copy(update={"smallest": -4.0, "largest": 2.0}) for r in manifest.images),
        }
    )
    assert read_cases(signed, folder).all[0].scale == ("\N{MINUS SIGN}4.00", "4.00")
    images = tuple(r.model_copy(update={"limit": 7.5}) for r in manifest.images)
    shared = manifest.model_copy(update={"scale": "model", "images": images})
    assert read_cases(shared, folder).all[0].scale == ("0", "7.50")


def test_unknown_true_classes_are_neither_right_nor_wrong(run_folder: Path) -> None:
    manifest = manifest_of(run_folder / "explanations")
    blind = manifest.model_copy(
        update={"images": tuple(r.model_copy(update={"true_label": None}) for r in manifest.images)}
    )
    cases = read_cases(blind, run_folder / "explanations")
    assert (len(cases.wrong), len(cases.right), len(cases.unknown)) == (0, 0, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("image"), "no image picture"),
        (lambda files: files.update(overlay="../../../etc/hostname"), "outside the folder"),
        (lambda files: files.update(overlay="gone.png"), "cannot be read"),
    ],
)
def test_broken_folders_are_refused(
    run_folder: Path, tmp_path: Path, change: Callable[[dict[str, str]], object], message: str
) -> None:
    folder = Path(shutil.copytree(run_folder / "explanations", tmp_path / "explanations"))
    document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for record in document["images"]:
        change(record["files"])
    with pytest.raises(BundleError, match=message):
        read_cases(ExplanationManifest.model_validate(document), folder)
