"""OpenVINO on CPUs: a graph as a model file, which is data and is compiled when it is loaded."""

from __future__ import annotations

import logging
import math
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.nn import functional

from dhpe_ros.engines import processor
from dhpe_ros.engines.store import EngineError, Parts, Source, UnavailableError

ROWS = 2  # that a call takes at most: both looks at a hand take less together than one by one
_GRAPH, _WEIGHTS = "model.xml", "model.bin"
_COMPILED, _THREADS = "compiled", "threads"  # that it takes at most; 0: all
# Bytes of weights times numbers of input, below which a row takes a core less than 3 ms: a second
# thread would gain little.
_LITTLE_WORK = 4e11


def check_fit(device: torch.device, precision: str) -> None:
    """Raises ``UnavailableError`` if this device cannot have an engine of this precision."""
    if device.type != "cpu":
        raise UnavailableError(f"openvino runs on the CPU, the device is {device.type}")
    if precision == "fp16":
        raise UnavailableError("fp16 is for GPUs; on a CPU choose bf16, int8 or fp32")
    if precision == "bf16" and not processor.has_bf16():
        raise UnavailableError("this CPU has no bf16 instructions (AVX-512 on x86); choose fp32")


def versions(device: torch.device) -> dict[str, str]:
    """None: every later version of OpenVINO reads the model."""
    return {}


def compiler() -> dict[str, str]:
    """Versions that a compiled model belongs to: that of another OpenVINO is not used."""
    return {
        "OpenVINO": _runtime().get_version(),
        "processor": " ".join(sorted(processor.features())),
    }


def compile_program(program: ExportedProgram, precision: str, calibration: Tensor | None) -> Parts:
    """Convert a graph; raises whatever OpenVINO raises.

    In int8, convolutions get their ranges from ``calibration``, inputs of the graph ``(N, ...)``,
    and what is left in floats has half precision.
    """
    parts = _saved(_runtime().convert_model(program), half=precision == "int8")
    if precision != "int8" or calibration is None:
        return parts
    nncf = _quantiser()
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    rows = [row.numpy() for row in calibration.cpu().contiguous().split(1)]
    return _saved(
        nncf.quantize(
            _read(parts),
            nncf.Dataset(rows),
            subset_size=len(rows),
            preset=nncf.QuantizationPreset.MIXED,
            # Heads, which are small, and the products that resize the crop stay as they are.
            ignored_scope=nncf.IgnoredScope(types=["MatMul"], validate=False),
            # Few frames of one hand: what they never reach may come.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            ),
        )
    )


def load(source: Source, inputs: tuple[Tensor, ...], precision: str) -> Callable[..., list[Tensor]]:
    """The model as a function of up to ``ROWS`` rows of tensors that look as ``inputs``.

    Pictures may be bytes as well, which is faster. It runs by as many threads as torch has now, a
    small network by one for each row.
    One for each number of rows is compiled when that is first asked for: of a model that takes any
    number a call takes half as long again. What was compiled is kept, which later starts load in a
    third of the time. The model is not: the process would hold its weights twice.
    """
    lock, threads = threading.Lock(), torch.get_num_threads()
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # others' work on a core would hold a thread up
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    white = 0.0  # of pictures
    if inputs[0].ndim == 4:
        white = 1.0 if inputs[0].max() <= 1 else 255.0
    requests: dict[int, Any] = {}

    def compiled(rows: int) -> Parts:
        parts = source.read()
        model = _read(parts)
        pairs = zip(model.inputs, _used(model.inputs, inputs), strict=True)
        model.reshape({own.any_name: [rows, *like.shape[1:]] for own, like in pairs})
        model = _of_bytes(model, white) if white else model
        numbers = math.prod(model.inputs[0].shape) / rows
        is_small = len(parts[_WEIGHTS]) * numbers < _LITTLE_WORK
        blob = _core().compile_model(model, "CPU", settings).export_model()
        return {_COMPILED: blob.getvalue(), _THREADS: str(rows if is_small else 0).encode()}

    def request(rows: int) -> Any:
        make = partial(compiled, rows)
        name, about = f"compiled-{precision}-{rows}", compiler()
        parts = source.keep(name, about, make) if source.keep else make()
        count = {"INFERENCE_NUM_THREADS": min(int(parts[_THREADS]) or threads, threads)}
        model = _core().import_model(parts[_COMPILED], "CPU", settings | count)
        return model.create_infer_request()

    def run(*tensors: Tensor) -> list[Tensor]:
        rows = len(tensors[0])
        with lock:
            if rows not in requests:
                requests[rows] = request(rows)
            own = requests[rows]
            if white:
                tensors = (_as_bytes(tensors[0], white, tuple(own.model_inputs[0].shape)[1:3]),)
            used = _used(own.model_inputs, tensors)
            arrays = [tensor.contiguous().numpy() for tensor in used]
            results = own.infer(arrays, share_inputs=True)
            return [torch.from_numpy(result) for result in results.values()]

    return run


def _used(inputs: Sequence[Any], tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors for a model's inputs; it has none that nothing in it uses, as F in lite's mesh."""
    ranks = {own.partial_shape.rank.get_length() for own in inputs}
    return [tensor for tensor in tensors if tensor.ndim in ranks]


def _of_bytes(model: Any, white: float) -> Any:
    """A model of pictures ``(B, 3, H, W)`` as one of bytes ``(B, H, W, 3)``.

    Where it begins by shrinking them, it takes them shrunk: torch does that in a tenth of the time.
    """
    openvino = _runtime()
    (picture,) = (one.get_node() for one in model.inputs)
    size = list(picture.output(0).shape)
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            break
        own = node.output(0).partial_shape
        if node.get_type_name() == "Reshape" and own.is_static and len(own) == 4:
            shape = list(own.to_shape())
            if shape[:2] == size[:2] and shape != size:
                shrunk = openvino.opset13.parameter(shape, openvino.Type.f32)
                shrunk.output(0).tensor.set_names({"shrunk"})
                source = node.input(0).get_source_output().get_node()
                begin = shrunk.output(0)
                if source.get_type_name() == "FakeQuantize":
                    limits = [source.input_value(k) for k in range(1, 5)]
                    levels = source.get_attributes()["levels"]
                    begin = openvino.opset13.fake_quantize(shrunk, *limits, levels).output(0)
                node.output(0).replace(begin)
                model = openvino.Model(model.get_results(), [shrunk])
                break
    steps = openvino.preprocess.PrePostProcessor(model)
    taken = steps.input()
    taken.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    taken.model().set_layout(openvino.Layout("NCHW"))
    taken.preprocess().convert_element_type(openvino.Type.f32).scale(255 / white)
    return steps.build()


def _as_bytes(pictures: Tensor, white: float, size: tuple[int, ...]) -> Tensor:
    """``(B, 3, H, W)`` as ``(B, *size, 3)`` bytes."""
    if pictures.dtype is not torch.uint8:
        pictures = (pictures * (255 / white)).round().byte()
    if tuple(pictures.shape[2:]) != size:
        pictures = functional.interpolate(pictures, size, mode="bilinear", antialias=True)
    return pictures.permute(0, 2, 3, 1)


def _read(parts: Parts) -> Any:
    return _core().read_model(parts[_GRAPH], parts[_WEIGHTS])


def _saved(model: Any, half: bool = True) -> Parts:
    with tempfile.TemporaryDirectory() as name:
        _runtime().save_model(model, Path(name, _GRAPH), compress_to_fp16=half)
        return {part: Path(name, part).read_bytes() for part in (_GRAPH, _WEIGHTS)}


def _runtime() -> Any:
    """OpenVINO, without its report to its maker that it is in use: robots keep to themselves."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise EngineError(
            f"openvino cannot be imported ({error}): pip install openvino, or choose the backend "
            "eager"
        ) from error
    return openvino


@cache
def _core() -> Any:
    """OpenVINO's core, kept as long as the process.

    It gives the thread that makes it a stack for signals, of which another thread that destroyed
    it would leave the address alone: the next Ctrl-C would end the process as a crash.
    """
    return _runtime().Core()


def _quantiser() -> Any:
    try:
        import nncf
    except ImportError as error:
        raise EngineError(f"int8 needs nncf ({error}): pip install nncf") from error
    nncf.set_log_level(logging.ERROR)
    return nncf
