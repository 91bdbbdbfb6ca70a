"""Each switch of an ablation does what it says, and ``dhpe ablate`` compares fairly."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from svg import curves

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.evaluation import ablation, synthetic_set
from dhpe_lab.synthesis.synthesis import load_synthetic, write_synthetic
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.batches import MixedBatches
from dhpe_lab.training.config import LossConfig, TrainConfig
from dhpe_lab.training.state import TrainingState
from dhpe_lab.training.total_loss import total_loss
from dhpe_lab.training.train_log import read_log
from dhpe_lab.training.validation import CROP_SCALE
from dhpe_ros.cli import main as cli
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.networks.weights import (
    build_networks,
    hand_model_path,
    load_networks,
    save_networks,
    weights_path,
)
from dhpe_ros.types import Box

CPU = torch.device("cpu")
HEAT_MAPS = "trunk.heatmap_head"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A few synthetic hands only, and not in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(synthetic_set, "_SHARD", 2)
        yield


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, 6, seed=0)
    return folder


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


# ---------------------------------------------------------------- switches


def _train(synthetic, output, *changes):
    settings = {
        "data.synthetic": synthetic,
        "model.initial": weights_path("lite"),
        "data.batch": 2,
        "budget.steps": 1,
        "budget.evidence_share": 0.0,
        "learning.warmup_steps": 1,
        "learning.weight_decay": 0.0,
        "run.log_steps": 1,
        "run.output": output,
    }
    assert cli.main(["train", *(f"{name}={v}" for name, v in settings.items()), *changes]) == 0
    state = torch.load(output / "last.state", weights_only=True)["networks"]
    return state, read_log(output)[0]


@pytest.fixture(scope="module")
def begin():
    state = TrainingState.begin(
        TrainConfig.from_mapping({"model.initial": str(weights_path("lite"))}), CPU
    )
    return torch.nn.ModuleList(state.networks.modules()).state_dict()


def _moved(state, begin, part):
    names = [name for name in begin if part in name]
    assert names
    return any(not torch.equal(state[name], begin[name]) for name in names)


def test_without_2d_losses_the_heat_maps_do_not_learn(synthetic, tmp_path, begin):
    complete, _ = _train(synthetic, tmp_path / "complete")
    without, _ = _train(synthetic, tmp_path / "without", "loss.heatmaps=0", "loss.refined=0")
    assert _moved(complete, begin, HEAT_MAPS)
    assert not _moved(without, begin, HEAT_MAPS)
    assert _moved(without, begin, "1.regressor.")


def test_a_factor_of_zero_leaves_a_term_out(synthetic, tmp_path):
    left_out = ("heatmaps", "refined", "silhouette")
    changes = (f"loss.{name}=0" for name in left_out)
    _, row = _train(synthetic, tmp_path, "loss.gate=false", *changes)
    terms = {n.removeprefix("loss/"): v for n, v in row.items() if n.startswith("loss/")}
    total = terms.pop("total")
    assert all(terms.pop(name) > 0.01 for name in left_out)
    assert total == pytest.approx(sum(terms.values()), abs=1e-4)


def test_without_a_gate_the_shape_counts_however_far_off_the_joints_are(synthetic, projection):
    torch.manual_seed(0)
    networks = build_networks("lite")
    batch = MixedBatches(load_synthetic(synthetic), [], 4, seed=2)[0]
    assert batch.synthetic.any()
    gated, always = (
        total_loss(networks, projection, batch, config=LossConfig(gate=gated))["silhouette"]
        for gated in (True, False)
    )
    assert gated == 0
    assert always > 0.01


def test_without_a_refiner_the_joints_stay_those_of_the_heat_maps(projection, tmp_path):
    torch.manual_seed(0)
    evidence = Evidence(
        torch.randn(2, 2048), torch.rand(2, 21, 2), torch.ones(2, 21), torch.ones(2)
    )
    for refiner in (True, False):
        estimates = MeshEstimator(8, refiner).eval()(evidence, projection)
        same = [torch.equal(one.joints_2d, evidence.joints) for one in estimates]
        assert same == 3 * [not refiner]
        assert not torch.equal(estimates[0].parameters, estimates[2].parameters)


def test_weights_without_a_refiner_say_so(synthetic, projection, tmp_path):
    shipped = {"model.initial": str(weights_path("lite"))}
    config = TrainConfig.from_mapping({**shipped, "model.refiner": False})
    without = TrainingState.begin(config, CPU).networks
    batch = MixedBatches(load_synthetic(synthetic), [], 2, seed=0)[0]
    assert "refined" not in total_loss(without, projection, batch)
    save_networks(without, tmp_path / "without.safetensors", {})
    loaded = load_networks(tmp_path / "without.safetensors", "lite")
    assert loaded.mesh_estimator.refiner is None
    again = TrainConfig.from_mapping({"model.initial": str(tmp_path / "without.safetensors")})
    with pytest.raises(ValueError, match="has no refiner"):
        TrainingState.begin(again, CPU)


def _photograph(right):
    rng = np.random.default_rng(0)
    return Sample(
        image=rng.integers(0, 256, (90, 120, 3), np.uint8),
        joints_px=rng.uniform(30, 70, (21, 2)).astype(np.float32),
        right=right,
        source="somewhere",
        mask=np.full((90, 120), 255, np.uint8),
        opacity=np.full((90, 120), 255, np.uint8),
    )


@pytest.mark.parametrize("right", [True, False])
def test_without_augmentation_a_hand_is_seen_as_it_is_evaluated(right):
    sample = _photograph(right)
    views = [augment(sample, [], np.random.default_rng(k), varied=False) for k in range(12)]
    assert {view.right for view in views} == {True, False}  # mirrored as ever
    crops = {
        mirrored: crop_image(
            sample.image, Box.around(sample.joints_px).squared(CROP_SCALE), mirrored=mirrored
        )
        for mirrored in (True, False)
    }
    for view in views:
        crop = crops[view.right != right]
        np.testing.assert_allclose(view.joints, crop.to_crop(sample.joints_px), atol=1e-4)
    for side in (True, False):
        first, *others = [view.image for view in views if view.right == side]
        assert all(np.array_equal(first, other) for other in others)
    assert not np.array_equal(
        *(augment(sample, [], np.random.default_rng(k)).joints for k in range(2))
    )


def test_without_augmentation_rendered_hands_still_get_backgrounds(synthetic):
    sample = load_synthetic(synthetic)[0]
    backgrounds = [np.full((64, 64, 3), (250, 10, 10), np.uint8)]
    views = [augment(sample, backgrounds, np.random.default_rng(k), varied=False) for k in range(9)]
    upright = [view for view in views if view.right]
    assert any(view.image[0, 0].tolist() == [250, 10, 10] for view in upright)
    for view in upright:
        np.testing.assert_array_equal(view.rotation, sample.rotation)
        np.testing.assert_array_equal(view.mask, upright[0].mask)


# ---------------------------------------------------------------- the comparison


def test_variants_differ_from_the_complete_training_by_their_switch_alone(tmp_path):
    base = TrainConfig.from_mapping(
        {"model.initial": "start.safetensors", "self_supervision.share": 0.2}
    )
    known = base.as_mapping()
    for variant in ablation.VARIANTS:
        config = ablation.variant_config(variant, base, tmp_path).as_mapping()
        differing = {name for name, value in config.items() if value != known[name]}
        expected = {"run.output", *variant.changes}
        assert differing == expected | ({"learning.seed"} if variant.other_seed else set())
    names = [variant.name for variant in ablation.VARIANTS]
    assert len(set(names)) == len(names)


def test_what_the_settings_leave_out_already_is_no_variant(tmp_path):
    (variant,) = [v for v in ablation.VARIANTS if v.name == "no_self_supervision"]
    with pytest.raises(ValueError, match=r"complete training has self_supervision\.share"):
        ablation.variant_config(variant, TrainConfig(), tmp_path)


def _ablate(synthetic, output, *options):
    return cli.main(_words(synthetic, output, *options))


def _words(synthetic, output, *options):
    arguments = (
        "--output", output, "--limit", 2, "--refine", 1, "--initial", weights_path("lite"),
        *options, f"data.synthetic={synthetic}", "data.batch=2", "budget.evidence_share=0",
    )  # fmt: skip
    return ["ablate", *(str(argument) for argument in arguments)]


def test_a_comparison_is_written_and_goes_on_where_it_was(synthetic, tmp_path, monkeypatch, capsys):
    options = ("--steps", 1, "--variants", "start,complete,no_refiner")

    def fails(config, device, prepare=ablation.prepare):
        if not config.model.refiner:
            raise ValueError("out of luck")
        return prepare(config, device)

    with monkeypatch.context() as patch:
        patch.setattr(ablation, "prepare", fails)
        assert _ablate(synthetic, tmp_path, *options) == 1
    assert "- no_refiner failed: out of luck" in (tmp_path / "ablation.md").read_text()
    first = json.loads((tmp_path / "ablation.json").read_text())
    assert [row["name"] for row in first["variants"]] == ["start", "complete"]

    capsys.readouterr()
    trained = []
    monkeypatch.setattr(
        ablation, "train", lambda run, train=ablation.train: trained.append(run) or train(run)
    )
    assert _ablate(synthetic, tmp_path, *options) == 0
    assert [run.config.model.refiner for run in trained] == [False]
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert result["variants"][:2] == first["variants"]
    start, complete, _ = result["variants"]
    assert [one["refinement_steps"] for one in start["measured"]] == [0, 1]
    assert start["measured"][0]["figures"]["n"] == 2
    assert start["measured"][0]["figures"] != complete["measured"][0]["figures"]
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "ablation.md").read_text()
    assert "failed" not in printed
    lines = curves((tmp_path / "curves.svg").read_bytes())
    assert len(lines) == 3 * 2  # variants, with refinement and without

    assert _ablate(synthetic, tmp_path, "--steps", 2) == 2
    assert "another steps" in capsys.readouterr().err


def test_a_fresh_mesh_network_keeps_the_evidence_and_is_the_same_again(tmp_path):
    base = TrainConfig().replace({"model.initial": str(weights_path("lite"))})
    shipped = load_networks(weights_path("lite"), "lite")
    files = [tmp_path / name for name in ("one.safetensors", "two.safetensors")]
    begun = [ablation.with_fresh_mesh(base, file) for file in files]
    assert [config.model.initial for config in begun] == [str(file) for file in files]
    fresh, again = (load_networks(file, "lite") for file in files)
    for kept, new in zip(shipped.evidence.parameters(), fresh.evidence.parameters(), strict=True):
        assert torch.equal(kept, new)
    pairs = [network.mesh_estimator.state_dict() for network in (shipped, fresh, again)]
    for name, trained in pairs[0].items():
        assert torch.equal(pairs[1][name], pairs[2][name])
        assert not torch.equal(trained, pairs[1][name])


@pytest.mark.slow
def test_two_processes_train_together_and_one_measures(synthetic, tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words = _words(synthetic, tmp_path, "--budget", 0.01, "--variants", "complete", "--fresh-mesh")
    command = [*launcher, "--nproc-per-node", "2", "-m", "dhpe_ros.cli", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "ablation.md").read_text()
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert result["about"]["batch"] == 4
    assert [row["name"] for row in result["variants"]] == ["complete"]
    assert read_log(tmp_path / "complete")[-1]["step"] == result["about"]["steps"]


def test_minutes_become_steps_once(synthetic, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(ablation, "steps_within", lambda *given: asked.append(given[1]) or 7)
    budgets = []
    monkeypatch.setattr(
        ablation,
        "run_variant",
        lambda variant, config, *_: (
            budgets.append(config.budget) or {"label": variant.label, "name": "", "measured": []}
        ),
    )
    for _ in range(2):
        options = ("--budget", 0.5, "--variants", "complete,other_seed")
        assert _ablate(synthetic, tmp_path, *options) == 0
    assert asked == [0.5]
    assert {(budget.steps, budget.minutes) for budget in budgets} == {(7, 0.0)}


def test_steps_are_those_of_a_trial_at_this_batch(synthetic, monkeypatch):
    speeds = [{"images_per_s": 1.0}] * 5 + [{"images_per_s": 30.0}] * 10 + [{"check/x": 0.0}]
    monkeypatch.setattr(ablation, "prepare", lambda config, device: None)
    monkeypatch.setattr(ablation, "train", lambda run: True)
    monkeypatch.setattr(ablation, "read_log", lambda folder: speeds)
    base = TrainConfig.from_mapping({"data.batch": 6})
    assert ablation.steps_within(base, 2.0, CPU) == 600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--steps", 0), "--steps must be >= 1"),
        (("--budget", "nan"), "--budget must be minutes above 0"),
        (("--steps", 1, "--variants", "no_refinr"), "did you mean no_refiner"),
        (("--steps", 1, "--initial", "nowhere"), "there is no file nowhere"),
        ((), "--budget --steps is required"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused_in_one_line(options, said, tmp_path, capsys):
    assert _ablate("nowhere", tmp_path, *options) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_a_refused_comparison_leaves_its_folder_to_the_corrected_one(tmp_path, capsys):
    folder = tmp_path / "comparison"
    assert _ablate("", folder, "--steps", 1) == 2
    assert "nothing to learn from" in capsys.readouterr().err
    assert _ablate("nowhere", folder, "--steps", 1) == 2
    assert "data.synthetic: there is no folder nowhere" in capsys.readouterr().err
    assert _ablate(tmp_path, folder, "--steps", 1, "--real", tmp_path) == 2
    assert "neither signs/labels.json nor wild/labels.json" in capsys.readouterr().err
    assert not (folder / "plan.json").exists()


@pytest.mark.parametrize("text", ["[]", "{}", '{"asked": 1}', "null", "{"])
def test_another_program_s_plan_is_refused(text, tmp_path, capsys):
    (tmp_path / "plan.json").write_text(text)
    assert _ablate(tmp_path, tmp_path, "--steps", 1) == 2
    assert "plan.json is of no comparison" in capsys.readouterr().err
    assert (tmp_path / "plan.json").read_text() == text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused_in_one_line(synthetic, tmp_path, capsys):
    assert _ablate(synthetic, tmp_path, "--steps", 1, "model.device=cuda") == 2
    errors = capsys.readouterr().err
    assert "device 'cuda' is not there" in errors
    assert errors.count("\n") == 1
