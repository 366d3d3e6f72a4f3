"""Sources of images, told apart by names, sizes, compression and looks."""

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.sources import Acquisition, find_sources, measure_acquisition, name_patterns


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
    found = [s for s in find_sources(paths, labels, acquisition(400, looks=looks)) if s.kind == "look"]
    assert len(found) == apart
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
