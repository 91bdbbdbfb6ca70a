"""Choice of the networks' backend, and of another when one cannot run; without a compiler."""

import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dhpe_ros.cli import export
from dhpe_ros.cli.main import build_parser
from dhpe_ros.cli.predict import build_config
from dhpe_ros.config import Config
from dhpe_ros.detection.localiser import SIZE
from dhpe_ros.engines import aoti, cuda_graph, graphs, networks, store
from dhpe_ros.engines import identity as identity_module
from dhpe_ros.engines.identity import identify
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.weights import weights_path
from dhpe_ros.system.programs import command
from dhpe_ros.types import FEATURE_COUNT

CPU = torch.device("cpu")


class Recorder:
    """Stands for eager torch, and for what its engines compute: the first is 1, the second 2."""

    name = "eager"

    def __init__(self, value=1.0):
        self.value = value

    def see(self, crops):
        rows = torch.full((len(crops), 1), self.value)
        return Evidence(
            rows.expand(-1, FEATURE_COUNT), rows[..., None].expand(-1, 21, 2), rows, rows[:, 0]
        )

    def regress(self, evidence):
        rows = torch.full((len(evidence.features), 1), self.value)
        return rows.expand(-1, 63), rows[..., None].expand(-1, 21, 2)

    def locate(self, pictures):
        return torch.full((1, 5, *(side // 8 for side in pictures.shape[2:])), self.value)

    def localiser_engine(self, pictures):
        assert pictures.shape == (1, 3, *SIZE) and pictures.is_contiguous()
        assert pictures.dtype is torch.float32
        return [self.locate(pictures)]

    def evidence_engine(self, crops):
        assert crops.shape == (1, 3, 224, 224) and crops.is_contiguous()
        seen = self.see(crops)
        return [seen.features, seen.joints, seen.confidences, seen.right]

    def mesh_engine(self, features, joints):
        assert features.shape == (1, FEATURE_COUNT) and joints.shape == (1, 21, 2)
        return list(self.regress(SimpleNamespace(features=features)))


@pytest.fixture
def runtime(monkeypatch):
    """Stand-in for ``load`` of both compilers; tests may replace it."""
    runtime = SimpleNamespace(value=2.0, fails="", error=RuntimeError("out of\nmemory"), broken="")

    def load(path, inputs):
        if runtime.fails == "load":
            raise OSError("libnvinfer.so.10: cannot open shared object file")
        engine = Recorder(runtime.value)
        network = path.name.split(".")[-2]
        run = getattr(engine, f"{network}_engine")

        def call(*tensors):
            if runtime.fails == "run" or path.name.startswith(runtime.broken or "none"):
                raise runtime.error
            return run(*tensors)

        return call

    for compiler in networks.COMPILERS.values():
        monkeypatch.setattr(compiler, "load", load)
        monkeypatch.setattr(compiler, "DEVICES", ("cpu",))
    return runtime


@pytest.fixture
def model(tmp_path, runtime):
    """Settings with a folder of engines of their own."""

    def make(**changes):
        changes = {f"model.{name}": value for name, value in changes.items()}
        return Config().replace({"model.engines": str(tmp_path / "engines"), **changes}).model

    return make


def put_engine(model, compiler="aoti", precision="fp32"):
    """Files as ``dhpe export`` leaves them, made without the compiler."""
    folder = networks.engines_folder(model)
    store.prepare_folder(folder)
    sources = {}
    for network in graphs.EXAMPLES:
        sources[network] = folder / f"{network}.new"
        sources[network].write_bytes(b"code")
    return store.write(folder, identify(model, CPU, compiler, precision), sources, {})


def backed(model):
    return networks.BackedNetworks(Recorder(), model, CPU)


def crops(count):
    return torch.zeros(count, 3, 224, 224)


def test_without_an_engine_auto_is_eager_and_nothing_is_wrong(model, caplog):
    running = backed(model())
    assert (running.name, running.trouble) == ("eager", "")
    assert not caplog.records
    assert running.see(crops(2)).right.tolist() == [1, 1]


def test_the_log_says_how_to_be_faster_where_nothing_was_built(model, caplog):
    with caplog.at_level("INFO", networks.__name__):
        backed(model())
        backed(model(backend="eager"))
        put_engine(model())
        backed(model())
    assert [message.split("; ")[1:] for message in caplog.messages] == [
        [f"{command('export')} makes faster ones for this machine"], [], [],
    ]  # fmt: skip


def test_auto_takes_what_was_built(model):
    put_engine(model())
    running = backed(model())
    assert (running.name, running.trouble) == ("compiled (fp32)", "")
    evidence = running.see(crops(3).contiguous(memory_format=torch.channels_last))
    assert evidence.features.shape == (3, FEATURE_COUNT) and evidence.right.tolist() == [2, 2, 2]
    parameters, joints_2d = running.regress(evidence)
    assert parameters.shape == (3, 63) and joints_2d.shape == (3, 21, 2)
    assert running.see(crops(0)).right.tolist() == []
    answer = running.locate(torch.zeros(1, 3, *SIZE, dtype=torch.uint8))
    assert (answer == 2).all()


def test_tensorrt_comes_before_the_others_and_eager_is_eager(model):
    for compiler in ("aoti", "tensorrt"):
        put_engine(model(), compiler)
    assert backed(model()).name == "tensorrt (fp32)"
    assert backed(model(backend="compiled")).name == "compiled (fp32)"
    assert backed(model(backend="eager")).name == "eager"


def test_the_recommended_precision_is_taken_unless_one_is_named(model, monkeypatch):
    monkeypatch.setattr(networks, "precisions", lambda device: ("bf16", "fp32"))
    for precision in ("fp32", "bf16"):
        put_engine(model(), precision=precision)
    assert backed(model()).name == "compiled (bf16)"
    assert backed(model(precision="fp32")).name == "compiled (fp32)"


def test_what_was_asked_for_and_is_not_there_is_warned_of_once(model, caplog):
    running = backed(model(backend="tensorrt"))
    assert running.name == "eager"
    assert len(caplog.records) == 1
    assert caplog.messages == [running.trouble]
    assert "no engine lite-cpu-tensorrt" in running.trouble
    assert "dhpe export" in running.trouble
    assert running.trouble.endswith("running eager instead")


def test_what_the_device_cannot_run_is_named(model, monkeypatch):
    monkeypatch.setattr(networks.COMPILERS["tensorrt"], "DEVICES", ("cuda",))
    put_engine(model())
    running = backed(model(backend="tensorrt"))
    assert running.name == "compiled (fp32)"
    assert running.trouble.startswith("tensorrt does not run on cpu; running compiled")
    assert backed(model()).trouble == ""


def test_tensorrt_falls_back_to_compiled(model, caplog):
    put_engine(model())
    running = backed(model(backend="tensorrt"))
    assert running.name == "compiled (fp32)"
    assert running.trouble.endswith("running compiled (fp32) instead")
    assert len(caplog.records) == 1


def test_an_engine_for_another_weights_file_is_not_run(model, caplog, tmp_path):
    put_engine(model())
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"weights")
    running = backed(model(weights=str(other)))
    assert running.name == "eager"
    assert "network weights: " in running.trouble
    assert f"--weights {other}" in running.trouble


def test_a_damaged_engine_is_not_run(model, caplog):
    sidecar = put_engine(model())
    sidecar.with_suffix(".mesh.new").write_bytes(b"other")
    running = backed(model())
    assert running.name == "eager" and "damaged" in running.trouble
    assert len(caplog.records) == 1


@pytest.mark.parametrize("moment", ["load", "run"])
def test_an_engine_that_does_not_start_is_not_run(model, caplog, runtime, moment):
    put_engine(model())
    runtime.fails = moment
    running = backed(model())
    assert running.name == "eager"
    assert len(caplog.records) == 1
    assert {"load": "libnvinfer", "run": "out of memory"}[moment] in running.trouble


@pytest.mark.parametrize("error", [RuntimeError("out of\nmemory"), ValueError("bad\nshape")])
def test_an_engine_that_fails_later_is_replaced_for_good(model, caplog, runtime, error):
    put_engine(model())
    running = backed(model())
    runtime.fails, runtime.error = "run", error
    assert running.see(crops(1)).right.tolist() == [1]
    said = " ".join(str(error).split())
    assert running.name == "eager"
    assert running.trouble == (
        f"the compiled (fp32) networks failed: {said}; running eager instead"
    )
    runtime.fails = ""
    assert running.see(crops(1)).right.tolist() == [1]
    assert len(caplog.records) == 1


def test_an_engine_that_fails_later_is_replaced_by_the_next_backend(model, caplog, runtime):
    for compiler in ("tensorrt", "aoti"):
        put_engine(model(), compiler)
    running = backed(model())
    runtime.broken = "lite-cpu-tensorrt"
    assert running.see(crops(1)).right.tolist() == [2]
    assert running.name == "compiled (fp32)" and "tensorrt (fp32)" in running.trouble
    runtime.fails = "run"
    assert running.see(crops(1)).right.tolist() == [1]
    assert running.name == "eager" and len(caplog.records) == 2
    failures = ("the tensorrt (fp32) networks failed", "the compiled (fp32) networks failed")
    assert all(failure in running.trouble for failure in failures), "both stay in diagnostics"


def test_strict_stops_instead(model, runtime):
    with pytest.raises(store.EngineError, match=r"model\.strict_backend: no engine lite-cpu-aoti"):
        backed(model(backend="compiled", strict_backend=True))
    assert backed(model(strict_backend=True)).name == "eager", "auto asked for nothing"
    put_engine(model())
    running = backed(model(strict_backend=True))
    runtime.fails, runtime.error = "run", TypeError("out of memory")
    for _ in range(3):
        with pytest.raises(store.EngineError, match=r"model\.strict_backend: .*out of memory"):
            running.see(crops(1))
    with pytest.raises(store.EngineError, match=r"model\.strict_backend: .*out of memory"):
        backed(model(strict_backend=True))


@pytest.fixture
def orin(monkeypatch):
    """A machine with a GPU, and what its files say; tests may change it."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Orin")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 7))
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    files = {
        "/etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\nmore",
        "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Kernel Module  540.4.0  Fri",
        "/proc/cpuinfo": "Features\t: fp asimd\n",
    }
    monkeypatch.setattr(identity_module, "_text", files.get)
    return files


def test_every_item_is_part_of_the_key(model, monkeypatch, tmp_path, orin):
    other = tmp_path / "other"
    other.write_bytes(b"other")

    def key(device="cuda", backend="tensorrt", precision="fp16", **changes):
        return identify(model(**changes), torch.device(device), backend, precision)

    here = key()
    changed = {
        "profile": key(profile="full", weights=str(weights_path("lite"))),
        "precision": key(precision="bf16"),
        "network weights": key(weights=str(other)),
        "localiser weights": key(localiser=str(other)),
        "hand model": key(hand_model=str(other)),
        "hand layer": key(hand_layer="manopth"),
    }
    for item, owner, name, value in (
        ("source code", identity_module, "_EXPORTED", (networks,)),
        ("shapes", graphs, "EXAMPLES", {}),
        ("torch", torch, "__version__", "2.99.0"),
        ("backend version", identity_module, "_version", lambda package: "10.3"),
        ("CUDA", torch.version, "cuda", "13.0"),
        ("GPU", torch.cuda, "get_device_name", lambda device: "Thor"),
        ("compute capability", torch.cuda, "get_device_capability", lambda device: (11, 0)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            changed[item] = key()
    for item, path, text in (
        ("CPU instruction set", "/proc/cpuinfo", "Features\t: fp asimd sve\n"),
        ("driver", "/proc/driver/nvidia/version", "NVRM version: 580.0.1"),
        ("L4T", "/etc/nv_tegra_release", "# R38"),
    ):
        with monkeypatch.context() as patch:
            patch.setitem(orin, path, text)
            changed[item] = key()
    for item, there in changed.items():
        (line,) = here.differences(there.items)
        assert line.startswith(f"{item}: ")
    changed |= {"device": key("cpu"), "backend": key(backend="aoti")}  # others go with these
    for item, there in changed.items():
        assert here.items[item] != there.items[item]
    assert changed.keys() == here.items.keys()
    names = [here.name, *(there.name for there in changed.values())]
    assert len(set(names)) == len(names)


def test_on_a_gpu_the_key_names_it_and_its_driver(model, orin):
    items = identify(model(), torch.device("cuda:0"), "tensorrt", "fp16").items
    assert items["GPU"] == "Orin" and items["compute capability"] == "8.7"
    assert items["driver"] == "540.4.0" and items["L4T"].startswith("# R36")
    assert items["CUDA"] == "12.6" and items["CPU instruction set"].endswith("asimd fp")
    assert identify(model(), CPU, "aoti", "fp32").items["GPU"] == "none"


def test_the_command_of_a_message_builds_that_engine(model):
    settings = {
        "profile": "full", "weights": "my weights.safetensors", "localiser": "my localiser",
        "hand_model": "mine.npz", "hand_layer": "manopth", "device": "cuda:1",
    }  # fmt: skip
    asked = model(**settings)
    command = identity_module._command(asked, "tensorrt", "fp16")
    words = shlex.split(command)  # the program is called by its path where PATH has it not
    arguments = build_parser().parse_args(words[words.index("export") :])
    assert (arguments.backend, arguments.precision) == ("tensorrt", "fp16")
    built = build_config(arguments, export._SETTINGS).model
    assert replace(built, precision=asked.precision) == asked


def test_a_graph_is_captured_on_the_device_of_its_inputs(monkeypatch):
    current = []

    class Current:
        def __init__(self, device):
            self.device = device

        def __enter__(self):
            current.append(self.device)

        def __exit__(self, *_):
            current.pop()

    def captured(call):
        assert current == [torch.device("meta")]
        return SimpleNamespace(replay=call), call()

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(cuda_graph, "captured", captured)
    given = torch.zeros(1, device="meta")
    (result,) = cuda_graph.replayed(lambda x: [x + 1], [given])(given)
    assert result.shape == (1,) and current == []


def test_an_aoti_engine_is_opened_on_the_gpu_of_the_inputs(monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr("torch._inductor.aoti_load_package", lambda *given, **of: opened.append(of))
    monkeypatch.setattr(aoti, "replayed", lambda run, inputs: run)
    aoti.load(tmp_path, (SimpleNamespace(device=torch.device("cuda:1")),))
    assert opened == [{"device_index": 1}]


class TestAGpuWithoutAnEngine:
    """It runs CUDA graphs, unless something else was asked for or they fail."""

    @pytest.fixture(autouse=True)
    def no_engine(self, monkeypatch):
        monkeypatch.setattr(networks, "_first_engine", lambda *_: (None, ""))

    @pytest.fixture
    def run(self, model):
        return lambda **settings: networks.BackedNetworks(
            Recorder(), model(**settings), torch.device("cuda")
        )

    @pytest.fixture
    def made(self, monkeypatch):
        """The precisions that graphs were made in."""
        made = []

        def as_cuda_graphs(eager, precision, device):
            made.append(precision)
            graphs = Recorder(2.0)
            graphs.name = f"CUDA graphs ({precision})"
            return graphs

        monkeypatch.setattr(networks, "as_cuda_graphs", as_cuda_graphs)
        return made

    def test_they_are_in_half_precision_or_the_one_that_is_set(self, run, made):
        assert run().name == "CUDA graphs (fp16)" and run().trouble == ""
        assert run(precision="bf16").name == "CUDA graphs (bf16)"

    @pytest.mark.parametrize(
        "settings", [{"backend": "eager"}, {"backend": "compiled"}, {"precision": "int8"}]
    )
    def test_there_are_none_where_something_else_was_asked_for(self, run, made, settings):
        assert run(**settings).name == "eager" and made == []

    @pytest.mark.parametrize("kind", [RuntimeError, ValueError])
    def test_where_they_fail_eager_torch_runs_and_says_why(self, run, monkeypatch, kind):
        def fail(*_):
            raise kind("out of\nmemory")

        monkeypatch.setattr(networks, "as_cuda_graphs", fail)
        assert run().name == "eager"
        assert run().trouble == (
            "CUDA graphs of the networks failed: out of memory; running eager instead"
        )
        with pytest.raises(store.EngineError, match="CUDA graphs"):
            run(strict_backend=True)
