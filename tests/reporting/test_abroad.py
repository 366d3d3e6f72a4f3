"""What is said of images from elsewhere."""

from pellucid.bundle.run import AbroadRecord, SourceLeftOut
from pellucid.reporting.abroad import UNKNOWN, elsewhere, on_other_sources


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
