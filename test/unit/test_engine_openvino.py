"""OpenVINO on this CPU: the models that ship, and those of other weights."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from dhpe_ros.cli.export import _views
from dhpe_ros.config import Config
from dhpe_ros.engines import build, graphs, networks, openvino, processor, store
from dhpe_ros.engines.identity import file_name
from dhpe_ros.engines.networks import EagerNetworks, kept_precision
from dhpe_ros.files.resources import shared_file
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.layers import fuse_batch_norms
from dhpe_ros.networks.localiser import build_localiser
from dhpe_ros.networks.weights import build_networks, hand_model_path
from dhpe_ros.pipeline import HandPipeline

pytest.importorskip("openvino", reason="openvino is not installed")
CPU = torch.device("cpu")
EAGER = {"model.backend": "eager", "model.device": "cpu"}


@pytest.fixture(scope="module")
def eager():
    return HandPipeline(Config().replace(EAGER))


@pytest.fixture(scope="module")
def views(eager):
    return _views(eager)[::8]


def shipped(network):
    name = file_name(network, "openvino", kept_precision("openvino", network, "int8"), model())
    return shared_file(f"weights/{name}")


def model(**changes):
    return Config().replace({f"model.{name}": value for name, value in changes.items()}).model


def test_the_models_that_ship_are_those_of_the_weights_that_ship_and_small():
    """After a change of weights or graphs: dhpe export --format openvino --output weights."""
    paths = [shipped(network) for network in graphs.EXAMPLES]
    assert all(path.stat().st_size < 5e6 for path in paths)
    others = set(Path(paths[0]).parent.glob("*-openvino-*.zip")) - set(paths)
    assert not others, "of earlier weights: to be deleted"


@torch.no_grad()
def test_the_models_that_ship_are_near_eager_torch(eager, views, monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "features", lambda: {"avx512_vnni"})
    running = networks.BackedNetworks(lambda: eager.eager, model(engines=str(tmp_path)), CPU)
    assert (running.name, running.fault) == ("openvino (int8)", "")
    parity = build.compare(eager.eager, running, views)
    assert parity.within(*build.LIMITS["int8"]), parity
    assert parity.joints_px_mean > 0.1, "another way of computing it"


class Small(nn.Module):
    """Two convolutions and what is around them in ours: a resize and a linear layer."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = nn.functional.interpolate(x, (16, 16), mode="bilinear", antialias=True)
        maps = self.second(self.first(x).relu())
        return maps, self.head(maps.mean((2, 3)))


@pytest.mark.parametrize(
    ("kept", "precision", "share"), [("fp32", "fp32", 0.02), ("fp32", "bf16", 0.03),
                                     ("int8", "int8", 0.1)]
)  # fmt: skip
@torch.no_grad()
def test_a_model_computes_what_torch_does_for_one_row_and_for_two(kept, precision, share):
    if kept == "int8":
        pytest.importorskip("nncf", reason="nncf is not installed")
    if precision == "bf16" and not processor.has_bf16():
        pytest.skip("this CPU has no bf16 instructions")
    network = Small().eval()
    x = torch.rand(8, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    x[0, 0, 0, 0] = 1.0
    program = graphs.export(network, (x[:1],), any_rows=True)
    parts = openvino.compile_program(program, kept, x[4:])
    run = openvino.load(store.Source(parts.copy), (x[:1],), precision)
    for rows in (x[:1], x[1:3]):
        results = run(rows.contiguous(memory_format=torch.channels_last))
        for ours, theirs in zip(results, network(rows), strict=True):
            assert ours.shape == theirs.shape and ours.dtype == torch.float32
            assert (ours - theirs).abs().max() <= share * theirs.abs().max()
    first = run(x[:1])[0].clone()
    kept_result = run(x[:1])[0]
    run(x[1:2])
    assert torch.equal(first, kept_result), "each call has results of its own"


@torch.no_grad()
def test_what_was_compiled_is_kept_and_made_again_where_in_doubt(tmp_path, monkeypatch):
    folder, x, reads = tmp_path / "engines", torch.ones(1, 3, 24, 24), []
    program = graphs.export(Small().eval(), (x,), any_rows=True)
    path = folder / "small.zip"
    store.prepare_folder(folder)
    store.write(path, openvino.compile_program(program, "fp32", None), {})

    def run():
        source = store.source(path, {}, folder)
        counted = source._replace(read=lambda: reads.append(path) or source.read())
        return openvino.load(counted, (x,), "fp32")(x)[0].clone()

    first = run()
    assert torch.equal(run(), first) and len(reads) == 1
    (kept,) = folder.glob("small-compiled-*.zip")
    kept.write_bytes(kept.read_bytes()[:-100])
    assert torch.equal(run(), first) and len(reads) == 2, "damaged"
    monkeypatch.setattr(openvino, "compiler", lambda: {"OpenVINO": "another"})
    assert torch.equal(run(), first) and len(reads) == 3
    store.write(path, store.read(path, {}), {}, zipfile.ZIP_STORED)
    assert torch.equal(run(), first) and len(reads) == 4, "another file of that name"
    kept.unlink()
    monkeypatch.setattr(store, "_check_owned", lambda *_: None)
    folder.chmod(0o777)
    assert torch.equal(run(), first)
    assert len(reads) == 5, "others may write the folder"
    assert not kept.exists(), "nor is anything kept there"


@pytest.mark.slow
@torch.no_grad()
def test_networks_on_another_trunk_convert(eager, views):
    """Weights of chance; heat maps that say nothing, so features are compared."""
    torch.manual_seed(0)
    other = build_networks("lite", "efficientnet_lite0", 224)
    parts = *other.modules(), Projection(HandModel(hand_model_path()))
    parts = *parts, build_localiser("efficientnet_lite0")
    for part in parts:
        part.eval().requires_grad_(False)
    fuse_batch_norms(other.evidence)
    other_eager = EagerNetworks(*parts)
    crops = views.crops[:2]
    compiled = networks.compile_network(other_eager, "evidence", "openvino", "fp32", CPU)
    features, _, _, right, mask, _ = openvino.load(
        store.Source(compiled.copy), (crops[:1],), "fp32"
    )(crops)
    expected = other_eager.infer(crops)
    for ours, theirs in ((features, expected.features), (right, expected.right)):
        assert (ours - theirs).abs().max() < 0.01 * theirs.abs().max()
    assert mask.shape == expected.mask.shape


def test_a_file_that_ships_and_is_cut_means_eager_torch_and_one_line(
    eager, monkeypatch, tmp_path, caplog
):
    cut = tmp_path / "weights" / shipped("mesh").name
    cut.parent.mkdir()
    cut.write_bytes(shipped("mesh").read_bytes()[:-1000])
    monkeypatch.setattr(
        store, "shared_file", lambda name: cut if cut.name in name else shared_file(name)
    )
    settings = model(engines=str(tmp_path / "engines"), precision="int8", backend="openvino")
    running = networks.BackedNetworks(lambda: eager.eager, settings, CPU)
    assert running.name == "eager"
    assert caplog.messages == [running.fault] and f"{cut}: damaged" in running.fault


def test_a_file_of_something_else_means_eager_torch_and_one_line(eager, tmp_path, caplog):
    settings = model(engines=str(tmp_path / "engines"), precision="int8", backend="openvino")
    folder = networks.engines_folder(settings)
    store.prepare_folder(folder)
    parts = {"model.xml": b"<net/>", "model.bin": b""}
    store.write(folder / shipped("evidence").name, parts, {})
    running = networks.BackedNetworks(lambda: eager.eager, settings, CPU)
    assert running.name == "eager"
    assert caplog.messages == [running.fault] and "openvino failed: " in running.fault


def test_a_pipeline_runs_without_openvino_and_nothing_is_sent_with_it():
    program = """
import sys
import zipfile
sys.modules["openvino"] = None
import dhpe_ros.pipeline
print(dhpe_ros.pipeline.HandPipeline().networks.name)
del sys.modules["openvino"]
from dhpe_ros.engines import openvino
openvino._runtime()
print(sys.modules["openvino_telemetry"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["eager", "None"], done.stderr


def test_a_signal_is_survived_after_another_thread_has_dropped_the_pipeline():
    program = """
import gc, os, signal, threading
from dhpe_ros.pipeline import HandPipeline
pipelines = [HandPipeline()]
assert "openvino" in pipelines[0].networks.name
dropping = threading.Thread(target=lambda: (pipelines.clear(), gc.collect()))
dropping.start()
dropping.join()
signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("heard\n", 0), done.stderr
