"""Each change against scipy's and torchvision's of the same amount, and the amounts against the recipe's ranges."""

import io
import math

import numpy as np
import PIL.Image
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine

from pellucid.recipe_sections import AugmentSection
from pellucid.training.augmentation import augment, blurred, change, draw_changes, random_affine
from pellucid.training.compression import _steps, compressed

SHAPES = [(24, 24), (20, 36), (33, 21)]
RANGES = {"rotation": 40.0, "shift": 0.2, "shear": 0.3, "zoom": 0.4}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count, height, width):
    """Soft random pictures (count, 3, height, width) in 0..1."""
    noise = np.random.default_rng(5).random((count, 3, height, width))
    soft = ndimage.gaussian_filter(noise, (0, 0, 2, 2), mode="wrap")
    spread = soft - soft.min()
    return torch.from_numpy((spread / spread.max()).astype(np.float32))


def in_pixels(matrices, height, width):
    """The maps (N, 2, 2) and shifts (N, 2), as (x, y) in pixels around the centre, of affine_grid's matrices."""
    half = np.array([width / 2, height / 2])
    linear = matrices[:, :, :2].double().numpy() * half[:, None] / half[None, :]
    return linear, matrices[:, :, 2].double().numpy() * half


def amounts(section, count=6, height=24, width=24, seed=0):
    """What is drawn, in pixels: angle, zoom, shear and mirroring (N,), shift (N, 2), read from the maps by QR."""
    linear, shift = in_pixels(random_affine(count, height / width, section, seeded(seed)), height, width)
    mirror = np.sign(np.linalg.det(linear))
    first = linear[:, :, 0] * mirror[:, None]
    angle = np.arctan2(first[:, 1], first[:, 0])
    scale = np.hypot(*first.T)
    across = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    along = np.stack([-np.sin(angle), np.cos(angle)], axis=1)
    second = linear[:, :, 1]
    # A rotation of a shear of a zoom: the second column is as long across the first as the first is.
    assert (second * along).sum(axis=1) == pytest.approx(scale, rel=1e-5)
    shear = (second * across).sum(axis=1) / scale
    return angle, scale, shear, mirror, shift


def by_scipy(picture, linear, shift):
    """A picture (3, H, W) pulled through the map `in = linear @ out + shift`, as (x, y) around the centre."""
    height, width = picture.shape[-2:]
    swapped = linear[::-1, ::-1]
    centre = np.array([height - 1, width - 1]) / 2
    offset = centre - swapped @ centre + shift[::-1]
    return np.stack(
        [ndimage.affine_transform(c.numpy().astype(float), swapped, offset, order=1, mode="nearest") for c in picture]
    )


class TestAgainstPeers:
    @pytest.mark.parametrize("name", [*RANGES, "flip"])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_change_alone_is_scipys_up_to_the_border(self, name, shape):
        section = AugmentSection(**{name: RANGES.get(name, True)})
        angle, scale, shear, mirror, shift = amounts(section, 6, *shape)
        images = pictures(6, *shape)
        changed = augment(images, section, seeded())
        for i, image in enumerate(images):
            linear = {
                "rotation": [[math.cos(angle[i]), -math.sin(angle[i])], [math.sin(angle[i]), math.cos(angle[i])]],
                "shift": [[1, 0], [0, 1]],
                "shear": [[1, shear[i]], [0, 1]],
                "zoom": [[scale[i], 0], [0, scale[i]]],
                "flip": [[mirror[i], 0], [0, 1]],
            }[name]
            moved = shift[i] if name == "shift" else np.zeros(2)
            wanted = by_scipy(image, np.array(linear, float), moved)
            assert changed[i].numpy() == pytest.approx(wanted, abs=2e-5)
        assert not torch.allclose(changed, images, atol=0.01)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_all_changes_at_once_are_scipys(self, shape):
        section = AugmentSection(**RANGES, flip=True)
        angle, scale, shear, mirror, shift = amounts(section, 6, *shape)
        images = pictures(6, *shape)
        changed = augment(images, section, seeded())
        for i, image in enumerate(images):
            turn = np.array([[math.cos(angle[i]), -math.sin(angle[i])], [math.sin(angle[i]), math.cos(angle[i])]])
            whole = scale[i] * turn @ [[1, shear[i]], [0, 1]] @ np.diag([mirror[i], 1])
            assert changed[i].numpy() == pytest.approx(by_scipy(image, whole, shift[i]), abs=3e-5)

    @pytest.mark.parametrize("name", RANGES)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_one_change_alone_is_torchvisions_where_nothing_comes_from_outside(self, name, shape):
        section = AugmentSection(**{name: RANGES[name]})
        angle, scale, shear, _, shift = amounts(section, 6, *shape)
        images = pictures(6, *shape)
        changed = augment(images, section, seeded())
        for i, image in enumerate(images):
            # torchvision's numbers say where a point goes, ours where it comes from.
            options = {
                "angle": -math.degrees(angle[i]) if name == "rotation" else 0.0,
                "translate": [-float(shift[i, 0]), -float(shift[i, 1])] if name == "shift" else [0.0, 0.0],
                "scale": 1 / scale[i] if name == "zoom" else 1.0,
                "shear": [math.degrees(math.atan(shear[i])) if name == "shear" else 0.0, 0.0],
            }
            wanted, inside = (
                affine(x, interpolation=InterpolationMode.BILINEAR, **options) for x in (image, torch.ones_like(image))
            )
            kept = inside > 0.999
            assert kept.float().mean() > 0.4
            assert changed[i][kept].numpy() == pytest.approx(wanted[kept].numpy(), abs=2e-4)

    def test_places_from_outside_repeat_the_border(self):
        section = AugmentSection(rotation=180, shift=0.5, shear=0.5, zoom=0.5, flip=True)
        white = torch.ones(20, 3, 16, 30)
        assert augment(white, section, seeded()).numpy() == pytest.approx(white.numpy(), abs=1e-5)


class TestAmounts:
    def test_nothing_is_the_identity(self):
        images = pictures(2, 8, 9)
        assert augment(images, AugmentSection(), seeded()) is images

    @pytest.mark.parametrize("shape", SHAPES)
    def test_next_to_nothing_is_next_to_the_identity(self, shape):
        section = AugmentSection(rotation=1e-6, shift=1e-7, shear=1e-7, zoom=1e-7, brightness=1e-7, contrast=1e-7)
        images = pictures(2, *shape)
        assert augment(images, section, seeded()).numpy() == pytest.approx(images.numpy(), abs=1e-5)

    @pytest.mark.parametrize(
        "section", [AugmentSection(**{k: v}) for k, v in RANGES.items()] + [AugmentSection(**RANGES)]
    )
    @pytest.mark.parametrize("shape", SHAPES)
    def test_each_is_drawn_uniformly_within_its_range(self, section, shape):
        angle, scale, shear, mirror, shift = amounts(section, 4000, *shape)
        drawn = {
            "rotation": np.degrees(angle),
            "zoom": scale - 1,
            "shear": shear,
            "shift": shift[:, 0] / shape[1],
        }
        assert (mirror == 1).all()
        for name, values in drawn.items():
            most = getattr(section, name)
            if most == 0:
                assert np.abs(values).max() < 1e-4
            else:
                assert np.abs(values).max() <= most * (1 + 1e-5)
                assert stats.kstest(values, stats.uniform(-most, 2 * most).cdf).pvalue > 1e-3
        if section.shift:
            down = shift[:, 1] / shape[0]
            assert stats.kstest(down, stats.uniform(-section.shift, 2 * section.shift).cdf).pvalue > 1e-3
            assert abs(np.corrcoef(down, drawn["shift"])[0, 1]) < 0.05

    def test_flips_half_of_the_time_and_only_left_and_right(self):
        images = pictures(400, 6, 8)
        changed = augment(images, AugmentSection(flip=True), seeded())
        same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(changed, images, strict=True)]
        mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(changed, images, strict=True)]
        assert all(a != b for a, b in zip(same, mirrored, strict=True))
        assert stats.binomtest(sum(mirrored), 400).pvalue > 0.01

    def test_brightness_adds_the_same_everywhere(self):
        images = 0.3 + 0.4 * pictures(400, 6, 8)
        added = augment(images, AugmentSection(brightness=0.25), seeded()) - images
        each = added.mean(dim=(1, 2, 3))
        assert (added - each[:, None, None, None]).abs().max() < 1e-6
        assert stats.kstest(each.numpy(), stats.uniform(-0.25, 0.5).cdf).pvalue > 1e-3

    def test_contrast_scales_around_the_mean_of_the_picture(self):
        images = 0.4 + 0.2 * pictures(400, 6, 8)
        changed = augment(images, AugmentSection(contrast=0.6), seeded())
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        factor = (changed - mean).flatten(1).norm(dim=1) / (images - mean).flatten(1).norm(dim=1)
        wanted = mean + factor[:, None, None, None] * (images - mean)
        assert changed.numpy() == pytest.approx(wanted.numpy(), abs=1e-5)
        assert stats.kstest(factor.numpy(), stats.uniform(0.4, 1.2).cdf).pvalue > 1e-3

    def test_values_stay_within_0_and_1(self):
        changed = augment(pictures(50, 6, 8), AugmentSection(brightness=0.5, contrast=0.9), seeded())
        assert changed.min() == 0
        assert changed.max() == 1


class TestRandomness:
    SECTION = AugmentSection(rotation=10, shift=0.1, shear=0.1, zoom=0.1, flip=True, brightness=0.1, contrast=0.1)

    def test_the_generator_decides_everything(self):
        images = pictures(4, 8, 9)
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = augment(images, self.SECTION, seeded(3))
        assert (torch.get_rng_state() == before).all()
        torch.manual_seed(2)
        assert (augment(images, self.SECTION, seeded(3)) == first).all()
        assert not torch.allclose(augment(images, self.SECTION, seeded(4)), first)

    def test_a_generator_goes_on(self):
        images, generator = pictures(4, 8, 9), seeded(3)
        assert not torch.allclose(augment(images, self.SECTION, generator), augment(images, self.SECTION, generator))

    def test_images_of_a_batch_differ(self):
        same = pictures(1, 8, 9).expand(6, -1, -1, -1)
        changed = augment(same, self.SECTION, seeded())
        assert all(not torch.allclose(changed[0], other, atol=1e-3) for other in changed[1:])

    def test_the_given_images_are_left_alone(self):
        images = pictures(3, 8, 9)
        kept = images.clone()
        augment(images, self.SECTION, seeded())
        assert (images == kept).all()


class TestLook:
    """Blur, gamma and compression against SciPy, a formula and Pillow."""

    def test_each_image_is_blurred_as_scipy_blurs_it(self):
        images, deviation = pictures(4, 24, 31), torch.tensor([0.4, 1.0, 1.7, 3.2])
        found = blurred(images, deviation)
        for image, sigma, one in zip(images, deviation.tolist(), found, strict=True):
            # With the reach of the widest of the batch, as the kernels have it.
            wanted = ndimage.gaussian_filter(
                image.numpy().astype(float), (0, sigma, sigma), mode="nearest", radius=(0, 10, 10)
            )
            assert one.numpy() == pytest.approx(wanted, abs=2e-5)

    def test_the_widest_blur_is_the_recipes(self):
        drawn = draw_changes(3000, (8, 8), AugmentSection(blur=2.5), seeded()).blur
        assert stats.kstest(drawn.numpy(), stats.uniform(0, 2.5).cdf).pvalue > 1e-3

    def test_gamma_is_a_power(self):
        images = pictures(300, 6, 8)
        section = AugmentSection(gamma=0.6)
        powers = 1 + draw_changes(300, (6, 8), section, seeded()).gamma
        assert stats.kstest(powers.numpy(), stats.uniform(0.4, 1.2).cdf).pvalue > 1e-3
        wanted = images.double() ** powers.double()[:, None, None, None]
        assert augment(images, section, seeded()).numpy() == pytest.approx(wanted.numpy(), abs=1e-5)

    @pytest.mark.parametrize("quality", [95, 75, 50, 25, 8])
    @pytest.mark.parametrize("shape", [(24, 32), (21, 35)])
    def test_compression_is_pillows(self, quality, shape):
        levels = (pictures(3, *shape) * 255).round()
        found = compressed(levels / 255, torch.full((3,), float(quality))) * 255
        for image, one in zip(levels, found, strict=True):
            file = io.BytesIO()
            PIL.Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(
                file, "JPEG", quality=quality, subsampling=0
            )
            opened = PIL.Image.open(file)
            tables = [torch.tensor(opened.quantization[i]).reshape(8, 8) for i in (0, 1, 1)]
            assert torch.equal(_steps(torch.tensor([float(quality)]))[0], torch.stack(tables).float())
            wanted, was = np.asarray(opened, float), image.permute(1, 2, 0).numpy()
            # libjpeg rounds to whole numbers between its steps; a coefficient next to a half then falls otherwise.
            apart = np.abs(one.permute(1, 2, 0).numpy() - wanted).mean()
            assert apart < 1.2 + 0.15 * np.abs(was - wanted).mean()

    def test_a_part_of_a_batch_is_changed_as_in_the_whole(self):
        section = AugmentSection(
            rotation=20, flip=True, brightness=0.2, contrast=0.3, gamma=0.3, blur=1, compression=0.6
        )
        images = pictures(6, 17, 24)
        changes = draw_changes(6, (17, 24), section, seeded(2))
        whole, part = change(images, changes), change(images[1::2], changes.of(slice(1, None, 2)))
        assert part.numpy() == pytest.approx(whole[1::2].numpy(), abs=1e-5)
