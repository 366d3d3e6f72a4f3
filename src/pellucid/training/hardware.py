"""Where to train and in which precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

from ..data.labelling import counted
from ..errors import ResourceError


def pick_device() -> torch.device:
    """A CUDA GPU where there is one, else Apple's GPU, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    On a CPU that is AMX or AVX512-BF16 (Intel from Cooper Lake, AMD from Zen 4 on), on a GPU Ampere or later.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        known = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("amx_tile", "avx512_bf16"))
        return any(bool(supported()) for supported in known if supported is not None)
    return False


Precision = Literal["auto", "float32", "bf16"]


def autocasts(device: torch.device, precision: Precision) -> bool:
    """Whether passes compute in bfloat16."""
    return precision == "bf16" or (precision == "auto" and fast_bf16(device))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which forward passes run."""
    return torch.autocast(device.type, torch.bfloat16) if autocasts(device, precision) else nullcontext()


def describe(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def seed_torch(seed: int) -> None:
    """Seed torch on every device: initial weights and dropout follow from it."""
    torch.manual_seed(seed)


@contextmanager
def denormals_as_zero() -> Iterator[None]:
    """Treat denormal numbers as zero while open.

    Optimisers drive weights that do not matter towards denormal values, on which a CPU is many times slower.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def out_of_memory_named(batch: int) -> Iterator[None]:
    """Turn torch's out-of-memory errors into a ResourceError that names the setting to lower."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
        if not known:
            raise
        raise ResourceError(
            f"Memory ran out on a batch of {counted(batch, 'image')}: "
            + (f"set `train.batch_size` to {batch // 2}, or lower the" if batch > 1 else "lower the")
            + " image size, `data.size`."
        ) from error
