#!/usr/bin/env bash
# pydicom: `apply_presentation_lut`, the last step of its pixel pipeline, leaves a MONOCHROME1 film a negative.
#
# Versions: pydicom 3.0.2, highdicom 0.28.2, numpy 2.4.6. Date: 2026-11-30.
# Expected: after `apply_modality_lut`, `apply_voi_lut` and `apply_presentation_lut` the least value is white in a film that is
#   MONOCHROME1 (DICOM PS3.3, C.7.6.3.1.2), as most computed radiographs are.
# Behaviour: the step looks only at Presentation LUT Sequence and Presentation LUT Shape. The CR image module has neither, so that
#   such a film comes out as if it were MONOCHROME2: 0 stays black. DX films, which state the shape, are inverted. highdicom, which
#   builds on pydicom, inverts both; so does dcmtk.
# Output seen: CR MONOCHROME1 by pydicom: [0.0, 1000.0, 4095.0], by highdicom: [4095.0, 3095.0, 0.0]
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6
"$work/venv/bin/python" -W ignore - <<'PYTHON'
import sys
import highdicom
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_presentation_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"


def film(sop_class, shape):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, sop_class
    made = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID = sop_class
    made.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
    made.StudyInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.PatientName = made.PatientID = made.PatientBirthDate = made.PatientSex = ""
    made.StudyDate = made.StudyTime = made.StudyID = made.AccessionNumber = made.ReferringPhysicianName = ""
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CR" if sop_class == CR else "DX", 1, 1
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 1, 3, 1, "MONOCHROME1"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.WindowCenter, made.WindowWidth = 2048, 4096
    if shape:
        made.PresentationLUTShape = shape
    made.PixelData = np.array([0, 1000, 4095], np.uint16).tobytes()
    made["PixelData"].VR = "OW"
    return made


def by_pydicom(made):
    shown = apply_voi_lut(apply_modality_lut(made.pixel_array, made), made)
    return np.round(apply_presentation_lut(shown, made).ravel().astype(float)).tolist()


def by_highdicom(made):
    frame = highdicom.Image.from_dataset(made).get_frame(1, apply_voi_transform=True)
    return np.round(frame.ravel() * 4095).tolist()


got = {name: (by_pydicom(made), by_highdicom(made)) for name, made in (("CR", film(CR, "")), ("DX", film(DX, "INVERSE")))}
for name, (one, other) in got.items():
    print(f"{name} MONOCHROME1 by pydicom: {one}, by highdicom: {other}")
negative = got["CR"][0][0] < got["CR"][0][2]
as_stated = negative and all(pair[0] > pair[2] for pair in (got["CR"][1], *got["DX"]))
print("as stated" if as_stated else "CHANGED")
sys.exit(0 if as_stated else 1)
PYTHON
