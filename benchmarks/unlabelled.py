"""How well the accuracy on new images is estimated without labels, on the shifts of `abroad.py`.

    python benchmarks/unlabelled.py DATA [--recipe quick --weights FILE] [--sets pneumonia tiles] [--most 900]

Each trial trains on its own source. What the quick model loses on sources kept out of these training images is all that
is known of elsewhere; the trial's tests are then judged without their labels. Printed for each test: the true accuracy,
the estimate with its interval (or that it cannot be estimated), the usual estimates, how well the test is told from
home, and the agreement lost. At the end: mean and worst absolute error of the estimates that were given, how often the
interval held the truth, and the errors of the usual estimates on the same tests and on all.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parent))
from abroad import SETS, Asked, answered, recipe_for, trained
from pellucid.classifier import probabilities_from_logits
from pellucid.data.acquisition import measure_acquisition
from pellucid.data.dataset import Dataset, Sample
from pellucid.data.sources import find_sources
from pellucid.evaluation.abroad import leave_sources_out
from pellucid.evaluation.calibration import fit_calibration
from pellucid.evaluation.second_head import KeptOut
from pellucid.evaluation.unlabelled import AnsweredImages, Unlabelled, judge_unlabelled
from pellucid.models.network import build_network
from pellucid.models.weights import load_initial_weights
from shifts import ImageSet, changed, read_set, trials_of

USUAL = ("thresholded", "difference", "mean")


@dataclass(frozen=True)
class Line:
    """One test: its names, its true accuracy, and what was said of it without labels."""

    name: str
    truth: float
    found: Unlabelled


def kept_out(asked: Asked, rows: npt.NDArray[np.intp]) -> list[KeptOut]:
    """What a head on the initial weights loses on sources among the images that may be learned from."""
    images, recipe = asked.images, asked.recipe
    network = build_network(recipe, len(np.unique(images.labels)))
    load_initial_weights(network.backbone, recipe.model.backbone, recipe.model.weights)
    _, features = answered(network, recipe, images.pixels[rows])
    labels, paths = images.labels[rows], [images.paths[i] for i in rows]
    samples = tuple(Sample(p, int(k)) for p, k in zip(paths, labels, strict=True))
    names = tuple(str(k) for k in np.unique(images.labels))
    measured = measure_acquisition(Dataset(images.root, names, samples), images.pixels, rows)
    units = np.unique(images.groups[rows], return_inverse=True)[1]
    judged = leave_sources_out(features, labels, units, find_sources(paths, labels, measured))
    return [] if judged is None else [s.kept for s in judged.left_out if s.kept is not None]


def run(asked: Asked) -> Iterator[Line]:
    """Train, and judge every test of the trial without its labels."""
    images, recipe = asked.images, asked.recipe
    with tempfile.TemporaryDirectory() as name:
        network, train, validation = trained(asked, Path(name))
    kept = kept_out(asked, np.concatenate([train, validation]))
    labels, groups = images.labels[validation], images.groups[validation].tolist()
    logits, features = answered(network, recipe, images.pixels[validation])
    calibration = fit_calibration("temperature", logits, labels, groups)

    def side(logits: npt.NDArray[np.float64], features: npt.NDArray[np.float64]) -> AnsweredImages:
        shares = probabilities_from_logits(calibration.logits(logits.astype(np.float32))).astype(np.float64)
        return AnsweredImages(shares, features)

    home = side(logits, features)
    for test in asked.trial.tests:
        new = side(*answered(network, recipe, changed(images.pixels[test.rows], test)))
        truth = float((new.probabilities.argmax(axis=1) == images.labels[test.rows]).mean())
        found = judge_unlabelled(home, labels, new, groups=groups, kept=kept)
        yield Line(f"{images.name}, {asked.trial.name}: {test.name}", truth, found)


def row(line: Line) -> str:
    """One line of the table."""
    found = line.found
    said = "cannot be estimated"
    if found.estimate is not None:
        said = f"{found.estimate.value:.3f} [{found.estimate.low:.3f}, {found.estimate.high:.3f}]"
    usual = "".join(f"{e.value:9.3f}" for e in found.accuracy)
    apart = np.nan if found.apart is None else found.apart.value
    lost = np.nan if found.agreement is None else found.agreement.lost
    return (
        f"{line.name:34s}{found.images:6d}{found.home_accuracy:7.3f}{line.truth:7.3f}  {said:24s}{usual}"
        f"{apart:7.2f}{lost:8.3f}  {found.verdict}"
    )


def summary(lines: list[Line]) -> str:
    """Errors of what was given, and of the usual estimates."""
    given = [x for x in lines if x.found.estimate is not None]
    errors = np.array([x.found.estimate.value - x.truth for x in given if x.found.estimate is not None])
    held = [x.found.estimate.low <= x.truth <= x.found.estimate.high for x in given if x.found.estimate is not None]
    text = [f"given for {len(given)} of {len(lines)} tests"]
    if given:
        text.append(
            f"estimate: mean absolute error {np.abs(errors).mean():.3f}, worst {np.abs(errors).max():.3f}, "
            f"interval held the truth in {np.mean(held):.0%}"
        )
    for k, name in enumerate(USUAL):
        both = [np.array([abs(x.found.accuracy[k].value - x.truth) for x in of]) for of in (given, lines)]
        said = [f"{e.mean():.3f}, worst {e.max():.3f}" if len(e) else "none" for e in both]
        text.append(f"{name} confidence: mean absolute error {said[0]} where an estimate was given; {said[1]} on all")
    kept = [x for x in lines if x.found.verdict == "use"]
    lost = [x.found.home_accuracy - x.truth for x in kept]
    text.append(f"verdict use on {len(kept)} tests, accuracy lost at most {max(lost, default=0.0):.3f}")
    return "\n".join(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--recipe", default="default")
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--most", type=int, help="images of a set, at most")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    settings, lines = [f"model.weights={options.weights}", *options.set], []
    sys.stdout.write(
        f"{'test':34s}{'images':>6s}{'home':>7s}{'truth':>7s}  {'estimate':24s}"
        + "".join(f"{name[:8]:>9s}" for name in USUAL) + f"{'apart':>7s}{'lost':>8s}\n"
    )  # fmt: skip
    for name in options.sets:
        recipe = recipe_for(options.data / name, options.recipe, settings)
        images: ImageSet = read_set(options.data / name, recipe.preprocessing(), None, options.most)
        for trial in trials_of(images):
            for seed in range(options.seeds):
                for line in run(Asked(options.recipe, recipe, images, trial, seed)):
                    lines.append(line)
                    sys.stdout.write(row(line) + "\n")
                    sys.stdout.flush()
    sys.stdout.write(summary(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
