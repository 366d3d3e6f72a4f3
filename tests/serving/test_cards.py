"""What a card says of the engine that answers."""

from pathlib import Path
from types import SimpleNamespace

from pellucid.bundle.bundle import Bundle, ProvenRuntime, load
from pellucid.bundle.certificate import Candidate, Interval, Quality, Speed
from pellucid.bundle.runtimes import ModelRuntime
from pellucid.serving.cards import limitations

NONE = Interval(value=0, low=0, high=0.0094)
HELD = Quality(
    images=400, probability=0.02, mean=0.001, changed=0, decisions=NONE, unusual=None, auc=None, loss=None, margin=0.1
)


def served(bundle: Bundle, running: ProvenRuntime) -> SimpleNamespace:
    own = Bundle(bundle.folder, bundle.manifest, bundle, running=running)
    return SimpleNamespace(bundle=own, metrics=None, record=None, abroad=None)


def test_figures_of_float32_are_not_taken_for_those_of_another_precision(served_bundle: Path) -> None:
    bundle = load(served_bundle, threads=1)
    assert not any("Runs on" in said for said in limitations(served(bundle, ProvenRuntime())))
    exact = ModelRuntime(engine="openvino")
    assert limitations(served(bundle, ProvenRuntime(exact)))[-1] == "Runs on OpenVINO, float32."
    lower = ModelRuntime(engine="openvino", precision="bfloat16")
    proof = Candidate(runtime=lower, speed=Speed(one_thread=1, all_cores=1, batch=1), quality=HELD)
    assert limitations(served(bundle, ProvenRuntime(lower, proof)))[-1] == (
        "Runs on OpenVINO, bfloat16. The figures of this card are of ONNX Runtime, float32; compared with that: On 400 "
        "images it changed no answer (at most 0.94 % of all such images) and a probability by at most 0.02 (0.001 on "
        "average)."
    )
