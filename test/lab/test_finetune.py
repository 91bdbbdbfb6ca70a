"""Own recordings: which hands are learnt from, and that worse weights are never written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dhpe_lab.commands import finetune as command
from dhpe_lab.training import finetune, own_hands
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.finetune import Outcome
from dhpe_ros.cli.main import main
from dhpe_ros.config import Config
from dhpe_ros.media import open_media
from dhpe_ros.networks.weights import load_networks, weights_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Box

CLIP = Path(__file__).resolve().parents[2] / "dhpe_ros/assets/demo_clip.mp4"


def figures(evidence: float, mesh: float) -> dict[str, float]:
    return {"evidence": evidence, "mesh": mesh, "side": 0.0}


@pytest.mark.parametrize(
    ("own", "rendered", "better"),
    [
        (((5, 9), (4, 8)), ((6, 10), (6, 10)), True),
        (((5, 9), (5, 9)), ((6, 10), (6, 10)), False),  # nothing gained
        (((5, 9), (4, 11)), ((6, 10), (6, 10)), False),  # the mesh lost more
        (((5, 9), (4, 8)), ((6, 10), (6.1, 10.1)), True),  # within what may be forgotten
        (((5, 9), (1, 1)), ((6, 10), (7, 10)), False),  # too much forgotten
    ],
)
def test_weights_are_better_only_if_nothing_gets_worse(own, rendered, better):
    before, after = ({"held back": figures(*o), "rendered": figures(*r)}
                     for o, r in zip(own, rendered, strict=True))  # fmt: skip
    assert Outcome(before, after, {}).better is better


@pytest.fixture(scope="module")
def seen():
    """Hands of the demo's clip, whose labels are exact."""
    pipeline = HandPipeline(Config().replace({"refinement.steps": 5}))
    frames = iter(own_hands.own_hands(pipeline, open_media(CLIP)))
    return pipeline, [next(frames) for _ in range(6)]


def test_looks_agree_near_the_truth(seen):
    _, hands = seen
    truth = json.loads(CLIP.with_suffix(".json").read_text())["frames"]
    kept = [hand for hand in hands if hand is not None]
    assert len(kept) >= 3
    for hand in kept:
        sample, joints = hand.sample, np.array(truth[hand.frame]["joints_px"])
        assert sample.right
        assert sample.mask.shape == sample.image.shape[:2]
        # A patch is a square of the picture: sizes alone are compared.
        length, true = np.ptp(sample.joints_px, axis=0), np.ptp(joints, axis=0)
        np.testing.assert_allclose(length[0] / length[1], true[0] / true[1], rtol=0.2)
        columns, rows = sample.joints_px.round().astype(int).T
        assert sample.mask[rows, columns].mean() > 0.7 * 255
        assert hand.photo.vertices.shape == (778, 3)
        assert np.abs(hand.photo.vertices[:, :2]).max() < 1.2


def test_looks_that_disagree_are_no_label(seen, monkeypatch):
    pipeline, hands = seen
    hand = next(hand for hand in hands if hand is not None)
    image = hand.sample.image
    found = pipeline.estimate(image)[0]
    square, length = Box(0, 0, len(image), len(image)), float(np.ptp(found.joints_px, 0).max())
    agreed = own_hands.agreed_joints(pipeline, image, found, square, length)
    assert agreed is not None
    off = replace(found, joints_px=found.joints_px + 0.3 * length)
    assert own_hands.agreed_joints(pipeline, image, off, square, length) is None


def test_too_few_hands_are_refused_with_the_remedy(tmp_path, capsys):
    options = (CLIP, "--output", tmp_path / "out", "--frames", 2)
    assert main(["finetune", *(str(option) for option in options)]) == 2
    assert "of 20 at least; record more" in capsys.readouterr().err
    assert main(["finetune", str(CLIP), "--output", str(tmp_path), "--frames", "0"]) == 2


def test_a_run_reports_both_and_keeps_the_base(seen, tmp_path, capsys, monkeypatch):
    """A step that cannot help: the verdict is that of the figures, the base weights stay."""
    monkeypatch.setattr(finetune, "REHEARSED", 4)
    monkeypatch.setattr(finetune, "CHECKED", 4)
    monkeypatch.setattr(finetune, "VIEWED", 1)
    monkeypatch.setattr(finetune, "LEAST_HANDS", 3)
    kept = [hand for hand in seen[1] if hand is not None]
    monkeypatch.setattr(command, "_hands", lambda arguments, config: kept)
    base = weights_path("lite").read_bytes()
    options = ["finetune", str(CLIP), "--output", str(tmp_path / "a"), "--device", "cpu",
               "--settings", "budget.steps=1", "data.batch=2"]  # fmt: skip
    code = main(options)
    report = json.loads((tmp_path / "a/finetune.json").read_text())
    assert code == (0 if report["better"] else 1)
    assert (tmp_path / "a/finetuned.safetensors").exists() is report["better"]
    assert report["before"]["held back"].keys() == {"evidence", "mesh", "side"}
    assert report["before"] != report["after"]
    assert report["hands"]["held back"] >= 1
    shown = capsys.readouterr().out
    assert "held back, mesh" in shown
    assert weights_path("lite").read_bytes() == base
    assert main(options) == 2, "a run that is there is not overwritten"

    good = Outcome(
        {"held back": figures(5, 9), "rendered": figures(6, 10)},
        {"held back": figures(4, 8), "rendered": figures(6, 10)},
        {},
    )
    config = TrainConfig().replace({"run.output": str(tmp_path / "a/run")})
    assert finetune.accept(good, config, tmp_path / "b.safetensors")
    about = load_networks(tmp_path / "b.safetensors", "lite").training
    assert about["finetuned"]["after"]["held back"]["mesh"] == 8
