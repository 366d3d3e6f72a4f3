"""The exported graph against autograd of the written-out score on the network, one image and class at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.small_networks import network_of, noise, recipe_of
from torch import nn

from pellucid.classifier import PREDICTED
from pellucid.errors import InputError
from pellucid.models.evidence_graph import (
    check_layer,
    evidence_function,
    score_weights,
    trace_evidence,
    trace_input_gradients,
    trace_tail,
)
from pellucid.models.export import frozen_copy


def score_of(logits: torch.Tensor, target: int, contrast: float) -> torch.Tensor:
    """The score of one image (L,) as spec/explanations.md words it."""
    if len(logits) == 1:
        return logits[0] if target == 1 else -logits[0]
    others = torch.stack([z for j, z in enumerate(logits) if j != target])
    return logits[target] - contrast * torch.log(torch.exp(others).sum())


def by_autograd(
    network: nn.Module, layer: str, image: np.ndarray, target: int, contrast: float = 1.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits (L,), activations and gradient (C, h, w) of one image, by a hook and one backward pass."""
    kept: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()  # so that nothing behind can write into what is kept

    handle = network.get_submodule(layer).register_forward_hook(keep)
    logits = network(torch.from_numpy(image[None]))[0]
    handle.remove()
    (gradient,) = torch.autograd.grad(score_of(logits, target, contrast), kept[0])
    return logits.detach().numpy(), kept[0].detach().numpy()[0], gradient.numpy()[0]


def assert_close(found: np.ndarray, expected: np.ndarray, share: float = 1e-4) -> None:
    """Equal within a share of the largest value, which must not be 0."""
    largest = np.abs(expected).max()
    assert largest > 0
    assert np.abs(found - expected).max() <= share * largest


def assert_evidence(pair: Any, batch: np.ndarray, names: tuple[str, ...], score: Any, contrast: float) -> None:
    evidence = pair.bundle.evidence(batch, names, score)
    assert evidence.targets == names
    assert evidence.gradients.shape[:2] == (len(batch), len(names))
    for i, image in enumerate(batch):
        for t, name in enumerate(names):
            index = pair.bundle.classes.index(name)
            logits, activations, gradient = by_autograd(
                pair.network, pair.network.explained_layer, image, index, contrast
            )
            assert_close(evidence.logits[i], logits)
            assert_close(evidence.activations[i], activations)
            assert_close(evidence.gradients[i, t], gradient)


def test_graph_gives_the_gradient_of_the_log_odds_of_every_class(pair):
    size = pair.bundle.preprocessing.height, pair.bundle.preprocessing.width
    assert_evidence(pair, noise(2, size), pair.bundle.classes, None, 1.0)


def test_graph_gives_the_gradient_of_the_plain_logit(pair):
    size = pair.bundle.preprocessing.height, pair.bundle.preprocessing.width
    assert_evidence(pair, noise(1, size, seed=1), pair.bundle.classes[:2], "logit", 0.0)


def test_any_number_of_images_and_targets_gives_what_one_alone_gives(pair):
    classes = pair.bundle.classes
    batch = noise(5, (pair.bundle.preprocessing.height, pair.bundle.preprocessing.width), seed=2)
    names = (classes[1], classes[0], classes[1], PREDICTED)
    together = pair.bundle.evidence(batch, names)
    for i in range(5):
        alone = pair.bundle.evidence(batch[i : i + 1], names[i % 2])
        assert_close(alone.logits[0], together.logits[i], 1e-5)
        assert_close(alone.activations[0], together.activations[i], 1e-5)
        assert_close(alone.gradients[0, 0], together.gradients[i, i % 2], 1e-5)
    assert np.array_equal(together.gradients[:, 0], together.gradients[:, 2])


def test_no_target_means_the_predicted_class_of_each_image(pair):
    batch = noise(6, (pair.bundle.preprocessing.height, pair.bundle.preprocessing.width), seed=3)
    unset = pair.bundle.evidence(batch)
    every = pair.bundle.evidence(batch, pair.bundle.classes)
    predicted = pair.bundle.probabilities(batch).argmax(1)
    expected = every.gradients[np.arange(6), predicted]
    assert unset.targets == (PREDICTED,)
    assert_close(unset.gradients[:, 0], expected, 1e-6)


def test_the_first_of_two_classes_is_exactly_the_negative_of_the_second(exported):
    bundle = exported("global max pooling").bundle
    gradients = bundle.evidence(noise(3, 24), bundle.classes).gradients
    assert np.abs(gradients).max() > 0
    assert np.array_equal(gradients[:, 0], -gradients[:, 1])


def test_predictions_are_those_of_the_network(pair):
    batch = noise(7, (pair.bundle.preprocessing.height, pair.bundle.preprocessing.width), seed=4)
    with torch.no_grad():
        logits = pair.network(torch.from_numpy(batch))
    expected = torch.softmax(logits, 1) if logits.shape[1] > 1 else torch.sigmoid(torch.cat([-logits, logits], 1))
    assert np.allclose(pair.bundle.probabilities(batch), expected.numpy(), atol=1e-6)


class InPlaceBehind(nn.Module):
    """A layer, then changes of its output in place, by a method and by a module."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.output = nn.Linear(6, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.layer(image)
        inner.mul_(1.5)
        return self.output(self.relu(inner).mean((2, 3)))


@pytest.mark.parametrize("run", ["eager", "traced"])
def test_what_changes_in_place_behind_the_layer_changes_nothing_reported(run):
    torch.manual_seed(0)
    model = InPlaceBehind().eval()
    batch, target = noise(2, 8), torch.eye(3).expand(2, 3, 3)
    function: Callable[..., Any] = evidence_function(model, model.layer)
    if run == "traced":
        frozen = model.requires_grad_(False)
        function, _ = trace_evidence(frozen, frozen.layer, (8, 8), 3)
    _, activations, gradients = function(torch.from_numpy(batch), target, torch.tensor(1.0))
    model.requires_grad_(True)
    for i in range(2):
        for c in range(3):
            _, expected, gradient = by_autograd(model, "layer", batch[i], c)
            assert (expected < 0).any(), "negative activations are what an in-place ReLU would wipe out"
            assert_close(activations[i].numpy(), expected, 1e-6)
            assert_close(gradients[i, c].numpy(), gradient, 1e-5)


def test_models_come_back_as_they_were():
    network = network_of(recipe_of())
    network.train()
    layer = network.get_submodule(network.explained_layer)
    run = evidence_function(network, layer)
    run(torch.from_numpy(noise(2, 24)), torch.zeros(2, 1, 1), torch.tensor(1.0))
    with pytest.raises(RuntimeError):
        run(torch.zeros(2, 5, 24, 24), torch.zeros(2, 1, 1), torch.tensor(1.0))
    assert not layer._forward_hooks
    assert network.training
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("contrast", [0.0, 0.5, 1.0])
def test_score_weights_are_the_derivative_of_the_written_out_score(contrast):
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = score_weights(logits, target, torch.tensor(contrast, dtype=torch.float64))
    for i in range(4):
        for t in range(3):
            z = logits[i].clone().requires_grad_(True)
            total = sum(target[i, t, c] * score_of(z, c, contrast) for c in range(5))
            assert isinstance(total, torch.Tensor)
            (expected,) = torch.autograd.grad(total, z)
            assert torch.allclose(found[i, t], expected, atol=1e-12)


def test_log_odds_of_two_logits_are_their_margin():
    logits = torch.tensor([[0.3, -2.0], [50.0, -70.0]])
    target = torch.eye(2).expand(2, 2, 2)
    found = score_weights(logits, target, torch.tensor(1.0))
    assert torch.equal(found, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).expand(2, 2, 2))


def test_huge_logits_stay_finite():
    # Written out, exp(1e4) overflows; the derivative of logsumexp is the softmax, here all on the second largest.
    logits = torch.tensor([[1e4, 9.9e3, -1e4], [3e38, 0.0, -3e38]])
    found = score_weights(logits, torch.eye(3).expand(2, 3, 3), torch.tensor(1.0))
    expected = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    assert torch.allclose(found, expected.expand(2, 3, 3), atol=1e-6)


def test_a_row_of_zeros_is_the_predicted_class_beside_rows_that_are_set():
    logits = torch.tensor([[0.1, 2.0, 0.3], [5.0, 1.0, 0.0]])
    target = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).expand(2, 2, 3)
    found = score_weights(logits, target, torch.tensor(0.0))
    assert torch.equal(found[:, 0], torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    assert torch.equal(found[:, 1], torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    single = score_weights(torch.tensor([[-0.2], [0.0], [7.0]]), torch.zeros(3, 1, 1), torch.tensor(1.0))
    assert single.flatten().tolist() == [-1.0, 1.0, 1.0]


def operations() -> list[tuple[str, nn.Module]]:
    return [
        ("max pooling that overlaps", nn.MaxPool2d(3, 2, 1)),
        ("max pooling with a remainder", nn.MaxPool2d(2, 2, ceil_mode=True)),
        ("average pooling", nn.AvgPool2d(2)),
        ("average pooling that overlaps and pads", nn.AvgPool2d(3, 2, 1)),
        ("average pooling with a remainder", nn.AvgPool2d(2, ceil_mode=True)),
        ("average pooling with a remainder and padding", nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
        ("average pooling that leaves padding out", nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
        ("average pooling with both", nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        ("average pooling with its own divisor", nn.AvgPool2d(2, divisor_override=3)),
        ("average pooling that skips cells", nn.AvgPool2d(2, 3)),
        ("average pooling of an oblong", nn.AvgPool2d((3, 2), (2, 1))),
        ("adaptive average pooling that does not divide", nn.AdaptiveAvgPool2d((4, 3))),
        ("adaptive average pooling to more cells", nn.AdaptiveAvgPool2d(9)),
        ("adaptive average pooling that changes nothing", nn.AdaptiveAvgPool2d(7)),
        ("adaptive max pooling", nn.AdaptiveMaxPool2d((3, 2))),
        ("a convolution with everything", nn.Conv2d(6, 4, 3, stride=2, padding=1, dilation=2, groups=2)),
        ("an oblong convolution", nn.Conv2d(6, 4, (3, 2), stride=(2, 3), padding=(0, 1))),
        ("normalisation by channel", nn.BatchNorm2d(6)),
        ("normalisation over the map", nn.GroupNorm(2, 6)),
        ("a smooth activation", nn.Sequential(nn.GELU(), nn.SiLU(), nn.Hardswish())),
    ]


@pytest.mark.parametrize(("name", "behind"), operations(), ids=lambda v: v if isinstance(v, str) else "")
def test_each_operation_behind_the_layer_has_the_backward_pass_of_autograd(name, behind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 2), behind, nn.Flatten(), nn.LazyLinear(3)).eval()
    model(torch.zeros(1, 3, 8, 8))
    batch = noise(2, 8, seed=5)
    truth = [[by_autograd(model, "0", image, c)[2] for c in range(3)] for image in batch]
    graph, _ = trace_evidence(model.requires_grad_(False), model[0], (8, 8), 3)
    _, _, gradients = graph(torch.from_numpy(batch), torch.eye(3).expand(2, 3, 3), torch.tensor(1.0))
    assert_close(gradients.numpy(), np.array(truth), 1e-5)
    assert not [n for n in graph.graph.nodes if "backward" in str(n.target)]


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (nn.ConvTranspose2d(6, 4, 2), "transposed convolution"),
    ],
)
def test_an_operation_whose_backward_pass_is_not_known_is_named(behind, reason):
    model = nn.Sequential(nn.Conv2d(3, 6, 2), behind, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(2)).eval()
    model(torch.zeros(1, 3, 8, 8))
    with pytest.raises(InputError, match=reason):
        trace_evidence(model.requires_grad_(False), model[0], (8, 8), 2)


class Counting(nn.Module):
    """A model that asks for the number of images as a number, as careless code does."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 2, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.layer(image)
        return inner.mean((2, 3)) + torch.ones(int(inner.shape[0]), 1)


class FixedBatch(Counting):
    """A model that makes something else of each image by its place in the batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.layer(image)
        return inner.mean((2, 3)) + torch.tensor([float(i) for i in range(inner.shape[0])])[:, None]


def test_a_number_of_images_that_is_asked_for_as_a_number_stays_open():
    model = Counting().eval().requires_grad_(False)
    graph, _ = trace_evidence(model, model.layer, (8, 8), 2)
    for images, targets in ((2, 1), (5, 3), (1, 4)):
        asked = torch.randn(images, 3, 8, 8), torch.randn(images, targets, 2), torch.tensor(1.0)
        for found, expected in zip(graph(*asked), evidence_function(model, model.layer)(*asked), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


def test_a_model_for_one_number_of_images_only_is_refused():
    model = FixedBatch().eval().requires_grad_(False)
    with pytest.raises(RuntimeError, match="one fixed number of images"):
        trace_evidence(model, model.layer, (8, 8), 2)


def test_padding_keeps_the_number_of_images_open():
    # torch's C++ kernel of padding asks for sizes as numbers; Swin transformers pad in each block.
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 2, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return nn.functional.pad(self.layer(nn.functional.pad(image, (0, 1, 0, 2))), (0, 0, 0, 0)).mean((2, 3))

    model = Padded().eval().requires_grad_(False)
    graph, _ = trace_evidence(model, model.layer, (8, 8), 2)
    image = torch.from_numpy(noise(5, 8))
    assert torch.allclose(graph(image, torch.zeros(5, 4, 2), torch.tensor(1.0))[0], model(image), atol=1e-6)


class Awkward(nn.Module):
    """Layers that no evidence can be taken at, each for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.branch = nn.Conv2d(4, 4, 1)
        self.twice = nn.ReLU()
        self.unused = nn.Conv2d(4, 4, 1)
        self.output = nn.Linear(4, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.twice(self.stem(image))
        return self.output(self.twice(inner + self.branch(inner)).mean((2, 3)))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("branch", "one branch of several"),
        ("twice", "more than once"),
        ("unused", "takes no part"),
        ("output", "must give a feature map"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_refused_with_its_reason(layer, reason):
    model = Awkward().eval()
    with pytest.raises(InputError, match=reason):
        check_layer(model, model.get_submodule(layer), (8, 8), 2)
    assert not model.get_submodule(layer)._forward_hooks
    check_layer(model, model.stem, (8, 8), 2)


@pytest.mark.parametrize(
    ("backbone", "layer"),
    [
        ("vgg11", "block3_conv2"),
        ("vgg11", "backbone.features.5"),
        ("mobilenet_v2", "features.7"),
        ("resnet18", "layer2"),
        ("cnn", "pool1"),
    ],
)
def test_with_convolutions_behind_the_layer_the_graph_has_the_gradient_of_autograd(backbone, layer):
    network = network_of(recipe_of(backbone, 64, layer=layer), 3)
    batch = noise(2, 64, seed=6)
    truth = [[by_autograd(network, network.explained_layer, image, c)[2] for c in range(3)] for image in batch]
    frozen = frozen_copy(network)
    graph, _ = trace_evidence(frozen, frozen.get_submodule(network.explained_layer), (64, 64), 3)
    logits, _, gradients = graph(torch.from_numpy(batch), torch.eye(3).expand(2, 3, 3), torch.tensor(1.0))
    # By norms: an input of a ReLU that is 0 within rounding may fall on either side.
    assert np.linalg.norm(gradients.numpy() - truth) < 1e-3 * np.linalg.norm(truth)
    assert not [n for n in graph.graph.nodes if "backward" in str(n.target)]
    tail, _ = trace_tail(frozen, frozen.get_submodule(network.explained_layer), (64, 64), tuple(gradients.shape[2:]))
    with torch.no_grad():
        activations = graph(torch.from_numpy(batch), torch.eye(3).expand(2, 3, 3), torch.tensor(1.0))[1]
        assert torch.allclose(tail(activations)[0], logits, atol=1e-4)
    assert len(tail.graph.nodes) < len(graph.graph.nodes) / 2


@pytest.mark.parametrize("backbone", ["vgg11", "mobilenet_v2", "resnet18"])
def test_gradients_of_pixels_are_those_of_autograd(backbone):
    network = network_of(recipe_of(backbone, 64), 3)
    image = torch.from_numpy(noise(2, 64, seed=7))
    graph, _ = trace_input_gradients(frozen_copy(network), (64, 64), 3)
    logits, gradients = graph(image, torch.eye(3).expand(2, 3, 3), torch.tensor(1.0))
    for c in range(3):
        leaf = image.clone().requires_grad_(True)
        score = sum(score_of(z, c, 1.0) for z in network(leaf))
        assert isinstance(score, torch.Tensor)
        (expected,) = torch.autograd.grad(score, leaf)
        assert float((gradients[:, c] - expected).norm()) < 1e-3 * float(expected.norm())
    with torch.no_grad():
        assert torch.allclose(logits, network(image), atol=1e-4)


def test_a_gradient_that_is_the_same_in_every_cell_is_spread_by_the_last_operation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).requires_grad_(False)
    graph, _ = trace_evidence(network, network[1], (17, 17), 3)
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    assert output.args[0][-1].target == torch.ops.aten.mul.Tensor
    inputs = torch.randn(2, 3, 17, 17), torch.eye(3).expand(2, 3, 3), torch.tensor(1.0)
    for found, expected in zip(graph(*inputs), evidence_function(network, network[1])(*inputs), strict=True):
        torch.testing.assert_close(found, expected)


class Halves(nn.Module):
    """Ends in two halves of the channels, so that the gradient is put together from two by `cat`."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv2d(3, 4, 3, 2), nn.Linear(2, 3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first, second = self.layer(image).chunk(2, 1)
        return self.head((first * second.sigmoid()).mean((2, 3)))


def test_a_gradient_of_another_origin_is_left_as_it_is() -> None:
    torch.manual_seed(0)
    network = Halves().requires_grad_(False)
    graph, _ = trace_evidence(network, network.layer, (17, 17), 3)
    inputs = torch.randn(2, 3, 17, 17), torch.eye(3).expand(2, 3, 3), torch.tensor(1.0)
    for found, expected in zip(graph(*inputs), evidence_function(network, network.layer)(*inputs), strict=True):
        torch.testing.assert_close(found, expected)
