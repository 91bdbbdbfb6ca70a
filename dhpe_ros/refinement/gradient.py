"""Gradient steps on the whole objective, feature term included: the paper's way.

On a CUDA device each step is one launch instead of one for every small kernel, most of which are
the feature network's for one picture; that runs in half precision there. The CUDA graphs of these
launches are captured before a node is ready, while no other thread uses the device.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.engines.cuda_graph import captured
from dhpe_ros.hand.parameters import Bounds, HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import EvidenceNetwork, FeatureNetwork, for_one_picture
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.terms import Observation

OPTIMIZERS = {"adam": torch.optim.Adam, "gradient_descent": torch.optim.SGD}
_LOOK_BACK = 5  # steps: one alone may go up, and on a GPU to read a value is to wait for it
_PARTS = ("image", "features", "joints", "confidences", "previous", "estimate")
_log = logging.getLogger(__name__)


class OptimizerResult(NamedTuple):
    """Parameters at the end of the steps, and the objective."""

    parameters: Tensor  # (B, 63)
    steps: int  # fewer than were asked for when time was up or hardly anything moved
    before: Tensor  # (B,) objective of the start that they are judged against
    after: Tensor  # (B,) objective of ``parameters``


class _Setup(NamedTuple):
    """All that the steps depend on but numbers in tensors: one graph serves one of these."""

    specs: tuple[tuple[str, torch.Size, torch.dtype], ...]  # parts of an observation
    dtype: torch.dtype
    device: torch.device
    projection: Projection
    evidence: FeatureNetwork | None
    config: RefinementConfig  # of one step


def gradient_steps(
    start: Tensor,
    begin: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork | None,
    config: RefinementConfig,
    graphs: StepGraphs,
) -> OptimizerResult:
    """Take ``config.steps`` steps from ``begin`` ``(B, 63)``; judge them against ``start``.

    Ends earlier when over the last five no hand's value fell by more than ``config.tolerance`` of
    it, or when ``config.time_budget`` is over.
    """
    begun = time.monotonic()
    if observation.previous is None:  # so that one graph serves hands with and without a past
        observation = replace(observation, previous=torch.full_like(start, torch.nan))
    parts = {name: getattr(observation, name) for name in _PARTS}
    parts = {name: part for name, part in parts.items() if part is not None}
    specs = tuple((name, part.shape, part.dtype) for name, part in parts.items())
    each = replace(config, steps=1, time_budget=0.0, tolerance=0.0)
    setup = _Setup(specs, start.dtype, start.device, projection, evidence, each)
    graphed = start.device.type in graphs.DEVICES
    descent = graphs.descent(setup) if graphed else Descent(setup)
    descent.begin(begin, parts)
    steps, earlier = 0, None
    while steps < config.steps:
        if config.time_budget and descent.seconds_since(begun) > config.time_budget:
            break
        value = descent.step()
        steps += 1
        if config.tolerance and steps % _LOOK_BACK == 0:
            if earlier is not None and not (earlier - value > config.tolerance * value).any():
                break
            earlier = value.clone()
    parameters = descent.parameters.detach().clone()
    return OptimizerResult(parameters, steps, descent.value(start), descent.value(parameters))


class Descent:
    """Parameters on their way down, in tensors that stay where they are."""

    def __init__(self, setup: _Setup) -> None:
        specs, dtype, device, projection, evidence, config = setup
        self._parts = {name: _empty(shape, dtype, device) for name, shape, dtype in specs}
        start = HandParameters.start(len(self._parts["joints"]), device).to(dtype)
        self.parameters = start.requires_grad_(True)
        observation = Observation(**{"image": None, **self._parts})  # type: ignore[arg-type]
        self._arguments = observation, projection, evidence, config
        self._bounds = Bounds.of(projection.hand_model.theta_std)
        adam = config.optimizer == "adam"
        options = {"capturable": True, "fused": True} if adam and start.is_cuda else {}
        optimizer = OPTIMIZERS[config.optimizer]
        self._optimizer = optimizer([self.parameters], lr=config.step_size, **options)

    @torch.no_grad()
    def begin(self, start: Tensor, parts: Mapping[str, Tensor]) -> None:
        """Start anew, from ``start`` and with another observation."""
        self.parameters.copy_(start)
        for name, part in parts.items():
            self._parts[name].copy_(part)
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()

    @torch.enable_grad()
    def step(self) -> Tensor:
        """Take one more step. Returns the objective before it, ``(B,)``."""
        value = objective(self.parameters, *self._arguments)
        (self.parameters.grad,) = torch.autograd.grad(value.sum(), self.parameters)
        self._optimizer.step()
        with torch.no_grad():
            self.parameters.copy_(self._bounds.bring(self.parameters))
        return value.detach()

    @torch.no_grad()
    def value(self, parameters: Tensor) -> Tensor:
        """Objective of ``parameters``, ``(B,)``."""
        return objective(parameters, *self._arguments)

    def seconds_since(self, begun: float) -> float:
        """Time since ``begun``, once the steps so far are done."""
        return time.monotonic() - begun


class _GraphedDescent(Descent):
    """Descent whose steps, and values of the objective, are replays of a CUDA graph."""

    def __init__(self, setup: _Setup) -> None:
        with torch.cuda.device(setup.device):
            super().__init__(setup._replace(evidence=for_one_picture(setup.evidence)))
            self._graph, self._value = captured(super().step, trials=0)

    def step(self) -> Tensor:
        self._graph.replay()
        return self._value

    @torch.no_grad()
    def value(self, parameters: Tensor) -> Tensor:
        self.parameters.copy_(parameters)
        return self.step().clone()

    def seconds_since(self, begun: float) -> float:
        torch.cuda.current_stream().synchronize()
        return super().seconds_since(begun)


class StepGraphs:
    """Cache of CUDA graphs of gradient steps: one per number of hands and configuration.

    A graph is captured when it is asked for first, until the graphs are closed. That takes up to
    a quarter of a minute, and work of other threads on the device would spoil it. Once closed, what
    has no graph runs without, a launch for each kernel.
    """

    DEVICES = ("cuda",)
    MOST = 8  # graphs, each with memory of its own

    def __init__(self) -> None:
        self._graphs: dict[_Setup, _GraphedDescent] = {}
        self._closed = False

    def close(self) -> None:
        """Capture no more graphs."""
        self._closed = True

    def descent(self, setup: _Setup) -> Descent:
        """Return the steps for such observations, as a graph if there is one or may be one."""
        if setup in self._graphs:
            return self._graphs[setup]
        if self._closed:
            _log.warning(
                "gradient steps of %d hands run without a CUDA graph, slower: graphs are captured "
                "at the start, for tracking.max_hands (at most %d) and the refinement settings of "
                "then; start again with those of now",
                setup.specs[0][1][0],
                self.MOST,
            )
            return Descent(setup)
        if len(self._graphs) == self.MOST:
            del self._graphs[next(iter(self._graphs))]
        self._graphs[setup] = _GraphedDescent(setup)
        return self._graphs[setup]


def _empty(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    empty = torch.zeros(shape, dtype=dtype, device=device)
    # Pictures lie as the networks want them.
    return empty.contiguous(memory_format=torch.channels_last) if empty.ndim == 4 else empty
