import numpy as np
import pytest
from tests.black_boxes import BlackBox, ProbabilitiesOnly, bent, preprocessing_of, scene

from pellucid.errors import InputError
from pellucid.explanation.occlusion import OcclusionSettings, occlusion, windows
from pellucid.explanation.replacement import REPLACEMENTS, replaced

SIZE = (21, 28)
SETTINGS = OcclusionSettings(window=0.25, stride=0.12)


@pytest.mark.parametrize("replacement", REPLACEMENTS)
def test_the_map_is_that_of_a_slow_loop(replacement: str) -> None:
    function, batch = bent(SIZE, 3), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE), 3)
    hidden = replaced(batch, box.preprocessing, replacement)
    sums, counts = np.zeros((2, *SIZE)), np.zeros(SIZE)
    for top in range(0, 21 - 5 + 3, 3):
        for left in range(0, 28 - 7 + 3, 3):
            picture = batch.copy()
            area = np.s_[..., top : top + 5, left : left + 7]
            picture[area] = hidden[area]
            loss = function(batch) - function(picture)
            sums[0][area] += loss[0, 0]
            sums[1][area] += loss[0, 2]
            counts[area] += 1
    settings = OcclusionSettings(window=0.25, stride=0.12, replacement=replacement, batch_size=13)
    maps = occlusion(box, batch, ("ant", "cat"), "logit", settings)
    np.testing.assert_allclose(maps.values[0], sums / counts, atol=2e-5)
    assert maps.settings[0]["window_pixels"] == [5, 7]
    assert maps.settings[0]["stride_pixels"] == [3, 3]
    assert sum(box.batches) == 1 + maps.settings[0]["samples"]
    assert max(box.batches) <= 13


@pytest.mark.parametrize("share", [(0.25, 0.12), (0.3, 0.3), (0.2, 0.05)])
def test_captum_finds_the_same_map(share: tuple[float, float]) -> None:
    captum = pytest.importorskip("captum.attr")
    import torch

    function, batch = bent(SIZE), scene(*SIZE)
    box = BlackBox(function, preprocessing_of(*SIZE))
    maps = occlusion(box, batch, "bee", None, OcclusionSettings(window=share[0], stride=share[1], replacement="mean"))
    window, stride = maps.settings[0]["window_pixels"], maps.settings[0]["stride_pixels"]
    peer = captum.Occlusion(lambda x: torch.from_numpy(function(x.numpy()))[:, 0])
    expected = peer.attribute(
        torch.from_numpy(batch),
        sliding_window_shapes=(3, *window),
        strides=(3, *stride),
        baselines=torch.from_numpy(replaced(batch, box.preprocessing, "mean")),
    )
    np.testing.assert_allclose(maps.values[0, 0], expected[0, 0].numpy(), atol=2e-5)


def test_windows_cover_every_pixel_and_the_last_is_cut_off() -> None:
    found = windows(10, 4, 3)
    assert [np.flatnonzero(row).tolist() for row in found] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert [np.flatnonzero(row).tolist() for row in windows(9, 4, 3)][-1] == [6, 7, 8]
    assert windows(3, 5, 2).tolist() == [[True, True, True]]
    for length in range(3, 40):
        for window in range(1, length + 1):
            for stride in range(1, window + 1):
                assert windows(length, window, stride).any(axis=0).all()


def test_the_default_window_is_32_by_32_pixels_of_224_in_steps_of_16() -> None:
    box = BlackBox(lambda x: x[:, :1, 0, 0], preprocessing_of(224, 224))
    settings = occlusion(box, scene(224, 224), "bee", None, OcclusionSettings()).settings[0]
    assert settings == {"samples": 170, "window_pixels": [32, 32], "stride_pixels": [16, 16]}


@pytest.mark.parametrize("kind", [BlackBox, ProbabilitiesOnly])
def test_repeats_are_equal_to_the_bit_alone_and_in_a_batch(kind: type[ProbabilitiesOnly]) -> None:
    box, batch = kind(bent(SIZE, 3), preprocessing_of(*SIZE), 3), scene(*SIZE, images=2)
    together = occlusion(box, batch, None, None, SETTINGS)
    assert (together.values == occlusion(box, batch, None, None, SETTINGS).values).all()
    for i in range(2):
        assert (occlusion(box, batch[i : i + 1], None, None, SETTINGS).values[0] == together.values[i]).all()


def test_a_uniform_image_has_no_evidence() -> None:
    uniform = preprocessing_of(*SIZE).normalise(np.full((1, *SIZE, 3), 120, np.uint8))
    assert not occlusion(BlackBox(bent(SIZE), preprocessing_of(*SIZE)), uniform, "bee", None, SETTINGS).values.any()


@pytest.mark.parametrize("settings", [{"window": 0.0}, {"stride": 1.0}, {"stride": 0.2, "window": 0.1}])
def test_unsuitable_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        OcclusionSettings(**settings)
