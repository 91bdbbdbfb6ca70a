"""The pipeline's networks on the first backend that works, eager torch at last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor

from dhpe_ros.config import ModelConfig
from dhpe_ros.engines import aoti, graphs, store, tensorrt
from dhpe_ros.engines.cuda_graph import replayed
from dhpe_ros.engines.identity import has_fast_bf16, has_matrix_tiles, identify
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import Evidence, EvidenceNetwork
from dhpe_ros.networks.localiser import LocaliserNetwork
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.system.errors import one_line
from dhpe_ros.system.programs import command

COMPILERS: dict[str, ModuleType] = {"aoti": aoti, "tensorrt": tensorrt}
_CHAINS = {
    "auto": ("tensorrt", "compiled"),
    "tensorrt": ("tensorrt", "compiled"),
    "compiled": ("compiled",),
    "eager": (),
}
COMPILER_OF = {"tensorrt": "tensorrt", "compiled": "aoti"}
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class EagerNetworks:
    """The networks as torch runs them."""

    name = "eager"

    def __init__(
        self,
        evidence: EvidenceNetwork,
        mesh_estimator: MeshEstimator,
        projection: Projection,
        localiser: LocaliserNetwork,
    ) -> None:
        self.evidence = evidence
        self.mesh_estimator = mesh_estimator
        self.projection = projection
        self.localiser = localiser

    def see(self, crops: Tensor) -> Evidence:
        """``(B, 3, 224, 224)`` in 0..1 to their evidence."""
        return self.evidence(crops)

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The last iteration's parameters ``(B, 63)`` and 2D joints ``(B, 21, 2)``."""
        last = self.mesh_estimator(evidence, self.projection)[-1]
        return last.parameters, last.joints_2d

    def locate(self, pictures: Tensor) -> Tensor:
        """``(1, 3, *SIZE)`` uint8 to the output of `LocaliserNetwork`."""
        return self.localiser(self.localiser.normalised(pictures))


class EngineNetworks:
    """The same by engines, one crop after the other."""

    def __init__(self, name: str, engines: dict[str, Callable[..., Any]]) -> None:
        self.name = name
        self._see, self._regress = engines["evidence"], engines["mesh"]
        self._locate = engines["localiser"]

    def see(self, crops: Tensor) -> Evidence:
        """As `EagerNetworks.see`, for at least one crop."""
        return Evidence(*_row_by_row(self._see, crops))

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """As `EagerNetworks.regress`, for at least one crop."""
        parameters, joints_2d = _row_by_row(self._regress, evidence.features, evidence.joints)
        return parameters, joints_2d

    def locate(self, pictures: Tensor) -> Tensor:
        """As `EagerNetworks.locate`."""
        (answer,) = self._locate(pictures.float().contiguous())
        return answer


class BackedNetworks:
    """The networks on the backend of a configuration, or on the next that works.

    ``trouble`` says why it is not the one that was wanted; it is empty where nothing is wrong.
    Under ``strict_backend`` an ``EngineError`` says so instead, now or whenever it happens.
    """

    def __init__(self, eager: EagerNetworks, model: ModelConfig, device: torch.device) -> None:
        self.trouble = ""
        self._eager = eager
        self._strict = model.strict_backend
        self._troubles: list[str] = []
        self._ways = _ways(eager, model, device)
        self._active = self._next()
        plain = self._active is eager and model.backend == "auto"
        hint = f"; {command('export')} makes faster ones for this machine" if plain else ""
        _log.info("networks: %s%s", self.name, hint)

    @property
    def name(self) -> str:
        """The backend in use, as ``compiled (bf16)``."""
        return self._active.name

    def see(self, crops: Tensor) -> Evidence:
        """``(B, 3, 224, 224)`` in 0..1 to their evidence."""
        return self._run(lambda networks: networks.see(crops), len(crops))

    def regress(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """The last iteration's parameters ``(B, 63)`` and 2D joints ``(B, 21, 2)``."""
        return self._run(lambda networks: networks.regress(evidence), len(evidence.features))

    def locate(self, pictures: Tensor) -> Tensor:
        """``(1, 3, *SIZE)`` uint8 to the output of `LocaliserNetwork`."""
        return self._run(lambda networks: networks.locate(pictures), len(pictures))

    def _run(self, call: Callable[[Any], _Result], rows: int) -> _Result:
        while rows and self._active is not self._eager:
            try:
                return call(self._active)
            except Exception as error:  # whatever a runtime raises: there is another way
                self._active = self._next(f"the {self.name} networks failed: {one_line(error)}")
        return call(self._eager)

    def _next(self, trouble: str = "") -> EagerNetworks | EngineNetworks:
        """The next way that works, after ``trouble`` with the one before."""
        known, networks = len(self._troubles), None
        self._note(trouble)
        while networks is None:
            networks, trouble = next(self._ways)
            self._note(trouble)
        if len(self._troubles) > known:
            self.trouble = f"{'; '.join(self._troubles)}; running {networks.name} instead"
            _log.warning("%s", self.trouble)
        return networks

    def _note(self, trouble: str) -> None:
        if trouble and self._strict:
            raise store.EngineError(f"model.strict_backend: {trouble}")
        self._troubles += [trouble] * bool(trouble)


def _ways(
    eager: EagerNetworks, model: ModelConfig, device: torch.device
) -> Iterator[tuple[EagerNetworks | EngineNetworks | None, str]]:
    """Backends that may run, the fastest first, eager torch at last, each made when asked for.

    None is one that cannot be had; beside it why, where that is worth a warning.
    """
    for backend in _CHAINS[model.backend]:
        yield _first_engine(backend, model, device)
    yield _graphs_instead(eager, model, device)
    yield eager, ""


def precisions(device: torch.device) -> tuple[str, ...]:
    """Precisions of engines on a device, the one to recommend first."""
    if device.type == "cuda":
        return ("fp16", "bf16", "fp32")
    floats = ("bf16", "fp32") if has_fast_bf16(device) else ("fp32", "bf16")
    order = ("bf16", "int8", "fp32") if has_matrix_tiles() else ("int8", *floats)
    return tuple(precision for precision in order if not aoti.unfit(device, precision))


def precisions_of(model: ModelConfig, device: torch.device) -> tuple[str, ...]:
    """The one that is set, or all that engines on a device may be of, the best first."""
    return precisions(device) if model.precision == "auto" else (model.precision,)


def engines_folder(model: ModelConfig) -> Path:
    """Folder of the configuration's engines."""
    return Path(model.engines).expanduser() if model.engines else store.default_folder()


def load_engines(
    name: str, compiler: str, paths: Mapping[str, Path], device: torch.device
) -> EngineNetworks:
    """Load the files of all networks, under a name."""
    load = COMPILERS[compiler].load
    return EngineNetworks(
        name, {n: load(path, graphs.examples(n, device)) for n, path in paths.items()}
    )


def as_cuda_graphs(eager: EagerNetworks, precision: str, device: torch.device) -> EngineNetworks:
    """The networks as torch runs them, in a precision, each as one launch: no compiler is asked."""
    networks = eager.evidence, eager.mesh_estimator, eager.projection, eager.localiser
    modules = graphs.make_graphs(*networks, precision, fused=True)
    engines = {n: replayed(module, graphs.examples(n, device)) for n, module in modules.items()}
    return EngineNetworks(f"CUDA graphs ({precision})", engines)


def _open(backend: str, model: ModelConfig, device: torch.device, precision: str) -> EngineNetworks:
    """A checked engine that has run once. Raises ``EngineError``, or its runtime's errors."""
    compiler = COMPILER_OF[backend]
    identity = identify(model, device, compiler, precision)
    paths = store.find(engines_folder(model), identity)
    networks = load_engines(f"{backend} ({precision})", compiler, paths, device)
    run_once(networks, device)
    return networks


def run_once(networks: EngineNetworks, device: torch.device) -> None:
    """All of them, on nothing to speak of."""
    networks.regress(networks.see(*graphs.examples("evidence", device)))
    networks.locate(*graphs.examples("localiser", device))


def _first_engine(
    backend: str, model: ModelConfig, device: torch.device
) -> tuple[EngineNetworks | None, str]:
    """The engine of a backend, or why there is none although it was asked for or is there."""
    asked = backend == model.backend
    if device.type not in COMPILERS[COMPILER_OF[backend]].DEVICES:
        return None, f"{backend} does not run on {device.type}" if asked else ""
    reasons = []
    for precision in precisions_of(model, device):
        try:
            return _open(backend, model, device, precision), ""
        except store.MissingEngineError as error:
            if asked:
                reasons.append(str(error))
        except store.EngineError as error:
            reasons.insert(0, str(error))
        except Exception as error:  # whatever a compiler's runtime raises: there is another backend
            reasons.insert(0, f"the {backend} ({precision}) engine failed: {one_line(error)}")
    return None, next(iter(reasons), "")


def _graphs_instead(
    eager: EagerNetworks, model: ModelConfig, device: torch.device
) -> tuple[EngineNetworks | None, str]:
    """CUDA graphs on a GPU, if nothing else was asked for; why not, where they fail."""
    precision = precisions_of(model, device)[0]
    if model.backend != "auto" or device.type != "cuda" or aoti.unfit(device, precision):
        return None, ""
    try:
        return as_cuda_graphs(eager, precision, device), ""
    except Exception as error:  # as for engines
        return None, f"CUDA graphs of the networks failed: {one_line(error)}"


def _row_by_row(engine: Callable[..., Any], *batches: Tensor) -> list[Tensor]:
    """Both tensors and engines are one row each; an engine wants its rows contiguous."""
    rows = zip(*(batch.contiguous().split(1) for batch in batches), strict=True)
    return [torch.cat(column) for column in zip(*(engine(*row) for row in rows), strict=True)]
