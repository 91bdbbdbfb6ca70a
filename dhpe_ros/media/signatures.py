"""Signatures: the first bytes of a file that name its format, also where it cannot be decoded."""

from __future__ import annotations

from pathlib import Path

_BEGINNINGS = {
    b"\xff\xd8\xff": "a damaged JPEG",
    b"\x89PNG": "a damaged PNG",
    b"II*\x00": "a damaged TIFF",
    b"MM\x00*": "a damaged TIFF",
}
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"))


def is_picture_signature(head: bytes) -> bool:
    """True for the first bytes of a picture; it may be damaged, or its decoder missing."""
    return _is_heif(head) or head.startswith(tuple(_BEGINNINGS))


def read_head(path: Path) -> bytes:
    """The first 64 bytes of a file."""
    with path.open("rb") as file:
        return file.read(64)


def looks_like(path: Path) -> str:
    """Description of an unreadable file by its first bytes, for an error message."""
    head = read_head(path)
    if _is_heif(head):
        return (
            "HEIC or AVIF, damaged or without a decoder here: pip install pillow-heif, or convert "
            "it to JPEG"
        )
    for beginning, meaning in (_BEGINNINGS | {b"%PDF": "a PDF"}).items():
        if head.startswith(beginning):
            return meaning
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return "it holds text" if is_text else "damaged, or of an unknown format"


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS
