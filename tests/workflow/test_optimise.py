"""`optimise_run`: what is measured is what a slow count finds, and what loses too much is refused."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import PIL.Image
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tests.small_networks import manifest_of, network_of, noise, recipe_of

from pellucid.bundle.bundle import Bundle, load
from pellucid.bundle.certificate import CERTIFICATE, Certificate, Tolerance, read_certificate
from pellucid.bundle.io import amend_bundle, read_bundle
from pellucid.bundle.nearness import NEAR
from pellucid.bundle.openvino_session import OpenVinoSession
from pellucid.bundle.runtimes import ModelRuntime
from pellucid.errors import BundleError, InputError
from pellucid.models.export import export_bundle
from pellucid.workflow.from_torch import from_torch
from pellucid.workflow.optimise.int8 import GRAPH, quantised
from pellucid.workflow.optimise.quality import map_correlations
from pellucid.workflow.optimise.run import optimise_run

SIZE = 24
FLOAT32, BF16, INT8 = (ModelRuntime(engine="openvino", precision=p) for p in ("float32", "bfloat16", "int8"))
ANYTHING = Tolerance(decisions=1, auc=1, maps=-1)

pytest.importorskip("openvino")


def units() -> tuple[str, ...]:
    from pellucid.bundle.runtimes import cpu_capabilities

    return cpu_capabilities()


needs_bf16 = pytest.mark.skipif("BF16" not in units(), reason="this CPU has no units for bfloat16")


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[torch.nn.Module, str], Path]:
    """Export a network as a bundle."""

    def export(network: torch.nn.Module, name: str) -> Path:
        recipe = recipe_of("cnn", SIZE, batch_norm=True)
        folder = tmp_path_factory.mktemp(name) / "bundle"
        manifest = manifest_of(network, recipe.preprocessing(), 2, network.explained_layer)
        export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise")
        return folder

    return export


@pytest.fixture
def honest(folder_of: Callable[[torch.nn.Module, str], Path]) -> Path:
    return folder_of(network_of(recipe_of("cnn", SIZE, batch_norm=True), seed=4), "honest")


@pytest.fixture
def planted(folder_of: Callable[[torch.nn.Module, str], Path]) -> Path:
    """A network whose logit is a thousand times the difference of two channels that differ by a thousandth."""
    network = network_of(recipe_of("cnn", SIZE, filters=(6, 8)), seed=4)
    convolution = [m for m in network.backbone.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    torch.manual_seed(7)
    with torch.no_grad():
        convolution.weight[1] = convolution.weight[0] * (1 + 1e-3 * torch.randn_like(convolution.weight[0]))
        convolution.bias[1] = convolution.bias[0] = 1.0
        network.head.output.weight.zero_()
        network.head.output.weight[0, :2] = torch.tensor([1000.0, -1000.0])
    return folder_of(network, "planted")


def pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Smooth pictures of many brightnesses, in two classes by turns."""
    random = np.random.default_rng(seed)
    paths = []
    for i in range(count):
        cells = random.integers(0, 256, (4, 4, 3)).astype(np.uint8)
        path = folder / ("ant", "bee")[i % 2] / f"{seed}-{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(cells).resize((SIZE, SIZE), PIL.Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths


def with_threshold_amid(bundle: Path, paths: list[Path]) -> Bundle:
    """The threshold at the median of the pictures' probabilities, so that both classes are answered."""
    found = sorted(p.probabilities["bee"] for p in load(bundle, threads=1).predict(paths))
    amend_bundle(bundle, {"threshold": float(found[len(found) // 2])})
    return load(bundle, threads=1)


@needs_bf16
def test_a_model_of_tiny_differences_of_large_numbers_is_refused_in_bfloat16(planted: Path, tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 60)
    own = with_threshold_amid(planted, paths)
    found = optimise_run(planted, tmp_path / "data", seconds=0.1)
    candidate = found.find(BF16)
    assert candidate is not None
    assert "decisions" in found.losses(candidate)
    with pytest.raises(InputError, match="was refused for this model"):
        load(planted, engine="openvino", precision="bfloat16")
    exact = found.find(FLOAT32)
    assert exact is not None
    theirs = load(planted, engine="openvino", threads=1).predict(paths)
    changed = sum(a.label != b.label for a, b in zip(own.predict(paths), theirs, strict=True))
    assert exact.quality is not None
    assert exact.quality.changed == changed
    assert load(planted, engine="auto").runtime != BF16


def test_int8_needs_training_images(honest: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    pictures(tmp_path / "data", 20)
    found = optimise_run(honest, tmp_path / "data", seconds=0.1)
    assert [(u.runtime, u.reason) for u in found.untried if u.runtime == INT8] == [(INT8, "no training images")]
    assert found.find(INT8) is None
    assert read_certificate(honest, read_bundle(honest)) == found


def test_int8_leaves_the_gradients_of_a_transformer_in_float(tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    network = timm.models.VisionTransformer(**sizes, num_classes=2).eval()
    preprocessing = recipe_of("cnn", 32).preprocessing()
    bundle = from_torch(
        network, ["ant", "bee"], preprocessing, out=tmp_path / "bundle", gives="logits", every_method=False
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    for name, content in quantised(bundle, pixels).items():
        (tmp_path / name).write_bytes(content)
    target = np.ones((8, 1, bundle.manifest.logits), np.float32)
    given = {"image": bundle.preprocessing.normalise(pixels), "target": target, "contrast": np.array(1, np.float32)}
    (found,) = OpenVinoSession(tmp_path / GRAPH, "int8", 1).run(["gradients"], given)
    (wanted,) = onnxruntime.InferenceSession(tmp_path / "bundle" / "model.onnx").run(["gradients"], given)
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.98


def test_int8_is_kept_when_accepted_and_goes_when_refused(honest: Path, tmp_path: Path) -> None:
    pytest.importorskip("nncf")
    for split, count in (("train", 24), ("val", 30)):
        paths = pictures(tmp_path / "data" / split, count, seed=len(split))
    own = with_threshold_amid(honest, paths)
    found = optimise_run(honest, tmp_path / "data", tolerance=ANYTHING, seconds=0.1)
    assert found.calibrated_on == 24
    candidate = found.find(INT8)
    assert candidate is not None
    assert found.losses(candidate) == ()
    assert {"int8.xml", "int8.bin", CERTIFICATE} <= read_bundle(honest).files.keys()
    lower = load(honest, engine="openvino", precision="int8", threads=1)
    batch = lower.preprocessing.tensors([lower.read(p) for p in paths])
    difference = np.abs(lower.probabilities(batch) - own.probabilities(batch)).max()
    assert candidate.quality is not None
    assert 0 < difference < 0.2
    assert difference == pytest.approx(candidate.quality.probability, rel=1e-3)
    content = (honest / "int8.bin").read_bytes()
    (honest / "int8.bin").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleError, match="sha256 differs"):
        load(honest, engine="openvino", precision="int8")
    (honest / "int8.bin").write_bytes(content)
    optimise_run(honest, tmp_path / "data", tolerance=Tolerance(maps=1), seconds=0.1)
    assert not (honest / "int8.xml").exists()
    assert "int8.bin" not in read_bundle(honest).files
    assert load(honest, engine="auto").runtime.precision != "int8"


def test_without_openvino_only_onnxruntime_is_measured(
    honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    pictures(tmp_path / "data", 10)
    found = optimise_run(honest, tmp_path / "data", seconds=0.1)
    assert [c.runtime for c in found.candidates] == [ModelRuntime()]
    assert {u.reason for u in found.untried} == {"not installed"}
    assert all("pip install" in u.detail for u in found.untried)
    assert load(honest, engine="auto").runtime == ModelRuntime()


@needs_bf16
def test_no_decision_changes_silently_near_the_threshold(honest: Path, tmp_path: Path) -> None:
    """Pictures between two, so that some lie as near the threshold as single precision can tell."""
    paths = pictures(tmp_path / "data", 40)
    own = with_threshold_amid(honest, paths)
    optimise_run(honest, tmp_path / "data", tolerance=ANYTHING, seconds=0.1)
    own = load(honest, threads=1)
    lower = load(honest, threads=1, engine="openvino", precision="bfloat16")
    read = [np.asarray(PIL.Image.open(p)).astype(np.float64) for p in paths]
    labels = [p.label for p in own.predict(paths)]
    ants, bees = ([r for r, label in zip(read, labels, strict=True) if label == c] for c in ("ant", "bee"))
    edges = [_edge(own, a, b) for a, b in zip(ants, bees, strict=False)]
    seen = {"near": 0, "changed": 0}

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
    @given(pair=st.integers(0, len(edges) - 1), step=st.floats(-0.05, 0.05))
    def check(pair: int, step: float) -> None:
        share = min(max(edges[pair] + step, 0.0), 1.0)
        image = np.clip(np.rint(share * bees[pair] + (1 - share) * ants[pair]), 0, 255).astype(np.uint8)
        one, other = own.predict(image), lower.predict(image)
        assert one.label == other.label or NEAR in other.warnings
        assert NEAR not in one.warnings
        seen["near"] += NEAR in other.warnings
        seen["changed"] += one.label != other.label

    check()
    assert seen["near"] > 0


def _edge(bundle: Bundle, ant: np.ndarray, bee: np.ndarray) -> float:
    """The share of the second picture at which the answer changes, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(12):
        share = (low + high) / 2
        image = np.clip(np.rint(share * bee + (1 - share) * ant), 0, 255).astype(np.uint8)
        low, high = (low, share) if bundle.predict(image).label == "bee" else (share, high)
    return high


@needs_bf16
def test_figures_are_those_of_a_slow_count(honest: Path, tmp_path: Path) -> None:
    paths = pictures(tmp_path / "data", 30)
    own = with_threshold_amid(honest, paths)
    found: Certificate = optimise_run(honest, tmp_path / "data", tolerance=ANYTHING, seconds=0.1)
    lower = load(honest, threads=1, engine="openvino", precision="bfloat16")
    held = found.find(BF16).quality
    edge = np.log(own.manifest.threshold / (1 - own.manifest.threshold))
    tensors = own.preprocessing.tensors([own.read(p) for p in paths])
    batches = np.concatenate([lower.logits_and_features(tensors[i : i + 16])[0] for i in (0, 16)])
    moved, changed, probabilities, correlations, places = [], 0, [], [], 0
    for i, path in enumerate(paths):
        tensor, one = tensors[i : i + 1], own.predict(path)
        evidence = [b.evidence(tensor, one.label) for b in (own, lower)]
        z = float(own.logits(tensor)[0, 0])
        ways = [batches[i, 0], lower.logits(tensor)[0, 0], lower.logits_and_features(tensor)[0][0, 0]]
        ways = [float(w) for w in (*ways, evidence[1].logits[0, 0])]
        moved.append(max(abs(w - z) for w in ways))
        changed += any((w >= edge) != (z >= edge) for w in ways)
        probabilities.append(max(abs(1 / (1 + np.exp(-w)) - 1 / (1 + np.exp(-z))) for w in ways))
        weights = [e.gradients[0, 0].mean(axis=(1, 2)) for e in evidence]
        maps = [
            np.maximum((w[:, None, None] * e.activations[0]).sum(0), 0) for w, e in zip(weights, evidence, strict=True)
        ]
        if np.ptp(maps[0]) > 0 and np.ptp(maps[1]) > 0:
            correlations.append(spearmanr(maps[0].ravel(), maps[1].ravel()).statistic)
        else:
            correlations.append(float(np.ptp(maps[0]) == np.ptp(maps[1])))
        places += int(maps[0].argmax() != maps[1].argmax())
    assert (held.images, held.changed, held.maps) == (30, changed, 30)
    assert held.probability == pytest.approx(max(probabilities), abs=1e-6)
    assert held.margin == pytest.approx(max(moved), abs=1e-5)
    assert held.correlation == pytest.approx(np.median(correlations), abs=2e-3)
    assert held.correlation_least == pytest.approx(min(correlations), abs=2e-3)
    assert held.moved == pytest.approx(places / 30)
    warned = [NEAR in p.warnings for p in lower.predict(paths)]
    assert held.near == pytest.approx(np.mean(warned), abs=1.5 / 30)  # a batch may round to the other side
    assert found.find(FLOAT32).quality.near is None


def test_maps_that_are_the_same_everywhere() -> None:
    flat, other = np.zeros((1, 2, 2), np.float32), np.array([[[0, 1], [2, 3]]], np.float32)
    assert map_correlations(flat, flat)[0] == 1
    assert map_correlations(flat, other)[0] == 0
    assert map_correlations(other, 2 * other)[0] == pytest.approx(1)
    assert map_correlations(other, -other)[0] == pytest.approx(-1)
