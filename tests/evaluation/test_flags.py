"""The flag on unusual images: how often it errs, several detectors as one, and what is read back."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pellucid.errors import BundleError
from pellucid.evaluation.detectors import describe_classes, describe_energy, describe_neighbours
from pellucid.evaluation.flags import FLAGGED, SURE, Flag, read_flag, sure_distance
from pellucid.evaluation.joint import LOOKING, Joint, describe_looks, joined
from pellucid.evaluation.looks import LOOKS
from pellucid.evaluation.outside import Reference, describe_surroundings

WEIGHTS = (1.5, 1.0, 0.5, 2.0)


def images(n: int, seed: int, shift: float = 0.0, other_look: float = 0.0) -> np.ndarray:
    """Features (n, 12) with looks behind them."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(n, 12)) + shift, rng.normal(size=(n, LOOKS)) + other_look], axis=1)


def together(train: np.ndarray) -> Joint:
    features, looks = train[:, :12], train[:, 12:]
    parts = {
        "neighbours": describe_neighbours(features),
        "class": describe_classes(features, np.arange(len(train)) % 2),
    }
    parts |= {"energy": describe_energy(features[:, :3]), LOOKING: describe_looks(looks)}
    return joined(parts, dict(zip(parts, WEIGHTS, strict=True)))


def test_the_distance_is_the_order_statistic_that_wilks_gives() -> None:
    """Of n images k may lie beyond, for the largest k that a binomial with 5 % gives with a probability of 10 %."""
    for n in (45, 60, 120, 500, 2000):
        distances = np.random.default_rng(n).permutation(n).astype(float) + 1
        may = max(k for k in range(n) if binom.cdf(k, n, 0.05) <= 0.1)
        assert sure_distance(distances, (), 0.95, 0.9) == pytest.approx(n - may, rel=2e-5)
    few = np.arange(1.0, 41.0)
    assert sure_distance(few, (), 0.95, 0.9) == pytest.approx(40, rel=2e-5)  # 45 images would be enough to be sure


def test_at_most_five_of_a_hundred_are_flagged_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    for n in (60, 120, 400):
        more = sum(1 - sure_distance(rng.random(n), (), FLAGGED, SURE) > 1 - FLAGGED for _ in range(500))
        assert more <= binom(500, 1 - SURE).ppf(0.99)


def test_the_promise_holds_over_patients() -> None:
    """Patients with many alike images: image by image it would be broken far too often."""
    rng = np.random.default_rng(1)
    more = {True: 0, False: 0}
    for _ in range(300):
        unit = np.repeat(np.arange(100), rng.integers(1, 12, 100))
        distances = rng.random(100)[unit] + 1e-6 * rng.random(len(unit))
        for grouped in more:
            limit = sure_distance(distances, [str(u) for u in unit] if grouped else (), FLAGGED, 0.9)
            more[grouped] += 1 - limit > 1 - FLAGGED
    assert more[True] <= binom(300, 0.1).ppf(0.99)
    assert more[False] > 1.5 * more[True]


def test_equal_distances_are_beyond_together() -> None:
    distances = np.array([1.0] * 100 + [2.0] * 20)
    assert sure_distance(distances, (), 0.95, 0.9) == pytest.approx(2.0, rel=2e-5)


def test_the_joint_distance_is_the_root_mean_square_of_scaled_distances() -> None:
    train, home, new = images(200, 0), images(100, 1), images(10, 2, 0.5)
    logits = [x[:, :3] for x in (home, new)]
    found = together(train).fitted(home, logits[0])
    surprises = []
    for name, part in found.parts.items():
        own, other = (x[:, 12:] if name == LOOKING else x[:, :12] for x in (home, new))
        near, far = np.log(part.distances(own, logits[0])), np.log(part.distances(other, logits[1]))
        surprises.append((far - np.median(near)) / (np.quantile(near, 0.975) - np.median(near)))
    scaled = np.exp(surprises)
    assert found.distances(new, logits[1]) == pytest.approx(np.sqrt(np.average(scaled**2, axis=0, weights=WEIGHTS)))


def test_one_image_alone_is_as_far_as_among_others() -> None:
    train, home, new = images(200, 0), images(100, 1), images(10, 2, 0.5).astype(np.float32)
    found = together(train).fitted(home, home[:, :3])
    new[3, 5] = np.nan
    alone = [found.distance(image, image[:3]) for image in new]
    assert alone == pytest.approx(found.distances(new, new[:, :3]), rel=1e-5)
    assert np.isinf(alone[3])
    energetic = joined({name: found.parts[name] for name in ("energy", LOOKING)}).fitted(home, home[:, :3])
    alone = [energetic.distance(image, image[:3]) for image in new]
    assert alone == pytest.approx(energetic.distances(new, new[:, :3]), rel=1e-5)


def test_rare_directions_of_looks_count_less_than_in_mahalanobis_distance() -> None:
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(500, LOOKS)) * 0.2
    looks[:, 0] = 0  # grey films
    looks[:, 2] = looks[:, 1] + 0.01 * rng.normal(size=500)
    found = describe_looks(looks)
    mean, deviation = looks.mean(axis=0), np.maximum(looks.std(axis=0), 0.01)
    standard = (looks - mean) / deviation
    variances, directions = np.linalg.eigh(standard.T @ standard / 499)
    new = rng.normal(size=(20, LOOKS)) * 0.3
    along = ((new - mean) / deviation) @ directions
    wanted = np.sqrt((along**2 / (0.95 * variances + 0.05) ** 0.75).sum(axis=1))
    assert found.distances(new) == pytest.approx(wanted)
    slightly = looks[:1].copy()
    slightly[0, 0] = 0.004  # another export: one level of colour
    assert found.distances(slightly)[0] < 1.3 * found.distances(looks[:1])[0]


def test_what_one_part_misses_another_finds() -> None:
    train, home = images(300, 0), images(150, 1)
    flag = Flag(together(train)).fitted(home, home[:, :3])
    assert flag.looks == LOOKS
    alone = Flag(describe_neighbours(train[:, :12])).fitted(home[:, :12], home[:, :3])
    assert alone.looks == 0
    other = images(200, 3, other_look=1.5)
    assert (flag.scores(other, other[:, :3]) > 1).mean() > 0.95 > 0.2 > (alone.scores(other[:, :12]) > 1).mean()
    shares = [(flag.scores(new, new[:, :3]) > 1).mean() for new in (images(400, seed) for seed in range(4, 8))]
    assert np.mean(shares) <= 0.07


def test_no_number_is_unusual_and_a_known_image_is_not() -> None:
    train, home = images(100, 0), images(50, 1)
    found = together(train).fitted(home, home[:, :3])
    broken = home[:2].copy()
    broken[0, 3] = np.nan
    assert np.isinf(found.distances(broken, home[:2, :3])).tolist() == [True, False]
    assert np.isfinite(found.distances(train[:1], home[:1, :3])).all()


def reference(method: str, threshold: float) -> Reference:
    return Reference(method=method, layer="x", channels=12, trained=100, images=50, threshold=threshold)


def test_scales_are_numbers_whatever_a_network_gives() -> None:
    """Of a network that learnt nothing distances are 0, and of one whose weights ran away they are no numbers."""
    train = images(60, 0)
    home = np.concatenate([train[:40], np.full((20, train.shape[1]), np.nan)])
    fitted = together(train).fitted(home, train[:, :2])
    assert np.isfinite(fitted.usual).all()
    assert np.isfinite(fitted.spread).all()
    assert (fitted.spread > 0).all()
    assert np.isfinite(fitted.distances(images(5, 1), np.zeros((5, 2)))).all()


def test_it_is_read_back(tmp_path: Path) -> None:
    train, home, new = images(150, 0), images(80, 1), images(20, 2, 1.0)
    flag = Flag(together(train)).fitted(home, home[:, :3])
    path = tmp_path / "reference.npz"
    path.write_bytes(flag.detector.to_bytes())
    again = read_flag(path, reference("joint", flag.threshold))
    assert again.looks == LOOKS
    assert again.scores(new, new[:, :3]) == pytest.approx(flag.scores(new, new[:, :3]), rel=5e-3)
    path.write_bytes(describe_surroundings(train).to_bytes())
    with pytest.raises(BundleError, match="cannot be read as a reference"):
        read_flag(path, reference("joint", 1.0))
