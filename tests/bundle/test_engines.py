"""Engines and precisions: the same answers and evidence in float32, and what is refused below it."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tests.small_networks import noise

import pellucid.bundle.certificate as certificates
from pellucid.bundle.bundle import load
from pellucid.bundle.certificate import (
    CERTIFICATE,
    Candidate,
    Certificate,
    Interval,
    Machine,
    Quality,
    Speed,
    Tolerance,
    decision_digest,
    model_digest,
    read_certificate,
)
from pellucid.bundle.io import amend_bundle, read_bundle
from pellucid.bundle.nearness import NEAR, decision_distances, is_near, largest_move
from pellucid.bundle.openvino_session import OpenVinoSession
from pellucid.bundle.runtimes import ModelRuntime
from pellucid.errors import BundleError, InputError, MissingDependencyError, UnknownNameError
from pellucid.evaluation.abstention import Abstention
from pellucid.evaluation.answering import AnsweringRules

SIZE = (24, 32)
BF16, OPENVINO = ModelRuntime(engine="openvino", precision="bfloat16"), ModelRuntime(engine="openvino")
NONE = Interval(value=0, low=0, high=0.02)
GOOD = Quality(images=100, probability=0.01, mean=0.001, changed=0, decisions=NONE, unusual=NONE, auc=NONE, loss=0.0, margin=0.05, maps=10, correlation=0.999, correlation_least=0.99, moved=0.0)  # fmt: skip  # noqa: E501


def certificate_of(folder: Path, **changes: object) -> Certificate:
    """A certificate in which bfloat16 was accepted and is twice as fast."""
    manifest = read_bundle(folder)
    slow, fast = (Speed(one_thread=t, all_cores=t, batch=t) for t in (0.02, 0.01))
    bfloat16 = Candidate(runtime=BF16, speed=fast, quality=GOOD)
    values = {
        "created": "2026-11-30",
        "model": model_digest(manifest),
        "decision": decision_digest(manifest),
        "machine": Machine.here(),
        "data": "noise",
        "images": 100,
        "candidates": (Candidate(runtime=ModelRuntime(), speed=slow), bfloat16),
    }
    return Certificate.model_validate({**values, **changes})


def certify(folder: Path, **changes: object) -> Certificate:
    found = certificate_of(folder, **changes)
    amend_bundle(folder, {}, {CERTIFICATE: found.model_dump_json().encode()})
    return found


@pytest.fixture
def with_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that reports units for bfloat16; what it computes is not asked for."""
    pytest.importorskip("openvino")
    monkeypatch.setattr("pellucid.bundle.runtimes.cpu_capabilities", lambda: ("FP32", "BF16", "INT8"))


def test_openvino_gives_what_onnxruntime_gives(bundle_folder: Path) -> None:
    pytest.importorskip("openvino")
    ours, theirs = load(bundle_folder, threads=1), load(bundle_folder, threads=1, engine="openvino")
    assert (theirs.runtime, theirs.proof, ours.runtime) == (OPENVINO, None, ModelRuntime())
    for images in (1, 3):
        batch = noise(images, SIZE, seed=images)
        for targets in ("bee", ("ant", "bee"), None):
            one, other = (b.evidence(batch, targets) for b in (ours, theirs))
            for name in ("logits", "activations", "gradients"):
                np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(theirs.logits(batch), ours.logits(batch), rtol=1e-4, atol=1e-5)
        for one, other in zip(ours.logits_and_features(batch), theirs.logits_and_features(batch), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1, 1), (6, 6, 3, 3)], ids=["matrix", "point", "kernel"])
def test_openvino_multiplies_by_the_same_weights_both_ways(shape: tuple[int, ...], tmp_path: Path) -> None:
    """As a layer and its gradient do; sessions read weights inside a graph and in a file beside it."""
    pytest.importorskip("openvino")
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    given = np.random.default_rng(1).normal(size=(2, 6, *[5] * (len(shape) - 2))).astype(np.float32)
    edge = {"pads": [shape[-1] // 2] * 4} if len(shape) == 4 else {}
    kinds = ("Conv", "ConvTranspose") if edge else ("Gemm", "Gemm")
    options = ({}, {}) if edge else ({"transB": 1}, {})
    nodes = [
        onnx.helper.make_node(kind, ["x", "w"], [out], **edge, **more)
        for kind, more, out in zip(kinds, options, "yz", strict=True)
    ]
    described = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", *given.shape[1:]]) for n in "xyz"]
    weights = onnx.numpy_helper.from_array(values, "w")
    graph = onnx.helper.make_graph(nodes, "both", described[:1], described[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    inside, beside = tmp_path / "inside.onnx", tmp_path / "beside.onnx"
    onnx.save(model, inside)
    onnx.save(model, beside, save_as_external_data=True, location="weights", size_threshold=0)
    wanted = onnxruntime.InferenceSession(inside).run(["y", "z"], {"x": given})
    for path in (inside, beside):
        for found, right in zip(OpenVinoSession(path, threads=1).run(["y", "z"], {"x": given}), wanted, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)


def test_openvino_answers_threads_side_by_side_as_alone(bundle_folder: Path) -> None:
    pytest.importorskip("openvino")
    bundle = load(bundle_folder, threads=1, engine="openvino")
    batches = [noise(1, SIZE, seed=i) for i in range(8)]
    alone = [bundle.evidence(b, "bee").gradients for b in batches]
    found: list[np.ndarray] = [np.zeros(0)] * len(batches)

    def ask(i: int) -> None:
        found[i] = bundle.evidence(batches[i], "bee").gradients

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(a, b) for a, b in zip(alone, found, strict=True))


def test_names_that_are_no_engine_or_do_not_go_together(bundle_folder: Path) -> None:
    with pytest.raises(UnknownNameError, match="openvnio"):
        load(bundle_folder, engine="openvnio")
    with pytest.raises(UnknownNameError, match="float16"):
        load(bundle_folder, engine="openvino", precision="float16")
    with pytest.raises(InputError, match="ONNX Runtime runs bundles in float32"):
        load(bundle_folder, precision="bfloat16")
    with pytest.raises(InputError, match="chooses the precision itself"):
        load(bundle_folder, engine="auto", precision="int8")


def test_without_openvino_the_pip_command_is_named(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pellucid\[openvino\]'"):
        load(bundle_folder, engine="openvino")


def test_a_cpu_without_units_is_not_asked(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("pellucid.bundle.runtimes.cpu_capabilities", lambda: ("FP32",))
    with pytest.raises(InputError, match="no units for bfloat16"):
        load(bundle_folder, engine="openvino", precision="bfloat16")


def test_a_precision_without_proof_is_refused(bundle_folder: Path, with_bfloat16: None) -> None:
    with pytest.raises(InputError, match=r"not proven for this model.*pellucid optimise"):
        load(bundle_folder, engine="openvino", precision="bfloat16")
    assert load(bundle_folder, engine="auto").runtime == ModelRuntime()
    certify(bundle_folder)
    assert load(bundle_folder, engine="openvino", precision="bfloat16").proof.quality == GOOD
    assert load(bundle_folder, engine="auto").runtime == BF16
    with pytest.raises(InputError, match="int8 is not proven"):
        load(bundle_folder, engine="openvino", precision="int8")


def test_a_refused_precision_stays_refused(bundle_folder: Path, with_bfloat16: None) -> None:
    lost = GOOD.model_copy(
        update={"correlation": 0.9, "changed": 9, "decisions": Interval(value=0.09, low=0.05, high=0.2)}
    )
    slow, fast = (Speed(one_thread=t, all_cores=t, batch=t) for t in (0.02, 0.01))
    candidates = (Candidate(runtime=ModelRuntime(), speed=slow), Candidate(runtime=BF16, speed=fast, quality=lost))
    found = certify(bundle_folder, candidates=candidates)
    assert found.losses(found.candidates[1]) == ("decisions", "maps")
    with pytest.raises(InputError, match=r"refused for this model.*decisions, maps"):
        load(bundle_folder, engine="openvino", precision="bfloat16")
    assert load(bundle_folder, engine="auto").runtime == ModelRuntime()


@pytest.mark.parametrize("change", ["threshold", "calibration"])
def test_a_new_decision_needs_a_new_proof(bundle_folder: Path, with_bfloat16: None, change: str) -> None:
    certify(bundle_folder)
    fitted = {"method": "temperature", "scale": 0.5, "images": 40}
    amend_bundle(bundle_folder, {change: 0.3 if change == "threshold" else fitted})
    with pytest.raises(InputError, match="another calibration, threshold or description"):
        load(bundle_folder, engine="openvino", precision="bfloat16")
    assert load(bundle_folder, engine="auto").runtime == ModelRuntime()


def test_another_cpu_needs_a_new_proof(
    bundle_folder: Path, with_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify(bundle_folder)
    monkeypatch.setattr(certificates, "_cpu", lambda: "Another CPU")
    with pytest.raises(InputError, match=r"proven on another CPU .* than this one \(Another CPU\)"):
        load(bundle_folder, engine="openvino", precision="bfloat16")
    assert load(bundle_folder, engine="auto").runtime == ModelRuntime()


def test_another_openvino_needs_a_new_proof(
    bundle_folder: Path, with_bfloat16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    certify(bundle_folder)
    monkeypatch.setattr(certificates, "_installed", lambda: "2099.1.0")
    with pytest.raises(InputError, match=r"proven with OpenVINO .*, and 2099\.1\.0 is installed"):
        load(bundle_folder, engine="openvino", precision="bfloat16")
    assert load(bundle_folder, engine="auto").runtime == ModelRuntime()


def test_a_certificate_that_was_tampered_with_is_not_believed(bundle_folder: Path, with_bfloat16: None) -> None:
    certify(bundle_folder)
    path = bundle_folder / CERTIFICATE
    path.write_text(path.read_text().replace('"correlation":0.999', '"correlation":1.0'))
    with pytest.raises(BundleError, match="sha256 differs"):
        load(bundle_folder, engine="openvino", precision="bfloat16")


def test_a_verdict_cannot_be_written_into_a_certificate(bundle_folder: Path, with_bfloat16: None) -> None:
    """Not even with the right checksum: whether a candidate is accepted follows from its figures."""
    text = json.loads(certificate_of(bundle_folder).model_dump_json())
    text["candidates"][1] |= {"quality": None, "accepted": True}
    amend_bundle(bundle_folder, {}, {CERTIFICATE: json.dumps(text).encode()})
    with pytest.raises(BundleError, match="not a certificate of engines"):
        load(bundle_folder, engine="auto")


def test_a_certificate_of_another_model_or_beside_the_manifest_is_refused(bundle_folder: Path) -> None:
    found = certificate_of(bundle_folder)
    (bundle_folder / CERTIFICATE).write_text(found.model_dump_json())
    with pytest.raises(BundleError, match="not among the files"):
        read_certificate(bundle_folder, read_bundle(bundle_folder))
    certify(bundle_folder, model="0" * 64)
    with pytest.raises(BundleError, match="of another model"):
        load(bundle_folder, engine="auto")


def candidate(one: float, every: float, batch: float, precision: str = "bfloat16", **quality: object) -> Candidate:
    runtime = ModelRuntime(engine="openvino", precision=precision)
    speed = Speed(one_thread=one, all_cores=every, batch=batch)
    return Candidate(runtime=runtime, speed=speed, quality=GOOD.model_copy(update=quality))


def test_the_advised_one_is_nowhere_slower(bundle_folder: Path) -> None:
    base = Candidate(runtime=ModelRuntime(), speed=Speed(one_thread=1, all_cores=1, batch=1))

    def advised(*others: Candidate, one_thread: bool = False) -> Candidate:
        found = certificate_of(bundle_folder, candidates=(base, *others))
        return found.advised(one_thread=one_thread)

    quick, quickest = candidate(0.5, 0.5, 0.5), candidate(0.4, 0.4, 0.4, "int8")
    assert advised() == base
    assert advised(quick) == quick
    assert advised(quick, quickest) == quickest
    assert advised(quick, candidate(0.4, 0.4, 0.4, "int8", correlation=0.5)) == quick
    assert advised(candidate(0.5, 1.2, 0.5)) == base
    assert advised(candidate(0.5, 0.5, 1.04)) == base
    assert advised(candidate(0.5, 0.97, 1.0)) == base
    slow_on_all = candidate(0.5, 1.2, 1.2)
    assert advised(slow_on_all, one_thread=True) == slow_on_all


def test_losses_are_those_beyond_doubt() -> None:
    unsure = GOOD.model_copy(update={"changed": 1, "decisions": Interval(value=0.01, low=0.004, high=0.05)})
    assert unsure.losses(Tolerance(), evidence=True) == ()
    for field, value, loss in (
        ("decisions", Interval(value=0.02, low=0.006, high=0.05), "decisions"),
        ("unusual", Interval(value=0.02, low=0.006, high=0.05), "unusual images"),
        ("auc", Interval(value=-0.01, low=-0.02, high=-0.003), "auc"),
        ("correlation", 0.97, "maps"),
        ("correlation", None, "no evidence compared"),
        ("probability", None, "not a number"),
    ):
        assert GOOD.model_copy(update={field: value}).losses(Tolerance(), evidence=True) == (loss,)


def test_an_answer_near_the_threshold_says_so_in_lower_precision(bundle_folder: Path, with_bfloat16: None) -> None:
    """The threshold is laid at distances around an image's own probability: within twice the margin it is near."""
    image = np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8)
    own = load(bundle_folder, threads=1)
    z = float(own.logits(own.preprocessing.tensors([own.read(image)]))[0, 0])
    for away, near in ((0.0, True), (0.08, True), (-0.08, True), (0.12, False), (-0.12, False)):
        amend_bundle(bundle_folder, {"threshold": float(1 / (1 + np.exp(-(z + away))))})
        certify(bundle_folder)
        lower = load(bundle_folder, threads=1, engine="openvino", precision="bfloat16")
        if not _computes("BF16"):
            assert NEAR not in load(bundle_folder, threads=1).predict(image).warnings
            continue
        moved = float(lower.logits(own.preprocessing.tensors([own.read(image)]))[0, 0]) - z
        assert abs(moved) < 0.01
        assert (NEAR in lower.predict(image).warnings) is near
        assert NEAR not in load(bundle_folder, threads=1).predict(image).warnings
        assert NEAR not in load(bundle_folder, threads=1, engine="openvino").predict(image).warnings


def _computes(unit: str) -> bool:
    from pellucid.bundle.openvino_session import core

    return unit in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_distances_to_where_an_answer_changes(bundle_folder: Path) -> None:
    manifest = read_bundle(bundle_folder)
    logits = np.array([[-1.0], [0.5], [2.0]], np.float32)
    other = manifest.model_copy(update={"threshold": 0.7})
    assert np.allclose(decision_distances(other, logits), logits[:, 0] - np.log(0.7 / 0.3))
    assert np.array_equal(decision_distances(other, logits) >= 0, manifest.model_copy(update={"threshold": 0.7}).predicted(logits) == 1)  # fmt: skip  # noqa: E501
    assert largest_move(other, logits, logits + np.array([[0.1], [-0.3], [0.2]], np.float32)) == pytest.approx(0.3)
    several = manifest.model_copy(update={"task": "multiclass", "classes": ("a", "b", "c"), "logits": 3})
    one = np.array([[3.0, 1.0, 2.5]], np.float32)
    assert decision_distances(several, one)[0] == pytest.approx(0.5)
    assert largest_move(several, one, one + np.array([[-0.2, 0.0, 0.1]], np.float32)) == pytest.approx(0.3)
    regression = manifest.model_copy(update={"task": "regression", "threshold": 0.4})
    assert np.allclose(decision_distances(regression, logits), logits[:, 0] - 0.4)


def test_this_machine_is_known() -> None:
    here = Machine.here()
    assert here.cpu
    assert here.cores == os.cpu_count()


def test_where_an_answer_is_withheld_is_near_too(bundle_folder: Path) -> None:
    """Nothing is answered below a probability of 0.8, and an outside score above 1 is none of the classes."""
    abstention = Abstention(
        asked="errors<=0.1", wrong="errors", most=0.1, least=0.8, answered=0.9, bound=0.09, images=100, needed=30
    )
    rules = AnsweringRules(abstention=abstention, reject="unlike")
    manifest = read_bundle(bundle_folder).model_copy(update={"answering": rules, "threshold": 0.5})
    edge = np.log(0.8 / 0.2)
    for away, near in ((0.0, True), (0.09, True), (-0.09, True), (0.11, False), (-0.11, False)):
        for sign in (1, -1):
            assert is_near(manifest, np.array([sign * (edge + away)], np.float32), 0.05) is near
    far = np.array([5.0], np.float32)
    for outside, near in ((0.97, True), (1.03, True), (0.9, False), (None, False)):
        assert is_near(manifest, far, 0.05, outside, 0.02) is near
    assert not is_near(manifest.model_copy(update={"answering": None}), far, 0.05, 1.0, 0.02)
    several = manifest.model_copy(update={"task": "multiclass", "classes": ("a", "b", "c"), "logits": 3})
    for away, near in ((0.05, True), (0.15, False)):
        assert is_near(several, np.array([np.log(8) + away, 0, 0], np.float32), 0.05) is near
