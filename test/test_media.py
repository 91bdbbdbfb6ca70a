"""Reading what users have, and saying what is wrong with the rest."""

from __future__ import annotations

import logging
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from dhpe_ros.media import MediaError, list_folder, open_media
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.media.pictures import read_image, to_rgb8


def quadrants(height: int = 40, width: int = 60) -> np.ndarray:
    """RGB: red, green over blue, white; tells every turn and every swap of channels."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2, 0] = 255
    image[: height // 2, width // 2 :, 1] = 255
    image[height // 2 :, : width // 2, 2] = 255
    image[height // 2 :, width // 2 :] = 255
    return image


def write(path: Path, bgr: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), bgr)
    return path


def write_rgb(path: Path, rgb: np.ndarray) -> Path:
    return write(path, rgb[..., ::-1])


def write_clip(path: Path, count: int = 5, size: tuple[int, int] = (48, 64)) -> Path:
    with ClipWriter(path, 10.0) as clip:
        for index in range(count):
            clip.write(np.full((*size, 3), 40 * index % 256, np.uint8))
    return path


def exif_orientation(jpeg: bytes, orientation: int) -> bytes:
    """``jpeg`` with an APP1 segment that holds only the orientation tag."""
    tiff = b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    segment = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def test_png_comes_back_exactly_as_rgb(tmp_path):
    path = write_rgb(tmp_path / "q.png", quadrants())
    np.testing.assert_array_equal(read_image(path), quadrants())


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda stored: stored),
        (3, lambda stored: np.rot90(stored, 2)),
        (6, lambda stored: np.rot90(stored, -1)),
        (8, lambda stored: np.rot90(stored, 1)),
    ],
)
def test_jpeg_is_turned_upright(tmp_path, orientation, turn):
    jpeg = cv2.imencode(".jpg", quadrants()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1]
    path = tmp_path / "phone.jpg"
    path.write_bytes(exif_orientation(jpeg.tobytes(), orientation))
    image, expected = read_image(path), turn(quadrants())
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).mean() < 10


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    image = read_image(write(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_16_bit_pictures_use_the_whole_8_bit_range(tmp_path, bits):
    ramp = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    image = read_image(write(tmp_path / "deep.png", ramp))
    assert image.dtype == np.uint8
    np.testing.assert_allclose(image[..., 0].ravel(), np.arange(256), atol=1)


def test_float_picture_is_taken_from_zero_to_one():
    values = np.array([[0.0, 0.5, 1.0, 7.0, np.nan, -1.0]], np.float32)
    np.testing.assert_array_equal(to_rgb8(values)[0, :, 0], (0, 128, 255, 255, 0, 0))


def test_transparent_picture_lies_over_grey(tmp_path):
    bgra = np.zeros((2, 2, 4), np.uint8)
    bgra[0, 0] = (255, 0, 0, 255)  # opaque blue
    image = read_image(write(tmp_path / "cut.png", bgra))
    assert image[0, 0].tolist() == [0, 0, 255]
    assert image[1, 1].tolist() == [128, 128, 128]


def test_cmyk_jpeg_is_read(tmp_path):
    # OpenCV reads CMYK but cannot write it: this one, 8x8 of cyan, is put together bit by bit.
    path = tmp_path / "print.jpg"
    path.write_bytes(cmyk_jpeg())
    image = read_image(path)
    assert image.shape == (8, 8, 3)
    red, green, blue = image.reshape(-1, 3).mean(0)
    assert red < 60 < 200 < min(green, blue)


def cmyk_jpeg() -> bytes:
    """8 x 8 pixels, four components, each one DC coefficient: Adobe's inverted CMYK of cyan."""
    quantisation = b"\xff\xdb" + struct.pack(">HB", 67, 0) + bytes([8] + [1] * 63)
    components = b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3, 4))
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 20, 8, 8, 8, 4) + components
    adobe = b"\xff\xee" + struct.pack(">H", 14) + b"Adobe\x00\x64\x00\x00\x00\x00\x00"
    # Huffman: DC sizes 0 and 7 with the codes 0 and 10; AC only "end of block" with the code 0.
    dc_table = (
        b"\xff\xc4" + struct.pack(">HB", 19 + 2, 0x00) + bytes([1, 1] + [0] * 14) + b"\x00\x07"
    )
    ac_table = b"\xff\xc4" + struct.pack(">HB", 19 + 1, 0x10) + bytes([1] + [0] * 15) + b"\x00"
    scan = b"\xff\xda" + struct.pack(">HB", 14, 4)
    scan += b"".join(bytes([n, 0x00]) for n in (1, 2, 3, 4)) + b"\x00\x3f\x00"
    # DC difference +127 is "10" and seven ones, -127 "10" and seven zeros; then "0" for the block.
    low, high = "10" + "0000000" + "0", "10" + "1111111" + "0"
    bits = low + high + high + high
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    return (
        b"\xff\xd8" + adobe + quantisation + frame + dc_table + ac_table + scan + data + b"\xff\xd9"
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (4000, 6000)])
def test_unusual_sizes(tmp_path, shape):
    path = write(tmp_path / "size.jpg", np.full((*shape, 3), 200, np.uint8))
    assert read_image(path).shape == (*shape, 3)


def test_umlauts_and_spaces_in_names(tmp_path):
    path = tmp_path / "Hände im Gegenlicht 手.png"
    path.write_bytes(cv2.imencode(".png", quadrants())[1].tobytes())
    assert read_image(path).shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.jpg", b"no picture at all\n", "it holds text"),
        ("empty.jpg", b"", "is empty"),
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"no video at all\n", "is not a video"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "a damaged JPEG"),
        ("cut.png", b"\x89PNG\r\n\x1a\n\x00", "a damaged PNG"),
        ("phone.heic", b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40, "convert it to JPEG"),
        ("noise.bmp", bytes(range(256)), "damaged, or of an unknown format"),
    ],
)
def test_unreadable_file_is_named_with_the_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(MediaError, match=reason) as caught:
        list(open_media(path).frames())
    assert str(path) in str(caught.value)


def test_missing_file_and_special_file_are_named(tmp_path):
    with pytest.raises(MediaError, match=r"gone.png: no such file"):
        open_media(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MediaError, match=r"pipe: is neither a file, a folder nor a camera"):
        open_media(tmp_path / "pipe")
    with pytest.raises(MediaError, match=r"/dev/null: the camera cannot be opened"):
        open_media("/dev/null")


def test_video_has_count_rate_and_stamps(tmp_path):
    video = open_media(write_clip(tmp_path / "clip.mp4", count=6))
    frames = list(video.frames())
    assert video.count == len(frames) == 6
    assert video.rate_hz == pytest.approx(10)
    assert video.is_sequence
    assert [frame.index for frame in frames] == list(range(6))
    assert [frame.stamp_s for frame in frames] == pytest.approx([0.1 * k for k in range(6)])
    assert frames[5].image.shape == (48, 64, 3)
    assert frames[5].image.mean() == pytest.approx(200, abs=8)
    assert "clip.mp4 frame 5" in frames[5].name


def test_video_without_frames_is_an_error(tmp_path):
    whole = write_clip(tmp_path / "whole.avi").read_bytes()
    header_only = tmp_path / "header.avi"
    header_only.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(MediaError, match=r"header.avi: "):
        list(open_media(header_only).frames())


def test_video_that_breaks_off_is_read_as_far_as_it_goes(tmp_path, caplog):
    path, random = tmp_path / "cut.avi", np.random.default_rng(0)
    with ClipWriter(path) as clip:
        for _ in range(40):
            clip.write(random.integers(0, 255, (48, 64, 3), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        frames = list(open_media(path).frames())
    assert 1 <= len(frames) < 40
    assert f"ends after {len(frames)} of 40 frames" in caplog.text


def test_folder_is_read_in_natural_order(tmp_path):
    for name in ("10.png", "2.png", "1.PNG", "notes.txt", ".hidden.png"):
        if name.endswith("txt"):
            (tmp_path / name).write_text("not media")
        else:
            (tmp_path / name).write_bytes(cv2.imencode(".png", quadrants())[1].tobytes())
    write_clip(tmp_path / "3.mp4")
    assert [p.name for p in list_folder(tmp_path)] == ["1.PNG", "2.png", "3.mp4", "10.png"]
    folder = open_media(tmp_path)
    assert folder.count == 3
    assert [Path(f.name).name for f in folder.frames()] == ["1.PNG", "2.png", "10.png"]


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="holds no images or videos"):
        open_media(tmp_path)


def test_clip_fits_frames_of_other_sizes(tmp_path):
    with ClipWriter(tmp_path / "mixed.mp4") as clip:
        for shape in ((33, 65, 3), (200, 100, 3), (8, 8, 3)):
            clip.write(np.full(shape, 128, np.uint8))
    frames = list(open_media(tmp_path / "mixed.mp4").frames())
    assert [frame.image.shape for frame in frames] == [(34, 66, 3)] * 3


def test_clip_without_frames_leaves_no_file(tmp_path):
    with ClipWriter(tmp_path / "none.mp4"):
        pass
    assert not (tmp_path / "none.mp4").exists()
