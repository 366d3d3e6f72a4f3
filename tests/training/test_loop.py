"""The loop: what it reaches, when it stops, what it keeps, how the rate goes, and what it does when things go wrong."""

import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from pellucid.errors import InputError, ResourceError
from pellucid.preprocessing import Preprocessing
from pellucid.progress import Silent
from pellucid.recipe_sections import AugmentSection, TrainSection
from pellucid.training import loop
from pellucid.training.batches import FeatureBatches, ImageBatches
from pellucid.training.checkpoint import read_state
from pellucid.training.hardware import out_of_memory_named
from pellucid.training.loop import FitJob, build_optimizer, evaluate_module, fit
from pellucid.training.objective import loss_function
from pellucid.training.processes import Processes
from pellucid.training.rows import Features

HERE = Processes(torch.device("cpu"))


def trained(module, train, validation, section, task="binary", progress=None, **options):
    return fit(FitJob(module, train, validation, section, task, HERE, **options), progress)


class Recorder(Silent):
    """Keeps the lines said, and a copy of a module's weights at each: that is, after each epoch."""

    def __init__(self, module=None):
        self.module, self.lines, self.states, self.counts = module, [], [], []

    def say(self, line):
        self.lines.append(line)
        if self.module is not None:
            self.states.append({k: v.clone() for k, v in self.module.state_dict().items()})

    @contextmanager
    def bar(self, description):
        self.counts.append([])
        yield lambda done, total: self.counts[-1].append((done, total))


class Scripted(nn.Module):
    """Its validation loss in each epoch is what the script says, while its one weight really trains."""

    def __init__(self, losses, broken_from=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.losses, self.broken_from, self.epoch = losses, broken_from, 0

    def train(self, mode=True):
        self.epoch += int(mode)
        return super().train(mode)

    def forward(self, x):
        if self.training:
            broken = self.broken_from is not None and self.epoch >= self.broken_from
            return self.weight * x[:, :1] * (math.nan if broken else 1)
        wanted = self.losses[self.epoch - 1]
        # The loss of label 1 is log(1 + exp(-z)).
        return torch.full((len(x), 1), -math.log(math.expm1(wanted)))


def features(inputs, labels, batch_size=8, seed=0):
    return FeatureBatches(
        Features.of(inputs[None].astype(np.float32)), np.arange(len(labels)), labels, batch_size, seed
    )


def ones(count=8, batch_size=8):
    """Inputs that a Scripted module can do something with; every label is 1."""
    return features(np.ones((count, 1)), np.ones(count, np.int64), batch_size)


def scripted(losses, broken_from=None, **options):
    module = Scripted(losses, broken_from)
    recorder = Recorder(module)
    section = TrainSection(epochs=len(losses), batch_size=8, optimizer="sgd", learning_rate=0.125, **options)
    fitted = trained(module, ones(), ones(), section, progress=recorder)
    return fitted, module, recorder


def clouds(classes, count=60, apart=6.0, seed=0):
    """Points (count, 2) in clouds around a circle, and the cloud of each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    angle = 2 * np.pi * labels / classes
    return apart * np.stack([np.cos(angle), np.sin(angle)], 1) + rng.normal(size=(count, 2)), labels


class TestLearning:
    @pytest.mark.parametrize("classes", [2, 4])
    @pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
    def test_what_a_line_separates_is_separated(self, classes, optimizer):
        torch.manual_seed(0)
        module = nn.Linear(2, 1 if classes == 2 else classes)
        (x, y), (x_val, y_val) = clouds(classes), clouds(classes, seed=1)
        section = TrainSection(
            epochs=15, batch_size=10, learning_rate=0.1 if optimizer != "sgd" else 0.02, optimizer=optimizer
        )
        task = "binary" if classes == 2 else "multiclass"
        fitted = trained(module, features(x, y, 10), features(x_val, y_val), section, task)
        best = fitted.history.best_row
        assert best["val_roc_auc"] == 1
        assert best["val_accuracy"] == 1
        assert best["val_loss"] < 0.1

    def test_it_finds_the_minimum_that_scikit_learn_finds(self):
        """Overlapping clouds with an L2 penalty: a convex problem with one answer."""
        x, y = clouds(2, count=80, apart=0.7)
        decay = 0.1
        module = nn.Linear(2, 1, bias=False)
        section = TrainSection(
            epochs=60,
            batch_size=80,
            optimizer="sgd",
            learning_rate=0.5,
            weight_decay=decay,
            patience=0,
            precision="float32",
        )
        trained(
            module,
            features(x, y, 80),
            features(x, y, 80),
            section,
            "binary",
            progress=(recorder := Recorder(module)),
        )
        truth = LogisticRegression(C=1 / (decay * len(y)), fit_intercept=False, tol=1e-8).fit(x, y).coef_
        assert recorder.states[-1]["weight"].numpy() == pytest.approx(truth, abs=1e-3)

    def test_a_regression_learns_its_score(self):
        x, y = clouds(2)
        section = TrainSection(epochs=40, batch_size=10, learning_rate=0.02, monitor="val_mae", loss="mse", patience=0)
        torch.manual_seed(0)
        fitted = trained(nn.Linear(2, 1), features(x, y), features(x, y), section, "regression")
        slope = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
        least = np.abs(np.c_[x, np.ones(len(x))] @ slope - y).mean()
        assert fitted.history.best_row["val_mae"] == pytest.approx(least, abs=0.03)

    def test_the_train_loss_is_the_mean_over_images(self):
        """With a rate of next to nothing the weights stay, and the epoch's loss is theirs."""
        x, y = clouds(2, count=21)
        module = nn.Linear(2, 1)
        section = TrainSection(epochs=1, batch_size=4, learning_rate=1e-12, precision="float32")
        batches = features(x, y, 4)
        fitted = trained(module, batches, batches, section, "binary")
        row = fitted.history.rows[0]
        assert row["train_loss"] == pytest.approx(row["val_loss"], rel=1e-5)

    def test_the_same_seed_gives_the_same_bits(self):
        pixels = np.random.default_rng(0).integers(0, 256, (13, 8, 8, 3), dtype=np.uint8)
        labels = np.arange(13) % 2
        changes = AugmentSection(rotation=20, shift=0.1, zoom=0.1, flip=True, brightness=0.1)

        def of_seed(seed):
            torch.manual_seed(seed)
            module = nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 1)
            )
            batches = ImageBatches(pixels, np.arange(13), labels, Preprocessing(height=8, width=8), changes, 4, seed)
            section = TrainSection(epochs=3, batch_size=4, patience=0)
            fitted = trained(module, batches, batches, section, "binary")
            rows = [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.history.rows]
            return module.state_dict(), rows

        (first, rows), (second, again), (other, _) = of_seed(1), of_seed(1), of_seed(2)
        assert rows == again
        assert all((first[k] == second[k]).all() for k in first)
        assert not (first["5.weight"] == other["5.weight"]).any()


class TestStopping:
    LOSSES = (0.9, 0.7, 0.5, 0.6, 0.55, 0.5, 0.8, 0.4)

    @pytest.mark.parametrize(
        ("patience", "stops", "best"), [(1, 4, 3), (2, 5, 3), (3, 6, 3), (4, 7, 3), (5, 8, 8), (0, 8, 8)]
    )
    def test_it_stops_after_that_many_epochs_without_a_better_one(self, patience, stops, best):
        fitted, module, recorder = scripted(self.LOSSES, patience=patience)
        assert [row["val_loss"] for row in fitted.history.rows] == pytest.approx(self.LOSSES[:stops], rel=1e-5)
        assert fitted.history.best_row["epoch"] == best
        assert fitted.ended == ("all 8 epochs done" if stops == 8 else f"no better val_loss for {patience} epochs")
        weights = [float(state["weight"]) for state in recorder.states]
        assert len(set(weights)) == stops
        assert module.weight.item() == weights[best - 1]
        assert not module.training

    def test_each_best_so_far_is_on_disk_when_it_comes(self, tmp_path):
        kept = []

        class Watching(Recorder):
            def say(self, line):
                super().say(line)
                kept.append(float(read_state(tmp_path / "state").tensors["best"]["weight"]))

        module = Scripted(self.LOSSES)
        recorder = Watching(module)
        section = TrainSection(epochs=8, batch_size=8, optimizer="sgd", learning_rate=0.125, patience=0)
        trained(module, ones(), ones(), section, progress=recorder, state=tmp_path / "state")
        weights = [float(state["weight"]) for state in recorder.states]
        assert kept == [weights[i] for i in (0, 1, 2, 2, 2, 2, 2, 7)]

    def test_a_share_is_watched_upwards(self):
        """Accuracy 1 while the loss is below log 2, else 0; among equals the lower loss is the better epoch."""
        fitted, _, _ = scripted((0.9, 0.6, 0.5, 0.8, 0.9), patience=2, monitor="val_accuracy")
        assert [row["val_accuracy"] for row in fitted.history.rows] == [0, 1, 1, 0, 0]
        assert fitted.history.best_row["epoch"] == 3
        assert fitted.ended == "no better val_accuracy for 2 epochs"


def plateau_by_hand(losses, rate, factor, patience):
    """The rate in each epoch."""
    rates, best, bad = [], math.inf, 0
    for loss in losses:
        rates.append(rate)
        if loss < best * (1 - 1e-4):
            best, bad = loss, 0
        else:
            bad += 1
        if bad > patience:
            rate, bad = rate * factor, 0
    return rates


def one_cycle_by_hand(steps, most):
    """A quarter of the steps up by a cosine from most / 25, the rest down to most / 250,000; steps from 0."""
    low, least, top, end = most / 25, most / 250_000, 0.25 * steps - 1, steps - 1

    def between(a, b, share):
        return b + (a - b) / 2 * (1 + math.cos(math.pi * share))

    return [
        between(low, most, i / top) if i <= top else between(most, least, (i - top) / (end - top)) for i in range(steps)
    ]


class TestSchedules:
    @pytest.mark.parametrize(("factor", "patience"), [(0.5, 1), (0.5, 0), (0.1, 2)])
    def test_a_plateau_lowers_the_rate(self, factor, patience):
        losses = (0.9, 0.8, 0.8, 0.81, 0.82, 0.7, 0.7, 0.7, 0.7, 0.7)
        fitted, _, _ = scripted(
            losses, patience=0, schedule="plateau", plateau_factor=factor, plateau_patience=patience
        )
        wanted = plateau_by_hand(losses, 0.125, factor, patience)
        assert wanted[-1] < 0.125
        assert [row["learning_rate"] for row in fitted.history.rows] == pytest.approx(wanted)

    def test_a_plateau_of_a_share_is_where_it_does_not_rise(self):
        fitted, _, _ = scripted(
            (0.9, 0.6, 0.5, 0.4), patience=0, schedule="plateau", plateau_patience=0, monitor="val_accuracy"
        )
        assert [row["val_accuracy"] for row in fitted.history.rows] == [0, 1, 1, 1]
        assert [row["learning_rate"] for row in fitted.history.rows] == [0.125, 0.125, 0.125, 0.0625]

    def test_constant_stays(self):
        fitted, _, _ = scripted((0.5,) * 5, patience=0)
        assert {row["learning_rate"] for row in fitted.history.rows} == {0.125}

    @pytest.mark.parametrize(("count", "steps"), [(12, 3), (13, 3), (11, 3), (9, 2), (4, 1)])
    def test_one_cycle_goes_round_exactly_once(self, monkeypatch, count, steps):
        rates, momenta = [], []

        class Watched(torch.optim.SGD):
            def step(self, closure=None):
                rates.append(self.param_groups[0]["lr"])
                momenta.append(self.param_groups[0]["momentum"])
                return super().step(closure)

        monkeypatch.setattr(
            loop, "build_optimizer", lambda m, s: Watched(m.parameters(), s.learning_rate, momentum=0.9)
        )
        section = TrainSection(epochs=8, batch_size=4, schedule="one-cycle", learning_rate=0.5, patience=0)
        trained(Scripted((0.5,) * 8), ones(count, 4), ones(), section)
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.5, momentum=0.9)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=8 * steps, pct_start=0.25)
        peer = []
        for _ in range(8 * steps):
            peer.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            optimizer.step()
            cycle.step()
        assert list(zip(rates, momenta, strict=True)) == [pytest.approx(pair) for pair in peer]
        assert rates == pytest.approx(one_cycle_by_hand(8 * steps, 0.5))

    @pytest.mark.parametrize("epochs", range(1, 9))
    def test_a_training_too_short_for_a_cycle_keeps_its_rate(self, epochs):
        fitted, _, _ = scripted((0.5,) * epochs, patience=0, schedule="one-cycle")
        constant = {row["learning_rate"] for row in fitted.history.rows} == {0.125}
        assert constant == (epochs < 8)


class TestNotANumber:
    def test_from_the_start_is_the_users_to_mend(self):
        with pytest.raises(InputError, match=r"not a number in epoch 1: lower `train\.learning_rate` \(now 0\.125\)"):
            scripted((0.5, 0.5), broken_from=1)

    def test_in_validation_too(self):
        with pytest.raises(InputError, match=r"lower `train\.learning_rate`"):
            scripted((math.nan, 0.5))

    def test_later_it_ends_the_training_with_the_best_so_far(self):
        fitted, module, recorder = scripted((0.9, 0.5, 0.6, 0.4, 0.3), broken_from=4)
        assert fitted.ended == (
            "the loss was not a number in epoch 4, so the best epoch before it is kept; lower `train.learning_rate` "
            "(now 0.125)"
        )
        assert len(fitted.history.rows) == 3
        assert module.weight.item() == float(recorder.states[1]["weight"])
        assert math.isfinite(module.weight.item())

    def test_a_rate_that_is_far_too_high_is_found(self):
        """Squared errors under steps of ten overflow for real."""
        x, y = 1e12 * np.ones((8, 2)), np.ones(8, np.int64)
        section = TrainSection(epochs=3, optimizer="sgd", learning_rate=10, loss="mse", monitor="val_mae")
        with pytest.raises(InputError, match=r"lower `train\.learning_rate` \(now 10\)"):
            trained(nn.Linear(2, 1), features(x, y), features(x, y), section, "regression")


class Failing(nn.Module):
    def __init__(self, error, in_training):
        super().__init__()
        self.linear, self.error, self.in_training = nn.Linear(1, 1), error, in_training

    def forward(self, x):
        if self.training == self.in_training:
            raise self.error
        return self.linear(x)


class TestOutOfMemory:
    @pytest.mark.parametrize("in_training", [True, False])
    @pytest.mark.parametrize(
        "error",
        [
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
            MemoryError(),
            RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        ],
        ids=["gpu", "python", "cpu"],
    )
    def test_the_setting_to_lower_is_named(self, error, in_training):
        with pytest.raises(ResourceError, match=r"batch of 8 images.*`train.batch_size` to 4.*`data.size`") as raised:
            trained(Failing(error, in_training), ones(), ones(), TrainSection(), "binary")
        assert raised.value.__cause__ is error

    def test_a_batch_of_one_is_not_halved_to_none(self):
        with (
            pytest.raises(ResourceError, match=r"^Memory ran out on a batch of 1 image: lower the image size"),
            out_of_memory_named(1),
        ):
            raise MemoryError

    def test_other_errors_stay_what_they_are(self):
        with pytest.raises(RuntimeError, match="shapes"):
            trained(
                Failing(RuntimeError("mat1 and mat2 shapes cannot be multiplied"), True),
                ones(),
                ones(),
                TrainSection(),
                "binary",
            )


class TestParts:
    def test_frozen_normalisation_keeps_its_statistics_and_the_rest_moves(self):
        x, y = clouds(2)
        module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        for part in module[:2]:
            part.requires_grad_(False)
        before = {k: v.clone() for k, v in module.state_dict().items()}
        section = TrainSection(epochs=2, batch_size=10, patience=0)
        trained(module, features(x, y, 10), features(x, y), section, "binary")
        moved = {k for k, v in module.state_dict().items() if not torch.equal(before[k], v)}
        assert moved == set(before) - {k for k in before if k[0] in "01"}

    @pytest.mark.parametrize("largest", [0.01, 0.1, 1e6])
    def test_a_gradient_is_clipped_to_its_largest_norm(self, largest):
        """One step of Nesterov momentum from rest is 1.9 times the rate times the gradient."""
        x, y = clouds(2)
        torch.manual_seed(0)
        module = nn.Linear(2, 1)
        inputs = torch.from_numpy(x.astype(np.float32))
        value = nn.functional.binary_cross_entropy_with_logits(module(inputs)[:, 0], torch.from_numpy(y).float())
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(value, list(module.parameters()))])
        before = nn.utils.parameters_to_vector(module.parameters()).detach().clone()
        section = TrainSection(
            epochs=1, batch_size=60, optimizer="sgd", learning_rate=0.1, clip_gradient=largest, precision="float32"
        )
        trained(module, features(x, y, 60), features(x, y), section, "binary")
        step = nn.utils.parameters_to_vector(module.parameters()).detach() - before
        clipped = gradient * min(1, largest / float(gradient.norm()))
        assert step.numpy() == pytest.approx(-0.1 * 1.9 * clipped.numpy(), rel=1e-4, abs=1e-7)

    def test_only_what_is_not_frozen_is_optimised(self):
        module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        module[0].requires_grad_(False)
        optimizer = build_optimizer(module, TrainSection(weight_decay=0.25, learning_rate=0.5))
        (group,) = optimizer.param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in module[1].parameters()]
        assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)

    @pytest.mark.parametrize("classes", [2, 3])
    @pytest.mark.parametrize("batch_size", [1, 4, 300])
    def test_validation_does_not_depend_on_the_batch_size(self, classes, batch_size):
        pixels = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
        labels = np.sort(np.arange(23) % classes)
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(192), nn.Dropout(0.5), nn.Linear(192, 1 if classes == 2 else 3)
        )
        preprocessing = Preprocessing(height=8, width=8)
        batches = ImageBatches(pixels, np.arange(23), labels, preprocessing, AugmentSection(flip=True), batch_size, 0)
        loss = loss_function(
            TrainSection(), "binary" if classes == 2 else "multiclass", np.array([0.2, 3, 1], np.float32)[:classes]
        )
        logits, value = evaluate_module(module, batches, loss, HERE)
        with torch.no_grad():
            truth = module.eval()(torch.from_numpy(preprocessing.normalise(pixels)))
        assert logits == pytest.approx(truth.numpy(), abs=1e-5)
        assert value == pytest.approx(float(loss(truth, torch.from_numpy(labels))), rel=1e-5)

    def test_progress_counts_images_and_says_each_epoch(self):
        _, _, recorder = scripted((0.9, 0.5), patience=0)
        assert recorder.counts == [[(8, 8)], [(8, 8)]]
        assert recorder.lines[1].startswith("epoch   2/2  loss ")
        assert "val loss 0.5000  val accuracy 1.0000  val AUC 0.5000" in recorder.lines[1]

    def test_of_many_brief_epochs_some_have_a_line(self):
        fitted, _, recorder = scripted(tuple(np.linspace(0.9, 0.5, 40)), patience=0)
        assert len(fitted.history.rows) == 40
        assert [line.split()[1] for line in recorder.lines] == ["1/40", *(f"{n}/40" for n in range(3, 40, 3)), "40/40"]


def numbers(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


def wide():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.4), nn.Linear(8, 3))


class TestGoingOn:
    @pytest.mark.parametrize(
        "options",
        [
            {"optimizer": "adam", "schedule": "plateau", "plateau_patience": 0},
            {"optimizer": "sgd", "schedule": "one-cycle"},
            {"optimizer": "rmsprop", "schedule": "cosine", "warmup": 2, "average": 0.9},
            {"optimizer": "adamw", "average": 0.95, "clip_gradient": 0.5, "accumulate": 2, "patience": 4},
        ],
    )
    @pytest.mark.parametrize("broken_after", [1, 4])
    def test_a_training_that_was_broken_off_ends_as_an_unbroken_one(self, tmp_path, options, broken_after):
        x, y = clouds(3, apart=1.0)
        section = TrainSection(**{"epochs": 7, "batch_size": 8, "learning_rate": 0.03, "patience": 0} | options)

        class Stops(Recorder):
            def say(self, line):
                super().say(line)
                if len(self.lines) == broken_after:
                    raise KeyboardInterrupt

        whole, half = wide(), wide()
        data = features(x, y, 8), features(*clouds(3, seed=2, apart=1.0))
        truth = trained(whole, *data, section, "multiclass", seed=4)
        with pytest.raises(KeyboardInterrupt):
            trained(half, *data, section, "multiclass", Stops(), seed=4, state=tmp_path / "state")
        other = wide()
        with torch.no_grad():
            other[0].weight.zero_()
        fitted = trained(other, *data, section, "multiclass", seed=4, state=tmp_path / "state")
        assert numbers(fitted.history) == numbers(truth.history)
        assert fitted.ended == truth.ended
        assert all(torch.equal(other.state_dict()[k], v) for k, v in whole.state_dict().items())

    def test_a_training_that_ended_is_not_trained_again(self, tmp_path):
        x, y = clouds(2)
        section = TrainSection(epochs=2, batch_size=8)
        module = nn.Linear(2, 1)
        first = trained(module, features(x, y), features(x, y), section, state=tmp_path / "state")
        again = trained(nn.Linear(2, 1), features(x, y), features(x, y), section, state=tmp_path / "state")
        assert again.history.rows == first.history.rows

    def test_a_damaged_state_is_named(self, tmp_path):
        (tmp_path / "state").write_bytes(b"damaged")
        x, y = clouds(2)
        with pytest.raises(InputError, match=r"state is damaged .*train again"):
            trained(nn.Linear(2, 1), features(x, y), features(x, y), TrainSection(), state=tmp_path / "state")


class TestSteps:
    @pytest.mark.parametrize("options", [{}, {"class_weights": True, "label_smoothing": 0.1}])
    def test_batches_that_are_accumulated_are_one_larger_batch(self, options):
        x, y = clouds(3, count=48, apart=1.0)
        weights = np.array([0.5, 1, 3], np.float32) if options.pop("class_weights", None) else None
        states = []
        for size, accumulate in ((24, 1), (8, 3), (6, 4)):
            torch.manual_seed(1)
            module = nn.Linear(2, 3)
            section = TrainSection(
                epochs=3, batch_size=size, accumulate=accumulate, precision="float32", patience=0, **options
            )
            fitted = trained(module, features(x, y, size), features(x, y), section, "multiclass", weights=weights)
            states.append((module.weight.detach().numpy(), [row["train_loss"] for row in fitted.history.rows]))
        for weight, losses in states[1:]:
            assert weight == pytest.approx(states[0][0], abs=1e-5)
            assert losses == pytest.approx(states[0][1], rel=1e-4)

    def test_the_average_is_what_is_checked_and_kept(self):
        """Against the recurrence, written out over the weights after each step."""
        x, y = clouds(2, apart=1.0)
        section = TrainSection(epochs=1, batch_size=10, learning_rate=0.1, average=0.8, precision="float32", patience=0)
        plain = section.model_copy(update={"average": 0.0})
        seen = []

        class Watched(nn.Linear):
            def forward(self, x):
                if self.training:
                    seen.append(self.weight.detach().clone())
                return super().forward(x)

        torch.manual_seed(0)
        last = Watched(2, 1)
        trained(last, features(x, y, 10), features(x, y), plain)
        weights = [*seen, last.weight.detach()]
        average = weights[0]
        for n, weight in enumerate(weights[1:]):
            decay = min(0.8, (1 + n) / (10 + n))
            average = decay * average + (1 - decay) * weight
        torch.manual_seed(0)
        module = nn.Linear(2, 1)
        fitted = trained(module, features(x, y, 10), features(x, y), section)
        assert module.weight.detach().numpy() == pytest.approx(average.numpy(), abs=1e-6)
        _, value = evaluate_module(module, features(x, y), loss_function(section, "binary"), HERE)
        assert fitted.history.rows[0]["val_loss"] == pytest.approx(value)

    def test_what_is_frozen_drops_nothing(self):
        frozen = nn.Sequential(nn.Linear(2, 4), nn.Dropout(0.9)).requires_grad_(False)
        module = nn.Sequential(frozen, nn.Linear(4, 1))
        loop._training_mode(module, freeze_norm=False)
        assert not frozen[1].training
        assert module[1].training

    def test_each_epoch_is_tracked(self):
        x, y = clouds(2)
        rows = []
        section = TrainSection(epochs=3, batch_size=8, patience=0)
        fitted = trained(nn.Linear(2, 1), features(x, y), features(x, y), section, track=rows.append)
        assert rows == fitted.history.rows
