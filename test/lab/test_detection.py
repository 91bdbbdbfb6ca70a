"""Whole pictures searched: what counts as found, as wrong, and as neither."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from dhpe_lab.datasets.label_files import read_frames
from dhpe_lab.evaluation.detection import (
    detection_figures,
    fault_counts,
    matched,
    search_pictures,
)
from dhpe_ros.cli.main import main
from dhpe_ros.types import Box, Side

# A hand of 40 pixels: half of them is how far off a match may be.
JOINTS = np.stack((np.linspace(0, 40, 21), np.linspace(30, 0, 21)), 1)


def found(x, y=0.0, side=Side.RIGHT):
    return SimpleNamespace(joints_px=JOINTS + np.array((x, y)), side=side)


def frame(*hands, unsure=()):
    """Labels at ``(x, side)``."""
    labels = [
        SimpleNamespace(joints_px=JOINTS + np.array((x, 0.0)), side=side) for x, side in hands
    ]
    return SimpleNamespace(source="a", hands=labels, unsure=list(unsure))


def test_a_hand_is_found_within_half_its_box_the_nearest_pairs_first():
    labelled = frame((0.0, Side.RIGHT), (15.0, Side.LEFT))
    # 6 pixels from the first and 9 from the second; 18 from the second, and nobody else's.
    picture = matched(labelled, [found(6.0), found(33.0)], longest_px=250)
    assert [hand.error_pct for hand in picture.hands] == pytest.approx([15.0, 45.0])
    assert [hand.side_correct for hand in picture.hands] == [True, False]
    assert [hand.small for hand in picture.hands] == [False, False]  # 40 of 250 pixels: 16 %
    assert picture.wrong == 0
    far = matched(labelled, [found(0.0), found(36.0)], longest_px=400)
    assert [hand.error_pct for hand in far.hands] == [0.0, None]
    assert [hand.small for hand in far.hands] == [True, True]
    assert far.wrong == 1


def test_what_may_be_a_hand_counts_neither_way():
    unsure = Box(100, 0, 50, 50)
    picture = matched(frame(unsure=[unsure]), [found(105.0), found(200.0)], longest_px=400)
    assert (picture.wrong, picture.ignored) == (1, 1)
    assert picture.shows_hands
    only_unsure = matched(frame(unsure=[unsure]), [found(105.0)], longest_px=400)
    assert not only_unsure.shows_hands


def test_figures_are_shares_of_all_pictures():
    pictures = [
        matched(frame((0.0, Side.RIGHT), (100.0, Side.LEFT)), [found(4.0), found(200.0)], 400),
        matched(frame((0.0, Side.LEFT)), [found(8.0)], 100),
        matched(frame(), [], 100),
    ]
    figures = detection_figures(pictures)
    assert figures == {
        "pictures": 3, "hands": 3, "recall": 0.6667, "small_hands": 2, "recall_small": 0.5,
        "precision": 0.6667, "wrong": 1, "ignored": 0, "side_pct": 50.0, "err2d_pct": 15.0,
        "err2d_median_pct": 15.0, "with_hand_pct": 66.67,
    }  # fmt: skip
    assert detection_figures([])["recall"] is None


def test_each_hand_has_one_fault_at_most_and_what_is_found_beside_them_too():
    labelled = frame((0.0, Side.RIGHT), (100.0, Side.LEFT), (300.0, Side.LEFT))
    seen = [found(2.0), found(108.0, side=Side.LEFT), found(400.0), found(600.0)]
    assert matched(labelled, seen, 250).faults == ["joints 15 % off", "missed"] + 2 * [
        "found beside hands"
    ]
    assert matched(labelled, [found(0.0, side=Side.LEFT)], 500).faults == [
        "wrong side", "missed, small", "missed, small",
    ]  # fmt: skip
    pictures = [matched(labelled, some, 500) for some in (seen, [])]
    assert fault_counts(pictures) == {
        "missed, small": 4, "found beside hands": 2, "joints 15 % off": 1,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for name, rows in (
        ("frames2", [{"side": "left", "joints_px": JOINTS.tolist()}]),
        ("negatives", []),
    ):
        (tmp_path / name / "room").mkdir(parents=True)
        frames = []
        for k, split in enumerate(("train", "val")):
            file = f"room/{k}.png"
            grey = np.full((60, 80, 3), 127, np.uint8)
            cv2.imwrite(str(tmp_path / name / file), grey)
            frames.append({"file": file, "set": "room", "split": split, "hands": rows})
        (tmp_path / name / "labels.json").write_text(json.dumps({"frames": frames}))
    return tmp_path


def test_pictures_are_searched_as_the_pipeline_does(folder):
    class Pipeline:
        def estimate(self, image):
            assert image.shape == (60, 80, 3)
            return [found(0.0, side=Side.LEFT)]

    (picture,) = search_pictures(Pipeline(), read_frames(folder / "frames2", train=False))
    assert picture.hands[0].error_pct == pytest.approx(100 * 0.5**0.5 / 40)  # half a pixel
    assert picture.hands[0].side_correct


def test_the_command_prints_and_writes_figures_by_set(folder, capsys):
    command = ["evaluate", "--real", str(folder), "--settings", "model.backend=eager"]
    assert (
        main(
            [
                *command,
                "--set",
                "frames2",
                "--split",
                "all",
                "--json",
                str(folder / "a.json"),
                "--report",
                str(folder / "report"),
            ]
        )
        == 0
    )
    told = json.loads((folder / "a.json").read_text())
    assert (told["set"], told["pictures"], told["hands"], told["recall"]) == ("frames2", 2, 2, 0)
    assert told["by_set"]["room"]["pictures"] == 2
    assert told["settings"]["model.profile"] == "lite"
    assert told["faults"] == {"missed": 2}
    assert "| missed | 2 |" in (folder / "report/report.md").read_text()
    assert "data:image/jpeg" in (folder / "report/report.html").read_text()
    sheet = cv2.imread(str(folder / "report/faults_1.jpg"))
    assert sheet.shape[1] > 4 * 320
    assert "with_hand_pct" in capsys.readouterr().out
    for options, said in (
        (["--set", "negatives", "frames2", "--report", str(folder / "report")], "give it alone"),
        (["--set", "frames2", "--method", "networks"], "--method: frames2 is searched by dhpe"),
        (["--set", "frames"], "no labels at"),
    ):
        assert main([*command, *options]) == 2
        assert said in capsys.readouterr().err
