"""The trained network's parts against the same operations written out."""

import pytest
import torch
from tests.small_networks import network_of, noise, recipe_of
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.models.network import build_network, explained_module, number_of_logits, task_of
from pellucid.recipe import Recipe


@pytest.mark.parametrize("pool", ["average", "max", "flatten"])
def test_network_is_backbone_pooling_and_head(pool):
    head = [{"dense": 7, "dropout": 0.5}, {"dense": 5, "activation": "linear"}]
    network = network_of(recipe_of(pool=pool, head=head, dropout=0.5, size=(16, 24)), 3)
    image = torch.from_numpy(noise(2, (16, 24)))
    grid = network.backbone(image)
    pooled = {"average": grid.mean((2, 3)), "max": grid.amax((2, 3)), "flatten": grid.reshape(2, -1)}[pool]
    state = network.head.state_dict()

    def dense(values: torch.Tensor, name: str) -> torch.Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    expected = dense(dense(dense(pooled, "dense1").clamp(min=0), "dense2"), "output")
    assert torch.allclose(network.features(image), pooled, atol=1e-6)
    assert torch.allclose(network(image), expected, atol=1e-5)
    assert expected.shape == (2, 3)


def test_dropout_acts_in_training_only():
    network = network_of(recipe_of(dropout=0.5, pool="flatten"))
    image = torch.from_numpy(noise(4, 24))
    assert torch.equal(network(image), network(image))
    network.train()
    assert not torch.equal(network(image), network(image))


def test_a_new_network_is_ready_to_train():
    network = build_network(recipe_of(batch_norm=True), 2)
    assert all(module.training for module in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    # Looking at the network's sizes must not have moved the statistics of its normalisation.
    assert all(float(b.abs().sum()) == 0 for n, b in network.named_buffers() if n.endswith("running_mean"))


@pytest.mark.parametrize(
    ("task", "classes", "expected", "logits"),
    [
        ("classification", 2, "binary", 1),
        ("classification", 3, "multiclass", 3),
        ("classification", 120, "multiclass", 120),
        ("regression", 2, "regression", 1),
    ],
)
def test_task_and_number_of_logits(task, classes, expected, logits):
    assert task_of(Recipe(task=task), classes) == expected
    assert number_of_logits(expected, classes) == logits


def test_a_regression_takes_two_classes():
    with pytest.raises(InputError, match="needs two classes, not 3"):
        task_of(Recipe(task="regression"), 3)


def test_the_explained_layer_is_found_or_chosen():
    assert build_network(recipe_of(), 2).explained_layer == "backbone.relu2"
    assert build_network(recipe_of(layer="backbone.conv1"), 2).explained_layer == "backbone.conv1"


def test_a_layer_is_found_by_name():
    network = build_network(recipe_of(), 2)
    assert explained_module(network, "backbone.relu1") is network.backbone.relu1
    for name in ("backbone.relu9", ""):
        with pytest.raises(UnknownNameError):
            explained_module(network, name)


@pytest.mark.parametrize(
    ("backbone", "layer", "error", "reason"),
    [
        ("cnn", "backbone.relu22", UnknownNameError, "Did you mean backbone.relu2"),
        ("cnn", "head.output", InputError, "must give a feature map"),
        ("timm/resnet10t", "backbone.layer4.0.conv1", InputError, "one branch of several"),
    ],
)
def test_a_layer_that_cannot_be_explained_is_refused_before_training(backbone, layer, error, reason):
    with pytest.raises(error, match=reason):
        build_network(recipe_of(backbone, 32, layer=layer), 2)


def test_a_backbone_that_gives_no_map_is_refused():
    with pytest.raises(InputError, match=r"gives a tensor of shape \(1, 4, 512\), not a feature map \(N, C, h, w\)"):
        build_network(recipe_of("timm/mixer_s32_224", 64), 2)


def test_modules_are_named_for_people_and_checkpoints():
    names = dict(build_network(recipe_of(batch_norm=True, head=[{"dense": 4}]), 2).named_modules())
    assert {"backbone.conv1", "backbone.norm2", "backbone.pool2", "head.dense1", "head.relu1", "head.output"} <= set(
        names
    )
    assert isinstance(names["head.output"], nn.Linear)
