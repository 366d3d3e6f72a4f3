"""One image and many are decided by the same rules."""

import numpy as np
import pytest

from pellucid.classifier import NONE_OF_THESE, REFER, Reason
from pellucid.evaluation.abstention import Abstention, fit_abstention
from pellucid.evaluation.answering import OUTCOMES, AnsweringRules, confidences, decide
from pellucid.evaluation.conformal import ClassSets, ScoreInterval, fit_interval, fit_sets
from pellucid.evaluation.flags import FLAGGED, SURE, sure_distance

CLASSES = ("ant", "bee", "crab")
SETS = ClassSets(score="lac", coverage=0.9, thresholds=(0.7, 0.7, 0.7), images=(20, 20, 20))


def abstention(least: float | None, wrong: str = "errors") -> Abstention:
    return Abstention(
        asked=f"{wrong}<=0.1", wrong=wrong, most=0.1, least=least, answered=0.5, bound=0.1, images=50, needed=29
    )


def ask(rules: AnsweringRules | None, scores: list[float], outside: float | None = None):
    row = np.array(scores, np.float32)
    return decide(
        rules,
        task="multiclass",
        classes=CLASSES,
        scores=row,
        predicted=int(row.argmax()),
        threshold=0.5,
        outside=outside,
    )


def test_without_rules_every_image_is_answered():
    found = ask(None, [0.4, 0.35, 0.25], outside=9)
    assert (found.outcome, found.label, found.predicted) == ("answer", "ant", "ant")
    assert (found.candidates, found.interval, found.coverage, found.reasons) == (None, None, None, ())
    assert found.probabilities["bee"] == pytest.approx(0.35)
    assert found.threshold is None


def test_a_set_begins_with_the_most_probable_class():
    assert ask(AnsweringRules(sets=SETS), [0.31, 0.5, 0.19]).candidates == ("bee", "ant")
    assert ask(AnsweringRules(sets=SETS), [0.01, 0.98, 0.01]).candidates == ("bee",)


def test_an_answer_that_is_not_sure_enough_is_referred_with_why():
    rules = AnsweringRules(sets=SETS, abstention=abstention(0.6))
    found = ask(rules, [0.31, 0.5, 0.19])
    assert (found.outcome, found.label, found.predicted) == ("refer", REFER, "bee")
    assert found.reasons == (Reason("unsure", pytest.approx(0.5), 0.6),)
    assert found.candidates == ("bee", "ant")
    assert ask(rules, [0.1, 0.7, 0.2]).outcome == "answer"


@pytest.mark.parametrize("wrong", ["errors", "fn", "fp"])
@pytest.mark.parametrize("least", [None, 0.6])
@pytest.mark.parametrize("reject", ["none", "unlike"])
def test_one_answer_is_withheld_as_among_others(wrong: str, least: float | None, reject: str) -> None:
    rules = AnsweringRules(abstention=abstention(least, wrong), reject=reject)
    sure = np.tile([0.5, 0.6, 0.7], 8)
    predicted, outside = np.repeat([0, 1], 12), np.tile(np.repeat([0.9, 1.0, 1.1, np.inf], 3), 2)
    together = rules.withheld(sure, predicted, outside)
    alone = [rules.outcome(*row) for row in zip(sure.tolist(), predicted.tolist(), outside.tolist(), strict=True)]
    assert alone == [OUTCOMES[k] for k in together]
    assert rules.outcome(0.5, 0, None) == OUTCOMES[rules.withheld(np.array([0.5]), np.array([0]), None)[0]]


def test_where_nothing_is_promised_nothing_is_answered():
    found = ask(AnsweringRules(abstention=abstention(None)), [0.0, 1.0, 0.0])
    assert (found.label, found.reasons) == (REFER, (Reason("unpromised", None, 0.1),))


def test_an_unlike_image_is_none_of_these_however_sure_the_answer():
    rules = AnsweringRules(abstention=abstention(0.6), reject="unlike")
    assert ask(rules, [0.0, 1.0, 0.0], outside=1.2).label == NONE_OF_THESE
    assert ask(rules, [0.0, 1.0, 0.0], outside=1.2).reasons == (Reason("unlike", 1.2, 1.0),)
    assert ask(rules, [0.0, 1.0, 0.0], outside=1.0).label == "bee"
    assert ask(rules, [0.4, 0.3, 0.3], outside=1.2).outcome == "none"
    assert ask(AnsweringRules(abstention=abstention(0.6)), [0.0, 1.0, 0.0], outside=5).label == "bee"


def test_one_image_and_many_are_decided_alike():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([0.5] * 3, 300).astype(np.float32)
    predicted, outside = scores.argmax(axis=1), rng.uniform(0, 1.5, 300)
    sure = confidences("multiclass", scores, predicted, 0.5)
    labels = np.where(rng.random(300) < sure, predicted, (predicted + 1) % 3)
    rule = fit_abstention("errors<=0.2", labels=labels, predicted=predicted, confidence=sure, possible=outside <= 1)
    rules = AnsweringRules(abstention=rule, reject="unlike")
    many = rules.withheld(sure, predicted, outside)
    one = [ask(rules, row.tolist(), outside=o).outcome for row, o in zip(scores, outside, strict=True)]
    assert [OUTCOMES[k] for k in many] == one
    assert set(one) == set(OUTCOMES)
    answered = many == 0
    assert answered.mean() == pytest.approx(rule.answered)
    assert (predicted != labels)[answered].mean() <= rule.bound


def test_a_regression_has_an_interval():
    rules = AnsweringRules(interval=ScoreInterval(coverage=0.9, half_width=0.2, images=40))
    found = decide(
        rules, task="regression", classes=("ok", "bad"), scores=np.array([0.4], np.float32), predicted=0, threshold=0.5
    )
    assert found.interval == pytest.approx((0.2, 0.6))
    assert (found.label, found.probabilities, found.coverage) == ("ok", {}, 0.9)
    assert confidences("regression", np.array([[0.4], [0.7]], np.float32), np.array([0, 1]), 0.5) == pytest.approx(
        [0.1, 0.2]
    )


def test_rules_are_read_back_as_written():
    rules = AnsweringRules(sets=SETS.model_copy(update={"thresholds": (0.1, None, 0.3)}), abstention=abstention(None))
    assert AnsweringRules.model_validate_json(rules.model_dump_json()) == rules


@pytest.mark.parametrize("seed", range(6))
def test_no_image_that_a_rule_was_fitted_to_changes_sides_when_another_machine_rounds_otherwise(seed):
    # Limits lie beside the validation images from which they are taken, never exactly on one of them.
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 150)
    logits = rng.normal(0, 1, (150, 3)) + 3 * np.eye(3)[labels] * (rng.random((150, 1)) < 0.9)
    distances = rng.lognormal(0, 1, 150)
    rounded = logits + rng.choice([-5e-7, 5e-7], logits.shape), distances * (1 + rng.choice([-5e-7, 5e-7], 150))

    def shares(z: np.ndarray) -> np.ndarray:
        return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)

    here, predicted = shares(logits), logits.argmax(axis=1)
    sets = fit_sets(labels, here, coverage=0.9, by="class")
    limit = fit_abstention("errors<=0.1", labels=labels, predicted=predicted, confidence=here.max(axis=1))
    unusual = sure_distance(distances, (), FLAGGED, SURE)
    interval = fit_interval(labels, logits[:, 0], coverage=0.9)
    assert limit.least is not None
    assert limit.least > 0
    assert interval is not None
    rules = AnsweringRules(sets=sets, abstention=limit, reject="unlike")
    there = shares(rounded[0])
    assert (sets.members(here) == sets.members(there)).all()
    seen, now = (
        rules.withheld(p.max(axis=1), predicted, far / unusual) for p, far in ((here, distances), (there, rounded[1]))
    )
    assert set(seen) == {0, 1, 2}
    assert (seen == now).all()
    ends, moved = (np.column_stack(interval.around(z[:, 0])) - labels[:, None] for z in (logits, rounded[0]))
    assert (np.sign(ends) == np.sign(moved)).all()


def test_a_threshold_may_answer_what_the_set_lacks():
    rules = AnsweringRules(sets=ClassSets(score="lac", coverage=0.9, thresholds=(0.6, 0.6), images=(20, 20)))

    def found(positive: float, threshold: float):
        scores = np.array([1 - positive, positive], np.float32)
        predicted = int(positive >= threshold)
        return decide(
            rules, task="binary", classes=CLASSES[:2], scores=scores, predicted=predicted, threshold=threshold
        )

    assert found(0.7, 0.8).candidates == ("bee",)
    assert found(0.7, 0.8).predicted == "ant"
    assert found(0.7, 0.8).lacks_answer
    assert not found(0.7, 0.5).lacks_answer
    assert not found(0.55, 0.8).lacks_answer  # both are in the set
