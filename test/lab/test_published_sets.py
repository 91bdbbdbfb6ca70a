"""RHD and STB, in tiny folders of their formats: read, trained on, measured on."""

import json
import os
import pickle
from dataclasses import replace
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from published_sets import (
    BASELINE_M,
    COLOR_K,
    K_RHD,
    STEREO_K,
    hand_m,
    project,
    stb_hand_m,
    write_rhd,
    write_stb,
)
from scipy.io import savemat

from dhpe_lab.datasets import stb
from dhpe_lab.datasets.labelled_hand import LabelledHand, relative_depth_px, stored_sample
from dhpe_lab.datasets.rhd import read_rhd
from dhpe_lab.datasets.stb import read_stb
from dhpe_lab.evaluation.labelled import open_labelled
from dhpe_lab.evaluation.metrics import ROOT_AND_SCALE
from dhpe_lab.evaluation.score import Score, summary
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import load_data
from dhpe_lab.training.train_log import read_log
from dhpe_ros.cli.main import main
from dhpe_ros.types import JOINT_NAMES, MIDDLE_MCP, Side


@pytest.fixture(scope="module")
def rhd(tmp_path_factory) -> Path:
    return write_rhd(tmp_path_factory.mktemp("rhd"))


def _write_arrays(path: Path, arrays: dict) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _read_arrays(path: Path) -> dict:
    with np.load(path) as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def shd(tmp_path_factory):
    return write_stb(tmp_path_factory.mktemp("stb"), savemat)


def seen(hand: LabelledHand) -> np.ndarray:
    fx, fy, cx, cy = hand.camera_px
    return hand.joints_m[:, :2] / hand.joints_m[:, 2:] * (fx, fy) + (cx, cy)


# ---------------------------------------------------------------- RHD


def test_rhd_hands_project_onto_their_pixels(rhd):
    for split in ("train", "test"):
        for hand in read_rhd(rhd, split):
            np.testing.assert_allclose(seen(hand), hand.joints_px, atol=1e-3)


def test_rhd_gives_the_hand_with_more_pixels_base_to_tip(rhd):
    hands = read_rhd(rhd, "train")
    assert [hand.side for hand in hands] == [Side.LEFT, Side.RIGHT] * 2
    for number, hand in enumerate(hands):
        truth = hand_m(hand.side is Side.RIGHT, (-0.02, 0.07, 0.42), 0.1 * number)
        np.testing.assert_allclose(hand.joints_m, truth, atol=1e-6)
        assert [JOINT_NAMES[k] for k in np.flatnonzero(~hand.visible)] == ["thumb4"]


def test_rhd_pixels_are_measured_from_the_first_ones_centre(rhd):
    for hand in read_rhd(rhd, "train"):
        dot = hand.joints_px[JOINT_NAMES.index("index4")]
        near = np.abs(np.mgrid[:320, :320][::-1] - dot[:, None, None]).max(0) < 6
        rows, columns = np.nonzero(near)
        light = hand.image()[near][:, 0].astype(float)
        center = (light @ columns / light.sum(), light @ rows / light.sum())
        np.testing.assert_allclose(center, dot, atol=0.1)


def test_an_rhd_mask_is_that_of_the_used_hand_without_its_arm(rhd):
    for hand in read_rhd(rhd, "train"):
        mask = hand.mask()
        on_hand = hand.joints_px[[4, 8, 9, 13, 20]].round().astype(int)
        assert mask[on_hand[:, 1], on_hand[:, 0]].all()
        wrist = hand.joints_px[0].round().astype(int)
        assert not mask[wrist[1] + 25 :].any()
        file = cv2.imread(str(hand.mask_file), cv2.IMREAD_GRAYSCALE)
        low, high = hand.mask_values
        assert mask.sum() < (file > 1).sum(), "the other hand is not in it"
        assert mask.sum() == ((file >= low) & (file <= high)).sum()


def test_a_picture_of_rhd_without_a_hand_is_left_out(tmp_path):
    folder = write_rhd(tmp_path / "rhd", 3, 1)
    cv2.imwrite(str(folder / "training/mask/00001.png"), np.ones((320, 320), np.uint8))
    assert [hand.picture.stem for hand in read_rhd(folder, "train")] == ["00000", "00002"]


def test_some_of_a_set_are_evenly_spread_over_it(tmp_path):
    folder = write_rhd(tmp_path / "rhd", 9, 1)
    some = read_rhd(folder, "train", at_most=3)
    assert [hand.picture.stem for hand in some] == ["00000", "00003", "00006"]


class _Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_code_in_rhds_labels_never_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_rhd(tmp_path / "rhd", 1, 1)
    file = folder / "training/anno_training.pickle"
    file.write_bytes(pickle.dumps({0: {"K": K_RHD, "xyz": _Evil()}}, protocol=2))
    with pytest.raises(ValueError, match=r"anno_training.pickle: refused to load posix\.system"):
        read_rhd(folder, "train")
    assert not (tmp_path / "pwned").exists()


def test_what_is_wrong_with_rhd_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no .*anno_training.pickle; unpack RHD_publ"):
        read_rhd(tmp_path, "train")
    folder = write_rhd(tmp_path / "rhd", 2, 2)
    labels = folder / "training/anno_training.pickle"
    good = pickle.loads(labels.read_bytes())
    for bad, said in (
        ([], "must map numbers of pictures to labels"),
        ({0: {**good[0], "uv_vis": np.zeros((21, 3))}}, "uv_vis of picture 0 must be 42 x 3"),
        ({0: {"K": K_RHD}}, "uv_vis of picture 0 must be 42 x 3 numbers, is a NoneType"),
        ({0: {**good[0], "xyz": -good[0]["xyz"]}}, "xyz of picture 0 must lie in front"),
    ):
        labels.write_bytes(pickle.dumps(bad, protocol=2))
        with pytest.raises(ValueError, match=said):
            read_rhd(folder, "train")
    labels.write_bytes(b"\x80\x02garbage")
    with pytest.raises(ValueError, match=r"anno_training\.pickle: not a readable pickle"):
        read_rhd(folder, "train")
    (folder / "evaluation/color/00001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"00001.png, but the labels list it; unpack"):
        read_rhd(folder, "test")
    (folder / "evaluation/color/00001.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"00001.png: is not a picture"):
        read_rhd(folder, "test")[1].image()


# ---------------------------------------------------------------- STB


def test_stb_hands_are_left_ones_base_to_tip_with_a_wrist(shd):
    hands = read_stb(shd, "test")
    assert len(hands) == 2 * 2 * 2, "two sequences of two moments, seen by two cameras"
    assert all("B1" in str(hand.picture) for hand in hands)
    for hand in hands:
        assert hand.side is Side.LEFT
        moment = int(hand.picture.stem[-1])
        moved = (BASELINE_M, 0, 0) if "right" in hand.picture.stem else 0
        np.testing.assert_allclose(hand.joints_m, stb_hand_m(moment) - moved, atol=1e-6)
        np.testing.assert_allclose(seen(hand), hand.joints_px, atol=1e-3)
        np.testing.assert_allclose(project(hand.joints_m, STEREO_K), hand.joints_px, atol=1e-3)
        assert hand.mask() is None
        assert hand.image().shape == (480, 640, 3)


def test_stb_is_learnt_from_all_its_cameras(shd):
    hands = read_stb(shd, "train")
    assert len(hands) == 10 * 2 * 3
    assert not any("B1" in str(hand.picture) for hand in hands)
    color = [hand for hand in hands if "SK_color" in hand.picture.name]
    assert len(color) == 10 * 2
    for hand in color:
        np.testing.assert_allclose(hand.joints_m, stb_hand_m(int(hand.picture.stem[-1])), atol=1e-6)
        np.testing.assert_allclose(project(hand.joints_m, COLOR_K), hand.joints_px, atol=1e-3)


def test_stb_with_one_camera_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(stb, "_read_mat", _read_arrays)
    folder = write_stb(tmp_path / "stb", _write_arrays, moments=1, cameras=("SK",))
    assert {hand.picture.name for hand in read_stb(folder, "test")} == {"SK_color_0.png"}
    assert len(read_stb(folder, "train")) == 10
    assert open_labelled(folder).name == "stb"


def test_stbs_labels_are_matlabs(tmp_path):
    for compressed in (True, False):
        folder = tmp_path / str(compressed)
        write_stb(folder, lambda p, a, c=compressed: savemat(p, a, do_compression=c), moments=1)
        hand = read_stb(folder, "test")[0]
        np.testing.assert_allclose(hand.joints_m, stb_hand_m(0), atol=1e-6)
    (folder / "labels/B1Random_BB.mat").write_bytes(b"no such thing")
    with pytest.raises(ValueError, match=r"B1Random_BB.mat: not a readable MATLAB 5 file"):
        read_stb(folder, "test")


def test_what_is_wrong_with_stb_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no .*B1Counting_BB.mat; unpack images/ and lab"):
        read_stb(tmp_path, "test")
    folder = write_stb(tmp_path / "stb", _write_arrays, moments=1)
    monkeypatch.setattr(stb, "_read_mat", _read_arrays)
    (folder / "images/B1Random/BB_right_0.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"BB_right_0.png, but the labels list it; unpack"):
        read_stb(folder, "test")
    _write_arrays(folder / "labels/B1Random_BB.mat", {"handPara": np.ones((3, 20, 1))})
    with pytest.raises(ValueError, match=r"handPara must be 3 x 21 x N numbers, got float64"):
        read_stb(folder, "test")
    _write_arrays(folder / "labels/B1Random_BB.mat", {"handPara": -np.ones((3, 21, 1))})
    with pytest.raises(ValueError, match=r"must lie in front of the camera"):
        read_stb(folder, "test")
    (folder / "labels/B1Random_BB.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no .*B1Random_BB.mat; unpack"):
        read_stb(folder, "test")


# ---------------------------------------------------------------- training


def test_depth_is_that_along_the_hands_own_ray():
    ahead = hand_m(True, (0, 0, 0)) - hand_m(True, (0, 0, 0))[MIDDLE_MCP]
    turned = cv2.Rodrigues(np.array((0.2, 0.4, 0.0)))[0]
    camera = (300.0, 300.0, 160.0, 160.0)
    depths = []
    for rotation in (np.eye(3), turned):
        joints = (ahead + np.array((0, 0, 0.5))) @ rotation.T
        hand = LabelledHand(Path("x"), np.zeros((21, 2)), Side.RIGHT, None, joints, camera, True)
        depths.append(relative_depth_px(hand) * joints[MIDDLE_MCP, 2])
    np.testing.assert_allclose(depths[0], ahead[:, 2] * 300, atol=1e-9)
    np.testing.assert_allclose(depths[1], depths[0], atol=1e-9)


def test_examples_of_rhd_and_stb_have_exact_depth(rhd, shd):
    hands = (read_rhd(rhd, "train")[0], True), (read_stb(shd, "train")[0], False)
    for (hand, masked), seed in product(hands, range(8)):
        example = augment(stored_sample(hand, "x"), [], np.random.default_rng(seed), varied=False)
        assert example.depth_trust == 1
        assert np.ptp(example.depth) > 0.05
        assert example.mask_known is masked
        assert example.mask.max() == (255 if masked else 0)
        assert example.mask_exact is (masked and example.right), "L_Sh takes RHD's masks"
        assert not example.synthetic, "rotation, pose and shape are not known"
        mirrored = hand.side is Side.LEFT and example.right
        factors = (-1 if mirrored else 1, 1)
        shape = (hand.joints_px - hand.joints_px[0]) * factors
        assert np.corrcoef(shape.ravel(), (example.joints - example.joints[0]).ravel())[0, 1] > 0.99


def test_pictures_are_read_when_they_are_used(rhd, shd):
    config = TrainConfig().replace({"data.rhd": str(rhd), "data.stb": str(shd)})
    data = load_data(config)
    assert data.description()["samples"] == {"rhd": 4, "stb": 60}
    assert data.description()["held_back"] == {"rhd": 4, "stb": 8}
    assert not any(hasattr(sample, "image") for sample in data.samples)
    # Workers get them as pickles where processes are not forked.
    sample = pickle.loads(pickle.dumps(data.samples[0])).opened()
    assert sample.image.shape == (320, 320, 3)
    assert sample.mask.shape == (320, 320)


def test_training_runs_on_rhd_and_stb(rhd, shd, tmp_path):
    changes = (f"data.rhd={rhd}", f"data.stb={shd}", "data.batch=8", "budget.steps=2",
               "budget.minutes=0.0", "budget.evidence_share=0.0", "run.check_minutes=0.0",
               "run.log_steps=1", "model.device=cpu", "loss.gate=false",
               f"run.output={tmp_path}/run")  # fmt: skip
    assert main(["train", *changes]) == 0
    *losses, check = read_log(tmp_path / "run")
    for term in ("skeleton", "features", "silhouette"):
        assert any(line.get(f"loss/{term}", 0) > 0 for line in losses), term
    assert {"check/rhd.mesh", "check/stb.mesh"} <= check.keys()


# ---------------------------------------------------------------- evaluation


def test_evaluation_runs_on_rhd(rhd, tmp_path):
    options = ("--set", rhd, "--refine", 0, "--json", tmp_path / "a.json")
    assert main(["evaluate", *(str(option) for option in options)]) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["set"] == "rhd"
    assert result["n"] == 4
    assert result["err2d_pct"] > 0
    assert 0 <= result["auc_20_50"] <= 1
    assert "middle MCP" in result["alignment"]
    assert 0 < result["mask_iou"] < 1


def test_evaluation_runs_on_stb(shd, tmp_path):
    options = ("--set", shd, "--refine", 0, "--limit", 2, "--json", tmp_path / "a.json")
    assert main(["evaluate", *(str(option) for option in options)]) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["set"] == "stb"
    assert result["n"] == 2
    assert 0 <= result["auc_20_50"] <= 1
    assert result["mask_iou"] is None


def test_an_incomplete_set_is_refused_in_one_line(tmp_path, capsys):
    folder = write_rhd(tmp_path / "rhd", 1, 1)
    (folder / "evaluation/anno_evaluation.pickle").unlink()
    assert main(["evaluate", "--set", str(folder)]) == 2
    assert "anno_evaluation.pickle; unpack RHD_published_v2 whole" in capsys.readouterr().err
    assert main(["train", f"data.rhd={folder}", f"run.output={tmp_path}/run"]) == 2
    assert "anno_evaluation.pickle; unpack RHD_published_v2 whole" in capsys.readouterr().err


def test_joints_out_of_sight_do_not_count_in_3d():
    errors = np.where(np.arange(21) < 10, 10.0, 90.0)
    score = Score(True, True, np.zeros(21), {ROOT_AND_SCALE: errors})
    assert summary([score])["auc_20_50"] == pytest.approx(10 / 21, abs=1e-4)
    in_sight = replace(score, visible=np.arange(21) < 10)
    assert summary([in_sight])["auc_20_50"] == 1
