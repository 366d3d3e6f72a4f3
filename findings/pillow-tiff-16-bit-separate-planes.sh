#!/usr/bin/env bash
# Pillow: an uncompressed 16-bit RGB TIFF with separate planes opens as other pixels.
#
# Versions: pillow 13.0.0, tifffile 2026.3.3, numpy 2.4.6. Date: 2026-11-29.
# Expected: the upper byte of each sample, as Pillow gives where the samples are interleaved, and for the very same planes
#   once they are deflated; or an error.
# Behaviour: mode RGB, no error, no warning, but each plane is unpacked as if its samples had 8 bits.
# Output seen: separate, uncompressed   mode RGB, mean error 87.3 of 255
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$work/venv/bin/python" - <<'PYTHON'
import io, sys
import numpy as np, PIL.Image, tifffile

samples = np.random.default_rng(0).integers(0, 65536, (3, 32, 40)).astype(np.uint16)
expected = np.moveaxis(samples >> 8, 0, -1).astype(int)
errors = {}
for name, options in {
    "interleaved": {"planarconfig": "contig"},
    "separate, deflated": {"planarconfig": "separate", "compression": "deflate"},
    "separate, uncompressed": {"planarconfig": "separate"},
}.items():
    file = io.BytesIO()
    values = np.moveaxis(samples, 0, -1) if options["planarconfig"] == "contig" else samples
    tifffile.imwrite(file, values, photometric="rgb", metadata=None, **options)
    assert (tifffile.imread(io.BytesIO(file.getvalue())) == values).all()
    picture = PIL.Image.open(io.BytesIO(file.getvalue()))
    errors[name] = np.abs(np.asarray(picture).astype(int) - expected).mean()
    print(f"{name:24} mode {picture.mode}, mean error {errors[name]:.1f} of 255")
as_stated = errors["interleaved"] == 0 and errors["separate, deflated"] == 0 and errors["separate, uncompressed"] > 30
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
