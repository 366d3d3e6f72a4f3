import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.black_boxes import preprocessing_of, scene

from pellucid.errors import InputError
from pellucid.explanation.superpixels import superpixels, visible_pixels


def pixels_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return preprocessing_of(height, width).to_pixels(scene(height, width, seed=seed)[0])


@settings(max_examples=25, deadline=None)
@given(
    pixels=st.tuples(st.integers(8, 40), st.integers(8, 40)).flatmap(
        lambda size: arrays(np.uint8, (*size, 3), elements=st.integers(0, 255), fill=st.just(200))
    ),
    count=st.integers(1, 80),
)
def test_numbers_run_from_0_without_a_gap_and_each_piece_is_connected(pixels: np.ndarray, count: int) -> None:
    labels = superpixels(pixels, count)
    assert labels.shape == pixels.shape[:2]
    found = np.unique(labels)
    assert found.tolist() == list(range(len(found)))
    for number in found:
        assert scipy.ndimage.label(labels == number)[1] == 1


@pytest.mark.parametrize("count", [10, 60, 150])
def test_the_number_of_pieces_is_near_what_was_asked(count: int) -> None:
    assert 0.6 * count <= superpixels(pixels_of(224, 224), count).max() + 1 <= 1.5 * count


def test_a_uniform_image_is_cut_into_a_grid() -> None:
    labels = superpixels(np.full((60, 80, 3), 90, np.uint8), 12)
    assert labels.max() + 1 == 12
    assert np.bincount(labels.ravel()).min() > 0.5 * 60 * 80 / 12


def test_pieces_follow_edges() -> None:
    pixels = np.zeros((48, 48, 3), np.uint8)
    pixels[:, 21:] = 255
    labels = superpixels(pixels, 16)
    assert not set(labels[:, :21].ravel()) & set(labels[:, 21:].ravel())


def test_one_superpixel_is_the_whole_image() -> None:
    assert not superpixels(np.full((20, 30, 3), 7, np.uint8), 1).any()


def test_the_same_image_gives_the_same_pieces() -> None:
    assert (superpixels(pixels_of(48, 64), 30) == superpixels(pixels_of(48, 64), 30)).all()


def test_every_superpixel_can_be_hidden_the_first_and_the_last_too() -> None:
    labels = superpixels(pixels_of(48, 64), 30)
    count = labels.max() + 1
    masks = visible_pixels(~np.eye(count, dtype=bool), labels)
    assert masks.dtype == np.float32
    for number in range(count):
        assert ((masks[number] == 0) == (labels == number)).all()
        assert (masks[number] == 0).any()


def test_no_superpixels_are_refused() -> None:
    with pytest.raises(InputError, match="1 or more"):
        superpixels(np.zeros((8, 8, 3), np.uint8), 0)
