#!/usr/bin/env bash
# pydicom: `pixel_array` takes the lowest bits of each word as the pixel, wherever High Bit (0028,0102) says they are.
#
# Versions: pydicom 3.0.2, numpy 2.4.6. Date: 2026-11-29.
# Expected: of 12 bits stored in 16 with High Bit 15 the upper 12, so that the word 1230 hex is the pixel 123 hex. DICOM
#   PS3.5, 8.1.1 defines High Bit for this, and dcmtk follows it.
# Behaviour: the word with its four uppermost bits cleared, 230 hex; half brightness, 8000 hex, becomes 0. No warning.
# Output seen: High Bit 15: ['0x230', '0xff0', '0x0', '0x10']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import sys
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

words = np.array([[0x1230, 0xFFF0, 0x8000, 0x0010]], np.uint16)
meta = FileMetaDataset()
meta.TransferSyntaxUID = ExplicitVRLittleEndian
image = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 1, 4, 1, "MONOCHROME2"
image.BitsAllocated, image.BitsStored, image.PixelRepresentation = 16, 12, 0
image.PixelData = words.tobytes()
image["PixelData"].VR = "OW"
got = {}
for high in (11, 15):
    image.HighBit = high
    got[high] = pixel_array(image).ravel().tolist()
    print(f"High Bit {high}: {[hex(n) for n in got[high]]}")
print("expected of 15:", [hex(n) for n in (words >> 4).ravel().tolist()])
as_stated = got[15] == got[11] == (words & 0x0FFF).ravel().tolist()
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
