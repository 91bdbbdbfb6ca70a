"""``dhpe data``: counts, opens and draws, names what is wrong by its file, and copies a sample."""

import json
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from published_sets import write_dexter_object, write_rhd

from dhpe_lab.datasets.rhd import read_rhd
from dhpe_lab.evaluation.report.pictures import label_tiles, project
from dhpe_ros.cli.main import main
from dhpe_ros.types import Box


def check(capsys, *options: object) -> tuple[int, str]:
    code = main(["data", "check", *(str(option) for option in options)])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_a_sound_copy_is_counted_against_what_was_published(tmp_path, capsys):
    folder, picture = write_rhd(tmp_path / "rhd", 4, 2), tmp_path / "a.jpg"
    code, text = check(capsys, folder, "--picture", picture)
    assert code == 0, text
    assert "train: 4 of 41,258 published" in text
    assert "test: 2 of 2,728 published" in text
    assert "6 pictures opened, 0 problems" in text
    assert cv2.imread(str(picture)).shape[0] > 400, "two rows of labelled pictures"


def test_joints_are_drawn_where_the_camera_shows_them(tmp_path):
    hand = read_rhd(write_rhd(tmp_path / "rhd", 1, 1), "test")[0]
    hand = replace(hand, joints_px=hand.joints_px + 30)  # what is labelled in 2D is beside them
    (tile,) = label_tiles(replace(hand, mask_file=None), np.zeros((320, 320, 3), np.uint8))
    places = project(hand)
    box, size = Box.around(places).squared(1.6), tile.shape[1] - 6
    places = (places + 0.5 - (box.x, box.y)) * size / box.width - 0.5
    columns, rows = (places + np.array((3, 20))).round().astype(int).T
    assert (tile[rows, columns] > 240).all()
    assert (tile[20 : 20 + size, 3 : 3 + size] > 240).all(axis=2).mean() < 0.2


def test_what_is_wrong_is_named_by_file(tmp_path, capsys):
    folder = write_rhd(tmp_path / "rhd", 8, 2)
    labels = folder / "training/anno_training.pickle"
    content = pickle.loads(labels.read_bytes())
    content[2]["xyz"] += np.array((0.05, 0, 0), np.float32)  # no longer where uv is
    labels.write_bytes(pickle.dumps(content, protocol=2))
    (folder / "training/color/00001.png").write_bytes(b"no picture")
    for number in range(2):
        (folder / f"evaluation/color/{number:05d}.png").unlink()
    code, text = check(capsys, folder)
    assert code == 1
    assert "00001.png: is not a picture that can be decoded (it holds text)" in text
    assert "00002.png: joints in 3D project up to" in text
    assert "evaluation/color/00000.png" in text
    assert "evaluation/color/00001.png" in text, "all that is missing is named"
    assert "test: 0 of 2,728" in text
    assert "3 problems" in text


def test_labels_beside_the_picture_or_the_mask_are_noticed(tmp_path, capsys):
    (tmp_path / "masks").mkdir()
    rows = []
    for k, shift in enumerate((0, 500, 0)):
        cv2.imwrite(str(tmp_path / f"{k}.png"), np.full((80, 80, 3), 60 * k, np.uint8))
        joints = np.stack((np.linspace(20, 60, 21), np.linspace(70, 10, 21)), 1) + shift
        rows.append({"file": f"{k}.png", "side": "right", "joints_px": joints.tolist()})
    cv2.imwrite(str(tmp_path / "masks/2.png"), np.zeros((80, 80), np.uint8))
    (tmp_path / "labels.json").write_text(json.dumps({"hands": rows}))
    code, text = check(capsys, tmp_path)
    assert code == 1
    assert "1.png: no labelled joint lies in its 80 x 80 pixels" in text
    assert "masks/2.png: covers less than a third of the joints" in text
    assert "0.png" not in text


@pytest.mark.parametrize("look", [0, 2])
def test_dexter_object_and_backgrounds_are_known(tmp_path, capsys, look):
    folder = write_dexter_object(tmp_path / "do")
    code, text = check(capsys, folder, "--look", look)
    assert code == 0
    assert "test: 12 of 3,014 published" in text
    assert f"{look or 12} pictures opened" in text
    rooms = tmp_path / "rooms/kitchen"
    rooms.mkdir(parents=True)
    cv2.imwrite(str(rooms / "r-1.ppm"), np.zeros((8, 8, 3), np.uint8))
    assert check(capsys, tmp_path / "rooms")[0] == 0
    (tmp_path / "none").mkdir()
    code, text = check(capsys, tmp_path / "none")
    assert code == 2
    assert "no data set that is known here" in text


def test_a_sample_is_of_training_pictures_alone_and_always_the_same(tmp_path, capsys):
    folder = tmp_path / "people"
    (folder / "a").mkdir(parents=True)
    frames = []
    for number in range(12):
        name, split = f"a/{number}.jpg", "val" if number % 3 == 0 else "train"
        (folder / name).write_bytes(split.encode() + bytes([number]))
        frames.append({"file": name, "split": split, "hands": []})
    (folder / "labels.json").write_text(json.dumps({"frames": frames}))

    def sample(output, count=5):
        words = ("sample", folder, "--count", count, "--output", tmp_path / output)
        return main(["data", *(str(word) for word in words)])

    assert sample("one") == sample("two") == 0
    outputs = (tmp_path / output for output in ("one", "two"))
    first, second = ([p.read_bytes() for p in sorted(output.iterdir())] for output in outputs)
    assert first == second
    assert len(set(first)) == 5
    assert all(content.startswith(b"train") for content in first)
    assert sample("three", count=9) == 2
    assert "--count must be 1 to 8, got 9" in capsys.readouterr().err
