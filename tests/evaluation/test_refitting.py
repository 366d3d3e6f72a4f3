"""Refitting a rule to a new place, against simulations whose truth is known."""

import numpy as np
import pytest

from pellucid.errors import DataError, InputError
from pellucid.evaluation.calibration import Calibration
from pellucid.evaluation.operating_point import lower_bound
from pellucid.evaluation.refitting import Labelled, Rule, check_enough, crossfitted, moved_to_mix, refit

OLD = Rule(None, 0.5)


def place(n: int, share: float, seed: int = 0, *, scale: float = 1.0, shift: float = 0.0) -> Labelled:
    """Images of a place where a share is positive: logits are true log-odds at a mix of one half, then distorted."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < share).astype(np.int64)
    # Two normals of variance 2m at -m and m: the log-odds of x at equal priors are x itself.
    own = rng.normal(np.where(labels == 1, 1.5, -1.5), np.sqrt(3.0))
    logits = (own - shift) / scale
    return Labelled(logits[:, None].astype(np.float32), labels, ("",) * n)


def test_a_new_mix_moves_the_log_odds_by_the_log_of_the_priors():
    moved = moved_to_mix(Calibration(method="temperature", scale=0.7, images=10), [0.5, 0.5], [0.9, 0.1], 100)
    assert moved.scale == 0.7
    assert moved.shift == pytest.approx(np.log(0.1 / 0.9))


def test_after_the_mix_is_refitted_probabilities_mean_what_they_say():
    """Bayes' theorem is the second truth: the posterior at the new prior, computed from the densities."""
    images = place(4000, 0.1)
    fitted = refit(OLD, images, ["mix"], task="binary", trained_mix=[0.5, 0.5], asked="youden")
    share = images.labels.mean()
    x = images.logits[:, 0].astype(float)
    density = [np.exp(-((x - m) ** 2) / 6) for m in (-1.5, 1.5)]
    posterior = share * density[1] / (share * density[1] + (1 - share) * density[0])
    np.testing.assert_allclose(fitted.probabilities(images.logits)[:, 1], posterior, atol=1e-5)


def test_a_calibration_finds_scale_and_shift_of_a_distorted_place():
    images = place(20_000, 0.5, scale=2.0, shift=1.0)
    fitted = refit(OLD, images, ["calibration"], task="binary", trained_mix=[0.5, 0.5], asked="youden")
    assert fitted.calibration is not None
    assert fitted.calibration.scale == pytest.approx(2.0, rel=0.08)
    assert fitted.calibration.shift == pytest.approx(1.0, abs=0.1)
    assert fitted.threshold == OLD.threshold


def test_the_bound_on_the_sensitivity_holds_in_nineteen_of_twenty_simulations():
    held = []
    truth = place(200_000, 0.5, seed=999)
    for seed in range(200):
        images = place(100, 0.5, seed)
        fitted = refit(OLD, images, ["threshold"], task="binary", trained_mix=[0.5, 0.5], asked="sensitivity>=0.9")
        sensitivity = fitted.predicted(truth.logits)[truth.labels == 1].mean()
        assert fitted.operating_point is not None
        held.append(sensitivity >= min(0.9, fitted.operating_point.bound or 0.0) - 1e-9)
    assert np.mean(held) >= 0.92  # 0.95 less two standard errors of 200 simulations


def test_figures_are_of_images_that_were_not_fitted_to():
    """With labels drawn at random no threshold has skill: fitted and tested on the same images it would seem to."""
    seeming, tested = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        images = Labelled(rng.normal(size=(60, 1)).astype(np.float32), np.arange(60) % 2, ("",) * 60)
        options = {"task": "binary", "trained_mix": [0.5, 0.5], "asked": "youden"}
        judged = {j.name: j for j in crossfitted(OLD, images, ["threshold"], **options)}
        fitted = refit(OLD, images, ["threshold"], **options)
        seeming.append((fitted.predicted(images.logits) == images.labels).mean())
        tested.append(judged["accuracy"].after)
    assert np.mean(seeming) > 0.56
    assert np.mean(tested) == pytest.approx(0.5, abs=0.04)


def test_a_shifted_place_gains_for_sure_and_groups_stay_whole():
    images = place(400, 0.5, shift=2.0)
    grouped = Labelled(images.logits, images.labels, tuple(f"p{n // 2}" for n in range(400)))
    judged = {
        j.name: j
        for j in crossfitted(OLD, grouped, ["calibration"], task="binary", trained_mix=[0.5, 0.5], asked="youden")
    }
    assert judged["loss"].high < 0
    assert judged["accuracy"].low > 0
    assert judged["accuracy"].difference == pytest.approx(judged["accuracy"].after - judged["accuracy"].before)


@pytest.mark.parametrize(
    ("parts", "task", "words"),
    [
        ([], "binary", "Say what to refit"),
        (["mix", "calibration"], "binary", "one of the two"),
        (["threshold"], "multiclass", "only the calibration"),
        (["mix"], "regression", "no class mix"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, task, words):
    with pytest.raises(InputError, match=words):
        refit(OLD, place(50, 0.5), parts, task=task, trained_mix=[0.5, 0.5], asked="youden")


def test_too_few_images_of_a_class_are_refused():
    with pytest.raises(DataError, match=r"At least 10 independent images .*: well has \d\.$"):
        check_enough(place(40, 0.1), ("ill", "well"))
    check_enough(place(400, 0.5), ("ill", "well"))


@pytest.mark.parametrize("n", [30, 100, 300])
def test_what_is_said_to_be_sure_at_n_images_is_so_in_nineteen_of_twenty(n: int):
    """Rates seen on n images of a class: the true rate lies above the bound with 95 % confidence."""
    rng = np.random.default_rng(n)
    for truth in (0.7, 0.9, 0.97):
        seen, times = np.unique(rng.binomial(n, truth, 2000), return_counts=True)
        held = [truth >= lower_bound(int(k) / n, n) for k in seen]
        assert np.average(held, weights=times) >= 0.93
