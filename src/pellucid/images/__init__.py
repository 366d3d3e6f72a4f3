"""Any image file to upright 8-bit RGB, within limits."""

from __future__ import annotations

from .read import DEFAULT_LIMITS, Image, Limits, as_image, from_array, from_pil, read_file, read_image

__all__ = ["DEFAULT_LIMITS", "Image", "Limits", "as_image", "from_array", "from_pil", "read_file", "read_image"]
