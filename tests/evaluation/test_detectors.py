"""Detectors of unusual images: against slow re-implementations, and what they promise."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from pellucid.errors import BundleError, InputError
from pellucid.evaluation.detectors import (
    NEAREST,
    describe_classes,
    describe_energy,
    describe_neighbours,
)
from pellucid.evaluation.flags import Flag, read_flag
from pellucid.evaluation.outside import Reference, describe_surroundings
from pellucid.evaluation.stand_ins import area_under_flag, best_detector, stand_ins


def cloud(n: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    fixed = np.random.default_rng(99).normal(size=(6, 30))
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 6)) @ fixed + 0.3 * rng.normal(size=(n, 30)) + 5 + shift).astype(np.float32)


def reference(method: str, threshold: float = 1.0) -> Reference:
    return Reference(method=method, layer="x", channels=30, trained=100, images=50, threshold=threshold)


def test_neighbours_are_those_of_scikit_learn():
    train, new = cloud(120), cloud(40, 1)
    found = describe_neighbours(train).distances(new)
    # With 30 channels the plane holds everything, so that the angle is that between whole features.
    slow = NearestNeighbors(n_neighbors=NEAREST, metric="cosine").fit(train - train.mean(axis=0))
    cosine = slow.kneighbors(new - train.mean(axis=0))[0][:, -1]
    assert found == pytest.approx(np.sqrt(2 * cosine), abs=2e-3)  # the rows are kept as float16


def test_images_of_other_things_push_away_what_is_like_them():
    train, others = cloud(120), cloud(60, 2, shift=4)
    plain, taught = describe_neighbours(train), describe_neighbours(train, others[:30])
    home, away = cloud(50, 3), others[30:]
    assert taught.distances(home) == pytest.approx(plain.distances(home), abs=0.2)
    assert area_under_flag(taught.distances(home), taught.distances(away)) >= area_under_flag(
        plain.distances(home), plain.distances(away)
    )
    assert (taught.distances(away) > plain.distances(away)).all()


def test_the_distance_by_class_is_to_the_nearest_mean():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 900)
    centres = 6 * rng.normal(size=(3, 5))
    features = centres[labels] + rng.normal(size=(900, 5))
    found = describe_classes(features, labels).distances(features[:20])
    within = features - np.array([features[labels == k].mean(axis=0) for k in range(3)])[labels]
    inverse = np.linalg.inv(np.cov(within.T))
    means = [features[labels == k].mean(axis=0) for k in range(3)]
    slow = [min(mahalanobis(x, m, inverse) for m in means) for x in features[:20]]
    assert found == pytest.approx(slow, rel=1e-3)


def test_the_energy_is_that_of_the_logits():
    logits = np.random.default_rng(0).normal(size=(50, 4)) * 3
    found = describe_energy(logits)
    assert found.distances(None, logits) == pytest.approx(
        1 - logsumexp(logits, axis=1) + logsumexp(logits, axis=1).max()
    )
    single = np.array([[-9.0], [9.0], [0.1]])
    far = describe_energy(single).distances(None, single)
    assert far[0] == far[1] == 1 < far[2]
    with pytest.raises(InputError):
        found.distances(np.zeros((1, 4)))


@pytest.mark.parametrize("detector", ["mahalanobis", "few", "neighbours", "others", "class", "energy"])
def test_one_image_alone_is_as_far_as_among_others(detector: str) -> None:
    train = np.concatenate([cloud(300), cloud(300, 5) ** 2, cloud(300, 6)], axis=1)
    new = np.concatenate([cloud(20, 1), cloud(20, 7) ** 2, cloud(20, 8, shift=0.5)], axis=1)
    logits = new[:, :3] - 5
    found = {
        "mahalanobis": lambda: describe_surroundings(train),
        "few": lambda: describe_surroundings(train[:, :20]),
        "neighbours": lambda: describe_neighbours(train),
        "others": lambda: describe_neighbours(train, new[10:]),
        "class": lambda: describe_classes(train, np.arange(300) % 3),
        "energy": lambda: describe_energy(train[:, :3] - 5),
    }[detector]()
    given = new[:, :20] if detector == "few" else new
    given = np.concatenate([given, given.mean(axis=0)[None] * 1e25, given[:3]])
    given[-3:, 2] = np.nan, np.inf, -np.inf
    logits = np.concatenate([logits, logits[:1], np.full((3, 3), np.nan, np.float32)])
    with np.errstate(all="ignore"):
        expected = found.distances(given, logits)
        alone = [found.distance(*row) for row in zip(given, logits, strict=True)]
    assert alone == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert np.isfinite(expected[:21]).all()
    assert np.isinf(expected[21:]).all()


def described(method: str, features: np.ndarray, logits: np.ndarray):
    if method == "neighbours":
        return describe_neighbours(features)
    if method == "class":
        return describe_classes(features, np.arange(len(features)) % 2)
    return describe_energy(logits) if method == "energy" else describe_surroundings(features)


@pytest.mark.parametrize("method", ["neighbours", "class", "energy", "mahalanobis"])
def test_few_are_flagged_and_all_is_read_back(method: str, tmp_path: Path):
    shares = []
    for seed in range(30):
        train, validation, new = (cloud(n, 3 * seed + i) for i, n in enumerate((200, 100, 400)))
        logits = [x[:, :3] for x in (train, validation, new)]
        detector = described(method, train, logits[0])
        flag = Flag(detector).fitted(validation, logits[1])
        shares.append((flag.scores(new, logits[2]) > 1).mean())
    assert 0.02 < np.mean(shares) < 0.05
    assert np.quantile(shares, 0.7) <= 0.06  # with 70 % confidence at most 5 %, on 400 new images each
    (tmp_path / "reference.npz").write_bytes(detector.to_bytes())
    again = read_flag(tmp_path / "reference.npz", reference(method, flag.threshold))
    assert again.scores(new, logits[2]) == pytest.approx(flag.scores(new, logits[2]), rel=2e-3)


def test_features_that_are_no_numbers_are_unusual():
    bad = cloud(3, 5)
    bad[1, 2] = np.nan
    for detector in (describe_neighbours(cloud(60)), describe_classes(cloud(60), np.arange(60) % 2)):
        assert np.isinf(detector.distances(bad)).tolist() == [False, True, False]


def test_a_damaged_file_is_refused(tmp_path: Path):
    path = tmp_path / "reference.npz"
    path.write_bytes(describe_surroundings(cloud(50)).to_bytes())
    for method in ("neighbours", "class", "energy"):
        with pytest.raises(BundleError, match="cannot be read as a reference"):
            read_flag(path, reference(method))
    with pytest.raises(BundleError, match="upgrade"):
        read_flag(path, reference("oracle"))


def test_the_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    home, away = rng.integers(0, 9, 80).astype(float), rng.integers(2, 12, 50).astype(float)
    assert area_under_flag(home, away) == pytest.approx(
        roc_auc_score([0] * 80 + [1] * 50, np.concatenate([home, away]))
    )


def test_the_best_detector_is_chosen_by_stand_ins():
    train, home = cloud(200), cloud(60, 1)
    away = {"turned": home[:, ::-1], "bright": home + 8}
    logits = np.zeros((60, 1))
    candidates = {"neighbours": describe_neighbours(train), "energy": describe_energy(np.zeros((200, 1)))}
    name, measured = best_detector(candidates, (home, logits), {k: (v, logits) for k, v in away.items()})
    assert name == "neighbours"
    assert measured["energy"] == {"turned": 0.5, "bright": 0.5}
    assert measured["neighbours"]["turned"] > 0.9


@pytest.mark.parametrize("shape", [(48, 64), (9, 7), (3, 3)])
def test_stand_ins_are_images_of_the_same_size(shape: tuple[int, int]):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape, 3), np.uint8)
    made = stand_ins(images)
    assert set(made) == {"noise", "texture", "crop", "shuffled", "inverted", "faded", "worn"}
    for pixels in made.values():
        assert pixels.shape == images.shape
        assert pixels.dtype == np.uint8
    assert np.array_equal(made["inverted"], 255 - images)
    assert all(np.array_equal(a, b) for a, b in zip(stand_ins(images).values(), made.values(), strict=True))
