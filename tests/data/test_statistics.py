import hashlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import pytest

from pellucid.data.dataset import Dataset, Sample
from pellucid.data.fingerprint import fingerprint
from pellucid.data.statistics import AVERAGE_SIDE, MEASURES, jpeg_quality, measure_images
from pellucid.errors import DataError
from pellucid.images import read_image

RNG = np.random.default_rng(11)


def saved(path: Path, pixels: npt.NDArray[np.uint8], **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, **options)


def dataset(root: Path, paths: list[str]) -> Dataset:
    return Dataset(root, ("a", "b"), tuple(Sample(p, int(p.startswith("b"))) for p in paths))


def noise(height: int = 40, width: int = 60, channels: int = 3) -> npt.NDArray[np.uint8]:
    return RNG.integers(0, 256, (height, width, channels) if channels else (height, width)).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_jpeg_quality_is_that_of_the_encoder(options: dict[str, object]) -> None:
    for quality in range(1, 101):
        file = io.BytesIO()
        PIL.Image.fromarray(noise(16, 16)).save(file, "JPEG", quality=quality, **options)
        assert jpeg_quality(file.getvalue()) == quality


def test_jpeg_quality_of_other_tables_is_the_nearest_and_of_none_unknown() -> None:
    file = io.BytesIO()
    PIL.Image.fromarray(noise(16, 16)).save(file, "JPEG", qtables=[[17] * 64, [17] * 64])
    assert 1 <= jpeg_quality(file.getvalue()) <= 100
    start = file.getvalue().index(b"\xff\xdb")
    length = int.from_bytes(file.getvalue()[start + 2 : start + 4], "big")
    assert np.isnan(jpeg_quality(file.getvalue()[:start] + file.getvalue()[start + 2 + length :]))


def test_the_measures_of_a_picture_against_plain_loops(tmp_path: Path) -> None:
    pixels = noise(48, 60)
    saved(tmp_path / "a/x.png", pixels)
    found = measure_images(dataset(tmp_path, ["a/x.png"]))
    values = {name: float(row[0]) for name, row in found.values.items()}
    grey = np.asarray(PIL.Image.fromarray(pixels).convert("L")).astype(int).tolist()
    flat = [v for row in grey for v in row]
    ring = [grey[y][x] for y in range(48) for x in range(60) if y in (0, 47) or x in (0, 59)]
    # The outermost fortieth is 1 row and round(1.5) = 2 columns; a corner is 8 rows by 10 columns.
    corner = [grey[y][x] for y in range(1, 9) for x in range(2, 12)]
    far = [grey[y][x] for y in range(48 - 9, 48 - 1) for x in range(60 - 12, 60 - 2)]
    across = [abs(grey[y][x + 1] - grey[y][x]) for y in range(48) for x in range(59)]
    down = [abs(grey[y + 1][x] - grey[y][x]) for y in range(47) for x in range(60)]
    bends = [abs(grey[y][x + 2] - 2 * grey[y][x + 1] + grey[y][x]) for y in range(48) for x in range(58)]
    bends_down = [abs(grey[y + 2][x] - 2 * grey[y + 1][x] + grey[y][x]) for y in range(46) for x in range(60)]
    assert values["longer_side"] == 60
    assert values["aspect"] == 1.25
    assert values["bytes_per_pixel"] == (tmp_path / "a/x.png").stat().st_size / (48 * 60)
    assert np.isnan(values["jpeg_quality"])
    assert values["brightness"] == pytest.approx(sum(flat) / len(flat))
    assert values["contrast"] == pytest.approx(np.std(flat))
    assert values["border_brightness"] == pytest.approx(sum(ring) / len(ring))
    assert values["border_contrast"] == pytest.approx(np.std(ring))
    assert values["corner_top_left"] == pytest.approx(np.std(corner))
    assert values["corner_bottom_right"] == pytest.approx(np.std(far))
    mean = [sum(x) / len(x) for x in (across, down, bends, bends_down)]
    assert values["sharpness"] == pytest.approx((mean[2] + mean[3]) / (mean[0] + mean[1]))


def test_colour_is_the_distance_of_the_channels(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32], pixels[:, 32:] = (200, 100, 150), (30, 30, 90)
    saved(tmp_path / "a/x.png", pixels)
    saved(tmp_path / "a/grey.png", pixels[..., 0])
    found = measure_images(dataset(tmp_path, ["a/x.png", "a/grey.png"]))
    assert found.values["colour"].tolist() == [80, 0]
    assert found.modes == ("RGB", "L")
    assert found.formats == ("PNG", "PNG")


def test_blur_and_contrast_are_told_apart(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(noise(80, 80, 0))
    small = picture.resize((20, 20), PIL.Image.Resampling.BOX).resize((80, 80), PIL.Image.Resampling.BICUBIC)
    weak = PIL.Image.fromarray((np.asarray(picture) // 3 + 60).astype(np.uint8))
    for name, image in (("a/sharp", picture), ("a/soft", small), ("b/weak", weak)):
        saved(tmp_path / f"{name}.png", np.asarray(image))
    sharp, soft, weaker = measure_images(dataset(tmp_path, ["a/sharp.png", "a/soft.png", "b/weak.png"])).values[
        "sharpness"
    ]
    assert soft < 0.7 * sharp
    assert weaker == pytest.approx(sharp, rel=0.02)


def test_sizes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[274] = 6
    saved(tmp_path / "a/x.jpg", noise(40, 80), exif=exif)
    found = measure_images(dataset(tmp_path, ["a/x.jpg"]))
    assert (found.values["longer_side"][0], found.values["aspect"][0]) == (80, 0.5)


def test_the_fingerprints_are_those_that_splitting_takes(tmp_path: Path) -> None:
    saved(tmp_path / "a/x.jpg", noise(700, 900))
    saved(tmp_path / "b/y.png", noise(50, 30, 0))
    data = dataset(tmp_path, ["a/x.jpg", "b/y.png"])
    mine, theirs = measure_images(data, workers=1).fingerprints, fingerprint(data)
    assert mine.paths == theirs.paths
    assert mine.contents == theirs.contents
    assert mine.contents[0] == hashlib.sha256((tmp_path / "a/x.jpg").read_bytes()).hexdigest()
    assert np.array_equal(mine.thumbnails, theirs.thumbnails)


def test_files_that_cannot_be_read_are_set_apart(tmp_path: Path) -> None:
    saved(tmp_path / "a/x.png", noise())
    saved(tmp_path / "b/z.png", noise())
    (tmp_path / "a/bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 not a jpeg")
    seen: list[tuple[int, int]] = []
    data = dataset(tmp_path, ["a/bad.jpg", "a/x.png", "b/gone.png", "b/z.png"])
    found = measure_images(data, progress=lambda done, total: seen.append((done, total)))
    assert [s.path for s in found.dataset.samples] == ["a/x.png", "b/z.png"] == list(found.fingerprints.paths)
    assert [s.path for s in found.unreadable] == ["a/bad.jpg", "b/gone.png"]
    assert "truncated" in found.unreadable[0].reason
    assert all(len(row) == 2 for row in found.values.values())
    assert set(found.values) == set(MEASURES)
    assert seen == [(i, 4) for i in range(1, 5)]
    with pytest.raises(DataError, match=r"None of the 1 images can be read; the first, a/bad\.jpg"):
        measure_images(dataset(tmp_path, ["a/bad.jpg"]))


def test_odd_files_are_remarked_on(tmp_path: Path) -> None:
    saved(tmp_path / "a/good.png", noise())
    saved(tmp_path / "a/flat.png", np.full((30, 30), 90, np.uint8))
    saved(tmp_path / "a/named.jpg", noise(), format="PNG")
    saved(tmp_path / "b/thin.png", noise(16, 400))
    remarks = measure_images(dataset(tmp_path, ["a/flat.png", "a/good.png", "a/named.jpg", "b/thin.png"])).remarks
    assert remarks["a/flat.png"] == (("flat", "The picture is one flat tone."),)
    assert remarks["a/named.jpg"] == (("extension", "The file is named .jpg but holds PNG."),)
    assert "very thin" in remarks["b/thin.png"][0].text
    assert "a/good.png" not in remarks


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (2, 3), (5, 1)])
def test_the_smallest_pictures_have_measures(tmp_path: Path, shape: tuple[int, int]) -> None:
    saved(tmp_path / "a/x.png", noise(*shape, 0))
    values = measure_images(dataset(tmp_path, ["a/x.png"])).values
    assert all(np.isfinite(row[0]) for name, row in values.items() if name not in ("jpeg_quality", "sharpness"))


def test_averages_are_those_of_the_class(tmp_path: Path) -> None:
    paths = ["a/1.png", "a/2.png", "a/3.png"]
    for path in paths:
        saved(tmp_path / path, noise(120, 100))
    found = measure_images(dataset(tmp_path, paths))
    small = [
        PIL.Image.fromarray(read_image(tmp_path / p).pixels)
        .convert("L")
        .resize((AVERAGE_SIDE, AVERAGE_SIDE), PIL.Image.Resampling.BOX)
        for p in paths
    ]
    stack = np.stack([np.asarray(s, float) for s in small])
    np.testing.assert_allclose(found.means[0], stack.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(found.deviations[0], stack.std(axis=0), atol=1e-3)
    assert not found.means[1].any()
