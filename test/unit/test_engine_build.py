"""``dhpe export``: what is built, how far it may be from eager torch, and where it is written."""

import re
from itertools import islice
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from dhpe_ros.cli import export
from dhpe_ros.cli.main import main
from dhpe_ros.config import Config
from dhpe_ros.detection.localiser import SIZE
from dhpe_ros.engines import build, graphs, networks, openvino, store
from dhpe_ros.engines.store import EngineError
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import CROP_SIZE

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def eager():
    return HandPipeline(Config().replace({"model.backend": "eager", "model.device": "cpu"})).eager


@pytest.fixture
def build_off(eager, monkeypatch, tmp_path):
    """Build with a compiler whose engines are eager torch, but for joints that lie beside."""
    folder = tmp_path / "engines"

    def run(by, precision="fp32", force=False):
        def compile_network(eager, network, *_):
            if by is None:
                raise NotImplementedError("no kernel\nfor aten.frobnicate")
            return {"network": network.encode()}

        def load(source, inputs, precision):
            def evidence(crop):
                found = eager.infer(crop)
                return found.features, found.joints + by, found.confidences, found.right

            def mesh(features, joints):
                return eager.regress(SimpleNamespace(features=features, joints=joints))

            calls = {"evidence": evidence, "mesh": mesh, "localiser": lambda p: [eager.locate(p)]}
            return calls[source.read()["network"].decode()]

        monkeypatch.setattr(build, "compile_network", compile_network)
        monkeypatch.setattr(openvino, "load", load)
        settings = {"model.engines": str(folder), "model.precision": precision}
        views = build.Views(*(graphs.examples(n, CPU)[0] for n in ("evidence", "localiser")))
        arguments = eager, Config().replace(settings).model, CPU, "openvino", views
        return build.build(*arguments, None, lambda _: None, force)

    run.folder = folder
    return run


def test_what_is_too_far_off_is_not_written_unless_by_force(build_off):
    says = r"too far .*joints [\d.]+ px.*allowed are 0\.2 px.*4 px and.*--force"
    with pytest.raises(EngineError, match=says):
        build_off(by=0.01)
    assert list(build_off.folder.iterdir()) == []
    paths, parity = build_off(by=0.01, force=True)
    assert parity.joints_px_max > 0.99 * 0.01 * 112 * 2**0.5
    assert sorted(paths) == sorted(build_off.folder.iterdir())


def test_many_joints_a_little_off_are_too_far_as_one_far_off_is():
    near = {"frames": 1, "vertices_mm_mean": 0, "vertices_mm_max": 0, "boxes_px_mean": 0,
            "boxes_px_max": 0}  # fmt: skip
    for mean, most, good in ((1.0, 7.0, True), (2.0, 7.0, False), (1.0, 9.0, False)):
        parity = build.Parity(**near, joints_px_mean=mean, joints_px_max=most)
        assert parity.within(*build.LIMITS["int8"]) is good


def test_what_is_not_a_number_is_too_far_off(build_off):
    with pytest.raises(EngineError, match="too far"):
        build_off(by=float("nan"))


def test_what_cannot_be_compiled_is_said_in_one_line(build_off):
    with pytest.raises(EngineError, match=r"NotImplementedError: no kernel for aten\.frob"):
        build_off(by=None)
    with pytest.raises(EngineError, match="fp16 is for GPUs"):
        build_off(by=0.0, precision="fp16")


def test_a_folder_that_is_open_to_others_is_refused_before_the_work(build_off):
    build_off.folder.mkdir()
    build_off.folder.chmod(0o777)
    with pytest.raises(EngineError, match="others may write it"):
        build_off(by=None)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--precision", "fp16", "--device", "cpu"], "fp16 is for GPUs"),
        (["--format", "tensorrt", "--device", "cpu"], "tensorrt needs an NVIDIA GPU"),
        (["--weights", "none.safetensors"], "no weights at none.safetensors"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_exit_code_2(options, says, capsys, tmp_path):
    assert main(["export", "--output", str(tmp_path / "engines"), *options]) == 2
    said = capsys.readouterr().err.splitlines()
    assert says in said[-1]


def test_ranges_are_those_of_the_pictures_that_are_given(tmp_path, capsys):
    frames = [frame.image for frame in islice(open_media(DEMO_CLIP).frames(), 2)]
    for number, image in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
    pipeline = HandPipeline(Config().replace({"model.backend": "eager", "model.device": "cpu"}))
    ranges = export._ranges(pipeline, str(tmp_path))
    assert ranges.crops.shape == (2, 3, CROP_SIZE, CROP_SIZE)
    assert ranges.pictures.shape == (2, 3, *SIZE)
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((60, 60, 3), np.uint8))
    assert main(["export", "--device", "cpu", "--pictures", str(tmp_path)]) == 2
    assert "no hand is found in its pictures" in capsys.readouterr().err


def test_onnx_files_need_a_folder(capsys):
    assert main(["export", "--format", "onnx"]) == 2
    assert "--format onnx needs --output DIR" in capsys.readouterr().err


def test_models_are_written_where_the_pipeline_finds_them_and_the_report_tells(
    monkeypatch, tmp_path, capsys
):
    """The localiser's alone, which converts in a second or two; the others ship."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    wanted = {"localiser": graphs.EXAMPLES["localiser"]}
    compiled = networks.compile_network

    def compile_network(eager, network, *rest):
        return compiled(eager, network, *rest) if network in wanted else shipped(network)

    def shipped(network):
        name = networks.file_name(network, "openvino", kept(network), Config().model)
        path = store.find(tmp_path, name)
        return path and store.read(path, {})

    def kept(network):
        return networks.kept_precision("openvino", network, "int8")

    monkeypatch.setattr(build, "compile_network", compile_network)
    monkeypatch.setitem(build.LIMITS, "fp32", build.LIMITS["int8"])
    monkeypatch.setattr(export, "_FRAMES", 4)
    folder = tmp_path / "engines"
    words = ["export", "--precision", "fp32", "--device", "cpu", "--output", str(folder)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert re.search(r"error on [12] frames: joints [\d.]+ px \(max [\d.]+\), vertices", said)
    for path in folder.iterdir():
        assert f"MB -> {path}" in said
    settings = {"model.engines": str(folder), "model.device": "cpu", "model.precision": "fp32"}
    pipeline = HandPipeline(Config().replace({**settings, "model.strict_backend": True}))
    assert pipeline.networks.name == "openvino (fp32)"


def test_onnx_files_compute_what_torch_does(eager, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    for path in build.write_onnx(eager, tmp_path / "onnx", lambda _: None):
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        inputs = graphs.examples(path.stem, CPU)
        names = [source.name for source in session.get_inputs()]
        outputs = session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))
        assert [o.name for o in session.get_outputs()] == graphs.OUTPUTS[path.stem]
        with torch.no_grad():
            expected = eager.graph(path.stem, "fp32")(*inputs)
        for ours, theirs in zip(outputs, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
