"""Training from random weights learns to see hands: better than any answer that looks at none."""

import cv2
import numpy as np
import pytest

from dhpe_lab.synthesis.synthesis import load_synthetic, write_synthetic
from dhpe_lab.training.validation import crops_of, validate
from dhpe_ros.cli import main as cli
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path, load_networks

SMALL = 64  # pixels a side: four times as many hands in the time


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_a_short_training_beats_the_best_constant(tmp_path):
    """Of 2D joints and of the mesh, on hands never seen, before grey; 90 seconds of training.

    Of three seeds the errors came to 0.76 to 0.79 of the constant's, the mesh's to 0.84 to 0.85;
    untrained, 1.8 and 1.4. Half the steps are too few: 0.82 and 0.98.
    """
    write_synthetic(tmp_path / "hands", 600, seed=0)
    write_synthetic(tmp_path / "held_back", 200, seed=99)
    hands, held_back = (load_synthetic(tmp_path / name) for name in ("hands", "held_back"))
    learnt = errors(train(tmp_path), held_back)
    constant = constant_error(hands, held_back)
    assert learnt["evidence"] < 0.88 * constant
    assert learnt["mesh"] < 0.92 * constant


def train(folder, **changes):
    """The averaged networks of a run on ``hands`` in ``folder``."""
    (folder / "grey").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "grey" / "grey.png"), np.full((SMALL, SMALL, 3), 127, np.uint8))
    settings = {
        "data.synthetic": folder / "hands",
        "data.backgrounds": folder / "grey",
        "data.augmentation": "false",
        "budget.minutes": 0.0,
        "budget.steps": 300,
        "budget.half_size_share": 1.0,
        "budget.evidence_share": 0.0,
        "learning.rate": 0.003,
        "learning.warmup_steps": 20,
        "learning.ema_decay": 0.95,
        "loss.features": 0.0,
        "loss.silhouette": 0.0,
        "run.check_minutes": 0.0,
        "run.output": folder / "run",
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    assert cli.main(["train", *(f"{name}={value}" for name, value in settings.items())]) == 0
    networks = load_networks(folder / "run" / "last.safetensors", "lite")
    networks.evidence.feature_size = SMALL
    return networks


def errors(networks, held_back):
    return validate(networks, Projection(HandModel(hand_model_path())).eval(), held_back)


def constant_error(hands, held_back):
    """As ``validate`` measures, of always answering the mean hand."""
    answer = crops_of(hands)[1].mean(0)
    _, truth, length = crops_of(held_back)
    return 100 * float(((answer - truth).norm(dim=-1).mean(1) / length).mean())
