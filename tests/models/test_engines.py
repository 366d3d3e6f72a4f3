"""OpenVINO in float32 gives the answers and the evidence of ONNX Runtime, for every family of the export tests."""

import numpy as np
import pytest
from tests.small_networks import noise

from pellucid.bundle.bundle import load
from pellucid.explanation.cam import grad_cam


def per_image(difference: np.ndarray) -> np.ndarray:
    """The largest difference of each image, ascending."""
    return np.sort(np.abs(difference).reshape(len(difference), -1).max(axis=1))


def test_engines_agree_in_float32(pair):
    """All images but one of three: a rectifier's input that rounds to the other side of 0 switches its gradient."""
    pytest.importorskip("openvino")
    bundle = pair.bundle
    other = load(bundle.folder, threads=1, engine="openvino")
    size = (bundle.preprocessing.height, bundle.preprocessing.width)
    for images, target in ((1, None), (3, bundle.classes)):
        batch = noise(images, size, seed=images + 20)
        one, two = (b.evidence(batch, target) for b in (bundle, other))
        smooth = slice(0, max(1, images - 1))
        for name in ("logits", "activations", "gradients"):
            ours, theirs = getattr(one, name), getattr(two, name)
            scale = max(float(np.abs(ours).max()), 1e-3)
            compared = smooth if name == "gradients" else slice(None)
            assert per_image(theirs - ours)[compared].max() <= 1e-4 * scale, name
        maps = [grad_cam(e.activations, e.gradients) for e in (one, two)]
        assert per_image(maps[0] - maps[1])[smooth].max() <= 1e-3 * max(float(maps[0].max()), 1e-6)
        assert np.abs(bundle.probabilities(batch) - other.probabilities(batch)).max() < 1e-5
