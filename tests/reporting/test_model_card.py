"""The model card and the reviewers' checklists: true figures, visible blanks, and nothing that the data can break."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.evaluation.test_audit_verdicts import document, region

from pellucid.evaluation.audit import AUDIT_FILE
from pellucid.explanation.record import ExplanationManifest
from pellucid.reporting.checklists import CLAIM_TOPICS, TRIPOD_TOPICS, answers, claim, tripod
from pellucid.reporting.contents import RunContents, read_run
from pellucid.reporting.findings import findings
from pellucid.reporting.html import build_report
from pellucid.reporting.model_card import BLANK, render_card
from pellucid.reporting.words import number


@pytest.fixture(scope="module")
def run(run_folder: Path) -> RunContents:
    return read_run(run_folder)


def test_every_metric_stands_in_the_card_with_its_interval(run: RunContents) -> None:
    card = render_card(run)
    assert run.evaluation is not None
    for name in ("accuracy", "roc_auc", "sensitivity", "brier"):
        metric = run.evaluation.metrics[name]
        assert f"| {number(metric.value)} | [{number(metric.low)}, {number(metric.high)}] |" in card
    assert "0.928" in card
    assert "For research and education, not for diagnosis." in card


def test_checklists_are_whole_and_leave_to_the_authors_what_is_theirs(run: RunContents) -> None:
    assert [item.number for item in claim(run)] == [str(n) for n in range(1, 45)]
    assert len(tripod(run)) == 52
    known = set(answers(run))
    asked = {key for _, _, key in (*CLAIM_TOPICS, *TRIPOD_TOPICS) if key}
    assert known <= asked
    by_number = {item.number: item.answer for item in claim(run)}
    assert not any(by_number[n] for n in ("1", "8", "11", "14", "34", "44"))
    assert "600 groups" in by_number["35"]
    assert "pellucid 0.1.0" in by_number["23"]
    assert render_card(run).count(BLANK) > 30


def test_the_word_is_never_used(run: RunContents) -> None:
    page = build_report(run.folder.root).read_text(encoding="utf-8")
    for text in (render_card(run), page):
        assert not re.search("complian", text, re.IGNORECASE)


def test_an_audit_is_told(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    (folder / "audit").mkdir()
    found = document(regions=(region("bottom left corner", alone=0.93, lost=0.3), region("border"), region("centre")))
    (folder / "audit" / AUDIT_FILE).write_text(found.model_dump_json(), encoding="utf-8")
    page = build_report(folder).read_text(encoding="utf-8")
    card = (folder / "model_card.md").read_text(encoding="utf-8")
    for text in (page, card):
        assert "From the bottom left corner alone" in text
    assert "0.930" in page
    (first, *_) = findings(read_run(folder))
    assert (first.level, first.topic, first.text) == ("problem", "Audit", found.verdict)
    assert (folder / "evaluation" / "figures" / "thresholds.png").is_file()
    assert (folder / "evaluation" / "figures" / "mistakes.png").is_file()


def test_the_picture_of_mistakes_goes_with_the_last_of_them(make_run: Callable[..., Path]) -> None:
    folder = make_run()
    build_report(folder)
    assert (folder / "evaluation" / "figures" / "mistakes.png").is_file()
    listed = folder / "explanations" / "manifest.json"
    shown = ExplanationManifest.model_validate_json(listed.read_bytes())
    right = [r.model_copy(update={"true_label": r.label, "path": f"elsewhere/{r.path}"}) for r in shown.images]
    listed.write_text(shown.model_copy(update={"images": tuple(right)}).model_dump_json(), encoding="utf-8")
    build_report(folder)
    assert not (folder / "evaluation" / "figures" / "mistakes.png").exists()


def test_names_from_the_data_cannot_form_tables_links_or_html(make_run: Callable[..., Path]) -> None:
    folder = make_run(data__source="a|b <script>alert(1)</script> [x](http://evil) `c`\n# heading")
    card = render_card(read_run(folder))
    # Lines that begin with four spaces are code, in which nothing has a meaning.
    prose = "\n".join(line for line in card.splitlines() if not line.startswith("    "))
    assert "<script>" not in prose
    assert "](http" not in prose
    assert "\n# heading" not in card
    assert r"a\|b" in card
