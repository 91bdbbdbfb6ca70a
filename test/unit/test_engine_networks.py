"""Which backend runs the networks, and what happens when one cannot. No compiler is needed here."""

import shlex
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dhpe_ros.cli import export
from dhpe_ros.cli.main import build_parser
from dhpe_ros.cli.predict import build_config
from dhpe_ros.config import Config
from dhpe_ros.detection.localiser import SIZE
from dhpe_ros.engines import cuda_graph, graphs, networks, openvino, processor, store, tensorrt
from dhpe_ros.engines.identity import export_command, file_name
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import FEATURE_COUNT

CPU = torch.device("cpu")


class Recorder:
    """Stands for eager torch, and for what its engines compute: the first is 1, the second 2."""

    name = "eager"

    def __init__(self, value=1.0):
        self.value = value

    def infer(self, crops):
        rows = torch.full((len(crops), 1), self.value)
        return Evidence(
            rows.expand(-1, FEATURE_COUNT), rows[..., None].expand(-1, 21, 2), rows, rows[:, 0]
        )

    def regress(self, evidence):
        rows = torch.full((len(evidence.features), 1), self.value)
        return rows.expand(-1, 63), rows[..., None].expand(-1, 21, 2)

    def locate(self, pictures):
        return torch.full((1, 5, *(side // 8 for side in pictures.shape[2:])), self.value)

    def graph(self, network, precision, fused=False):
        return self.engine(network)

    def engine(self, network):
        def evidence(crops):
            found = self.infer(crops)
            return [found.features, found.joints, found.confidences, found.right]

        def mesh(features, joints):
            assert joints.shape == (len(features), 21, 2)
            return list(self.regress(SimpleNamespace(features=features)))

        def localiser(pictures):
            assert pictures.shape == (1, 3, *SIZE)
            return [self.locate(pictures)]

        return {"evidence": evidence, "mesh": mesh, "localiser": localiser}[network]


@pytest.fixture
def runtime(monkeypatch):
    """Stand-in for both compilers, whose behaviour a test may replace."""
    runtime = SimpleNamespace(
        fails="", error=RuntimeError("out of\nmemory"), broken="", loaded=[], converted=[]
    )

    def loads(compiler):
        def load(source, inputs, precision):
            network = source.read()["network"].decode()
            runtime.loaded.append((network, precision))
            if runtime.fails == "load":
                raise OSError("libnvinfer.so.10: cannot open shared object file")
            run = Recorder(2.0).engine(network)

            def call(*tensors):
                assert all(t.is_contiguous() and len(t) <= compiler.ROWS for t in tensors)
                if runtime.fails == "run" or compiler.__name__.endswith(runtime.broken or "none"):
                    raise runtime.error
                return run(*tensors)

            return call

        return load

    def convert(eager, network, backend, precision, device, calibration=None):
        runtime.converted.append((network, precision))
        return {"network": network.encode()}

    for compiler in networks.COMPILERS.values():
        monkeypatch.setattr(compiler, "load", loads(compiler))
    monkeypatch.setattr(tensorrt, "check_fit", lambda device, precision: None)
    monkeypatch.setattr(tensorrt, "versions", lambda device: {"GPU": "Orin"})
    monkeypatch.setattr(networks, "compile_network", convert)
    monkeypatch.setattr(store, "shared_file", nothing_ships)
    monkeypatch.setattr(processor, "features", lambda: set())
    return runtime


def nothing_ships(name):
    raise FileNotFoundError(name)


@pytest.fixture
def model(tmp_path, runtime):
    """Settings with a folder of engines of their own."""

    def make(**changes):
        changes = {f"model.{name}": value for name, value in changes.items()}
        return Config().replace({"model.engines": str(tmp_path / "engines"), **changes}).model

    return make


def put_engine(model, backend="tensorrt", precision="fp32"):
    """Files as ``dhpe export`` leaves them, made without the compiler; the path of one."""
    folder = networks.engines_folder(model)
    store.prepare_folder(folder)
    about = networks.COMPILERS[backend].versions(CPU)
    for network in graphs.EXAMPLES:
        kept = networks.kept_precision(backend, network, precision)
        path = folder / file_name(network, backend, kept, model)
        store.write(path, {"network": network.encode()}, about)
    return path


def backed(model):
    return networks.BackedNetworks(Recorder, model, CPU)


def crops(count):
    return torch.zeros(count, 3, 224, 224)


def test_a_cpu_runs_openvino_which_is_converted_once_with_one_line_for_each(model, runtime, caplog):
    with caplog.at_level("INFO", networks.__name__):
        running = backed(model())
    assert (running.name, running.fault) == ("openvino (fp32)", "")
    assert runtime.converted == [(network, "fp32") for network in graphs.EXAMPLES]
    assert [m.split(" network ")[0] for m in caplog.messages[:-1]] == [
        f"converting the {network}" for network in graphs.EXAMPLES
    ]
    assert backed(model()).name == "openvino (fp32)"
    assert len(runtime.converted) == len(graphs.EXAMPLES), "kept"


def test_what_cannot_be_kept_is_used_all_the_same(model, runtime, monkeypatch, caplog):
    def no_space(*_):
        raise OSError("no space left")

    monkeypatch.setattr(store, "write", no_space)
    running = backed(model())
    assert (running.name, running.fault) == ("openvino (fp32)", "")
    assert caplog.messages == ["the converted network cannot be kept: no space left"] * 3


def test_calls_have_as_many_rows_as_an_engine_takes(model):
    running = backed(model())
    evidence = running.infer(crops(5).contiguous(memory_format=torch.channels_last))
    assert evidence.features.shape == (5, FEATURE_COUNT) and evidence.right.tolist() == [2] * 5
    parameters, joints_2d = running.regress(evidence)
    assert parameters.shape == (5, 63) and joints_2d.shape == (5, 21, 2)
    assert running.infer(crops(0)).right.tolist() == []
    assert (running.locate(torch.zeros(1, 3, *SIZE, dtype=torch.uint8)) == 2).all()


@pytest.mark.parametrize(
    ("flags", "name", "loaded"),
    [
        ("avx512f avx512_vnni", "openvino (int8)", ("int8", "int8", "fp32")),
        ("GenuineIntel avx512f avx512_bf16", "openvino (fp32)", ("fp32", "fp32", "fp32")),
        ("AuthenticAMD avx512f avx512_bf16", "openvino (bf16)", ("bf16", "bf16", "fp32")),
        ("avx512f amx_bf16", "openvino (bf16)", ("bf16", "bf16", "fp32")),
        ("avx2 avx_vnni", "openvino (int8)", ("int8", "int8", "fp32")),
        ("fp asimd", "openvino (fp32)", ("fp32", "fp32", "fp32")),
    ],
)
def test_a_processor_gets_the_precision_that_it_is_fastest_in(
    model, runtime, monkeypatch, flags, name, loaded
):
    monkeypatch.setattr(processor, "features", lambda: set(flags.split()))
    for precision in ("int8", "fp32"):
        put_engine(model(), "openvino", precision)
    assert backed(model()).name == name
    networks_in_order = ("localiser", "evidence", "mesh")
    assert runtime.loaded == list(zip(networks_in_order, loaded, strict=True))
    assert backed(model(precision="fp32")).name == "openvino (fp32)"
    assert runtime.converted == []


def test_where_integers_were_not_made_floats_are(model, runtime, monkeypatch):
    monkeypatch.setattr(processor, "features", lambda: {"avx512_vnni"})
    running = backed(model())
    assert (running.name, running.fault) == ("openvino (fp32)", "")
    asked = backed(model(precision="int8", backend="openvino"))
    assert asked.name == "eager"
    assert "no model of localiser in int8; build it: " in asked.fault
    assert "export --profile lite --format openvino --precision int8" in asked.fault


def test_a_precision_that_the_processor_has_not_is_named(model):
    for precision, said in (("bf16", "no bf16 instructions"), ("fp16", "fp16 is for GPUs")):
        running = backed(model(precision=precision, backend="openvino"))
        assert running.name == "eager" and said in running.fault


def test_tensorrt_comes_before_openvino_and_eager_is_eager(model):
    put_engine(model())
    assert backed(model()).name == "tensorrt (fp32)"
    assert backed(model(backend="openvino")).name == "openvino (fp32)"
    assert backed(model(backend="eager")).name == "eager"


def test_what_was_asked_for_and_is_not_there_is_warned_of_once(model, caplog):
    running = backed(model(backend="tensorrt"))
    assert running.name == "openvino (fp32)"
    assert caplog.messages == [running.fault]
    assert "no engine of TensorRT in " in running.fault
    assert "export --profile lite --format tensorrt" in running.fault
    assert running.fault.endswith("running openvino (fp32) instead")


@pytest.mark.parametrize(
    ("backend", "said", "name"),
    [
        ("tensorrt", "tensorrt needs an NVIDIA GPU, the device is cpu", "openvino (fp32)"),
        ("cuda_graphs", "CUDA graphs are not for fp32 on cpu", "eager"),
    ],
)
def test_what_the_device_cannot_run_is_named(model, monkeypatch, backend, said, name):
    monkeypatch.undo()  # the real compilers
    monkeypatch.setitem(networks._BACKENDS, "openvino", lambda *_: named("openvino (fp32)"))
    running = backed(Config().replace({"model.backend": backend, "model.precision": "fp32"}).model)
    assert running.name == name and running.fault == f"{said}; running {name} instead"


def named(name):
    networks_of_two = Recorder(2.0)
    networks_of_two.name = name
    return networks_of_two


def test_openvino_runs_on_no_gpu():
    with pytest.raises(store.UnavailableError, match="openvino runs on the CPU, the device is cud"):
        openvino.check_fit(torch.device("cuda"), "fp32")


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_without_openvino_eager_torch_runs_and_says_how_to_get_it(tmp_path, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = {"model.backend": backend, "model.engines": str(tmp_path / "engines")}
    running = backed(Config().replace(settings).model)
    assert running.name == "eager"
    assert "openvino cannot be imported" in running.fault and "pip install" in running.fault


def test_other_weights_have_other_files(model, tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")

    def names(**changes):
        return [file_name(n, "openvino", "fp32", model(**changes)) for n in graphs.EXAMPLES]

    here = dict(zip(graphs.EXAMPLES, names(), strict=True))
    changed = {
        "weights": {"evidence", "mesh"}, "localiser": {"localiser"}, "hand_model": {"mesh"},
    }  # fmt: skip
    for setting, expected in changed.items():
        there = dict(zip(graphs.EXAMPLES, names(**{setting: str(other)}), strict=True))
        assert {n for n in graphs.EXAMPLES if here[n] != there[n]} == expected
    assert names(hand_layer="manopth")[2] != here["mesh"]


def test_other_graphs_have_other_files(model, monkeypatch):
    before = file_name("localiser", "openvino", "fp32", model())
    monkeypatch.setattr(graphs, "VERSION", graphs.VERSION + 1)
    assert file_name("localiser", "openvino", "fp32", model()) != before


def test_a_damaged_file_is_not_run(model, caplog):
    path = put_engine(model(), "openvino")
    path.write_bytes(path.read_bytes()[:-20])
    running = backed(model())
    assert running.name == "eager" and f"{path}: damaged" in running.fault
    assert caplog.messages == [running.fault]


def test_an_engine_for_another_gpu_is_not_run(model, monkeypatch):
    put_engine(model())
    monkeypatch.setattr(tensorrt, "versions", lambda device: {"GPU": "Thor"})
    running = backed(model())
    assert running.name == "openvino (fp32)" and "GPU: Orin then, Thor now" in running.fault


@pytest.mark.parametrize("moment", ["load", "run"])
def test_an_engine_that_does_not_start_is_not_run(model, caplog, runtime, moment):
    runtime.fails = moment
    running = backed(model())
    assert running.name == "eager"
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    assert {"load": "libnvinfer", "run": "out of memory"}[moment] in running.fault


@pytest.mark.parametrize("error", [RuntimeError("out of\nmemory"), ValueError("bad\nshape")])
def test_an_engine_that_fails_later_is_replaced_for_good(model, caplog, runtime, error):
    running = backed(model())
    runtime.fails, runtime.error = "run", error
    assert running.infer(crops(1)).right.tolist() == [1]
    said = " ".join(str(error).split())
    assert running.name == "eager"
    assert running.fault == f"the openvino (fp32) networks failed: {said}; running eager instead"
    runtime.fails = ""
    assert running.infer(crops(1)).right.tolist() == [1]
    assert caplog.messages == [running.fault]


def test_an_engine_that_fails_later_is_replaced_by_the_next_backend(model, caplog, runtime):
    put_engine(model())
    running = backed(model())
    runtime.broken = "tensorrt"
    assert running.infer(crops(1)).right.tolist() == [2]
    assert running.name == "openvino (fp32)" and "tensorrt (fp32)" in running.fault
    runtime.fails = "run"
    assert running.infer(crops(1)).right.tolist() == [1]
    assert running.name == "eager" and len(caplog.records) == 2
    failures = ("the tensorrt (fp32) networks failed", "the openvino (fp32) networks failed")
    assert all(failure in running.fault for failure in failures), "both stay in diagnostics"


def test_eager_torch_is_loaded_only_where_nothing_else_works(model, runtime):
    def damaged():
        raise ValueError("lite.safetensors: damaged")

    put_engine(model(), "openvino")
    running = networks.BackedNetworks(damaged, model(), CPU)
    assert running.infer(crops(1)).right.tolist() == [2]
    assert running.infer(crops(0)).right.tolist() == []
    runtime.fails = "run"
    for _ in range(2):
        with pytest.raises(ValueError, match=r"lite\.safetensors: damaged"):
            running.infer(crops(1))


def test_strict_stops_instead(model, runtime):
    with pytest.raises(store.EngineError, match=r"model\.strict_backend: no engine of TensorRT"):
        backed(model(backend="tensorrt", strict_backend=True))
    running = backed(model(strict_backend=True))
    assert running.name == "openvino (fp32)", "auto asked for no other"
    runtime.fails, runtime.error = "run", TypeError("out of memory")
    for _ in range(3):
        with pytest.raises(store.EngineError, match=r"model\.strict_backend: .*out of memory"):
            running.infer(crops(1))
    with pytest.raises(store.EngineError, match=r"model\.strict_backend: .*out of memory"):
        backed(model(strict_backend=True))


def test_the_command_of_a_message_builds_that_engine(model):
    settings = {
        "profile": "full", "weights": "my weights.safetensors", "localiser": "my localiser",
        "hand_model": "mine.npz", "hand_layer": "manopth", "device": "cuda:1",
    }  # fmt: skip
    asked = model(**settings)
    words = shlex.split(export_command(asked, "tensorrt", "fp16"))
    # The program is called by its path where PATH has it not.
    arguments = build_parser().parse_args(words[words.index("export") :])
    assert (arguments.format, arguments.precision) == ("tensorrt", "fp16")
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


class TestAGpuWithoutAnEngine:
    """It runs CUDA graphs, unless something else was asked for or they fail."""

    @pytest.fixture(autouse=True)
    def no_gpu(self, model, monkeypatch):
        monkeypatch.setattr(networks, "replayed", lambda call, inputs: call)
        monkeypatch.setattr(graphs, "examples", lambda network, device: ())

    @pytest.fixture
    def run(self, model):
        return lambda **settings: networks.BackedNetworks(
            Recorder, model(**settings), torch.device("cuda")
        )

    def test_they_are_in_half_precision_or_the_one_that_is_set(self, run):
        assert (run().name, run().fault) == ("CUDA graphs (fp16)", "")
        assert run(precision="bf16", backend="cuda_graphs").name == "CUDA graphs (bf16)"

    def test_they_come_after_openvino_which_a_gpu_has_not(self, run):
        running = run(backend="openvino")
        assert running.name == "CUDA graphs (fp16)"
        assert running.fault.startswith("openvino runs on the CPU, the device is cuda; running")

    @pytest.mark.parametrize("settings", [{"backend": "eager"}, {"precision": "int8"}])
    def test_there_are_none_where_something_else_was_asked_for(self, run, settings):
        assert run(**settings).name == "eager"

    @pytest.mark.parametrize("kind", [RuntimeError, ValueError])
    def test_where_they_fail_eager_torch_runs_and_says_why(self, run, monkeypatch, kind):
        def fail(*_):
            raise kind("out of\nmemory")

        monkeypatch.setattr(networks, "replayed", fail)
        assert run().name == "eager"
        assert run().fault == "cuda_graphs failed: out of memory; running eager instead"
        with pytest.raises(store.EngineError, match="cuda_graphs failed"):
            run(strict_backend=True)
