"""Arguments of torch-tensorrt, version by version; a real engine where it can be built."""

import pytest
import torch

from dhpe_ros.engines import tensorrt

VERSIONS = ("2.8.0", "2.9.0+cu130", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_is_told_a_set_of_precisions_or_a_runtime(version):
    for precision in ("fp32", "bf16", "fp16"):
        settings = tensorrt.compile_settings(version, precision)
        assert not {"enabled_precisions", "use_python_runtime", "enable_autocast"} & set(settings)
        assert settings["disable_tf32"] is (precision == "fp32")
        assert not settings["cache_built_engines"] and not settings["reuse_cached_engines"]


@pytest.mark.parametrize("version", VERSIONS)
def test_types_are_kept_by_request_until_that_is_the_only_way(version):
    settings = tensorrt.compile_settings(version, "fp16")
    asked = version.startswith(("2.8", "2.9", "2.10", "2.11", "2.12"))
    assert settings.get("use_explicit_typing", False) is asked


@pytest.mark.parametrize("version", ["2.7.0", "1.4.0"])
def test_older_versions_are_refused(version):
    with pytest.raises(ValueError, match="too old"):
        tensorrt.compile_settings(version, "fp32")


def test_where_it_cannot_work_it_says_why():
    assert "needs an NVIDIA GPU" in tensorrt.unfit(torch.device("cpu"), "fp32")


def test_a_real_engine_and_a_dry_run_agree_with_torch(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("TensorRT needs an NVIDIA GPU")
    pytest.importorskip("torch_tensorrt", reason="torch-tensorrt is not installed")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).cuda().eval()
    inputs = (torch.rand(1, 3, 32, 32, device="cuda"),)
    program = torch.export.export(network, inputs)
    tensorrt.dry_run(program, inputs, "fp32")
    path = tmp_path / f"engine{tensorrt.SUFFIX}"
    tensorrt.compile_program(program, inputs, "fp32", path)
    difference = tensorrt.load(path, inputs)(*inputs) - network(*inputs)
    assert difference.abs().max() < 1e-4
    assert tensorrt.has_kernel(torch.ops.aten.convolution.default)
