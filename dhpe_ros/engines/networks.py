"""The pipeline's networks on the first backend that works, eager torch at last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import graphs, openvino, processor, store, tensorrt
from dhpe_ros.engines.cuda_graph import replayed
from dhpe_ros.engines.identity import export_command, file_name
from dhpe_ros.engines.store import EngineError, Parts, Source, UnavailableError
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import Evidence, EvidenceNetwork
from dhpe_ros.networks.localiser import LocaliserNetwork
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.system.errors import one_line

COMPILERS: dict[str, ModuleType] = {"openvino": openvino, "tensorrt": tensorrt}
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(eq=False)
class EagerNetworks:
    """The networks as torch runs them."""

    evidence: EvidenceNetwork
    mesh_estimator: MeshEstimator
    projection: Projection
    localiser: LocaliserNetwork
    name = "eager"

    def infer(self, crops: Tensor) -> Evidence:
        """``(B, 3, 224, 224)``, bytes or in 0..1, to their evidence."""
        return self.evidence(as_floats(crops))

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The last iteration's parameters ``(B, 63)`` and 2D joints ``(B, 21, 2)``."""
        last = self.mesh_estimator(evidence, self.projection)[-1]
        return last.parameters, last.joints_2d

    def locate(self, pictures: Tensor) -> Tensor:
        """``(1, 3, *SIZE)`` uint8 to the output of `LocaliserNetwork`."""
        return self.localiser(self.localiser.normalised(pictures))

    def graph(self, network: str, precision: str, fused: bool = False) -> nn.Module:
        """One of ``graphs.EXAMPLES``, in a precision of ``graphs.DTYPES``.

        ``fused`` is what runs fastest as it is, not for a compiler, which fuses by itself.
        """
        if network == "evidence":
            return graphs.EvidenceGraph(self.evidence, precision, fused).eval()
        if network == "mesh":
            return graphs.MeshGraph(self.mesh_estimator, self.projection).eval()
        return graphs.LocaliserGraph(self.localiser, precision).eval()


_LoadEager = Callable[[], EagerNetworks]


class EngineNetworks:
    """The same by engines, functions of at most ``rows`` rows of contiguous tensors."""

    def __init__(
        self,
        name: str,
        engines: dict[str, Callable[..., Any]],
        rows: int = 1,
        take_bytes: bool = False,
    ) -> None:
        self.name = name
        self._engines = engines
        self._rows = rows
        self._take_bytes = take_bytes
        self._of_none: dict[str, list[Tensor]] = {}  # results for no rows

    def infer(self, crops: Tensor) -> Evidence:
        """As `EagerNetworks.infer`."""
        return Evidence(*self._run("evidence", crops if self._take_bytes else as_floats(crops)))

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """As `EagerNetworks.regress`."""
        parameters, joints_2d = self._run("mesh", evidence.features, evidence.joints)
        return parameters, joints_2d

    def locate(self, pictures: Tensor) -> Tensor:
        """As `EagerNetworks.locate`."""
        return self._run("localiser", pictures if self._take_bytes else pictures.float())[0]

    def _run(self, network: str, *batches: Tensor) -> list[Tensor]:
        engine = self._engines[network]
        if not len(batches[0]):
            if network not in self._of_none:
                of_one = self._run(network, *(b.new_zeros(1, *b.shape[1:]) for b in batches))
                self._of_none[network] = [result[:0].clone() for result in of_one]
            return self._of_none[network]
        rows = zip(*(batch.split(self._rows) for batch in self._laid_out(batches)), strict=True)
        results = [engine(*row) for row in rows]
        columns = zip(*results, strict=True)
        return [column[0] if len(column) == 1 else torch.cat(column) for column in columns]

    def _laid_out(self, batches: tuple[Tensor, ...]) -> list[Tensor]:
        return [batch if batch.dtype is torch.uint8 else batch.contiguous() for batch in batches]


class BackedNetworks:
    """The networks on the backend of a configuration, or on the next that works.

    ``fault`` says why it is not the one that was wanted; it is empty where nothing is wrong.
    Under ``strict_backend`` an ``EngineError`` says so instead, now or whenever it happens.
    ``load_eager`` is called where eager torch is needed: to run, or to make an engine.
    """

    def __init__(self, load_eager: _LoadEager, model: ModelConfig, device: torch.device) -> None:
        self.fault = ""
        self._load_eager = load_eager
        self._eager: EagerNetworks | None = None  # where nothing else works
        self._strict = model.strict_backend
        self._faults: list[str] = []
        self._candidates = _candidates(load_eager, model, device)
        self._active = self._next()
        _log.info("networks: %s", self.name)

    @property
    def name(self) -> str:
        """The backend in use, as ``openvino (int8)``."""
        return self._active.name

    def infer(self, crops: Tensor) -> Evidence:
        """``(B, 3, 224, 224)``, bytes or in 0..1, to their evidence."""
        return self._run(lambda networks: networks.infer(crops))

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The last iteration's parameters ``(B, 63)`` and 2D joints ``(B, 21, 2)``."""
        return self._run(lambda networks: networks.regress(evidence))

    def locate(self, pictures: Tensor) -> Tensor:
        """``(1, 3, *SIZE)`` uint8 to the output of `LocaliserNetwork`."""
        return self._run(lambda networks: networks.locate(pictures))

    def _run(self, call: Callable[[Any], _Result]) -> _Result:
        while self._active is not self._eager:
            try:
                return call(self._active)
            except Exception as error:  # whatever a runtime raises: there is another backend
                self._active = self._next(f"the {self.name} networks failed: {one_line(error)}")
        return call(self._active)

    def _next(self, fault: str = "") -> EagerNetworks | EngineNetworks:
        """The next backend that works, after ``fault`` in the one before."""
        known = len(self._faults)
        self._note(fault)
        for candidate, fault in self._candidates:
            self._note(fault)
            if candidate is not None:
                networks: EagerNetworks | EngineNetworks = candidate
                break
        else:
            networks = self._eager = self._load_eager()
        if len(self._faults) > known:
            self.fault = f"{'; '.join(self._faults)}; running {networks.name} instead"
            _log.warning("%s", self.fault)
        return networks

    def _note(self, fault: str) -> None:
        if fault and self._strict:
            raise EngineError(f"model.strict_backend: {fault}")
        if fault and fault not in self._faults:
            self._faults.append(fault)


def as_floats(crops: Tensor) -> Tensor:
    """Bytes as numbers in 0..1, which others are."""
    return crops.float() / 255 if crops.dtype is torch.uint8 else crops


def _candidates(
    load_eager: _LoadEager, model: ModelConfig, device: torch.device
) -> Iterator[tuple[EngineNetworks | None, str]]:
    """The backend that is set and those after it, but for eager torch, each made when asked for.

    None is one that cannot be had; beside it why, where that is worth a warning.
    """
    names = [*_BACKENDS, EagerNetworks.name]
    for name in names[names.index(model.backend) if model.backend in names else 0 : -1]:
        try:
            yield _BACKENDS[name](load_eager, model, device), ""
        except UnavailableError as error:
            yield None, str(error) if name == model.backend else ""
        except Exception as error:  # whatever a compiler or a runtime raises
            ours = "" if isinstance(error, EngineError) else f"{name} failed: "
            yield None, f"{ours}{one_line(error)}"


def _tensorrt(_: _LoadEager, model: ModelConfig, device: torch.device) -> EngineNetworks:
    """Engines that were built before, of the first precision that there is."""
    choices = precisions(model, device)
    tensorrt.check_fit(device, choices[0])
    folder, about = engines_folder(model), tensorrt.versions(device)
    for precision in choices:
        names = {n: file_name(n, "tensorrt", precision, model) for n in graphs.EXAMPLES}
        paths = {network: store.find(folder, name) for network, name in names.items()}
        sources = {n: store.source(path, about, folder) for n, path in paths.items() if path}
        if len(sources) == len(names):
            return load_engines("tensorrt", sources, precision, device)
    build = export_command(model, "tensorrt", choices[0])
    raise UnavailableError(f"no engine of TensorRT in {folder}; build it: {build}")


def _openvino(load_eager: _LoadEager, model: ModelConfig, device: torch.device) -> EngineNetworks:
    """Models that ship or were made before; where there is none it is converted now, and kept."""
    choices = precisions(model, device)
    openvino.check_fit(device, choices[0])
    sources, used = {}, {}
    for network in graphs.EXAMPLES:
        for precision in choices:
            used[network] = precision
            found = _find_or_convert(network, precision, load_eager, model)
            if found:
                break
        else:
            build = export_command(model, "openvino", "int8")
            raise UnavailableError(f"no model of {network} in int8; build it: {build}")
        sources[network] = found
    return load_engines("openvino", sources, used["evidence"], device)


def _find_or_convert(
    network: str, precision: str, load_eager: _LoadEager, model: ModelConfig
) -> Source | None:
    """The model's file; None for int8, which takes `dhpe export`, where there is none."""
    folder, kept = engines_folder(model), kept_precision("openvino", network, precision)
    name = file_name(network, "openvino", kept, model)
    path = store.find(folder, name)
    if path or kept == "int8":
        return store.source(path, {}, folder) if path else None
    _log.info("converting the %s network for OpenVINO, once, which takes seconds", network)
    parts = compile_network(load_eager(), network, "openvino", kept, torch.device("cpu"))
    try:
        store.prepare_folder(folder)
        store.write(folder / name, parts, {})
    except OSError as error:
        _log.warning("the converted network cannot be kept: %s", one_line(error))
        return Source(parts.copy)
    return store.source(folder / name, {}, folder)


def _cuda_graphs(
    load_eager: _LoadEager, model: ModelConfig, device: torch.device
) -> EngineNetworks:
    """The networks as torch runs them, each as one launch: no compiler is asked."""
    precision = precisions(model, device)[0]
    if device.type != "cuda" or precision not in graphs.DTYPES:
        raise UnavailableError(f"CUDA graphs are not for {precision} on {device.type}")
    eager = load_eager()
    engines = {
        name: replayed(eager.graph(name, precision, fused=True), graphs.examples(name, device))
        for name in graphs.EXAMPLES
    }
    return EngineNetworks(f"CUDA graphs ({precision})", engines)


_BACKENDS = {"tensorrt": _tensorrt, "openvino": _openvino, "cuda_graphs": _cuda_graphs}


def precisions(model: ModelConfig, device: torch.device) -> tuple[str, ...]:
    """The precision that is set, or all that a device may run, the one to recommend first."""
    if model.precision != "auto":
        return (model.precision,)
    if device.type == "cuda":
        return ("fp16", "bf16", "fp32")
    integers = ("int8",) if processor.has_fast_int8() else ()
    return (*integers, "bf16" if processor.has_fast_bf16(device) else "fp32")


def engines_folder(model: ModelConfig) -> Path:
    """Folder of the configuration's engines."""
    return Path(model.engines).expanduser() if model.engines else store.default_folder()


def kept_precision(backend: str, network: str, precision: str) -> str:
    """Precision in a file: OpenVINO takes bf16 while it loads, and coordinates stay floats."""
    if backend == "openvino" and (network == "mesh" or precision != "int8"):
        return "fp32"
    return precision


def compile_network(
    eager: EagerNetworks,
    network: str,
    backend: str,
    precision: str,
    device: torch.device,
    calibration: Tensor | None = None,
) -> Parts:
    """Export and compile a graph of ``graphs.EXAMPLES``; raises whatever the compiler raises."""
    compiler = COMPILERS[backend]
    graph = eager.graph(network, "fp32" if backend == "openvino" else precision)
    program = graphs.export(graph, graphs.examples(network, device), compiler.ROWS > 1)
    return compiler.compile_program(program, precision, calibration)


def load_engines(
    backend: str, sources: Mapping[str, Source], precision: str, device: torch.device
) -> EngineNetworks:
    """Load the files of all networks, and run each once, on nothing to speak of."""
    compiler = COMPILERS[backend]
    examples = {network: graphs.examples(network, device) for network in sources}
    engines = {
        network: compiler.load(one, examples[network], "fp32" if network == "mesh" else precision)
        for network, one in sources.items()
    }
    networks = EngineNetworks(
        f"{backend} ({precision})", engines, compiler.ROWS, backend == "openvino"
    )
    networks.regress(networks.infer(*examples["evidence"]))
    networks.locate(*examples["localiser"])
    return networks
