from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pellucid.data import phantom
from pellucid.data.folder import read_dataset
from pellucid.data.phantom import Shortcut, generate_phantoms
from pellucid.data.phantom_signs import TAG
from pellucid.errors import InputError, ResourceError, UnknownNameError

SIZE = 56


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "films"
    generate_phantoms(out, images=300, size=SIZE, seed=5)
    return out


@pytest.fixture(scope="module")
def betrayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films of `films`, with signs."""
    out = tmp_path_factory.mktemp("phantoms") / "betrayed"
    signs = [Shortcut("corner-tag", 1.0), Shortcut("border", 0.9), Shortcut("blur", 0.55)]
    generate_phantoms(out, images=300, size=SIZE, seed=5, shortcuts=signs)
    return out


def truth(root: Path) -> list[dict[str, Any]]:
    films: list[dict[str, Any]] = json.loads((root / "phantom.json").read_text(encoding="utf-8"))["films"]
    return films


def pixels(path: Path) -> np.ndarray[Any, Any]:
    with PIL.Image.open(path) as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


def checksums(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def linear_auc(root: Path, regularisation: float = 1e-3) -> float:
    """Cross-validated AUC of a logistic regression on raw pixels, no patient in two folds."""
    found = truth(root)
    raw = np.array([pixels(root / f["path"]).ravel() for f in found], np.float32)
    return cross_validated(raw, found, LogisticRegression(C=regularisation, max_iter=200))


def cross_validated(features: Any, found: list[dict[str, Any]], model: LogisticRegression) -> float:
    labels = np.array([f["label"] == "opacity" for f in found])
    patients = [f["patient"] for f in found]
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model)
    scores = cross_val_predict(pipeline, features, labels, groups=patients, cv=folds, method="decision_function")
    return float(roc_auc_score(labels, scores))


def test_every_written_mask_follows_the_rule_on_films_rendered_anew(films: Path) -> None:
    plan = phantom._plan(300, SIZE, 5, ())
    assert [entry.place for entry in plan] == [f["path"] for f in truth(films)]
    for entry in plan[::5]:
        written = films / "masks" / entry.place
        assert written.is_file() == bool(entry.film.opacities)
        assert np.array_equal(pixels(films / entry.place), np.rint(phantom.render(entry.film)).astype(np.uint8))
        expected = np.zeros((SIZE, SIZE), bool)
        for opacity in entry.film.opacities:
            alone = phantom.replace(entry.film, opacities=(opacity,))
            change = phantom.render(alone, noise=False) - phantom.render(alone, noise=False, with_opacities=False)
            expected |= change >= phantom.MASK_SHARE * change.max()
        if entry.film.opacities:
            assert set(np.unique(pixels(written))) == {0, 255}
            assert ((pixels(written) > 0) != expected).sum() <= 1


def test_masks_lie_in_the_lungs_at_the_stated_places(films: Path) -> None:
    for found in truth(films):
        lungs = pixels(films / found["lungs"])
        assert set(np.unique(lungs)) == {0, 255}
        assert 0.1 < (lungs > 0).mean() < 0.4
        assert (found["mask"] is None) == (found["label"] == "normal") == (not found["opacities"])
        if found["mask"]:
            mask = pixels(films / found["mask"]) > 0
            assert not (mask & (lungs == 0)).any()
            assert all(mask[int(o["y"]), int(o["x"])] for o in found["opacities"])


@pytest.mark.parametrize("images", [20, 21, 37, 150])
def test_half_of_each_split_is_positive_and_no_patient_crosses_splits(images: int) -> None:
    plan = phantom._plan(images, 32, 1, ())
    assert len(plan) == images
    assert len({entry.place for entry in plan}) == images
    homes: dict[int, set[str]] = {}
    for entry in plan:
        homes.setdefault(entry.patient, set()).add(entry.split)
    assert all(len(splits) == 1 for splits in homes.values())
    assert all(2 <= sum(e.patient == patient for e in plan) <= 4 for patient in homes)
    for split, share in (("train", 0.6), ("val", 0.15), ("test", 0.25)):
        labels = [entry.label for entry in plan if entry.split == split]
        assert abs(len(labels) - share * images) <= 2
        assert labels.count("opacity") == len(labels) // 2


def test_the_summary_and_the_folder_tell_the_same(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    summary = generate_phantoms(tmp_path / "a" / "b", images=20, size=32, progress=lambda *at: calls.append(at))
    assert calls == [(done, 20) for done in range(1, 21)]
    assert summary.images == 20
    assert summary.opacities == sum(len(f["opacities"]) for f in truth(summary.out))
    for split, counts in summary.counts.items():
        assert summary.patients[split] == len({f["patient"] for f in truth(summary.out) if f["split"] == split})
        for name, count in counts.items():
            assert len(list((summary.out / split / name).glob("patient????_??.png"))) == count


def test_the_folder_is_read_as_a_dataset_with_masks(films: Path) -> None:
    dataset = read_dataset(films)
    assert dataset.classes == ("normal", "opacity")
    assert len(dataset) == 300
    assert {s.path: s.mask for s in dataset.samples} == {f["path"]: f["mask"] for f in truth(films)}
    assert {s.path: s.split for s in dataset.samples} == {f["path"]: f["split"] for f in truth(films)}


def test_the_same_arguments_give_the_same_bytes_and_no_picture_comes_twice(tmp_path: Path, films: Path) -> None:
    for name, seed in (("one", 5), ("two", 5), ("other", 6)):
        generate_phantoms(tmp_path / name, images=24, size=40, seed=seed, shortcuts=[Shortcut("blur", 0.7)])
    one, two, other = (checksums(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert not set(one.values()) & set(other.values())
    pictures = [sha for path, sha in checksums(films).items() if path.split("/")[0] in ("train", "val", "test")]
    assert len(set(pictures)) == len(pictures) == 300


def test_a_shortcut_agrees_in_exactly_its_share_of_each_split(betrayed: Path) -> None:
    for kind, agreement in (("corner-tag", 1.0), ("border", 0.9), ("blur", 0.55)):
        for split in ("train", "val", "test"):
            found = [f for f in truth(betrayed) if f["split"] == split]
            agree = [(kind in f["shortcuts"]) == (f["label"] == "opacity") for f in found]
            assert sum(agree) == round(agreement * len(found))


@given(st.integers(0, 2**32), st.lists(st.booleans(), min_size=2, max_size=60), st.floats(0.5, 1))
@settings(max_examples=60, deadline=None)
def test_signs_err_in_both_classes_alike(seed: int, labels: list[bool], agreement: float) -> None:
    positive = np.array(labels)
    signs = phantom._signs(np.random.default_rng(seed), positive, agreement)
    wrong = signs != positive
    assert (~wrong).sum() == round(agreement * len(labels))
    smaller = min(positive.sum(), (~positive).sum())
    if wrong.sum() <= 2 * smaller:
        assert abs(int(wrong[positive].sum()) - int(wrong[~positive].sum())) <= 1


def test_shortcuts_show_in_the_pixels_and_change_nothing_else(films: Path, betrayed: Path) -> None:
    for plain, signed in zip(truth(films), truth(betrayed), strict=True):
        assert {**plain, "shortcuts": signed["shortcuts"], "signs": signed["signs"]} == signed
        before, after = pixels(films / plain["path"]).astype(int), pixels(betrayed / plain["path"]).astype(int)
        signs = set(signed["shortcuts"])
        rim = np.ones((SIZE, SIZE), bool)
        rim[1:-1, 1:-1] = False
        assert ((after[rim] == 200).all()) == ("border" in signs)
        assert ((after[2:9, 2:7][TAG] == 235).all()) == ("corner-tag" in signs)
        inner = np.s_[14:-14, 14:-14]
        roughness = [np.abs(np.diff(picture[inner], axis=1)).mean() for picture in (before, after)]
        if "blur" in signs:
            assert roughness[1] < 0.9 * roughness[0]
        else:
            assert np.array_equal(after[inner], before[inner])
    assert checksums(films / "masks") == checksums(betrayed / "masks")
    assert checksums(films / "masks" / "lungs") == checksums(betrayed / "masks" / "lungs")


def test_a_linear_model_on_raw_pixels_does_badly_but_finds_a_shortcut(films: Path, betrayed: Path) -> None:
    assert max(linear_auc(films, c) for c in (1e-4, 1e-3, 1e-1)) < 0.75
    assert linear_auc(betrayed) > 0.97


def test_brightness_contrast_border_and_file_size_tell_nothing(films: Path) -> None:
    found = truth(films)
    rows = []
    for entry in found:
        picture = pixels(films / entry["path"])
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        size = (films / entry["path"]).stat().st_size
        rows.append([picture.mean(), picture.std(), *np.percentile(picture, [5, 50, 95]), border.mean(), size])
    features = np.array(rows)
    labels = np.array([f["label"] == "opacity" for f in found])
    # 0.1 is three standard errors of an AUC over 150 + 150 films; over 4,800 films the last AUC is 0.55.
    assert all(abs(roc_auc_score(labels, column) - 0.5) < 0.1 for column in features.T)
    assert cross_validated(features, found, LogisticRegression()) < 0.65


def test_everything_says_that_it_is_synthetic(films: Path) -> None:
    readme = (films / "README.md").read_text(encoding="utf-8")
    about = json.loads((films / "phantom.json").read_text(encoding="utf-8"))
    with PIL.Image.open(films / truth(films)[0]["path"]) as picture:
        texts = [readme, about["notice"], picture.info["Comment"]]
    assert all("Synthetic" in text and "Not for diagnosis" in text for text in texts)
    assert "pellucid data phantom OUT --images 300 --size 56 --seed 5" in readme
    assert about["settings"] == {"images": 300, "size": 56, "seed": 5, "shortcuts": []}


def test_the_readme_names_the_planted_shortcuts(betrayed: Path) -> None:
    readme = (betrayed / "README.md").read_text(encoding="utf-8")
    assert "--shortcut corner-tag=1 --shortcut border=0.9 --shortcut blur=0.55" in readme
    assert "`border` agrees with the label in 90.0%" in readme


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"images": 19}, "At least 20 images"),
        ({"size": 31}, "between 32 and 2048 pixels; it is 31"),
        ({"size": 4096}, "between 32 and 2048"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"shortcuts": [Shortcut("blur", 0.8), Shortcut("blur", 0.9)]}, "blur is given twice"),
    ],
)
def test_bad_arguments_are_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        generate_phantoms(tmp_path / "out", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_and_left_alone(tmp_path: Path) -> None:
    taken, file, link = tmp_path / "taken", tmp_path / "file", tmp_path / "link"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    file.write_text("mine")
    link.symlink_to(tmp_path / "empty")
    before = checksums(tmp_path)
    for place, words in ((taken, "not empty"), (file, "not a folder"), (link, "not a folder"), (file / "x", "be made")):
        with pytest.raises(InputError, match=words):
            generate_phantoms(place, images=20, size=32)
    assert checksums(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 3


def test_an_empty_folder_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    generate_phantoms(Path("empty"), images=20, size=32)
    assert len(truth(Path("empty"))) == 20
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]


@pytest.mark.parametrize(
    ("failure", "raised"),
    [(KeyboardInterrupt(), KeyboardInterrupt), (OSError(errno.ENOSPC, "No space"), ResourceError)],
)
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, raised: type[BaseException]
) -> None:
    (tmp_path / "out").mkdir()
    saved: Iterator[int] = iter(range(100))
    save = phantom._save

    def failing(path: Path, picture: Any) -> None:
        if next(saved) == 7:
            raise failure
        save(path, picture)

    monkeypatch.setattr(phantom, "_save", failing)
    with pytest.raises(raised):
        generate_phantoms(tmp_path / "out", images=20, size=32)
    assert [p.name for p in tmp_path.rglob("*")] == ["out"]


def test_shortcuts_are_parsed_and_checked() -> None:
    assert Shortcut.parse("corner-tag=0.95") == Shortcut("corner-tag", 0.95)
    assert Shortcut.parse(" border = 1 ") == Shortcut("border", 1.0)
    with pytest.raises(UnknownNameError, match="Did you mean corner-tag") as error:
        Shortcut.parse("corner_tag=0.9")
    assert error.value.near == ["corner-tag"]
    with pytest.raises(UnknownNameError, match="Known are corner-tag, border, blur"):
        Shortcut.parse("")
    for text in ("blur", "blur=", "blur=much", "blur=0.9=1"):
        with pytest.raises(InputError, match="written as kind=agreement, such as blur"):
            Shortcut.parse(text)
    for text in ("blur=0.49", "blur=1.01", "blur=nan", "blur=95"):
        with pytest.raises(InputError, match=r"between 0\.5 .* and 1"):
            Shortcut.parse(text)


@pytest.mark.slow
def test_a_small_network_does_well(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    generate_phantoms(tmp_path / "films", images=600, size=112, seed=0)
    found = truth(tmp_path / "films")
    pictures = torch.tensor(np.array([pixels(tmp_path / "films" / f["path"]) for f in found])[:, None] / 255 - 0.4)
    pictures = 4 * pictures.float().contiguous(memory_format=torch.channels_last)
    labels = torch.tensor([float(f["label"] == "opacity") for f in found])
    train, test = (torch.tensor([i for i, f in enumerate(found) if f["split"] == s]) for s in ("train", "test"))
    torch.manual_seed(0)
    layers: list[Any] = []
    for inputs, outputs in ((1, 16), (16, 32), (32, 64), (64, 64)):
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 1))
    network = network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=25 * 18)
    for _ in range(25):
        for batch in train[torch.randperm(360)].split(20):
            shifted = pictures[batch].roll(tuple(torch.randint(-6, 7, (2,)).tolist()), (2, 3))
            with torch.autocast("cpu", torch.bfloat16):
                logits = network(shifted)[:, 0]
            optimiser.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(logits.float(), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        scores = network(pictures[test])[:, 0]
    assert roc_auc_score(labels[test].numpy(), scores.numpy()) > 0.96


@pytest.mark.parametrize("kind", ["clip", "tube", "grid", "stamp", "tint", "patch"])
def test_a_sign_changes_only_films_that_carry_it_and_its_place_is_told(tmp_path: Path, kind: str) -> None:
    bare, signed = tmp_path / "bare", tmp_path / "signed"
    generate_phantoms(bare, images=40, size=64, seed=3)
    generate_phantoms(signed, images=40, size=64, seed=3, shortcuts=[Shortcut.parse(f"{kind}=0.9")])
    boxes = []
    for film in truth(signed):
        before, after = pixels(bare / film["path"]), pixels(signed / film["path"])
        rows, columns = np.nonzero(before != after)
        assert bool(len(rows)) == (film["shortcuts"] == [kind])
        assert film["signs"].keys() == set(film["shortcuts"])
        if len(rows):
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert film["signs"][kind] == expected
            boxes.append(tuple(expected))
    assert 17 <= len(boxes) <= 23  # 20, but for the rounding in each split
    # All over the film, or at a place of its own on every film.
    assert len(set(boxes)) > 10 or kind == "grid"
    if kind == "grid":
        assert np.ptp([b[2] - b[0] for b in boxes]) <= 8


def test_a_sign_that_agrees_by_half_tells_nothing(tmp_path: Path) -> None:
    generate_phantoms(tmp_path / "films", images=80, size=32, seed=1, shortcuts=[Shortcut.parse("clip=0.5")])
    found = truth(tmp_path / "films")
    shown = [sum(f["shortcuts"] == ["clip"] for f in found if f["label"] == label) for label in ("normal", "opacity")]
    assert sum(shown) == pytest.approx(40, abs=2)
    assert shown[0] == pytest.approx(shown[1], abs=2)
