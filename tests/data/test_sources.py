"""Sources of images, told apart by names, sizes, compression and looks."""

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest

from pellucid.data.acquisition import Acquisition, measure_acquisition
from pellucid.data.dataset import Dataset, Sample
from pellucid.data.sources import find_sources, name_patterns


def acquisition(n: int, *, sizes: list[str] | None = None, looks: np.ndarray | None = None) -> Acquisition:
    quiet = np.random.default_rng(0).normal(size=(n, 6))
    return Acquisition(tuple(sizes or ["64 x 64"] * n), ("JPEG 300",) * n, quiet if looks is None else looks)


def test_patterns_of_the_pneumonia_names():
    paths = [f"NORMAL/IM-{n:04d}-0001.jpeg" for n in range(40)]
    paths += [f"NORMAL/NORMAL2-IM-{n:04d}-0001.jpeg" for n in range(40)]
    paths += [f"PNEUMONIA/person{n}_bacteria_{n % 7}.jpeg" for n in range(40)]
    assert set(name_patterns(paths)) == {"IM-#-#", "NORMAL2-IM-#-#", "person#_bacteria_#"}


def test_words_with_digits_that_take_few_values_are_categories():
    paths = [f"normal/free_exp{n % 6 + 1}_num_{n * 17}.jpg" for n in range(240)]
    assert set(name_patterns(paths)) == {f"free_exp{k}_num_#" for k in range(1, 7)}


def test_inner_folders_are_part_of_the_pattern():
    paths = [f"train/cat/{site}/scan_{n}.png" for n in range(30) for site in ("north", "south")]
    assert set(name_patterns(paths)) == {"north/scan_#", "south/scan_#"}


def test_a_source_by_name_is_found_with_its_rows():
    paths = [f"a/IM-{n}.jpeg" for n in range(60)] + [f"a/scan_{n}.jpeg" for n in range(60)]
    paths += [f"b/scan_{n}.jpeg" for n in range(120)]
    labels = np.array([0] * 120 + [1] * 120)
    found = {(s.kind, s.value): s.rows for s in find_sources(paths, labels, acquisition(240))}
    np.testing.assert_array_equal(np.flatnonzero(found["name", "IM-#"]), np.arange(60))


def test_one_kind_of_names_and_one_size_are_no_sources():
    paths = [f"a/x_{n}.png" for n in range(100)] + [f"b/x_{n}.png" for n in range(100)]
    labels = np.repeat([0, 1], 100)
    assert [s for s in find_sources(paths, labels, acquisition(200)) if s.kind != "look"] == []


def test_sizes_tell_sources_apart_and_a_rare_size_does_not():
    sizes = ["512 x 512"] * 60 + ["1024 x 800"] * 35 + ["7 x 7"] * 5
    paths = [f"{'ab'[n % 2]}/{n}.png" for n in range(100)]
    found = find_sources(paths, np.arange(100) % 2, acquisition(100, sizes=sizes))
    assert {s.value for s in found if s.kind == "size"} >= {"512 x 512"}
    assert all(s.value != "7 x 7" for s in found)


@pytest.mark.parametrize("apart", [True, False])
def test_looks_are_a_source_only_where_clusters_are_apart(apart: bool):
    rng = np.random.default_rng(1)
    looks = rng.normal(size=(400, 6))
    labels = np.arange(400) % 2
    other = np.arange(400) >= 340
    if apart:
        looks[other] += 12
    else:
        looks = rng.uniform(size=(400, 6))
    paths = [f"{'ab'[n % 2]}/{n}.png" for n in range(400)]
    found = find_sources(paths, labels, acquisition(400, looks=looks))
    assert bool(found) == apart
    if apart:
        assert (found[0].rows == other).mean() > 0.98


def test_acquisition_is_measured_from_headers_and_resized_pixels(tmp_path: Path):
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    for n, (size, quality) in enumerate([((40, 30), 95), ((80, 60), 20)]):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"a/{n}.jpg", quality=quality)
    samples = (Sample("a/0.jpg", 0), Sample("a/1.jpg", 0), Sample("a/gone.jpg", 0))
    flat, busy = np.full((32, 32, 3), 77, np.uint8), rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels = np.stack([flat, busy, flat])
    found = measure_acquisition(Dataset(tmp_path, ("a",), samples), pixels, np.arange(3))
    assert found.sizes == ("40 x 30", "80 x 60", "")
    assert found.qualities[0] != found.qualities[1]
    assert found.looks[0, :2].tolist() == [77, 0]
    bytes_per_pixel = (tmp_path / "a/1.jpg").stat().st_size / 4800
    assert np.exp(found.looks[1, 5]) == pytest.approx(bytes_per_pixel)


def textures(n: int, side: int = 64) -> list[PIL.Image.Image]:
    """Soft grey clouds, each from nearly black to nearly white, as scanners give them."""
    rng = np.random.default_rng(5)
    made = []
    for _ in range(n):
        coarse = PIL.Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize((side, side), 3)
        field = np.asarray(coarse, float) - 128
        grey = field * rng.uniform(0.6, 1) + rng.normal(0, 4, (side, side))
        grey = (grey - grey.min()) / np.ptp(grey) * rng.uniform(210, 230) + rng.uniform(0, 20)
        made.append(PIL.Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).convert("RGB"))
    return made


def planted(name: str, picture: PIL.Image.Image) -> PIL.Image.Image:
    pixels = np.asarray(picture).astype(float)
    if name == "washed out":
        pixels = pixels * 0.6 + 60
    if name == "frame":
        pixels[:3] = pixels[-3:] = pixels[:, :3] = pixels[:, -3:] = 0
    if name == "bar":
        pixels[:, :4] = 255
    if name == "tint":
        pixels[..., 0] += 25
    if name == "soft":
        return picture.filter(PIL.ImageFilter.GaussianBlur(1.2))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def clouds() -> list[PIL.Image.Image]:
    return textures(240)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("quality", {"compression"}),
        ("format", {"compression"}),
        ("name", {"name"}),
        ("washed out", {"brightness", "contrast"}),
        ("frame", {"border"}),
        ("bar", {"border"}),
        ("tint", {"colour"}),
        ("soft", {"detail", "bytes"}),
        ("", set()),
    ],
)
@pytest.mark.parametrize("classes", ["both", "one"])
def test_a_source_that_is_told_by_one_thing_alone_is_found(
    name: str, kinds: set[str], classes: str, clouds: list[PIL.Image.Image], tmp_path: Path
):
    labels = np.arange(240) % 2
    away = np.random.default_rng(3).random(240) < 0.35
    if classes == "one":
        away &= labels == 0
    samples, shown = [], []
    for n, (label, picture) in enumerate(zip(labels, clouds, strict=True)):
        stem = f"{'siteB' if name == 'name' and away[n] else 'scan'}-{n * 37 % 1009:x}"
        ending = "png" if name == "format" and away[n] else "jpg"
        path = f"{'ab'[label]}/{stem}.{ending}"
        (tmp_path / path).parent.mkdir(exist_ok=True)
        made = planted(name, picture) if away[n] else picture
        made.save(tmp_path / path, quality=50 if name == "quality" and away[n] else 92)
        samples.append(Sample(path, int(label)))
        shown.append(np.asarray(PIL.Image.open(tmp_path / path).convert("RGB")))
    measured = measure_acquisition(Dataset(tmp_path, ("a", "b"), tuple(samples)), np.stack(shown), np.arange(240))
    found = find_sources([s.path for s in samples], labels, measured)
    right = {s.kind for s in found if (s.rows == away).mean() > 0.97}
    assert bool(right & kinds) == bool(kinds), [(s.kind, s.value, s.images) for s in found]
    if not kinds:
        assert not found, [(s.kind, s.value, s.images) for s in found]


def test_folders_that_name_neither_class_nor_split_are_sources():
    paths = [f"cat/{site}/{n}.png" for n in range(30) for site in ("north", "south")]
    paths += [f"dog/{site}/{n}.png" for n in range(30) for site in ("north", "south")]
    labels = np.repeat([0, 1], 60)
    assert set(name_patterns(paths, labels)) == {"north/#", "south/#"}
    split = [f"{part}/{'ab'[n % 2]}/{n}.png" for n in range(60) for part in ("train", "val")]
    assert set(name_patterns(split, np.repeat(np.arange(60) % 2, 2))) == {"#"}


def test_names_made_of_hashes_keep_what_they_have_in_common():
    rng = np.random.default_rng(0)
    paths = [f"x/{'AB'[n % 2]}_{rng.integers(2**40):x}.png" for n in range(200)]
    assert set(name_patterns(paths)) == {"A_*", "B_*"}
