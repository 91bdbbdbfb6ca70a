"""Eq. 13 as it stands: steps against the gradient of the whole objective.

On a CUDA device each step is one launch instead of one for every small kernel, most of which are
the feature network's for one picture; that runs in half precision there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.cuda_graph import captured
from dhpe_ros.evidence import EvidenceNetwork, for_one_picture
from dhpe_ros.hand_parameters import Bounds, HandParameters
from dhpe_ros.projection import Projection
from dhpe_ros.refinement.objective import Observation, objective

OPTIMIZERS = {"adam": torch.optim.Adam, "gradient_descent": torch.optim.SGD}
_LOOK_BACK = 5  # steps: one alone may go up, and on a GPU to read a value is to wait for it
_SEEN = ("image", "features", "joints", "confidences", "previous", "estimate")
_Look = tuple[str, torch.Size, torch.dtype]  # name, shape and type of a part of an observation


class Descended(NamedTuple):
    """Where the steps led."""

    parameters: Tensor  # (B, 63)
    steps: int  # fewer than were asked for when time was up or hardly anything moved
    before: Tensor  # (B,) the objective of what they are judged against
    after: Tensor  # (B,) and theirs


def gradient_steps(
    start: Tensor,
    begin: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Descended:
    """``config.steps`` steps from ``begin`` ``(B, 63)``, to be judged against ``start``.

    Ends earlier when over the last five no hand's value fell by more than ``config.tolerance`` of
    it, or when ``config.time_budget`` is over.
    """
    begun = time.monotonic()
    seen = {name: getattr(observation, name) for name in _SEEN}
    seen = {name: part for name, part in seen.items() if part is not None}
    looks = tuple((name, part.shape, part.dtype) for name, part in seen.items())
    kind = _graph_for if start.is_cuda else Descent
    each = replace(config, steps=1, time_budget=0.0, tolerance=0.0)
    descent = kind(looks, start.dtype, start.device, projection, evidence, each)
    descent.begin(begin, seen)
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
    return Descended(parameters, steps, descent.value(start), descent.value(parameters))


class Descent:
    """Parameters on their way down, in tensors that stay where they are."""

    def __init__(
        self,
        looks: tuple[_Look, ...],
        dtype: torch.dtype,
        device: torch.device,
        projection: Projection,
        evidence: EvidenceNetwork,
        config: RefinementConfig,
    ) -> None:
        """For observations that look like this; the settings are those of a step."""
        self._seen = {name: _empty(shape, dtype, device) for name, shape, dtype in looks}
        hands = len(self._seen["joints"])
        start = HandParameters.start(hands, device).to(dtype)
        self.parameters = start.requires_grad_(True)
        observation = Observation(**{"image": None, **self._seen})
        self._arguments = observation, projection, evidence, config
        self._bounds = Bounds.of(projection.hand_model.theta_std)
        graphed = {"capturable": True, "fused": True} if start.is_cuda else {}
        kind = OPTIMIZERS[config.optimizer]
        options = graphed if config.optimizer == "adam" else {}
        self._optimizer = kind([self.parameters], lr=config.step_size, **options)

    @torch.no_grad()
    def begin(self, start: Tensor, seen: Mapping[str, Tensor]) -> None:
        """Anew, from ``start`` and with what is seen."""
        self.parameters.copy_(start)
        for name, part in seen.items():
            self._seen[name].copy_(part)
        for state in self._optimizer.state.values():
            for value in state.values():
                value.zero_()

    @torch.enable_grad()
    def step(self) -> Tensor:
        """One more. Returns the objective before it, ``(B,)``."""
        value = objective(self.parameters, *self._arguments)
        (self.parameters.grad,) = torch.autograd.grad(value.sum(), self.parameters)
        self._optimizer.step()
        with torch.no_grad():
            self.parameters.copy_(self._bounds.bring(self.parameters))
        return value.detach()

    @torch.no_grad()
    def value(self, parameters: Tensor) -> Tensor:
        """``(B,)``: the objective of ``parameters``."""
        return objective(parameters, *self._arguments)

    def seconds_since(self, begun: float) -> float:
        """When the steps so far are done."""
        return time.monotonic() - begun


class _GraphedDescent(Descent):
    """Its steps are replays of a CUDA graph, and so is a look at the objective."""

    def __init__(self, looks, dtype, device, projection, evidence, config) -> None:
        super().__init__(looks, dtype, device, projection, for_one_picture(evidence), config)
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


@lru_cache(maxsize=4)
def _graph_for(*arguments) -> _GraphedDescent:
    """One for each look, made once: the capture waits for every algorithm to be tried."""
    with torch.cuda.device(arguments[2]):
        return _GraphedDescent(*arguments)


def _empty(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    empty = torch.zeros(shape, dtype=dtype, device=device)
    # Pictures lie as the networks want them.
    return empty.contiguous(memory_format=torch.channels_last) if empty.ndim == 4 else empty
