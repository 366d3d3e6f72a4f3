"""The one table of formats: every reader and walker takes what is in it."""

from pathlib import Path

import pytest
from tests.image_files import COLOUR, GREY, encoded

import pellucid
from pellucid.data.folder import read_dataset
from pellucid.errors import ImageError
from pellucid.images import Limits, read_image
from pellucid.images.formats import BY_MEDIA_TYPE, FORMATS, IMAGE_SUFFIXES, SERVED_FORMATS, recognise
from pellucid.images.pictures import open_picture
from pellucid.serving.settings import ServerSettings
from pellucid.workflow.batch.reading import Reader
from pellucid.workflow.batch.sources import list_items
from pellucid.workflow.prediction import find_images

ENCODED = [name for name in FORMATS if name != "DICOM"]


@pytest.mark.parametrize("name", ENCODED)
def test_each_format_is_recognised_and_read(name: str) -> None:
    data = encoded(GREY, name)
    assert recognise(data) is FORMATS[name]
    assert read_image(data).format == name


def test_extensions_and_media_types_belong_to_one_format() -> None:
    rows = FORMATS.values()
    assert sum(len(row.extensions) for row in rows) == len(IMAGE_SUFFIXES)
    assert sum(len(row.media_types) for row in rows) == len(BY_MEDIA_TYPE)
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)
    assert FORMATS.keys() - SERVED_FORMATS == {"TIFF"}


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".dib", ".apng", ".dicom", ".ima", ".tiff", *IMAGE_SUFFIXES])
def test_every_walker_finds_every_extension(tmp_path: Path, suffix: str) -> None:
    name = next(n for n, row in FORMATS.items() if suffix.lower() in row.extensions)
    data = encoded(COLOUR, name) if name in ENCODED else bytes(128) + b"DICM"
    for label in ("cat", "dog"):
        for number in range(2):
            path = tmp_path / label / f"{number}{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    assert len(read_dataset(tmp_path).samples) == 4
    assert len(find_images([tmp_path])) == 4
    assert len(list(list_items([str(tmp_path / "cat")]))) == 2


def test_local_predictions_read_every_format_and_a_server_those_it_serves(tmp_path: Path) -> None:
    bundle = pellucid.from_function(lambda pixels: pixels.mean((1, 2, 3)) / 255, ("dark", "bright"), size=16)
    (tmp_path / "x.tif").write_bytes(encoded(COLOUR, "TIFF"))
    (tmp_path / "x.png").write_bytes(encoded(COLOUR, "PNG"))
    tiff, png = bundle.predict([tmp_path / "x.tif", tmp_path / "x.png"])
    assert tiff.probabilities == png.probabilities
    assert ServerSettings().limits.formats == SERVED_FORMATS
    assert ServerSettings(allow_tiff=True).limits.formats == frozenset(FORMATS)
    (item,) = list_items([str(tmp_path / "x.tif")])
    assert open_picture(Reader(Limits()).read(item)).format == "TIFF"


def test_text_that_begins_like_a_bmp_is_no_image() -> None:
    with pytest.raises(ImageError) as caught:
        recognise(b"BM, she said, and went on with her long story.")
    assert caught.value.code == "not-an-image"


def test_the_reference_page_lists_every_format() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference" / "formats.md").read_text(encoding="utf-8")
    for row in FORMATS.values():
        assert f"| {row.title} | {' '.join(row.extensions)} |" in page
