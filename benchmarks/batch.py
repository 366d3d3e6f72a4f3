"""How quick a batch is: over the floor of its two parts, and beside the loop that everybody writes.

    python benchmarks/batch.py [--images 1000] [--rounds 3]

All rivals classify the same JPEGs (1,300 x 1,000 pixels, about 240 kB, like chest films) with the same MobileNetV2 (two
classes, random weights: speed does not depend on them), from the disk's cache, and take turns.

- floor: scaled decoding and a pass of the plain graph (logits only) on every core, image by image, and nothing else.
- pellucid: `predict --out` as `doctor --tune` set it: checksums, Parquet parts and summary included.
- torch: a DataLoader with one worker a core, Pillow and torchvision's transforms, batches of 32, float32.

Exit code 1 when pellucid reaches less than 0.85 of the floor, or less than 5 times torch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

import pellucid
from decoding import film
from explained_prediction import exported
from pellucid.bundle.io import model_session
from pellucid.images.pictures import open_picture
from pellucid.models.network import Network
from pellucid.workflow.batch.run import predict_archive
from pellucid.workflow.batch.tune import cores, tune

GOAL_FLOOR, GOAL_TORCH = 0.85, 5.0
DISTINCT = 40


def films(folder: Path, images: int) -> list[Path]:
    """So many files of 40 different films."""
    folder.mkdir()
    paths = [folder / f"{i:05d}.jpg" for i in range(images)]
    for i, path in enumerate(paths):
        if i < DISTINCT:
            path.write_bytes(film(i, colour=i % 2 == 1))
        else:
            os.link(paths[i % DISTINCT], path)
    return paths


def floor(graph: Path, preprocessing: pellucid.Preprocessing, paths: list[Path]) -> Callable[[], None]:
    """Decode and pass, on every core."""
    session = model_session(graph, 1)

    def one(path: Path) -> None:
        picture = open_picture(path.read_bytes(), at_least=preprocessing.decode_size)
        session.run(None, {"image": preprocessing.normalise(preprocessing.resize_image(picture)[None])})

    def run() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(one, paths):
                pass

    return run


class Files(Dataset[torch.Tensor]):
    """What every tutorial has."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.transform = v2.Compose(
            [
                v2.Resize((224, 224)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with PIL.Image.open(self.paths[index]) as picture:
            tensor: torch.Tensor = self.transform(picture.convert("RGB"))
        return tensor


def torch_loop(network: Network, paths: list[Path]) -> Callable[[], None]:
    """A DataLoader and a loop."""

    def run() -> None:
        loader = DataLoader(Files(paths), batch_size=32, num_workers=cores())
        with torch.inference_mode():
            for batch in loader:
                torch.sigmoid(network(batch)).numpy()

    return run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each setting is measured when tuning")
    options = parser.parse_args()
    torch.set_num_threads(cores())
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        os.environ["PELLUCID_CACHE"] = str(root / "cache")
        network, bundle, graph = exported(root)
        paths = films(root / "films", options.images)
        best = tune(bundle, seconds=options.seconds)[0]
        turns = iter(range(10_000))
        rivals: dict[str, Callable[[], object]] = {
            "floor: decode and pass on every core": floor(graph, bundle.preprocessing, paths),
            "pellucid predict --out": lambda: predict_archive(
                bundle.folder, [str(root / "films")], root / f"out{next(turns)}"
            ),
            "torch DataLoader loop, float32": torch_loop(network, paths),
        }
        times: dict[str, list[float]] = {key: [] for key in rivals}
        for _ in range(options.rounds):
            for key, run in rivals.items():
                began = time.perf_counter()
                run()
                times[key].append(time.perf_counter() - began)
    rates = {key: options.images / statistics.median(values) for key, values in times.items()}
    low, ours, peer = rates.values()
    sys.stdout.write(
        f"{options.images} JPEGs of 1,300 x 1,000 pixels, {cores()} cores, {options.rounds} rounds; tuned to "
        f"{best.force.workers} {best.force.kind}, {best.force.threads} thread(s) a pass, batch {best.batch}\n\n"
    )
    for key, rate in rates.items():
        sys.stdout.write(f"{key:38s} {rate:8.1f} images/s   {rate / low:6.2f} of the floor\n")
    sys.stdout.write(f"\npellucid over the floor: {ours / low:.2f} (goal: at least {GOAL_FLOOR:.2f})\n")
    sys.stdout.write(f"pellucid over torch: {ours / peer:.2f} (goal: at least {GOAL_TORCH:.1f})\n")
    sys.stdout.write(f"a million images: {cores() / ours * 1e6 / 3600:.1f} core-hours\n")
    return 0 if ours / low >= GOAL_FLOOR and ours / peer >= GOAL_TORCH else 1


if __name__ == "__main__":
    sys.exit(main())
