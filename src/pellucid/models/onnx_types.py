"""The types of tensors, as torch, NumPy and ONNX name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import TensorProto


@dataclass(frozen=True)
class Dtype:
    """One type of tensor in two other libraries."""

    numpy: Any
    onnx: int


DTYPES: dict[torch.dtype, Dtype] = {
    torch.float32: Dtype(np.float32, TensorProto.FLOAT),
    torch.float64: Dtype(np.float64, TensorProto.DOUBLE),
    torch.float16: Dtype(np.float16, TensorProto.FLOAT16),
    torch.int64: Dtype(np.int64, TensorProto.INT64),
    torch.int32: Dtype(np.int32, TensorProto.INT32),
    torch.uint8: Dtype(np.uint8, TensorProto.UINT8),
    torch.bool: Dtype(np.bool_, TensorProto.BOOL),
}
