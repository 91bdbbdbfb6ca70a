"""The fitting baselines find hands, and ``dhpe study`` compares like with like."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from svg import curves
from torch.nn.functional import normalize

from dhpe_lab.evaluation import baselines, synthetic_set
from dhpe_lab.evaluation.baselines import fit_keypoints, swarm
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.refinement_study import PAPER
from dhpe_lab.evaluation.score import score, summary
from dhpe_ros.cli.main import main
from dhpe_ros.config import Config
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import build_evidence
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement.objective import geometric_objective
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.types import MIDDLE_MCP

UNLABELLED = Path(__file__).resolve().parents[2] / "docs/images/synthetic_hands.png"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A few synthetic hands only, and not in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(synthetic_set, "_SHARD", 2)
        yield


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


@pytest.fixture(scope="module")
def evidence():
    """Never asked by what is tested here."""
    return build_evidence("lite").eval().requires_grad_(False)


@pytest.fixture
def small_swarm(monkeypatch):
    monkeypatch.setattr(baselines, "PARTICLES", 16)
    monkeypatch.setattr(baselines, "GENERATIONS", 8)


def _posed(projection, seed):
    """A hand from any side, and its exact 2D joints."""
    draws = torch.Generator().manual_seed(seed)
    truth = HandParameters.start(1)
    truth[:, 4:8] = normalize(torch.randn(1, 4, generator=draws))
    theta_std = projection.hand_model.theta_std
    truth[:, 8:53] = 0.5 * theta_std * torch.randn(1, 45, generator=draws)
    truth[:, 53:] = 0.5 * torch.randn(1, 10, generator=draws)
    with torch.no_grad():
        joints = projection(truth).joints
    nothing = torch.zeros(1, 3, 128, 128), torch.zeros(1, 2048)
    return truth, joints, Observation(*nothing, joints[..., :2], torch.ones(1, 21))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_keypoints_alone_recover_a_posed_hand(projection, evidence, seed):
    _, joints, observation = _posed(projection, seed)
    found = projection(fit_keypoints(observation, projection, evidence)).joints
    side = (joints[0, :, :2].amax(0) - joints[0, :, :2].amin(0)).max()
    about_root = found - found[:, [MIDDLE_MCP]] - (joints - joints[:, [MIDDLE_MCP]])
    assert (found - joints)[..., :2].norm(dim=2).mean() < 0.02 * side
    assert about_root.norm(dim=2).mean() < 0.05 * side


def test_sides_are_rotations_all_different():
    sides = baselines._sides(torch.zeros(1))
    assert sides.shape == (14, 4)
    torch.testing.assert_close(sides.norm(dim=1), torch.ones(14))
    alike = (sides @ sides.T).abs() - torch.eye(14)
    assert alike.max() < 0.95


def test_a_swarm_lowers_the_objective_the_same_way_for_a_seed(projection, evidence, small_swarm):
    truth, _, observation = _posed(projection, 3)
    start = truth.clone()
    start[:, 1:3] += 0.05
    start[:, 8:53] += 0.3 * torch.randn(1, 45, generator=torch.Generator().manual_seed(0))
    first, again, other = (swarm(start, observation, projection, PAPER, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    before, after = (
        float(geometric_objective(h, observation, projection, PAPER)) for h in (start, first)
    )
    assert after < 0.8 * before


def test_a_swarm_never_leaves_a_perfect_start(projection, evidence, small_swarm):
    truth, _, observation = _posed(projection, 4)
    joints_alone = dataclasses.replace(PAPER, laplacian_weight=0.0)
    found = swarm(truth, observation, projection, joints_alone, 0)
    torch.testing.assert_close(found, truth)


def study(*options):
    return main(["study", *(str(option) for option in options)])


@pytest.mark.slow
def test_every_method_is_compared_from_the_same_estimate(tmp_path, small_swarm, capsys):
    results = []
    for name in ("first", "second"):
        files = ("--picture", tmp_path / f"{name}.svg", "--json", tmp_path / f"{name}.json")
        options = ("--set", "synthetic", "--limit", 2, "--steps", 3, 1)
        assert study(*options, *files) == 0
        results.append(json.loads((tmp_path / f"{name}.json").read_text())["rows"])
    rows = [{k: v for k, v in row.items() if k != "ms"} for row in results[0]]
    assert rows == [{k: v for k, v in row.items() if k != "ms"} for row in results[1]]
    assert [(row["method"], row["steps"]) for row in rows] == [
        ("networks alone", 0),
        ("Eq. 13, Adam", 1),
        ("Eq. 13, Adam", 3),
        ("Levenberg-Marquardt", 1),
        ("Levenberg-Marquardt", 3),
        ("particle swarm", None),
        ("keypoints only", None),
    ]

    pipeline = HandPipeline(Config().replace({"refinement.steps": 0}))
    labelled = synthetic_set.open_synthetic(2)
    plain = summary([score(one) for one in predict(pipeline, labelled)])
    for figure in ("err2d_pct", "mask_iou", "auc_20_50"):
        assert rows[0][figure] == pytest.approx(plain[figure], abs=2e-3), figure
    by_method = {(row["method"], row["steps"]): row["objective"] for row in rows}
    assert by_method["Eq. 13, Adam", 3] < by_method["Eq. 13, Adam", 1] < rows[0]["objective"]

    printed = capsys.readouterr().out
    table = re.findall(r"^\| (.+?) \| (\S+) \| (\S+) \|", printed, re.M)
    assert ("networks alone", "0", f"{rows[0]['err2d_pct']:.2f}") in table
    assert {row["method"] for row in rows} <= {name for name, _, _ in table}
    lines = curves((tmp_path / "first.svg").read_bytes())
    assert lines.keys() == {
        f"synthetic, {figure}: {method}" for figure in ("2D %", "IoU", "AUC", "E")
        for method in dict.fromkeys(row["method"] for row in rows[1:])
    }  # fmt: skip
    assert all(len(points) == 3 for points in lines.values())


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("--steps must be 1 to 1000 each, got 5 0", ("--steps", 5, 0)),
        ("--limit must be >= 1", ("--limit", 0)),
        ("--seed must be >= 0", ("--seed", -1)),
        ("curves are drawn as .svg", ("--picture", "a.png")),
        ("there is no folder nowhere", ("--json", "nowhere/a.json")),
        ("name the one that holds wild/", ("--set", "synthetic", "wild", "--real", "nowhere")),
        ("there is no such folder or file", ("--set", "nowhere")),
        ("synthetic_hands.png: study needs labelled hands", ("--set", UNLABELLED)),
        ("nothing.safetensors", ("--weights", "nothing.safetensors")),
    ],
)
def test_a_study_that_cannot_be_made_is_refused_in_one_line(said, options, capsys):
    assert study("--set", "synthetic", "--limit", 1, *options) == 2
    errors = capsys.readouterr().err.splitlines()[-1]
    assert said in errors
    assert errors.startswith("dhpe: error: ")
