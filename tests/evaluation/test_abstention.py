"""Answers that may be withheld: the bound holds in simulations whose truth is known, and much is answered."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom

from pellucid.errors import InputError
from pellucid.evaluation.abstention import Abstention, fit_abstention, parse_limit


def images(n: int, rng: np.random.Generator, hard: float = 1.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, answers and confidences of two classes; the confidence is right (calibrated)."""
    p = 1 / (1 + np.exp(-rng.normal(size=n) * 3 * hard))
    labels = (rng.random(n) < p).astype(int)
    predicted = (p >= 0.5).astype(int)
    return labels, predicted, np.where(predicted == 1, p, 1 - p)


def true_rate(rule: Abstention, fresh: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    labels, predicted, confidence = fresh
    given = rule.gives(confidence, predicted)
    judged = given & {"errors": labels >= 0, "fn": labels == 1, "fp": labels == 0}[rule.wrong]
    return float((predicted != labels)[judged].mean()) if judged.any() else 0.0


@pytest.mark.parametrize("asked", ["errors<=0.05", "fn<=0.05", "fp<=0.1"])
def test_the_bound_holds_in_95_of_100_simulations(asked: str) -> None:
    rng = np.random.default_rng(0)
    fresh = images(40_000, rng)
    broken = answered = 0
    for _ in range(500):
        labels, predicted, confidence = images(400, rng)
        rule = fit_abstention(asked, labels=labels, predicted=predicted, confidence=confidence)
        broken += true_rate(rule, fresh) > rule.most
        answered += rule.met
    assert broken <= binom(500, 0.05).ppf(0.99)
    assert answered > 450


def test_the_bound_holds_where_sureness_misleads() -> None:
    """The surest answers are wrong more often than others: the rule then answers little, and keeps its word."""
    rng = np.random.default_rng(1)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        confidence = rng.uniform(0.5, 1, n)
        wrong = rng.random(n) < np.where(confidence > 0.9, 0.06, 0.03)
        labels = rng.integers(0, 2, n)
        return labels, np.where(wrong, 1 - labels, labels), confidence

    fresh, broken = draw(40_000), 0
    for _ in range(500):
        labels, predicted, confidence = draw(500)
        rule = fit_abstention("errors<=0.05", labels=labels, predicted=predicted, confidence=confidence)
        broken += true_rate(rule, fresh) > 0.05
    assert broken <= binom(500, 0.05).ppf(0.99)


def test_the_bound_holds_over_patients() -> None:
    """Images of a patient are right or wrong together; image by image the promise would be broken far too often."""
    rng = np.random.default_rng(2)

    def draw(patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
        labels, predicted, confidence = images(patients, rng)
        unit = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
        return labels[unit], predicted[unit], confidence[unit], [str(u) for u in unit]

    fresh = images(40_000, rng)
    broken = {True: 0, False: 0}
    for _ in range(300):
        labels, predicted, confidence, groups = draw(150)
        for grouped in broken:
            rule = fit_abstention(
                "errors<=0.1",
                labels=labels,
                predicted=predicted,
                confidence=confidence,
                groups=groups if grouped else (),
            )
            broken[grouped] += true_rate(rule, fresh) > 0.1
    assert broken[True] <= binom(300, 0.05).ppf(0.99)
    assert broken[False] > 2 * binom(300, 0.05).ppf(0.99)


def test_nearly_all_that_may_be_answered_is_answered() -> None:
    rng = np.random.default_rng(3)
    labels, predicted, confidence = images(20_000, rng)
    rule = fit_abstention("errors<=0.05", labels=labels, predicted=predicted, confidence=confidence)
    order = np.argsort(-confidence)
    rates = np.cumsum((predicted != labels)[order]) / np.arange(1, 20_001)
    best = (np.flatnonzero(rates <= 0.05)[-1] + 1) / 20_000
    assert best - 0.05 < rule.answered <= best


def test_an_error_among_the_most_confident_answers_does_not_end_it():
    """A wrong label in a thousand images, and it is the most confident answer of all."""
    labels = np.arange(1000) % 2
    predicted = labels.copy()
    predicted[0] = 1 - labels[0]
    rule = fit_abstention("errors<=0.02", labels=labels, predicted=predicted, confidence=np.linspace(1, 0.6, 1000))
    assert rule.answered == 1


def test_the_bound_is_that_of_clopper_and_pearson() -> None:
    rng = np.random.default_rng(4)
    labels, predicted, confidence = images(600, rng)
    rule = fit_abstention("errors<=0.1", labels=labels, predicted=predicted, confidence=confidence)
    given = rule.gives(confidence, predicted)
    wrong, n = int((predicted != labels)[given].sum()), int(given.sum())
    bounds = [beta.ppf(1 - share * 0.05 / 3, wrong + 1, n - wrong) for share in (3, 2, 1)]
    assert any(rule.bound == pytest.approx(b, abs=1e-6) for b in bounds)
    assert rule.bound <= 0.1
    assert rule.answered == n / 600


def test_everything_is_answered_where_that_is_good_enough() -> None:
    labels = np.arange(300) % 2
    rule = fit_abstention("errors<=0.02", labels=labels, predicted=labels, confidence=np.full(300, 0.6))
    assert rule.least == 0
    assert rule.answered == 1
    assert rule.bound == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-9)


def test_too_few_images_promise_nothing_and_say_what_would_do() -> None:
    labels = np.arange(100) % 2
    rule = fit_abstention("errors<=0.02", labels=labels, predicted=labels, confidence=np.linspace(0.6, 1, 100))
    assert not rule.met
    assert rule.needed == 149 == math.ceil(math.log(0.05) / math.log(0.98))
    assert rule.attainable == 0.03
    assert not rule.gives([1.0, 0.99], [0, 1]).any()


def test_ten_images_and_none() -> None:
    labels = np.arange(10) % 2
    rule = fit_abstention("errors<=0.3", labels=labels, predicted=labels, confidence=np.linspace(0.6, 1, 10))
    assert rule.answered == 1
    assert not fit_abstention("fn<=0.1", labels=[], predicted=[], confidence=[]).met


def test_misses_bind_negative_answers_only() -> None:
    rng = np.random.default_rng(5)
    labels, predicted, confidence = images(2000, rng)
    rule = fit_abstention("fn<=0.02", labels=labels, predicted=predicted, confidence=confidence)
    given = rule.gives(confidence, predicted)
    assert given[predicted == 1].all()
    assert 0 < given[predicted == 0].mean() < 1
    one = fit_abstention("fp<=0.02", labels=labels, predicted=predicted, confidence=confidence)
    assert one.gives(confidence, predicted)[predicted == 0].all()


def test_images_that_cannot_be_answered_do_not_count() -> None:
    rng = np.random.default_rng(6)
    labels, predicted, confidence = images(800, rng)
    possible = confidence > 0.8
    rule = fit_abstention("errors<=0.2", labels=labels, predicted=predicted, confidence=confidence, possible=possible)
    assert rule.images == possible.sum()
    assert rule.answered == possible.mean()


def test_ties() -> None:
    """Half the answers are equally sure: they are all given, or all withheld."""
    labels = np.zeros(500, int)
    predicted = (np.arange(500) >= 450).astype(int)
    confidence = np.where(np.arange(500) < 250, 0.9, 0.7)
    rule = fit_abstention("errors<=0.02", labels=labels, predicted=predicted, confidence=confidence)
    assert rule.answered == 0.5


@pytest.mark.parametrize("text", ["errors", "errors<=2", "recall<=0.1", "fn<=0", "errors<=x", "errors<=-0.1", ""])
def test_a_limit_that_cannot_be_read(text: str) -> None:
    with pytest.raises(InputError, match=r"errors<=0\.02"):
        parse_limit(text)


@pytest.mark.parametrize(
    ("text", "plain"), [("Errors <= 2%", "errors<=0.02"), ("fn≤0.01", "fn<=0.01"), ("fp=0.05", "fp<=0.05")]
)
def test_limits_are_read_in_any_form(text: str, plain: str) -> None:
    assert parse_limit(text).text == plain
