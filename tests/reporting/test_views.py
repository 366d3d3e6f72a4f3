"""The report's tables and sentences against the numbers they are made from."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.evaluation.result import EvaluationResult
from pellucid.reporting import views
from pellucid.reporting.cases import Case, Cases
from pellucid.reporting.contents import RunContents, read_run


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunContents:
    return read_run(run_folder)


@pytest.fixture(scope="module")
def result(run: RunContents) -> EvaluationResult:
    assert run.evaluation is not None
    return run.evaluation


def test_lead_says_what_was_trained_on_what(run: RunContents) -> None:
    assert views.lead(run) == (
        "Network cnn, recipe scratch-cnn: trained on 800 images of clear and opacity, "
        "tested on 240 images of 120 groups (test split)."
    )
    assert views.lead(replace(run, evaluation=None)).endswith("of clear and opacity, not tested yet.")


def test_notices(run: RunContents, make_run: Callable[..., Path]) -> None:
    assert views.notices(run) == [views.NOT_FOR_DIAGNOSIS, views.SYNTHETIC]
    plain = read_run(make_run(recipe="name = 'x'", medical=False, data__synthetic=False, explained=0))
    assert views.notices(plain) == []
    assert not any("synthetic" in limit for limit in views.limits(plain))


def test_the_answer_counts_images(result: EvaluationResult, make_run: Callable[..., Path]) -> None:
    positive, said = result.labels == 1, result.predicted == 1
    assert views.answer(result) == (
        f"It finds {(positive & said).sum()} of {positive.sum()} images of opacity, "
        f"and mistakes {(~positive & said).sum()} of {(~positive).sum()} images of clear for opacity."
    )
    assert views.answer(replace(result, task="anomaly")) == (
        f"It finds {(positive & said).sum()} of {positive.sum()} bad images, "
        f"and flags {(~positive & said).sum()} of {(~positive).sum()} normal ones."
    )
    flowers = read_run(make_run(("daisy", "rose", "tulip"), explained=0)).evaluation
    assert flowers is not None
    right = (flowers.predicted == flowers.labels).sum()
    assert views.answer(flowers) == f"It classifies {right} of 240 images correctly, among 3 classes."


def test_headlines_and_metrics(result: EvaluationResult) -> None:
    assert [name for name, _ in views.headlines(result)] == ["ROC-AUC", "Sensitivity (recall)", "Specificity"]
    rows = views.metric_rows(result)
    assert len({row.name for row in rows}) == len(rows) == len(result.metrics) - 2
    by_name = {row.name: row for row in rows}
    sensitivity = by_name["Sensitivity (recall)"]
    assert sensitivity.metric == result.metrics["sensitivity"]
    assert sensitivity.meaning == "share of opacity that is found"
    assert by_name["Cross-entropy"].drawn is None
    start = 0.8
    value, low, high = sensitivity.drawn or (0, 0, 0)
    for drawn, stated in zip((value, low, high), (lambda m: (m.value, m.low, m.high))(sensitivity.metric), strict=True):
        assert start + drawn / 100 * (1 - start) == pytest.approx(stated, abs=1e-4)


def test_mistakes_are_the_surest_wrong_answers(result: EvaluationResult) -> None:
    found = views.mistakes(result)
    wrong = np.flatnonzero(result.predicted != result.labels)
    sureness = sorted((float(result.probabilities[i].max()) for i in wrong), reverse=True)
    assert [m.confidence for m in found] == sureness[:12]
    assert all(m.label != m.true_label and f"/{m.true_label}/" in m.path for m in found)


def test_published_figures_stand_against_our_interval(run: RunContents, result: EvaluationResult) -> None:
    table = views.published_table(run)
    assert table is not None
    assert table.columns == ("Accuracy", "Precision", "Recall")
    assert table.ours == tuple(result.metrics[n] for n in ("accuracy", "precision", "recall"))
    goal, somebody = table.rows
    assert goal.cells[1:] == (None, None)
    for (value, words), metric in zip(somebody.cells, table.ours, strict=True):  # type: ignore[misc]
        assert metric is not None
        where = "below" if value < metric.low else "above" if value > metric.high else "within"
        assert words == f"{where} our interval"
    untested = views.published_table(replace(run, evaluation=None))
    assert untested is not None
    assert untested.rows[0].cells[0] == (0.9, "")
    assert views.published_table(replace(run, recipe=run.recipe.model_copy(update={"published": ()}))) is None


def test_totals_are_sums_over_splits(run: RunContents) -> None:
    counts = run.record.data.counts
    assert views.totals(run) == {name: sum(counts[s][name] for s in counts) for name in ("clear", "opacity")}


def test_commands_can_be_pasted(run: RunContents) -> None:
    (_, made), (_, again) = views.commands(run)
    assert shlex.split(made) == list(run.record.command)
    assert shlex.split(again) == ["pellucid", "train", "data/phantom films", "--recipe", "recipe.toml", "--seed", "0"]


def test_summary_shows_mistakes_and_right_answers_with_evidence() -> None:
    def case(name: str, right: bool, scale: tuple[str, str] | None = ("0", "1")) -> Case:
        return Case(name, "a", "0.9", "a", right, "a", "", (), "", "", scale, "")

    wrong = tuple(case(f"w{i}", False) for i in range(5))
    right = (case("empty", True, None), *(case(f"r{i}", True) for i in range(5)))
    shown = [c.path for c in views.summary_cases(Cases(wrong, right, (), 0))]
    assert shown == ["w0", "w1", "r0", "r1", "r2", "r3"]
    assert [c.path for c in views.summary_cases(Cases(wrong, right[:1], (), 0))] == [
        "w0",
        "w1",
        "empty",
        "w2",
        "w3",
        "w4",
    ]
    assert views.summary_cases(Cases((), (), (), 0)) == []


@pytest.mark.parametrize(
    ("created", "text"),
    [
        ("2026-07-01T09:30:00+00:00", "1 July 2026, 09:30 UTC"),
        ("2026-07-01T09:30:00Z", "1 July 2026, 09:30 UTC"),
        ("2026-07-01T09:30:00", "1 July 2026, 09:30"),
        ("yesterday", "yesterday"),
    ],
)
def test_days(created: str, text: str) -> None:
    assert views.day(created) == text
