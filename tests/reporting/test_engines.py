"""The table of engines, and what it says in words."""

from pathlib import Path

from pellucid.bundle.certificate import Candidate, Certificate, Interval, Machine, Quality, Speed, Untried
from pellucid.bundle.runtimes import ModelRuntime
from pellucid.reporting.engines import (
    certificate_in_words,
    columns,
    engine_rows,
    engines_in_words,
    proof_in_words,
    write_engines,
)

NONE = Interval(value=0, low=0, high=0.0094)
HELD = {
    "images": 400,
    "mean": 0.001,
    "changed": 0,
    "decisions": NONE,
    "unusual": NONE,
    "auc": Interval(value=-0.0004, low=-0.001, high=0.0002),
    "loss": 0.0,
    "margin": 0.05,
    "maps": 128,
    "correlation_least": 0.981,
    "moved": 0.016,
}


def certificate(*, fast: float = 0.01, correlation: float = 0.9991) -> Certificate:
    slow, quick = Speed(one_thread=0.02, all_cores=0.02, batch=0.02), Speed(one_thread=fast, all_cores=fast, batch=fast)
    held = Quality(probability=0.023, correlation=correlation, **HELD)
    bfloat16 = ModelRuntime(engine="openvino", precision="bfloat16")
    int8 = ModelRuntime(engine="openvino", precision="int8")
    return Certificate(
        created="2026-11-30T03:00:00+00:00",
        model="0" * 64,
        decision="0" * 64,
        machine=Machine(cpu="A CPU", cores=4, openvino="2026.4.1", onnxruntime="1.31.1"),
        data="validation images of the run",
        images=400,
        candidates=(
            Candidate(runtime=ModelRuntime(), speed=slow),
            Candidate(runtime=bfloat16, speed=quick, quality=held),
        ),
        untried=(Untried(runtime=int8, reason="no training images"),),
    )


def test_the_table_says_what_is_gained_and_lost() -> None:
    first, second = engine_rows(certificate())
    assert (first.title, first.one_thread, first.changed, first.verdict) == (
        "ONNX Runtime, float32",
        "20.0",
        "-",
        "as today",
    )
    assert (second.title, second.all_cores, second.verdict) == ("OpenVINO, bfloat16", "10.0 (2.00x)", "advised")
    assert (second.changed, second.probability, second.auc, second.maps) == ("0 of 400", "0.023", "-0.0004", "0.999")
    first, second = engine_rows(certificate(correlation=0.9))
    assert (first.verdict, second.verdict) == ("advised", "refused")


def test_the_words_name_the_advice_the_losses_and_what_was_not_tried() -> None:
    advice, proof, untried = certificate_in_words(certificate())
    assert advice == (
        "Advised: OpenVINO, bfloat16, 2 times as fast for one explained image on all cores. Other commands take it by "
        "`engine='auto'`."
    )
    assert proof == (
        "OpenVINO, bfloat16: accepted. On 400 images it changed no answer (at most 0.94 % of all such images) and a "
        "probability by at most 0.023 (0.001 on average); the AUC by -0.0004 [-0.0010, +0.0002]; the cross-entropy by "
        "+0. The warning for unusual images changed in 0 %. Over 128 heat maps the rank correlation is 0.999 in the "
        "median and 0.981 at least, and the strongest cell moved in 1.6 %."
    )
    assert untried.startswith("OpenVINO, int8: not tried, because it takes its ranges from training images")
    advice, proof, _ = certificate_in_words(certificate(correlation=0.9))
    assert advice.startswith("Advised: ONNX Runtime, float32, as today.")
    assert "refused, because the heat maps change too much." in proof


def test_scores_are_not_called_probabilities() -> None:
    for task, value, title in (("regression", "an output", "output"), ("anomaly", "a score", "score")):
        found = certificate().model_copy(update={"task": task})
        assert f"and {value} by at most 0.023" in certificate_in_words(found)[1]
        assert title in [name for name, _ in columns(task)]
    assert "R² by" in certificate_in_words(certificate().model_copy(update={"task": "regression"}))[1]


def test_warnings_sets_and_curves_are_said_where_there_are_any() -> None:
    share = Interval(value=0.25, low=0.1, high=0.4)
    gap = Interval(value=0.02, low=-0.01, high=0.05)
    quality = certificate().candidates[1].quality
    assert quality is not None
    more = quality.model_copy(
        update={"unusual": None, "uncovered": share, "near": 0.031, "moved": 1.0, "faithfulness": gap}
    )
    found = proof_in_words(certificate().candidates[1].model_copy(update={"quality": more}))
    assert "The true value left the prediction set or interval in 25 %." in found
    assert "the strongest cell moved in 100 %; insertion minus deletion changed by +0.02 [-0.01, +0.05]." in found
    assert found.endswith("3.1 % of the answers lie so near to where they change that they have a warning.")


def test_the_model_card_says_which_figures_are_of_what() -> None:
    assert engines_in_words(None) == "ONNX Runtime, float32: all figures here are of its answers."
    assert engines_in_words(certificate()).endswith(
        "Also accepted, on A CPU, by 400 validation images of the run: OpenVINO, bfloat16 (changed no answer, AUC "
        "-0.0004, maps correlate by 0.999 in the median)."
    )
    assert "No other engine was accepted on A CPU." in engines_in_words(certificate(correlation=0.9))


def test_the_page_is_a_markdown_table(tmp_path: Path) -> None:
    text = write_engines(certificate(), tmp_path, ["Advised: this."]).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert len(rows) == 4
    assert "- Advised: this." in text
    assert "A CPU, 4 cores, with ONNX Runtime 1.31.1 and OpenVINO 2026.4.1" in text
