"""What is planted is found, and what is clean raises no alarm."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from sklearn.metrics import roc_auc_score
from tests.audit_samples import Pixels, about, clouds, look, plain, save, write_folder

from pellucid.data.areas import Area
from pellucid.data.companions import Companions
from pellucid.data.dataset import Dataset
from pellucid.data.disjointness import kinship_of
from pellucid.data.fingerprint import Fingerprints
from pellucid.data.inspection import Inspection
from pellucid.data.label_errors import LabelCheck
from pellucid.data.metadata import metadata_test
from pellucid.data.statistics import measure_images
from pellucid.data.summary import audit
from pellucid.images import read_image

NONE = Companions({}, (), ())


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("audit") / "clean")


@pytest.fixture
def copy(clean: Path, tmp_path: Path) -> Path:
    """A clean folder to plant things in."""
    return Path(shutil.copytree(clean, tmp_path / "copy"))


def first(folder: Path) -> Path:
    return min(folder.iterdir())


def test_a_clean_folder_raises_no_alarm(clean: Path) -> None:
    inspection, found = look(clean, metadata=True)
    assert {f.level for f in inspection.findings} == {"good", "information"}, inspection.findings
    assert not inspection.serious
    assert inspection.verdict == "Nothing was found that stands against training."
    assert inspection.images == 150 == len(found.dataset)
    assert inspection.counts == {s: {"normal": n, "ill": n} for s, n in (("train", 25), ("val", 20), ("test", 30))}
    assert (inspection.identical, inspection.similar, inspection.overlaps) == ((), (), ())
    assert {f.topic for f in inspection.findings if f.level == "good"} == {
        "Split",
        "Shortcut",
        "Files",
        "Copies",
        "Balance",
    }


def test_the_document_is_json_and_comes_back_equal(clean: Path) -> None:
    inspection, _ = look(clean)
    text = inspection.model_dump_json()
    assert Inspection.model_validate_json(text) == inspection
    json.dumps(json.loads(text), allow_nan=False)


def test_statistics_are_quartiles_by_class(copy: Path) -> None:
    save(copy / "train/ill/colour.jpg", np.full((20, 30, 3), (200, 30, 30), np.uint8))
    inspection, _ = look(copy)
    pictures = [read_image(file).pixels for file in copy.rglob("ill/*")]
    sides = [max(p.shape) for p in pictures]
    bright = [np.asarray(PIL.Image.fromarray(p).convert("L")).mean() for p in pictures]
    assert inspection.statistics["longer_side"]["ill"] == tuple(np.quantile(sides, (0.25, 0.5, 0.75)))
    assert inspection.statistics["brightness"]["ill"] == pytest.approx(np.quantile(bright, (0.25, 0.5, 0.75)), abs=0.05)
    assert "normal" not in inspection.statistics["jpeg_quality"]
    assert inspection.formats == {"normal": {"PNG": 75}, "ill": {"PNG": 75, "JPEG": 1}}
    assert inspection.modes["ill"] == {"L": 75, "RGB": 1}


def test_copies_leaks_and_one_picture_under_two_labels_are_found(copy: Path) -> None:
    source = first(copy / "train/normal")
    shutil.copy(source, copy / "train/normal/again.png")
    shutil.copy(first(copy / "train/ill"), copy / "test/ill/leak.png")
    shutil.copy(sorted((copy / "train/ill").iterdir())[1], copy / "train/normal/turncoat.png")
    inspection, _ = look(copy)
    sets = {tuple(i.path for i in s.images): (s.across_splits, s.across_classes) for s in inspection.identical}
    assert sets == {
        (f"train/ill/{sorted((copy / 'train/ill').iterdir())[1].name}", "train/normal/turncoat.png"): (False, True),
        ("test/ill/leak.png", f"train/ill/{first(copy / 'train/ill').name}"): (True, False),
        (f"train/normal/{source.name}", "train/normal/again.png"): (False, False),
    }
    assert inspection.identical[0].across_classes
    (labels,), (split,), (copies,) = (about(inspection, t) for t in ("Two labels", "Split", "Copies"))
    assert (labels.level, split.level, copies.level) == ("problem", "problem", "caution")
    assert "turncoat.png" in labels.text
    assert "leak.png" in split.text
    assert "1 of 61 test images byte for byte also in train" in split.text
    assert copies.text.startswith("3 sets of identical files, 3 more than needed")
    assert inspection.serious
    assert inspection.overlaps[0].examples[0][1] == "test/ill/leak.png"


def test_pictures_that_only_look_the_same_are_found(copy: Path) -> None:
    normals = sorted((copy / "train/normal").iterdir())
    with PIL.Image.open(normals[0]) as file:
        file.resize((70, 70)).save(copy / "test/normal/resized.jpg", quality=80)
    with PIL.Image.open(normals[1]) as file:
        PIL.Image.fromarray(np.asarray(file)[:, ::-1] // 2 + 30).save(copy / "train/ill/mirrored.png")
    inspection, _ = look(copy)
    assert inspection.identical == ()
    assert [[i.path for i in s.images] for s in inspection.similar] == [
        ["train/ill/mirrored.png", f"train/normal/{normals[1].name}"],
        ["test/normal/resized.jpg", f"train/normal/{normals[0].name}"],
    ]
    (labels,), (split,), (alike,) = (about(inspection, t) for t in ("Two labels", "Split", "Similar images"))
    assert (labels.level, split.level, alike.level) == ("caution", "problem", "information")
    assert not about(inspection, "Copies")


def test_broken_odd_and_foreign_files_are_found(copy: Path) -> None:
    (copy / "train/normal/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    (copy / "train/normal/notes.xyz").write_text("hello")
    first(copy / "train/ill").rename(copy / "train/ill/named.jpg")
    save(copy / "test/ill/flat.png", np.full((48, 48), 80, np.uint8))
    inspection, _ = look(copy)
    assert [n.path for n in inspection.unreadable] == ["train/normal/broken.jpg"]
    assert [n.path for n in inspection.left_out] == ["train/normal/notes.xyz"]
    assert {n.path: n.reason for n in inspection.remarks} == {
        "train/ill/named.jpg": "The file is named .jpg but holds PNG.",
        "test/ill/flat.png": "The picture is one flat tone.",
    }
    levels = {f.topic: f.level for f in inspection.findings}
    assert (levels["Files"], levels["Odd files"]) == ("caution", "caution")
    assert (levels["Extensions"], levels["Left out"]) == ("information", "information")
    assert inspection.serious
    assert not [f for f in inspection.findings if f.level == "problem"]


def _brighter(path: Path, pixels: Pixels, ill: bool) -> None:
    save(path.with_suffix(".png"), np.clip(pixels.astype(int) + 30 * ill, 0, 255).astype(np.uint8))


def _larger(path: Path, pixels: Pixels, ill: bool) -> None:
    picture = PIL.Image.fromarray(pixels)
    side = int(np.random.default_rng(int(path.name[:8], 16)).integers(44, 56)) + 12 * ill
    save(path.with_suffix(".png"), np.asarray(picture.resize((side, side))))


def _squeezed(path: Path, pixels: Pixels, ill: bool) -> None:
    save(path.with_suffix(".jpg"), pixels, quality=75 if ill else 92)


def _tagged(path: Path, pixels: Pixels, ill: bool) -> None:
    marked = pixels.copy()
    if ill:
        marked[3:8, 3:7] = 240
    save(path.with_suffix(".png"), marked)


def _framed(path: Path, pixels: Pixels, ill: bool) -> None:
    framed = pixels.copy()
    if ill:
        framed[[0, -1]], framed[:, [0, -1]] = 200, 200
    save(path.with_suffix(".png"), framed)


def _in_colour(path: Path, pixels: Pixels, ill: bool) -> None:
    save(path.with_suffix(".png"), np.repeat(pixels[..., None], 3, axis=2) if ill else pixels)


@pytest.mark.parametrize(
    ("write", "names", "words"),
    [
        (_brighter, {"brightness"}, "ill images are brighter: median"),
        (_larger, {"longer_side"}, "ill images are larger: median 61 against 48 px"),
        (
            _squeezed,
            {"jpeg_quality", "sharpness", "bytes_per_pixel"},
            "normal images are saved at a higher JPEG quality: median 92 against 75",
        ),
        (_tagged, {"corner_top_left"}, "ill images are busier in the top left corner: median"),
        (_framed, {"border_contrast", "border_brightness"}, "images are"),
        (_in_colour, {"mode_L", "mode_RGB", "bytes_per_pixel"}, "ill images are heavier by the pixel: median"),
    ],
)
def test_shortcuts_are_found_and_named(
    tmp_path: Path, write: Callable[[Path, Pixels, bool], None], names: set[str], words: str
) -> None:
    agreeing = np.random.default_rng(5)

    def mostly(path: Path, pixels: Pixels, ill: bool) -> None:
        write(path, pixels, ill if agreeing.random() < 0.95 else not ill)

    inspection, found = look(write_folder(tmp_path / "data", mostly, seed=2), metadata=True)
    assert inspection.metadata is not None
    best = inspection.metadata.measures[0]
    assert best.name in names
    assert re.search(words, " ".join(m.sentence for m in inspection.metadata.measures[:5]))
    (finding,) = about(inspection, "Shortcut")
    assert finding.level == "problem"
    assert best.sentence in finding.text
    assert inspection.serious
    if best.name in found.values:
        truth = np.array([inspection.classes[k] == best.label for k in found.dataset.labels])
        values = found.values[best.name]
        assert best.area.value == pytest.approx(roc_auc_score(truth, np.nan_to_num(values)), abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_clean_pictures_of_any_seed_give_nothing_away(tmp_path: Path, seed: int) -> None:
    inspection, _ = look(write_folder(tmp_path / "data", plain, seed=seed + 10), metadata=True)
    assert not [f for f in inspection.findings if f.level in ("problem", "caution")]


def test_groups_in_two_splits_are_a_problem(clean: Path) -> None:
    found = measure_images(Dataset(clean, *_grouped(clean)))
    kin = kinship_of(found.dataset, found.fingerprints)
    groups = [s.group for s in found.dataset.samples]
    inspection = audit(found, kin, companions=NONE, source="x", groups=groups, pattern=None, metadata=None, labels=None)
    assert inspection.grouping is not None
    assert inspection.grouping.known
    assert [(g.name, g.splits, g.images) for g in inspection.grouping.across_splits] == [("p0", ("train", "test"), 4)]
    assert (inspection.grouping.groups, inspection.grouping.shared, inspection.grouping.images) == (2, 2, 7)
    assert (inspection.grouping.largest, inspection.grouping.alone, inspection.grouping.example_name) == (4, 143, "p0")
    (finding,) = about(inspection, "Groups")
    assert finding.level == "problem"
    assert "1 group is in more than one split, for example p0 in train and test" in finding.text
    guessed = audit(
        found, kin, companions=NONE, source="x", groups=groups, pattern="(p\\d)", metadata=None, labels=None
    )
    (finding,) = about(guessed, "Groups")
    assert finding.level == "caution"
    assert "`group_by='(p\\d)'" in finding.advice


def _grouped(root: Path) -> tuple[tuple[str, ...], tuple[object, ...]]:
    from pellucid.data.folder import read_dataset

    data = read_dataset(root)
    train = [s.path for s in data.split("train").samples]
    test = [s.path for s in data.split("test").samples]
    named = dict.fromkeys((*train[:2], *test[:2]), "p0") | dict.fromkeys(train[4:7], "p1")
    return data.classes, tuple(replace(s, group=named.get(s.path, "")) for s in data.samples)


def test_suspected_labels_are_told_with_what_they_look_like(clean: Path) -> None:
    _, found = look(clean)
    n = len(found.dataset)
    probabilities = np.tile([0.2, 0.8], (n, 1))
    probabilities[found.dataset.labels == 0] = (0.9, 0.1)
    worst = int(np.flatnonzero(found.dataset.labels == 0)[3])
    probabilities[worst] = (0.02, 0.98)
    kin = kinship_of(found.dataset, found.fingerprints)

    def with_labels(check: LabelCheck) -> Inspection:
        options = {"groups": [""] * n, "pattern": None, "metadata": None, "features": "features of x"}
        return audit(found, kin, companions=NONE, source="x", labels=check, **options)

    area = Area(0.95, 0.9, 0.98)
    inspection = with_labels(LabelCheck(probabilities, area, np.array([worst])))
    assert inspection.labels is not None
    (suspect,) = inspection.labels.suspects
    assert (suspect.path, suspect.label, suspect.suggested) == (found.dataset.samples[worst].path, "normal", "ill")
    assert (suspect.probability, suspect.suggested_probability) == (0.02, 0.98)
    (finding,) = about(inspection, "Labels")
    assert finding.level == "information"
    assert "1 label (0.7 %) is at odds with images like it" in finding.text
    several = with_labels(LabelCheck(probabilities, area, np.arange(5)))
    assert about(several, "Labels")[0].level == "caution"
    poor = with_labels(LabelCheck(probabilities, Area(0.7, 0.6, 0.8), np.zeros(0, np.int64)))
    assert about(poor, "Labels")[0].level == "information"
    assert poor.labels is not None
    assert not poor.labels.judged
    none = with_labels(LabelCheck(probabilities, area, np.zeros(0, np.int64)))
    assert about(none, "Labels")[0].level == "good"


def test_the_known_traps_of_the_chest_films_are_found(
    pneumonia: tuple[Dataset, Fingerprints], shared_data: Path
) -> None:
    dataset, prints = pneumonia
    by_hash: dict[str, list[str]] = defaultdict(list)
    for file in sorted((shared_data / "pneumonia").rglob("*.jpeg")):
        by_hash[hashlib.sha256(file.read_bytes()).hexdigest()].append(
            file.relative_to(shared_data / "pneumonia").as_posix()
        )
    found = measure_images(dataset)
    kin = kinship_of(dataset, prints)
    groups = [s.group for s in dataset.samples]
    inspection = audit(
        found,
        kin,
        companions=NONE,
        source="x",
        groups=groups,
        pattern=None,
        metadata=metadata_test(found, kin.unit),
        labels=None,
    )
    assert {frozenset(i.path for i in s.images) for s in inspection.identical} == {
        frozenset(files) for files in by_hash.values() if len(files) > 1
    }
    assert len(inspection.identical) >= 24
    assert inspection.grouping is not None
    assert inspection.grouping.shared > 600
    assert inspection.metadata is not None
    assert inspection.metadata.area.low > 0.9
    assert inspection.metadata.measures[0].name == "bytes_per_pixel"
    assert about(inspection, "Shortcut")[0].level == "problem"
    assert about(inspection, "Copies")[0].level == "caution"
    assert np.array_equal(found.fingerprints.thumbnails, prints.thumbnails)


# ---- textures


def _texture(rng: np.random.Generator, amplitude: float, side: int = 96) -> Pixels:
    grains = PIL.Image.fromarray(rng.normal(0, 1, (side // 3, side // 3)).astype(np.float32))
    values = np.asarray(grains.resize((side, side), PIL.Image.Resampling.BICUBIC))
    return np.clip(128 + amplitude * values / values.std(), 0, 255).astype(np.uint8)


def _steel(rng: np.random.Generator, name: str) -> Pixels:
    return _texture(rng, rng.uniform(20, 26) if name == "a" else rng.uniform(32, 40))


def _tagged(rng: np.random.Generator, name: str) -> Pixels:
    pixels = _texture(rng, rng.uniform(25, 33))
    if name == "b":
        pixels[3:14, 3:14] = 255
    return pixels


def _framed(rng: np.random.Generator, name: str) -> Pixels:
    pixels = _texture(rng, rng.uniform(25, 33))
    if name == "b":
        pixels[:3] = pixels[-3:] = pixels[:, :3] = pixels[:, -3:] = 0
    return pixels


def _on_plain_ground(rng: np.random.Generator, name: str) -> Pixels:
    pixels = np.full((96, 96), 240, np.uint8) if name == "a" else _texture(rng, 30)
    pixels[30:66, 30:66] = _texture(rng, 40, 36)
    return pixels


@pytest.mark.parametrize(
    ("draw", "level"),
    [(_steel, "information"), (_tagged, "problem"), (_framed, "problem"), (_on_plain_ground, "problem")],
)
def test_textures_are_no_shortcut_and_what_lies_in_one_place_is(
    tmp_path: Path, draw: Callable[[np.random.Generator, str], Pixels], level: str
) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        for i in range(40):
            save(tmp_path / name / f"{i}x{rng.integers(1 << 40):x}.png", draw(rng, name))
    inspection, _ = look(tmp_path, metadata=True)
    (finding,) = [f for f in inspection.findings if f.topic == "Shortcut"]
    assert finding.level == level
    assert ("everywhere in the picture" in finding.text) == (level == "information")


def test_images_left_out_above_a_tenth_are_the_first_thing_said(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for i in range(60):
        save(root / "docs" / f"{i}.png", clouds(np.random.default_rng(1000 + i)))
    inspection, _ = look(root)
    assert inspection.verdict.startswith("60 of 210 images were left out.")
    assert (inspection.findings[0].topic, inspection.findings[0].level) == ("Left out", "problem")
    assert "docs: folder of 60 images beside the splits" in inspection.findings[0].text
    assert inspection.serious
