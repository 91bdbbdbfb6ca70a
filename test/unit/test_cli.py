"""``dhpe`` as users call it; the networks are untrained except where a test says otherwise."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from fake_tracker import make_hand

from dhpe_ros import __version__
from dhpe_ros.cli import predict_files, predict_worker, prediction
from dhpe_ros.cli.main import main
from dhpe_ros.cli.output_names import OutputNames, remove_results
from dhpe_ros.cli.predict_files import hand_as_mapping, write_hand_mesh, write_json
from dhpe_ros.geometry.grasp import UNKNOWN
from dhpe_ros.hand.mano_file import read_mano_file
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media import MediaError, open_media
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.media.frames import Frame
from dhpe_ros.networks.weights import build_networks, hand_model_path, save_networks
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.ros.demo.report import Findings, Truth

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "dhpe_ros" / "assets" / "demo_clip.mp4"
HAND_KEYS = {
    "side", "score", "box_px", "joints_px", "joints_m", "joint_names", "joint_stds_m",
    "joint_confidences", "joint_orientations", "joint_angles", "occluded", "parameters",
    "mano", "contact_distances", "intrinsics_known", "scale", "scale_std", "residual_px",
}  # fmt: skip


@pytest.fixture(scope="module")
def untrained(tmp_path_factory) -> list[str]:
    """Options for networks that see a hand in everything; with a box, as the search takes time."""
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    save_networks(build_networks("lite"), folder / "lite.safetensors", {})
    (folder / "all.yaml").write_text("tracking: {min_score: 0.0, box: '0,0,60,60'}\n")
    options = ["--weights", str(folder / "lite.safetensors"), "--backend", "eager"]
    return [*options, "--config", str(folder / "all.yaml"), "--refine", "0"]


@pytest.fixture
def predict(untrained, tmp_path):
    """Runs ``dhpe predict`` into ``tmp_path/out``; gives the exit code."""

    def run(*arguments: object) -> int:
        options = ["--output", str(tmp_path / "out"), *untrained]
        return main(["predict", *options, *(str(argument) for argument in arguments)])

    return run


def picture(path: Path, seed: int = 0, shape: tuple[int, int] = (60, 80)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (*shape, 3), np.uint8)
    path.write_bytes(cv2.imencode(path.suffix, noise)[1].tobytes())
    return path


def video(path: Path, count: int = 3) -> Path:
    with ClipWriter(path, 10.0) as clip:
        for index in range(count):
            clip.write(np.full((64, 64, 3), 60 + 40 * index, np.uint8))
    return path


def names(folder: Path) -> set[str]:
    """Files of a folder but for the record of what is finished."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".dhpe_predict.")}


def test_an_image_gives_json_overlay_and_mesh(predict, tmp_path, capsys):
    path = picture(tmp_path / "hand.png")
    assert predict(path) == 0
    assert names(tmp_path / "out") == {"hand.json", "hand_overlay.jpg", "hand_0.obj"}
    content = json.loads((tmp_path / "out/hand.json").read_text())
    assert content.keys() == {"image", "camera", "hands"}
    assert content["image"] == str(path)
    (hand,) = content["hands"]
    assert hand.keys() == HAND_KEYS
    assert hand["side"] in ("left", "right")
    assert 0 <= hand["score"] <= 1
    assert np.shape(hand["box_px"]) == (4,)
    assert np.shape(hand["joints_px"]) == (21, 2)
    assert np.shape(hand["joints_m"]) == (21, 3)
    assert np.shape(hand["parameters"]) == (63,)
    assert np.shape(hand["residual_px"]) == (2,)
    sizes = {key: np.size(value) for key, value in hand["mano"].items()}
    assert sizes == {"global_orient": 3, "hand_pose": 45, "betas": 10, "transl": 3, "scale": 1}
    camera = content["camera"]
    assert (camera["known"], camera["width"], camera["height"]) == (False, 80, 60)
    assert (camera["k"][2], camera["k"][5]) == (39.5, 29.5)
    assert hand["intrinsics_known"] is False
    assert hand["joint_stds_m"] == [None] * 21  # without intrinsics the distance is unknown
    assert np.shape(hand["joint_orientations"]) == (21, 4)
    assert len(hand["joint_angles"]) == 20
    assert len(hand["joint_names"]) == len(hand["occluded"]) == 21
    assert cv2.imread(str(tmp_path / "out/hand_overlay.jpg")).shape == (60, 80, 3)
    lines = (tmp_path / "out/hand_0.obj").read_text().splitlines()
    kinds = [line.split()[0] for line in lines]
    assert [kinds.count(kind) for kind in ("v", "vn", "f")] == [778, 778, 1538]
    output = capsys.readouterr()
    assert re.search(r"1 image, 1 hand in \d+\.\d s .* -> .*out", output.out)
    assert "image/s" not in output.err  # no progress bar for a single image


@pytest.mark.parametrize("kind", ["ply", "glb"])
def test_meshes_come_in_other_formats(predict, tmp_path, kind):
    clip = video(tmp_path / "clip.mp4", 1)
    assert predict(picture(tmp_path / "hand.png"), clip, "--mesh", kind) == 0
    meshes = {name for name in names(tmp_path / "out") if re.fullmatch(r".*_\d\.\w+", name)}
    assert meshes == {f"hand_0.{kind}", f"clip_0.{kind}"}
    mesh = trimesh.load_mesh(tmp_path / "out" / f"hand_0.{kind}", process=False)
    assert (mesh.vertices.shape, mesh.faces.shape) == ((778, 3), (1538, 3))
    (tmp_path / "out" / f"hand_0.{kind}").replace(tmp_path / "out" / f"hand_1.{kind}")
    assert predict(tmp_path / "hand.png") == 0  # into the same folder, as OBJ
    assert f"hand_0.{kind}" not in names(tmp_path / "out")


def test_a_table_holds_every_hand_of_every_picture(predict, tmp_path):
    table = tmp_path / "new" / "hands.csv"
    inputs = picture(tmp_path / "hand.png"), video(tmp_path / "clip.mp4", 3)
    assert predict(*inputs, "--csv", table) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["frame"]) for row in rows] == [
        (str(inputs[0]), "0"), *((str(inputs[1]), str(k)) for k in range(3))
    ]  # fmt: skip
    content = json.loads((tmp_path / "out/clip_000002.json").read_text())
    (hand,), row = content["hands"], rows[-1]
    assert len(row) == 8 + 21 * 5 + 63
    for key in ("side", "scale"):
        assert row[key] == hand[key]
    assert (float(row["stamp_s"]), int(row["track_id"])) == (0.2, hand["track_id"])
    read = [float(row[f"index4_{axis}_m"]) for axis in "xyz"]
    np.testing.assert_allclose(read, hand["joints_m"][8], atol=1e-6)
    read = [float(row[f"wrist_{axis}_px"]) for axis in "xy"]
    np.testing.assert_allclose(read, hand["joints_px"][0], atol=1e-3)
    read = [float(row[f"parameter_{k}"]) for k in range(63)]
    np.testing.assert_allclose(read, hand["parameters"], atol=1e-6)


def test_a_recording_for_rerun_holds_all_inputs(predict, tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is not installed (requirements/rerun.txt)")
    from rerun.chunk import RrdReader

    inputs = picture(tmp_path / "hand.png"), video(tmp_path / "clip.mp4", 2)
    assert predict(*inputs, "--rerun", tmp_path / "hands.rrd") == 0
    chunks = RrdReader(tmp_path / "hands.rrd").stream().to_chunks()
    images = [c for c in chunks if c.entity_path == "/camera/image"]
    found = [name for c in images for (name,) in c.to_record_batch().column("input").to_pylist()]
    assert sorted(found) == sorted(map(str, (inputs[0], inputs[1], inputs[1])))


class DepthRecording:
    """A recording of one frame whose depth is the same everywhere."""

    name, count, rate_hz, is_sequence = "recording", 1, None, True

    def __init__(self, depth_m: float) -> None:
        self._depth_m = np.full((60, 80), depth_m, np.float32)

    def frames(self):
        image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
        yield Frame(image, self.name, depth_m=self._depth_m)


def test_depth_of_a_recording_places_the_hand_and_what_it_holds(predict, tmp_path, monkeypatch):
    asked, places_m = [], []
    assert predict(picture(tmp_path / "alone.png")) == 0
    (hand,) = json.loads((tmp_path / "out/alone.json").read_text())["hands"]
    near_m = hand["joints_m"][9][2]  # of the untrained hand, without depth

    def grasps(hands, depth_m, camera, reach_m):
        return [replace(UNKNOWN, distances_m=np.full(5, depth_m[0, 0] + reach_m)) for _ in hands]

    monkeypatch.setattr(predict_worker, "find_grasps", grasps)
    for depth_m in (near_m, 1.1 * near_m):

        def opened(*given, depth_m=depth_m):
            asked.append(given)
            return DepthRecording(depth_m)

        monkeypatch.setattr(prediction, "open_media", opened)
        assert predict(picture(tmp_path / "bag.mcap.png"), "--depth", "/camera/depth") == 0
        (hand,) = json.loads((tmp_path / "out/recording_000000.json").read_text())["hands"]
        assert hand["scale"] == "depth"
        assert hand["contact_distances"] == pytest.approx([depth_m + 0.05] * 5, abs=1e-6)
        places_m.append(hand["joints_m"][9][2])
    # Of an untrained hand not all vertices have a plausible depth, and not the same at both.
    assert places_m[1] == pytest.approx(1.1 * places_m[0], rel=0.05)
    assert all("/camera/depth" in given for given in asked)


def test_without_rerun_the_remedy_is_named(predict, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.delitem(sys.modules, "dhpe_ros.media.rerun_recording", raising=False)
    assert predict(picture(tmp_path / "hand.png"), "--rerun", tmp_path / "hands.rrd") == 2
    error = capsys.readouterr().err
    assert "hands.rrd: needs the package rerun-sdk" in error
    assert "pip install rerun-sdk" in error


def test_many_images_have_a_progress_bar(predict, tmp_path, capsys):
    assert predict(*(picture(tmp_path / f"{k}.png", k) for k in range(3))) == 0
    output = capsys.readouterr()
    assert "3/3" in output.err
    assert "3 images, 3 hands" in output.out


def test_what_fails_is_named_and_the_rest_is_done(predict, tmp_path, capsys):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    good = picture(tmp_path / "good.png")
    bad = [tmp_path / name for name in ("text.jpg", "empty.png", "missing.jpg", "folder")]
    assert predict(*bad, good) == 1
    output = capsys.readouterr()
    for path in bad:
        assert f"dhpe: error: {path}: " in output.err
    assert "1 image, 1 hand, 4 failed" in output.out
    assert "Traceback" not in output.err
    assert "good.json" in names(tmp_path / "out")


@pytest.mark.parametrize("shape", [(1, 1), (7, 21), (4000, 6000)])
def test_images_of_unusual_size(predict, tmp_path, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    cv2.imwrite(str(tmp_path / "odd.png"), image)
    assert predict(tmp_path / "odd.png", "--box", "full") == 0
    assert cv2.imread(str(tmp_path / "out/odd_overlay.jpg")).shape == image.shape


def test_equal_stems_do_not_replace_each_other(predict, tmp_path, capsys):
    paths = [tmp_path / "hand.png", tmp_path / "hand.jpg", tmp_path / "other/Hand.png"]
    assert predict(*(picture(path, seed) for seed, path in enumerate(paths))) == 0
    written = [tmp_path / f"out/{stem}.json" for stem in ("hand", "hand_2", "Hand_3")]
    assert [json.loads(p.read_text())["image"] for p in written] == [str(p) for p in paths]
    assert f"{paths[1]}: written as hand_2" in capsys.readouterr().err


def test_names_stay_apart_from_frames_and_from_inputs(tmp_path):
    outputs = OutputNames(tmp_path, [tmp_path / "a.png", tmp_path / "a_overlay.jpg"])
    assert outputs.claim(tmp_path / "a.png", is_sequence=False) == "a_2"
    assert outputs.claim(tmp_path / "clip.mp4", is_sequence=True) == "clip"
    assert outputs.claim(tmp_path / "clip_000003.png", is_sequence=False) == "clip_000003_2"
    assert outputs.claim(tmp_path / "walk_000003.png", is_sequence=False) == "walk_000003"
    assert outputs.claim(tmp_path / "walk.mp4", is_sequence=True) == "walk_2"


def test_results_of_an_earlier_run_go_and_the_rest_stays(tmp_path):
    hand = make_hand()
    for stem in ("hand", "hand_0", "clip_000000", "clip_000001", "other"):
        write_json(tmp_path / f"{stem}.json", {"image": "x", "hands": []})
    for stem in ("hand_0", "hand_1", "hand_0_0", "clip_0", "clip_000001_0", "other_0"):
        write_hand_mesh(tmp_path / f"{stem}.obj", hand, "x")
    for name in ("hand_0.ply", "hand_0.glb", "clip_0.glb", "other_0.ply"):
        write_hand_mesh(tmp_path / name, hand, "x")
    others = {"hand_2.obj", "hand_1.ply", "clip_000002.json"}
    for name in ("hand_overlay.jpg", "clip_overlay.mp4", *others):
        (tmp_path / name).write_text("somebody else's, or what cannot tell")
    remove_results(tmp_path, "hand", is_sequence=False)
    remove_results(tmp_path, "clip", is_sequence=True)
    kept = {"hand_0.json", "hand_0_0.obj", "other.json", "other_0.obj", "other_0.ply"}
    assert names(tmp_path) == kept | others


def test_a_second_run_into_its_own_folder_gives_the_same_files(untrained, tmp_path, capsys):
    picture(tmp_path / "hand.png")
    video(tmp_path / "clip.mp4", count=2)
    command = ["predict", "--output", str(tmp_path), *untrained]
    assert main([*command, str(tmp_path)]) == 0
    written = names(tmp_path)
    write_hand_mesh(tmp_path / "hand_1.obj", make_hand(), "hand.png")  # of a run that found two
    assert main([*command, str(tmp_path)]) == 0
    assert main([*command, *(str(path) for path in sorted(tmp_path.iterdir()))]) == 0
    assert names(tmp_path) == written
    output = capsys.readouterr()
    assert output.out.count("3 images") == 3
    assert "hand_overlay.jpg: left out, written by an earlier run" in output.err


def test_names_and_sizes_that_no_output_can_have_cost_nobody_else(predict, tmp_path, capsys):
    long, latin = "n" * 248, os.fsdecode(b"caf\xe9")
    picture(tmp_path / f"{long}.jpg")
    picture(tmp_path / f"{latin}.jpg")
    wide = picture(tmp_path / "wide.png", shape=(8, 70_000))
    good = picture(tmp_path / "good.jpg")
    missing = tmp_path / ("m" * 300)
    assert predict(missing, tmp_path / f"{long}.jpg", tmp_path / f"{latin}.jpg", wide, good) == 1
    written = names(tmp_path / "out")
    assert {"good.json", "wide.json", f"{latin}.json", f"{latin}_0.obj"} <= written
    assert [name for name in written if name.startswith("nnn") and name.endswith("overlay.jpg")]
    assert cv2.imread(str(tmp_path / "out/wide_overlay.jpg")).shape == (7, 65_500, 3)
    output = capsys.readouterr()
    assert "4 images, 4 hands, 1 failed" in output.out
    assert output.err.count("dhpe: error: ") == 1
    assert "File name too long" in output.err


def test_a_folder_stands_for_its_images_and_videos(predict, tmp_path):
    picture(tmp_path / "in/b.png")
    picture(tmp_path / "in/a.jpg")
    video(tmp_path / "in/c.mp4", count=2)
    (tmp_path / "in/notes.txt").write_text("not media")
    assert predict(tmp_path / "in") == 0
    expected = {"a.json", "b.json", "c_000000.json", "c_000001.json", "c_overlay.mp4"}
    assert expected <= names(tmp_path / "out")


def test_a_video_gives_json_per_frame_a_clip_and_one_mesh_per_track(predict, tmp_path):
    assert predict(video(tmp_path / "wave.mp4", count=4)) == 0
    out = tmp_path / "out"
    frames = {f"wave_{k:06d}.json" for k in range(4)}
    assert names(out) == frames | {"wave_overlay.mp4", "wave_0.obj"}
    content = json.loads((out / "wave_000003.json").read_text())
    assert (content["frame"], content["stamp_s"]) == (3, pytest.approx(0.3))
    assert content["hands"][0].keys() == HAND_KEYS | {"track_id"}
    assert open_media(out / "wave_overlay.mp4").count == 4


def test_without_pyav_videos_are_refused_with_the_remedy(predict, tmp_path, capsys, monkeypatch):
    image, clip = picture(tmp_path / "hand.png"), video(tmp_path / "clip.mp4")
    monkeypatch.setitem(sys.modules, "av", None)
    for module in ("videos", "clips"):
        monkeypatch.delitem(sys.modules, f"dhpe_ros.media.{module}", raising=False)
    assert predict(image, clip) == 1
    error = capsys.readouterr().err
    assert f"dhpe: error: {clip}: needs the package av" in error
    assert "pip install av" in error
    assert (tmp_path / "out" / "hand.json").is_file()


def test_a_video_can_be_written_as_a_recording_of_the_node_s_topics(predict, tmp_path):
    rosbags = pytest.importorskip("rosbags.highlevel", reason="needs the rosbags package")
    assert predict(video(tmp_path / "clip.mp4", 3), "--bag", "mcap") == 0
    with rosbags.AnyReader([tmp_path / "out" / "clip_bag"]) as reader:
        counts = {name: info.msgcount for name, info in reader.topics.items()}
        stamps = [stamp for _, stamp, _ in reader.messages() if stamp]
    assert counts == dict.fromkeys(
        ("/hand/hands", "/hand/meshes", "/hand/mask", "/hand/camera_info", "/hand/points"), 3
    )
    assert min(stamps) == pytest.approx(1e9 / 10, rel=0.01)
    assert not [name for name in names(tmp_path / "out") if name.startswith(".")]


def test_a_video_can_be_cut_short_and_give_every_mesh(predict, tmp_path):
    assert predict(video(tmp_path / "wave.mp4", count=4), "--frames", 2, "--every-mesh") == 0
    meshes = {"wave_000000_0.obj", "wave_000001_0.obj"}
    frames = {"wave_000000.json", "wave_000001.json"}
    assert names(tmp_path / "out") == frames | meshes | {"wave_overlay.mp4"}


def test_an_image_without_a_hand_is_no_error(predict, tmp_path, capsys):
    (tmp_path / "none.yaml").write_text("tracking: {min_score: 1.0}\n")
    assert predict(picture(tmp_path / "wall.png"), "--config", tmp_path / "none.yaml") == 0
    assert json.loads((tmp_path / "out/wall.json").read_text())["hands"] == []
    assert names(tmp_path / "out") == {"wall.json", "wall_overlay.jpg"}
    assert "1 without a hand" in capsys.readouterr().out


def test_intrinsics_place_the_hand(predict, tmp_path):
    path = picture(tmp_path / "hand.png")
    joints = []
    for focal in (500, 1000):
        assert predict(path, "--intrinsics", f"{focal},{focal},39.5,29.5") == 0
        content = json.loads((tmp_path / "out/hand.json").read_text())
        joints.append(np.array(content["hands"][0]["joints_m"]))
    assert joints[1][9, 2] == pytest.approx(2 * joints[0][9, 2], rel=0.02)


def test_the_lens_counts_where_the_intrinsics_name_it(predict, tmp_path):
    path = picture(tmp_path / "hand.png")
    angles = []
    for lens in ("", ",equidistant,0,0,0,0"):
        assert predict(path, "--box", "0,0,12,12", "--intrinsics", f"40,40,39.5,29.5{lens}") == 0
        (hand,) = json.loads((tmp_path / "out/hand.json").read_text())["hands"]
        x, y, z = hand["joints_m"][9]
        angles.append(np.arctan2(np.hypot(x, y), z))
    assert angles[1] > angles[0] + 0.1  # an angle, not its arc tangent


def test_intrinsics_that_cannot_be_the_picture_s_are_said_and_not_used(predict, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        picture(tmp_path / "in" / name, shape=(320, 240))
    assert predict(tmp_path / "in", "--intrinsics", "160,120,480,480") == 0
    said = capsys.readouterr().err
    assert said.count("cx=480, lies outside the picture of 240x320 pixels") == 1
    assert "in/a.png: --intrinsics" in said
    hands = json.loads((tmp_path / "out/b.json").read_text())["hands"]
    assert [hand["intrinsics_known"] for hand in hands] == [False]


def test_the_box_says_where_to_look(predict, tmp_path, capsys):
    path = picture(tmp_path / "hand.png", shape=(200, 300))
    assert predict(path, "--box", "200,100,60,60") == 0
    box = json.loads((tmp_path / "out/hand.json").read_text())["hands"][0]["box_px"]
    center = np.array(box[:2]) + np.array(box[2:]) / 2
    assert np.abs(center - (230, 130)).max() < 80
    assert predict(path, "--box", "900,0,50,50") == 1
    assert f"{path}: the box 900,0,50,50 is outside its 300x200 pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--box", "1,2,3"], "a box is 'x,y,width,height'"),
        (["--box", "1,2,0,4"], "positive width and height"),
        (["--box", "1,2,nan,4"], "must be finite"),
        (["--intrinsics", "500,500"], "--intrinsics: intrinsics are 'fx,fy,cx,cy"),
        (["--intrinsics", "500,500,a,b"], "--intrinsics: intrinsics are 'fx,fy,cx,cy"),
        (["--intrinsics", "0,0,320,240"], "fx, fy > 0"),
        (["--intrinsics", "500,500,320,240,omni,0.1"], "'omni' is not known; known are plumb_bob"),
        (["--intrinsics", "500,500,320,240,plumb_bob,0.1"], "coefficients, got 1"),
        (["--refine", "-1"], "refinement.steps must be >= 0"),
        (["--refine", "many"], "--refine: invalid int value"),
        (["--frames", "0"], "--frames must be >= 1"),
        (["--profile", "medium"], "--profile: invalid choice"),
        (["--mesh", "stl"], "--mesh: invalid choice"),
        (["--csv", "hands.txt"], "--csv: must end in .csv, got 'hands.txt'"),
        (["--rerun", "clip.mp4"], "--rerun: must end in .rrd, got 'clip.mp4'"),
        (["--csv", "{tmp}/text.npz/hands.csv"], "cannot write to --csv"),
        (["--device", "abacus"], "abacus"),
        (["--hand-model", "{tmp}/none.npz"], "none.npz"),
        (["--hand-model", "{tmp}/text.npz"], "text.npz"),
        (["--hand-model", "{tmp}/text.pkl"], "text.pkl"),
        (["--weights", "{tmp}/none.safetensors"], "none.safetensors"),
        (["--weights", "{tmp}/text.npz"], "text.npz"),
        (["--config", "{tmp}/none.yaml"], "none.yaml"),
        (["--config", "{tmp}/typo.yaml"], "did you mean refinement.steps"),
        (["--config", "{tmp}/broken.yaml"], "broken.yaml"),
        (["--output", "{tmp}/text.npz"], "cannot write to --output"),
        (["--output", "{tmp}/text.npz/out"], "cannot write to --output"),
        (["--output", "/proc/dhpe"], "cannot write to --output"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(predict, tmp_path, capsys, options, says):
    for name in ("text.npz", "text.pkl"):
        (tmp_path / name).write_text("neither weights nor a hand")
    (tmp_path / "typo.yaml").write_text("refinement: {step: 3}\n")
    (tmp_path / "broken.yaml").write_text("refinement: {steps: [\n")
    given = [option.format(tmp=tmp_path) for option in options]
    assert predict(picture(tmp_path / "hand.png"), *given) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("dhpe: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["predict"], ["predict", "a.png"], ["fly"]])
def test_incomplete_command_lines(capsys, arguments):
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("dhpe: error: ")


def test_a_full_disk_ends_the_run(predict, tmp_path, capsys, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict_files, "write_json", full)
    assert predict(picture(tmp_path / "a.png"), picture(tmp_path / "b.png")) == 2
    assert "No space left on device" in capsys.readouterr().err


def test_ctrl_c_leaves_what_is_done(predict, tmp_path, capsys, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predict_files, "write_overlay", interrupted)
    assert predict(picture(tmp_path / "a.png")) == 130
    assert "0 images" in capsys.readouterr().out
    assert (tmp_path / "out/a.json").exists()


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (MediaError("clip", "is damaged"), 1)]
)
def test_a_video_that_ends_early_keeps_its_meshes(predict, tmp_path, monkeypatch, error, code):
    process, seen = predict_worker.HandTracker.process, []

    def ending(self, *arguments, **named):
        seen.append(arguments)
        if len(seen) == 3:
            raise error
        return process(self, *arguments, **named)

    monkeypatch.setattr(predict_worker.HandTracker, "process", ending)
    assert predict(video(tmp_path / "clip.mp4", 4)) == code
    written = names(tmp_path / "out")
    assert {"clip_000000.json", "clip_000001.json", "clip_overlay.mp4", "clip_0.obj"} <= written
    assert "clip_000002.json" not in written


def test_a_failure_inside_costs_only_that_image(predict, tmp_path, capsys, monkeypatch):
    estimate = HandPipeline.estimate

    def moody(self, image, *arguments):
        if image.shape[0] == 61:
            raise RuntimeError("out of memory")
        return estimate(self, image, *arguments)

    monkeypatch.setattr(HandPipeline, "estimate", moody)
    bad, good = picture(tmp_path / "a.png", shape=(61, 80)), picture(tmp_path / "b.png")
    assert predict(bad, good) == 1
    assert f"{bad}: RuntimeError: out of memory" in capsys.readouterr().err
    assert "b.json" in names(tmp_path / "out")


def test_numbers_that_json_cannot_say_become_null(tmp_path):
    hand = make_hand()
    hand.joints_m[3] = np.nan, np.inf, 0.5
    write_json(tmp_path / "x.json", hand_as_mapping(hand, HandModel(hand_model_path())))
    read = json.loads((tmp_path / "x.json").read_text())
    assert read["joints_m"][3] == [None, None, 0.5]
    np.testing.assert_allclose(read["joints_m"][4], hand.joints_m[4], atol=1e-6)


def test_json_keeps_numbers_and_text(tmp_path):
    content = {"a": [[1.0, 2.5], [3, 4]], "text": "[1,\n 2]"}
    write_json(tmp_path / "x.json", content)
    assert json.loads((tmp_path / "x.json").read_text()) == content


def test_version_and_help_need_no_torch():
    code = (
        "import sys; from dhpe_ros.cli.main import main\n"
        "for asked in (['--version'], ['--help'], ['predict', '--help']): assert main(asked) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"dhpe {__version__}" in done.stdout
    assert "STEM_overlay.jpg" in done.stdout


def test_predict_needs_no_ros(untrained, tmp_path):
    code = (
        "import sys\n"
        "for name in ('rclpy', 'sensor_msgs', 'dhpe_ros.msg'): sys.modules[name] = None\n"
        "from dhpe_ros.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    inputs = [str(picture(tmp_path / "hand.png")), str(video(tmp_path / "wave.mp4"))]
    command = [sys.executable, "-c", code, "predict", *inputs, "--output", str(tmp_path / "out")]
    done = subprocess.run([*command, *untrained], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"hand.json", "wave_000000.json"} <= names(tmp_path / "out")


def test_convert_mano_keeps_every_number(tmp_path, capsys):
    with np.load(hand_model_path()) as archive:
        arrays = {key: archive[key] for key in archive}
    wanted = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights")
    wanted += ("kintree_table", "hands_components", "hands_mean")
    with (tmp_path / "MANO_RIGHT.pkl").open("wb") as file:
        pickle.dump({key: arrays[key] for key in wanted}, file, protocol=2)
    assert main(["convert-mano", str(tmp_path / "MANO_RIGHT.pkl")]) == 0
    assert "MANO_RIGHT.npz" in capsys.readouterr().out
    converted = read_mano_file(tmp_path / "MANO_RIGHT.npz").arrays
    for key in wanted:
        np.testing.assert_array_equal(converted[key], arrays[key], err_msg=key)


class Malicious:
    def __reduce__(self):
        return (Path.touch, (Path("ran"),))


def test_convert_mano_refuses_what_is_no_hand(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.pkl").write_bytes(pickle.dumps({"v_template": Malicious()}))
    Path("text.pkl").write_text("no pickle")
    for name in ("evil.pkl", "text.pkl", "missing.pkl"):
        assert main(["convert-mano", name, "--output", "out.npz"]) == 2
        error = capsys.readouterr().err
        assert name in error
        assert error.count("\n") == 1
    assert not Path("ran").exists()
    assert not Path("out.npz").exists()
    assert main(["convert-mano", "text.pkl", "--output", "out.pkl"]) == 2


@pytest.mark.skipif(
    not (ROOT / "weights/lite.safetensors").exists(), reason="weights/lite.safetensors is missing"
)
def test_the_shipped_weights_find_the_hand_of_the_shipped_clip(tmp_path):
    truth = Truth.beside(CLIP)
    camera = truth.camera
    intrinsics = f"{camera.fx},{camera.fy},{camera.cx},{camera.cy}"
    options = ["--output", str(tmp_path), "--intrinsics", intrinsics, "--frames", "20"]
    assert main(["predict", str(CLIP), *options]) == 0
    findings = Findings()
    for index in range(20):
        content = json.loads((tmp_path / f"demo_clip_{index:06d}.json").read_text())
        hands = [_Hand(hand) for hand in content["hands"]]
        findings.compare(truth, index, hands)
        for hand in hands:
            # Where the hand is in space agrees with where it is seen; the mesh is seen by a
            # scaled orthographic camera, so not exactly.
            seen = camera.project(np.array(hand.joints_m))
            size = np.ptp(hand.joints_px, axis=0).max()
            assert np.linalg.norm(seen - hand.joints_px, axis=1).mean() < 0.1 * size
    errors = findings.summary()["errors"]
    assert errors["frames"] >= 18
    assert errors["mean_2d_percent_of_joints_box"] < 15
    assert (tmp_path / "demo_clip_0.obj").exists()


class _Hand:
    """A hand of the JSON with the attributes of the message."""

    def __init__(self, content: dict) -> None:
        self.joints_px = np.array(content["joints_px"])
        self.joints_m = np.array(content["joints_m"])


@pytest.mark.parametrize("program", ["train", "export"])
def test_a_program_with_the_name_of_a_command_is_that_command(monkeypatch, capsys, program):
    words = [f"/opt/ws/lib/dhpe_ros/{program}", "--help", "--ros-args", "-r", "__node:=x"]
    monkeypatch.setattr("sys.argv", words)
    assert main() == 0
    assert f"dhpe {program}" in capsys.readouterr().out


def test_the_command_line_itself_reads_the_command_from_its_arguments(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["/opt/ws/bin/dhpe", "train", "--help"])
    assert main() == 0
    assert "dhpe train" in capsys.readouterr().out
