from dataclasses import replace

import numpy as np
import pytest

from pellucid.errors import BundleError
from pellucid.evaluation.validation import ValidationAnswers, read_validation, write_validation

CLASSES = ("a, b", "ünit")


def answers(logits: int = 1) -> ValidationAnswers:
    z = np.random.default_rng(0).normal(size=(4, logits)).astype(np.float32)
    return ValidationAnswers(("x/1.png", 'q"2.png', "3.png", "4.png"), np.array([0, 1, 1, 0]), ("", "p1", "p1", ""), z)


@pytest.mark.parametrize("logits", [1, 3])
def test_round_trip_is_exact(tmp_path, logits):
    wanted = answers(logits)
    write_validation(wanted, CLASSES, tmp_path / "evaluation")
    found = read_validation(tmp_path / "evaluation", CLASSES, logits)
    assert (found.paths, found.groups) == (wanted.paths, wanted.groups)
    assert np.array_equal(found.labels, wanted.labels)
    assert np.array_equal(found.logits, wanted.logits)
    assert found.logits.dtype == np.float32


def test_there_may_be_none(tmp_path):
    assert read_validation(tmp_path, CLASSES, 1) is None


def test_damage_is_told(tmp_path):
    write_validation(answers(), CLASSES, tmp_path)
    text = (tmp_path / "validation.csv").read_text()
    for broken, words in (
        (text.replace("ünit", "other", 1), "damaged"),
        (text.rpartition(",")[0], "damaged"),
        (text.replace("logit_1", "z", 1), "should have the columns path, label, group, logit_1"),
    ):
        (tmp_path / "validation.csv").write_text(broken)
        with pytest.raises(BundleError, match=words):
            read_validation(tmp_path, CLASSES, 1)


@pytest.mark.parametrize("outside", [None, np.array([0.5, 1.25, 1.0, 0.1])])
@pytest.mark.parametrize("subgroups", [(), ("a, b", "", "ü", "a, b")])
def test_outside_scores_and_subgroups_are_kept_where_known(tmp_path, outside, subgroups):
    wanted = replace(answers(), outside=outside, subgroups=subgroups)
    write_validation(wanted, CLASSES, tmp_path)
    found = read_validation(tmp_path, CLASSES, 1)
    assert found.subgroups == subgroups
    assert (found.outside is None) if outside is None else np.array_equal(found.outside, outside)
