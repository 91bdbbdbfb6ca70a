"""Reader of picture files, as upright RGB of eight bits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from dhpe_ros.media.frames import Frame, MediaError, reason, turned
from dhpe_ros.media.picture_header import MAX_MEGAPIXELS, check_size, encoded_size
from dhpe_ros.media.signatures import looks_like
from dhpe_ros.media.white_level import WhiteLevel

with suppress(ImportError):  # without it HEIC is refused with the remedy
    import pillow_heif

    pillow_heif.register_heif_opener()

# Pillow's formats of photographs that their first bytes identify.
# fmt: off
_FORMATS = (
    "AVIF", "BMP", "DDS", "HEIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "PSD", "QOI",
    "SGI", "SUN", "TIFF", "WEBP",
)
# fmt: on
_WITH_CHECKED_HEADER = ("JPEG", "MPO", "PNG", "WEBP")

# EXIF 2.32, tag 0x0112: transpose, then reverse the rows, reverse the columns.
_ORIENTATION = 0x0112
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_WANTED = "an image is (H, W, 3) uint8 RGB and not empty, a PIL image or the path of a file"
_HEADER_BYTES = 4096
_WIDTH, _HEIGHT, _BITS = 256, 257, 258  # tags of TIFF


class ImageFile:
    """A single picture."""

    count: int | None = 1
    rate_hz: float | None = None
    is_sequence = False

    def __init__(self, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.path = path
        self.name = str(path)
        self._max_megapixels = max_megapixels

    def frames(self) -> Iterator[Frame]:
        yield Frame(read_image(self.path, self._max_megapixels), self.name)


def is_picture(path: Path) -> bool:
    """True for a file whose first bytes are those of a picture that can be decoded."""
    try:
        with path.open("rb") as file:
            return _own_header(file.read(_HEADER_BYTES)) is not None or bool(_opened(file))
    except Exception:  # decoders raise anything for bytes of other formats
        return False


def read_image(
    path: str | Path, max_megapixels: float = MAX_MEGAPIXELS, white: WhiteLevel | None = None
) -> np.ndarray:
    """The picture in a file as upright ``(H, W, 3)`` uint8 RGB. Raises ``MediaError``.

    EXIF orientation is applied; grey, CMYK, 16-bit and float pictures are converted, by ``white``
    where they belong to a stream; transparent ones are laid over mid-grey. Of several pages the
    first counts. A picture of more than ``max_megapixels`` by its header is not decoded.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MediaError(path, reason(error)) from error
    if not data:
        raise MediaError(path, "is empty")
    try:
        pixels = _decode(data, path, max_megapixels)
    except MediaError:
        raise
    except Exception as error:  # decoders have no common error
        raise MediaError(
            path, f"is not a picture that can be decoded ({looks_like(path)})"
        ) from error
    return to_rgb8(pixels, path, white)


def as_image(image: Any, max_megapixels: float = MAX_MEGAPIXELS) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of an array, a tensor, a PIL image or the path of a picture file.

    Files and PIL images of any mode are turned upright and converted as by ``read_image``. Raises
    ``ValueError`` for anything else.
    """
    if image is None:
        raise ValueError("the image is None, as cv2.imread returns for an unreadable file")
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image), max_megapixels)
    if isinstance(image, Image.Image) and 0 not in image.size:
        return to_rgb8(_upright(_pixels(image), image))
    try:
        array = np.asarray(image.cpu() if hasattr(image, "cpu") else image)
    except (ValueError, TypeError, RuntimeError):  # as for a list of arrays of several sizes
        raise ValueError(f"{_WANTED}, got a {type(image).__name__}") from None
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ValueError(f"{_WANTED}, got {array.shape} {array.dtype}")
    return array


def to_rgb8(
    image: np.ndarray, name: str | Path = "image", white: WhiteLevel | None = None
) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a grey, RGB or RGBA picture of any depth.

    ``white`` is the level of its stream, without it the picture's own. Raises ``MediaError`` for
    anything else.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        raise MediaError(name, f"has {channels} channels; 1, 3 or 4 are supported")
    if channels == 4:
        return _over_grey(to_rgb8(image[..., :3], name, white), _opacity(image[..., 3:]))
    try:
        image = np.ascontiguousarray((white or WhiteLevel()).to_8_bit(image))
    except ValueError as error:
        raise MediaError(name, str(error)) from error
    return image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _decode(data: bytes, path: Path, max_megapixels: float) -> np.ndarray:
    """Upright grey, RGB or RGBA pixels in their own depth. Raises whatever the decoder raises."""
    if (deep_size := _deep_size(data)) is not None:
        with _named(path):
            check_size(deep_size, max_megapixels)
        if (pixels := _decode_deep(data)) is not None:
            return pixels
    with _opened(BytesIO(data)) as picture:
        with _named(path):
            checked = picture.format in _WITH_CHECKED_HEADER
            check_size(encoded_size(data) if checked else picture.size, max_megapixels)
        return _upright(_pixels(picture), picture)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name the file in the error of a refused header."""
    try:
        yield
    except ValueError as error:
        raise MediaError(path, str(error)) from error


def _opened(file: Any) -> Image.Image:
    """Open a picture; only its header is read."""
    Image.init()
    return Image.open(file, formats=[name for name in _FORMATS if name in Image.OPEN])


def _pixels(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode == "I":  # 16 bits in the file
        return np.clip(np.asarray(picture), 0, 65535).astype(np.uint16)
    if picture.mode == "F":
        return np.asarray(picture)
    transparent = "transparency" in picture.info or picture.mode in (
        "LA",
        "La",
        "PA",
        "RGBA",
        "RGBa",
    )
    return np.asarray(picture.convert("RGBA" if transparent else "RGB"))


def _upright(pixels: np.ndarray, picture: Image.Image) -> np.ndarray:
    # A TIFF's own orientation is part of its pixels, so its decoders turn it.
    orientation = 1 if picture.format == "TIFF" else picture.getexif().get(_ORIENTATION, 1)
    transposed, flip_rows, flip_columns = _TURNS.get(orientation, _TURNS[1])
    return turned(pixels, transposed=transposed, flip_rows=flip_rows, flip_columns=flip_columns)


# ---------------------------------------------------------------- more than eight bits a colour
# Pillow keeps eight bits per colour, and no floating-point colours. OpenCV keeps both.


def _deep_size(data: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of a picture of more than eight bits per colour, else None."""
    if data.startswith(b"\x89PNG") and data[24:25] == b"\x10":
        return encoded_size(data)
    if data.startswith((b"II*\x00", b"MM\x00*")):
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file = BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        return (tags[_WIDTH], tags[_HEIGHT]) if max(tags.get(_BITS, (1,))) > 8 else None
    return _own_header(data[:_HEADER_BYTES])


def _own_header(head: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of formats that Pillow lacks: Radiance, colour PFM, deep PPM."""
    if found := re.match(rb"P[F6]\s+(\d{1,9})\s+(\d{1,9})\s", head):
        return int(found[1]), int(found[2])
    if found := re.match(
        rb"#\?R(?:ADIANC|GB)E\n.*?\n-Y (\d{1,9}) \+X (\d{1,9})\n", head, re.DOTALL
    ):
        return int(found[2]), int(found[1])
    return None


def _decode_deep(data: bytes) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return None
    if pixels.ndim == 3:
        order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
        pixels = pixels[..., order]
    if not data.startswith(b"\x89PNG"):
        return pixels
    with _opened(BytesIO(data)) as picture:
        return _upright(pixels, picture)


def _opacity(alpha: np.ndarray) -> np.ndarray:
    """uint8 of alpha, whose white is always the maximum of its type."""
    if np.issubdtype(alpha.dtype, np.floating):
        return (np.clip(np.nan_to_num(alpha), 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return (alpha >> 8 * (alpha.itemsize - 1)).astype(np.uint8)


def _over_grey(rgb: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    share = opacity.astype(np.uint16)
    return ((rgb * share + 128 * (255 - share) + 127) // 255).astype(np.uint8)
