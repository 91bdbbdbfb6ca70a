"""``dhpe export``: an engine of the lite profile, compiled once for all tests, and its worth."""

import json
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
from dhpe_ros.engines import aoti, build, graphs, store
from dhpe_ros.engines.networks import COMPILERS, EagerNetworks
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import CROP_SIZE, Box

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipelines(lite_engine):
    """One eager, one with the engine.

    Equal numbers of steps: whether one more is worth its while can hang on the last digit.
    """
    engine = {"model.engines": str(lite_engine.folder), "model.strict_backend": True}
    steps = {"refinement.steps": 10, "refinement.tolerance": 0.0}
    return tuple(
        HandPipeline(Config().replace({"model.backend": backend, **engine, **steps}))
        for backend in ("eager", "compiled")
    )


@pytest.fixture(scope="module")
def frames():
    return [frame.image for frame in islice(open_media(DEMO_CLIP).frames(), 0, 90, 30)]


def test_the_report_tells_parity_speed_size_and_where_the_engine_is(lite_engine):
    said = lite_engine.report
    assert re.search(r"operators: \d+ compiled, of \d+ kinds", said)
    joints, vertices, boxes = re.findall(r"max ([\d.]+)\)", said)
    assert max(float(most) for most in (joints, vertices, boxes)) <= 0.5
    for what in ("crop", "picture"):
        times = rf"a {what} takes [\d.]+ ms, [\d.]+ ms in eager float32: [\d.]+ times"
        assert re.search(times, said)
    (sidecar,) = lite_engine.folder.glob("*.json")
    assert re.search(rf"[\d.]+ MB, built in \d+ s -> {sidecar}", said)
    about = json.loads(sidecar.read_text())["about"]
    assert about["parity"]["frames"] == 16
    assert about["operators"]["supported"]["aten.convolution.default"] > 20
    assert about["operators"]["unsupported"] == {}


def test_nothing_else_is_left_in_the_folder(lite_engine):
    suffixes = sorted(path.suffixes[-1] for path in lite_engine.folder.iterdir())
    assert suffixes == [".json", ".pt2", ".pt2", ".pt2"]


def test_hands_are_those_of_eager_torch(pipelines, frames):
    eager, compiled = pipelines
    assert (eager.networks.name, compiled.networks.name) == ("eager", "compiled (fp32)")
    for image in frames:
        (mine,), (other,) = eager.estimate(image), compiled.estimate(image)
        assert mine.side == other.side
        pixel = mine.box.width / CROP_SIZE  # of the crop, as which the tolerance is meant
        assert np.abs(mine.joints_px - other.joints_px).max() < 0.5 * pixel
        assert np.abs(mine.vertices_m - other.vertices_m).max() < 0.5e-3


def test_the_quick_way_to_load_an_engine_is_the_documented_one(lite_engine):
    from torch._inductor import aoti_load_package  # with triton, which other tests set up first

    (path,) = lite_engine.folder.glob("*.evidence.pt2")
    inputs = graphs.examples("evidence", CPU)
    quick, documented = aoti.load(path, inputs), aoti_load_package(str(path))
    for one, other in zip(quick(*inputs), documented(*inputs), strict=True):
        assert torch.equal(one, other)


def test_several_crops_at_once_are_several_calls(pipelines, frames):
    crops = [crop_image(frames[0], Box(80, 60, s, s)) for s in (200, 300, 400)]
    mine, other = (pipeline.infer(crops) for pipeline in pipelines)
    assert torch.allclose(mine.joints, other.joints, atol=0.5 / 112)
    assert torch.allclose(mine.features, other.features, atol=1e-3)


def test_predict_says_which_backend_ran(lite_engine, frames, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "hand.png"), frames[0][..., ::-1])
    (tmp_path / "engines.yaml").write_text(f"model: {{engines: {lite_engine.folder}}}\n")
    words = ["predict", str(tmp_path / "hand.png"), "--output", str(tmp_path / "out")]
    assert main([*words, "--config", str(tmp_path / "engines.yaml")]) == 0
    assert "1 image, 1 hand" in (said := capsys.readouterr().out) and ", compiled (fp32) ->" in said
    assert main([*words, "--config", str(tmp_path / "engines.yaml"), "--backend", "eager"]) == 0
    assert ", eager ->" in capsys.readouterr().out


class Off:
    """A compiler whose engines are eager torch, but for joints that lie a little beside."""

    SUFFIX = ".off"

    def __init__(self, eager, by):
        self.eager, self.by = eager, by

    def unfit(self, device, precision):
        return "no such precision here" if precision == "fp16" else ""

    def compile_program(self, program, inputs, precision, path):
        if self.by is None:
            raise NotImplementedError("no kernel\nfor aten.frobnicate")
        path.write_bytes(b"engine")

    def load(self, path, inputs):
        def see(crop):
            seen = self.eager.see(crop)
            return seen.features, seen.joints + self.by, seen.confidences, seen.right

        def regress(features, joints):
            return self.eager.regress(SimpleNamespace(features=features, joints=joints))

        def locate(pictures):
            return (self.eager.locate(pictures),)

        return {"evidence": see, "mesh": regress, "localiser": locate}[path.stem]


@pytest.fixture
def build_off(pipelines, monkeypatch, tmp_path):
    """Build with such a compiler; the folder it writes into."""
    eager: EagerNetworks = pipelines[0].eager
    monkeypatch.setattr(build, "export_all", lambda *_: dict.fromkeys(graphs.EXAMPLES))
    monkeypatch.setattr(build, "count_operators", lambda *_: build.Operators({}, {}))

    def run(by, precision="fp32", limits=(0.5, 0.5)):
        monkeypatch.setitem(COMPILERS, "aoti", Off(eager, by))
        model = Config().replace({"model.engines": str(tmp_path / "engines")}).model
        views = build.Views(*(graphs.examples(n, CPU)[0] for n in ("evidence", "localiser")))
        return build.build(eager, model, CPU, "aoti", precision, views, limits, lambda _: None)

    run.folder = tmp_path / "engines"
    return run


def test_an_engine_that_is_too_far_off_is_not_written(build_off):
    with pytest.raises(build.BuildError, match=r"joints [\d.]+ px.*limits 0\.5 px.*--joint-limit"):
        build_off(by=0.01)
    assert list(build_off.folder.iterdir()) == []
    built = build_off(by=0.01, limits=(50.0, 1000.0))
    assert built.parity.joints_px_max > 0.99 * 0.01 * 112 * 2**0.5
    assert built.sidecar.exists()


def test_what_is_not_a_number_is_too_far_off(build_off):
    with pytest.raises(build.BuildError, match="too far"):
        build_off(by=float("nan"), limits=(1e9, 1e9))


def test_what_cannot_be_compiled_is_said_in_one_line(build_off):
    with pytest.raises(build.BuildError, match=r"NotImplementedError: no kernel for aten\.frob"):
        build_off(by=None)
    with pytest.raises(build.BuildError, match="no such precision here"):
        build_off(by=0.0, precision="fp16")


def test_a_folder_that_is_open_to_others_is_refused_before_the_work(build_off):
    build_off.folder.mkdir()
    build_off.folder.chmod(0o777)
    with pytest.raises(store.EngineError, match="others may write it"):
        build_off(by=0.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--precision", "fp16", "--device", "cpu"], "fp16 is for GPUs"),
        (["--backend", "tensorrt", "--device", "cpu"], "TensorRT needs an NVIDIA GPU"),
        (["--weights", "none.safetensors"], "no weights at none.safetensors"),
        (["--joint-limit", "0"], "--joint-limit must be > 0"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_exit_code_2(options, says, capsys, tmp_path):
    assert main(["export", "--output", str(tmp_path / "engines"), *options]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") <= 2


@pytest.fixture
def wanted(monkeypatch, tmp_path):
    """Compiler and precision for settings and options."""

    def build_nothing(eager, model, device, compiler, precision, *_):
        raise build.BuildError(f"wanted {compiler} {precision}")

    pipeline = SimpleNamespace(device=CPU, eager=None)
    monkeypatch.setattr(export, "load_pipeline", lambda config: pipeline)
    monkeypatch.setattr(export, "_views", lambda pipeline: None)
    monkeypatch.setattr(build, "build", build_nothing)

    def run(model, *options):
        (tmp_path / "my.yaml").write_text(f"model: {model}")
        return main(["export", "--config", str(tmp_path / "my.yaml"), *options])

    return run


@pytest.mark.parametrize(
    ("model", "options", "says"),
    [
        ("{precision: bf16, backend: compiled}", ["--backend", "auto"], "wanted aoti bf16"),
        ("{precision: bf16, backend: tensorrt}", [], "wanted tensorrt bf16"),
        ("{precision: bf16, backend: tensorrt}", ["--backend", "aoti", "--precision", "fp32"],
         "wanted aoti fp32"),
        ("{backend: eager}", ["--backend", "aoti", "--precision", "fp32"], "wanted aoti fp32"),
        ("{backend: eager}", ["--backend", "auto"], "nothing to build for model.backend 'eager'"),
    ],
)  # fmt: skip
def test_settings_say_what_is_built_where_no_option_does(wanted, model, options, says, capsys):
    assert wanted(model, *options) == 2
    assert says in capsys.readouterr().err


def test_an_engine_that_ends_its_process_is_told(tmp_path, monkeypatch):
    path = tmp_path / "evidence.pt2"
    path.write_bytes(b"no engine at all")
    with pytest.raises(build.BuildError, match="ends the process that loads it"):
        build.try_elsewhere("aoti", {"evidence": path}, CPU)
    monkeypatch.setattr(build, "_TRIAL", "import os; os.abort()")
    with pytest.raises(build.BuildError, match="exit status -6"):
        build.try_elsewhere("aoti", {"evidence": path}, CPU)
