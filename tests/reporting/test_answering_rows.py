"""What the rules of answering give, as rows and sentences: nothing is called kept that could not be judged."""

import numpy as np
import pytest

from pellucid.evaluation.abstention import fit_abstention
from pellucid.evaluation.answered import judge_answers
from pellucid.evaluation.answering import AnsweringRules
from pellucid.evaluation.conformal import fit_sets
from pellucid.evaluation.intervals import wilson
from pellucid.reporting.decisions import answering_rows
from pellucid.workflow.answering import shortage

LABELS = np.arange(40) % 2
SCORES = np.where(LABELS[:, None] == np.arange(2), 0.9, 0.1)


def test_a_limit_under_which_nothing_is_answered_is_not_called_kept() -> None:
    few = fit_abstention("errors<=0.01", labels=LABELS, predicted=LABELS, confidence=np.full(40, 0.9))
    assert not few.met
    judged = judge_answers(
        AnsweringRules(abstention=few), task="binary", classes=["a", "b"], labels=LABELS, predicted=LABELS,
        scores=SCORES, threshold=0.5,
    )  # fmt: skip
    rows = {row.name: row for row in answering_rows(judged.entry)}
    assert rows["answered"].rate.value == 0
    assert rows["wrong answers among those given"].verdict == "nothing to judge"


def test_a_share_of_all_groups_has_wilsons_interval_over_the_groups() -> None:
    groups = [f"patient{k // 2}" for k in range(40)]
    rules = AnsweringRules(sets=fit_sets(LABELS, SCORES, coverage=0.9))
    entry = judge_answers(
        rules, task="binary", classes=["a", "b"], labels=LABELS, predicted=LABELS, scores=SCORES, threshold=0.5,
        groups=groups,
    ).entry  # fmt: skip
    assert entry.coverage.of_groups.value == 1
    assert (entry.coverage.of_groups.low, entry.coverage.of_groups.high) == pytest.approx(wilson(20, 20))


def test_what_a_subgroup_lacks_names_the_smallest() -> None:
    kinds = ["A"] * 27 + ["B"] * 13
    sets = fit_sets(LABELS, SCORES, coverage=0.95, by="subgroup", subgroups=kinds)
    assert sets.thresholds == (None, None)
    said = shortage(sets, ["a", "b"], False, {"A": 27, "B": 13})
    assert said == (
        "Prediction sets that hold 95 % need 20 validation images of each subgroup, you have 13 of B: none are made."
    )
