from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from scipy import ndimage, stats

from pellucid.data.change import CHANGES, Change, change_boxes, change_mask, change_pixels, draw_change
from pellucid.preprocessing import Uint8Array
from pellucid.recipe_sections import AugmentSection

WIDE = AugmentSection(rotation=180, shift=0.5, shear=0.5, zoom=0.5, flip=True, brightness=0.5, contrast=0.9)
ALL = WIDE.model_copy(update={"gamma": 0.9, "blur": 8.0, "compression": 0.95})


def noise(*shape: int, seed: int = 0) -> Uint8Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def source_of(change: Change, y: float, x: float, height: int, width: int) -> tuple[float, float]:
    """Where in the original the place (y, x) of a copy is taken from, one step of the description after the other."""
    y, x = y - height / 2, x - width / 2
    x = -x if change.flip else x
    x += change.shear * y
    angle = math.radians(change.rotation)
    x, y = x * math.cos(angle) - y * math.sin(angle), x * math.sin(angle) + y * math.cos(angle)
    x, y = x * (1 + change.zoom), y * (1 + change.zoom)
    x, y = x + change.shift_x * width, y + change.shift_y * height
    return y + height / 2, x + width / 2


def slow(pixels: Uint8Array, change: Change) -> np.ndarray:
    """A changed copy, pixel by pixel, not rounded."""
    height, width = pixels.shape[:2]
    moved = np.zeros(pixels.shape)
    for i in range(height):
        for j in range(width):
            y, x = source_of(change, i + 0.5, j + 0.5, height, width)
            y, x = min(max(y - 0.5, 0), height - 1), min(max(x - 0.5, 0), width - 1)
            top, left = min(int(y), height - 2), min(int(x), width - 2)
            for di, dj in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(top + di - y)) * (1 - abs(left + dj - x))
                moved[i, j] += weight * pixels[top + di, left + dj]
    mean = moved.mean()
    return np.clip((moved - mean) * (1 + change.contrast) + mean + 255 * change.brightness, 0, 255)


@pytest.mark.parametrize("number", range(8))
def test_agrees_with_a_loop_over_pixels(number: int) -> None:
    pixels = noise(14, 23, 3, seed=number)
    change = draw_change(WIDE, 5, "x", number)
    assert np.abs(change_pixels(pixels, change) - slow(pixels, change)).max() < 0.502
    grey = pixels[..., :1].repeat(3, axis=2)
    assert (change_pixels(grey[..., 0], change) == change_pixels(grey, change)[..., 1]).all()


@pytest.mark.parametrize(("height", "width"), [(40, 40), (31, 57)])
def test_means_the_same_as_while_training(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the parameters that training drew, told apart by their ranges, copies agree but for the rounding."""
    torch = pytest.importorskip("torch")
    from pellucid.training import augmentation

    section = AugmentSection(rotation=25, shift=0.13, shear=0.21, zoom=0.31, flip=True, brightness=0.17, contrast=0.43)
    drawn: dict[float, list[list[float]]] = {}
    uniform = augmentation._uniform

    def spy(count: int, reach: float, generator: torch.Generator) -> torch.Tensor:
        values = uniform(count, reach, generator)
        drawn.setdefault(round(reach, 6), []).append(values.tolist())
        return values

    monkeypatch.setattr(augmentation, "_uniform", spy)
    count = 12
    pixels = noise(count, height, width, 3)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    trained = augmentation.augment(batch, section, torch.Generator().manual_seed(3)).permute(0, 2, 3, 1).numpy() * 255
    (shift_x, shift_y), (angle,) = drawn[section.shift], drawn[round(math.radians(section.rotation), 6)]
    (shear,), (zoom,) = drawn[section.shear], drawn[section.zoom]
    (contrast,), (brightness,) = drawn[section.contrast], drawn[section.brightness]
    flips = []
    for i in range(count):
        change = Change(
            False, shear[i], math.degrees(angle[i]), zoom[i], shift_x[i], shift_y[i], contrast[i], brightness[i]
        )
        off = [np.abs(change_pixels(pixels[i], replace(change, flip=f)) - trained[i]).max() for f in (False, True)]
        flips.append(int(np.argmin(off)))
        assert min(off) < 0.55
    assert 0 < sum(flips) < count


def test_closed_forms() -> None:
    pixels = noise(12, 12, 3)
    assert (change_pixels(pixels, Change()) == pixels).all()
    assert (change_pixels(pixels, Change(flip=True)) == pixels[:, ::-1]).all()
    # The places are taken from turned clockwise, so that what is shown turns the other way, as rot90 does.
    assert (change_pixels(pixels, Change(rotation=90)) == np.rot90(pixels)).all()
    moved = change_pixels(pixels, Change(shift_x=3 / 12))
    assert (moved == np.concatenate([pixels[:, 3:], pixels[:, -1:].repeat(3, axis=1)], axis=1)).all()
    moved = change_pixels(pixels, Change(shift_y=-2 / 12))
    assert (moved == np.concatenate([pixels[:1].repeat(2, axis=0), pixels[:-2]])).all()
    # The row whose centre lies 4.5 pixels above the middle is taken from 4.5 * shear to the left.
    moved = change_pixels(pixels, Change(shear=4 / 9))
    assert (moved[1, 2:] == pixels[1, :-2]).all()
    assert (moved[10, :-2] == pixels[10, 2:]).all()
    assert (change_pixels(pixels, Change(brightness=0.2)) == np.minimum(pixels.astype(int) + 51, 255)).all()
    half = np.array([[[100.0], [200.0]]]).repeat(3, axis=2).astype(np.uint8)
    assert change_pixels(half, Change(contrast=0.5))[0, :, 0].tolist() == [75, 225]
    ramp = np.arange(0, 64, dtype=np.uint8)[None].repeat(4, axis=0)
    assert np.allclose(change_pixels(ramp, Change(zoom=-0.5))[0], (ramp[0] + 0.5 - 32) / 2 + 31.5, atol=0.51)


def test_a_mask_moves_with_its_image_and_keeps_its_values() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:45, 30:60] = 255
    mask[25:30, 35:40] = 7
    for number in range(12):
        change = replace(draw_change(WIDE, 0, "m", number), brightness=0.0, contrast=0.0)
        moved, image = change_mask(mask, change), change_pixels(mask, change)
        assert set(np.unique(moved)) <= {0, 7, 255}
        different = (moved > 127) != (image > 127)
        assert different.sum() <= 0.2 * max(1, (image > 127).sum())
    assert (change_mask(np.stack([mask, mask], axis=2), change)[..., 1] == change_mask(mask, change)).all()


def test_boxes_lie_around_what_they_lay_around() -> None:
    height, width = 90, 120
    mask = np.zeros((height, width), np.uint8)
    mask[30:50, 40:80] = 255
    seen = 0
    for number in range(40):
        change = draw_change(WIDE, 1, "b", number)
        rows, columns = np.nonzero(change_mask(mask, change))
        boxes = change_boxes([(40.0, 30.0, 80.0, 50.0)], change, (height, width))
        if not boxes:
            assert len(rows) == 0
            continue
        if len(rows) == 0 or not (
            rows.min() and columns.min() and rows.max() < height - 1 and columns.max() < width - 1
        ):
            continue  # at the edge the mask goes on where the border repeats
        seen += 1
        xmin, ymin, xmax, ymax = boxes[0]
        assert np.allclose(
            [xmin, ymin, xmax, ymax], [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], atol=2
        )
    assert seen > 10
    assert change_boxes([(0, 0, 120, 90)], Change(shift_x=0.25), (90, 120)) == ((0, 0, 90, 90),)
    assert change_boxes([(0, 0, 20, 20)], Change(shift_x=0.25), (90, 120)) == ()


def test_draws_are_uniform_and_decided_by_seed_path_and_number() -> None:
    drawn = [draw_change(ALL, 0, f"a/{i}.png", 1) for i in range(2000)]
    values = {name: np.array([float(getattr(c, name)) for c in drawn]) for name in CHANGES}
    reach = {
        "shear": 0.5,
        "rotation": 180,
        "zoom": 0.5,
        "shift_x": 0.5,
        "shift_y": 0.5,
        "contrast": 0.9,
        "brightness": 0.5,
        "gamma": 0.9,
    }
    for name, most in reach.items():
        assert stats.kstest(values[name], stats.uniform(-most, 2 * most).cdf).pvalue > 1e-3
    for name, most in {"blur": 8, "compression": 0.95}.items():
        assert stats.kstest(values[name], stats.uniform(0, most).cdf).pvalue > 1e-3
    assert 0.45 < values["flip"].mean() < 0.55
    correlation = np.corrcoef(np.stack(list(values.values())))
    assert np.abs(correlation - np.eye(len(CHANGES))).max() < 0.1
    assert draw_change(ALL, 0, "a/3.png", 1) == drawn[3]
    others = [
        draw_change(ALL, 1, "a/3.png", 1),
        draw_change(ALL, 0, "a/3.png", 2),
        draw_change(ALL, 0, "b/3.png", 1),
    ]
    assert len({drawn[3], *others}) == 4


def test_switching_one_change_off_leaves_the_others() -> None:
    less = draw_change(WIDE.model_copy(update={"flip": False, "zoom": 0.0}), 0, "x", 1)
    assert less == replace(draw_change(WIDE, 0, "x", 1), flip=False, zoom=0.0)
    assert draw_change(AugmentSection(), 0, "x", 1) == Change()
    assert not Change(brightness=0.1, contrast=0.1).moves


def test_the_look_changes_as_scipy_a_power_and_pillow_have_it() -> None:
    pixels = ndimage.gaussian_filter(noise(40, 56, 3, seed=4).astype(float), (2, 2, 0)).astype(np.uint8)
    wanted = ndimage.gaussian_filter(pixels.astype(float), (1.7, 1.7, 0), mode="nearest", truncate=3)
    assert np.abs(change_pixels(pixels, Change(blur=1.7)) - wanted).max() <= 1
    wanted = 255 * (pixels / 255) ** 0.6
    assert np.abs(change_pixels(pixels, Change(gamma=-0.4)) - wanted).max() < 0.502
    for image in (pixels, pixels[..., 0]):
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "JPEG", quality=30, subsampling=0)
        assert (change_pixels(image, Change(compression=0.7)) == np.asarray(PIL.Image.open(file))).all()
    assert not Change(gamma=0.1, blur=1.0, compression=0.5).moves
