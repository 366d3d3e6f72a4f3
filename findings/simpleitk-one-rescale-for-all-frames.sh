#!/usr/bin/env bash
# SimpleITK: every frame of an enhanced DICOM object is rescaled by the slope of its first frame.
#
# Versions: simpleitk 2.5.7, pydicom 3.0.2, highdicom 0.28.2, numpy 2.4.6. Date: 2026-11-30.
# Expected: each frame by its own Pixel Value Transformation Sequence (DICOM PS3.3, C.7.6.16.2.9), which scanners write for each
#   frame where slopes differ, as in PET and in MR of several echoes; or an error.
# Behaviour: `ReadImage` takes slope and intercept of the first frame for all of them, without a warning. A frame whose slope is
#   five times as large comes out at a fifth of its values; order and contrast between frames are lost. highdicom takes each
#   frame's own.
# Output seen: stored 1 to 4 in both frames, slopes 2 and 10: SimpleITK [[7, 9, 11, 13], [7, 9, 11, 13]],
#   highdicom [[7.0, 9.0, 11.0, 13.0], [10.0, 20.0, 30.0, 40.0]]
# Exit code: 0 when the behaviour is as stated, 1 when it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install simpleitk==2.5.7 pydicom==3.0.2 highdicom==0.28.2 numpy==2.4.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import highdicom
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid


def item(**elements):
    made = Dataset()
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def frame(number, slope, intercept):
    made = Dataset()
    made.FrameContentSequence = [item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[number])]
    made.PlanePositionSequence = [item(ImagePositionPatient=[0, 0, number])]
    made.PixelValueTransformationSequence = [item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")]
    return made


meta = FileMetaDataset()
meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, EnhancedMRImageStorage
volume = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
volume.SOPClassUID = EnhancedMRImageStorage
volume.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = generate_uid()
volume.StudyInstanceUID, volume.SeriesInstanceUID, volume.FrameOfReferenceUID = (generate_uid() for _ in range(3))
volume.PatientName = volume.PatientID = volume.PatientBirthDate = volume.PatientSex = ""
volume.StudyDate = volume.StudyTime = volume.StudyID = volume.AccessionNumber = volume.ReferringPhysicianName = ""
volume.Modality, volume.SeriesNumber, volume.InstanceNumber, volume.NumberOfFrames = "MR", 1, 1, 2
volume.Rows, volume.Columns, volume.SamplesPerPixel, volume.PhotometricInterpretation = 2, 2, 1, "MONOCHROME2"
volume.BitsAllocated, volume.BitsStored, volume.HighBit, volume.PixelRepresentation = 16, 12, 11, 0
shared = item(PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=1)])
shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
volume.SharedFunctionalGroupsSequence = [shared]
volume.PerFrameFunctionalGroupsSequence = [frame(1, 2, 5), frame(2, 10, 0)]
volume.PixelData = np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.uint16).tobytes()
volume["PixelData"].VR = "OW"
volume.save_as("volume.dcm", enforce_file_format=True)

one = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("volume.dcm")).reshape(2, 4).tolist()
given = highdicom.imread("volume.dcm")
own = given.get_frames(apply_modality_transform=True, apply_real_world_transform=False).reshape(2, 4).tolist()
print(f"stored 1 to 4 in both frames, slopes 2 and 10: SimpleITK {one}, highdicom {own}")
sys.exit(0 if one == [[7, 9, 11, 13]] * 2 and own == [[7, 9, 11, 13], [10, 20, 30, 40]] else 1)
PY
