"""The cache against reading each image directly, and against everything that can happen to its files."""

import errno
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.image_files import encoded, exif, smooth

import pellucid.data.cache as cache
from pellucid.data.cache import cached_pixels
from pellucid.data.dataset import Dataset, OmittedFile, Sample
from pellucid.errors import DataError, ResourceError
from pellucid.images import read_image
from pellucid.preprocessing import Preprocessing

SQUARE = Preprocessing(height=32, width=32)
FITS = [
    Preprocessing(height=32, width=48),
    Preprocessing(height=48, width=32, fit="crop", crop_share=0.875, interpolation="bicubic"),
    Preprocessing(height=40, width=40, fit="pad", fill=77),
]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Twelve images of several sizes and formats, of which the fourth and the last cannot be read."""
    root = tmp_path / "data"
    root.mkdir()
    random = np.random.default_rng(0)
    samples = []
    for n in range(12):
        small = random.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = PIL.Image.fromarray(small).resize((60 + 7 * n, 90 - 3 * n), PIL.Image.Resampling.BICUBIC)
        name = f"{n:02d}.{'png' if n % 2 else 'jpg'}"
        picture.save(root / name)
        samples.append(Sample(name, n % 2, "train"))
    (root / "03.png").write_bytes((root / "03.png").read_bytes()[:500])
    (root / "11.png").unlink()
    return Dataset(root, ("a", "b"), tuple(samples), skipped=(OmittedFile("before", "said before"),))


def direct(dataset: Dataset, preprocessing: Preprocessing) -> np.ndarray:
    good = [s for n, s in enumerate(dataset.samples) if n not in (3, 11)]
    return np.stack([preprocessing.resize(read_image(dataset.file(s)).pixels) for s in good])


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that grows by one with each image decoded."""
    calls: list[Any] = []
    original = cache.open_picture
    monkeypatch.setattr(cache, "open_picture", lambda *a, **k: calls.append(a) or original(*a, **k))
    return calls


@pytest.mark.parametrize("preprocessing", FITS, ids=lambda p: p.fit)
@pytest.mark.parametrize("in_memory", [False, True])
def test_the_pixels_are_those_of_each_image_in_order(
    dataset: Dataset, tmp_path: Path, preprocessing: Preprocessing, in_memory: bool
) -> None:
    found = cached_pixels(dataset, preprocessing, None if in_memory else tmp_path / "cache", workers=3)
    assert isinstance(found.pixels, np.memmap) != in_memory
    np.testing.assert_array_equal(found.pixels, direct(dataset, preprocessing))
    np.testing.assert_array_equal(found.index, [0, 1, 2, 4, 5, 6, 7, 8, 9, 10])
    assert found.dataset.samples == tuple(dataset.samples[i] for i in found.index)
    assert [s.path for s in found.dataset.skipped] == ["before", "03.png", "11.png"]
    assert "truncated" in found.dataset.skipped[1].reason
    assert "no file" in found.dataset.skipped[2].reason
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0] = 0


def test_a_second_call_decodes_nothing(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = counted(monkeypatch)
    first = cached_pixels(dataset, SQUARE, tmp_path)
    assert len(decoded) == 11
    again = cached_pixels(dataset, SQUARE.model_copy(update={"mean": (0.5, 0.5, 0.5)}), tmp_path)
    assert len(decoded) == 11
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert again.dataset == first.dataset


def test_every_geometry_and_selection_has_its_own_cache(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    for preprocessing in FITS:
        cached_pixels(dataset, preprocessing, folder)
    cached_pixels(dataset.where(lambda s: s.label == 0), FITS[0], folder)
    assert len(list(folder.iterdir())) == 4


def changed_pixels(path: Path) -> None:
    PIL.Image.new("RGB", (50, 50), "red").save(path)


def same_size_and_other_content(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes(38) + data[-2:])


def repaired(path: Path) -> None:
    changed_pixels(path.with_name("03.png"))


def come_back(path: Path) -> None:
    changed_pixels(path.with_name("11.png"))


@pytest.mark.parametrize("change", [changed_pixels, same_size_and_other_content, Path.unlink, repaired, come_back])
def test_a_changed_file_rebuilds_the_cache(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "cache"
    cached_pixels(dataset, SQUARE, folder)
    change(dataset.root / "04.jpg")
    decoded = counted(monkeypatch)
    found = cached_pixels(dataset, SQUARE, folder)
    assert len(decoded) >= 10
    for position, sample in zip(found.pixels, found.dataset.samples, strict=True):
        np.testing.assert_array_equal(position, SQUARE.resize(read_image(dataset.file(sample)).pixels))
    assert len(list(folder.iterdir())) == 1


def test_a_new_time_with_the_same_content_is_no_change(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached_pixels(dataset, SQUARE, tmp_path)
    for path in dataset.root.iterdir():
        os.utime(path, (1, 1))
    decoded = counted(monkeypatch)
    cached_pixels(dataset, SQUARE, tmp_path)
    assert not decoded


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:100], lambda d: b"", lambda d: d[:-20] + bytes(4) + d[-16:]]
)
def test_a_damaged_cache_is_rebuilt(dataset: Dataset, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "cache"
    expected = np.array(cached_pixels(dataset, SQUARE, folder).pixels)
    (path,) = folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    np.testing.assert_array_equal(cached_pixels(dataset, SQUARE, folder).pixels, expected)


def test_a_cache_of_another_version_is_rebuilt(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    expected = np.array(cached_pixels(dataset, SQUARE, folder).pixels)
    (path,) = folder.iterdir()
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data, len(data) - 16)
    for change in ({"version": 0}, {"index": [1]}, {"files": []}):
        text = json.dumps(json.loads(data[-16 - length : -16]) | change).encode()
        path.write_bytes(data[: -16 - length] + text + struct.pack("<Q", len(text)) + data[-8:])
        np.testing.assert_array_equal(cached_pixels(dataset, SQUARE, folder).pixels, expected)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_an_interrupted_build_leaves_nothing(dataset: Dataset, tmp_path: Path, stop: type[BaseException]) -> None:
    folder = tmp_path / "cache"

    def progress(done: int, total: int) -> None:
        if done == 7:
            raise stop

    with pytest.raises(stop):
        cached_pixels(dataset, SQUARE, folder, progress=progress)
    assert list(folder.iterdir()) == []


def test_what_a_killed_build_left_is_removed_and_a_living_one_is_spared(dataset: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cached_pixels(dataset, SQUARE, folder)
    (path,) = folder.iterdir()
    path.unlink()
    abandoned, living = (path.with_name(f"{path.name}.{n}.partial") for n in (1, 2))
    for partial in (abandoned, living):
        partial.touch()
    os.utime(abandoned, (time.time() - 7200,) * 2)
    cached_pixels(dataset, SQUARE, folder)
    assert sorted(folder.iterdir()) == [path, living]


def test_progress_counts_every_image_once(dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    cached_pixels(dataset, SQUARE, None, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, 12) for n in range(1, 13)]


def test_a_disk_without_room_is_told_before_decoding(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = counted(monkeypatch)
    usage = type(cache.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(ResourceError, match="36,864 bytes") as caught:
        cached_pixels(dataset, SQUARE, tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)
    assert not decoded


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "no room"), (errno.EIO, "cannot be kept")])
def test_a_disk_that_gives_out_while_writing(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    written: list[Any] = []

    def write(file: Any, image: np.ndarray) -> None:
        written.append(file.write(image.tobytes()))
        if len(written) == 5:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cache, "_write", write)
    with pytest.raises(ResourceError, match=said) as caught:
        cached_pixels(dataset, SQUARE, tmp_path / "cache")
    assert str(tmp_path / "cache") in str(caught.value)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_made(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot be kept"):
        cached_pixels(dataset, SQUARE, tmp_path / "file" / "cache")


def test_more_images_than_memory_holds(dataset: Dataset) -> None:
    many = Dataset(dataset.root, ("a", "b"), dataset.samples[:1] * 2_000_000)
    with pytest.raises(ResourceError, match=r"need 100,663,296,000,000 bytes; keep them in a folder"):
        cached_pixels(many, Preprocessing(height=4096, width=4096), None)


def test_datasets_without_images(dataset: Dataset, tmp_path: Path) -> None:
    nothing = cached_pixels(dataset.where(lambda s: False), SQUARE, tmp_path / "cache")
    assert nothing.pixels.shape == (0, 32, 32, 3)
    assert not (tmp_path / "cache").exists()
    bad = dataset.where(lambda s: s.path in ("03.png", "11.png"))
    with pytest.raises(DataError, match=r"None of the 2 images.*03\.png.*truncated"):
        cached_pixels(bad, SQUARE, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_few_images_are_held_at_once(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, waiting = counted(monkeypatch), []
    many = Dataset(dataset.root, ("a", "b"), dataset.samples[:3] * 100)
    monkeypatch.setattr(
        cache, "_write", lambda file, image: (time.sleep(0.0005), waiting.append(len(decoded) - len(waiting)))
    )
    cache_file = tmp_path / "x.cache"
    cache._build(cache_file, many, SQUARE, 2, None)
    assert len(decoded) == 300
    assert max(waiting) <= 4 * 2


@pytest.mark.parametrize("preprocessing", FITS, ids=lambda p: p.fit)
@pytest.mark.parametrize("size", [(401, 603), (1001, 257), (513, 515)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_scaled_decoding_puts_every_point_where_the_full_decode_does(
    preprocessing: Preprocessing, size: tuple[int, int], mode: str
) -> None:
    picture = PIL.Image.fromarray(smooth(*size)).convert(mode)
    for orientation in range(1, 9):
        file = encoded(picture, "JPEG", quality=92, exif=exif(orientation))
        image = read_image(file, at_least=preprocessing.decode_size)
        assert image.reduction > 1
        full = preprocessing.resize(read_image(file).pixels).astype(int)
        error = np.abs(preprocessing.resize_image(image) - full)
        without_box = np.abs(preprocessing.resize(image.pixels) - full)
        assert error.mean() < 0.9
        assert error.max() <= 6
        assert error.mean() < 0.7 * without_box.mean()


def test_decode_size_is_what_the_picture_is_resized_to() -> None:
    assert [p.decode_size for p in FITS] == [(32, 48), (55, 37), (40, 40)]
