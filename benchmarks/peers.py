"""Heat maps of pellucid and of four other libraries on the same network, images and masks, in one table.

    python benchmarks/peers.py RUN [DATA] [--images 24] [--rounds 5] [--openvino PYTHON] [--table peers.md]

RUN is a run of pellucid whose network is rebuilt in torch; DATA are labelled images with masks or boxes (`boxes.json`),
by default the test images of the run.
All libraries explain the class answered, and each brings its map to the model's input as it does by itself. Measured:

- alignment: how far the centre of the evidence lies from a planted spot that alone decides, in pixels, on a small
  network that learnt it: mean distance, and the mean shift in (y, x), which should be 0;
- faithfulness: insertion minus deletion of the score, with its 95 % interval over images;
- localisation, for the true class: share of the evidence inside, pointing game, average precision; chance beside them;
- seconds per image with the prediction, one image at a time, medians in turns; and the most memory that a process
  holds beyond what it held with the network loaded (Linux).

Below the table: each peer less pellucid's method of the same kind, with 95 % intervals over the images.

`--openvino` is the Python of an environment with openvino-xai 1.1.0, in which `benchmarks/openvino_maps.py` runs.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "benchmarks")]

from openvino_maps import NAME, memory_now, openvino_row  # noqa: E402
from peers_table import MEASURES, Results, differences, interval, table  # noqa: E402
from pellucid.bundle.bundle import Bundle, load  # noqa: E402
from pellucid.bundle.run import RunFolder  # noqa: E402
from pellucid.classifier import probabilities_from_logits  # noqa: E402
from pellucid.explanation.attribution import Attribution  # noqa: E402
from pellucid.explanation.catalogue import find_method  # noqa: E402
from pellucid.explanation.faithfulness import deletion_insertion, ends_of  # noqa: E402
from pellucid.explanation.maps import INPUT_PIXELS, laid_on_input  # noqa: E402
from pellucid.models.export import export_bundle  # noqa: E402
from pellucid.models.network import build_network  # noqa: E402
from pellucid.recipe import load_recipe  # noqa: E402
from pellucid.workflow.evaluation import foreign_split, own_split  # noqa: E402
from pellucid.workflow.from_torch import from_torch  # noqa: E402
from pellucid.workflow.localisation import true_mask  # noqa: E402
from pellucid.workflow.trust.audit import choose_samples  # noqa: E402
from pellucid.workflow.trust.measures import located  # noqa: E402

Maps = Callable[[Any, int], Any]
"""From one image (1, 3, h, w) and the index of a class to the map (h, w) on the model's input."""

OURS = ("grad-cam", "grad-cam++", "layercam", "hirescam", "refine-cam", "winsor-cam")
SPOT_SIZE, SPOT_STEPS, SPOT_IMAGES = 128, 80, 48


class ByClass(nn.Module):
    """A network with a single logit as one with an output for each of its two classes."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(image)
        return torch.cat([-logits, logits], 1) if logits.shape[1] == 1 else logits


class Named(nn.Module):
    """A module under the name that `from_torch` gives it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(image)
        return logits


@dataclass
class Subject:
    """One network in torch and as a bundle; `layers` are those that are combined, the explained one last."""

    network: nn.Module
    bundle: Bundle
    layers: list[str]

    @property
    def size(self) -> tuple[int, int]:
        return self.bundle.preprocessing.height, self.bundle.preprocessing.width

    def module(self, name: str) -> nn.Module:
        return self.network.get_submodule(f"inner.{name}")


def subject_of(inner: nn.Module, bundle: Bundle) -> Subject:
    several = bundle.manifest.layered
    layers = [layer.name for layer in several.layers] if several else [bundle.manifest.explained_layer.name]
    return Subject(ByClass(inner).eval(), bundle, layers)


def all_maps(subject: Subject) -> dict[str, Maps]:
    """Every library's maps by name."""
    found: dict[str, Maps] = {f"pellucid {name}": our_maps(subject, name) for name in OURS}
    found |= {f"pytorch-grad-cam {k}": v for k, v in grad_cam_maps(subject).items()}
    found |= {f"torch-cam {k}": v for k, v in torch_cam_maps(subject).items()}
    found |= {"Captum LayerGradCam": captum_maps(subject)}
    return found


def our_maps(subject: Subject, name: str) -> Maps:
    row, bundle = find_method(name), subject.bundle

    def make(image: Any, index: int) -> Any:
        maps = row.run(bundle, image, bundle.classes[index], "logit", row.settings())
        return laid_on_input(maps.values, maps.geometry, bundle.preprocessing)[0, 0]

    return make


def grad_cam_maps(subject: Subject) -> dict[str, Maps]:
    from pytorch_grad_cam import GradCAM, LayerCAM, RefineCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    last, several = [subject.module(subject.layers[-1])], [subject.module(name) for name in subject.layers]
    made = {
        "GradCAM": GradCAM(subject.network, last),
        "LayerCAM": LayerCAM(subject.network, last),
        "RefineCAM": RefineCAM(subject.network, several),
    }

    def maps_of(cam: Any) -> Maps:
        return lambda image, index: cam(torch.tensor(image), [ClassifierOutputTarget(index)])[0]

    return {name: maps_of(cam) for name, cam in made.items()}


def torch_cam_maps(subject: Subject) -> dict[str, Maps]:
    from torchcam.methods import GradCAM, LayerCAM

    def maps_of(kind: Any) -> Maps:
        def make(image: Any, index: int) -> Any:
            with kind(subject.network, target_layer=subject.module(subject.layers[-1])) as cam:
                scores = subject.network(torch.tensor(image).requires_grad_())
                (found,) = cam(index, scores)
            return upsampled(found[None])

        return make

    def upsampled(found: torch.Tensor) -> Any:
        return nn.functional.interpolate(found, subject.size, mode="bilinear")[0, 0].numpy()

    return {"GradCAM": maps_of(GradCAM), "LayerCAM": maps_of(LayerCAM)}


def captum_maps(subject: Subject) -> Maps:
    from captum.attr import LayerAttribution, LayerGradCam

    cam = LayerGradCam(subject.network, subject.module(subject.layers[-1]))

    def make(image: Any, index: int) -> Any:
        with torch.no_grad():
            subject.network(torch.tensor(image))
        found = cam.attribute(torch.tensor(image), target=index, relu_attributions=True)
        return LayerAttribution.interpolate(found, subject.size, "bilinear")[0, 0].detach().numpy()

    return make


def of_run(run: Path, images: Any, folder: Path) -> Subject:
    """The network of a run, rebuilt, and exported with every graph into a folder that is not there yet."""
    from safetensors.torch import load_file

    recipe, bundle = load_recipe(RunFolder(run).recipe), load(run)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "none"})})
    network = build_network(recipe, len(bundle.classes))
    network.load_state_dict(load_file(bundle.folder / "weights.safetensors"))
    if not folder.exists():
        manifest = bundle.manifest.model_copy(update={"layers": (), "reference": None, "files": {}})
        export_bundle(network.eval(), manifest, folder, images=images, source="images", every_method=True)
    return subject_of(network, load(folder))


def of_spots(folder: Path) -> tuple[Subject, Any, Any]:
    """A small network that learnt bright spots, images with one each, and the spots' centres (N, 2)."""
    import timm
    from tests.families import spots
    from tests.families.catalogue import Family

    family = Family("spots", "resnet10t", size=SPOT_SIZE)
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=2)
    spots.STEPS = SPOT_STEPS
    spots.train(model, family)
    from pellucid import Preprocessing

    plain = Preprocessing(height=SPOT_SIZE, width=SPOT_SIZE)
    from_torch(model, ["plain", "spot"], plain, gives="logits", out=folder)
    images, labels, places = spots.pictures(family, 2 * SPOT_IMAGES, torch.Generator().manual_seed(3))
    chosen = labels.numpy() == 1
    return subject_of(Named(model), load(folder)), images.numpy()[chosen], places[chosen]


def alignment(maps: dict[str, Maps], images: Any, places: Any) -> dict[str, tuple[float, float, float]]:
    """Mean distance of the centre of a map's upper half from the spot, and mean shift (y, x), in pixels."""
    found = {}
    for name, make in maps.items():
        off = []
        for image, place in zip(images, places, strict=True):
            values = np.maximum(make(image[None], 1), 0)
            values = np.where(values >= values.max() / 2, values, 0)
            if values.any():
                grid = np.indices(values.shape) + 0.5
                off.append((grid * values).sum((1, 2)) / values.sum() - place)
        shift = np.mean(off, axis=0)
        found[name] = (float(np.mean(np.linalg.norm(off, axis=1))), float(shift[0]), float(shift[1]))
    return found


@dataclass
class Images:
    """Images of a dataset: tensors (N, 3, h, w), sizes, classes answered and true by index, masks on the originals."""

    tensors: Any
    sizes: list[tuple[int, int]]
    answered: list[int]
    true: list[int]
    masks: list[Any]


def read(bundle: Bundle, data: Path | None, count: int, run: Path | None = None) -> Images:
    """Images of `data`, or of the test split of a run."""
    if data is not None:
        dataset = foreign_split(bundle, data, "test")
    else:
        assert run is not None
        dataset = own_split(RunFolder(run), bundle, "test")
    samples = choose_samples(dataset, count, 0)
    read = [bundle.read(dataset.file(s)) for s in samples]
    tensors = bundle.preprocessing.tensors(read)
    answered = probabilities_from_logits(bundle.logits(tensors)).argmax(1).tolist()
    masks = [true_mask(dataset, s, image.size) for s, image in zip(samples, read, strict=True)]
    return Images(tensors, [i.size for i in read], answered, [s.label for s in samples], masks)


def quality(subject: Subject, maps: dict[str, Maps], images: Images) -> dict[str, dict[str, Any]]:
    """Faithfulness and localisation of every library's maps."""
    bundle = subject.bundle
    names = [bundle.classes[i] for i in images.answered]
    ends = ends_of(bundle, images.tensors, names)
    found: dict[str, dict[str, Any]] = {}
    for name, make in maps.items():
        values = np.stack([make(t[None], i) for t, i in zip(images.tensors, images.answered, strict=True)])
        curves = deletion_insertion(bundle, images.tensors, values.astype(np.float32), names, ends=ends)
        places = [
            located(Attribution(on_original(bundle, make(t[None], i), size), name, "", "", "", False), mask)
            for t, i, size, mask in zip(images.tensors, images.true, images.sizes, images.masks, strict=True)
            if mask is not None
        ]
        measures = np.mean(places, axis=0) if places else np.full((2, 5), np.nan)
        each = np.array(places)[:, 0, :3].T if places else np.empty((3, 0))
        found[name] = {"gap": interval(curves.gap), "inside": measures[0], "chance": measures[1]}
        found[name]["each"] = dict(zip(MEASURES, (curves.gap, *each), strict=True))
    return found


def on_original(bundle: Bundle, values: Any, size: tuple[int, int]) -> Any:
    return bundle.preprocessing.to_original(np.maximum(values, 0).astype(np.float32), INPUT_PIXELS, size)


def seconds(maps: dict[str, Maps], images: Images, rounds: int) -> dict[str, float]:
    """Median seconds per image; the libraries take turns."""
    times: dict[str, list[float]] = {name: [] for name in maps}
    for turn in range(rounds + 1):
        for name, make in maps.items():
            began = time.perf_counter()
            for i in range(3):
                make(images.tensors[i : i + 1], images.answered[i])
            if turn:
                times[name].append((time.perf_counter() - began) / 3)
    return {name: statistics.median(own) for name, own in times.items()}


def memory(name: str, subject: Subject, images: Images) -> float:
    """MiB that this process holds at most, beyond those with the network loaded, while one library explains images."""
    make = all_maps(subject)[name]
    subject.bundle.logits(images.tensors[:1])
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark from here on (Linux)
    before = memory_now("VmRSS")
    for i in range(16):
        make(images.tensors[i % len(images.tensors)][None], images.answered[i % len(images.tensors)])
    return memory_now("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, nargs="?", help="by default the test images of the run")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--openvino", type=Path, help="Python of an environment with openvino-xai")
    parser.add_argument("--results", type=Path, help="JSON of what was measured: an interrupted run goes on from there")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--memory-of", nargs=2, metavar=("NAME", "BUNDLE"), help="used by the script itself")
    options = parser.parse_args()
    images = read(load(options.run), options.data, options.images, options.run)
    if options.memory_of:
        name, folder = options.memory_of
        print(memory(name, of_run(options.run, images.tensors[:4], Path(folder)), images))
        return
    with tempfile.TemporaryDirectory() as name:
        results = compared(options, images, Path(name))
    text = table(results) + "\n" + differences(results, len(images.tensors))
    print(text)
    if options.table:
        options.table.write_text(text, encoding="utf-8")


def compared(options: argparse.Namespace, images: Images, folder: Path) -> Results:
    """Everything measured of each library and method."""
    results, ours = Results(options.results), folder / "run"
    subject = of_run(options.run, images.tensors[:4], ours)
    spots, spot_images, places = of_spots(folder / "spots")
    on_spots, maps = all_maps(spots), all_maps(subject)
    for name in maps:
        results.keep(name, "off", lambda n=name: alignment({n: on_spots[n]}, spot_images, places)[n])
        results.keep(name, "quality", lambda n=name: plain(quality(subject, {n: maps[n]}, images)[n]))
        results.keep(name, "mebibytes", lambda n=name: memory_in_a_process(n, options, ours))
    if any("seconds" not in results.of(name) for name in maps):
        for name, value in seconds(maps, images, options.rounds).items():
            results.keep(name, "seconds", lambda v=value: v)
    if options.openvino is not None and NAME not in results.names:
        found = openvino_row(options.openvino, (spots, spot_images, places), (subject, images))
        for what, value in found.items():
            results.keep(NAME, what, lambda v=value: v)
    return results


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """What `quality` says of a method, for JSON."""
    return {"each": {m: v.tolist() for m, v in found["each"].items()}, "chance": float(found["chance"][0])}


def memory_in_a_process(name: str, options: argparse.Namespace, bundle: Path) -> float:
    command = [sys.executable, __file__, options.run, *([options.data] if options.data else []), "--images", "8"]
    run = subprocess.run([*command, "--memory-of", name, bundle], check=True, capture_output=True, text=True)
    return float(run.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
