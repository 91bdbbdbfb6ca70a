"""The examples that need no ROS, as processes of their own; and their table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import trimesh

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.media.clips import ClipWriter

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# The example's process with a training of seconds: fewer hands are rendered beside the recording,
# and whatever a single step comes to is accepted.
SHORT = f"""
import runpy, sys
from dhpe_lab.training import finetune
finetune.LEAST_HANDS = finetune.REHEARSED = finetune.CHECKED = 4
finetune.VIEWED = 1
finetune.Outcome.better = True
runpy.run_path({str(EXAMPLES / "07_finetune.py")!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """The first frames of the demo's clip."""
    path = tmp_path_factory.mktemp("clip") / "short.mp4"
    with ClipWriter(path, 15.0) as writer:
        for _, frame in zip(range(8), open_media(DEMO_CLIP).frames(), strict=False):
            writer.write(frame.image)
    return path


def run(folder, *arguments):
    command = [sys.executable, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_table_lists_them_all_and_they_are_short():
    files = sorted(EXAMPLES.glob("*.py"))
    assert [int(file.name[:2]) for file in files] == list(range(1, len(files) + 1))
    listed = re.findall(r"\[(\w+\.py)\]\(\1\)", (EXAMPLES / "README.md").read_text())
    assert listed == [file.name for file in files]
    for file in files:
        assert len(file.read_text().splitlines()) < 60, file.name


def test_a_picture_becomes_a_mesh(clip, tmp_path):
    image = next(iter(open_media(clip).frames())).image
    cv2.imwrite(str(tmp_path / "photo.jpg"), image[..., ::-1])
    done = run(tmp_path, EXAMPLES / "01_image_to_mesh.py", "photo.jpg")
    assert re.match(r"photo_hand1.glb: right, score 0\.\d\d", done.stdout), done.stderr
    assert len(trimesh.load(tmp_path / "photo_hand1.glb", force="mesh").faces) == 1538
    assert cv2.imread(str(tmp_path / "photo_overlay.jpg")).shape == image.shape


def test_the_hand_of_a_video_is_followed(clip, tmp_path):
    done = run(tmp_path, EXAMPLES / "02_webcam.py", clip, "--no-window")
    found = re.findall(r"(0\.\d\d) s: RIGHT 1, index tip", done.stdout)
    assert len(found) >= 6, done.stderr
    assert found == sorted(set(found))


@pytest.mark.slow
def test_weights_are_fine_tuned_and_used(clip, tmp_path):
    options = ("--settings", "budget.steps=1", "data.batch=2", "--device", "cpu")
    done = run(tmp_path, "-c", SHORT, clip, "mine", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine/finetuned.safetensors").is_file()
    assert len(re.findall(r"0\.\d\d s: RIGHT, score 0\.\d\d", done.stdout)) >= 6
