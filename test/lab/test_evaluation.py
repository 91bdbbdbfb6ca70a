"""Inputs, outputs and refusals of ``dhpe evaluate``, with the networks that ship."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from dhpe_lab.evaluation import synthetic_set
from dhpe_lab.evaluation.labelled import open_labelled
from dhpe_lab.evaluation.metrics import ROOT_AND_SCALE, MaskCounts
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.score import Score, details, score, summary
from dhpe_ros.cli.main import main
from dhpe_ros.config import Config
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Side

KEYS = {
    "set", "hands", "method", "n", "found_pct", "side_pct", "err2d_pct", "err2d_median_pct",
    "err2d_px", "pck10", "mask_iou", "auc_20_50", "auc_20_50_all", "alignment", "details",
    "weights", "profile", "refinement_steps", "device", "settings",
}  # fmt: skip
JOINTS = np.stack((np.linspace(20, 60, 21), np.linspace(70, 10, 21)), 1)
CLIP = Path(__file__).resolve().parents[2] / "dhpe_ros/assets/demo_clip.mp4"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A few synthetic hands only, and not in the user's own cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setattr(synthetic_set, "_SHARD", 4)
        yield folder


def labelled_folder(folder: Path, **more: object) -> Path:
    """One picture of noise in the format of ``wild``."""
    (folder / "masks/a").mkdir(parents=True)
    (folder / "a").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    cv2.imwrite(str(folder / "a/0.png"), noise)
    cv2.imwrite(str(folder / "masks/a/0.png"), np.full((160, 160), 255, np.uint8))
    hand = {"set": "a", "split": "val", "file": "a/0.png", "side": "left"}
    hand |= {"joints_px": JOINTS.tolist(), **more}
    train = {**hand, "split": "train", "file": "nowhere.png"}
    (folder / "labels.json").write_text(json.dumps({"hands": [train, hand]}))
    return folder


def evaluate(*options: object) -> int:
    return main(["evaluate", *(str(option) for option in options)])


def test_the_same_command_gives_the_same_figures(tmp_path, capsys):
    results = []
    for name in ("first.json", "second.json"):
        options = ("--set", "synthetic", "--limit", 3, "--refine", 2, "--json", tmp_path / name)
        assert evaluate(*options) == 0
        results.append((tmp_path / name).read_text())
    assert results[0] == results[1]
    result = json.loads(results[0])
    assert result.keys() == KEYS
    assert result["set"] == "synthetic"
    assert result["n"] == 3
    assert result["refinement_steps"] == 2
    assert "middle MCP" in result["alignment"]
    assert result["weights"].startswith("lite.safetensors sha256:")
    assert 0 < result["mask_iou"] < 1
    assert result["details"]["alignments"]["Procrustes"]["vertices_mm"] > 0
    shown = capsys.readouterr()
    assert f"{result['auc_20_50']:.3f}" in shown.out
    assert shown.err.count("synthetic, dhpe") > 0


def test_what_a_folder_cannot_give_is_null(tmp_path):
    folder = labelled_folder(tmp_path / "mine", joints_m=np.zeros((21, 3)).tolist())
    assert evaluate("--set", folder, "--refine", 0, "--json", tmp_path / "a.json") == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["n"] == 1, "what is marked train is not evaluated on"
    assert result["auc_20_50"] is None, "another tracker's depth is no truth"
    assert result["alignment"] is None
    assert result["mask_iou"] is not None
    assert result["err2d_pct"] > 0


def test_a_folder_of_both_kinds_is_read_whole(tmp_path):
    labelled_folder(tmp_path / "both/wild")
    signs = tmp_path / "both/signs"
    signs.mkdir()
    row = {"name": "7_1", "split": "val", "joints_px": JOINTS.tolist()}
    (signs / "labels.json").write_text(json.dumps({"hands": [row]}))
    first, second = open_labelled(tmp_path / "both").hands
    assert first.picture == signs / "images/7_1.jpg"
    assert first.side is Side.RIGHT
    assert second.mask().shape == (160, 160)


def test_clips_among_pictures_are_named_as_left_out(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "one.jpg"), np.zeros((64, 64, 3), np.uint8))
    hand = {"side": "right", "joints_px": JOINTS.tolist()}
    labels = {"one.jpg": [hand], "clip.mp4": [[hand]]}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    assert [label.picture.name for label in open_labelled(tmp_path).hands] == ["one.jpg"]
    assert "name these by themselves: clip.mp4" in caplog.text


def test_a_clip_is_measured_frame_by_frame(tmp_path):
    video = tmp_path / "clip.mp4"
    with ClipWriter(video, 10.0) as clip:
        for level in (40, 120, 200):
            clip.write(np.full((64, 64, 3), level, np.uint8))
    hand = {"side": "right", "joints_px": JOINTS.tolist()}
    (tmp_path / "labels.json").write_text(json.dumps({"clip.mp4": [[], [hand], [hand, hand]]}))
    pictures = list(open_labelled(video).pictures())
    assert [label.frame for label, _ in pictures] == [1, 2]
    assert [round(float(image.mean()), -1) for _, image in pictures] == [120, 200]


def test_exact_labels_agree_with_their_camera_and_mask(cache):
    labelled = synthetic_set.open_synthetic(4)
    sides = [hand.side for hand in labelled.hands]
    assert sides == [Side.RIGHT, Side.LEFT] * 2
    for hand, image in labelled.pictures():
        fx, fy, cx, cy = hand.camera_px
        seen = hand.joints_m[:, :2] / hand.joints_m[:, 2:] * (fx, fy) + (cx, cy)
        np.testing.assert_allclose(seen, hand.joints_px, atol=0.01)
        mask = hand.mask()
        assert mask.shape == image.shape[:2]
        column, row = hand.joints_px.mean(0).round().astype(int)
        assert mask[row - 30 : row + 30, column - 30 : column + 30].mean() > 0.05
        rows, columns = np.nonzero(mask)
        low, high = hand.joints_px.min(0), hand.joints_px.max(0)
        np.testing.assert_allclose((columns.min(), rows.min()), low, atol=0.12 * len(image))
        np.testing.assert_allclose((columns.max(), rows.max()), high, atol=0.12 * len(image))


def test_a_rendered_set_is_kept(cache):
    synthetic_set.open_synthetic(2)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.jpg")}
    synthetic_set.open_synthetic(2)
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*.jpg")}
    other = synthetic_set.open_synthetic(2, seed=1)
    assert not before.keys() & {hand.picture for hand in other.hands}


def test_a_perfect_prediction_has_no_error(cache):
    """The pipeline's own result, taken for the truth, in another size of mask."""
    pipeline = HandPipeline(Config().replace({"refinement.steps": 0}))
    (one,) = predict(pipeline, synthetic_set.open_synthetic(1))
    label = dict(vars(one.label))
    label |= {"joints_px": one.hand.joints_px, "joints_m": one.hand.joints_m, "mask_file": None}
    result = score(type(one)(type(one.label)(**label), one.picture_size, one.hand, True, one.side))
    assert result.errors_pct.max() == 0
    assert result.errors_mm.max() == pytest.approx(0, abs=1e-3)
    assert result.mask is None
    assert 0 < result.vertex_mm["Procrustes"] < result.vertex_mm["absolute"]


def found(pct: np.ndarray, mm: np.ndarray, mask: MaskCounts, right: bool = True) -> Score:
    return Score(True, right, pct, {ROOT_AND_SCALE: mm}, mask, in_3d=True)


def test_errors_are_those_of_the_hands_that_were_found():
    uneven = np.where(np.arange(21) < 7, 14.0, 8.0)
    rows = [
        found(np.full(21, 4.0), np.full(21, 30.0), MaskCounts(5, 5, 0)),
        found(uneven, np.full(21, 60.0), MaskCounts(7, 0, 3), right=False),
        Score(False, None, in_3d=True),
    ]
    result = summary(rows)
    assert result["n"] == 3
    assert result["found_pct"] == 66.67
    assert result["side_pct"] == 50
    assert result["err2d_pct"] == 7  # 4 and (7 * 14 + 14 * 8) / 21 = 10
    assert result["err2d_median_pct"] == 7
    assert result["pck10"] == pytest.approx(35 / 42, abs=1e-4)
    assert result["mask_iou"] == 0.6
    # Half of the curve's hands never come in; the other does at 30 mm, between two thresholds.
    assert result["auc_20_50"] == pytest.approx((20 + 0.5) / 2 / 30, abs=1e-4)
    assert result["auc_20_50_all"] == pytest.approx((20 + 0.5) / 3 / 30, abs=1e-4)
    assert summary([Score(False, None)])["err2d_pct"] is None


def test_details_go_down_to_fingers_ranges_and_all_pixels():
    by_joint = np.arange(21.0)
    rows = [
        found(by_joint, 2 * by_joint, MaskCounts(5, 5, 0)),
        found(by_joint, 2 * by_joint, MaskCounts(7, 0, 3)),
    ]
    result = details(rows, [(0.0, 50.0), (20.0, 50.0)])
    assert result["alignments"][ROOT_AND_SCALE]["mpjpe_mm"] == 20
    # The joint k is right from 2 k mm on, one step of the curve before it by half a millimetre.
    below = np.mean([50 - 2 * k + (0.5 if k else 0) for k in range(21)]) / 50
    assert result["alignments"][ROOT_AND_SCALE]["auc_0_50"] == pytest.approx(below, abs=1e-4)
    assert result["by_joint"]["mm"]["index4"] == 16
    assert result["by_joint"]["mm"]["thumb"] == 5  # joints 1 to 4
    assert result["by_joint"]["pct"]["little"] == 18.5
    assert result["masks"]["precision"] == pytest.approx(12 / 17, abs=1e-4)
    assert result["masks"]["recall"] == pytest.approx(12 / 15, abs=1e-4)
    assert result["calibration"] == {}, "two hands say nothing"


def test_a_mesh_of_the_synthetic_set_is_the_one_its_joints_belong_to(cache):
    model = HandModel(hand_model_path())
    for hand in synthetic_set.open_synthetic(2).hands:
        mirror = np.array((1 if hand.side is Side.RIGHT else -1, 1, 1))
        mesh = torch.from_numpy(hand.mesh_m() * mirror)[None].float()
        np.testing.assert_allclose(
            model.skeleton(mesh)[0].numpy(), hand.joints_m * mirror, atol=1e-5
        )


def test_limit_draws_the_same_hands_for_a_seed(tmp_path):
    rows = [{"file": f"{k}.jpg", "joints_px": (JOINTS + k).tolist()} for k in range(50)]
    (tmp_path / "labels.json").write_text(json.dumps({"hands": rows}))
    labelled = open_labelled(tmp_path)
    names = [[h.picture.name for h in labelled.part(5, seed).hands] for seed in (0, 0, 1)]
    assert names[0] == names[1] != names[2]
    assert len(set(names[0])) == 5


def breakages(folder: Path) -> dict[str, tuple[object, ...]]:
    """Fault -> the options that ask for it."""
    (folder / "empty").mkdir()
    (folder / "garbled").mkdir()
    (folder / "garbled/labels.json").write_text("{")
    labelled_folder(folder / "short", joints_px=[[1, 2]])
    labelled_folder(folder / "flat", camera_px=[60, 40, 40])
    labelled_folder(folder / "lens", camera_px=[0, 60, 40, 40])
    labelled_folder(folder / "third", side="middle")
    labelled_folder(folder / "lost", file="gone.jpg")
    (folder / "torn.jpg").write_bytes(b"torn")
    (folder / "listed").mkdir()
    (folder / "listed/nobody.jpg").touch()
    (folder / "listed/labels.json").write_text(json.dumps({"nobody.jpg": []}))
    (folder / "train").mkdir()
    (folder / "train/labels.json").write_text(json.dumps({"hands": [{"split": "train"}]}))
    return {
        "there is no such folder": ("--set", folder / "nowhere"),
        "nowhere: there is no such folder or file": ("--set", "demo", "nowhere"),
        "no labels.json in": ("--set", folder / "empty"),
        "not readable as JSON": ("--set", folder / "garbled"),
        "joints_px must be 21 x 2": ("--set", folder / "short"),
        "flat/labels.json: camera_px must be fx, fy, cx, cy": ("--set", folder / "flat"),
        "lens/labels.json: camera_px must be fx, fy, cx, cy": ("--set", folder / "lens"),
        "labels.json: side must be left or right": ("--set", folder / "third"),
        "torn.jpg: is not a picture": ("--set", folder / "torn.jpg"),
        "nobody.jpg: no hand to evaluate on, the labels list none": (
            "--set",
            folder / "listed/nobody.jpg",
        ),
        "gone.jpg: no such file": ("--set", folder / "lost"),
        "all are marked train": ("--set", folder / "train"),
        "name the one that holds signs/ with --real": ("--set", "signs", "--real", folder / "no"),
        "no weights at": ("--set", "synthetic", "--limit", 1, "--weights", folder / "no"),
        "refinement.steps must be >= 0": ("--set", "synthetic", "--refine", -1),
        "did you mean refinement.steps": ("--set", "synthetic", "--settings", "refinement.stepz=1"),
        "refinement.steps: '[1' is no": ("--set", "demo", "--settings", "refinement.steps=[1"),
        "LOW must be at least 0 and below HIGH": ("--set", "synthetic", "--range", 50, 20),
        "name its folder with --report": ("--set", "synthetic", "--curve", 5),
        "device 'cuda:99' is not there": ("--set", "synthetic", "--device", "cuda:99"),
        "--limit must be >= 1": ("--set", "synthetic", "--limit", 0),
        "there is no folder": ("--set", "synthetic", "--json", folder / "no/a.json"),
    }


def test_errors_name_the_remedy(tmp_path, capsys):
    for text, options in breakages(tmp_path).items():
        assert evaluate(*options) == 2, text
        printed = capsys.readouterr()
        assert text in printed.err
        assert "Traceback" not in printed.err
        assert printed.out == "", "nothing is measured before"
