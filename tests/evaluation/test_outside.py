import io

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from pellucid.errors import BundleError, InputError
from pellucid.evaluation.flags import read_flag
from pellucid.evaluation.outside import (
    QUANTILE,
    Reference,
    Surroundings,
    all_finite,
    describe_surroundings,
    outside_warning,
    with_threshold,
)


def cloud(n, seed=0, channels=30, rank=6):
    """Features near a plane of `rank` directions, as those of images are."""
    fixed = np.random.default_rng(99).normal(size=(rank, channels))
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, rank)) @ fixed + 0.1 * rng.normal(size=(n, channels)) + 5).astype(np.float32)


def reference(channels: int, threshold: float) -> Reference:
    return Reference(layer="x", channels=channels, trained=50, images=30, threshold=threshold)


def test_with_all_components_it_is_the_mahalanobis_distance():
    train, new = cloud(400, 1, channels=8, rank=8), cloud(5, 2, channels=8, rank=8)
    found = describe_surroundings(train)
    assert len(found.variances) == 8
    inverse = np.linalg.inv(np.cov(train.T.astype(float)) * 399 / 399)
    expected = [mahalanobis(x, train.mean(axis=0, dtype=float), inverse) for x in new.astype(float)]
    assert found.distances(new) == pytest.approx(expected, rel=1e-4)


def test_what_training_images_never_vary_in_is_not_ignored():
    found = describe_surroundings(cloud(200))
    off = np.linalg.svd(cloud(200) - cloud(200).mean(axis=0))[2][-1]
    inside = cloud(1, 7)
    assert found.distances(inside + 3 * off)[0] > 3 * found.distances(inside)[0]


def test_new_images_of_the_kind_are_seldom_flagged_and_others_are():
    flagged = []
    for seed in range(40):
        found = with_threshold(describe_surroundings(cloud(300, 3 * seed)), cloud(120, 3 * seed + 1))
        flagged.append((found.scores(cloud(500, 3 * seed + 2)) > 1).mean())
        assert (found.scores(np.random.default_rng(seed).normal(size=(50, 30)) * 5) > 1).all()
    # Conformal: at most 2.5 % on average, and hardly less.
    assert np.mean(flagged) < 1 - QUANTILE + 0.005
    assert np.mean(flagged) > 0.01


def test_groups_count_once():
    train = cloud(300)
    one_odd_patient = np.concatenate([cloud(100, 1), cloud(60, 2) + 4])
    found = describe_surroundings(train)
    naive = with_threshold(found, one_odd_patient)
    grouped = with_threshold(found, one_odd_patient, [f"p{i}" for i in range(100)] + ["odd"] * 60)
    assert grouped.threshold < naive.threshold
    few = with_threshold(found, cloud(10, 3))
    assert few.threshold == found.distances(cloud(10, 3)).max()


def test_fewer_images_than_channels_have_the_same_components():
    train = cloud(20, channels=30)
    found = describe_surroundings(train)
    standard = (train - found.mean) / found.deviation
    _, singular, directions = np.linalg.svd(standard, full_matrices=False)
    assert found.variances[::-1] == pytest.approx(singular[:4] ** 2 / 19)
    assert np.abs((found.components[::-1] * directions[:4]).sum(axis=1)) == pytest.approx(1)
    assert found.rest == pytest.approx((singular[4:] ** 2).sum() / 19)


def test_a_silent_channel_and_broken_features():
    train = cloud(100)
    train[:, 4] = 0
    found = with_threshold(describe_surroundings(train), train)
    loud = train[:1].copy()
    loud[0, 4] = 1
    assert found.scores(loud)[0] > 1
    broken = train[:2].copy()
    broken[0, 0] = np.nan
    assert found.scores(broken)[0] == np.inf
    assert np.isfinite(found.scores(broken)[1])


def test_it_is_kept_in_a_small_file_without_pickles(tmp_path):
    found = with_threshold(describe_surroundings(cloud(2000, channels=1280, rank=100)), cloud(100, 1, 1280, 100))
    path = tmp_path / "reference.npz"
    path.write_bytes(found.to_bytes())
    assert path.stat().st_size < 1e6
    again = read_flag(path, reference(1280, found.threshold))
    new = cloud(5, 4, 1280, 100)
    assert again.scores(new) == pytest.approx(found.scores(new), rel=1e-3)
    assert found.to_bytes() == found.to_bytes()


def npz(**arrays) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 nothing",
        npz(mean=np.ones(3)),
        npz(**dict.fromkeys(("mean", "deviation", "components", "variances", "rest"), np.ones(3))),
        npz(**dict.fromkeys(("mean", "deviation", "components", "variances", "rest"), np.array([{}]))),
    ],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "reference.npz"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=r"reference\.npz"):
        read_flag(path, reference(3, 1.0))


def test_wrong_input():
    with pytest.raises(InputError, match="At least ten images"):
        describe_surroundings(np.ones((3, 5)))
    found: Surroundings = describe_surroundings(cloud(50))
    with pytest.raises(InputError, match=r"shape \(N, 30\)"):
        found.distances(np.ones((2, 5)))
    with pytest.raises(InputError, match="at least one validation image"):
        with_threshold(found, np.zeros((0, 30)))


def test_the_warning_is_in_words():
    said = outside_warning(("normal", "ill"))
    assert "does not look like the images that the model was trained on (normal, ill)" in said
    assert "means little" in said


def test_large_features_are_finite_though_their_sum_in_float32_is_not() -> None:
    given = np.array([[3e38, 3e38], [np.inf, -np.inf], [1, np.nan], [1, 2]], np.float32)
    assert all_finite(given).tolist() == [True, False, False, True]
