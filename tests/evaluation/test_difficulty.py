"""Intervals that are narrow where a regression is good: coverage, widths, and MAPIE as the judge."""

import numpy as np
import pytest
from tests.evaluation.test_conformal import Prepared, in_band

from pellucid.errors import InputError
from pellucid.evaluation.conformal import ScoreInterval, fit_interval
from pellucid.evaluation.difficulty import Difficulty, fit_difficulty, halves


def draw(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, outputs, outside scores: errors grow with the output, and with the distance from the training images."""
    output, outside = rng.random(n), rng.lognormal(-0.5, 0.4, n)
    spread = 0.02 * np.exp(2.5 * output) * outside
    return output + spread * rng.normal(size=n), output, outside


def test_the_line_finds_what_makes_errors_large() -> None:
    target, output, outside = draw(4000, np.random.default_rng(0))
    found = fit_difficulty(target, output, outside)
    truth = np.exp(2.5 * output) * outside
    assert np.corrcoef(np.log(found.of(output, outside)), np.log(truth))[0, 1] > 0.99
    assert found.of([5.0], [1e6]) == pytest.approx([found.most])
    assert found.of([-5.0], [0.0])[0] >= found.least


def test_intervals_cover_and_are_narrower_where_the_model_is_good() -> None:
    rng = np.random.default_rng(1)
    counts, easy, plain_easy, widths = [], [], [], []
    for _ in range(200):
        (t, y, o), (new, given, far) = draw(200, rng), draw(300, rng)
        own, left = halves(200)
        assert left == 100
        line = fit_difficulty(t[own], y[own], o[own])
        rule = fit_interval(t[~own], y[~own], coverage=0.9, difficulty=line.of(y[~own], o[~own]))
        rule = rule.model_copy(update={"difficulty": line})
        low, high = rule.around(given, far)
        inside = (low <= new) & (new <= high)
        counts.append(int(inside.sum()))
        plain = fit_interval(t, y, coverage=0.9)
        low_plain, high_plain = plain.around(given, far)
        good = given < 0.3
        easy.append(inside[good].mean())
        plain_easy.append(((low_plain <= new) & (new <= high_plain))[good].mean())
        widths.append((high - low).mean() / (high_plain - low_plain).mean())
    in_band(counts, 100, 0.9, 300)
    assert 0.88 < np.mean(easy) < 0.97 < 0.99 < np.mean(plain_easy)
    assert np.mean(widths) < 0.9


def test_normalised_intervals_are_those_of_mapie() -> None:
    regression = pytest.importorskip("mapie.regression")
    residuals = pytest.importorskip("mapie.conformity_scores")
    rng = np.random.default_rng(5)
    target, output, _ = draw(150, rng)
    line = fit_difficulty(target, output)

    class Given(Prepared):
        def predict(self, x: np.ndarray) -> np.ndarray:
            return x[:, 0]

    class Line(Given):
        def predict(self, x: np.ndarray) -> np.ndarray:
            return line.of(x[:, 0])

    score = residuals.ResidualNormalisedScore(residual_estimator=Line(2).fit(None, None), prefit=True, sym=True)
    theirs = regression.SplitConformalRegressor(Given(2), confidence_level=0.9, conformity_score=score, prefit=True)
    x = output[:, None]
    wanted = theirs.conformalize(x, target).predict_interval(x)[1][:, :, 0]
    ours = fit_interval(target, output, coverage=0.9, difficulty=line.of(output))
    assert np.allclose(np.column_stack(ours.of(output, line.of(output))), wanted, atol=2e-5)


def test_subgroups_get_the_widest_interval_of_any() -> None:
    rng = np.random.default_rng(2)
    output = rng.random(400)
    kinds = np.where(np.arange(400) % 4 == 0, "old", "new")
    target = output + np.where(kinds == "old", 0.3, 0.1) * rng.normal(size=400)
    rule = fit_interval(target, output, coverage=0.9, subgroups=kinds.tolist())
    old = fit_interval(target[kinds == "old"], output[kinds == "old"], coverage=0.9)
    assert rule.half_width == old.half_width
    assert rule.by == "subgroup"
    few = ["new"] * 396 + ["old"] * 4
    assert fit_interval(target, output, coverage=0.9, subgroups=few) is None


def test_halves_keep_groups_whole() -> None:
    groups = [f"g{i // 3}" for i in range(90)] + [""] * 10
    own, left = halves(100, groups)
    assert left == 20
    assert all(
        len({bool(o) for o, g in zip(own, groups, strict=True) if g == name}) == 1 for name in set(groups) - {""}
    )


def test_an_old_interval_reads_as_before() -> None:
    rule = ScoreInterval.model_validate({"coverage": 0.9, "half_width": 0.2, "images": 40})
    assert [ends.tolist() for ends in rule.around([0.5], [3.0])] == [[pytest.approx(0.3)], [pytest.approx(0.7)]]
    again = rule.model_copy(
        update={"normalised": True, "difficulty": Difficulty(weights=(0, 1, 0, 0), least=0.1, most=9, images=30)}
    )
    assert ScoreInterval.model_validate_json(again.model_dump_json()) == again


@pytest.mark.parametrize("wrong", [lambda: fit_difficulty(np.zeros(5), np.zeros(5)), lambda: fit_difficulty([0.0], 1)])
def test_what_does_not_fit_is_refused(wrong) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError):
        wrong()
