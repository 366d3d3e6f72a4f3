"""The second head: its agreement with a model, and the line of losses of sources that were kept out."""

import numpy as np
import pytest

from pellucid.evaluation.second_head import (
    AnsweredSide,
    KeptOut,
    agreement_at_home,
    agreement_elsewhere,
    loss_line,
    measure_kept_out,
)
from pellucid.evaluation.unlabelled import AnsweredImages, judge_unlabelled


def kept(loss: float, disagreement: float, apart: float = 0.7) -> KeptOut:
    return KeptOut(
        loss=loss, disagreement=disagreement, apart=apart, error=(0.02, 0.1), temperature=(1.0, 1.5), images=200
    )


def place(n: int, seed: int, *, moved: float = 0.0, lost: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, a model's log-odds and labels: the model reads the second column, which loses its meaning elsewhere."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    features = rng.normal(size=(n, 12))
    features[:, 0] += 3 * (labels - 0.5)
    told = np.where(rng.random(n) < lost, 1 - labels, labels)
    features[:, 1] += 4 * (told - 0.5)
    features[:, 2] += moved
    return features, 3 * features[:, 1], labels


def side(given: tuple[np.ndarray, np.ndarray, np.ndarray]) -> AnsweredSide:
    features, odds, labels = given
    return AnsweredSide(np.stack([np.zeros(len(odds)), odds], axis=1), features, labels, np.arange(len(labels)))


def test_the_line_is_least_squares_drawn_towards_one() -> None:
    found = loss_line([kept(0.1, 0.05, 0.6), kept(0.06, 0.04, 0.8)])
    assert found is not None
    assert found.slope == pytest.approx((0.1 * 0.05 + 0.06 * 0.04 + 0.005) / (0.05**2 + 0.04**2 + 0.005))
    assert (found.farthest, found.sources) == (0.8, 2)
    assert loss_line([]) is None


def test_agreement_falls_where_the_model_errs_more_often() -> None:
    home, same, worse = side(place(600, 0)), side(place(600, 1)), side(place(600, 2, moved=1.0, lost=0.2))
    at_home = agreement_at_home(home).mean()
    assert agreement_elsewhere(home, same.features, same.answers).mean() == pytest.approx(at_home, abs=0.04)
    found = measure_kept_out(home, worse)
    assert found is not None
    assert found.loss > 0.12
    assert found.disagreement > 0.05
    assert found.apart > 0.6
    assert found.error[1] > found.error[0]


def test_moved_images_have_an_estimate_only_by_sources_that_were_kept_out() -> None:
    """The truth lies in the interval of the estimate, and the usual one is too good."""
    home = place(800, 3)
    lines = [measure_kept_out(side(home), side(place(600, 10 + k, moved=0.8, lost=0.03 * k))) for k in range(6)]
    features, odds, labels = place(600, 30, moved=0.8, lost=0.08)

    def shown(odds: np.ndarray, features: np.ndarray) -> AnsweredImages:
        positive = 1 / (1 + np.exp(-odds))
        return AnsweredImages(np.stack([1 - positive, positive], axis=1), features)

    def judged(of: list[KeptOut]):
        return judge_unlabelled(shown(home[1], home[0]), home[2], shown(odds, features), kept=of, resamples=50)

    truth = ((odds > 0) == labels).mean()
    assert judged([]).estimate is None
    found = judged([line for line in lines if line is not None])
    assert found.moved
    if found.estimate is not None:
        assert found.estimate.low <= truth <= found.estimate.high
        assert abs(found.estimate.value - truth) < 0.1
    assert found.accuracy[1].value > truth
