"""What a model is asked for a target, and how logits become probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.classifier import PREDICTED, probabilities_from_logits, selected_targets
from pellucid.errors import InputError, UnknownNameError

PAIR, THREE = ("ant", "bee"), ("ant", "bee", "cat")


@pytest.mark.parametrize(
    ("task", "classes", "target", "rows", "names"),
    [
        ("binary", PAIR, "bee", [[1]], ("bee",)),
        ("binary", PAIR, "ant", [[-1]], ("ant",)),
        ("binary", PAIR, None, [[0]], (PREDICTED,)),
        ("binary", PAIR, ("bee", PREDICTED, "ant"), [[1], [0], [-1]], ("bee", PREDICTED, "ant")),
        ("multiclass", THREE, "cat", [[0, 0, 1]], ("cat",)),
        ("multiclass", THREE, None, [[0, 0, 0]], (PREDICTED,)),
        ("multiclass", THREE, ("bee", "ant", "bee"), [[0, 1, 0], [1, 0, 0], [0, 1, 0]], ("bee", "ant", "bee")),
        ("multiclass", PAIR, "bee", [[0, 1]], ("bee",)),
        ("regression", PAIR, None, [[1]], (PREDICTED,)),
        ("regression", PAIR, "ant", [[-1]], ("ant",)),
        ("regression", PAIR, "bee", [[1]], ("bee",)),
    ],
)
def test_target_rows(task, classes, target, rows, names):
    found, _, found_names = selected_targets(classes, task, 4, target, None)
    assert found.dtype == np.float32
    assert found.tolist() == [rows] * 4
    assert found_names == names
    found[0] += 1  # each image has rows of its own
    assert found[1].tolist() == rows


@pytest.mark.parametrize(
    ("task", "score", "contrast"),
    [
        ("binary", None, 1.0),
        ("binary", "log-odds", 1.0),
        ("binary", "logit", 0.0),
        ("multiclass", "logit", 0.0),
        ("multiclass", "log-odds", 1.0),
        ("regression", "output", 1.0),
    ],
)
def test_contrast_of_a_score(task, score, contrast):
    assert selected_targets(THREE if task == "multiclass" else PAIR, task, 1, None, score)[1] == contrast


@pytest.mark.parametrize(("task", "score"), [("binary", "output"), ("multiclass", "output"), ("regression", "logit")])
def test_a_score_that_does_not_fit_the_task_is_refused(task, score):
    with pytest.raises(InputError, match=f"The score '{score}' does not fit a {task} model; choose"):
        selected_targets(PAIR, task, 1, None, score)


def test_unknown_and_missing_targets_are_refused():
    with pytest.raises(
        UnknownNameError, match=r"no class named 'bees'\. Did you mean bee\? The model knows ant, bee\."
    ):
        selected_targets(PAIR, "binary", 1, ("ant", "bees"), None)
    with pytest.raises(InputError, match="names no class: give at least one"):
        selected_targets(PAIR, "binary", 1, (), None)


@given(st.lists(st.floats(-700, 700), min_size=1, max_size=6))
def test_probabilities_are_those_of_double_precision(logits):
    found = probabilities_from_logits(np.array([logits], np.float32))
    exact = np.array(logits, np.float32).astype(np.float64)
    if len(exact) == 1:
        exact = np.array([0.0, exact[0]])
    exact = np.exp(exact - exact.max())
    exact /= exact.sum()
    assert found.dtype == np.float32
    assert np.allclose(found[0], exact, rtol=1e-4, atol=1e-30)
    assert found.sum() == pytest.approx(1, abs=1e-6)


def test_probabilities_at_the_ends_of_the_range():
    assert probabilities_from_logits(np.array([[3e38], [-3e38], [0.0]], np.float32)).tolist() == [
        [0.0, 1.0],
        [1.0, 0.0],
        [0.5, 0.5],
    ]
    assert probabilities_from_logits(np.array([[1e38, -1e38, 1e38]], np.float32)).tolist() == [[0.5, 0.0, 0.5]]
    assert probabilities_from_logits(np.zeros((0, 1), np.float32)).shape == (0, 2)
