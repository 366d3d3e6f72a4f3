"""`train --hide`: the accused squares are found where they were planted, and what hiding them does is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from tests.workflow.test_discovering import Reads, bundle_of, pictures

from pellucid.bundle.bundle import load
from pellucid.data.dataset import Dataset
from pellucid.data.folder import read_dataset
from pellucid.errors import InputError, UnknownNameError
from pellucid.preprocessing import Preprocessing
from pellucid.progress import Silent
from pellucid.workflow.accused import parse_accused
from pellucid.workflow.audit import audit_run
from pellucid.workflow.discovering_run import AuditSettings
from pellucid.workflow.hiding import FoundSign, find_signs
from pellucid.workflow.hiding_run import _agreement, _rows, _Subject


@pytest.fixture(scope="module")
def accused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that reads red squares, audited, and images of which one class has them."""
    root = tmp_path_factory.mktemp("accused")
    bundle_of(root / "run" / "model", Reads([[600.0, 0.0]], [-3.0]), 2)
    for split, each, seed in (("train", 40, 5), ("test", 30, 6)):
        pixels, labels, _ = pictures(each, {1: 0}, seed)
        for i, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            file = root / "data" / split / ("ant", "bee")[label] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(picture).save(file)
    found, _ = audit_run(root / "run", root / "data", settings=AuditSettings(discover=True))
    assert found.discovered is not None
    assert any("concept-1" in f.text for f in found.findings if f.level == "problem")
    return root / "run", root / "data"


@pytest.fixture(scope="module")
def sign(accused: tuple[Path, Path]) -> tuple[FoundSign, Dataset]:
    run, data = accused
    dataset = read_dataset(data)
    (found,) = find_signs([f"{run}:concept-1"], dataset, Preprocessing(height=48, width=48), Silent())
    return found, dataset


def test_every_planted_square_is_found_and_nothing_else(sign: tuple[FoundSign, Dataset]) -> None:
    found, dataset = sign
    with_squares = [i for i, s in enumerate(dataset.samples) if dataset.classes[s.label] == "bee"]
    assert sorted(found.boxes) == with_squares
    for i in with_squares:
        with PIL.Image.open(dataset.file(dataset.samples[i])) as picture:
            red = np.argwhere(np.asarray(picture)[..., 0] > 240)
        covered = np.zeros((48, 48), bool)
        for box in found.boxes[i]:
            covered[box.slices] = True
        assert np.mean(covered[tuple(red.T)]) > 0.7
        assert covered.mean() < 0.2


def test_covered_or_put_in_everywhere_the_model_that_reads_the_sign_guesses(
    sign: tuple[FoundSign, Dataset], accused: tuple[Path, Path]
) -> None:
    found, dataset = sign
    rights, test = _Subject(dataset, [found], [found.accused.words], 0, Silent()).rights(load(accused[0]))
    labels = test.labels
    assert rights["as-they-are"].all()
    # Without a square every answer is `ant`, with one `bee`.
    assert (rights["covered"] == (labels == 0)).mean() > 0.8
    assert (rights["put-in"] == (labels == 1)).mean() > 0.8
    present = np.arange(len(labels)) % 2 == 0
    agrees = _agreement(test, [found], present)
    assert agrees is not None
    assert (agrees == (present == (labels == 1))).all()
    rows = {r.what: r for r in _rows(rights, rights, agrees, np.arange(len(labels)))}
    assert rows["agrees"].images + rows["against"].images == rows["covered"].images == len(labels)
    assert rows["put-in"].after.value == pytest.approx(0.5, abs=0.1)
    assert rows["as-they-are"].after.low == pytest.approx(len(labels) / (len(labels) + 1.959964**2))


@pytest.mark.parametrize("words", ["top-left-corner", "border", " bottom right corner "])
def test_regions_are_named_with_hyphens_or_blanks(words: str) -> None:
    assert parse_accused(words).region == words.strip().replace("-", " ")


def test_what_cannot_be_hidden_is_one_sentence(accused: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = accused
    with pytest.raises(UnknownNameError, match="Did you mean border"):
        parse_accused("boarder")
    with pytest.raises(InputError, match="has no audit"):
        parse_accused(f"{tmp_path}:concept-1")
    shape = Preprocessing(height=48, width=48)
    with pytest.raises(UnknownNameError, match="concept-1"):
        find_signs([f"{run}:concept-99"], read_dataset(data), shape, Silent())
    cropped = Preprocessing(height=48, width=48, fit="crop")
    with pytest.raises(InputError, match=r"data\.fit"):
        find_signs([f"{run}:concept-1"], read_dataset(data), cropped, Silent())


def test_the_server_says_which_concepts_an_answer_goes_by(accused: tuple[Path, Path]) -> None:
    from pellucid.serving.answers import explain, explanation_document
    from pellucid.serving.registry import Registry
    from pellucid.serving.settings import ServerSettings
    from pellucid.serving.uploads import Upload
    from pellucid.serving.workers import CancelToken

    run, data = accused
    settings = ServerSettings()
    served = Registry({"red": run}, settings).find()
    said = []
    for name in ("bee/40.png", "ant/0.png"):
        upload = Upload((data / "train" / name).read_bytes())
        answer = explain(served, upload, settings, CancelToken(60), method="grad-cam")
        said.append(explanation_document(answer, "1", stored=False)["goes_by"])
    assert (said[0][0]["concept"], said[0][0]["label"], said[0][0]["status"]) == ("concept-1", "bee", "shortcut")
    assert said[0][0]["share"] > 0.9
    assert said[1] == [] or said[1][0]["label"] == "ant"
    # The audit of another model is not used.
    file = run / "audit" / "audit.json"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(before.replace('"bundle": "', '"bundle": "x'), encoding="utf-8")
        assert Registry({"red": run}, settings).find().concepts is None
    finally:
        file.write_text(before, encoding="utf-8")


@pytest.mark.slow
def test_a_model_trained_with_the_sign_hidden_no_longer_goes_by_it(tmp_path: Path) -> None:
    from pellucid.data.phantom import Shortcut, generate_phantoms
    from pellucid.workflow.hiding_run import compare_hidden
    from pellucid.workflow.training import train

    generate_phantoms(tmp_path / "films", images=400, size=96, seed=0, shortcuts=(Shortcut("clip", 0.95),))
    settings = ["data.size=96", "model.filters=[16, 24, 32, 48]", "train.epochs=12"]
    first = train(tmp_path / "films", recipe="phantom", out=tmp_path / "a", overrides=settings, abroad="none")
    found, _ = audit_run(first, settings=AuditSettings(discover=True))
    assert found.discovered is not None
    assert is_first_on_clips(found.discovered.concepts[0].label)
    second = train(
        tmp_path / "films",
        recipe="phantom",
        out=tmp_path / "b",
        overrides=settings,
        abroad="none",
        hide=[f"{first}:concept-1"],
    )
    compared = compare_hidden(second)
    rows = {row.what: row for row in compared.rows}
    assert compared.truth == "planted"
    agrees, against = rows["agrees"], rows["against"]
    assert agrees.before is not None
    assert against.before is not None
    # So few films teach the opacities to no model: it answers alike where the clip agrees and where not.
    before = agrees.before.value - against.before.value
    assert before > 0.6
    assert agrees.after.value - against.after.value < before - 0.4


def is_first_on_clips(label: str) -> bool:
    return label == "opacity"
