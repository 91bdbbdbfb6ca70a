"""State of a training run at one step, and the file it is resumed from."""

from __future__ import annotations

import copy
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from dhpe_lab.training.config import ModelConfig, TrainConfig
from dhpe_lab.training.published_weights import load_efficientnet
from dhpe_ros.networks.weights import Networks, build_networks, load_networks

_FORMAT = 1
_POSITION = ("step", "elapsed_s", "started_s", "check_s", "best")


@dataclass
class TrainingState:
    """Networks, optimizer, position. Random numbers and data are functions of seed and step."""

    networks: Networks
    averaged: Networks  # exponential moving average, batch statistics included
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    started_s: float = 0.0  # what came before the first step, of all starts
    check_s: float = 0.0  # what the last check took
    best: float = float("inf")  # lowest figure so far, as run.best_by names it

    @staticmethod
    def begin(config: TrainConfig, device: torch.device) -> TrainingState:
        """Untrained, or from ``model.initial``, which may lack what is to be learnt alone.

        Errors as in ``load_networks``.
        """
        torch.manual_seed(config.learning.seed)
        initial, only = config.model.initial, config.learning.only
        networks = _initial(config.model, only)
        if not config.model.refiner:
            networks.mesh_estimator.refiner = None
        elif networks.mesh_estimator.refiner is None:
            raise ValueError(f"{initial} has no refiner; set model.refiner to false")
        for module in networks.modules():
            module.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)
        for module in _learning(networks, only):
            module.requires_grad_(True).train(not config.learning.frozen_statistics)
        for name in filter(None, config.learning.frozen.split(",")):
            _part(networks, name, "learning.frozen").requires_grad_(False).eval()
        averaged = copy.deepcopy(networks)
        for module in averaged.modules():
            module.eval().requires_grad_(False)
        parameters = [p for p in _modules(networks).parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters,
            lr=config.learning.rate,
            weight_decay=config.learning.weight_decay,
            fused=True,
        )
        return TrainingState(networks, averaged, optimizer)

    def see(self, size: int) -> None:
        """Crops of ``size`` pixels a side from now on."""
        for networks in (self.networks, self.averaged):
            networks.evidence.feature_size = size

    @torch.no_grad()
    def average(self, decay: float) -> None:
        """Move the averaged networks towards the present ones; in the beginning by more."""
        decay = min(decay, (self.step + 1) / (self.step + 11))
        move_average(_modules(self.averaged), _modules(self.networks), decay)

    @torch.no_grad()
    def restore_statistics(self) -> None:
        """Take the averaged batch statistics back, where a bad batch spoilt the present."""
        for ours, theirs in zip(self.networks.modules(), self.averaged.modules(), strict=True):
            for spoilt, sound in zip(ours.buffers(), theirs.buffers(), strict=True):
                spoilt.copy_(sound)

    def save(self, path: Path, config: TrainConfig) -> None:
        """Write everything in full precision, atomically."""
        content = {
            "format": _FORMAT,
            "config": config.as_mapping(),
            "networks": _modules(self.networks).state_dict(),
            "averaged": _modules(self.averaged).state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": {name: getattr(self, name) for name in _POSITION},
        }
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Go to where the run was that wrote ``path``. Raises ``ValueError`` for another's file."""
        content = _read(path)
        _modules(self.networks).load_state_dict(content["networks"])
        _modules(self.averaged).load_state_dict(content["averaged"])
        self.optimizer.load_state_dict(content["optimizer"])
        for name, value in content["position"].items():
            setattr(self, name, value)


@torch.no_grad()
def move_average(slow: nn.Module, fast: nn.Module, decay: float) -> None:
    """Move the exponential average of parameters and buffers; counters follow at once."""
    moving, counting = [], []
    for tensors in (nn.Module.parameters, nn.Module.buffers):
        for pair in zip(tensors(slow), tensors(fast), strict=True):
            (moving if pair[0].is_floating_point() else counting).append(pair)
    get_ema_multi_avg_fn(decay)(*zip(*moving, strict=True), None)
    for old, new in counting:
        old.copy_(new)


def compute_s(device: torch.device) -> float:
    """Clock of a budget: on a CPU the time that all threads of this process could have worked.

    So other programs on the machine do not use a budget up. On a GPU it is the time of day.
    """
    if device.type == "cuda":
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def saved_config(path: Path) -> TrainConfig:
    """The settings of the run that wrote ``path``; errors as in ``TrainingState.load``."""
    known = TrainConfig().as_mapping()  # an earlier version may have had others
    saved = _read(path)["config"]
    return TrainConfig().replace({k: v for k, v in saved.items() if k in known})


def _learning(networks: Networks, only: str) -> list[nn.Module]:
    """The parts that learn; raises ``ValueError`` where the networks have no such part."""
    return [_part(networks, only, "learning.only")] if only else list(networks.modules())


def _part(networks: Networks, name: str, setting: str) -> nn.Module:
    """A part by the name that its weights' names begin with; ``ValueError`` names the setting."""
    evidence, mesh_estimator = networks.modules()
    parts = nn.ModuleDict({"evidence": evidence, "mesh_estimator": mesh_estimator})
    try:
        return parts.get_submodule(name)
    except AttributeError:
        known = [name for name, _ in parts.named_modules() if name.count(".") == 1]
        raise ValueError(
            f"{setting}: there is no {name!r} in the networks; there are {', '.join(known)}"
        ) from None


def _initial(model: ModelConfig, may_lack: str) -> Networks:
    """The networks that training starts from; errors as in ``load_networks``."""
    if model.initial:
        networks = load_networks(model.initial, model.profile, may_lack)
        if model.input_size:
            networks.evidence.set_input_size(model.input_size)
        return networks
    networks = build_networks(model.profile, model.trunk, model.input_size)
    if model.encoder:
        load_efficientnet(networks.evidence.trunk.encoder, Path(model.encoder))
    return networks


def _modules(networks: Networks) -> nn.ModuleList:
    return nn.ModuleList(networks.modules())


def _read(path: Path) -> dict:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"no run to resume: there is no {path}") from None
    except Exception as error:  # torch has many names for a broken file
        raise ValueError(f"{path}: not the state of a training run ({error})") from error
    if content.get("format") != _FORMAT:
        raise ValueError(f"{path}: a state of format {content.get('format')}, not {_FORMAT}")
    return content
