"""Arguments of torch-tensorrt, version by version; a real engine where it can be built."""

import sys

import pytest
import torch

from dhpe_ros.engines import store, tensorrt

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
    with pytest.raises(store.UnavailableError, match="needs an NVIDIA GPU"):
        tensorrt.check_fit(torch.device("cpu"), "fp32")
    with pytest.raises(store.UnavailableError, match="int8 is for CPUs"):
        tensorrt.check_fit(torch.device("cuda"), "int8")


def test_without_torch_tensorrt_it_says_where_to_read_on(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    with pytest.raises(store.EngineError, match=r"cannot be imported.*jetson\.md"):
        tensorrt.load(store.Source({"engine.ep": b""}.copy), (), "fp16")


def test_an_engine_is_for_one_gpu_and_its_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Orin")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 7))
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Kernel Module  540.4.0  Fri")
    found = tensorrt._found
    monkeypatch.setattr(
        tensorrt, "_found", lambda pattern, path: found(pattern, tmp_path / path.split("/")[-1])
    )
    versions = tensorrt.versions(torch.device("cuda"))
    assert versions["GPU"] == "Orin" and versions["compute capability"] == "8.7"
    assert versions["driver"] == "540.4.0" and versions["L4T"] == "none"


def test_a_real_engine_agrees_with_torch():
    if not torch.cuda.is_available():
        pytest.skip("TensorRT needs an NVIDIA GPU")
    pytest.importorskip("torch_tensorrt", reason="torch-tensorrt is not installed")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU()).cuda().eval()
    inputs = (torch.rand(1, 3, 32, 32, device="cuda"),)
    parts = tensorrt.compile_program(torch.export.export(network, inputs), "fp32", None)
    difference = tensorrt.load(store.Source(parts.copy), inputs, "fp32")(*inputs) - network(*inputs)
    assert difference.abs().max() < 1e-4
