"""RefineCAM and Winsor-CAM against other programs and closed forms, and several layers from one graph."""

import numpy as np
import pytest
import torch
from tests.small_networks import manifest_of, noise, recipe_of
from torch import nn

from pellucid.bundle.bundle import load
from pellucid.classifier import Evidence
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.cam import layercam
from pellucid.explanation.explain import explain_tensors
from pellucid.explanation.layered_cams import (
    RefineCamSettings,
    WinsorCamSettings,
    layer_weights,
    refined,
    stretched,
    winsorised,
)
from pellucid.models.export import export_bundle
from pellucid.models.network import Network
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import GridGeometry, Preprocessing

SIZE = (32, 32)
NAMES = ("backbone.1", "backbone.3", "backbone.5")


class Tiles(Network):
    """Three layers whose cells tile the image, so that every library lays their maps in the same places."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        backbone = nn.Sequential(
            nn.Conv2d(3, 6, 2, 2), nn.ReLU(), nn.Conv2d(6, 8, 2, 2), nn.ReLU(), nn.Conv2d(8, 10, 2, 2), nn.ReLU()
        )
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        head = nn.Sequential(nn.Linear(10, 6), nn.Tanh(), nn.Linear(6, 3))
        super().__init__(backbone, pool, head, "backbone.5")
        # Large scores: pytorch-grad-cam adds 1e-6 to squares of gradients in Grad-CAM++, which must not count.
        with torch.no_grad():
            head[2].weight *= 1e5


@pytest.fixture(scope="module")
def network():
    return Tiles().eval()


@pytest.fixture(scope="module")
def bundle(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layered") / "bundle"
    manifest = manifest_of(network, recipe_of(size=SIZE).preprocessing(), 3, "backbone.5")
    export_bundle(network, manifest, folder, images=noise(2, SIZE), source="noise", every_method=True)
    return load(folder, threads=1)


def test_the_bundle_gives_the_explained_layer_and_those_of_finer_grids_before_it(bundle):
    assert bundle.manifest.layered is not None
    assert tuple(layer.name for layer in bundle.manifest.layered.layers) == NAMES
    assert [layer.geometry for layer in bundle.manifest.layered.layers] == [
        GridGeometry((s, s), (s / 2, s / 2)) for s in (2.0, 4.0, 8.0)
    ]
    assert bundle.manifest.layered.graph in bundle.manifest.graphs


@pytest.mark.parametrize("score", [None, "logit"])
def test_evidence_of_each_layer_is_that_of_autograd(bundle, network, score):
    batch, names = noise(2, SIZE, seed=5), ("cat", "ant")
    found = bundle.layered_evidence(batch, names, score)
    assert [e.layer for e in found] == list(NAMES)
    for evidence in found:
        alone = TorchClassifier(network, bundle.manifest).at(evidence.layer).evidence(batch, names, score)
        for kind in ("logits", "activations", "gradients"):
            ours, theirs = getattr(evidence, kind), getattr(alone, kind)
            assert np.abs(ours - theirs).max() <= 1e-4 * np.abs(theirs).max()
        assert evidence.geometry == alone.geometry
        assert evidence.targets == names


def test_a_live_network_gives_the_same_from_one_pass(bundle, network):
    batch = noise(3, SIZE, seed=7)
    plain = TorchClassifier(network, bundle.manifest.model_copy(update={"layered": None}))
    for ours, theirs in zip(plain.layered_evidence(batch), bundle.layered_evidence(batch), strict=True):
        assert (ours.layer, ours.geometry) == (theirs.layer, theirs.geometry)
        assert np.abs(ours.gradients - theirs.gradients).max() <= 1e-4 * np.abs(theirs.gradients).max()


class CountsImages(Tiles):
    """Positions are laid out for as many images as came in, as XCiT does: nothing before them can run once for all."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 8, 8, 8))

    def forward(self, image):
        before = self.backbone[:4](image) + self.positions.repeat(image.shape[0], 1, 1, 1)
        return self.head(self.pool(self.backbone[4:](before)))


def test_a_network_that_counts_its_images_runs_whole_for_each_target(tmp_path):
    network = CountsImages().eval()
    manifest = manifest_of(network, recipe_of(size=SIZE).preprocessing(), 3, "backbone.5")
    export_bundle(network, manifest, tmp_path / "bundle", images=noise(2, SIZE), source="noise", every_method=True)
    bundle, batch, names = load(tmp_path / "bundle", threads=1), noise(3, SIZE, seed=5), ("cat", "ant")
    assert bundle.manifest.missing == {}
    assert tuple(layer.name for layer in bundle.manifest.layered.layers) == NAMES
    live = TorchClassifier(network, bundle.manifest)
    for together in (bundle.layered_evidence(batch, names, "logit"), live.layered_evidence(batch, names, "logit")):
        for evidence in together:
            for i, name in enumerate(names):
                activations, gradients = by_autograd(network, evidence.layer, batch, bundle.classes.index(name))
                assert np.abs(evidence.activations - activations).max() <= 1e-4 * np.abs(activations).max()
                assert np.abs(evidence.gradients[:, i] - gradients).max() <= 1e-4 * np.abs(gradients).max()


def by_autograd(network, layer, batch, index):
    kept = []
    handle = network.get_submodule(layer).register_forward_hook(lambda module, inputs, output: kept.append(output))
    score = network(torch.tensor(batch))[:, index].sum()
    handle.remove()
    return kept[0].detach().numpy(), torch.autograd.grad(score, kept[0])[0].numpy()


@pytest.mark.parametrize("base", ["grad-cam++", "layercam", "grad-cam"])
def test_refine_cam_is_that_of_pytorch_grad_cam(bundle, network, base):
    from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM, RefineCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    batch = noise(3, SIZE, seed=9)
    peers = {"grad-cam++": GradCAMPlusPlus, "layercam": LayerCAM, "grad-cam": GradCAM}
    peer = RefineCAM(network, [network.get_submodule(name) for name in NAMES], base_method=peers[base])
    expected = peer(torch.from_numpy(batch), [ClassifierOutputTarget(2)] * 3)
    asked = {"method": "refine-cam", "target": "cat", "score": "logit", "settings": RefineCamSettings(base=base)}
    answers = explain_tensors(bundle, batch, [SIZE] * 3, **asked)
    found = np.stack([a.attributions[0].values for a in answers])
    assert found.max() <= 1
    for one, other in zip(found, expected, strict=True):
        assert np.allclose(stretched(one), other, atol=2e-3)
    assert answers[0].attributions[0].settings["layers"] == list(NAMES)


def evidence_of(maps, gradients):
    """Evidence of one channel whose Grad-CAM is `maps` times the mean of `gradients`, on tiles of an 8 x 8 input."""
    activations = np.asarray(maps, np.float32)[None, None]
    cells = activations.shape[2]
    stride = 8 / cells
    geometry = GridGeometry((stride, stride), (stride / 2, stride / 2))
    slopes = np.broadcast_to(np.asarray(gradients, np.float32), (1, 1, 1, cells, cells))
    return Evidence(np.zeros((1, 1), np.float32), activations, slopes, geometry, f"layer of {cells}", ("ant",))


def test_refine_cam_of_even_layers_is_the_map_of_the_one_that_is_not():
    shape = Preprocessing(height=8, width=8)
    fine = np.arange(16.0).reshape(4, 4)
    alone = refined([evidence_of(fine, 1.0)], shape, layercam)
    both = refined([evidence_of(fine, 1.0), evidence_of(np.full((2, 2), 3.0), 1.0)], shape, layercam)
    assert np.array_equal(alone, both)
    assert (alone.min(), alone.max()) == (0, 1)
    silent = refined([evidence_of(fine, 1.0), evidence_of(np.full((2, 2), 3.0), -1.0)], shape, layercam)
    assert not silent.any()


def test_winsor_cam_is_the_sum_of_its_layers_with_their_weights():
    shape = Preprocessing(height=8, width=8)
    layers = [evidence_of(np.arange(16.0).reshape(4, 4), 1.0), evidence_of([[0, 1], [2, 4]], 3.0)]
    each = [winsorised([layer], shape)[0, 0] for layer in layers]
    # With the 50th percentile the greater weight, 3, is lowered to 2; 1 and 2 become 0.1 and 1.
    assert np.allclose(winsorised(layers, shape, 50)[0, 0], 0.1 * each[0] + each[1], atol=1e-6)
    assert np.allclose(winsorised(layers, shape, 0)[0, 0], each[0] + each[1], atol=1e-6)
    against = [layers[0], evidence_of([[0, 1], [2, 4]], -3.0)]
    assert np.allclose(winsorised(against, shape)[0, 0], each[0], atol=1e-6)


def test_weights_are_those_of_the_paper_s_own_program():
    """`winsorize_preserve_zeros` and `normalize_nonzero` of the paper's repository, written again with torch."""

    def theirs(importance, percentile):
        given = torch.relu(torch.tensor(importance))
        some = given > 0
        if not some.any():
            return given.numpy()
        if percentile == 0:
            return some.double().numpy()
        kept = given[some].clamp(max=torch.quantile(given[some], percentile / 100))
        spread = kept.max() - kept.min()
        given[some] = torch.ones_like(kept) if spread == 0 else 0.1 + (kept - kept.min()) / spread * 0.9
        return given.numpy()

    random = np.random.default_rng(0)
    for row in (*random.normal(size=(20, 6)), -np.ones(3), np.full(4, 2.0)):
        for percentile in (0, 10, 50, 90, 100):
            assert np.allclose(layer_weights(row, percentile), theirs(row, percentile), atol=1e-6)


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UnknownNameError, match="base of refine-cam"):
        RefineCamSettings(base="eigen-cam")
    with pytest.raises(InputError, match="percentile"):
        WinsorCamSettings(percentile=101)


def test_a_network_without_a_layer_before_the_explained_one_says_so(tmp_path):
    torch.manual_seed(0)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Network(nn.Sequential(nn.Conv2d(3, 6, 3)), pool, nn.Linear(6, 1), "backbone.0").eval()
    manifest = manifest_of(network, recipe_of().preprocessing(), 2, "backbone.0")
    folder = tmp_path / "bundle"
    done = export_bundle(network, manifest, folder, images=noise(2, 24), source="noise", every_method=True)
    assert done.layered is None
    assert "no layer before" in done.missing["several layers"]
    with pytest.raises(InputError, match="no graph for the several layers: no layer before"):
        load(folder).explain(np.zeros((24, 24, 3), np.uint8), method="refine-cam")
