"""The first picture of a TIFF file."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
from PIL.Image import Transpose
from PIL.TiffImagePlugin import TiffImageFile

from .containers import check_pixels
from .conversion import SEVERAL, Decoded, to_eight_bits

# Pillow turns a TIFF upright; these turn it back.
STORED = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_90,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_270,
}


def decode(data: bytes, most_pixels: int) -> Decoded:
    """Decode the first picture of a TIFF file."""
    decoder = TiffImageFile(io.BytesIO(data))
    tags = decoder.tag_v2
    stored, tile = (int(tags[257]), int(tags[256])), (int(tags.get(323, 1)), int(tags.get(322, 1)))
    check_pixels(stored, most_pixels)
    check_pixels(tile, most_pixels)
    orientation, white_is_zero, bits = tags.get(274, 1), tags.get(262) == 0, tags.get(258, (1,))[0]
    several = decoder.n_frames > 1
    decoder.seek(0)
    decoder.load()
    decoded = _full_range(decoder, bits, white_is_zero) if decoder.mode.startswith("I;16") else decoder
    picture, warnings = to_eight_bits(decoded)
    turned = STORED.get(orientation)
    picture = picture if turned is None else picture.transpose(turned)
    return Decoded(
        picture, decoder.mode, ((SEVERAL,) if several else ()) + warnings, orientation if orientation in STORED else 1
    )


def _full_range(picture: PIL.Image.Image, bits: int, white_is_zero: bool) -> PIL.Image.Image:
    """A TIFF of 9 to 16 bits as 16: Pillow leaves 12 bits as they are, and inverts where white is zero only at 8."""
    most = np.uint32((1 << bits) - 1)
    values = np.minimum(np.asarray(picture).astype(np.uint32), most)
    if white_is_zero:
        values = most - values
    return PIL.Image.fromarray(((values * 65535 + most // 2) // most).astype(np.uint16))
