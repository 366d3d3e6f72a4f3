"""DICOM files written with pydicom against plain arithmetic and pydicom's own transformations."""

import io
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from tests.image_files import COLOUR, GREY, encoded, grey, smooth

from pellucid.errors import ImageError
from pellucid.images import read_image

pydicom = pytest.importorskip("pydicom")
from pydicom.data import get_testdata_file  # noqa: E402
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import (  # noqa: E402
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
    get_decoder,
)
from pydicom.uid import (  # noqa: E402
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

RNG = np.random.default_rng(1)
TWELVE_BITS = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)


def dataset(
    pixels: np.ndarray, bits: int | None = None, syntax: str = ExplicitVRLittleEndian, **more: Any
) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    made = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
    made.PatientName, made.PatientID, made.PatientComments = "Roe^Jane", "MRN-1234", "Jane Roe"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    raw = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    made.PixelData = raw + bytes(len(raw) % 2)
    made["PixelData"].VR = "OB" if made.BitsAllocated == 8 else "OW"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def written(made: FileDataset) -> bytes:
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def refused(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read_image(data)
    assert "Jane" not in caught.value.reason
    assert "MRN" not in caught.value.reason
    return caught.value


def lookup_table(first: int, bits: int, values: np.ndarray) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = values.astype("<u2").tobytes()
    item["LUTData"].VR = "OW"
    item["LUTDescriptor"].VR = "US"
    return item


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(("pixels", "bits"), [(GREY, 8), (TWELVE_BITS, 12), (GREY.astype(np.uint16) * 257, 16)])
def test_without_a_window_the_stored_bits_are_the_range(pixels: np.ndarray, bits: int, syntax: str) -> None:
    image = read_image(written(dataset(pixels, bits, syntax)))
    np.testing.assert_array_equal(image.pixels, grey(np.rint(pixels / (2**bits - 1) * 255)))
    assert (image.format, image.mode, image.stored_size) == ("DICOM", f"MONOCHROME2;{bits}", pixels.shape)
    assert len(image.warnings) == (bits > 8)


def test_monochrome1_is_inverted() -> None:
    one = read_image(written(dataset(GREY, PhotometricInterpretation="MONOCHROME1")))
    two = read_image(written(dataset(GREY)))
    np.testing.assert_array_equal(one.pixels, 255 - two.pixels)
    windowed = {"WindowCenter": 1800, "WindowWidth": 900}
    one = read_image(written(dataset(TWELVE_BITS, 12, PhotometricInterpretation="MONOCHROME1", **windowed)))
    two = read_image(written(dataset(TWELVE_BITS, 12, **windowed)))
    assert np.abs(one.pixels.astype(int) + two.pixels - 255).max() <= 1


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID", None])
@pytest.mark.parametrize(("centre", "width"), [(0, 400), (-600, 1500), (40.5, 1), ([300, 10], [2000, 20])])
def test_rescale_and_window_as_pydicom_does(shape: str | None, centre: Any, width: Any) -> None:
    more = {"RescaleSlope": 1.5, "RescaleIntercept": -1024, "WindowCenter": centre, "WindowWidth": width}
    made = dataset(TWELVE_BITS, 12, **more, **({"VOILUTFunction": shape} if shape else {}))
    with np.errstate(over="ignore"):
        shown = apply_windowing(apply_modality_lut(TWELVE_BITS, made), made)
    low, high = -1024.0, 4095 * 1.5 - 1024
    if shape in (None, "LINEAR") and width == 1:
        expected = np.where(TWELVE_BITS * 1.5 - 1024 > 40, 255, 0)
    else:
        expected = np.rint((shown - low) / (high - low) * 255)
    image = read_image(written(made))
    assert np.abs(image.pixels[..., 0] - expected).max() <= 1
    assert (image.pixels[..., 0] == expected).mean() > 0.99
    assert image.warnings == ()


def test_window_by_hand() -> None:
    pixels = np.array([[0, 100, 101, 150, 199, 200, 255]], np.uint8)
    image = read_image(written(dataset(np.repeat(pixels, 20, 0), WindowCenter=150.5, WindowWidth=101)))
    np.testing.assert_array_equal(image.pixels[0, :, 0], [0, 0, 3, 128, 252, 255, 255])


def test_signed_pixels_and_a_negative_slope() -> None:
    pixels = RNG.integers(-2048, 2048, (20, 20), dtype=np.int16)
    image = read_image(written(dataset(pixels, 12)))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint((pixels + 2048) / 4095 * 255))
    image = read_image(written(dataset(pixels, 12, RescaleSlope=-2, RescaleIntercept=7)))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint((2047.0 - pixels) / 4095 * 255))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": "", "WindowWidth": ""}, {"WindowCenter": 5, "WindowWidth": 0}])
def test_a_missing_or_impossible_window_is_none(window: dict[str, Any]) -> None:
    image = read_image(written(dataset(TWELVE_BITS, 12, **window)))
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(TWELVE_BITS / 4095 * 255))
    assert "no window" in image.warnings[0]


def test_lookup_tables_as_pydicom_applies_them() -> None:
    curve = (1023 * np.sqrt(np.arange(3000) / 2999)).astype(np.uint16)
    made = dataset(TWELVE_BITS, 12, VOILUTSequence=[lookup_table(500, 10, curve)], WindowCenter=9, WindowWidth=9)
    expected = np.rint(apply_voi(TWELVE_BITS, made) / 1023 * 255)
    np.testing.assert_array_equal(read_image(written(made)).pixels[..., 0], expected)
    made = dataset(TWELVE_BITS, 12, ModalityLUTSequence=[lookup_table(0, 16, np.arange(4096)[::-1] * 16)])
    expected = np.rint(apply_modality_lut(TWELVE_BITS, made) / 65535 * 255)
    np.testing.assert_array_equal(read_image(written(made)).pixels[..., 0], expected)


def test_colour() -> None:
    np.testing.assert_array_equal(read_image(written(dataset(COLOUR))).pixels, COLOUR)
    planar = dataset(COLOUR, PlanarConfiguration=1)
    planar.PixelData = COLOUR.transpose(2, 0, 1).tobytes() + b"\0"
    np.testing.assert_array_equal(read_image(written(planar)).pixels, COLOUR)
    ycbcr = np.asarray(PIL.Image.fromarray(COLOUR).convert("YCbCr"))
    image = read_image(written(dataset(ycbcr, PhotometricInterpretation="YBR_FULL")))
    assert np.abs(image.pixels.astype(int) - COLOUR).max() <= 3
    made = dataset(GREY, PhotometricInterpretation="PALETTE COLOR")
    for name, table in zip(("Red", "Green", "Blue"), np.arange(768).reshape(3, 256) % 253 * 257, strict=True):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(made, f"{name}PaletteColorLookupTableData", table.astype("<u2").tobytes())
    np.testing.assert_array_equal(read_image(written(made)).pixels, (np.arange(768).reshape(3, 256).T % 253)[GREY])


def test_compressed() -> None:
    made = dataset(TWELVE_BITS, 12)
    made.compress(RLELossless)
    expected = read_image(written(dataset(TWELVE_BITS, 12))).pixels
    np.testing.assert_array_equal(read_image(written(made)).pixels, expected)
    for syntax, kind, options in (
        (JPEGBaseline8Bit, "JPEG", {"quality": 98}),
        (JPEG2000Lossless, "JPEG2000", {"no_jp2": True}),
    ):
        soft = smooth(40, 56)[..., 0]
        made = dataset(soft, syntax=syntax, PixelData=encapsulate([encoded(soft, kind, **options)]))
        assert np.abs(read_image(written(made)).pixels[..., 1] - soft.astype(int)).max() <= 4


def test_several_frames_and_no_pixels_are_refused() -> None:
    error = refused(written(dataset(GREY, NumberOfFrames=2, PixelData=GREY.tobytes() * 2)))
    assert (error.code, "2 frames" in error.reason) == ("no-pixels", True)
    made = dataset(GREY)
    del made.PixelData
    assert refused(written(made)).code == "no-pixels"
    assert read_image(written(dataset(GREY, NumberOfFrames=1))).format == "DICOM"


def test_damaged_files_are_refused() -> None:
    data = written(dataset(TWELVE_BITS, 12))
    for kept in (140, 300, 500, len(data) - 400, len(data) - 2):
        assert refused(data[:kept]).code in ("damaged", "no-pixels")
    assert refused(data[:-2]).code == "damaged"
    assert refused(written(dataset(TWELVE_BITS, 12, RescaleSlope="1e999"))).code == "damaged"
    made = dataset(GREY, syntax=JPEGBaseline8Bit, PixelData=encapsulate([encoded(GREY, "JPEG")[:300]]))
    assert refused(written(made)).code == "damaged"


def test_bombs_are_refused_before_they_are_decoded() -> None:
    assert refused(written(dataset(GREY, Rows=65_000, Columns=65_000))).code == "too-large"
    large = encoded(np.zeros((3000, 3000), np.uint8), "JPEG")
    made = dataset(GREY, syntax=JPEGBaseline8Bit, PixelData=encapsulate([large]))
    assert "size stated" in refused(written(made)).reason
    large = encoded(np.zeros((300, 300), np.uint8), "JPEG2000", no_jp2=True)
    made = dataset(GREY, syntax=JPEG2000Lossless, PixelData=encapsulate([large]))
    assert "size stated" in refused(written(made)).reason
    run = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 1_000_000
    assert "size stated" in refused(written(dataset(GREY, syntax=RLELossless, PixelData=encapsulate([run])))).reason


def deflated(made: FileDataset, more: bytes = b"") -> bytes:
    """A deflated file, with more behind its dataset."""
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = written(made)
    at = data.index(b"\x08\x00\x05\x00") if b"\x08\x00\x05\x00" in data else data.index(b"\x10\x00\x10\x00PN")
    packer = zlib.compressobj(wbits=-15)
    plain, wrapped = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    start = data[:at]
    old = struct.pack("<HH", 2, 16) + b"UI" + struct.pack("<H", len(plain)) + plain
    new = struct.pack("<HH", 2, 16) + b"UI" + struct.pack("<H", len(wrapped)) + wrapped
    length = struct.unpack_from("<I", start, 140)[0] + len(new) - len(old)
    start = start[:140] + struct.pack("<I", length) + start[144:].replace(old, new)
    return start + packer.compress(data[at:] + more) + packer.flush()


def test_deflated_files_are_read_within_limits() -> None:
    made = dataset(TWELVE_BITS, 12)
    expected = read_image(written(made)).pixels
    np.testing.assert_array_equal(read_image(deflated(made)).pixels, expected)
    assert refused(deflated(dataset(GREY, Rows=65_000, Columns=65_000))).code == "too-large"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # A private element of 600 MB behind the picture.
    bomb = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 600_000_000) + bytes(600_000_000)
    assert read_image(deflated(made, bomb)).size == TWELVE_BITS.shape
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 1_400_000, "kilobytes; the test itself holds the 600 MB twice"


@pytest.mark.parametrize("frames", [0, 2, -1, 2_147_483_647])
def test_frame_counts_cost_nothing(frames: int) -> None:
    data = written(dataset(GREY, NumberOfFrames=frames))
    if frames == 0:
        assert read_image(data).size == GREY.shape
    else:
        assert f"{frames} frames" in refused(data).reason
        assert f"{frames} frames" in refused(deflated(dataset(GREY, NumberOfFrames=frames))).reason


@pytest.mark.parametrize("samples", [0, 2, 4, 60_000])
def test_impossible_samples_are_refused(samples: int) -> None:
    assert refused(written(dataset(GREY, SamplesPerPixel=samples))).code in ("damaged", "unsupported-format")


def test_the_bits_that_count_are_those_from_the_highest_down() -> None:
    words = np.tile(np.array([0x1230, 0xFFF0, 0x8000, 0x0FFF], np.uint16), (20, 5))
    image = read_image(written(dataset(words, 12, HighBit=15)))
    np.testing.assert_array_equal(image.pixels[0, :4, 0], np.rint((words[0, :4] >> 4) / 4095 * 255))
    middle = read_image(written(dataset(words, 8, HighBit=11)))
    np.testing.assert_array_equal(middle.pixels[0, :4, 0], (words[0, :4] >> 4) & 255)
    # Overlays in the upper four bits, as equipment of the nineties stores them.
    overlaid = read_image(written(dataset(TWELVE_BITS | 0xF000, 12)))
    np.testing.assert_array_equal(overlaid.pixels, read_image(written(dataset(TWELVE_BITS, 12))).pixels)
    signed = RNG.integers(-2048, 2048, (20, 20)).astype(np.int16)
    expected = np.rint((signed + 2048.0) / 4095 * 255)
    for high, stored in ((15, signed << 4), (11, signed & 0x0FFF)):
        for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
            made = dataset(stored.astype(np.int16), 12, syntax=syntax, HighBit=high)
            np.testing.assert_array_equal(read_image(written(made)).pixels[..., 0], expected)
    assert refused(written(dataset(TWELVE_BITS, 12, HighBit=5))).code == "damaged"


@pytest.mark.parametrize("place", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_enhanced_objects_of_one_frame_keep_their_window_in_functional_groups(place: str) -> None:
    transformation, window, group = Dataset(), Dataset(), Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept, transformation.RescaleType = 1.5, -1024, "HU"
    window.WindowCenter, window.WindowWidth = 40, 400
    group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [transformation], [window]
    plain = dataset(TWELVE_BITS, 12, RescaleSlope=1.5, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400)
    image = read_image(written(dataset(TWELVE_BITS, 12, NumberOfFrames=1, **{place: [group]})))
    np.testing.assert_array_equal(image.pixels, read_image(written(plain)).pixels)
    assert image.warnings == ()


def test_the_frame_counts_more_than_what_is_shared() -> None:
    shared, frame, one, other = Dataset(), Dataset(), Dataset(), Dataset()
    one.WindowCenter, one.WindowWidth, other.WindowCenter, other.WindowWidth = 1, 2, 2000, 1000
    shared.FrameVOILUTSequence, frame.FrameVOILUTSequence = [one], [other]
    made = dataset(TWELVE_BITS, 12, SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[frame])
    plain = dataset(TWELVE_BITS, 12, WindowCenter=2000, WindowWidth=1000)
    np.testing.assert_array_equal(read_image(written(made)).pixels, read_image(written(plain)).pixels)


def test_a_frame_may_have_a_table_instead_of_a_window() -> None:
    item, group = lookup_table(0, 12, np.sqrt(np.arange(4096) * 4095.0).round()), Dataset()
    group.FrameVOILUTSequence = [Dataset()]
    group.FrameVOILUTSequence[0].VOILUTSequence = [item]
    enhanced = dataset(TWELVE_BITS, 12, NumberOfFrames=1, PerFrameFunctionalGroupsSequence=[group])
    plain = read_image(written(dataset(TWELVE_BITS, 12, VOILUTSequence=[item]))).pixels
    np.testing.assert_array_equal(read_image(written(enhanced)).pixels, plain)
    expected = np.sqrt(TWELVE_BITS * 4095.0).round() / 4095 * 255
    np.testing.assert_array_equal(plain, grey(np.rint(expected)))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("shape", [None, "", "IDENTITY", "INVERSE"])
def test_the_presentation_shape_says_what_is_white(photometric: str, shape: str | None, tmp_path: Path) -> None:
    """In valid files it agrees with the photometric interpretation; dcmtk is the judge of the others."""
    made = dataset(TWELVE_BITS, 12, PhotometricInterpretation=photometric, WindowCenter=2048, WindowWidth=4096)
    if shape is not None:
        made.PresentationLUTShape = shape
    inverted = shape == "INVERSE" if shape else photometric == "MONOCHROME1"
    shown = read_image(written(made)).pixels[..., 0].astype(int)
    straight = read_image(written(dataset(TWELVE_BITS, 12, WindowCenter=2048, WindowWidth=4096))).pixels[..., 0]
    np.testing.assert_allclose(shown, 255 - straight.astype(int) if inverted else straight, atol=1)
    if shutil.which("dcm2pnm"):
        (tmp_path / "x.dcm").write_bytes(written(made))
        command = ["dcm2pnm", "+Wi", "1", tmp_path / "x.dcm", tmp_path / "x.pgm"]
        subprocess.run(command, check=True, capture_output=True)
        np.testing.assert_allclose(shown, np.asarray(PIL.Image.open(tmp_path / "x.pgm").convert("L")), atol=1)


def test_a_presentation_table_takes_the_place_of_the_inversion() -> None:
    table = np.rint(np.linspace(0, 1, 256) ** 2 * 255)
    window = {"WindowCenter": 2048, "WindowWidth": 4096, "PresentationLUTSequence": [lookup_table(0, 8, table)]}
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        made = dataset(TWELVE_BITS, 12, PhotometricInterpretation=photometric, **window)
        brightness = np.clip((TWELVE_BITS - 2047.5) / 4095 + 0.5, 0, 1)
        np.testing.assert_array_equal(
            read_image(written(made)).pixels, grey(table[np.rint(brightness * 255).astype(int)])
        )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_preamble_or_meta(syntax: str) -> None:
    made = dataset(TWELVE_BITS, 12, syntax=syntax, SOPClassUID="1.2.840.10008.5.1.4.1.1.1.1", SOPInstanceUID="1.2.3")
    data = written(made)
    expected = read_image(data).pixels
    np.testing.assert_array_equal(read_image(data[132:]).pixels, expected)
    group_8 = b"\0\x08\0\x16" if syntax == ExplicitVRBigEndian else b"\x08\0\x16\0"
    bare = data[data.index(group_8, 140) :]
    np.testing.assert_array_equal(read_image(bare).pixels, expected)


def test_a_tiff_preamble_does_not_make_a_tiff() -> None:
    data = written(dataset(TWELVE_BITS, 12))
    image = read_image(b"II*\0" + bytes(124) + data[128:])
    assert image.format == "DICOM"
    np.testing.assert_array_equal(image.pixels, read_image(data).pixels)


def test_palettes_in_segments_as_pydicom_writes_them_out() -> None:
    # Ten discrete entries, a line of 200 to 65535, and the first segment once more: 220 of 220.
    steps = [0, 10, *range(0, 5000, 500), 1, 200, 65535, 2, 1, 0, 0]
    segments = np.array(steps, "<u2").tobytes()
    made = dataset(GREY % 220, PhotometricInterpretation="PALETTE COLOR")
    for hue in ("Red", "Green", "Blue"):
        setattr(made, f"{hue}PaletteColorLookupTableDescriptor", [220, 0, 16])
        setattr(made, f"Segmented{hue}PaletteColorLookupTableData", segments)
    expected = np.rint(apply_color_lut(GREY % 220, made) / 257)
    np.testing.assert_array_equal(read_image(written(made)).pixels, expected)
    for broken in ([1, 65535, 9] * 50, [0, 10, 1], [2, 60000, 0, 0] * 9, [7, 7, 7]):
        for hue in ("Red", "Green", "Blue"):
            setattr(made, f"Segmented{hue}PaletteColorLookupTableData", np.array(broken, "<u2").tobytes())
        assert refused(written(made)).code == "damaged"


def test_htj2k_where_a_decoder_is_installed() -> None:
    pytest.importorskip("openjpeg")
    imagecodecs = pytest.importorskip("imagecodecs")
    frame = imagecodecs.htj2k_encode(TWELVE_BITS, reversible=True)
    made = dataset(TWELVE_BITS, 12, syntax="1.2.840.10008.1.2.4.201", PixelData=encapsulate([frame]))
    np.testing.assert_array_equal(
        read_image(written(made)).pixels, read_image(written(dataset(TWELVE_BITS, 12))).pixels
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("syntax", "encode"), [(JPEGLSLossless, "jpegls_encode"), (JPEGLosslessSV1, "ljpeg_encode")])
def test_lossless_jpegs_by_imagecodecs(syntax: str, encode: str, signed: bool) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    values = TWELVE_BITS.astype(np.int16) - 2048 if signed else TWELVE_BITS
    words = (values.astype(np.uint16) & 0x0FFF).copy()
    options = {"bitspersample": 12} if encode == "ljpeg_encode" else {}
    frame = getattr(imagecodecs, encode)(words, **options)
    made = dataset(values, 12, syntax=syntax, PixelData=encapsulate([frame]))
    np.testing.assert_array_equal(read_image(written(made)).pixels, read_image(written(dataset(values, 12))).pixels)


def test_a_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    if get_decoder(JPEGLSLossless).is_available:
        pytest.skip("pydicom has a decoder here")
    frame = imagecodecs.jpegls_encode(TWELVE_BITS)
    made = dataset(TWELVE_BITS, 12, syntax=JPEGLSLossless, PixelData=encapsulate([frame]))
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    error = refused(written(made))
    assert error.code == "unsupported-format"
    assert "JPEG-LS" in error.reason
    assert "pip install 'pellucid[codecs]'" in error.reason


@pytest.mark.parametrize(("name", "said"), [("CT_small", "nearly one grey"), ("image_dfl", ""), ("MR_small", "")])
def test_pydicoms_own_files(name: str, said: str) -> None:
    image = read_image(get_testdata_file(f"{name}.dcm", download=False))
    assert image.pixels.std() > 1
    assert said in " ".join(image.warnings)


def test_kinds_that_are_not_read() -> None:
    assert refused(written(dataset(GREY.astype(np.uint32)))).code == "unsupported-format"
    assert refused(written(dataset(GREY, PhotometricInterpretation="JANE"))).code == "unsupported-format"
    video = dataset(GREY, syntax="1.2.840.10008.1.2.4.100", PixelData=encapsulate([bytes(100)]))
    assert refused(written(video)).code == "unsupported-format"


@pytest.mark.parametrize(("name", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pixels_that_are_floats_are_named(name: str, dtype: str, syntax: str) -> None:
    made = dataset(GREY, syntax=syntax, **{name: GREY.astype(dtype).tobytes()})
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated = 8 * np.dtype(dtype).itemsize
    error = refused(written(made))
    assert error.code == "unsupported-format"
    assert f"floats of {made.BitsAllocated} bits" in error.reason


def without_syntax(data: bytes) -> bytes:
    """The file without the transfer syntax of its meta header, whose length is mended."""
    at = data.index(b"\x02\0\x10\0UI", 132)
    size = 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    length = int.from_bytes(data[140:144], "little") - size
    return data[:140] + length.to_bytes(4, "little") + data[144:at] + data[at + size :]


def test_a_missing_transfer_syntax_is_named_where_it_is_needed() -> None:
    plain = dataset(TWELVE_BITS, 12)
    deflated_file = deflated(dataset(TWELVE_BITS, 12))
    jpeg = dataset(GREY, syntax=JPEGBaseline8Bit, PixelData=encapsulate([encoded(GREY, "JPEG")]))
    jpeg["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(read_image(without_syntax(written(plain))).pixels, read_image(written(plain)).pixels)
    for data in (deflated_file, written(jpeg), written(plain)[:-200]):
        error = refused(without_syntax(data))
        assert error.code == "unsupported-format"
        assert "does not state its transfer syntax" in error.reason
        if data is not deflated_file:
            assert "transfer syntax" in refused(without_syntax(data)[132:]).reason
    frames = dataset(GREY, NumberOfFrames=2, PixelData=GREY.tobytes() * 2)
    assert "2 frames" in refused(without_syntax(written(frames))).reason


def test_who_it_is_of_is_never_parsed_nor_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    made = dataset(TWELVE_BITS, 12)
    made.add_new(0x00100030, "LO", "not a date Jane")
    data = written(made)
    seen: list[Any] = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda *a, **k: seen.append(read(*a, **k)) or seen[-1])
    with caplog.at_level(0):
        said = repr(read_image(data)) + caplog.text
    assert "Jane" not in said
    assert "MRN" not in said
    assert "PatientName" not in seen[0]
    (tmp_path / "x.jpg").write_bytes(data)
    assert read_image(tmp_path / "x.jpg").warnings[0] == "The file is named .jpg but holds DICOM."


def test_without_pydicom_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(dataset(GREY))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refused(data)
    assert error.code == "unsupported-format"
    assert "pellucid[dicom]" in error.reason
