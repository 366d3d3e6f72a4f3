#!/usr/bin/env bash
# pydicom: `apply_modality_lut` and `apply_voi_lut` return an enhanced CT as it is stored, without a word.
#
# Versions: pydicom 3.0.2, simpleitk 2.5.7, numpy 2.4.6. Date: 2026-11-30.
# Expected: Hounsfield units from `apply_modality_lut(dataset.pixel_array, dataset)`, as from a classic CT: `pixel_array` gives all frames
#   of the object, and slope and intercept stand in its Shared Functional Groups Sequence, the only place where an enhanced
#   object may have them (DICOM PS3.3, C.7.6.16.2.9); or an error.
# Behaviour: both look at the top level of the dataset only. Water is 1024 instead of 0, and no window is applied, so that the same
#   loop over classic and enhanced files gives a network two scales. SimpleITK rescales the same file.
# Output seen: classic CT, stored 0, 1024, 2048: pydicom [-1024, 0, 1024], windowed [-1024, 618, 3071]; SimpleITK [-1024, 0, 1024]
#   enhanced CT, stored 0, 1024, 2048: pydicom [0, 1024, 2048], windowed [0, 1024, 2048]; SimpleITK [-1024, 0, 1024]
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install simpleitk==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def scan(kind):
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, kind
    made = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID = kind, generate_uid()
    meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    made.Modality, made.SeriesNumber, made.InstanceNumber = "CT", 1, 1
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 1, 3, 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = np.array([0, 1024, 2048], np.uint16).tobytes()
    made["PixelData"].VR = "OW"
    scale, window = dict(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"), dict(WindowCenter=40, WindowWidth=400)
    if kind == CTImageStorage:
        made.update(item(**scale, **window, PixelSpacing=[1, 1], ImagePositionPatient=[0, 0, 0], ImageOrientationPatient=[1, 0, 0, 0, 1, 0]))
    else:
        made.NumberOfFrames = 1
        shared = item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=1)])
        shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
        shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [item(**scale)], [item(**window)]
        made.SharedFunctionalGroupsSequence = [shared]
        frame = item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 0])])
        frame.FrameContentSequence = [item(StackID="1", InStackPositionNumber=1, DimensionIndexValues=[1])]
        made.PerFrameFunctionalGroupsSequence = [frame]
    made.save_as("scan.dcm", enforce_file_format=True)
    read = dcmread("scan.dcm")
    units = apply_modality_lut(read.pixel_array, read)
    shown = apply_voi_lut(units, read)
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("scan.dcm"))
    return [np.asarray(values).ravel().astype(int).tolist() for values in (units, shown, other)]


classic, enhanced = scan(CTImageStorage), scan(EnhancedCTImageStorage)
for name, (units, shown, other) in (("classic", classic), ("enhanced", enhanced)):
    print(f"{name} CT, stored 0, 1024, 2048: pydicom {units}, windowed {shown}; SimpleITK {other}")
stored, right = [0, 1024, 2048], [-1024, 0, 1024]
as_stated = classic[0] == classic[2] == enhanced[2] == right and enhanced[0] == enhanced[1] == stored != classic[1]
sys.exit(0 if as_stated else 1)
PY
