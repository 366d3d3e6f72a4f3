#!/usr/bin/env bash
# tifffile: big-endian TIFFs of 9 to 15 bits that it writes are read back as other numbers, by itself too.
#
# Versions: tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6, on a little-endian machine. Date: 2026-11-29.
# Expected: `imread` gives what `imwrite(..., bitspersample=12)` was given, in both byte orders. TIFF packs such numbers bit
#   by bit, highest first, so that the strips of both files are the same bytes.
# Behaviour: with byteorder="<" the numbers come back. With byteorder=">" each 16-bit number is swapped before it is packed,
#   and bits are lost. No error on writing or reading. 4 and 8 bits are right in both orders.
# Output seen: 12 bits, order >: strip as defined False  read back False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check tifffile==2026.3.3 imagecodecs==2026.3.6 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import io, sys
import numpy as np, tifffile

same = {}
for bits in (4, 10, 12, 14):
    values = (np.arange(64).reshape(4, 16) * ((1 << bits) - 1) // 63).astype(np.uint8 if bits <= 8 else np.uint16)
    packed = int("".join(f"{n:0{bits}b}" for n in values.ravel()), 2).to_bytes(64 * bits // 8, "big")
    for order in "<>":
        file = io.BytesIO()
        tifffile.imwrite(file, values, bitspersample=bits, photometric="minisblack", byteorder=order, metadata=None)
        page = tifffile.TiffFile(io.BytesIO(file.getvalue())).pages[0]
        strip = file.getvalue()[page.dataoffsets[0] :][: page.databytecounts[0]]
        back = tifffile.imread(io.BytesIO(file.getvalue()))
        same[bits, order] = bool((back == values).all())
        print(f"{bits:2} bits, order {order}: strip as defined {strip == packed!s:5}  read back {same[bits, order]}")
as_stated = {case for case, fine in same.items() if not fine} == {(10, ">"), (12, ">"), (14, ">")}
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
