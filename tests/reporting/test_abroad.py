"""What is said of images from elsewhere."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from pellucid.data.sources import Kind
from pellucid.evaluation.kept_out import AbroadRecord, SourceLeftOut
from pellucid.evaluation.result import Metric
from pellucid.reporting.abroad import UNKNOWN, described, elsewhere, headline, on_other_sources
from pellucid.reporting.contents import read_run
from pellucid.reporting.html import build_report
from pellucid.reporting.model_card import render_card


def source(kind: str, value: str, auc: float, accuracy: float, *, sure: bool) -> SourceLeftOut:
    return SourceLeftOut(
        kind=kind,
        value=value,
        images=451,
        auc=(auc, auc - 0.01, auc + 0.01),
        accuracy=(accuracy, accuracy - 0.03, accuracy + 0.03),
        auc_loss=(0.99 - auc, 0.0, 0.02),
        accuracy_loss=(0.94 - accuracy, 0.01, 0.1),
        sure=sure,
    )


def record(*sources: SourceLeftOut) -> AbroadRecord:
    return AbroadRecord(auc=(0.99, 0.98, 1.0), accuracy=(0.94, 0.93, 0.95), sources=sources, images=1308)


def test_a_sure_loss_is_a_problem_that_names_the_worst_source_and_a_remedy() -> None:
    found = record(
        source("name", "person#_virus_# + IM-#-#", 0.984, 0.866, sure=True),
        source("look", "", 0.97, 0.93, sure=False),
    )
    level, text = on_other_sources(found)
    assert level == "problem"
    assert "AUC 0.970 to 0.984 and balanced accuracy 0.866 to 0.930" in text
    assert "451 images named person#_virus_# + IM-#-#: 0.866 [0.836, 0.896]" in text
    assert "add images from other sources" in text
    assert elsewhere(found) == "0.970 to 0.984"


def test_no_sure_loss_is_good_and_promises_nothing() -> None:
    level, text = on_other_sources(record(source("size", "320 x 240", 0.99, 0.94, sure=False)))
    assert level == "good"
    assert "No loss is certain" in text
    assert "451 images of 320 x 240 pixels" in text


def test_each_reason_of_not_knowing_has_its_sentence() -> None:
    for reason, sentence in UNKNOWN.items():
        level, text = on_other_sources(AbroadRecord(unknown=reason))
        assert level == "caution"
        assert sentence in text
        assert "unknown" in text
    assert elsewhere(AbroadRecord(unknown="no-sources")) == "unknown"
    assert elsewhere(None) == ""


def test_the_headline_leads_with_both_figures() -> None:
    home = Metric(0.998, 0.996, 0.999)
    found = record(source("size", "320 x 240", 0.94, 0.9, sure=True), source("name", "IM-#", 0.97, 0.93, sure=False))
    assert headline(found, home) == (
        "On images like these: ROC-AUC 0.998 [0.996, 0.999]. When a source is left out: 0.940 to 0.970 "
        "(a quick model; 0.990 at home)."
    )
    assert headline(AbroadRecord(unknown="no-sources"), home).endswith("On images from elsewhere: unknown.")
    assert headline(None, home) == ""


def test_the_worst_source_is_one_whose_loss_is_certain() -> None:
    sure = source("name", "IM-#", 0.96, 0.93, sure=True)
    found = record(source("size", "320 x 240", 0.90, 0.80, sure=False), sure)
    assert found.worst is sure
    assert on_other_sources(found)[0] == "problem"


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_of_source_has_words(kind: str) -> None:
    assert described(source(kind, "low", 0.9, 0.9, sure=True)).count("451 images") == 1


def test_report_and_card_lead_with_the_headline(make_run: Callable[..., Path]) -> None:
    found = record(source("name", "IM-#-#", 0.94, 0.9, sure=True))
    folder = make_run(abroad=found.model_dump(mode="json"))
    page, run = build_report(folder).read_text(encoding="utf-8"), read_run(folder)
    card = render_card(run)
    line = "When a source is left out: 0.940 (a quick model; 0.990 at home)."
    assert line in page
    assert card.index(line) < card.index("## The model")
    assert "- **problem**, Loss elsewhere: " in card
    assert "add images from other sources" in page
    unknown = make_run(abroad=AbroadRecord(unknown="no-sources").model_dump(mode="json"))
    assert "On images from elsewhere: unknown." in build_report(unknown).read_text(encoding="utf-8")
