"""The recorded results still come out; ``record.py`` says what they are and how to renew them."""

import numpy as np
import pytest
import record

from dhpe_ros.config import Config
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline

# Another processor or another number of threads sums in another order. The refinement passes that
# on to the joints, by less than this; of a hand between two answers, by more.
PIXELS, METRES, SCORE = 0.5, 1e-3, 1e-2
SHARE = 0.97

pytestmark = [pytest.mark.golden, pytest.mark.usefixtures("one_thread")]


@pytest.fixture(scope="module")
def pipeline(one_thread):
    return HandPipeline(Config().replace({"model.backend": "eager"}))


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


def recorded(name):
    with np.load(record.FOLDER / f"{name}.npz") as archive:
        return dict(archive)


def same_hands(now, name):
    before = recorded(name)
    for exact in ("frame", "side", "track_id"):
        np.testing.assert_array_equal(now[exact], before[exact], exact)
    for values, within in (("score", SCORE), ("joints_px", PIXELS), ("joints_m", METRES)):
        away = np.abs(now[values] - before[values])
        assert (away <= within).mean() >= SHARE, values


def test_hands_of_the_clip(pipeline):
    same_hands(record.clip(pipeline), "clip")


def test_hands_of_pictures(pipeline):
    same_hands(record.pictures(pipeline), "pictures")


def test_evaluation_table(pipeline):
    now, before = record.evaluation_table(pipeline), recorded("evaluation_table")
    assert now.keys() == before.keys()
    for name, value in before.items():
        assert now[name] == pytest.approx(value, rel=0.02, abs=0.02), name


def test_synthetic_batch(model):
    now, before = record.synthetic_batch(model), recorded("synthetic_batch")
    assert now.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_allclose(now[name], value, rtol=0, atol=2e-3, err_msg=name)


def test_training_step(model):
    now, before = record.training_step(model), recorded("training_step")
    assert now.keys() == before.keys()
    for name, value in before.items():
        assert now[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name
