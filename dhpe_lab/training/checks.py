"""A look at the averaged networks now and then, and the files that stay of them."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Collection
from pathlib import Path

from dhpe_lab.training import distributed
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import TrainingData
from dhpe_lab.training.state import TrainingState, compute_s
from dhpe_lab.training.train_log import TrainLog
from dhpe_lab.training.validation import FIGURES, picture_grid, validate
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import save_networks

_LOG = logging.getLogger(__name__)
_PICTURED = 4  # hands of each set


def check(
    state: TrainingState,
    projection: Projection,
    data: TrainingData,
    config: TrainConfig,
    train_log: TrainLog,
) -> None:
    """Measure on what was held back, note and picture it, and save; the best is kept as well."""
    device = projection.laplacian.device
    begun = compute_s(device)
    measured = measure(state, projection, data)
    train_log.scalars(state.step, {f"check/{name}": value for name, value in measured.items()})
    _LOG.info("step %d: %s", state.step, {name: round(v, 2) for name, v in measured.items()})
    pictured = [sample for some in data.held_back.values() for sample in some[:_PICTURED]]
    if pictured:
        train_log.picture(state.step, picture_grid(state.averaged, projection, pictured))
    figure = measured.get(config.run.best_by, float("inf"))
    if figure < state.best:
        state.best = figure
        about = notes(state, data, config, measured)
        save_networks(state.averaged, Path(config.run.output) / "best.safetensors", about)
    save_checkpoint(state, data, config, measured)
    state.check_s = compute_s(device) - begun


def require_figure(name: str, held_back: Collection[str]) -> None:
    """Raise ``ValueError`` where checks on the sets ``held_back`` do not measure ``name``."""
    known = [f"{of}.{figure}" for of in ("mean", *held_back) for figure in FIGURES]
    if held_back and name not in known:
        raise ValueError(f"run.best_by: checks measure no {name!r}; they do {', '.join(known)}")


def measure(state: TrainingState, projection: Projection, data: TrainingData) -> dict[str, float]:
    """``SET.FIGURE`` -> value, and each figure's mean over the sets as ``mean.FIGURE``."""
    by_set = {
        name: validate(state.averaged, projection, some) for name, some in data.held_back.items()
    }
    measured = {f"{s}.{name}": v for s, found in by_set.items() for name, v in found.items()}
    for name in next(iter(by_set.values()), {}):
        measured[f"mean.{name}"] = sum(found[name] for found in by_set.values()) / len(by_set)
    return measured


def save_checkpoint(
    state: TrainingState,
    data: TrainingData,
    config: TrainConfig,
    measured: dict[str, float] | None = None,
) -> None:
    """``last.safetensors`` to use, ``last.state`` to go on from."""
    folder = Path(config.run.output)
    about = notes(state, data, config, measured or {})
    save_networks(state.averaged, folder / "last.safetensors", about)
    state.save(folder / "last.state", config)


def notes(
    state: TrainingState, data: TrainingData, config: TrainConfig, measured: dict[str, float]
) -> dict[str, object]:
    """Provenance of the weights. Of paths only the last part: the rest is this machine's."""
    settings = config.as_mapping()
    data_paths = ("real", "fits", "rhd", "stb", "synthetic", "backgrounds")
    paths = [f"data.{name}" for name in data_paths]
    for name in (*paths, "model.initial", "model.hand_model", "run.output"):
        settings[name] = Path(settings[name]).name
    return {
        "steps": state.step,
        "minutes": round(state.elapsed_s / 60, 2),
        "processes": distributed.count(),
        "commit": commit(),
        "config": settings,
        "data": data.description(),
        "validation": measured,
    }


def commit() -> str:
    """``git describe`` of the sources; empty where they are not in a git repository."""
    command = ["git", "describe", "--always", "--dirty", "--tags"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
