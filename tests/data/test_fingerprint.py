import hashlib
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from pellucid.data import fingerprint as module
from pellucid.data.dataset import Dataset, Sample
from pellucid.data.fingerprint import (
    FLAT,
    SIDE,
    THRESHOLD,
    Fingerprints,
    HalfArray,
    content_hash,
    content_hashes,
    fingerprint,
    near_duplicates,
    relief,
    thumbnail,
)
from pellucid.data.folder import read_dataset
from pellucid.errors import DataError
from pellucid.preprocessing import FloatArray, Uint8Array


def picture(seed: int, height: int = 96, width: int = 120) -> Uint8Array:
    """A smooth coloured picture with detail, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (9, 11, 3))
    fine = zoom(coarse, (height / 9, width / 11, 1), order=3)
    pixels: Uint8Array = np.clip(fine + rng.normal(0, 3, fine.shape), 0, 255).astype(np.uint8)
    return pixels


def folder(root: Path, files: dict[str, bytes | Uint8Array]) -> Dataset:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            PIL.Image.fromarray(content).save(root / name)
    return Dataset(root, ("a", "b"), tuple(Sample(name, 0) for name in files))


def jpeg(pixels: Uint8Array, quality: int) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def slow_relief(small: HalfArray) -> FloatArray:
    """Blur by an explicit kernel on an edge-padded picture, subtract, centre, scale."""
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(small.astype(np.float64), 8, mode="edge")
    rows = np.apply_along_axis(np.convolve, 1, padded, kernel, "valid")
    blurred = np.apply_along_axis(np.convolve, 0, rows, kernel, "valid")
    rest = small - blurred
    rest -= rest.mean()
    if np.sqrt((rest**2).mean()) < FLAT:
        return np.zeros(SIDE * SIDE, np.float32)
    return np.asarray(rest.ravel() / np.sqrt((rest**2).sum()), np.float32)


def slow_pairs(thumbnails: HalfArray, threshold: float) -> dict[tuple[int, int], tuple[float, bool]]:
    """Every pair, one by one, both ways round."""
    pairs = {}
    for i in range(len(thumbnails)):
        for j in range(i + 1, len(thumbnails)):
            as_is = float(slow_relief(thumbnails[i]) @ slow_relief(thumbnails[j]))
            mirrored = float(slow_relief(thumbnails[i][:, ::-1]) @ slow_relief(thumbnails[j]))
            if max(as_is, mirrored) >= threshold:
                pairs[i, j] = max(as_is, mirrored), mirrored > as_is
    return pairs


def test_content_hash_is_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "long").write_bytes(bytes(range(256)) * 10_000)
    assert content_hash(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert content_hash(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_hash(tmp_path / "long") == hashlib.sha256(bytes(range(256)) * 10_000).hexdigest()
    hashes = content_hashes([tmp_path / "abc", tmp_path / "none", tmp_path / "empty"])
    assert [h[:4] for h in hashes] == ["ba78", "", "e3b0"]


def test_a_thumbnail_is_the_mean_of_each_block() -> None:
    pixels = np.repeat(np.random.default_rng(0).integers(0, 256, (96, 64, 1), dtype=np.uint8), 3, axis=2)
    blocks = pixels[:, :, 0].astype(np.float64).reshape(32, 3, 32, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnail(pixels), blocks, atol=0.1)
    assert thumbnail(np.full((1, 1, 3), 200, np.uint8)).tolist() == [[200.0] * 32] * 32


def test_reliefs_against_a_slow_blur() -> None:
    small = np.stack([thumbnail(picture(s)) for s in range(4)] + [np.full((SIDE, SIDE), 77, np.float16)])
    expected = np.stack([slow_relief(t) for t in small])
    np.testing.assert_allclose(relief(small), expected, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(relief(small), axis=1), [1, 1, 1, 1, 0], atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(0, 12), st.sampled_from([0.5, 0.8, 0.9, 0.95]))
def test_the_pairs_found_are_those_of_comparing_all(seed: int, count: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    originals = rng.uniform(0, 255, (4, SIDE, SIDE))
    small = np.zeros((count, SIDE, SIDE), np.float16)
    for i in range(count):
        shown = originals[rng.integers(4)][:, :: rng.choice([1, -1])]
        small[i] = rng.uniform(0.5, 1) * shown + rng.choice([0, 10, 30, 60]) * rng.normal(size=shown.shape)
    expected = slow_pairs(small, threshold)
    found = near_duplicates(small, threshold, limit=np.inf)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == sorted(expected)
    for i, j, c, m in zip(found.first, found.second, found.correlation, found.mirrored, strict=True):
        assert float(c) == pytest.approx(expected[i, j][0], abs=1e-4)
        assert bool(m) == expected[i, j][1]


def test_blocks_leave_no_pair_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    small = rng.uniform(0, 255, (40, SIDE, SIDE)).astype(np.float16)
    small[33], small[7] = small[2], small[6]
    whole = near_duplicates(small)
    monkeypatch.setattr(module, "BLOCK", 7)
    parts = near_duplicates(small)
    assert whole.first.tolist() == parts.first.tolist() == [2, 6]
    assert whole.second.tolist() == parts.second.tolist() == [33, 7]


def test_images_alike_by_nature_raise_the_threshold() -> None:
    rng = np.random.default_rng(1)
    shared = rng.uniform(0, 255, (SIDE, SIDE))
    small = (shared + rng.normal(0, 8, (200, SIDE, SIDE))).astype(np.float16)
    small[3] = small[2]
    found = near_duplicates(small, limit=20)
    assert found.threshold > THRESHOLD
    assert len(found.first) <= 20 * 200
    assert (2, 3) in set(zip(found.first.tolist(), found.second.tolist(), strict=True))


def test_flat_images_are_like_no_other() -> None:
    assert len(near_duplicates(np.full((5, SIDE, SIDE), 128, np.float16)).first) == 0
    assert len(near_duplicates(np.zeros((0, SIDE, SIDE), np.float16)).first) == 0


def copies(pixels: Uint8Array) -> dict[str, bytes | Uint8Array]:
    height, width = pixels.shape[:2]
    image = PIL.Image.fromarray(pixels)
    return {
        "original.png": pixels,
        "reencoded.jpg": jpeg(pixels, 40),
        "half.png": np.asarray(image.resize((width // 2, height // 2), PIL.Image.Resampling.BICUBIC)),
        "larger.jpg": jpeg(np.asarray(image.resize((width * 3, height * 3), PIL.Image.Resampling.BICUBIC)), 90),
        "brighter.png": np.minimum(pixels.astype(int) + 40, 255).astype(np.uint8),
        "darker.png": (pixels * 0.6).astype(np.uint8),
        "gamma.png": (255 * (pixels / 255.0) ** 1.3).astype(np.uint8),
        "grey.png": np.asarray(image.convert("L")),
        "mirrored.png": pixels[:, ::-1].copy(),
        "cropped.png": pixels[1:-1, 1:-1].copy(),
    }


def test_copies_are_found_and_other_pictures_are_not(tmp_path: Path) -> None:
    files = copies(picture(0)) | {f"other{s}.png": picture(s) for s in range(1, 30)}
    dataset = folder(tmp_path, files)
    found = near_duplicates(fingerprint(dataset).thumbnails)
    names = [s.path for s in dataset.samples]
    pairs = {(names[i], names[j]) for i, j in zip(found.first, found.second, strict=True)}
    assert not {p for p in pairs if "other" in p[0] or "other" in p[1]}
    with_original = {b for a, b in pairs if a == "original.png"}
    assert with_original == set(copies(picture(0))) - {"original.png"}
    mirrored = {names[j] for i, j, m in zip(found.first, found.second, found.mirrored, strict=True) if m and i == 0}
    assert mirrored == {"mirrored.png"}


def test_clean_phantoms_raise_no_alarm(tmp_path: Path) -> None:
    phantom = pytest.importorskip("pellucid.data.phantom")
    phantom.generate_phantoms(tmp_path / "phantoms", images=120, size=128, seed=2)
    prints = fingerprint(read_dataset(tmp_path / "phantoms"))
    assert len(near_duplicates(prints.thumbnails).first) == 0


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    whole = jpeg(picture(1), 90)
    files: dict[str, bytes | Uint8Array] = {
        "good.png": picture(0), "cut.jpg": whole[: len(whole) // 3], "text.png": b"hello", "empty.jpg": b"",
    }  # fmt: skip
    dataset = folder(tmp_path, files)
    dataset = Dataset(tmp_path, ("a",), (*dataset.samples, Sample("gone.png", 0)))
    prints = fingerprint(dataset)
    assert set(prints.problems) == {"cut.jpg", "text.png", "empty.jpg", "gone.png"}
    assert all(prints.problems.values())
    assert prints.contents[1] == hashlib.sha256(whole[: len(whole) // 3]).hexdigest()
    assert prints.contents[4] == ""
    assert not prints.thumbnails[1:].any()
    assert prints.thumbnails[0].any()


def test_fingerprints_are_taken_in_any_order(tmp_path: Path) -> None:
    dataset = folder(tmp_path, {"a.png": picture(0), "b.png": picture(1), "c.png": b"no"})
    prints = fingerprint(dataset)
    some = prints.of(["c.png", "a.png"])
    assert some.contents == (prints.contents[2], prints.contents[0])
    assert set(some.problems) == {"c.png"}
    np.testing.assert_array_equal(some.thumbnails[1], prints.thumbnails[0])
    with pytest.raises(DataError, match=r"no fingerprint of d\.png"):
        prints.of(["d.png"])


def test_a_cache_is_used_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    look = module._look

    def counting(path: Path) -> tuple[str, HalfArray, str]:
        looked.append(path.name)
        return look(path)

    monkeypatch.setattr(module, "_look", counting)
    dataset = folder(tmp_path / "data", {"a.png": picture(0), "b.png": picture(1), "c.png": b"no"})
    cache, seen = tmp_path / "cache", []
    first = fingerprint(dataset, cache=cache, progress=lambda done, total: seen.append((done, total)))
    assert sorted(looked) == ["a.png", "b.png", "c.png"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    again = fingerprint(dataset, cache=cache)
    assert len(looked) == 3
    assert (again.paths, again.contents, again.problems) == (first.paths, first.contents, first.problems)
    np.testing.assert_array_equal(again.thumbnails, first.thumbnails)
    folder(tmp_path / "data", {"b.png": picture(7, 50, 50)})
    changed = fingerprint(dataset, cache=cache)
    assert looked[3:] == ["b.png"]
    assert changed.contents[0] == first.contents[0]
    assert changed.contents[1] == content_hash(tmp_path / "data/b.png") != first.contents[1]
    (store,) = cache.iterdir()
    store.write_bytes(b"damaged")
    assert fingerprint(dataset, cache=cache).contents == changed.contents
    assert len(looked) == 7


def test_the_pneumonia_set_has_no_look_alikes_but_copies(pneumonia: tuple[Dataset, Fingerprints]) -> None:
    """The 24 sets of byte-identical files that are left of the 30 in the README, and nothing else."""
    _, prints = pneumonia
    found = near_duplicates(prints.thumbnails)
    assert prints.problems == {}
    contents = np.array(prints.contents)
    assert (contents[found.first] == contents[found.second]).all()
    _, sizes = np.unique(contents, return_counts=True)
    assert (sizes > 1).sum() == 24
    assert len(found.first) == sum(n * (n - 1) // 2 for n in sizes.tolist())


def test_a_tile_photographed_again_is_found(shared_data: Path) -> None:
    """Exposures of one tile lie close in number; of all pairs of numbers, 1 in 40 lies within 3,000."""
    dataset = read_dataset(shared_data / "tiles")
    found = near_duplicates(fingerprint(dataset).thumbnails)
    names = [Path(s.path).stem for s in dataset.samples]
    pairs = {frozenset((names[i], names[j])) for i, j in zip(found.first, found.second, strict=True)}
    assert frozenset(("free_exp2_num_355658", "free_exp4_num_355680")) in pairs
    numbers = [[int(n.rsplit("_", 1)[1]) for n in pair] for pair in pairs]
    assert len(pairs) > 100
    assert all(abs(a - b) < 3000 for a, b in numbers)
