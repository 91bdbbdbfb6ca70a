"""Dexter+Object in a tiny folder of its format: finger tips, some missing, in another camera."""

import json

import numpy as np
import pytest
from published_sets import (
    DEXTER_K,
    DEXTER_SHIFT_M,
    DEXTER_TIPS,
    DEXTER_TURN,
    dexter_hand_m,
    project,
    write_dexter_object,
)

from dhpe_lab.datasets.dexter_object import read_dexter_object
from dhpe_ros.cli.main import main
from dhpe_ros.types import Side


@pytest.fixture
def folder(tmp_path):
    return write_dexter_object(tmp_path / "do")


def test_tips_are_a_left_hands_in_the_colour_camera(folder):
    hands = read_dexter_object(folder)
    assert len(hands) == 12, "a picture without any tip is left out"
    for index, hand in enumerate(hands):
        moment = index % 2
        known = DEXTER_TIPS[moment:]  # the second picture lacks the thumb
        truth = dexter_hand_m(moment) @ DEXTER_TURN.T + DEXTER_SHIFT_M
        assert hand.side is Side.LEFT
        assert np.flatnonzero(hand.known).tolist() == known
        np.testing.assert_allclose(hand.joints_m[known], truth[known], atol=1e-6)
        np.testing.assert_allclose(hand.joints_px[known], project(truth, DEXTER_K)[known], atol=0.1)
        assert np.isnan(np.delete(hand.joints_m, known, axis=0)).all()
        places = project(truth, DEXTER_K)
        low = np.array((hand.box.x, hand.box.y))
        assert (places > low).all()
        assert (places < low + hand.box.width).all(), "the whole hand is in its box"


def test_what_is_wrong_with_it_is_said(folder):
    labels = folder / "data/Pinch/annotations/Pinch3D.txt"
    good = labels.read_text()
    labels.write_text(good + good.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"Pinch3D.txt: labels 4 pictures, but there are 3"):
        read_dexter_object(folder)
    labels.write_text(good.replace(";", " "))
    with pytest.raises(ValueError, match=r"Pinch3D.txt, line 1: must begin with five fields"):
        read_dexter_object(folder)
    labels.unlink()
    with pytest.raises(FileNotFoundError, match=r"no .*Pinch3D.txt; unpack Dexter\+Object whole"):
        read_dexter_object(folder)


def test_tips_alone_can_be_measured(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = ("--set", folder, "--limit", 2, "--refine", 0, "--json", tmp_path / "a.json")
    assert main(["evaluate", *(str(option) for option in options)]) == 0
    result = json.loads((tmp_path / "a.json").read_text())
    assert result["set"] == "dexter+object"
    assert "mean of the labelled joints" in result["alignment"]
    assert result["details"]["alignments"].keys() == {"absolute", "shift", "Procrustes"}
    assert result["details"]["by_joint"]["mm"]["wrist"] is None
    assert result["details"]["by_joint"]["mm"]["index4"] > 0
    assert result["err2d_px"] > 0
