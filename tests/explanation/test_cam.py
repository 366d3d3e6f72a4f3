"""CAM methods against loops written from the papers' equations, closed forms, autograd, and peers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.explanation.live_networks import live
from tests.small_networks import noise, recipe_of

from pellucid.explanation import cam, maps

MapOf = Callable[[np.ndarray, np.ndarray], np.ndarray]


def random_evidence(
    channels: int = 5, cells: tuple[int, int] = (4, 6), *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A (3, C, h, w) as after a ReLU with one channel dead, and G (3, 2, C, h, w) of both signs with zeros in it."""
    random = np.random.default_rng(seed)
    activations = np.maximum(random.normal(size=(3, channels, *cells)), 0)
    activations[1, 2] = 0
    gradients = random.normal(size=(3, 2, channels, *cells))
    gradients[random.random(gradients.shape) < 0.1] = 0
    return activations.astype(np.float32), gradients.astype(np.float32)


def by_channel_weights(weight: Callable[[np.ndarray, np.ndarray], float]) -> MapOf:
    def slow(a: np.ndarray, g: np.ndarray) -> np.ndarray:
        return sum(weight(a[k], g[k]) * a[k] for k in range(len(a)))

    return slow


def grad_cam_weight(a: np.ndarray, g: np.ndarray) -> float:
    return sum(g[i, j] for i in range(g.shape[0]) for j in range(g.shape[1])) / g.size


def equation_19_weight(a: np.ndarray, g: np.ndarray) -> float:
    total, weight = a.sum(), 0.0
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            if g[i, j] != 0:
                alpha = g[i, j] ** 2 / (2 * g[i, j] ** 2 + total * g[i, j] ** 3)
                weight += alpha * max(g[i, j], 0)
    return weight


def xgrad_weight(a: np.ndarray, g: np.ndarray) -> float:
    if a.sum() == 0:
        return 0.0
    return sum(a[i, j] / a.sum() * g[i, j] for i in range(a.shape[0]) for j in range(a.shape[1]))


def cell_by_cell(weight: Callable[[float], float]) -> MapOf:
    def slow(a: np.ndarray, g: np.ndarray) -> np.ndarray:
        cells = np.zeros(a.shape[1:])
        for k, i, j in np.ndindex(*a.shape):
            cells[i, j] += weight(g[k, i, j]) * a[k, i, j]
        return cells

    return slow


def first_component(a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """O V_1 by a singular value decomposition of the cells by channels matrix, as the paper has it."""
    matrix = a.reshape(len(a), -1).T
    projection = matrix @ np.linalg.svd(matrix)[2][0]
    return (projection if projection.sum() > 0 else -projection).reshape(a.shape[1:])


SLOW: dict[str, tuple[MapOf, MapOf]] = {
    "grad-cam": (cam.grad_cam, by_channel_weights(grad_cam_weight)),
    "grad-cam++": (cam.grad_cam_plus_plus, by_channel_weights(equation_19_weight)),
    "hirescam": (cam.hirescam, cell_by_cell(lambda g: g)),
    "xgrad-cam": (cam.xgrad_cam, by_channel_weights(xgrad_weight)),
    "layercam": (cam.layercam, cell_by_cell(lambda g: max(g, 0.0))),
    "eigen-cam": (cam.eigen_cam, first_component),
}


@pytest.mark.parametrize("name", SLOW)
@pytest.mark.parametrize("shape", [(5, (4, 6)), (30, (3, 4))], ids=["more cells", "more channels"])
def test_map_is_what_the_equations_say_cell_by_cell(name, shape):
    fast, slow = SLOW[name]
    activations, gradients = random_evidence(*shape)
    maps = fast(activations, gradients)
    assert maps.dtype == np.float32
    assert maps.shape == (3, 2, *shape[1])
    for n in range(3):
        for t in range(2):
            expected = slow(activations[n].astype(np.float64), gradients[n, t].astype(np.float64))
            assert np.abs(expected).max() > 0.01
            assert np.allclose(maps[n, t], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SLOW)
def test_no_evidence_gives_zeros_and_arguments_are_left_alone(name):
    fast = SLOW[name][0]
    activations, gradients = random_evidence()
    before = activations.copy(), gradients.copy()
    fast(activations, gradients)
    assert np.array_equal(activations, before[0])
    assert np.array_equal(gradients, before[1])
    assert np.array_equal(fast(np.zeros_like(activations), gradients), np.zeros((3, 2, 4, 6)))
    if name != "eigen-cam":
        assert np.array_equal(fast(activations, np.zeros_like(gradients)), np.zeros((3, 2, 4, 6)))


class TestWithGlobalAveragePoolingAndALinearHead:
    """There the maps are known: sum_c w_c A_c over the number of cells, and its sum is the logit without its bias."""

    recipe = recipe_of(pool="average", layer="backbone.pool2")

    def test_grad_cam_hirescam_and_xgrad_cam_are_cam_over_the_number_of_cells(self):
        network, classifier = live(self.recipe, 3)
        evidence = classifier.evidence(noise(2, 24), classifier.classes, "logit")
        weight, bias = (p.detach().numpy() for p in (network.head.output.weight, network.head.output.bias))
        zhou = np.einsum("tc,nchw->nthw", weight, evidence.activations)
        cells = evidence.activations[0, 0].size
        assert np.abs(zhou).max() > 0.1
        for map_of in (cam.grad_cam, cam.hirescam, cam.xgrad_cam):
            maps = map_of(evidence.activations, evidence.gradients)
            assert np.allclose(maps, zhou / cells, rtol=1e-4, atol=1e-6)
            assert np.allclose(maps.sum((2, 3)) + bias, evidence.logits, rtol=1e-4, atol=1e-5)

    def test_layercam_keeps_the_channels_that_speak_for_the_class(self):
        network, classifier = live(self.recipe, 3)
        evidence = classifier.evidence(noise(2, 24), classifier.classes, "logit")
        weight = network.head.output.weight.detach().numpy()
        expected = np.einsum("tc,nchw->nthw", np.maximum(weight, 0), evidence.activations) / (6 * 6)
        assert evidence.activations.shape[2:] == (6, 6)
        assert np.allclose(cam.layercam(evidence.activations, evidence.gradients), expected, rtol=1e-4, atol=1e-7)

    def test_log_odds_of_two_classes_are_the_logit_and_its_negative(self):
        network, classifier = live(self.recipe, 2)
        evidence = classifier.evidence(noise(2, 24), classifier.classes)
        bias = network.head.output.bias.detach().numpy()
        maps = cam.hirescam(evidence.activations, evidence.gradients)
        assert np.allclose(maps[:, 1].sum((1, 2)) + bias, evidence.logits[:, 0], rtol=1e-4)
        assert np.array_equal(maps[:, 0], -maps[:, 1])


def test_hirescam_and_xgrad_cam_sum_to_the_logit_where_the_head_knows_positions_and_grad_cam_does_not():
    network, classifier = live(recipe_of(pool="flatten", layer="backbone.pool2"), 3)
    evidence = classifier.evidence(noise(2, 24), classifier.classes, "logit")
    decided = evidence.logits - network.head.output.bias.detach().numpy()
    sums = {
        name: SLOW[name][0](evidence.activations, evidence.gradients).sum((2, 3))
        for name in ("hirescam", "xgrad-cam", "grad-cam")
    }
    assert np.allclose(sums["hirescam"], decided, rtol=1e-4, atol=1e-5)
    assert np.allclose(sums["xgrad-cam"], decided, rtol=1e-4, atol=1e-5)
    assert np.abs(sums["grad-cam"] - decided).max() > 0.1 * np.abs(decided).max()


class TestGradCamPlusPlus:
    def test_weights_are_those_of_equation_10_for_an_exponential_score(self):
        """Second and third derivatives of Y = exp(S) by autograd, S linear in A behind the ReLU."""
        torch.manual_seed(0)
        a = torch.rand(3, 2, 2, dtype=torch.float64)
        head = torch.randn(3, 2, 2, dtype=torch.float64) / 3
        expected, score = torch.zeros(2, 2, dtype=torch.float64), (a * head).sum()
        for k in range(3):
            weight = torch.tensor(0.0, dtype=torch.float64)
            for i, j in np.ndindex(2, 2):
                cell = a[k, i, j].clone().requires_grad_(True)
                y = torch.exp(score - (a[k, i, j] - cell) * head[k, i, j])
                first = torch.autograd.grad(y, cell, create_graph=True)[0]
                second = torch.autograd.grad(first, cell, create_graph=True)[0]
                third = torch.autograd.grad(second, cell)[0]
                alpha = second / (2 * second + a[k].sum() * third)
                weight = weight + (alpha * first.clamp_min(0)).detach()
            expected += weight * a[k]
        ours = cam.grad_cam_plus_plus(a.float().numpy()[None], head.float().numpy()[None, None])[0, 0]
        assert np.allclose(ours * np.exp(score.item()), expected.numpy(), rtol=1e-5)

    def test_gradients_whose_squares_underflow_count_in_full(self):
        """In float32 G^2 of 1e-25 is 0; where sum(A) G is nothing beside 2, alpha is one half."""
        activations, gradients = random_evidence()
        tiny = gradients * np.float32(1e-25)
        expected = np.einsum("ntc,nchw->nthw", np.maximum(gradients, 0).sum((3, 4)) / 2, activations)
        assert np.allclose(cam.grad_cam_plus_plus(activations, tiny) * 1e25, expected, rtol=1e-4)

    def test_the_sum_in_the_denominator_is_not_of_activations_times_gradients(self):
        """sum_ab(A_ab G_ab^3), as some have it, is another weight; the test must be able to tell."""
        activations, gradients = random_evidence()
        cubes = (activations[:, None] * gradients**3).sum((3, 4), keepdims=True)
        denominator = 2 * gradients**2 + cubes
        alpha = np.divide(gradients**2, denominator, out=np.zeros_like(gradients), where=denominator != 0)
        wrong = cam.weighted_sum((alpha * np.maximum(gradients, 0)).sum((3, 4)), activations)
        right = cam.grad_cam_plus_plus(activations, gradients)
        assert np.abs(wrong - right).max() > 0.1 * np.abs(right).max()

    def test_a_denominator_that_is_not_positive_gives_no_weight(self):
        activations = np.array([[[[-4.0, 0.0]], [[1.0, 2.0]]]], np.float32)  # sums -4 and 3
        gradients = np.array([[[[[0.5, 1.0]], [[1.0, -1.0]]]]], np.float32)
        # Channel 0: 2 - 4 * 0.5 is 0 and 2 - 4 * 1 is negative. Channel 1: 1 / (2 + 3).
        assert np.allclose(cam.grad_cam_plus_plus(activations, gradients), [[[[0.2, 0.4]]]])


class TestXGradCam:
    def test_a_channel_that_cancels_has_no_weight(self):
        activations = np.array([[[[1.0, -1.0]], [[1.0, 3.0]]]], np.float32)
        gradients = np.array([[[[[5.0, 2.0]], [[1.0, 2.0]]]]], np.float32)
        # Channel 1: (1 * 1 + 3 * 2) / 4.
        assert np.allclose(cam.xgrad_cam(activations, gradients), [[[[1.75, 5.25]]]])


class TestEigenCam:
    def test_is_the_same_for_every_class(self):
        maps = cam.eigen_cam(*random_evidence())
        assert maps.max() > 0
        assert np.array_equal(maps[:, 0], maps[:, 1])

    @pytest.mark.parametrize("cells", [(2, 2), (5, 5)])
    def test_finds_the_one_map_that_all_channels_share(self, cells):
        """Of rank one, A = weight_c shape_ij, the projection is shape times the length of the weights."""
        random = np.random.default_rng(0)
        shape, weights = random.random(cells).astype(np.float32), random.random(7).astype(np.float32)
        maps = cam.eigen_cam((weights[:, None, None] * shape)[None], np.zeros((1, 1, 7, *cells), np.float32))
        assert np.allclose(maps[0, 0], shape * np.linalg.norm(weights), rtol=1e-4)

    def test_what_lies_against_the_component_is_nought(self):
        activations = np.array([[[[3.0, 2.0, -1.0]]]], np.float32)
        assert np.allclose(cam.eigen_cam(activations, np.zeros((1, 1, 1, 1, 3), np.float32)), [[[[3, 2, 0]]]])
        assert np.allclose(cam.eigen_cam(-activations, np.zeros((1, 1, 1, 1, 3), np.float32)), [[[[3, 2, 0]]]])


class TestPeers:
    """On torch, with the peers' own hooks, before they clip and normalise."""

    recipe = recipe_of(pool="max", head=[{"dense": 16}], batch_norm=True)

    def peer(self, method: str, class_index: int) -> tuple[np.ndarray, Any]:
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        network, classifier = live(self.recipe, 3)
        layer, targets = network.get_submodule(network.explained_layer), [ClassifierOutputTarget(class_index)] * 2
        with getattr(pytorch_grad_cam, method)(network, [layer]) as theirs:
            image = torch.from_numpy(noise(2, 24))
            theirs(image, targets)
            seen = theirs.activations_and_grads
            activations = seen.activations[0].numpy()
            # Eigen-CAM asks for no gradients, so there are none.
            gradients = seen.gradients[0].numpy() if theirs.uses_gradients else np.zeros_like(activations)
            maps = theirs.get_cam_image(image, layer, targets, activations, gradients, False)
        network.requires_grad_(False)
        return maps, classifier.evidence(noise(2, 24), classifier.classes[class_index], "logit")

    @pytest.mark.parametrize(
        ("method", "ours"),
        [
            ("GradCAM", cam.grad_cam),
            ("HiResCAM", cam.hirescam),
            ("XGradCAM", cam.xgrad_cam),
            ("LayerCAM", cam.layercam),
        ],
    )
    def test_maps_are_those_of_pytorch_grad_cam(self, method, ours):
        theirs, evidence = self.peer(method, 1)
        assert np.abs(theirs).max() > 1e-4
        maps = ours(evidence.activations, evidence.gradients)[:, 0]
        assert np.abs(maps - theirs).max() < 1e-4 * np.abs(theirs).max()

    def test_grad_cam_plus_plus_is_that_of_pytorch_grad_cam_without_its_epsilon(self):
        """Theirs adds 1e-6 to the denominator of eq. 19, about 2 G^2: with G near 1e-3 that takes a third off."""
        theirs, evidence = self.peer("GradCAMPlusPlus", 1)
        a, g = evidence.activations, evidence.gradients[:, 0]
        denominator = 2 * g**2 + a.sum((2, 3), keepdims=True) * g**3 + 1e-6
        with_epsilon = (np.maximum(g, 0) * g**2 / denominator).sum((2, 3))[:, None]
        assert np.allclose(cam.weighted_sum(with_epsilon, a)[:, 0], theirs, rtol=1e-3, atol=1e-7)
        small = g * np.float32(1e-3)
        right = cam.grad_cam_plus_plus(a, small[:, None]).sum()
        denominator = 2 * small**2 + a.sum((2, 3), keepdims=True) * small**3 + 1e-6
        lost = cam.weighted_sum((np.maximum(small, 0) * small**2 / denominator).sum((2, 3))[:, None], a).sum()
        assert lost < 0.9 * right

    def test_eigen_cam_is_that_of_pytorch_grad_cam_but_for_its_centring(self):
        """Theirs subtracts each channel's mean, which the paper does not, and leaves the sign to chance."""
        theirs, evidence = self.peer("EigenCAM", 1)
        centred = evidence.activations - evidence.activations.mean((2, 3), keepdims=True)
        ours = cam.eigen_cam(centred, evidence.gradients)[:, 0]
        for found, expected in zip(ours, theirs, strict=True):
            agree = [np.abs(found - np.maximum(s * expected, 0)).max() for s in (1, -1)]
            assert min(agree) < 1e-4 * np.abs(expected).max()

    def test_grad_cam_and_hirescam_are_those_of_captum(self):
        from captum.attr import LayerGradCam, LayerGradientXActivation

        network, classifier = live(self.recipe, 3)
        layer, image = network.get_submodule(network.explained_layer), torch.from_numpy(noise(2, 24))
        evidence = classifier.evidence(noise(2, 24), classifier.classes, "logit")
        for c in range(3):
            product = LayerGradientXActivation(network, layer).attribute(image, target=c)
            for ours, theirs in (
                (cam.grad_cam, LayerGradCam(network, layer).attribute(image, target=c)[:, 0]),
                (cam.hirescam, product.sum(1)),
            ):
                maps, expected = ours(evidence.activations, evidence.gradients)[:, c], theirs.detach().numpy()
                assert np.abs(maps - expected).max() < 1e-4 * np.abs(expected).max()


def test_settled_rows_write_out_the_predicted_class():
    _, classifier = live(recipe_of(), 3)
    logits = np.array([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]], np.float32)
    rows, contrast = maps.settled_rows(classifier, logits, ("(predicted)", "cat"), "logit")
    assert contrast == 0
    assert np.array_equal(rows, [[[0, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 1]]])
    _, classifier = live(recipe_of(), 2)
    rows, contrast = maps.settled_rows(classifier, np.array([[0.0], [-2.0]], np.float32), None, None)
    assert contrast == 1
    assert np.array_equal(rows, [[[1]], [[-1]]])
