import numpy as np
import pytest
from tests.black_boxes import preprocessing_of, scene

from pellucid.errors import UnknownNameError
from pellucid.explanation.replacement import REPLACEMENTS, replaced

PREPROCESSING = preprocessing_of(30, 40)
BATCH = scene(30, 40, images=3)


def test_blur_is_a_gaussian_average_with_mirrored_borders() -> None:
    deviation = 40 / 20
    reach = round(3 * deviation)
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-(steps**2) / (2 * deviation**2))
    kernel /= kernel.sum()
    padded = np.pad(BATCH[1].astype(np.float64), [(0, 0), (reach, reach), (reach, reach)], mode="symmetric")
    expected = np.zeros(BATCH[1].shape)
    for y in range(30):
        for x in range(40):
            window = padded[:, y : y + 2 * reach + 1, x : x + 2 * reach + 1]
            expected[:, y, x] = np.einsum("cyx,y,x->c", window, kernel, kernel)
    np.testing.assert_allclose(replaced(BATCH, PREPROCESSING, "blur")[1], expected, atol=1e-5)


def test_blur_in_tensors_is_blur_in_pixels() -> None:
    factor, shift = PREPROCESSING.factor_and_shift()
    pixels = (BATCH - shift[:, None, None]) / factor[:, None, None]
    blurred = replaced(pixels, PREPROCESSING, "blur") * factor[:, None, None] + shift[:, None, None]
    np.testing.assert_allclose(replaced(BATCH, PREPROCESSING, "blur"), blurred, atol=1e-4)


def test_mean_is_each_images_own_colour() -> None:
    hidden = replaced(BATCH, PREPROCESSING, "mean")
    for image, own in zip(BATCH, hidden, strict=True):
        for channel, values in zip(image, own, strict=True):
            np.testing.assert_allclose(values, channel.mean(dtype=np.float64), rtol=1e-6)


def test_grey_lies_half_way_between_black_and_white() -> None:
    black, white = (PREPROCESSING.normalise(np.full((30, 40, 3), v, np.uint8)) for v in (0, 255))
    np.testing.assert_allclose(replaced(BATCH, PREPROCESSING, "grey")[0], (black + white) / 2, atol=1e-6)


def test_noise_is_the_images_own_pixels_in_another_order() -> None:
    hidden = replaced(BATCH, PREPROCESSING, "noise", seed=3)
    for image, own in zip(BATCH, hidden, strict=True):
        colours, found = (sorted(map(tuple, a.reshape(3, -1).T.tolist())) for a in (image, own))
        assert colours == found
    assert (hidden != BATCH).mean() > 0.9
    assert (hidden == replaced(BATCH, PREPROCESSING, "noise", seed=3)).all()
    assert (hidden != replaced(BATCH, PREPROCESSING, "noise", seed=4)).any()


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_an_image_alone_is_replaced_as_in_a_batch(kind: str) -> None:
    together = replaced(BATCH, PREPROCESSING, kind)
    assert together.dtype == np.float32
    assert together.shape == BATCH.shape
    for i in range(len(BATCH)):
        assert (replaced(BATCH[i : i + 1], PREPROCESSING, kind)[0] == together[i]).all()


@pytest.mark.parametrize("kind", ["blur", "mean", "noise"])
def test_a_uniform_image_stays_exactly_as_it_is(kind: str) -> None:
    uniform = PREPROCESSING.normalise(np.full((30, 40, 3), 77, np.uint8))[None]
    assert (replaced(uniform, PREPROCESSING, kind) == uniform).all()


def test_an_unknown_replacement_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean grey"):
        replaced(BATCH, PREPROCESSING, "gray")
