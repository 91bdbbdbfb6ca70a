"""Pages of docs/reference/ keep up with the code."""

import importlib.util
import re
from pathlib import Path

import pytest

from dhpe_ros.types import ANGLE_NAMES, JOINT_NAMES

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)
PAGES = generate.pages()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_is_what_the_script_writes(page):
    assert page.read_text("utf-8") == PAGES[page], "run: python docs/generate.py"


def test_the_page_of_joints_names_every_joint_and_angle_in_order():
    text = (generate.REFERENCE / "joints.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", text, re.M)
    assert rows == [(str(k), name) for k, name in enumerate(JOINT_NAMES)]
    named = set(re.findall(r"`([\w<>]+_(?:flexion|abduction))`", text))
    shown = {f"<finger>_{name.partition('_')[2]}" for name in ANGLE_NAMES[4:]}
    assert named >= shown | set(ANGLE_NAMES[:4])
    assert len(set(re.findall(r"`XR_HAND_JOINT_\w+_EXT`", text))) == 21 + 2
