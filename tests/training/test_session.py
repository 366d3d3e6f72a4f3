"""A recipe's training: what is frozen, and that the short way through cached features is the long way."""

import copy
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.models.network import Network, build_network
from pellucid.progress import Silent
from pellucid.recipe import AugmentSection, validate_recipe
from pellucid.training import session
from pellucid.training.batches import ImageBatches
from pellucid.training.history import History
from pellucid.training.loop import fit
from pellucid.training.objective import class_weights
from pellucid.training.session import freeze, train_network


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(session, "pick_device", lambda: torch.device("cpu"))


def recipe(freeze_what="all", classes=2, **train):
    settings = {"epochs": 4, "batch_size": 6, "precision": "float32", "patience": 0, "learning_rate": 0.01}
    model = {
        "backbone": "cnn",
        "weights": "none",
        "filters": [4, 8],
        "batch_norm": True,
        "head": [{"dense": 6, "dropout": 0.3}],
        "freeze": freeze_what,
    }
    return validate_recipe({"data": {"size": 16}, "model": model, "train": settings | train}, "test")


def source(classes=2, count=25, seed=0):
    """Noise whose brightness tells the class, kept in an array that holds other images too."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    pixels = rng.integers(0, 120, (40, 16, 16, 3), dtype=np.uint8)
    rows = rng.permutation(40)[:count]
    pixels[rows] += (labels * (120 // classes)).astype(np.uint8)[:, None, None, None]
    return pixels, rows, labels


def seeded_network(wanted, classes):
    torch.manual_seed(3)
    network = build_network(wanted, classes)
    network.backbone.norm1.running_mean.normal_()
    return network


def trained(wanted, folder, classes=2, progress=None):
    network = seeded_network(wanted, classes)
    torch.manual_seed(4)
    fitted = train_network(
        network,
        wanted,
        train=source(classes),
        validation=source(classes, 14, seed=1),
        classes=classes,
        seed=7,
        checkpoints=folder,
        progress=progress or Silent(),
    )
    return network, fitted


def by_the_long_way(wanted, classes=2):
    """Every image through the whole network in every epoch."""
    network = seeded_network(wanted, classes)
    freeze(network, wanted.model.freeze)
    section = wanted.train

    def images(pixels, rows, labels):
        return ImageBatches(pixels, rows, labels, wanted.preprocessing(), AugmentSection(), section.batch_size, 7)

    torch.manual_seed(4)
    data = source(classes)
    fitted = fit(
        network,
        images(*data),
        images(*source(classes, 14, seed=1)),
        section,
        "binary" if classes == 2 else "multiclass",
        device=torch.device("cpu"),
        weights=class_weights(data[2], classes) if section.class_weights == "balanced" else None,
        progress=Silent(),
    )
    return network, fitted


def rows_without_time(history: History):
    return [[v for k, v in row.items() if k != "seconds"] for row in history.rows]


class TestTraining:
    @pytest.mark.parametrize(
        ("classes", "options"),
        [
            (2, {}),
            (3, {"class_weights": "balanced", "label_smoothing": 0.1}),
            (2, {"schedule": "one-cycle", "optimizer": "sgd", "clip_gradient": 0.5}),
        ],
    )
    def test_cached_features_train_the_head_that_images_train(self, tmp_path, classes, options):
        wanted = recipe(classes=classes, **options)
        short, fitted = trained(wanted, tmp_path, classes)
        long, truth = by_the_long_way(wanted, classes)
        assert np.array(rows_without_time(fitted.history)) == pytest.approx(
            np.array(rows_without_time(truth.history)), abs=1e-4
        )
        for name, value in long.state_dict().items():
            assert short.state_dict()[name].numpy() == pytest.approx(value.numpy(), abs=1e-4), name

    @pytest.mark.parametrize("what", ["all", "none", "norm2"])
    def test_the_checkpoint_is_the_network_that_is_handed_back(self, tmp_path, what):
        network, fitted = trained(recipe(what, learning_rate=0.05), tmp_path / "deep" / "checkpoints")
        kept = load_file(tmp_path / "deep" / "checkpoints" / "best.safetensors")
        state = network.state_dict()
        assert kept.keys() == state.keys()
        assert all(torch.equal(kept[k], state[k]) for k in state)
        assert not network.training
        assert {p.device.type for p in network.parameters()} == {"cpu"}
        assert len(fitted.history.rows) == 4

    @pytest.mark.parametrize(
        ("what", "still"), [("none", set()), ("conv2", {"conv1", "norm1"}), (3, {"conv1", "norm1", "conv2"})]
    )
    def test_what_is_frozen_does_not_move_and_all_else_does(self, tmp_path, what, still):
        wanted = recipe(what, monitor="val_accuracy")
        before = copy.deepcopy(seeded_network(wanted, 2).state_dict())
        network, _ = trained(wanted, tmp_path)
        same = {k.split(".")[1] for k, v in network.state_dict().items() if torch.equal(before[k], v)}
        moved = {k.split(".")[1] for k, v in network.state_dict().items() if not torch.equal(before[k], v)}
        assert same == still
        assert moved == {"conv1", "norm1", "conv2", "norm2", "dense1", "output"} - still

    @pytest.mark.parametrize(("flip", "views"), [(True, 3), (False, 1)])
    def test_a_frozen_backbone_is_said_to_run_once_per_view(self, tmp_path, flip, views):
        wanted = recipe(cached_views=3).model_copy(update={"augment": AugmentSection(flip=flip)})
        progress = Lines()
        trained(wanted, tmp_path, progress=progress)
        assert f"once for each of {views} views of 25 images" in progress.lines[0]
        assert len(progress.lines) == 5

    def test_training_images_are_changed_and_validation_images_never(self, tmp_path, monkeypatch):
        given = []
        monkeypatch.setattr(session, "fit", lambda module, *batches, **rest: given.extend(batches[:2]))
        changes = AugmentSection(rotation=20, flip=True)
        trained(recipe("none").model_copy(update={"augment": changes}), tmp_path)
        assert [b.augmentation for b in given] == [changes, AugmentSection()]
        assert [len(b.labels) for b in given] == [25, 14]

    def test_balanced_weights_come_from_the_training_labels(self, tmp_path, monkeypatch):
        used = []
        monkeypatch.setattr(session, "fit", lambda *a, **k: used.append(k["weights"]))
        for kind in ("none", "balanced"):
            trained(recipe("none", class_weights=kind), tmp_path)
        assert used[0] is None
        assert used[1] == pytest.approx([25 / 26, 25 / 24])

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_full_disk_is_an_os_error(self, tmp_path):
        """Only so does the run folder know that it must name the disk."""
        (tmp_path / "best.safetensors").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left on device"):
            trained(recipe("none"), tmp_path)


def frozen(network):
    """Names of the layers of which no parameter trains."""
    return {
        name
        for name, module in network.named_modules()
        if (own := list(module.parameters(recurse=False))) and not any(p.requires_grad for p in own)
    }


def plain_network(*names):
    layers = OrderedDict((name, nn.Conv2d(3, 3, 1)) for name in names)
    return Network(nn.Sequential(layers), nn.Flatten(), nn.Sequential(OrderedDict(output=nn.Linear(3, 1))), "backbone")


class TestFreeze:
    LAYERS = ("conv1", "norm1", "conv2", "norm2")

    @pytest.mark.parametrize(
        ("wanted", "count"),
        [
            ("none", 0),
            ("all", 4),
            (0, 0),
            (1, 1),
            (3, 3),
            (4, 4),
            ("conv1", 0),
            ("norm1", 1),
            ("conv2", 2),
            ("backbone.norm2", 3),
        ],
    )
    def test_from_the_input_on(self, wanted, count):
        network = build_network(recipe(), 2)
        freeze(network, wanted)
        assert frozen(network) == {f"backbone.{name}" for name in self.LAYERS[:count]}

    def test_a_layer_that_is_not_there_offers_the_nearest(self):
        with pytest.raises(
            UnknownNameError, match=r"no layer named 'conv3'\. Did you mean conv[12] or conv[12].*none, all, a count"
        ):
            freeze(build_network(recipe(), 2), "conv3")

    def test_more_layers_than_there_are_is_refused(self):
        with pytest.raises(InputError, match=r"model\.freeze = 5: the backbone has 4 layers"):
            freeze(build_network(recipe(), 2), 5)

    def test_a_name_is_whole(self):
        network = plain_network("block10", "block2", "block1")
        freeze(network, "block1")
        assert frozen(network) == {"backbone.block10", "backbone.block2"}

    def test_a_block_stands_for_its_first_layer(self):
        backbone = nn.Sequential(OrderedDict(a=nn.Conv2d(3, 3, 1), b=nn.Sequential(nn.ReLU(), nn.Conv2d(3, 3, 1))))
        network = Network(backbone, nn.Flatten(), nn.Linear(3, 1), "backbone")
        freeze(network, "b")
        assert frozen(network) == {"backbone.a"}

    def test_everything_below_the_fifth_block_of_vgg16_is_ten_convolutions(self):
        """The first 15 layers as Keras counts them: the input, four blocks and their poolings."""
        with torch.device("meta"):
            features = torchvision.models.vgg16(weights=None).features
        wanted = {f"backbone.features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)}
        for what in (10, "features.24"):
            backbone = nn.Sequential(OrderedDict(features=copy.deepcopy(features)))
            network = Network(backbone, nn.Flatten(), nn.Identity(), "backbone")
            freeze(network, what)
            assert frozen(network) == wanted
