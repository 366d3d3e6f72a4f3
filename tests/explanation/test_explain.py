"""From tensors to maps on the original pixels: where they lie, whom they speak for, and in what unit."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.small_networks import CLASSES, manifest_of, recipe_of

from pellucid.classifier import Evidence, Score, Target, Task, probabilities_from_logits, selected_targets
from pellucid.errors import InputError, UnknownNameError
from pellucid.explanation.explain import explain_tensors
from pellucid.images import from_array
from pellucid.models.evidence_graph import trace_evidence
from pellucid.models.export import frozen_copy
from pellucid.models.geometry import grid_geometry
from pellucid.models.network import build_network
from pellucid.models.torch_classifier import TorchClassifier
from pellucid.preprocessing import FloatArray, GridGeometry, Preprocessing
from pellucid.recipe import Recipe
from pellucid.recipe_sections import DataSection

SIZE = 224


@dataclass
class Known:
    """A classifier of which everything is given: one channel whose activations are the map wanted."""

    grid: FloatArray
    answers: FloatArray
    task: Task = "binary"
    classes: tuple[str, ...] = CLASSES[:2]
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(height=16, width=16))
    geometry: GridGeometry = field(default_factory=lambda: GridGeometry((8.0, 8.0), (4.0, 4.0)))
    asked: list[tuple[Any, Any]] = field(default_factory=list)

    def probabilities(self, batch: FloatArray) -> FloatArray:
        return probabilities_from_logits(self.answers)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        self.asked.append((target, score))
        rows, _, names = selected_targets(self.classes, self.task, len(batch), target, score)
        # The gradient is the target's first weight, so that a map is the grid times that weight.
        gradients = np.broadcast_to(rows[:, :, :1, None, None], (*rows.shape[:2], 1, *self.grid.shape[2:])).copy()
        return Evidence(self.answers, self.grid, gradients, self.geometry, "the layer", names)


def known(answers: list[list[float]], **changes: Any) -> Known:
    grid = np.arange(4 * len(answers), dtype=np.float32).reshape(len(answers), 1, 2, 2)
    return Known(grid, np.array(answers, np.float32), **changes)


def blank(images: int) -> FloatArray:
    return np.zeros((images, 3, 16, 16), np.float32)


def test_each_map_lies_on_its_own_image_and_says_what_it_is():
    classifier = known([[1.0], [-1.0]])
    explained = explain_tensors(classifier, blank(2), [(32, 48), (16, 16)], target=("bee", "ant"), score="logit")
    assert classifier.asked == [(("bee", "ant"), "logit")], "one pass, whatever the number of targets"
    for i, size in enumerate([(32, 48), (16, 16)]):
        assert np.array_equal(explained[i].logits, classifier.answers[i])
        assert np.array_equal(explained[i].probabilities, classifier.probabilities(blank(2))[i])
        for attribution, name, sign in zip(explained[i].attributions, ("bee", "ant"), (1, -1), strict=True):
            assert attribution.target == name
            assert np.array_equal(attribution.grid, sign * classifier.grid[i, 0])
            expected = classifier.preprocessing.to_original(sign * classifier.grid[i, 0], classifier.geometry, size)
            assert np.array_equal(attribution.values, expected)
            assert attribution.values.shape == size
            assert attribution.values.dtype == np.float32
            assert (attribution.method, attribution.layer, attribution.signed) == ("grad-cam", "the layer", True)
            assert (attribution.score, attribution.unit) == ("logit", "logit per cell, linearised")
            assert attribution.seconds >= 0


@pytest.mark.parametrize(("logit", "name"), [(3.0, "bee"), (-3.0, "ant"), (0.0, "bee"), (-1e-30, "ant")])
def test_without_a_target_the_predicted_class_is_named(logit, name):
    # A logit of 0 is the second class's, as the evidence graph takes it.
    (explained,) = explain_tensors(known([[logit]]), blank(1), [(16, 16)])
    assert explained.attributions[0].target == name
    assert explained.attributions[0].score == "log-odds"


def test_the_largest_logit_is_the_predicted_class_even_where_probabilities_tie():
    answers = [[1e-9, 2e-9, 0.0]]
    assert len(set(probabilities_from_logits(np.array(answers, np.float32))[0])) == 1
    (explained,) = explain_tensors(known(answers, task="multiclass", classes=CLASSES), blank(1), [(16, 16)])
    assert explained.attributions[0].target == "bee"


def test_a_regression_is_explained_upwards_in_its_output():
    (explained,) = explain_tensors(known([[-7.0]], task="regression"), blank(1), [(16, 16)])
    attribution = explained.attributions[0]
    assert (attribution.target, attribution.score, attribution.unit) == ("bee", "output", "output per cell, linearised")
    assert explained.probabilities.shape == (0,)


def test_no_images_give_no_explanations():
    classifier = Known(np.zeros((0, 1, 2, 2), np.float32), np.zeros((0, 1), np.float32))
    assert explain_tensors(classifier, blank(0), []) == []


def test_what_is_not_known_is_refused():
    with pytest.raises(UnknownNameError, match=r"no explanation method named 'grad-camm'\. Did you mean grad-cam"):
        explain_tensors(known([[1.0]]), blank(1), [(16, 16)], method="grad-camm")
    with pytest.raises(UnknownNameError, match=r"no class named 'be'\. Did you mean bee"):
        explain_tensors(known([[1.0]]), blank(1), [(16, 16)], target="be")
    with pytest.raises(InputError, match="does not fit a binary model"):
        explain_tensors(known([[1.0]]), blank(1), [(16, 16)], score="output")
    with pytest.raises(InputError, match="takes NoSettings, not dict"):
        explain_tensors(known([[1.0]]), blank(1), [(16, 16)], settings={"a": 1})


class Replaced:
    """A classifier whose answers are kept, and whose cells are said to lie elsewhere."""

    def __init__(self, classifier: TorchClassifier, geometry: GridGeometry | None) -> None:
        self.classifier, self.geometry = classifier, geometry
        self.classes, self.task, self.preprocessing = classifier.classes, classifier.task, classifier.preprocessing
        self.kept: Evidence | None = None

    def probabilities(self, batch: FloatArray) -> FloatArray:
        return self.classifier.probabilities(batch)

    def evidence(self, batch: FloatArray, target: Target = None, score: Score | None = None) -> Evidence:
        if self.kept is None:
            self.kept = self.classifier.evidence(batch, target, score)
        return replace(self.kept, geometry=self.geometry or self.kept.geometry)


def even_network(recipe: Recipe, seed: int) -> TorchClassifier:
    """Random weights, each kernel mirrored onto itself, so that the network pulls its evidence no way by itself."""
    torch.manual_seed(seed)
    network = frozen_copy(build_network(recipe, 2))
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            weight = module.weight.data
            weight = (weight + weight.flip(2)) / 2
            module.weight.data = (weight + weight.flip(3)) / 2
    preprocessing = recipe.preprocessing()
    size = (preprocessing.height, preprocessing.width)
    graph, example = trace_evidence(network, network.get_submodule(network.explained_layer), size, 1)
    cells = graph(*example)[1].shape[2:]
    geometry = grid_geometry(graph, (int(cells[0]), int(cells[1])), size)
    manifest = manifest_of(network, preprocessing, 2, network.explained_layer)
    layer = manifest.layer.model_copy(
        update={"stride": geometry.stride, "offset": geometry.offset, "height": cells[0], "width": cells[1]}
    )
    return TorchClassifier(network, manifest.model_copy(update={"layer": layer}))


def with_spots(size: tuple[int, int], centres: list[tuple[int, int]], radius: int) -> list[np.ndarray]:
    images = [np.zeros((*size, 3), np.uint8) for _ in centres]
    for image, (y, x) in zip(images, centres, strict=True):
        image[y - radius : y + radius, x - radius : x + radius] = 255
    return images


def offsets(classifier: Any, images: list[np.ndarray], centres: list[tuple[int, int]]) -> np.ndarray:
    """How far each map's centre of mass lies from its spot, in pixels of the image, as (y, x).

    What a black image gives is taken off first, and only what lies between the outermost cells counts: beyond them a
    map is continued, not known.
    """
    read = [from_array(image) for image in (np.zeros_like(images[0]), *images)]
    explained = explain_tensors(
        classifier, classifier.preprocessing.tensors(read), [image.size for image in read], target="bee"
    )
    maps = [e.attributions[0].values for e in explained]
    evidence = classifier.evidence(np.zeros((0,), np.float32)) if isinstance(classifier, Replaced) else None
    found = []
    for values, (y, x) in zip(maps[1:], centres, strict=True):
        weight = np.abs(values - maps[0]).astype(np.float64)
        rows, columns = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]] + 0.5
        if evidence is not None:
            for place, axis in ((rows, 0), (columns, 1)):
                first, step = evidence.geometry.offset[axis], evidence.geometry.stride[axis]
                last = first + (evidence.activations.shape[2 + axis] - 1) * step
                weight[(place < first) | (place > last)] = 0
        assert weight.sum() > 0
        found.append(((weight * rows).sum() / weight.sum() - y, (weight * columns).sum() / weight.sum() - x))
    return np.array(found)


@pytest.mark.parametrize(
    ("backbone", "layer", "stride", "places"),
    # Even about the middle of the grid, so that what a border cuts off on one side is cut off on the other.
    [
        ("resnet18", "backbone.layer4", 32, (48, 80, 113, 145)),
        ("resnet18", "backbone.layer3", 16, (25, 65, 105, 144, 184)),
        ("mobilenet_v2", None, 32, (48, 80, 113, 145)),
    ],
)
def test_maps_lie_on_spots_all_over_the_image_and_a_plain_resize_of_such_a_net_does_not(
    backbone, layer, stride, places
):
    classifier = even_network(recipe_of(backbone, SIZE, layer=layer), seed=1)
    centres = [(y, x) for y in places for x in places]
    images = with_spots((SIZE, SIZE), centres, 4)
    derived = Replaced(classifier, None)
    ours = offsets(derived, images, centres).mean(0)
    half_pixel = Replaced(classifier, GridGeometry((stride, stride), (stride / 2, stride / 2)))
    half_pixel.kept = derived.kept
    plain = offsets(half_pixel, images, centres).mean(0)
    assert np.abs(ours).max() <= 2
    assert (plain > 5).all()
    assert np.allclose(plain - ours, (stride - 1) / 2, atol=1.5)


@pytest.mark.parametrize(
    ("backbone", "model"),
    [
        ("vgg11", {}),
        pytest.param("vgg11", {"layer": "block3_conv2"}, marks=pytest.mark.slow),
        ("cnn", {"filters": (6, 6, 6)}),
    ],
)
def test_maps_lie_on_spots_where_poolings_keep_cells_centred(backbone, model):
    classifier = even_network(recipe_of(backbone, SIZE, **model), seed=1)
    centres = [(y, x) for y in (32, 80, 112, 144, 192) for x in (32, 80, 112, 144, 192)]
    found = offsets(Replaced(classifier, None), with_spots((SIZE, SIZE), centres, 4), centres)
    assert np.abs(found.mean(0)).max() <= 2
    stride, offset = (getattr(classifier.manifest.layer, name) for name in ("stride", "offset"))
    assert offset == (stride[0] / 2, stride[1] / 2), "a plain resize is right here"


@pytest.mark.parametrize(
    ("fit", "original"), [("stretch", (200, 320)), ("crop", (200, 320)), ("pad", (200, 320)), ("crop", (300, 150))]
)
def test_maps_lie_on_spots_of_originals_of_any_shape(fit, original):
    recipe = recipe_of("cnn", 96, filters=(6, 6, 6), kernel=5)
    recipe = recipe.model_copy(update={"data": DataSection(size=96, fit=fit, crop_share=0.9)})
    classifier = even_network(recipe, seed=2)
    middle = original[0] // 2, original[1] // 2
    centres = [(middle[0] + dy, middle[1] + dx) for dy in (-40, 0, 40) for dx in (-40, 0, 40)]
    found = offsets(classifier, with_spots(original, centres, 8), centres)
    cell = 8 / classifier.preprocessing.placement(original).scale[0]
    assert np.abs(found.mean(0)).max() <= 1
    assert np.abs(found).max() <= cell / 2, "each map, too, lies within half a cell of its spot"


def test_a_map_is_the_same_alone_and_in_a_batch():
    classifier = even_network(recipe_of("cnn", 24, filters=(4, 6), batch_norm=True), seed=3)
    batch = np.random.default_rng(0).normal(size=(4, 3, 24, 24)).astype(np.float32)
    sizes = [(30, 40), (24, 24), (100, 24), (7, 9)]
    together = explain_tensors(classifier, batch, sizes)
    for i in range(4):
        (alone,) = explain_tensors(classifier, batch[i : i + 1], sizes[i : i + 1])
        one, many = alone.attributions[0], together[i].attributions[0]
        assert one.target == many.target
        assert np.allclose(one.values, many.values, rtol=1e-4, atol=1e-6 * np.abs(many.values).max())


def test_classes_of_a_binary_model_speak_exactly_against_each_other():
    classifier = even_network(recipe_of("cnn", 24), seed=4)
    batch = np.random.default_rng(1).normal(size=(2, 3, 24, 24)).astype(np.float32)
    for explained in explain_tensors(classifier, batch, [(24, 24)] * 2, target=("ant", "bee")):
        ant, bee = explained.attributions
        assert np.abs(bee.values).max() > 0
        assert np.array_equal(ant.values, -bee.values)
