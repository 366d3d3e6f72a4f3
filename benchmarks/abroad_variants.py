"""The search behind the recipe `default`: many ways of fine-tuning on the shifts of `abroad.py`, side by side.

    python benchmarks/abroad_variants.py DATA --weights FILE --out RESULTS [--jobs 14] [--seconds 400] [--variants ...]

Made for a GPU with many processes; on a CPU take few variants. Trainings start in the order of seeds and variants
until the time is over, and each adds one JSON line to RESULTS. `--table RESULTS` prints what is there: means over seeds
of the AUC on each shift and abroad, and the least sensitivity and specificity there.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import abroad
import shifts
from pellucid.classifier import probabilities_from_logits
from pellucid.preprocessing import Preprocessing
from pellucid.recipe import load_recipe
from pellucid.training import loop
from pellucid.training.checkpoint import read_state

STRONG = (
    "augment.equalize=0.5",
    "augment.sharpness=1.5",
    "augment.grain=0.06",
    "augment.erase=0.3",
    "augment.blur=1.5",
)
TODAY = (
    "data.fit=stretch",
    "data.values=imagenet",
    "model.backbone=mobilenet_v2",
    "train.patience=5",
    "train.epochs=20",
    "train.label_smoothing=0.05",
    "train.average=0.98",
    "train.cached_views=6",
    "fine_tune.epochs=10",
    "fine_tune.freeze=half",
    "fine_tune.learning_rate=2e-4",
    "fine_tune.warmup=1",
    "augment.equalize=0",
    "augment.sharpness=0",
    "augment.grain=0",
    "augment.erase=0",
    "augment.blur=1.0",
)
FULL = (
    *TODAY, "train.epochs=3", "train.patience=0", "train.average=0.99", "train.label_smoothing=0.1",
    "fine_tune.freeze=none",
    "fine_tune.epochs=6", "fine_tune.learning_rate=3e-4", "fine_tune.warmup=0.5",
)  # fmt: skip
BETWEEN = (0.3, 0.5, 0.7)
LITE = ("model.weights=imagenet", "data.values=symmetric")


@dataclass(frozen=True)
class Variant:
    """Changes of the recipe `default`, and what only this search knows: sharpness-aware steps, mixing, validation."""

    settings: tuple[str, ...] = ()
    sharpness_aware: float = 0.0
    mix: float = 0.0
    worst_source: bool = False
    size: int = 224


BASE = Variant(FULL + STRONG)


def changed(*settings: str, **options: Any) -> Variant:
    """The full fine-tuning under strong augmentation, changed."""
    return replace(BASE, settings=BASE.settings + settings, **options)


VARIANTS: dict[str, Variant] = {
    "today": Variant(TODAY),
    "strong": BASE,
    "full-mild": Variant(FULL),
    "strong-lite0": changed("model.backbone=tf_efficientnet_lite0", *LITE),
    "strong-no-probe": changed("model.freeze=none", "train.epochs=6", "train.learning_rate=3e-4",
                               "train.schedule=cosine", "train.warmup=0.5", "fine_tune.epochs=0"),
    "strong-norm": changed("fine_tune.learning_rate=3e-4", "train.freeze_norm=true"),
    "strong-half": changed("fine_tune.freeze=half", "train.cache=never"),
    "strong-1e-4": changed("fine_tune.learning_rate=1e-4"),
    "strong-1e-3": changed("fine_tune.learning_rate=1e-3"),
    "strong-sam": changed(sharpness_aware=0.05),
    "strong-mix": changed(mix=0.4),
    "strong-192": changed("data.size=192", size=192),
    "strong-12": changed("fine_tune.epochs=12"),
    "strong-18": changed("fine_tune.epochs=18"),
    "strong-36": changed("fine_tune.epochs=36"),
    "mild-18": Variant((*FULL, "fine_tune.epochs=18")),
    "strong-18-norm": changed("fine_tune.epochs=18", "train.freeze_norm=true"),
    "strong-40-lite0": changed("fine_tune.epochs=40", "model.backbone=tf_efficientnet_lite0", *LITE),
    "strong-18-half": changed("fine_tune.epochs=18", "fine_tune.freeze=half", "train.cache=never"),
    "strong-18-lite0": changed("fine_tune.epochs=18", "model.backbone=tf_efficientnet_lite0", *LITE),
    "today-strong": Variant(TODAY + STRONG),
    "today-lite0": Variant((*TODAY, "model.backbone=tf_efficientnet_lite0", *LITE)),
    "strong-worst": changed(worst_source=True),
    "strong-unweighted": changed("train.class_weights=none"),
    "strong-equalize": changed("augment.equalize=1.0"),
    "strong-no-average": changed("train.average=0"),
    "strong-lite1": changed("model.backbone=tf_efficientnet_lite1", *LITE),
    "strong-lite2": changed("model.backbone=tf_efficientnet_lite2", *LITE),
    "strong-sgd": changed("train.optimizer=sgd", "fine_tune.learning_rate=1e-2"),
}  # fmt: skip


class SearchFit(loop._Fit):
    """The product's fit with sharpness-aware steps (Foret et al. 2021) and mixed images (Zhang et al. 2018)."""

    variant = Variant()

    def _step(self, group: list[loop.Batch]) -> tuple[torch.Tensor, torch.Tensor]:
        if not (self.variant.sharpness_aware or self.variant.mix):
            return super()._step(group)
        device = self.job.processes.device
        inputs, labels = (t.to(device) for t in group[0])
        mass = self.loss.mass(labels)
        share, order = 1.0, torch.arange(len(labels), device=device)
        if self.variant.mix:
            share = float(
                np.random.default_rng(int(torch.randint(2**31, (1,)))).beta(self.variant.mix, self.variant.mix)
            )
            order = torch.randperm(len(labels)).to(device)
            inputs = share * inputs + (1 - share) * inputs[order]
        self.optimizer.zero_grad(set_to_none=True)
        total = self._backward(inputs, labels, order, share, mass)
        if self.variant.sharpness_aware:
            moved = self._climb()
            self.optimizer.zero_grad(set_to_none=True)
            self._backward(inputs, labels, order, share, mass)
            with torch.no_grad():
                for parameter, step in moved:
                    parameter.sub_(step)
        self.optimizer.step()
        if self.average:
            self.average.update()
        return total, mass

    def _backward(self, inputs: Any, labels: Any, order: Any, share: float, mass: Any) -> torch.Tensor:
        with loop.autocast(self.job.processes.device, self.job.section.precision):
            logits = self.module(inputs)
        items = share * self.loss.items(logits.float(), labels) + (1 - share) * self.loss.items(
            logits.float(), labels[order]
        )
        (items.sum() / mass).backward()
        return items.sum().detach()

    @torch.no_grad()
    def _climb(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        own = [p for p in self.module.parameters() if p.grad is not None]
        norm = torch.stack([p.grad.norm() for p in own]).norm() + 1e-12
        moved = [(p, self.variant.sharpness_aware * p.grad / norm) for p in own]
        for parameter, step in moved:
            parameter.add_(step)
        return moved


@dataclass(frozen=True)
class Job:
    """One training."""

    variant: str
    set: str
    trial: str
    seed: int
    weights: str
    folder: str
    souped: tuple[int, ...] = field(default=())


def prepared(folder: Path, name: str, size: int) -> Path:
    return folder / f"{name}-{size}"


def prepare(data: Path, folder: Path, name: str, size: int, most: int, pool: ProcessPoolExecutor) -> None:
    """Decode a set, cut its trials and change their tests, once, into files that all trainings map."""
    place = prepared(folder, name, size)
    place.mkdir(parents=True, exist_ok=True)
    preprocessing = Preprocessing(height=size, width=size)
    images = shifts.read_set(data / name, preprocessing, pool, most)
    np.save(place / "pixels.npy", images.pixels)
    trials = list(shifts.trials_of(images))
    for trial in trials:
        tests = [t for t in trial.tests if t.change is not None]
        for test, pixels in zip(
            tests, pool.map(shifts.changed, [images.pixels[t.rows] for t in tests], tests), strict=True
        ):
            np.save(place / f"{trial.name}-{test.name}.npy", pixels)
    images = replace(images, pixels=images.pixels[:0])
    (place / "trials.pickle").write_bytes(pickle.dumps((images, trials)))


def train(job: Job) -> list[dict[str, Any]]:
    """One training and its tests, plain and with the mean over a picture and its mirror image.

    Tested too are points between the weights of its first stage and its last ones (Wortsman et al. 2022, WiSE-FT).
    """
    torch.set_num_threads(1)
    variant = VARIANTS[job.variant]
    place = prepared(Path(job.folder), job.set, variant.size)
    images, trials = pickle.loads((place / "trials.pickle").read_bytes())
    images = replace(images, pixels=np.load(place / "pixels.npy", mmap_mode="r"))
    trial = next(t for t in trials if t.name == job.trial)
    recipe = load_recipe("default", [f"model.weights={job.weights}", *variant.settings])
    SearchFit.variant = variant
    loop._Fit = SearchFit
    if variant.worst_source:
        abroad.validation_rows = lambda images, train: np.isin(
            train, np.flatnonzero(shifts.farthest_cluster(images, train))
        )
    started = time.perf_counter()
    asked = abroad.Asked(job.variant, recipe, images, trial, job.seed)
    with tempfile.TemporaryDirectory() as name:
        network, _, _ = abroad.trained(asked, Path(name))
        first = read_state(Path(name) / "stage-1.safetensors")
    seconds = time.perf_counter() - started
    last = {k: v.clone() for k, v in network.state_dict().items()}
    torch.save(last, Path(job.folder) / f"{job.variant}-{job.set}-{job.trial}-{job.seed}.pt")
    lines = [tested(job, recipe, network, images, trial, place) | {"seconds": round(seconds, 1)}]
    for share in BETWEEN if first is not None and recipe.fine_tune.epochs else ():
        network.load_state_dict({k: torch.lerp(first.tensors["network"][k].double(), v.double(), share).to(v.dtype)
                                 for k, v in last.items()})  # fmt: skip
        line = tested(job, recipe, network, images, trial, place)
        lines.append(line | {"recipe": f"{job.variant} at {share}", "seconds": 0.0})
    return lines


def tested(job: Job, recipe: Any, network: Any, images: Any, trial: Any, place: Path) -> dict[str, Any]:
    found = {}
    for test in trial.tests:
        pixels = np.load(place / f"{trial.name}-{test.name}.npy") if test.change else images.pixels[test.rows]
        plain, _ = abroad.answered(network, recipe, pixels)
        mirrored, _ = abroad.answered(network, recipe, np.ascontiguousarray(pixels[:, :, ::-1]))
        for suffix, logits in (("", plain), (" flip", (plain + mirrored) / 2)):
            probabilities = probabilities_from_logits(logits.astype(np.float32)).astype(np.float64)
            found[test.name + suffix] = abroad.figures(images.labels[test.rows], probabilities, np.zeros(len(pixels)))
    return {"recipe": job.variant, "set": job.set, "trial": job.trial, "seed": job.seed, "tests": found}


def soup(job: Job) -> list[dict[str, Any]]:
    """The average of the weights of several seeds, tested."""
    torch.set_num_threads(1)
    variant = VARIANTS[job.variant]
    place = prepared(Path(job.folder), job.set, variant.size)
    images, trials = pickle.loads((place / "trials.pickle").read_bytes())
    images = replace(images, pixels=np.load(place / "pixels.npy", mmap_mode="r"))
    trial = next(t for t in trials if t.name == job.trial)
    recipe = load_recipe("default", [f"model.weights={job.weights}", *variant.settings])
    files = [Path(job.folder) / f"{job.variant}-{job.set}-{job.trial}-{seed}.pt" for seed in job.souped]
    states = [torch.load(f, weights_only=True) for f in files]
    network = abroad.build_network(recipe, len(np.unique(images.labels)))
    network.load_state_dict(
        {k: (sum(s[k].double() for s in states) / len(states)).to(v.dtype) for k, v in states[0].items()}
    )
    line = tested(job, recipe, network, images, trial, place)
    return [line | {"recipe": f"{job.variant} soup", "seconds": 0.0}]


def table(lines: Sequence[Mapping[str, Any]], suffix: str = "") -> str:
    """One line a variant: AUC of each test, its mean abroad, least sensitivity and specificity on pneumonia abroad."""
    auc: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    rates: dict[str, list[tuple[float, float]]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for line in lines:
        seconds[line["recipe"]] += line.get("seconds", 0)
        for test, found in line["tests"].items():
            if test.endswith(" flip") != bool(suffix) or "mix" in test:
                continue
            name = f"{line['set'][:5]}/{line['trial'] if test.startswith('home') else test.removesuffix(' flip')}"
            if test.startswith("home"):
                name += "-home"
            auc[line["recipe"]][name].append(found["auc"])
            if line["set"] == "pneumonia" and not test.startswith("home"):
                rates[line["recipe"]].append((found["sensitivity"], found["specificity"]))
    names = sorted({n for found in auc.values() for n in found}, key=lambda n: ("home" in n, n))
    text = [f"{'':22s}" + "".join(f"{n[-13:]:>14s}" for n in names) + "   mean abroad  min sens  min spec   seconds"]
    for recipe, found in auc.items():
        away = [np.mean(v) for n, v in found.items() if "home" not in n]
        worst = np.array(rates[recipe]).min(axis=0) if rates[recipe] else (np.nan, np.nan)
        cells = "".join(f"{np.mean(found[n]):14.4f}" if n in found else " " * 14 for n in names)
        text.append(f"{recipe:22s}{cells}{np.mean(away):14.4f}{worst[0]:10.3f}{worst[1]:10.3f}{seconds[recipe]:10.0f}")
    return "\n".join(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--weights")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--sets", nargs="+", default=["pneumonia"])
    parser.add_argument("--trials", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--most", type=int, default=3600, help="images of a set, at most")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=400)
    options = parser.parse_args()
    if options.table:
        lines = [json.loads(line) for line in options.table.read_text().splitlines()]
        sys.stdout.write(table(lines) + "\n\nmean over a picture and its mirror image\n" + table(lines, " flip") + "\n")
        return 0
    search(options)
    return 0


def search(options: argparse.Namespace) -> None:
    """Run trainings until the time is over."""
    end = time.monotonic() + options.seconds
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        folder = Path(name)
        for image_set in options.sets:
            for size in sorted({VARIANTS[v].size for v in options.variants}):
                prepare(options.data, folder, image_set, size, options.most, pool)
        sys.stdout.write(f"prepared, {end - time.monotonic():.0f} s left\n")
        sys.stdout.flush()
        jobs = []
        for seed in options.seeds:
            for variant in options.variants:
                for image_set in options.sets:
                    place = prepared(folder, image_set, VARIANTS[variant].size)
                    trials = pickle.loads((place / "trials.pickle").read_bytes())[1]
                    for trial in trials:
                        if not options.trials or trial.name in options.trials:
                            jobs.append(Job(variant, image_set, trial.name, seed, str(options.weights), name))
        run_until(end, jobs, options, pool)


def run_until(end: float, jobs: list[Job], options: argparse.Namespace, pool: ProcessPoolExecutor) -> None:
    """Keep all processes busy, write what comes, start nothing that the longest training so far would not finish."""
    waiting, running, longest = list(jobs), {}, 0.0
    done: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    while waiting or running:
        while waiting and len(running) < options.jobs and time.monotonic() + longest < end:
            job = waiting.pop(0)
            running[pool.submit(soup if job.souped else train, job)] = (job, time.monotonic())
        if not running or time.monotonic() > end + 20:
            break
        for future in [f for f in running if f.done()]:
            job, started = running.pop(future)
            longest = max(longest, 0.7 * (time.monotonic() - started))
            try:
                lines = future.result()
            except Exception as error:  # one failing variant must not end the search
                sys.stdout.write(f"{job.variant} {job.set} {job.trial}: {type(error).__name__} {error}\n")
                continue
            with options.out.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
            key = (job.variant, job.set, job.trial)
            done[key].append(job.seed)
            if not job.souped and len(options.seeds) > 1 and len(done[key]) == len(options.seeds):
                waiting.insert(0, replace(job, souped=tuple(done[key])))
        time.sleep(0.05)
    for future in running:
        future.cancel()
    sys.stdout.write(f"{len(waiting)} trainings not begun\n")
    sys.stdout.flush()
    os._exit(0) if running else None


if __name__ == "__main__":
    sys.exit(main())
