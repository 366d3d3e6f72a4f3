"""Forward against Pillow on the whole picture, and back against slow loops and closed forms."""

import io
import itertools

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pellucid.images import from_array, read_image
from pellucid.preprocessing import GridGeometry, Placement, Preprocessing

FITS = ("stretch", "crop", "pad")
SIZES = [(40, 60), (60, 40), (33, 33), (7, 90), (90, 7), (200, 150)]
METHODS = {"bilinear": PIL.Image.Resampling.BILINEAR, "bicubic": PIL.Image.Resampling.BICUBIC}


def picture(height, width, seed=0):
    """Soft blobs in three colours, different at every point."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return np.asarray(PIL.Image.fromarray(small).resize((width, height), METHODS["bicubic"]))


def plain(pixels, p):
    """Resize the whole picture by Pillow, then cut out the middle or lay it on a canvas."""
    (height, width), target = pixels.shape[:2], (p.height, p.width)
    whole, method = PIL.Image.fromarray(pixels), METHODS[p.interpolation]
    if p.fit == "stretch":
        return np.asarray(whole.resize((p.width, p.height), method))
    ratios = [t / n for t, n in zip(target, (height, width), strict=True)]
    ratio = max(ratios) / p.crop_share if p.fit == "crop" else min(ratios)
    inner_height, inner_width = max(1, round(height * ratio)), max(1, round(width * ratio))
    inner = np.asarray(whole.resize((inner_width, inner_height), method))
    canvas = np.full((*target, 3), p.fill, np.uint8)
    top, left = (target[0] - inner_height) // 2, (target[1] - inner_width) // 2
    for y, x in itertools.product(range(p.height), range(p.width)):
        if 0 <= y - top < inner_height and 0 <= x - left < inner_width:
            canvas[y, x] = inner[y - top, x - left]
    return canvas


class TestForward:
    @pytest.mark.parametrize("interpolation", METHODS)
    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("size", SIZES)
    def test_resize_is_pillows_on_the_whole_picture(self, size, fit, interpolation):
        p = Preprocessing(height=24, width=32, fit=fit, interpolation=interpolation, fill=77)
        found, wanted = p.resize(picture(*size)).astype(int), plain(picture(*size), p)
        # For a crop, Pillow may resize columns before rows, and round between: a value may come out one off.
        assert np.abs(found - wanted).max() <= (1 if fit == "crop" else 0)

    @pytest.mark.parametrize("share", [0.3, 0.75, 0.875])
    def test_crop_share_keeps_the_middle(self, share):
        p = Preprocessing(height=24, width=24, fit="crop", crop_share=share)
        assert np.abs(p.resize(picture(90, 130)).astype(int) - plain(picture(90, 130), p)).max() <= 1

    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 5000), (1, 20000)])
    def test_extreme_shapes(self, size, fit):
        p = Preprocessing(height=16, width=24, fit=fit, fill=9)
        pixels = np.full((*size, 3), 200, np.uint8)
        found = p.resize(pixels)
        inside = (found == 200).all(axis=2)
        assert found.shape == (16, 24, 3)
        assert (inside | (found == 9).all(axis=2)).all()
        assert inside.all() == (fit != "pad")
        assert inside.any()

    @settings(max_examples=150, deadline=None)
    @given(
        st.integers(1, 400),
        st.integers(1, 400),
        st.integers(8, 64),
        st.integers(8, 64),
        st.sampled_from(FITS),
        st.floats(0.21, 1),
    )
    def test_any_size_fits(self, height, width, h, w, fit, share):
        p = Preprocessing(height=h, width=w, fit=fit, crop_share=share)
        assert p.resize(np.zeros((height, width, 3), np.uint8)).shape == (h, w, 3)

    def test_normalise_is_the_formula_channels_first(self):
        p = Preprocessing(height=8, width=9, scale=1 / 200, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.25, 2))
        pixels = picture(8, 9)
        found = p.normalise(pixels)
        for y, x, c in itertools.product(range(8), range(9), range(3)):
            assert found[c, y, x] == pytest.approx((pixels[y, x, c] / 200 - p.mean[c]) / p.deviation[c], abs=2e-6)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous

    def test_to_pixels_is_its_inverse_for_every_value(self):
        p = Preprocessing(height=16, width=16, mean=(0.485, 0.456, 0.406), deviation=(0.229, 0.224, 0.225))
        values = np.arange(256, dtype=np.uint8).reshape(16, 16)
        pixels = np.stack([values, values[::-1], values.T], axis=2)
        assert (p.to_pixels(p.normalise(pixels)) == pixels).all()
        batch = np.stack([pixels, pixels[::-1]])
        assert (p.to_pixels(p.normalise(batch)) == batch).all()

    def test_to_pixels_rounds_and_clips(self):
        p = Preprocessing(height=8, width=8)
        tensor = np.zeros((3, 8, 8), np.float32)
        tensor[0], tensor[1], tensor[2] = -0.3, 1.4, 100.6 / 255
        assert p.to_pixels(tensor)[0, 0].tolist() == [0, 255, 101]

    def test_a_batch_is_its_images(self):
        p = Preprocessing(height=24, width=16, fit="pad", mean=(0.5, 0.5, 0.5), deviation=(0.5, 0.5, 0.5))
        images = [from_array(picture(*size, seed=i)) for i, size in enumerate(SIZES)]
        batch = p.tensors(images)
        assert batch.shape == (len(SIZES), 3, 24, 16)
        for image, tensor in zip(images, batch, strict=True):
            assert (tensor == p.tensors([image])[0]).all()
            assert (tensor == p.normalise(plain(image.pixels, p))).all()
        assert p.tensors([]).shape == (0, 3, 24, 16)

    @pytest.mark.parametrize("fit", FITS)
    def test_grey_is_the_same_in_all_channels(self, fit):
        grey = picture(50, 70)[..., 0]
        file = io.BytesIO()
        PIL.Image.fromarray(grey).save(file, "PNG")
        p = Preprocessing(height=24, width=16, fit=fit)
        found = p.resize_image(read_image(file.getvalue()))
        assert np.abs(found.astype(int) - plain(np.repeat(grey[..., None], 3, axis=2), p)).max() <= (fit == "crop")
        assert (found[..., :1] == found).all()

    def test_decode_size_is_what_lands_on_the_input(self):
        assert Preprocessing(height=20, width=30, fit="pad").decode_size == (20, 30)
        assert Preprocessing(height=20, width=30, fit="crop", crop_share=0.5).decode_size == (40, 60)
        assert Preprocessing(height=20, width=30, fit="stretch", crop_share=0.5).decode_size == (20, 30)

    def test_sides_have_limits(self):
        for side in (7, 4097):
            with pytest.raises(ValidationError):
                Preprocessing(height=side, width=32)


class TestPlacement:
    def test_stretch_maps_corners_to_corners(self):
        assert Preprocessing(height=30, width=40).placement((60, 20)) == Placement((0.5, 2.0), (0.0, 0.0))

    def test_crop_maps_the_kept_part_to_the_corners(self):
        place = Preprocessing(height=32, width=32, fit="crop").placement((64, 128))
        corners = [(s * y + t) for s, t, y in zip(place.scale, place.shift, (0, 32), strict=True)]
        assert corners == [0, 0]
        assert [s * n + t for s, t, n in zip(place.scale, place.shift, (64, 96), strict=True)] == [32, 32]

    def test_pad_maps_the_picture_into_the_middle(self):
        place = Preprocessing(height=32, width=32, fit="pad").placement((64, 128))
        assert place == Placement((0.25, 0.25), (8.0, 0.0))

    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("size", [(300, 200), (200, 320), (255, 256)])
    def test_a_mark_lands_where_placement_says(self, size, fit):
        """The centre of gravity of a bright square in the resized picture, against the map of its centre."""
        p = Preprocessing(height=60, width=80, fit=fit, crop_share=0.8)
        for y, x in itertools.product((0.35, 0.5, 0.6), repeat=2):
            top, left = int(y * size[0]), int(x * size[1])
            pixels = np.zeros((*size, 3), np.uint8)
            pixels[top : top + 20, left : left + 20] = 255
            light = p.resize(pixels)[..., 0].astype(float)
            seen = [
                (light.sum(axis=1 - axis) * (np.arange(light.shape[axis]) + 0.5)).sum() / light.sum() for axis in (0, 1)
            ]
            place = p.placement(size)
            wanted = [s * c + t for s, t, c in zip(place.scale, place.shift, (top + 10, left + 10), strict=True)]
            assert seen == pytest.approx(wanted, abs=0.05)


def slowly(grid, geometry, p, original):
    """Each original pixel's centre, mapped to the input and then between the four cells around it."""
    place, (h, w) = p.placement(original), grid.shape
    laid = np.zeros(original)
    for y, x in itertools.product(range(original[0]), range(original[1])):
        v, u = (y + 0.5) * place.scale[0] + place.shift[0], (x + 0.5) * place.scale[1] + place.shift[1]
        if not (0 <= v <= p.height and 0 <= u <= p.width):
            continue
        i = min(max((v - geometry.offset[0]) / geometry.stride[0], 0), h - 1)
        j = min(max((u - geometry.offset[1]) / geometry.stride[1], 0), w - 1)
        for a, b in itertools.product(range(h), range(w)):
            laid[y, x] += grid[a, b] * max(0, 1 - abs(i - a)) * max(0, 1 - abs(j - b))
    return laid


TILES = GridGeometry((8.0, 8.0), (4.0, 4.0))
LIKE_A_RESNET = GridGeometry((8.0, 8.0), (0.5, 0.5))
UNEVEN = GridGeometry((6.0, 11.0), (-2.5, 7.0))


class TestToOriginal:
    @pytest.mark.parametrize("geometry", [TILES, LIKE_A_RESNET, UNEVEN])
    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("original", [(20, 44), (50, 30), (11, 70)])
    def test_a_random_grid_against_the_loop(self, original, fit, geometry):
        p = Preprocessing(height=32, width=48, fit=fit, crop_share=0.9)
        grid = np.random.default_rng(3).normal(size=(4, 6)).astype(np.float32)
        assert p.to_original(grid, geometry, original) == pytest.approx(slowly(grid, geometry, p, original), abs=2e-6)

    @pytest.mark.parametrize("geometry", [TILES, LIKE_A_RESNET])
    @pytest.mark.parametrize("fit", FITS)
    @pytest.mark.parametrize("original", [(60, 90), (90, 60), (21, 33)])
    def test_a_ramp_comes_back_as_that_ramp(self, original, fit, geometry):
        """A grid that samples a plane in original pixels, at its cells' centres, gives the plane between them."""
        p = Preprocessing(height=32, width=48, fit=fit)
        place = p.placement(original)
        centres = [
            (geometry.offset[d] + geometry.stride[d] * np.arange(n) - place.shift[d]) / place.scale[d]
            for d, n in enumerate((4, 6))
        ]
        grid = 2 + 0.3 * centres[0][:, None] - 0.1 * centres[1][None, :]
        found = p.to_original(grid.astype(np.float32), geometry, original)
        y, x = (np.arange(n) + 0.5 for n in original)
        rows, columns = ((c[0] <= v) & (v <= c[-1]) for c, v in zip(centres, (y, x), strict=True))
        seen = [
            (v * s + t >= 0) & (v * s + t <= n)
            for v, s, t, n in zip((y, x), place.scale, place.shift, (32, 48), strict=True)
        ]
        rows, columns = rows & seen[0], columns & seen[1]
        plane = 2 + 0.3 * y[:, None] - 0.1 * x[None, :]
        assert rows.sum() > 0.5 * original[0] * (seen[0].mean())
        assert found[np.ix_(rows, columns)] == pytest.approx(plane[np.ix_(rows, columns)], abs=2e-5)

    def test_beyond_the_outermost_cells_the_nearest_goes_on(self):
        p = Preprocessing(height=32, width=32)
        grid = np.arange(16, dtype=np.float32).reshape(4, 4)
        laid = p.to_original(grid, TILES, (32, 32))
        assert (laid[:4, :4] == grid[0, 0]).all()
        assert (laid[-4:, -4:] == grid[3, 3]).all()

    def test_what_was_cropped_away_is_zero_and_only_that(self):
        p = Preprocessing(height=32, width=32, fit="crop")
        laid = p.to_original(np.ones((4, 4), np.float32), TILES, (64, 128))
        wanted = np.zeros((64, 128))
        wanted[:, 32:96] = 1
        assert (laid == wanted).all()

    @pytest.mark.parametrize("fit", ["stretch", "pad"])
    def test_a_constant_covers_an_uncropped_picture(self, fit):
        p = Preprocessing(height=32, width=32, fit=fit)
        for original in SIZES:
            assert p.to_original(np.full((4, 4), 3, np.float32), TILES, original) == pytest.approx(np.full(original, 3))

    def test_one_cell_is_a_constant(self):
        p = Preprocessing(height=32, width=32)
        geometry = GridGeometry((32.0, 32.0), (16.0, 16.0))
        assert (p.to_original(np.full((1, 1), 5, np.float32), geometry, (13, 17)) == 5).all()

    def test_leading_axes_are_kept(self):
        p = Preprocessing(height=32, width=32)
        grids = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
        laid = p.to_original(grids, TILES, (20, 30))
        assert laid.dtype == np.float32
        for i, j in itertools.product(range(2), range(3)):
            assert laid[i, j] == pytest.approx(p.to_original(grids[i, j], TILES, (20, 30)), abs=1e-6)

    def test_a_hot_cell_is_laid_over_what_it_saw(self):
        """Forward a bright square, put its place on the grid by hand, and come back to the square."""
        p = Preprocessing(height=64, width=64, fit="crop", crop_share=0.8)
        original, centre = (150, 240), (90.0, 100.0)
        place = p.placement(original)
        cell = [round((c * s + t - 0.5) / 8) for c, s, t in zip(centre, place.scale, place.shift, strict=True)]
        grid = np.zeros((8, 8), np.float32)
        grid[tuple(cell)] = 1
        laid = p.to_original(grid, LIKE_A_RESNET, original)
        found = np.array(np.unravel_index(laid.argmax(), original)) + 0.5
        assert np.abs(found - centre).max() <= 4 / min(place.scale) + 0.5
