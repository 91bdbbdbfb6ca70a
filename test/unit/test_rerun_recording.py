"""Recordings for rerun, read back by its SDK."""

import cv2
import numpy as np
import pytest
from fake_tracker import make_hand

pytest.importorskip("rerun", reason="rerun-sdk is not installed (requirements/rerun.txt)")
from rerun.chunk import RrdReader

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.frames import Frame
from dhpe_ros.media.rerun_recording import RerunRecording
from dhpe_ros.types import Side

HANDS = [make_hand(track_id=4), make_hand(side=Side.LEFT, track_id=7)]
DEPTH_M = np.full((240, 320), 0.8, np.float32)
DEPTH_M[:9] = np.nan
CAMERA = Camera(300, 310, 159.5, 119.5, 320, 240)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A picture with two hands, one with the second of them, one without."""
    path = tmp_path_factory.mktemp("rerun") / "hands.rrd"
    image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    with RerunRecording(path, depth=True) as written:
        for k, hands in enumerate((HANDS, HANDS[1:], [])):
            frame = Frame(image, "clip frame", k, stamp_s=0.25 * k, depth_m=DEPTH_M if k else None)
            written.write("clip.mp4", frame, CAMERA, hands)
    return RrdReader(path)


@pytest.fixture(scope="module")
def rows(recording):
    """Entity -> (picture, stamp in nanoseconds, values by component) of each of its rows."""
    found = {}
    for chunk in recording.stream().to_chunks():
        if not chunk.is_static:
            batch = chunk.to_record_batch()
            stamps = batch.column("stamp").cast("int64").to_pylist()
            names = [name for name in batch.schema.names if name not in ("picture", "stamp")]
            for k, picture in enumerate(batch.column("picture").to_pylist()):
                values = {name: batch.column(name)[k].as_py() for name in names}
                found.setdefault(chunk.entity_path, []).append((picture, stamps[k], values))
    return {name: sorted(of, key=lambda row: row[0]) for name, of in found.items()}


def test_every_picture_is_there_at_its_time(rows):
    pictures = rows["/camera/image"]
    assert [row[:2] for row in pictures] == [(0, 0), (1, 25 * 10**7), (2, 5 * 10**8)]
    values = pictures[2][2]
    assert (values["input"], values["frame"]) == (["clip.mp4"], [2])
    (blob,) = values["EncodedImage:blob"]
    assert cv2.imdecode(np.frombuffer(bytes(blob), np.uint8), cv2.IMREAD_COLOR).shape == (
        240,
        320,
        3,
    )
    matrix = np.reshape(rows["/camera"][0][2]["Pinhole:image_from_camera"], (3, 3)).T
    np.testing.assert_allclose(matrix, ((300, 0, 159.5), (0, 310, 119.5), (0, 0, 1)))


@pytest.mark.parametrize(("hand", "pictures"), [(HANDS[0], [0]), (HANDS[1], [0, 1])])
def test_hands_are_in_the_picture_and_in_space(rows, hand, pictures):
    found = {name: rows[f"/hands/{hand.track_id}/{name}"] for name in ("joints", "bones", "mesh")}
    found["flat"] = rows[f"/camera/hands/{hand.track_id}/joints"]
    for of in found.values():
        assert [row[0] for row in of] == pictures
    last = {name: of[-1][2] for name, of in found.items()}
    np.testing.assert_array_equal(last["flat"]["Points2D:positions"], hand.joints_px)
    np.testing.assert_array_equal(last["joints"]["Points3D:positions"], hand.joints_m)
    np.testing.assert_array_equal(last["mesh"]["Mesh3D:vertex_positions"], hand.vertices_m)
    np.testing.assert_array_equal(last["mesh"]["Mesh3D:triangle_indices"], hand.triangles)
    assert last["mesh"]["side"] == [hand.side.name.lower()]
    strips = np.array(last["bones"]["LineStrips3D:strips"])
    np.testing.assert_array_equal(strips[0], hand.joints_m[[0, 1]])
    assert strips.shape == (20, 2, 3)


def test_depth_is_there_in_millimetres(rows):
    depths = rows["/camera/depth"]
    assert [row[0] for row in depths] == [1, 2]
    values = depths[0][2]
    pixels = np.frombuffer(bytes(values["DepthImage:buffer"][0]), np.uint16).reshape(240, 320)
    assert values["DepthImage:meter"] == [1000]
    np.testing.assert_array_equal(pixels[9:], 800)
    np.testing.assert_array_equal(pixels[:9], 0)


def test_hands_of_the_picture_before_are_cleared(rows):
    for entity in ("/hands", "/camera/hands"):
        cleared = [(picture, v["Clear:is_recursive"]) for picture, _, v in rows[entity]]
        assert cleared == [(k, [True]) for k in range(3)]


def test_the_layout_is_in_the_file(recording):
    assert len(recording.recordings()) == len(recording.blueprints()) == 1
