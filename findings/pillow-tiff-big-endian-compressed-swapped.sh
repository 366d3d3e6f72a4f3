#!/usr/bin/env bash
# Pillow: big-endian TIFF numbers come out byte-swapped when they are compressed, and right when they are not.
#
# Versions: pillow 13.0.0, tifffile 2026.3.3, numpy 2.4.6, on a little-endian machine. Date: 2026-11-29.
# Expected: the same numbers from a big-endian TIFF whether its strips are compressed or not.
# Behaviour: float32, int16 and int32 are swapped with deflate, without an error: libtiff has turned them to the machine's
#   order already, and Pillow's raw mode turns them once more. uint16 is right in both.
# Output seen: float32  deflate  first number 7.1839e-41     of 100.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import io, sys
import numpy as np, PIL.Image, tifffile

if sys.byteorder != "little":
    sys.exit("this shows on little-endian machines only")
right = {}
for dtype in ("uint16", "int16", "int32", "float32"):
    for compression in (None, "deflate"):
        values = (np.arange(1, 13).reshape(3, 4) * 100).astype(dtype)
        file = io.BytesIO()
        tifffile.imwrite(file, values, byteorder=">", compression=compression, metadata=None)
        assert (tifffile.imread(io.BytesIO(file.getvalue())) == values).all()
        got = np.asarray(PIL.Image.open(io.BytesIO(file.getvalue())))
        right[dtype, compression] = bool((got == values).all())
        print(f"{dtype:8} {compression or 'none':8} first number {got.flat[0]!s:14} of {values.flat[0]}")
swapped = {("int16", "deflate"), ("int32", "deflate"), ("float32", "deflate")}
as_stated = {case for case, fine in right.items() if not fine} == swapped
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
