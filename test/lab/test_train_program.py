"""``dhpe train``: a run in its folder, resumed, watched, shared; tiny data, few steps."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from dhpe_lab.synthesis.synthesis import load_synthetic, write_synthetic
from dhpe_lab.training import checks, state, train, train_log
from dhpe_lab.training.batches import MixedBatches
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.state import TrainingState, compute_s
from dhpe_lab.training.total_loss import total_loss
from dhpe_lab.training.train import schedule
from dhpe_lab.training.train_log import TrainLog, read_log
from dhpe_ros.cli import main as cli
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks import weights
from dhpe_ros.networks.evidence import build_evidence
from dhpe_ros.networks.weights import build_networks, hand_model_path, load_networks

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("-m", "dhpe_ros.cli", "train")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    write_synthetic(folder, 6, seed=0)
    return folder


pytestmark = pytest.mark.usefixtures("one_thread")


def settings(synthetic, output, **changes):
    chosen = {
        "data.synthetic": synthetic,
        "data.batch": 2,
        "budget.steps": 6,
        "budget.evidence_share": 0.1,
        "run.output": output,
        "run.check_steps": 2,
        "run.check_minutes": 0.0,
        "run.log_steps": 1,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return [f"{name}={value}" for name, value in chosen.items()]


def state_of(folder):
    return torch.load(folder / "last.state", weights_only=True)


def losses_of(folder):
    return [(row["step"], row["loss/total"]) for row in read_log(folder) if "loss/total" in row]


@pytest.fixture(scope="module")
def whole_run(synthetic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert cli.main(["train", *settings(synthetic, folder)]) == 0
    return folder


# ---------------------------------------------------------------- a run and its folder


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_been(whole_run, synthetic, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, *PROGRAM, *settings(synthetic, folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        until = time.monotonic() + 240
        while not (folder / "last.state").exists() and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        process.kill()
        said = process.stderr.read().decode()
    assert process.returncode == -signal.SIGKILL, said
    assert 0 < state_of(folder)["position"]["step"] < 6
    assert cli.main(["train", "--resume", str(folder), "data.workers=1"]) == 0
    resumed, uninterrupted = state_of(folder), state_of(whole_run)
    for part in ("networks", "averaged"):
        for name, tensor in uninterrupted[part].items():
            assert torch.equal(resumed[part][name], tensor), (part, name)
    for number, moments in uninterrupted["optimizer"]["state"].items():
        for name, tensor in moments.items():
            assert torch.equal(resumed["optimizer"]["state"][number][name], tensor), name
    assert losses_of(folder) == losses_of(whole_run)
    assert resumed["position"]["best"] == uninterrupted["position"]["best"]


def test_checkpoints_say_how_they_came_to_be(whole_run):
    networks = load_networks(whole_run / "last.safetensors", "lite")
    about = networks.training
    assert about["steps"] == 6
    assert about["config"]["learning.seed"] == 0
    assert about["config"]["data.batch"] == 2
    assert "/" not in about["config"]["data.synthetic"]  # this machine's folders are nobody's
    assert about["data"]["samples"] == {"synthetic": 5}
    assert about["data"]["held_back"] == {"synthetic": 1}
    assert about["validation"]["mean.mesh"] > 0
    assert about["commit"] == checks.commit()
    averaged = state_of(whole_run)["averaged"]
    for name, tensor in networks.evidence.state_dict().items():
        assert torch.allclose(tensor, averaged[f"0.{name}"], atol=1e-3, rtol=1e-3), name


def test_the_mesh_joins_after_the_evidence(whole_run):
    stages = [row for row in read_log(whole_run) if "loss/total" in row]
    with_mesh = [row["step"] for row in stages if "loss/skeleton" in row]
    assert with_mesh == [2, 3, 4, 5, 6]  # a tenth of the budget is over after one step
    assert all("loss/heatmaps" in row for row in stages)


def test_pictures_are_taken_at_every_check(whole_run):
    assert len(list((whole_run / "pictures").glob("*.jpg"))) == 3


def test_the_best_checkpoint_has_the_lowest_figure(synthetic, tmp_path, monkeypatch):
    figures = iter((3.0, 1.0, 2.0))
    monkeypatch.setattr(checks, "measure", lambda *_: {"mean.mesh": next(figures)})
    changes = {"run__check_steps": 1, "budget__steps": 3, "budget__evidence_share": 1.0}
    assert cli.main(["train", *settings(synthetic, tmp_path, **changes)]) == 0
    assert load_networks(tmp_path / "best.safetensors", "lite").training["steps"] == 2
    assert load_networks(tmp_path / "last.safetensors", "lite").training["steps"] == 3


def test_a_run_ended_by_time_has_read_its_data_and_been_checked_within_it(
    synthetic, tmp_path, monkeypatch
):
    """By a clock of the test's own: reading takes 5 seconds, a step one, a check 12."""
    clock, measure = _Clock(), checks.measure
    monkeypatch.setattr(state, "time", clock)
    monkeypatch.setattr(train, "load_data", clock.takes(5, train.load_data))
    monkeypatch.setattr(checks, "measure", clock.takes(12, measure))
    monkeypatch.setattr(MixedBatches, "packed", clock.takes(1, MixedBatches.packed))
    changes = {"budget__steps": 0, "budget__minutes": 1.0, "budget__evidence_share": 1.0}
    chosen = settings(synthetic, tmp_path, run__check_steps=0, run__check_minutes=5.0, **changes)
    assert cli.main(["train", *chosen, "run.log_steps=4"]) == 0
    checked = [row["step"] for row in read_log(tmp_path) if "check/mean.mesh" in row]
    assert checked == [4, 31]  # what a check takes is known from an early one
    assert clock.now == 60
    assert load_networks(tmp_path / "last.safetensors", "lite").training["steps"] == 31
    monkeypatch.setattr(checks, "check", None)
    assert cli.main(["train", "--resume", str(tmp_path)]) == 0  # the budget is used up


def test_a_wait_uses_up_no_budget_on_a_cpu():
    begun = compute_s(torch.device("cpu"))
    time.sleep(0.3)  # as when other programs have the processor
    assert compute_s(torch.device("cpu")) - begun < 0.2


class _Clock:
    """In the place of ``time``; goes on when told what something takes, on all threads."""

    def __init__(self):
        self.now = 0.0

    def process_time(self):
        return self.now * torch.get_num_threads()

    def takes(self, seconds, act):
        def timed(*arguments):
            self.now += seconds
            return act(*arguments)

        return timed


@pytest.mark.parametrize(
    ("part", "tensor"),
    [("evidence.mask_head", "fine.0.weight"), ("evidence.hand_head", "2.weight")],
)
def test_a_part_learns_alone_and_may_be_missing_in_the_weights(
    whole_run, synthetic, tmp_path, part, tensor
):
    known = load_file(whole_run / "last.safetensors")
    rest = {name: value for name, value in known.items() if not name.startswith(part)}
    with safe_open(whole_run / "last.safetensors", "pt") as file:
        about = json.loads(file.metadata()["dhpe_ros"])
    weights._write(tmp_path / "old.safetensors", about, rest)
    with pytest.raises(ValueError, match=rf"lacks {part}.*learning\.only"):
        load_networks(tmp_path / "old.safetensors", "lite")
    changes = {"model__initial": tmp_path / "old.safetensors", "budget__evidence_share": 1.0}
    chosen = settings(synthetic, tmp_path / "run", learning__only=part, **changes)
    assert cli.main(["train", *chosen]) == 0
    learnt = load_file(tmp_path / "run" / "last.safetensors")
    assert all(torch.equal(learnt[name], value) for name, value in rest.items())
    assert not torch.equal(learnt[f"{part}.{tensor}"], known[f"{part}.{tensor}"])


def _stored(tensor):
    """As a weights file keeps it."""
    return tensor.half().float() if tensor.is_floating_point() else tensor


def test_another_trunk_learns_but_for_its_frozen_parts(synthetic, tmp_path, capsys):
    stem, stage = "evidence.trunk.encoder.stem", "evidence.trunk.encoder.stages.0"
    changes = {"model__trunk": "efficientnet_lite0", "model__input_size": 64}
    changes |= {"budget__steps": 2, "budget__evidence_share": 1.0}
    chosen = settings(synthetic, tmp_path / "run", learning__frozen=f"{stem},{stage}", **changes)
    assert cli.main(["train", *chosen]) == 0
    torch.manual_seed(0)
    before = build_networks("lite", "efficientnet_lite0", 64).evidence.state_dict()
    networks = load_networks(tmp_path / "run" / "last.safetensors", "lite")
    assert networks.evidence.input_size == networks.evidence.feature_size == 64
    after = networks.evidence.state_dict()
    same = {name for name, value in after.items() if torch.equal(value, _stored(before[name]))}
    frozen = {name for name in after if f"evidence.{name}".startswith((stem + ".", stage + "."))}
    learnt = {"trunk.encoder.stages.1.0.expand.0.weight", "trunk.heatmap_head.weight"}
    assert frozen <= same
    assert not learnt & same
    again = ["model.initial=" + str(tmp_path / "run" / "last.safetensors")]
    chosen = settings(synthetic, tmp_path / "larger", **(changes | {"model__input_size": 96}))
    assert cli.main(["train", *chosen, *again]) == 0
    networks = load_networks(tmp_path / "larger" / "last.safetensors", "lite")
    assert networks.evidence.input_size == 96
    chosen = settings(synthetic, tmp_path / "none", learning__frozen="evidence.tail", **changes)
    assert cli.main(["train", *chosen]) == 2
    assert "learning.frozen: there is no 'evidence.tail'" in capsys.readouterr().err


def test_an_interrupted_run_leaves_a_checkpoint(synthetic, tmp_path, monkeypatch):
    draw = MixedBatches.packed

    def interrupted_draw(stream, index):
        if index == 1:
            signal.raise_signal(signal.SIGINT)
        return draw(stream, index)

    monkeypatch.setattr(MixedBatches, "packed", interrupted_draw)
    command = ["train", *settings(synthetic, tmp_path, budget__evidence_share=1.0)]
    assert cli.main([*command, "run.check_steps=0"]) == 130
    assert state_of(tmp_path)["position"]["step"] == 2
    assert load_networks(tmp_path / "last.safetensors", "lite").training["steps"] == 2


def test_another_run_s_folder_is_refused_by_the_setting_that_differs(whole_run, synthetic, capsys):
    assert cli.main(["train", *settings(synthetic, whole_run, data__batch=3)]) == 2
    assert "data.batch 2, not 3" in capsys.readouterr().err


def test_folders_of_a_run_may_move():
    before = {f"data.{name}": name for name in ("real", "fits", "rhd", "stb", "synthetic")}
    moved = {name: f"elsewhere/{value}" for name, value in before.items()}
    TrainConfig().replace(moved).check_continues(TrainConfig().replace(before))


def test_a_figure_that_no_check_measures_is_refused_at_once(synthetic, tmp_path, capsys):
    chosen = settings(synthetic, tmp_path, run__best_by="mean.meshh")
    assert cli.main(["train", *chosen]) == 2
    assert "'mean.meshh'; they do mean.evidence, mean.mesh" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- batches that are not finite


def _spoil(monkeypatch, spoilt):
    draw = MixedBatches.packed

    def draw_spoilt(stream, index):
        batch = draw(stream, index)
        if spoilt(index):
            batch.joints[0] = torch.nan
        return batch

    monkeypatch.setattr(MixedBatches, "packed", draw_spoilt)


def test_a_bad_batch_is_kept_and_left_out(synthetic, tmp_path, monkeypatch):
    _spoil(monkeypatch, lambda index: index == 1)
    changes = {"budget__steps": 4, "budget__evidence_share": 1.0, "run__check_steps": 0}
    assert cli.main(["train", *settings(synthetic, tmp_path, **changes)]) == 0
    state = state_of(tmp_path)
    for part in ("networks", "averaged"):  # batch statistics included
        assert all(tensor.isfinite().all() for tensor in state[part].values())
    assert [step for step, _ in losses_of(tmp_path)] == [1, 3, 4]
    with safe_open(tmp_path / "bad_batch_0.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "1"
        assert "heatmaps" in json.loads(file.metadata()["terms"])
        assert file.get_tensor("joints")[0].isnan().all()


def test_too_many_bad_batches_end_the_run(synthetic, tmp_path, monkeypatch, capsys):
    _spoil(monkeypatch, lambda index: index > 0)
    changes = {"budget__evidence_share": 1.0, "run__bad_steps": 2}
    assert cli.main(["train", *settings(synthetic, tmp_path, **changes)]) == 2
    said = capsys.readouterr().err
    assert "no finite gradient for 2 steps" in said
    assert "bad_batch_0.safetensors" in said


# ---------------------------------------------------------------- several processes


@pytest.mark.slow
def test_two_processes_are_one_with_the_doubled_batch(synthetic, tmp_path):
    """Exact up to rounding where each example counts alone.

    So without batch statistics, which every process has of its own part, and without dropout. Where
    two peaks of an untrained heat map are level, rounding decides which joint the mesh network
    sees: the seed is one of those (2, 3, not 1) whose few examples have no such map.
    """
    changes = {
        "learning__seed": 3,
        "budget__steps": 4,
        "budget__evidence_share": 0.3,  # two steps of each stage
        "learning__precision": "fp32",
        "learning__frozen_statistics": "true",
        "learning__warmup_steps": 1,
        "run__check_steps": 0,
    }
    one, two = tmp_path / "one", tmp_path / "two"
    alone = settings(synthetic, one, data__batch=6, **changes)
    assert cli.main(["train", *alone]) == 0
    shared = settings(synthetic, two, data__batch=3, **changes)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*launcher, "--nproc-per-node", "2", *PROGRAM, *shared]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    config = TrainConfig().replace({"learning.frozen_statistics": True, "learning.seed": 3})
    begin = TrainingState.begin(config, torch.device("cpu")).networks
    begin = torch.nn.ModuleList(begin.modules()).state_dict()
    one, two = state_of(one)["networks"], state_of(two)["networks"]
    names = [name for name in begin if not name.endswith("num_batches_tracked")]
    moved = sum(float((one[name] - begin[name]).norm() ** 2) for name in names) ** 0.5
    apart = sum(float((one[name] - two[name]).norm() ** 2) for name in names) ** 0.5
    assert moved > 0.1
    assert apart < 5e-3 * moved, apart / moved  # 2e-3 by rounding alone


def test_a_batch_does_not_depend_on_who_draws_it(synthetic):
    samples = load_synthetic(synthetic)
    whole = MixedBatches(samples, [], 4, seed=1)
    halves = [MixedBatches(samples, [], 2, seed=1, rank=rank, processes=2) for rank in (0, 1)]
    parts = [half[3].tensors() for half in halves]
    by_worker = next(whole.start(3, workers=1)).tensors()
    for name, tensor in whole[3].tensors().items():
        assert torch.equal(tensor, torch.cat([part[name] for part in parts])), name
        assert torch.equal(tensor, by_worker[name]), name
    assert not torch.equal(whole[3].images, whole[4].images)


# ---------------------------------------------------------------- settings, schedule, profiles


def test_full_learns_at_its_own_size(synthetic):
    size = build_evidence("full").feature_size
    batch = MixedBatches(load_synthetic(synthetic), [], 2, seed=5, input_size=size)[0]
    assert batch.images.shape == (2, 3, 224, 224)
    assert batch.mask.shape == (2, 224, 224)
    networks, projection = build_networks("full"), Projection(HandModel(hand_model_path()))
    terms = total_loss(networks, projection, batch, precision=torch.float32)
    sum(terms.values()).backward()
    for module in networks.modules():
        assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_small_pictures_come_first(synthetic, tmp_path, monkeypatch):
    draw, sides = MixedBatches.packed, []

    def noted(stream, index):
        batch = draw(stream, index)
        sides.append(batch.images.shape[1])
        return batch

    monkeypatch.setattr(MixedBatches, "packed", noted)
    changes = {"budget__steps": 4, "budget__half_size_share": 0.5, "run__check_steps": 3}
    assert cli.main(["train", *settings(synthetic, tmp_path, **changes)]) == 0
    assert sides == [64, 64, 128, 128]


def test_the_file_that_ships_names_only_what_can_be_set():
    path = ROOT / "config" / "train.yaml"
    TrainConfig.from_yaml(path)
    lines = path.read_text().split("data:\n", 1)[1].splitlines()
    shown = ["data:", *(re.sub(r"^( *)# ", r"\1", line) for line in lines)]
    everything = TrainConfig.from_mapping(yaml.safe_load("\n".join(shown)))
    assert everything.loss.silhouette == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["budget.minuets=3"], "did you mean budget.minutes"),
        (["learning.rate=fast"], "learning.rate must be a float, got 'fast'"),
        (["data.batch"], "SECTION.NAME=VALUE"),
        (["data.batch=[1"], "data.batch: '[1' is not readable as YAML"),
        (["budget.minutes=0"], "budget.minutes or budget.steps must be set"),
        ([], "set data.real, data.rhd, data.stb or data.synthetic"),
        (["--resume", "nowhere"], "no run to resume"),
        (["learning.only=mesh_estimator.refiner"], "set budget.evidence_share to 0"),
        pytest.param(
            ["model.device=cuda"],
            "device 'cuda' is not there",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_a_bad_request_is_refused_in_one_line(changes, said, capsys, tmp_path):
    assert cli.main(["train", *changes]) == 2
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_a_small_rate_is_read_as_a_number(tmp_path):
    arguments = cli.build_parser().parse_args(["train", "learning.rate=1e-4"])
    from dhpe_lab.commands.train import build_config

    assert build_config(arguments).learning.rate == 1e-4


def test_the_budget_ends_by_what_is_used_up_first():
    budget = TrainConfig.from_mapping({"budget": {"minutes": 1.0, "steps": 100}}).budget
    assert budget.used(50, 6.0) == pytest.approx(0.5)
    assert budget.used(50, 54.0) == pytest.approx(0.9)
    assert budget.used(50, 45.0, reserved_s=15.0) == pytest.approx(1.0)
    assert budget.used(50, 1.0, reserved_s=90.0) > 1


def test_the_rate_warms_up_and_falls_to_nothing():
    factors = [schedule(step, step / 1000, 100) for step in range(1001)]
    assert factors[0] == pytest.approx(0.01)
    assert max(factors) == pytest.approx(factors[99], abs=1e-9)
    assert factors[-1] == pytest.approx(0)


# ---------------------------------------------------------------- curves and pictures


def test_without_tensorboard_the_log_has_it_all(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    TrainLog(tmp_path, 0).scalars(1, {"loss/total": 2.0})
    assert "requirements/training.txt" in caplog.text
    assert read_log(tmp_path) == [{"step": 1, "loss/total": 2.0}]


def test_with_tensorboard_curves_and_pictures_arrive(tmp_path):
    pytest.importorskip("tensorboard", reason="needs requirements/training.txt")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = TrainLog(tmp_path, 0)
    board.scalars(1, {"loss/total": 2.0})
    board.picture(1, torch.zeros(8, 8, 3, dtype=torch.uint8).numpy())
    board.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss/total")] == [2.0]
    assert len(events.Images("held_back")) == 1


def test_a_log_goes_on_from_the_checkpoint(tmp_path):
    log = TrainLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.scalars(step, {"x": float(step)})
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 4, "x"')  # the kill came here
    TrainLog(tmp_path, 2).scalars(3, {"x": 9.0})
    assert [row["x"] for row in read_log(tmp_path)] == [1.0, 2.0, 9.0]
    assert train_log.Means().take() == {}
