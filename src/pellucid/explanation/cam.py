"""Class activation maps: pure functions of activations A (N, C, h, w) and gradients G (N, T, C, h, w).

They run on whatever gave A and G. Each returns (N, T, h, w) float32. Those that are sums of signed evidence stay signed
(the ReLU that ends them in the papers is left to drawing, so that evidence against the class is not lost); those whose
weights are non-negative by definition end in it. The score explained is fixed by whoever computed G.

With global average pooling and a linear head G is the weight w_c over the number of cells h w, and the maps of
Grad-CAM, HiResCAM and XGrad-CAM are the same: the CAM of Zhou et al. (arXiv:1512.04150), sum_c w_c A_c, over h w. Their
sum over the grid is then the score without its bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..classifier import Classifier, Score, Target
from ..preprocessing import FloatArray
from .maps import Maps, evidence_of, probabilities_beside

MapOf = Callable[[FloatArray, FloatArray], FloatArray]


def grad_cam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """Grad-CAM before its ReLU: sum over channels of A times the mean of G over space.

    Divided by nothing and multiplied by nothing else, so that with global average pooling and a linear head the sum of
    the map over the grid is the part of the score that the layer decides. Selvaraju et al., arXiv:1610.02391, eq. 1-2.
    """
    return weighted_sum(space_mean(gradients), activations)


def grad_cam_plus_plus(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """Grad-CAM++, at least 0: channels weighted by the sum over space of alpha ReLU(G).

    `alpha_ij = G_ij^2 / (2 G_ij^2 + (sum_ab A_ab) G_ij^3)`, all of one channel: the sum runs over the activations
    alone, and the gradient is that of the cell weighted. Chattopadhay et al., arXiv:1710.11063, eq. 19.

    Eq. 19 supposes that the class score is exp(S), S being the score explained, and that S is piecewise linear in A,
    which holds for the plain logit of a ReLU network and nearly for log-odds. The factor exp(S) that the weights then
    carry, one positive number per map, is left out. Only cells with G > 0 count, where alpha is 1 / (2 + sum(A) G):
    computed so, nothing underflows and no gradient of 0 divides. A denominator at or below 0, which takes negative
    activations, gives the cell no weight.
    """
    positive = np.maximum(gradients, 0)
    denominator = 2 + activations.sum(axis=(2, 3))[:, None, :, None, None] * positive
    denominator[denominator <= 0] = np.inf
    return np.maximum(weighted_sum((positive / denominator).sum(axis=(3, 4)), activations), 0)


def hirescam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """HiResCAM before its ReLU: the sum over channels of A times G, cell by cell.

    With a linear tail of any kind, also one that knows positions, the sum of the map over the grid is the score without
    its bias. Draelos & Carin, arXiv:2011.08891.
    """
    maps: FloatArray = (gradients * activations[:, None]).sum(axis=2)
    return maps


def xgrad_cam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """XGrad-CAM before its ReLU: channels weighted by the mean of G over space, each cell counting as A does there.

    The weight is sum(G A) / sum(A) over a channel, so that the sum of the map over the grid is that of HiResCAM. It is
    0 for a channel whose activations sum to 0 within rounding. Fu et al., arXiv:2008.02312.
    """
    joint = np.einsum("ntchw,nchw->ntc", gradients, activations, optimize=True)
    total = activations.sum(axis=(2, 3))
    usable = np.abs(total) > 1e-6 * np.abs(activations).sum(axis=(2, 3))
    weights = np.divide(joint, total[:, None], out=np.zeros_like(joint), where=usable[:, None])
    return weighted_sum(weights, activations)


def layercam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """LayerCAM, at least 0: the sum over channels of A times ReLU(G), cell by cell.

    Jiang et al., "LayerCAM", IEEE Transactions on Image Processing 2021, doi:10.1109/TIP.2021.3089943.
    """
    return np.maximum(hirescam(activations, np.maximum(gradients, 0)), 0)


def eigen_cam(activations: FloatArray, gradients: FloatArray) -> FloatArray:
    """Eigen-CAM, at least 0 and the same for every target: A projected on its first principal component.

    The cells by channels matrix A = U S V^T is not centred, as in the paper, and the map is A v_1. A component has no
    sign of its own: it is taken so that the map sums to something positive, and what is then negative is set to 0. For
    activations of a ReLU no value is negative (Perron-Frobenius). Muhammad & Yeasin, arXiv:2008.00299, section III.
    """
    images, channels, height, width = activations.shape
    cells = activations.reshape(images, channels, height * width).transpose(0, 2, 1)
    # The singular vectors of a matrix are the eigenvectors of the smaller of its two Gram matrices.
    if height * width <= channels:
        squares, left = np.linalg.eigh(cells @ cells.transpose(0, 2, 1))
        projection = left[..., -1] * np.sqrt(np.maximum(squares[:, -1:], 0))
    else:
        right = np.linalg.eigh(cells.transpose(0, 2, 1) @ cells)[1][..., -1:]
        projection = (cells @ right)[..., 0]
    projection *= np.where(projection.sum(axis=1, keepdims=True) < 0, -1, 1).astype(projection.dtype)
    maps = np.maximum(projection, 0).reshape(images, 1, height, width)
    return np.repeat(maps, gradients.shape[1], axis=1)


def weighted_sum(weights: FloatArray, activations: FloatArray) -> FloatArray:
    """Channel weights (N, T, C) and activations (N, C, h, w) to maps (N, T, h, w)."""
    images, channels, height, width = activations.shape
    maps: FloatArray = np.matmul(weights, activations.reshape(images, channels, height * width))
    return maps.reshape(images, weights.shape[1], height, width)


def space_mean(gradients: FloatArray) -> FloatArray:
    """The mean over space (N, T, C) of gradients (N, T, C, h, w), as a matrix product: six times faster than `mean`."""
    cells = gradients.shape[3] * gradients.shape[4]
    weights = np.full((cells, 1), 1 / cells, np.float32)
    means: FloatArray = np.matmul(gradients.reshape(*gradients.shape[:3], cells), weights)[..., 0]
    return means


def explainer(map_of: MapOf, name: str) -> Callable[[Classifier, FloatArray, Target, Score | None, Any], Maps]:
    """The catalogue's `run` of a map that needs nothing but A and G: one pass for all targets."""

    def run(classifier: Classifier, batch: FloatArray, target: Target, score: Score | None, settings: Any) -> Maps:
        evidence = evidence_of(classifier, name).evidence(batch, target, score)
        return Maps(
            values=map_of(evidence.activations, evidence.gradients),
            geometry=evidence.geometry,
            probabilities=probabilities_beside(classifier, batch, evidence.logits),
            targets=evidence.targets,
            logits=evidence.logits,
            layer=evidence.layer,
            features=evidence.features,
        )

    return run
