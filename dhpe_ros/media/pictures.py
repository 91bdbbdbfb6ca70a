"""Reader of picture files, as upright RGB of eight bits."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from dhpe_ros.media.frames import (
    MAX_MEGAPIXELS,
    Frame,
    MediaError,
    RefusedError,
    check_size,
    looks_like,
    turned,
)
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
_MOST_JPEG_SCANS = 100  # each takes a pass over all pixels; encoders write about ten
_ORIENTATION = 0x0112  # tag of EXIF 2.32
_WIDTH, _HEIGHT, _BITS = 256, 257, 258  # tags of TIFF
_OWN_HEADERS = (  # of formats that Pillow lacks: colour PFM, deep PPM, Radiance
    rb"P[F6]\s+(?P<width>\d{1,9})\s+(?P<height>\d{1,9})\s",
    rb"#\?R(?:ADIANC|GB)E\n.*?\n-Y (?P<height>\d{1,9}) \+X (?P<width>\d{1,9})\n",
)
_HEADER_BYTES = 4096
_WANTED = "an image is (H, W, 3) uint8 RGB and not empty, a PIL image or the path of a file"


class Pictures:
    """A picture, or those of a folder, one after the other."""

    rate_hz: float | None = None

    def __init__(
        self, name: Path, paths: Sequence[Path], is_sequence: bool, max_megapixels: float
    ) -> None:
        self.name = str(name)
        self.count: int | None = len(paths)
        self.is_sequence = is_sequence
        self._paths = paths
        self._max_megapixels = max_megapixels

    def frames(self) -> Iterator[Frame]:
        white = WhiteLevel()
        for index, path in enumerate(self._paths):
            yield Frame(read_image(path, self._max_megapixels, white), str(path), index)


def is_picture(path: Path) -> bool:
    """True for a file whose first bytes are those of a picture that can be decoded."""
    try:
        with path.open("rb") as file:
            return _own_size(file.read(_HEADER_BYTES)) is not None or bool(_opened(file))
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
        raise MediaError(path, error) from error
    if not data:
        raise MediaError(path, "is empty")
    try:
        return to_rgb8(_decode(data, max_megapixels), white)
    except RefusedError as error:
        raise MediaError(path, error) from error
    except Exception as error:  # decoders have no common error
        raise MediaError(
            path, f"is not a picture that can be decoded ({looks_like(path)})"
        ) from error


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


def to_rgb8(image: np.ndarray, white: WhiteLevel | None = None) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a grey, RGB or RGBA picture of any depth.

    ``white`` is the level of its stream, without it the picture's own. Raises ``RefusedError`` for
    anything else.
    """
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        raise RefusedError(f"has {channels} channels; 1, 3 or 4 are supported")
    if channels == 4:  # lies over mid-grey
        rgb, opacity = to_rgb8(image[..., :3], white), _opacity(image[..., 3:]).astype(np.uint16)
        return ((rgb * opacity + 128 * (255 - opacity) + 127) // 255).astype(np.uint8)
    image = np.ascontiguousarray((white or WhiteLevel()).to_8_bit(image))
    return image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def check_encoded(data: bytes, max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Check the header of a JPEG, a PNG or a WebP.

    Raises ``RefusedError`` for a broken one, an animation, and more than ``max_megapixels``.
    """
    try:
        with _opened(BytesIO(data), ("JPEG", "PNG", "WEBP")) as picture:
            _check(picture, data, max_megapixels)
            if picture.format != "MPO" and getattr(picture, "is_animated", False):
                raise RefusedError("an animation; a single picture is right")
    except RefusedError:
        raise
    except Exception as error:  # Pillow's plugins have no common error
        raise RefusedError("not a JPEG, PNG or WebP picture, or cut off in its header") from error


def _decode(data: bytes, max_megapixels: float) -> np.ndarray:
    """Upright grey, RGB or RGBA pixels in their own depth. Raises whatever the decoder raises."""
    size = _own_size(data[:_HEADER_BYTES]) or _deep_tiff_size(data)
    if size is not None:
        check_size(size, max_megapixels)
        if (pixels := _deep_pixels(data)) is not None:
            return pixels
    with _opened(BytesIO(data)) as picture:
        _check(picture, data, max_megapixels)
        deep_png = picture.format == "PNG" and data[24] == 16
        pixels = _deep_pixels(data) if deep_png else None
        return _upright(_pixels(picture) if pixels is None else pixels, picture)


def _opened(file: BytesIO | BufferedReader, formats: Sequence[str] = _FORMATS) -> Image.Image:
    """Open a picture; only its header is read. Without the limit of ``Image.open``: ours is set."""
    Image.init()
    file.seek(0)
    head = file.read(16)
    for name in filter(Image.OPEN.__contains__, formats):  # not each Pillow is built with all
        factory, accepts = Image.OPEN[name]
        file.seek(0)
        if accepts is None or accepts(head) is True:
            with suppress(SyntaxError, IndexError, TypeError, struct.error):  # as Pillow does
                return factory(file, "")
    raise UnidentifiedImageError("no format of Pillow")


def _check(picture: Image.Image, data: bytes, max_megapixels: float) -> None:
    check_size(picture.size, max_megapixels)
    # Coded pixels hold no such pair of bytes.
    if picture.format in ("JPEG", "MPO") and data.count(b"\xff\xda") > _MOST_JPEG_SCANS:
        raise RefusedError(f"a JPEG of more than {_MOST_JPEG_SCANS} scans")


def _pixels(picture: Image.Image) -> np.ndarray:
    if picture.mode.startswith("I"):  # 16 bits in the file
        return np.clip(np.asarray(picture), 0, 65535).astype(np.uint16)
    if picture.mode == "F":
        return np.asarray(picture)
    transparent = "transparency" in picture.info or picture.mode.endswith(("A", "a"))
    return np.asarray(picture.convert("RGBA" if transparent else "RGB"))


def _upright(pixels: np.ndarray, picture: Image.Image) -> np.ndarray:
    # A TIFF's own orientation is part of its pixels, so its decoders turn it.
    code = 1 if picture.format == "TIFF" else picture.getexif().get(_ORIENTATION, 1)
    return turned(
        pixels,
        transposed=code in (5, 6, 7, 8),
        flip_rows=code in (3, 4, 7, 8),
        flip_columns=code in (2, 3, 6, 7),
    )


# ---------------------------------------------------------------- more than eight bits a colour
# Pillow keeps eight bits per colour, and no floating-point colours. OpenCV keeps both.


def _own_size(head: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of formats that Pillow lacks."""
    matches = (re.match(header, head, re.DOTALL) for header in _OWN_HEADERS)
    return next(((int(m["width"]), int(m["height"])) for m in matches if m), None)


def _deep_tiff_size(data: bytes) -> tuple[int, int] | None:
    """``(width, height)`` of a TIFF of more than eight bits per colour; Pillow opens not all."""
    if not data.startswith((b"II*\x00", b"MM\x00*")):
        return None
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file = BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    return (tags[_WIDTH], tags[_HEIGHT]) if max(tags.get(_BITS, (1,))) > 8 else None


def _deep_pixels(data: bytes) -> np.ndarray | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim == 2:
        return pixels
    return pixels[..., {3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]]


def _opacity(alpha: np.ndarray) -> np.ndarray:
    """uint8 of alpha, whose white is always the maximum of its type."""
    if np.issubdtype(alpha.dtype, np.floating):
        return (np.clip(np.nan_to_num(alpha), 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    return (alpha >> 8 * (alpha.itemsize - 1)).astype(np.uint8)
