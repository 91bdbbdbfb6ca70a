"""Encoded pictures, whole ones and ones that claim what they are not."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 53, 37
NOISE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)


def encoded(kind, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(NOISE[..., : len(mode)].squeeze(), mode).save(file, kind, **options)
    return file.getvalue()


def animated(kind):
    return encoded(kind, save_all=True, append_images=[Image.fromarray(255 - NOISE[..., :3])])


def jpeg_that_claims(width, height, headers=1):
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\x01\x11\0" * 3
    return b"\xff\xd8\xff\xfe\0\x04ab" + frame * headers + b"\xff\xda\0\x0c\x03" + bytes(9)


def png_that_claims(width, height):
    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(2**20)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def webp_that_claims(width, height):
    whole = bytearray(encoded("WEBP", lossless=True))
    (bits,) = struct.unpack_from("<I", whole, 21)
    struct.pack_into("<I", whole, 21, bits >> 28 << 28 | (height - 1) << 14 | width - 1)
    return bytes(whole)


WHOLE = {
    "jpeg": encoded("JPEG"),
    "progressive": encoded("JPEG", progressive=True),
    "grey jpeg": encoded("JPEG", "L"),
    "exif": encoded("JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"),
    "png": encoded("PNG"),
    "alpha png": encoded("PNG", "RGBA"),
    "lossy webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "alpha webp": encoded("WEBP", "RGBA"),
}
