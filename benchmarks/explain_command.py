"""What `pellucid explain` costs with several methods on a folder of images, beside another build of pellucid.

    python benchmarks/explain_command.py OTHER [--images 20] [--side 640] [--rounds 5] [--methods A,B]

OTHER is the checkout of the other build, whose `src` folder is put on the path. It also exports the model (MobileNetV2
with random weights, with every graph), so that an older build can read it. The builds take turns; each run is a process
of its own. Printed: medians of the wall time and of the processor time, the most memory held, and the ratios other to
this one as medians of the rounds' own ratios. The goal is at least 1.2 in time, without more memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

GOAL = 1.2
METHODS = "grad-cam,grad-cam++,hirescam,xgrad-cam,layercam,eigen-cam,saliency,gradient-x-input"
EXPORT = """
import sys
import numpy as np, torch, pellucid
from pathlib import Path
from pellucid.bundle.manifest import Layer, Manifest
from pellucid.models.export import export_bundle
from pellucid.models.network import build_network
from pellucid.recipe import load_recipe
recipe = load_recipe("cats-dogs", ["model.weights=none", "model.dropout=0", "model.backbone=mobilenet_v2"])
torch.manual_seed(0)
network = build_network(recipe, 2).eval()
manifest = Manifest(
    pellucid_version=pellucid.__version__, name="benchmark", task="binary", classes=("cat", "dog"),
    preprocessing=recipe.preprocessing(), logits=1, architecture={},
    layer=Layer(name=network.explained_layer, channels=0, height=0, width=0, stride=(1, 1), offset=(0, 0)),
)
images = np.random.default_rng(0).standard_normal((4, 3, 224, 224)).astype(np.float32)
export_bundle(network, manifest, Path(sys.argv[1]), images=images, source="noise", every_method=True)
"""


def environment(checkout: Path) -> dict[str, str]:
    """The environment in which Python imports the build of a checkout."""
    return {**os.environ, "PYTHONPATH": str(checkout / "src"), "NO_COLOR": "1"}


def write_images(folder: Path, count: int, side: int) -> None:
    """Smooth noise as PNG files of three quarters of the side in height."""
    random = np.random.default_rng(0)
    for i in range(count):
        pixels = random.integers(0, 255, (side * 3 // 4, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(side / 60)).save(folder / f"{i:03d}.png")


def explained(checkout: Path, bundle: Path, images: Path, out: Path, methods: str) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and the most memory (MiB) of one `pellucid explain`."""
    command = [sys.executable, "-m", "pellucid", "explain", str(bundle), str(images)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--method", methods, "--out", str(out)],
        env=environment(checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = process.stderr.read().decode()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(said)
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> int:
    """Print what both builds cost; 1 when the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--side", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--methods", default=METHODS)
    options = parser.parse_args()
    builds = {"other build": options.other.resolve(), "this build": Path(__file__).resolve().parents[1]}
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in builds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        write_images(folder / "images", options.images, options.side)
        export = [sys.executable, "-c", EXPORT, str(folder / "bundle")]
        subprocess.run(export, check=True, env=environment(options.other), stderr=subprocess.DEVNULL)
        for round_ in range(options.rounds):
            # Who goes first changes, and each run has a folder of its own.
            for build in sorted(builds, reverse=round_ % 2 == 1):
                out = folder / f"{build} {round_}"
                run = explained(builds[build], folder / "bundle", folder / "images", out, options.methods)
                measured[build].append(run)
    rows = zip(*(np.array(measured[build]).T for build in builds), ("s", "s of processor", "MiB"), strict=True)
    ratios = []
    for other, own, unit in rows:
        ratios.append(statistics.median(other / own))
        figures = f"other {np.median(other):8.2f}  this {np.median(own):8.2f}  {unit}"
        print(f"{figures:45} ratio {ratios[-1]:.2f}  (rounds: {', '.join(f'{r:.2f}' for r in other / own)})")
    return 0 if min(ratios[:2]) >= GOAL and ratios[2] >= 0.95 else 1


if __name__ == "__main__":
    raise SystemExit(main())
