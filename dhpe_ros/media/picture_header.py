"""Size of a picture from its header, before decoding.

Decoders allocate what a header claims: a JPEG of 600 bytes may ask for gigabytes.
"""

from __future__ import annotations

import struct

from dhpe_ros.config import MediaConfig

MAX_MEGAPIXELS = MediaConfig.max_megapixels  # the default

_MOST_JPEG_SCANS = 100  # each takes a pass over all pixels; encoders write about ten
_WEBP_ANIMATION = 0x02
_PNG_ANIMATION = frozenset((b"acTL", b"fcTL", b"fdAT"))


def check_size(size: tuple[int, int], max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Raise ``ValueError`` for a ``(width, height)`` without pixels, or above the limit."""
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"the picture is empty: {width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise ValueError(
            f"{width} x {height} pixels are more than {max_megapixels:g} megapixels "
            "(setting media.max_megapixels)"
        )


def encoded_size(data: bytes | memoryview) -> tuple[int, int]:
    """``(width, height)`` in the header of a JPEG, a PNG or a WebP.

    Raises ``ValueError`` for any other format, an animation, or a broken header.
    """
    data = bytes(data)
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(data)
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):
        raise ValueError("the picture ends within its header: cut off on the way") from None
    raise ValueError("not a JPEG, PNG or WebP picture by its first bytes")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Size from the one frame header, which precedes the first scan (ITU T.81, B.2.2)."""
    if data.count(b"\xff\xda") > _MOST_JPEG_SCANS:  # coded pixels hold no such pair of bytes
        raise ValueError(f"a JPEG of more than {_MOST_JPEG_SCANS} scans")
    sizes = []
    at = 2
    while True:
        while data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):  # padding, as decoders skip it
            at += 1
        marker, at = data[at + 1], at + 2
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # without a length
            continue
        if 0xD8 <= marker <= 0xDA:  # start of image, end of image, start of scan
            break
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            sizes.append((width, height))
        at += max(length, 2)
    if marker != 0xDA or len(sizes) != 1:
        raise ValueError(f"a JPEG with {len(sizes)} frame headers; one is right")
    return sizes[0]


def _png_size(data: bytes) -> tuple[int, int]:
    """Size from the IHDR chunk, the first one (PNG, third edition, 11.2.1)."""
    at = 8
    while (kind := data[at + 4 : at + 8]) != b"IDAT":
        if (kind == b"IHDR") != (at == 8):
            raise ValueError("a PNG whose first chunk, and no other, should be IHDR")
        if kind in _PNG_ANIMATION:
            raise ValueError("an animated PNG; a single picture is right")
        (length,) = struct.unpack_from(">I", data, at)
        at += length + 12
    return struct.unpack_from(">II", data, 16)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Size from the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:]
    if kind == b"VP8X":
        if body[0] & _WEBP_ANIMATION:
            raise ValueError("an animated WebP; a single picture is right")
        width, height = (int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
        return width + 1, height + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and body[0] == 0x2F:
        (bits,) = struct.unpack_from("<I", body, 1)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise ValueError("a WebP whose first chunk is no picture")
