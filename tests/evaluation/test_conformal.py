"""Prediction sets: against closed forms, MAPIE, and the distribution that their coverage must have."""

import math

import numpy as np
import pytest
from scipy.stats import betabinom, binom

from pellucid.errors import InputError
from pellucid.evaluation.conformal import (
    ClassSets,
    conformal_quantile,
    coverage_band,
    covered,
    fit_interval,
    fit_sets,
    needed,
    set_scores,
)


def table(n: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and probabilities (n, classes) of a model that is right in most cases and too sure of itself."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * 1.5
    logits[np.arange(n), labels] += 2
    shares = np.exp(2 * logits)
    return labels, shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("n", "coverage"), [(9, 0.9), (10, 0.9), (99, 0.95), (57, 0.8), (200, 0.99)])
def test_the_quantile_is_the_order_statistic(n: int, coverage: float) -> None:
    scores = np.random.default_rng(n).permutation(n).astype(float)
    assert conformal_quantile(scores, coverage) == math.ceil(round((n + 1) * coverage, 9)) - 1


def test_too_few_scores_give_no_finite_quantile() -> None:
    assert conformal_quantile(np.arange(8.0), 0.9) == math.inf
    assert conformal_quantile(np.arange(9.0), 0.9) == 8
    assert conformal_quantile([], 0.9) == math.inf
    assert [needed(c) for c in (0.9, 0.95, 0.99, 0.8)] == [10, 20, 100, 5]


def test_a_group_counts_once_however_many_images_it_has() -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    groups = [str(i) for i in range(9)]
    twice = np.concatenate([scores, scores]), [*groups, *groups]
    for coverage in (0.3, 0.5, 0.77, 0.9):
        assert conformal_quantile(*twice[:1], coverage, twice[1]) == conformal_quantile(scores, coverage, groups)
    assert (
        conformal_quantile(twice[0], 0.95, twice[1]) == math.inf
    )  # 18 images would have been enough; 9 groups are not


def test_the_grouped_quantile_is_the_weighted_one() -> None:
    """Against the definition: the least score at or below which lies the share of (1/n_g)-weighted images."""
    rng = np.random.default_rng(1)
    groups = [f"g{g}" for g in rng.integers(0, 40, 150)]
    scores = rng.normal(size=150)
    sizes = {g: groups.count(g) for g in groups}
    wanted = (len(sizes) + 1) * 0.85
    expected = next(
        s
        for s in sorted(scores)
        if sum(1 / sizes[g] for x, g in zip(scores, groups, strict=True) if x <= s) >= wanted - 1e-9
    )
    assert conformal_quantile(scores, 0.85, groups) == expected


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_scores_against_loops(score: str) -> None:
    _, p = table(40, 4)
    slow = np.zeros_like(p)
    for i, row in enumerate(p):
        for k, own in enumerate(row):
            above = [x for x in row if x > own]
            slow[i, k] = 1 - own if score == "lac" else sum(above)
            if score == "raps":
                slow[i, k] += 0.1 * max(0, len(above) + 1 - 2)
    assert np.allclose(set_scores(p, score), slow)


class Prepared:
    """A classifier as MAPIE takes it, whose images are their probabilities."""

    def __init__(self, classes: int) -> None:
        self.classes_ = np.arange(classes)

    def fit(self, x: object, y: object) -> "Prepared":
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=1)

    def __sklearn_is_fitted__(self) -> bool:
        return True


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_are_those_of_mapie(score: str, coverage: float) -> None:
    """Its APS draws one uniform number for each image that it calibrates on; we take the same ones."""
    mapie = pytest.importorskip("mapie.classification")
    labels, p = table(300, 4)
    new = table(500, 4, seed=1)[1]
    theirs = mapie.SplitConformalClassifier(
        Prepared(4), confidence_level=coverage, conformity_score=score, prefit=True, random_state=3
    )
    theirs.conformalize(p, labels)
    last = {"include_last_label": True} if score == "aps" else None
    wanted = theirs.predict_set(new, conformity_score_params=last)[1][:, :, 0]
    drawn = np.random.RandomState(3).uniform(size=(300, 1))
    own = set_scores(p, score, left_out=drawn)[np.arange(300), labels]
    assert np.array_equal(set_scores(new, score) <= conformal_quantile(own, coverage), wanted)
    if score == "lac":
        assert np.array_equal(fit_sets(labels, p, coverage=coverage).members(new, never_empty=False), wanted)


def in_band(covers: list[int], fitted: int, coverage: float, new: int) -> None:
    """The counts of 200 re-splits are as often outside the beta-binomial's 95 % band as chance allows."""
    k = math.ceil(round((fitted + 1) * coverage, 9))
    law = betabinom(new, k, fitted + 1 - k)
    low, high = law.ppf([0.025, 0.975])
    outside = sum(not low <= c <= high for c in covers)
    assert outside <= binom(len(covers), 0.05).ppf(0.999)
    spread = law.std() / math.sqrt(len(covers))
    assert abs(np.mean(covers) - law.mean()) < 4 * spread


@pytest.mark.parametrize("score", ["lac", "aps", "raps"])
def test_coverage_over_new_samples_lies_in_the_beta_binomial_band(score: str) -> None:
    """Fresh images every time: then the law is exact."""
    covers = []
    for seed in range(200):
        labels, p = table(400, 5, seed)
        scores = set_scores(p, score, left_out=np.random.default_rng(seed).random((400, 1)))
        own = scores[np.arange(400), labels]
        covers.append(int((own[100:] <= conformal_quantile(own[:100], 0.9)).sum()))
    in_band(covers, 100, 0.9, 300)


def test_class_conditional_coverage_lies_in_the_band_of_each_class() -> None:
    covers: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for seed in range(200):
        labels, p = table(900, 3, seed)
        p[:, 2] *= 0.3  # a class that the model does not like
        p /= p.sum(axis=1, keepdims=True)
        fitted = np.concatenate([np.flatnonzero(labels == k)[:60] for k in range(3)])
        rule = fit_sets(labels[fitted], p[fitted], coverage=0.9, by="class")
        assert rule.images == (60, 60, 60)
        for k, counts in covers.items():
            rows = np.flatnonzero(labels == k)[60:260]
            counts.append(int(covered(rule.members(p[rows], never_empty=False), labels[rows]).sum()))
    for counts in covers.values():
        in_band(counts, 60, 0.9, 200)


def test_marginal_sets_fail_the_class_that_the_model_does_not_like() -> None:
    labels, p = table(4000, 3)
    p[:, 2] *= 0.1
    p /= p.sum(axis=1, keepdims=True)
    rates = {}
    for by in ("all", "class"):
        rule = fit_sets(labels[:2000], p[:2000], coverage=0.9, by=by)
        inside = covered(rule.members(p[2000:]), labels[2000:])
        rates[by] = inside[labels[2000:] == 2].mean()
    assert rates["all"] < 0.85 < rates["class"]


def test_every_named_subgroup_is_covered() -> None:
    rng = np.random.default_rng(3)
    labels, p = table(4000, 3)
    worse = rng.random(4000) < 0.2
    mistaken = worse & (rng.random(4000) < 0.4)
    p[mistaken] = np.roll(p[mistaken], 1, axis=1)
    kinds = np.where(worse, "old scanner", "new scanner").tolist()
    rule = fit_sets(labels[:2000], p[:2000], coverage=0.9, by="subgroup", subgroups=kinds[:2000])
    plain = fit_sets(labels[:2000], p[:2000], coverage=0.9)
    inside, before = (covered(r.members(p[2000:]), labels[2000:]) for r in (rule, plain))
    old = worse[2000:]
    assert before[old].mean() < 0.87
    for kind in (old, ~old):
        spread = math.sqrt(0.9 * 0.1 * (1 / sum(worse[:2000] == kind[0]) + 1 / sum(kind)))
        assert inside[kind].mean() > 0.9 - 3 * spread
    assert inside[old].mean() > before[old].mean() + 0.02


def test_images_of_a_patient_do_not_count_twice() -> None:
    """Patients with many images, all alike: image by image the promise is broken more often than by patient."""
    rng = np.random.default_rng(0)
    short = {"patients": 0, "images": 0}
    for _ in range(300):
        sizes = rng.choice([1, 40], 60, p=[0.8, 0.2])
        unit = np.repeat(np.arange(60), sizes)
        level = rng.normal(size=60) + (sizes > 1)
        scores = level[unit] + 0.01 * rng.normal(size=len(unit))
        fresh = rng.normal(size=400) + (rng.random(400) < 0.2)
        for name, groups in (("patients", [str(u) for u in unit]), ("images", [])):
            short[name] += np.mean(fresh <= conformal_quantile(scores, 0.8, groups))
    assert short["patients"] / 300 == pytest.approx(49 / 61, abs=0.012)
    assert abs(short["images"] / 300 - 0.8) > 0.03


def test_a_class_that_is_missing_belongs_to_every_set() -> None:
    labels, p = table(200, 3)
    rows = labels != 1
    rule = fit_sets(labels[rows], p[rows], coverage=0.9, by="class")
    assert rule.images[1] == 0
    assert rule.thresholds[1] is None
    assert rule.members(p)[:, 1].all()
    assert fit_sets(labels[rows], p[rows], coverage=0.9).thresholds[1] is not None


def test_ten_validation_images() -> None:
    labels, p = table(10, 2)
    rule = fit_sets(labels, p, coverage=0.9)
    assert rule.thresholds[0] == pytest.approx(set_scores(p, "lac")[np.arange(10), labels].max(), rel=1e-5)
    assert fit_sets(labels, p, coverage=0.95).thresholds == (None, None)


def test_sets_can_be_empty_and_need_not() -> None:
    rule = ClassSets(score="lac", coverage=0.9, thresholds=(0.05, 0.05), images=(50, 50))
    p = np.array([[0.5, 0.5], [0.96, 0.04], [0.3, 0.7]])
    assert rule.members(p, never_empty=False).sum(axis=1).tolist() == [0, 1, 0]
    assert rule.members(p).tolist() == [[True, False], [True, False], [False, True]]


def test_ties_are_all_in() -> None:
    p = np.full((30, 2), 0.5)
    rule = fit_sets(np.arange(30) % 2, p, coverage=0.9)
    assert rule.members(p).all()


def test_intervals_of_a_regression_cover() -> None:
    """Also where the residuals grow with the difficulty, for which only the normalised interval is right everywhere."""
    rng = np.random.default_rng(0)
    plain, normalised, hard = [], [], []
    for _ in range(200):
        difficulty = rng.uniform(0.1, 2, 400)
        target = rng.random(400)
        output = target + difficulty * rng.normal(size=400) * 0.2
        a, b = slice(0, 100), slice(100, 400)
        for counts, scale in ((plain, None), (normalised, difficulty)):
            rule = fit_interval(target[a], output[a], coverage=0.9, difficulty=None if scale is None else scale[a])
            low, high = rule.of(output[b], 1.0 if scale is None else scale[b])
            inside = (low <= target[b]) & (target[b] <= high)
            counts.append(int(inside.sum()))
            if scale is not None:
                hard.append(inside[difficulty[b] > 1.5].mean())
    in_band(plain, 100, 0.9, 300)
    in_band(normalised, 100, 0.9, 300)
    assert np.mean(hard) == pytest.approx(0.9, abs=0.02)


def test_intervals_are_those_of_mapie() -> None:
    regression = pytest.importorskip("mapie.regression")
    rng = np.random.default_rng(5)
    x, target = rng.random((150, 1)), rng.random(150)

    class Given(Prepared):
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x[:, 0]

    theirs = regression.SplitConformalRegressor(Given(2), confidence_level=0.9, prefit=True).conformalize(x, target)
    wanted = theirs.predict_interval(x)[1][:, :, 0]
    ours = fit_interval(target, x[:, 0], coverage=0.9)
    assert np.allclose(np.column_stack(ours.of(x[:, 0])), wanted, atol=2e-5)
    assert fit_interval(target[:8], x[:8, 0], coverage=0.9) is None


def test_the_band_is_the_beta_binomial() -> None:
    band = coverage_band(100, 0.9, 300)
    assert band.mean == pytest.approx(91 / 101)
    rng = np.random.default_rng(0)
    seen = [np.mean(rng.random(300) <= conformal_quantile(rng.random(100), 0.9)) for _ in range(2000)]
    assert np.quantile(seen, [0.025, 0.975]) == pytest.approx([band.low, band.high], abs=0.008)
    assert coverage_band(5, 0.9, 10).low == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: conformal_quantile([1.0], 1.5),
        lambda: conformal_quantile([math.nan], 0.9),
        lambda: fit_sets([0, 1], [[0.5, 0.5]]),
        lambda: fit_sets([2], [[0.5, 0.5]]),
        lambda: set_scores([[1.0]], "lac"),
        lambda: fit_interval([1.0], [1.0], difficulty=[0.0]),
        lambda: fit_interval([1.0], [[1.0]]),
    ],
)
def test_what_does_not_fit_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        wrong()
