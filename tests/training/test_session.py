"""A recipe's training: what is frozen, and that the short way through cached features is the long way."""

import copy
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score
from torch import nn

from pellucid.errors import InputError, UnknownNameError
from pellucid.models.network import Network, build_network
from pellucid.progress import Silent
from pellucid.recipe import validate_recipe
from pellucid.recipe_sections import AugmentSection
from pellucid.training import loop, session
from pellucid.training.history import History
from pellucid.training.session import Training, forget, freeze, train_network


class Lines(Silent):
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(session, "pick_device", lambda: torch.device("cpu"))


def recipe(freeze_what="all", classes=2, fine_tune=None, augment=None, **train):
    settings = {"epochs": 4, "batch_size": 6, "precision": "float32", "patience": 0, "learning_rate": 0.01}
    settings |= {"cache": "always"}
    model = {
        "backbone": "cnn",
        "weights": "none",
        "filters": [4, 8],
        "batch_norm": True,
        "head": [{"dense": 6, "dropout": 0.3}],
        "freeze": freeze_what,
    }
    sections = {"model": model, "train": settings | train, "fine_tune": fine_tune or {}, "augment": augment or {}}
    return validate_recipe({"data": {"size": 16}, **sections}, "test")


def source(classes=2, count=25, seed=0):
    """Noise whose brightness tells the class, kept in an array that holds other images too."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    pixels = rng.integers(0, 120, (40, 16, 16, 3), dtype=np.uint8)
    rows = rng.permutation(40)[:count]
    pixels[rows] += (labels * (120 // classes)).astype(np.uint8)[:, None, None, None]
    return pixels, rows, labels


def seeded_network(wanted, classes=2):
    torch.manual_seed(3)
    network = build_network(wanted, classes)
    network.backbone.norm1.running_mean.normal_()
    return network


def trained(wanted, folder, classes=2, progress=None, **options):
    network = seeded_network(wanted, classes)
    what = Training(
        wanted,
        source(classes),
        source(classes, 14, seed=1),
        classes,
        seed=7,
        checkpoints=folder,
        progress=progress or Silent(),
        **options,
    )
    return network, train_network(network, what)


def rows_without_time(history: History):
    return [[v for k, v in row.items() if k != "seconds"] for row in history.rows]


def same_training(first, second, within=0.0):
    (network, fitted), (other, truth) = first, second
    assert np.array(rows_without_time(fitted.history)) == pytest.approx(
        np.array(rows_without_time(truth.history)), abs=within
    )
    for name, value in other.state_dict().items():
        assert network.state_dict()[name].numpy() == pytest.approx(value.numpy(), abs=within), name


class TestTraining:
    @pytest.mark.parametrize("what", ["all", "norm2", "conv2"])
    @pytest.mark.parametrize(
        ("classes", "options"),
        [
            (2, {}),
            (3, {"class_weights": "balanced", "label_smoothing": 0.1, "sampling": "balanced"}),
            (2, {"schedule": "one-cycle", "optimizer": "sgd", "clip_gradient": 0.5, "average": 0.9}),
            (2, {"standardize": True, "average": 0.9}),
        ],
    )
    def test_features_that_are_kept_train_what_images_train(self, tmp_path, what, classes, options):
        """Every image through the whole network in every epoch is the long way."""
        lines = Lines()
        short = trained(recipe(what, classes, **options), tmp_path / "a", classes, lines)
        long = trained(recipe(what, classes, **options, cache="never"), tmp_path / "b", classes)
        assert "they run once for 25 training images" in lines.lines[0]
        same_training(short, long, within=1e-5)

    def test_in_half_precision_too(self, tmp_path):
        short = trained(recipe("conv2", precision="bf16"), tmp_path / "a")
        long = trained(recipe("conv2", precision="bf16", cache="never"), tmp_path / "b")
        same_training(short, long, within=1e-5)

    @pytest.mark.parametrize("what", ["all", "none", "norm2"])
    def test_the_checkpoint_is_the_network_that_is_handed_back(self, tmp_path, what):
        folder = tmp_path / "deep" / "checkpoints"
        network, fitted = trained(recipe(what, learning_rate=0.05), folder)
        kept = load_file(folder / "best.safetensors")
        state = network.state_dict()
        assert kept.keys() == state.keys()
        assert all(torch.equal(kept[k], state[k]) for k in state)
        assert not network.training
        assert {p.device.type for p in network.parameters()} == {"cpu"}
        assert len(fitted.history.rows) == 4
        assert sorted(f.name for f in folder.iterdir()) == ["best.safetensors", "stage-1.safetensors"]
        forget(folder)
        assert [f.name for f in folder.iterdir()] == ["best.safetensors"]

    @pytest.mark.parametrize(
        ("what", "still"), [("none", set()), ("conv2", {"conv1", "norm1"}), (3, {"conv1", "norm1", "conv2"})]
    )
    def test_what_is_frozen_does_not_move_and_all_else_does(self, tmp_path, what, still):
        wanted = recipe(what, monitor="val_accuracy")
        before = copy.deepcopy(seeded_network(wanted).state_dict())
        network, _ = trained(wanted, tmp_path)
        same = {k.split(".")[1] for k, v in network.state_dict().items() if torch.equal(before[k], v)}
        moved = {k.split(".")[1] for k, v in network.state_dict().items() if not torch.equal(before[k], v)}
        assert same == still
        assert moved == {"conv1", "norm1", "conv2", "norm2", "dense1", "output"} - still

    @pytest.mark.parametrize(("flip", "words"), [(True, "for each of 3 views of 25"), (False, "for 25")])
    def test_frozen_layers_are_said_to_run_once_per_view(self, tmp_path, flip, words):
        progress = Lines()
        trained(recipe(cached_views=3, augment={"flip": flip}), tmp_path, progress=progress)
        assert f"The layers up to pool are frozen: they run once {words} training images" in progress.lines[0]
        assert len(progress.lines) == 5

    def test_training_images_are_changed_and_validation_images_never(self, tmp_path, monkeypatch):
        given = []
        monkeypatch.setattr(session, "fit", lambda job, progress: given.extend([job.train, job.validation]) or 1 / 0)
        changes = AugmentSection(rotation=20, flip=True)
        with pytest.raises(ZeroDivisionError):
            trained(recipe("none", augment={"rotation": 20, "flip": True}), tmp_path)
        assert [b.augmentation for b in given] == [changes, AugmentSection()]
        assert [len(b.labels) for b in given] == [25, 14]

    def test_balanced_weights_come_from_the_training_labels(self, tmp_path, monkeypatch):
        used = []
        monkeypatch.setattr(session, "fit", lambda job, progress: used.append(job.weights) or 1 / 0)
        for kind in ("none", "balanced"):
            with pytest.raises(ZeroDivisionError):
                trained(recipe("none", class_weights=kind), tmp_path)
        assert used[0] is None
        assert used[1] == pytest.approx([25 / 26, 25 / 24])

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
    def test_a_full_disk_is_an_os_error(self, tmp_path, monkeypatch):
        """Only so does the run folder know that it must name the disk."""
        monkeypatch.setattr(Path, "write_bytes", write_to_a_full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            trained(recipe("none"), tmp_path)

    def test_a_batch_larger_than_the_set_is_said(self, tmp_path):
        progress = Lines()
        trained(recipe("none", batch_size=64), tmp_path, progress=progress)
        assert progress.lines[0] == "train.batch_size = 64 is more than the 25 training images: an epoch is one step."


class TestStages:
    LATER = MappingProxyType({"epochs": 3, "freeze": "conv2", "learning_rate": 0.01, "schedule": "cosine"})

    def test_the_second_goes_on_from_the_best_of_the_first(self, tmp_path):
        both, fitted = trained(recipe("all", fine_tune=dict(self.LATER)), tmp_path / "both")
        first, alone = trained(recipe("all"), tmp_path / "first")
        rows = rows_without_time(fitted.history)
        assert rows[:4] == rows_without_time(alone.history)
        assert [row[0] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
        assert fitted.ended == "all 4 epochs done; then all 3 epochs done"
        moved = {k for k, v in both.state_dict().items() if not torch.equal(first.state_dict()[k], v)}
        assert any("conv2" in k for k in moved)
        assert not any("conv1" in k or "norm1" in k for k in moved)
        left = sorted(f.name for f in (tmp_path / "both").iterdir())
        assert left == ["best.safetensors", "stage-1.safetensors", "stage-2.safetensors"]

    def test_a_second_stage_that_makes_it_worse_is_not_taken(self, tmp_path):
        later = {**self.LATER, "learning_rate": 10, "schedule": "constant"}
        both, fitted = trained(recipe("all", epochs=20, fine_tune=later), tmp_path / "both")
        first, _ = trained(recipe("all", epochs=20), tmp_path / "first")
        assert fitted.history.best_row["epoch"] <= 20
        assert {n for n, p in both.named_parameters() if p.requires_grad} == {
            n for n, p in first.named_parameters() if p.requires_grad
        }
        assert all(torch.equal(first.state_dict()[k], v) for k, v in both.state_dict().items())

    def test_a_first_stage_that_leaves_nothing_to_gain_is_the_last(self, tmp_path):
        reached = trained(recipe("all"), tmp_path / "first")[1].history.best_row["val_roc_auc"]
        later, lines = {**self.LATER, "enough": reached}, Lines()
        both, fitted = trained(recipe("all", fine_tune=later), tmp_path / "enough", progress=lines)
        assert len(fitted.history.rows) == 4
        assert fitted.ended == "all 4 epochs done"
        assert lines.lines[-1].endswith(f"and is left out (`fine_tune.enough` = {reached:g}).")
        first, _ = trained(recipe("all"), tmp_path / "again")
        assert all(torch.equal(first.state_dict()[k], v) for k, v in both.state_dict().items())

    def test_a_first_stage_short_of_enough_is_followed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(loop, "watched_values", lambda *_: {"val_accuracy": 0.5, "val_roc_auc": 0.9})
        for enough, epochs in ((0.9, 4), (0.91, 7), (0, 7)):
            later = {**self.LATER, "enough": enough}
            assert len(trained(recipe("all", fine_tune=later), tmp_path / str(enough))[1].history.rows) == epochs

    @pytest.mark.parametrize(
        ("labels", "least"),
        [
            ([0] * 20 + [1] * 20, 1 - 1 / 400),
            ([0] * 20 + [1] * 30 + [2] * 50, 1 - 1 / (3 * 2500)),
            ([0] * 5 + [1] * 5, 0.99),
            ([0], 0.99),
        ],
    )
    def test_one_pair_in_the_wrong_order_is_as_good_as_none(self, labels, least):
        """The AUC with one exchange of neighbours, by sklearn where it lies above 0.99."""
        found = session._short_of_one_pair(np.array(labels))
        assert found == pytest.approx(least, abs=1e-8)
        if len(set(labels)) == 2 and least > 0.99:
            scores = np.arange(len(labels), dtype=float)
            scores[[19, 20]] = scores[[20, 19]]
            assert roc_auc_score(labels, scores) >= found

    @pytest.mark.parametrize("standardize", [False, True])
    @pytest.mark.parametrize("broken_after", [2, 4, 6])
    def test_broken_off_in_either_it_ends_the_same(self, tmp_path, broken_after, standardize):
        changes = {"flip": True, "rotation": 10}
        wanted = recipe("all", 2, dict(self.LATER), changes, cached_views=2, standardize=standardize)

        def stop(row):
            if row["epoch"] == broken_after:
                raise KeyboardInterrupt

        truth = trained(wanted, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            trained(wanted, tmp_path / "broken", track=stop)
        same_training(trained(wanted, tmp_path / "broken"), truth)


def write_to_a_full_disk(path, data):
    with Path("/dev/full").open("wb", 0) as file:
        file.write(data)


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
            ("half", 2),
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
            UnknownNameError,
            match=r"no layer named 'conv3'\. Did you mean conv[12] or conv[12].*none, all, half, a count",
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


@pytest.mark.parametrize(("least", "epochs"), [(0, 2), (10, 2), (11, 3), (25, 5), (99, 8)])
def test_few_images_are_passed_over_more_often(tmp_path, least, epochs):
    lines = Lines()
    wanted = recipe(epochs=2, least_steps=least)  # 25 images in batches of 6: an epoch is 5 steps
    _, fitted = trained(wanted, tmp_path, progress=lines)
    assert len(fitted.history.rows) == epochs
    assert any(f"{epochs} epochs instead of 2" in line for line in lines.lines) is (epochs > 2)


def test_a_second_stage_has_a_least_number_of_steps_of_its_own(tmp_path):
    _, fitted = trained(recipe(epochs=1, fine_tune={"epochs": 1, "least_steps": 12}), tmp_path)
    assert [row["epoch"] for row in fitted.history.rows] == [1, 2, 3, 4]
