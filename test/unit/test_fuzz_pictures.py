"""Pictures from outside: bombs, wrong formats and mutations, refused before they are decoded."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fuzzing import fuzz, in_child
from hostile_pictures import (
    HEIGHT,
    WHOLE,
    WIDTH,
    animated,
    encoded,
    jpeg_that_claims,
    png_that_claims,
    webp_that_claims,
)
from PIL import Image

from dhpe_ros.media.frames import MediaError
from dhpe_ros.media.image_messages import compressed_to_rgb, image_to_rgb
from dhpe_ros.media.pictures import read_image


def sent(data, kind="jpeg"):
    return SimpleNamespace(format=kind, data=data)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_picture_is_read_whatever_format_says(name):
    assert compressed_to_rgb(sent(WHOLE[name], "jp2")).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (jpeg_that_claims(30_000, 30_000), r"30000 x 30000 pixels are more than 64 megapixels"),
        (png_that_claims(30_000, 30_000), r"30000 x 30000 pixels are more than 64 megapixels"),
        (webp_that_claims(16_000, 16_000), r"16000 x 16000 pixels are more than 64 megapixels"),
        (jpeg_that_claims(64, 0), "not a JPEG, PNG or WebP"),
        (jpeg_that_claims(64, 64, headers=2), "cannot be decoded"),
        # The last header counts for the size, and the first for a decoder that takes it.
        (png_that_claims(30_000, 30_000)[:33] + png_that_claims(8, 8)[8:], "cannot be decoded"),
        (jpeg_that_claims(64, 64, headers=0), "not a JPEG, PNG or WebP"),
        (jpeg_that_claims(64, 64) + b"\xff\xda\0\x0c\x03" * 100, "more than 100 scans"),
        (animated("WEBP"), "an animation"),
        (animated("PNG"), "an animation"),
        (encoded("JPEG2000"), "not a JPEG, PNG or WebP"),
        (encoded("TIFF"), "not a JPEG, PNG or WebP"),
        (encoded("GIF", "L"), "not a JPEG, PNG or WebP"),
        (encoded("BMP"), "not a JPEG, PNG or WebP"),
        (b"", "not a JPEG, PNG or WebP"),
        *((WHOLE[name][:27], "cut off") for name in ("jpeg", "png", "lossy webp")),
        *((WHOLE[name][:-9], "cut off") for name in ("jpeg", "png", "lossy webp")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_plain_picture_of_bearable_size_is_refused(data, reason):
    with pytest.raises(ValueError, match=reason):
        compressed_to_rgb(sent(data))


def test_the_limit_is_the_setting_s_and_holds_for_raw_images_too():
    raw = SimpleNamespace(
        height=100, width=200, step=600, encoding="rgb8", is_bigendian=0, data=bytes(60_000)
    )
    for decode, message in ((compressed_to_rgb, sent(WHOLE["png"])), (image_to_rgb, raw)):
        assert decode(message, 1.0).dtype == np.uint8
        with pytest.raises(ValueError, match=r"more than 0\.001 megapixels.*media\.max_megapixels"):
            decode(message, 0.001)


def fuzz_messages():
    def read(path: Path):
        message = sent(path.read_bytes())
        assert compressed_to_rgb(message, 2.0).size <= 2e6 * 3

    fuzz(read, list(WHOLE.values()), ValueError, rounds=1000)


def fuzz_files():
    """Other formats too: files may be of any that is known."""
    Image.init()  # not each Pillow is built with all
    kinds = Image.SAVE.keys() & {"TIFF", "BMP", "JPEG2000", "PPM", "AVIF", "SGI"}
    others = [encoded(kind) for kind in sorted(kinds)]
    seeds = [*WHOLE.values(), *others, encoded("TIFF", "RGBA", compression="tiff_lzw")]

    def read(path: Path):
        assert read_image(path, 2.0).size <= 2e6 * 3

    fuzz(read, seeds, MediaError, rounds=600)


@pytest.mark.parametrize("where", ["messages", "files"])
def test_mutated_pictures_are_read_or_refused(where):
    in_child(f"test_fuzz_pictures.fuzz_{where}()")
