"""From a folder of images to a good model: this tool beside fastai and a plain torchvision loop, on the same cores.

    python benchmarks/time_to_result.py DATA --weights FILE [--images 1000] [--sets pneumonia cats-dogs]
        [--recipes default quick] [--against SRC] [--without-fastai]

DATA is ../shared/data, FILE holds MobileNetV2's ImageNet weights. A set is cut once, by patient where there are
patients, into 70 % training, 15 % validation and 15 % test images; each competitor gets the same folder, the same
network and the same initial weights, starts in a process of its own, one after the other, and uses all cores.

fastai does what its tutorial does: `vision_learner`, `Resize(224)`, `aug_transforms()`, `fine_tune(4)`. The plain loop
does what torchvision's tutorial does (random crops and flips, SGD 0.001 with momentum 0.9), for five epochs. fastai
runs in an environment that this program makes; it uses the torch that is installed here.

Printed for each: seconds from the command to its end (`train` with evaluation, explanations and report; the peers stop
after their last epoch), its best validation AUC, and the seconds to the first epoch whose validation AUC reaches the
best of each peer; all seconds also as seconds of all cores (CPU), which other load on the machine changes less.
`--against` is the source folder (src) of another build of pellucid; its own `default` takes part.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

NAN = float("nan")
HERE = Path(__file__).resolve().parent
RUNNERS = HERE / "time_to_result_runners.py"
FASTAI = (
    *("fastai==2.8.12", "fastcore==2.2.41", "fasttransform==0.0.5", "fastdownload==0.0.8", "fastprogress==1.0.5"),
    *("plum-dispatch==2.9.0", "beartype==0.23.1", "cloudpickle==3.1.2"),
)


def cut(source: Path, folder: Path, most: int) -> Path:
    """Copy a sample of a set into folders train, val and test, its groups kept whole."""
    from pellucid.data.folder import read_dataset

    pattern = r"(person\d+_[a-z]+)|((?:NORMAL2-)?IM-\d+)" if source.name == "pneumonia" else None
    root = source / "images" if (source / "images").is_dir() else source
    dataset = read_dataset(root, group_by=pattern)
    rng = np.random.default_rng(0)
    groups = defaultdict(list)
    for sample in dataset.samples:
        if sample.split != "test":
            groups[sample.group or sample.path].append(sample)
    names = sorted(groups)
    chosen = [s for i in rng.permutation(len(names)) for s in groups[names[i]]][:most]
    parts = {"train": 0.7, "val": 0.85, "test": 1.0}
    where = {}
    for i, sample in enumerate(chosen):
        key = sample.group or sample.path
        where.setdefault(key, next(part for part, end in parts.items() if i < end * len(chosen)))
        to = folder / where[key] / dataset.classes[sample.label]
        to.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / sample.path, to / sample.path.replace("/", "-"))
    return folder


def fastai_environment(folder: Path) -> Path:
    """An environment with fastai, which finds torch and the rest where this program does; its Python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    own = next((folder / "lib").glob("python*/site-packages"))
    (own / "here.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", *FASTAI], check=True)
    return python


def seconds_and_rows(python: Path | str, what: str, source: Path, *given: object) -> list[dict[str, float]]:
    """Run a competitor; what it printed: a row with `seconds` and `auc` for each epoch, the last with `end` only."""
    command = [str(python), str(RUNNERS), what, *map(str, given)]
    env = {**os.environ, "PYTHONPATH": str(source), "OMP_WAIT_POLICY": "PASSIVE"}
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{what}: {ended.stderr[-2000:]}")
    return [json.loads(line[1:]) for line in ended.stdout.splitlines() if line.startswith("@")]


def compare(name: str, options: argparse.Namespace, fastai: Path | None, folder: Path) -> list[dict[str, object]]:
    """All competitors on one set."""
    data = cut(options.data / name, folder / name, options.images)
    source, found = HERE.parent / "src", {}
    asked = [("torchvision loop", sys.executable, "torchvision", source)]
    if fastai is not None:
        asked.insert(0, ("fastai", fastai, "fastai", source))
    for label, python, what, src in asked:
        found[label] = seconds_and_rows(python, what, src, data, options.weights)
        sys.stdout.write(f"{name}: {label} {found[label][-1]['end']:.0f} s\n")
        sys.stdout.flush()
    builds = [(f"pellucid {r}", r, source) for r in options.recipes]
    if options.against:
        builds.append(("pellucid before, default", "default", options.against))
    for label, recipe, src in builds:
        run = folder / f"{name}-{label.replace(' ', '-')}"
        found[label] = seconds_and_rows(
            sys.executable, "pellucid", src, data, options.weights, recipe, run, *options.set
        )
        sys.stdout.write(f"{name}: {label} {found[label][-1]['end']:.0f} s\n")
        sys.stdout.flush()
    peers = {label: max(row["auc"] for row in found[label][:-1]) for label, *_ in asked}
    rows = []
    for label, epochs in found.items():
        last = epochs[-1]
        row = {"set": name, "who": label, "best": max(e["auc"] for e in epochs[:-1])}
        row |= {"end": last["end"], "CPU": last["cpu"]}
        for peer, aim in peers.items():
            first = next((e for e in epochs[:-1] if e["auc"] >= aim), {})
            row |= {f"to {peer}": first.get("seconds", NAN), f"CPU to {peer}": first.get("cpu", NAN)}
        rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--sets", nargs="+", default=["pneumonia", "cats-dogs"])
    parser.add_argument("--recipes", nargs="+", default=["default"])
    parser.add_argument("--set", nargs="*", default=[], help="KEY=VALUE of the recipes")
    parser.add_argument("--against", type=Path)
    parser.add_argument("--without-fastai", action="store_true")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fastai = None if options.without_fastai else fastai_environment(folder / "fastai")
        for image_set in options.sets:
            rows += compare(image_set, options, fastai, folder)
    table = csv.DictWriter(sys.stdout, list(rows[0]), delimiter="\t", restval="")
    table.writeheader()
    table.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
