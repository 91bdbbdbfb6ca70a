"""Reading what users have, and saying what is wrong with the rest."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from dhpe_ros.media import Kind, MediaError, cameras, kind_of, list_folder, open_media
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


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "mpeg4",
    container: str | None = None,
    aspect: Fraction = Fraction(1),
) -> Path:
    """A video at 25 Hz, in the container that its name tells; by PyAV's own way, not by ours."""
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height = frames[0].shape[1::-1]
        stream.pix_fmt = {"png": "rgb24", "gif": "rgb8"}.get(codec, "yuv420p")
        stream.codec_context.sample_aspect_ratio = aspect
        for frame in frames:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        output.mux(stream.encode())
    return path


def is_near(image: np.ndarray, expected: np.ndarray) -> bool:
    """True if the two differ by lossy coding alone."""
    return image.shape == expected.shape and np.abs(image.astype(int) - expected).mean() < 25


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


@pytest.mark.parametrize("suffix", [".webp", ".png", ".tif", ".heic", ".avif"])
@pytest.mark.parametrize("alpha", [False, True])
def test_pictures_of_every_format_are_turned_upright(tmp_path, suffix, alpha):
    picture, exif = Image.fromarray(quadrants()), Image.Exif()
    if alpha:
        picture.putalpha(255)
    exif[0x0112] = 6  # the camera was held upright: the file's columns are the picture's rows
    stored = picture.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / f"phone{suffix}", exif=exif.tobytes())
    assert is_near(read_image(tmp_path / f"phone{suffix}"), quadrants())


def test_deep_colours_keep_orientation_and_opacity(tmp_path):
    ramp = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)  # 12 bits in 16
    bgra = np.dstack((ramp, ramp, ramp, np.full_like(ramp, 65535)))
    path = write(tmp_path / "deep.png", bgra)
    np.testing.assert_allclose(read_image(path)[..., 0].ravel(), np.arange(256), atol=1)
    exif = b"eXIf" + b"II*\x00" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    chunk = struct.pack(">I", len(exif) - 4) + exif + struct.pack(">I", zlib.crc32(exif))
    data = path.read_bytes()
    path.write_bytes(data[:33] + chunk + data[33:])
    assert read_image(path)[:, 0, 0].tolist() == sorted(read_image(path)[:, 0, 0], reverse=False)
    assert read_image(path)[0, 0, 0] > 200, "the last row is the first column now"


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
    values = np.array([[0.0, 0.5, 1.0, 3.0, np.nan, -1.0, np.inf]], np.float32)
    np.testing.assert_array_equal(to_rgb8(values)[0, :, 0], (0, 128, 255, 255, 0, 0, 0))


@pytest.mark.parametrize("white", [255, 4095, 65535])
def test_float_picture_with_the_values_of_integers_is_not_white(white):
    values = np.array([[0.0, 0.25, 0.5, 1.0]], np.float32) * white
    np.testing.assert_array_equal(to_rgb8(values)[0, :, 0], (0, 64, 128, 255))


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [
        (".tif", (16, 16)),
        (".tif", (16, 16, 3)),
        (".hdr", (16, 16, 3)),
        (".pfm", (16, 16)),
        (".pfm", (16, 16, 3)),
    ],
)
def test_float_pictures_are_read(tmp_path, suffix, shape):
    path = write(tmp_path / f"float{suffix}", np.full(shape, 0.5, np.float32))
    assert open_media(path).count == 1
    np.testing.assert_allclose(read_image(path), np.full((16, 16, 3), 128), atol=1)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".heic"])
def test_pictures_above_the_limit_are_refused(tmp_path, suffix):
    Image.fromarray(quadrants(120, 100)).save(tmp_path / f"big{suffix}")
    with pytest.raises(MediaError, match=rf"big{suffix}: 100 x 120 .* media.max_megapixels"):
        list(open_media(tmp_path / f"big{suffix}", max_megapixels=0.01).frames())


def test_a_video_above_the_limit_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"big.mp4: 100 x 120 .* media.max_megapixels"):
        open_media(write_clip(tmp_path / "big.mp4", size=(120, 100)), max_megapixels=0.01)


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
        ("phone.heic", b"\x00\x00\x00\x18ftypheic" + b"\x00" * 40, "or convert it to JPEG"),
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


# The display matrix of MP4 maps (x, y) of the file to the screen; row by row, in 16.16 bits.
@pytest.mark.parametrize(
    ("matrix", "shown"),
    [
        ((0, 1, -1, 0), lambda stored: np.rot90(stored, -1)),
        ((-1, 0, 0, -1), lambda stored: np.rot90(stored, 2)),
        ((0, -1, 1, 0), lambda stored: np.rot90(stored, 1)),
        ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[::-1]),
        ((0, 1, 1, 0), lambda stored: stored.swapaxes(0, 1)),
    ],
)
def test_videos_are_turned_upright(tmp_path, matrix, shown):
    path = write_video(tmp_path / "phone.mp4", [quadrants(96, 128)] * 2)
    data = path.read_bytes()
    at = data.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(
        data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]
    )
    for frame in open_media(path).frames():
        assert is_near(frame.image, shown(quadrants(96, 128)))


def test_pixels_that_are_not_square_are_made_so(tmp_path):
    frames = [quadrants(96, 128)]
    wide = write_video(tmp_path / "wide.mp4", frames, aspect=Fraction(2))
    high = write_video(tmp_path / "high.mp4", frames, aspect=Fraction(1, 2))
    assert is_near(next(open_media(wide).frames()).image, quadrants(96, 256))
    assert is_near(next(open_media(high).frames()).image, quadrants(192, 128))


def test_stamps_are_those_of_the_frames(tmp_path):
    stamps = [0.0, 0.033, 0.067, 0.1, 2.1, 5.033]
    with ClipWriter(tmp_path / "phone.mp4", 30.0) as clip:
        for stamp_s in stamps:
            clip.write(quadrants(), stamp_s)
    frames = list(open_media(tmp_path / "phone.mp4").frames())
    assert [frame.stamp_s for frame in frames] == pytest.approx(stamps, abs=1e-4)


@pytest.mark.parametrize("rate", [200 / 3, 196.263, 240.0, 29.97, 1000.0, 0.5])
def test_clips_have_any_rate(tmp_path, rate):
    with ClipWriter(tmp_path / "clip.mp4", rate) as clip:
        for _ in range(4):
            clip.write(quadrants())
    video = open_media(tmp_path / "clip.mp4")
    assert video.rate_hz == pytest.approx(rate, rel=0.01)
    assert len(list(video.frames())) == 4


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [
        ("phone.3gp", "3gp", "h264"),
        ("camcorder.mts", "mpegts", "h264"),
        ("stream.flv", "flv", "h264"),
        ("no_suffix", "mp4", "h264"),
        ("not_a_picture.jpg", "matroska", "mpeg4"),
        ("raw.h264", "h264", "h264"),
        ("old.mpg", "mpeg", "mpeg2video"),
        ("moving.gif", "gif", "gif"),
        ("new.mp4", "mp4", "libsvtav1"),
    ],
)
def test_the_bytes_tell_what_a_video_is(tmp_path, name, container, codec):
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg does not write {codec}")
    frames = [quadrants(192, 256)] * 3
    path = write_video(tmp_path / name, frames, codec, container)
    assert kind_of(path) is Kind.VIDEO
    read = list(open_media(path).frames())
    assert len(read) == 3
    assert is_near(read[0].image, frames[0])
    assert [frame.stamp_s for frame in read] == pytest.approx([0, 0.04, 0.08], abs=0.011)


def test_damage_in_the_middle_costs_only_some_frames(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 255, (30, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "hit.mov", noise, "png")
    data = bytearray(path.read_bytes())
    middle = data.index(b"\x89PNG", len(data) // 2)
    data[middle : middle + 200] = bytes(200)
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert 25 <= len(list(open_media(path).frames())) < 30
    assert "hit.mov: damaged in 1 places" in caplog.text


def test_music_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mka"), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), "s16", "mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(MediaError, match="neither a picture nor a video"):
        open_media(tmp_path / "song.mka")


def test_a_playlist_is_not_followed(tmp_path):
    write_video(tmp_path / "part.ts", [quadrants(96, 128)] * 3)
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(text)
    with pytest.raises(MediaError, match="it holds text"):
        open_media(tmp_path / "list.m3u8")


def test_names_that_look_like_a_protocol_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("concat:clip.mp4", "http:clip.mp4"):
        assert len(list(open_media(write_clip(Path(name), 2)).frames())) == 2


def test_names_that_are_not_utf8(tmp_path):
    picture, clip = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.png", b"caf\xe9.mp4"))
    picture.write_bytes(cv2.imencode(".png", quadrants())[1].tobytes())
    write_clip(clip, 2)
    assert len(list(open_media(picture).frames())) == 1
    assert len(list(open_media(clip).frames())) == 2


def test_camera_frames_are_stamped_when_they_come(monkeypatch):
    class Capture:
        left = 3

        def __init__(self, *_: object) -> None:
            pass

        def isOpened(self) -> bool:  # noqa: N802, as OpenCV has it
            return True

        def get(self, _: int) -> float:
            return 30.0

        def read(self) -> tuple[bool, np.ndarray]:
            self.left -= 1
            now[0] += 0.2
            return self.left >= 0, quadrants()[..., ::-1]

        def release(self) -> None:
            pass

    now = [0.0]
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.setattr(cameras.time, "monotonic", lambda: now[0])
    frames = []
    with pytest.raises(MediaError, match="the camera stopped after 3 frames"):
        frames.extend(open_media("/dev/null").frames())  # any device will do
    assert [frame.stamp_s for frame in frames] == pytest.approx([0.0, 0.2, 0.4])
    np.testing.assert_array_equal(frames[0].image, quadrants())


def test_video_without_frames_is_an_error(tmp_path):
    whole = write_clip(tmp_path / "whole.avi").read_bytes()
    header_only = tmp_path / "header.avi"
    header_only.write_bytes(whole[: whole.index(b"movi") + 4])
    with pytest.raises(MediaError, match=r"header.avi: "):
        list(open_media(header_only).frames())


def test_video_that_breaks_off_is_read_as_far_as_it_goes(tmp_path, caplog):
    path, random = tmp_path / "cut.avi", np.random.default_rng(0)
    with av.open(str(path), "w") as clip:
        stream = clip.add_stream("mjpeg", rate=10, width=64, height=48, pix_fmt="yuvj420p")
        for _ in range(40):
            pixels = random.integers(0, 255, (48, 64, 3), np.uint8)
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        clip.mux(stream.encode())
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


def test_what_a_folder_holds_beside_pictures_is_named_once(tmp_path, caplog):
    for name in ("a.heic", "b.avif", "c.jfif", "d.jpe", "e"):
        kind = {"a.heic": "HEIF", "b.avif": "AVIF"}.get(name, "JPEG")
        Image.fromarray(quadrants()).save(tmp_path / name, format=kind)
    (tmp_path / "cut_off.jpg").write_bytes(b"")  # an error for whoever reads it
    for name in ("notes.txt", "hands.json", "mesh.obj"):
        (tmp_path / name).write_text("# {}")
    (tmp_path / "sub").mkdir()
    with caplog.at_level(logging.WARNING):
        found = [path.name for path in list_folder(tmp_path)]
    assert found == ["a.heic", "b.avif", "c.jfif", "cut_off.jpg", "d.jpe", "e"]
    (record,) = caplog.records
    assert (
        "neither image nor video: 4 (hands.json, mesh.obj, notes.txt, sub/)" in record.getMessage()
    )


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(MediaError, match="holds no images or videos"):
        open_media(tmp_path)


def test_clip_of_very_large_frames_is_shrunk(tmp_path):
    with ClipWriter(tmp_path / "wide.mp4") as clip:
        clip.write(np.full((60, 70000, 3), 128, np.uint8))
    (frame,) = open_media(tmp_path / "wide.mp4").frames()
    assert frame.image.shape == (8, 8192, 3)
    assert is_near(frame.image, np.full((8, 8192, 3), 128, np.uint8))


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


def test_a_folder_of_16_bit_pictures_does_not_flicker(tmp_path):
    for index, value in enumerate((1000, 4000, 1000)):
        write(tmp_path / f"{index}.png", np.full((4, 4), value, np.uint16))
    brightness = [frame.image[0, 0, 0] for frame in open_media(tmp_path).frames()]
    assert brightness == [250, 250, 62]
